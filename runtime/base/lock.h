// SPDX-License-Identifier: MIT
//
// Blocking for Ms: a mutex for the runtime's own short critical sections, and a one-shot sleep. Both block the thread,
// with its P and its goroutine: held for a few instructions, never across a switch, never in user code (weft::mutex
// is the one that parks goroutines).
//
//   runtime_lock word            moves
//   0  free                      0 -> 1  lock, nobody about
//   1  held                      * -> 2  lock, had to wait: "whoever unlocks must wake somebody"
//   2  held, perhaps waiters     1 -> 0  unlock without a system call      2 -> 0  unlock, then wake one
//
// The three-state mutex of Ulrich Drepper, "Futexes Are Tricky". A thread that has waited takes the lock as 2, not
// knowing whether others still wait: at worst one needless wake, never a lost one. Not fair: the one that comes
// by may take it before the one that was woken, which is what keeps short sections short.
//
//   note word
//   0  clear                     0 -> 2  sleep, about to ask the kernel
//   1  woken                     * -> 1  wake; from 2 also a futex_wake
//   2  somebody sleeps           2 -> 0  the deadline came first
//                                * -> 0  clear, by the one who sleeps there, before the note is offered again
//
// Edges
//   name        release side            acquire side         carries                                model test
//   LOCK        unlock                  lock, try_lock       all that was written under the lock     lock.runtime_lock
//   NOTE-WAKE   wake                    sleep, sleep_until   all that the waker wrote before         note.wake
#pragma once

#include <cstdint>

#include "../os/atomic.h"
#include "../os/clock.h"
#include "../os/cpu.h"
#include "../os/futex.h"
#include "annotations.h"
#include "check.h"

namespace weft {

// Standard Lockable, so std::lock_guard and std::scoped_lock work; lock_scope is the one Clang's analysis follows.
// (Not named `lock`: a class cannot have a member function of its own name.)
class WEFT_CAPABILITY("lock") runtime_lock {
 public:
  constexpr runtime_lock() noexcept = default;
  runtime_lock(const runtime_lock&) = delete;
  runtime_lock& operator=(const runtime_lock&) = delete;

  void lock() noexcept WEFT_ACQUIRE() {
    if (!try_lock()) [[unlikely]]
      lock_slow();
  }

  bool try_lock() noexcept WEFT_TRY_ACQUIRE(true) {
    std::uint32_t seen = unlocked;
    // LOCK acquire <- unlock. Failure: held; nothing is read on the strength of it, hence relaxed.
    return word_.compare_exchange_strong(seen, held, acquire, relaxed);
  }

  void unlock() noexcept WEFT_RELEASE() {
    // LOCK release -> lock. Relaxed would let the next holder miss our writes. An exchange, since a waiter may turn 1
    // into 2 at any moment. After it the lock may be gone with its owner; futex_wake does not touch the word.
    const std::uint32_t was = word_.exchange(unlocked, release);
    WEFT_DCHECK(was != unlocked, "runtime_lock::unlock: not locked");
    if (was == contended) [[unlikely]]
      (void)os::futex_wake(word_, 1);
  }

 private:
  static constexpr std::uint32_t unlocked = 0, held = 1, contended = 2;

  // About as long as the sections it guards; far below the 7 us and more that waking a sleeper costs.
  static constexpr int spins = 60;

  // The loop is beyond the analysis; lock() declares the outcome.
  WEFT_NOINLINE void lock_slow() noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
    for (int i = 0; i < spins; ++i) {
      cpu_relax();
      // relaxed: a hint, so that spinning reads a shared line instead of tearing it away; try_lock decides.
      if (word_.load(relaxed) == unlocked && try_lock()) return;
    }
    // LOCK acquire <- unlock, as in try_lock.
    while (word_.exchange(contended, acquire) != unlocked) (void)os::futex_wait(word_, contended);
  }

  atomic<std::uint32_t> word_{unlocked};
};

struct lock_held_t {};
inline constexpr lock_held_t lock_held{};

class WEFT_SCOPED_CAPABILITY lock_scope {
 public:
  explicit lock_scope(runtime_lock& l) noexcept WEFT_ACQUIRE(l) : lock_(l) { lock_.lock(); }
  // The caller has taken it.
  lock_scope(runtime_lock& l, lock_held_t /*unused*/) noexcept WEFT_REQUIRES(l) : lock_(l) {}
  ~lock_scope() WEFT_RELEASE() { lock_.unlock(); }
  lock_scope(const lock_scope&) = delete;
  lock_scope& operator=(const lock_scope&) = delete;

 private:
  runtime_lock& lock_;
};

// One thread sleeps, any other wakes it, once. A wake before the sleep is not lost, a second one before clear() is
// absorbed. The note may be destroyed as soon as sleep returns, though wake() may still be on its way out: it does not
// touch the note after its exchange.
class note {
 public:
  constexpr note() noexcept = default;
  note(const note&) = delete;
  note& operator=(const note&) = delete;

  // Until wake(). One sleeper at a time.
  void sleep() noexcept { (void)sleep_until(os::no_deadline); }

  // True: woken. False: `deadline_ns` (os/clock.h) came first, and the note is clear.
  bool sleep_until(std::int64_t deadline_ns) noexcept {
    std::uint32_t seen = cleared;
    // relaxed: on success nothing was handed over; a failure means woken already, and is read again, with acquire.
    if (!word_.compare_exchange_strong(seen, sleeping, relaxed, relaxed)) {
      WEFT_DCHECK(seen == woken, "note::sleep_until: two sleepers");
      return is_woken();  // NOTE-WAKE
    }
    while (os::futex_wait(word_, sleeping, deadline_ns) != os::futex_result::timed_out) {
      if (word_.load(acquire) == woken) return true;  // NOTE-WAKE; else a spurious return
    }
    // Withdraw. relaxed: as above. A failure means that wake() was faster, and its wake counts: NOTE-WAKE.
    seen = sleeping;
    return !word_.compare_exchange_strong(seen, cleared, relaxed, relaxed) && is_woken();
  }

  void wake() noexcept {
    // NOTE-WAKE release -> sleep_until. Relaxed would let the sleeper rise without what it was woken for.
    if (word_.exchange(woken, release) == sleeping) (void)os::futex_wake(word_, 1);
  }

  // By the thread that sleeps here, before the note is offered to wakers again; whoever offers it publishes this, hence
  // relaxed.
  void clear() noexcept { word_.store(cleared, relaxed); }

  // Likewise, while wakers may come at any moment. What those had to tell whose wake is absorbed is known from here on: NOTE-WAKE acquire.
  void take() noexcept { (void)word_.exchange(cleared, acquire); }

  // A look without waiting, for whoever polls something else as well.
  bool is_woken() noexcept { return word_.load(acquire) == woken; }  // NOTE-WAKE

 private:
  static constexpr std::uint32_t cleared = 0, woken = 1, sleeping = 2;

  atomic<std::uint32_t> word_{cleared};
};

}  // namespace weft
