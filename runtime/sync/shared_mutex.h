// SPDX-License-Identifier: MIT
//
// shared_mutex: one writer, or any number of readers. std's SharedLockable and SharedTimedLockable: unique_lock, shared_lock work.
//
//   ours                                        Go's sync.RWMutex               std::shared_timed_mutex
//   lock, try_lock, unlock                      Lock, TryLock, Unlock           lock, try_lock, unlock
//   lock_shared, try_lock_shared, unlock_shared RLock, TryRLock, RUnlock        the same
//   try_lock_for / _until, try_lock_shared_...  -                               the same
//   who comes next                              first come, first served;       writers after all readers that    unspecified
//                                               readers side by side together   waited, and the other way round
//   reading twice by one goroutine              may wait for ever behind a writer that waits, as in Go and (undefined) std
//   unlock when not locked so                   fatal error                     fatal error; undefined
//   destroy                                     once unlocked and nobody waits, though unlock may not have returned yet
//
// Neither side starves: a newcomer stands behind all who wait (no barging), and the release hands over to the first in line, a writer alone or
// all readers up to the next writer. try_lock and try_lock_shared do not pass anybody who waits either.
// That is fair and costs a switch per turn under contention; where only exclusion is wanted, mutex is the quicker one.
//
// Word: writer (bit 0), somebody waits (bit 1), number of readers (the rest). While bit 1 is set the word changes under the lot's lock only;
// else by one compare-and-swap. Each unlock, and each try in vain, is a cooperative point (why not
// lock: mutex.h).
// Progress: without waiters each operation is lock-free; with waiters it takes the lot's lock (parking_lot.h).
//
// Edges
//   name        release side                   acquire side                  carries                                test
//   SHARED      unlock, unlock_shared          lock, lock_shared, try_...    what was done under the lock           shared_mutex.*
//   (handed over: LOT-WAKE)

#pragma once

#include <chrono>
#include <cstdint>

#include "parking_lot.h"

namespace weft {

class WEFT_API shared_mutex {
 public:
  constexpr shared_mutex() noexcept = default;
  shared_mutex(const shared_mutex&) = delete;
  shared_mutex& operator=(const shared_mutex&) = delete;
  ~shared_mutex() = default;

  void lock() {
    if (!take_alone()) [[unlikely]]
      wait(true, os::no_deadline);
  }
  bool try_lock() { return take_alone() || failed(); }
  void unlock() {
    std::uint64_t w = writer;
    if (!word_.compare_exchange_strong(w, 0, release, relaxed)) [[unlikely]]  // SHARED release
      unlock_slow();
    rt::cooperate(rt::self());
  }

  void lock_shared() {
    if (!take_shared()) [[unlikely]]
      wait(false, os::no_deadline);
  }
  bool try_lock_shared() { return take_shared() || failed(); }
  void unlock_shared() {
    std::uint64_t w = word_.load(relaxed);
    for (;;) {
      if ((w & (writer | waited_for)) || w == 0) [[unlikely]] {
        unlock_shared_slow();
        break;
      }
      if (word_.compare_exchange_weak(w, w - reader, release, relaxed)) break;  // SHARED release
    }
    rt::cooperate(rt::self());
  }

  // As mutex's.
  template <class Rep, class Period>
  bool try_lock_for(const std::chrono::duration<Rep, Period>& d) {
    return take_alone() || wait(true, rt::deadline_after(d));
  }
  template <class Clock, class Duration>
  bool try_lock_until(const std::chrono::time_point<Clock, Duration>& t) {
    return take_alone() || rt::until(t, [this](std::int64_t deadline) { return wait(true, deadline); });
  }
  template <class Rep, class Period>
  bool try_lock_shared_for(const std::chrono::duration<Rep, Period>& d) {
    return take_shared() || wait(false, rt::deadline_after(d));
  }
  template <class Clock, class Duration>
  bool try_lock_shared_until(const std::chrono::time_point<Clock, Duration>& t) {
    return take_shared() || rt::until(t, [this](std::int64_t deadline) { return wait(false, deadline); });
  }

 private:
  static constexpr std::uint64_t writer = 1;
  static constexpr std::uint64_t waited_for = 2;
  static constexpr std::uint64_t reader = 4;

  bool take_alone() {
    std::uint64_t w = 0;
    return word_.compare_exchange_strong(w, writer, acquire, relaxed);  // SHARED acquire
  }
  bool take_shared() {
    std::uint64_t w = word_.load(relaxed);
    while (!(w & (writer | waited_for)))
      if (word_.compare_exchange_weak(w, w + reader, acquire, relaxed)) return true;  // SHARED acquire
    return false;
  }
  static bool failed() {
    rt::cooperate(rt::self());
    return false;
  }

  bool wait(bool alone, std::int64_t deadline);
  void unlock_slow();
  void unlock_shared_slow();
  void grant(rt::lot& l, std::uint64_t w, rt::woken_list& out);
  static bool withdraw(rt::wait_entry& e);

  atomic<std::uint64_t> word_{0};
};

}  // namespace weft
