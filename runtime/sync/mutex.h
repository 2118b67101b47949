// SPDX-License-Identifier: MIT
//
// mutex: mutual exclusion that parks the goroutine, never the thread. std's Lockable and TimedLockable: lock_guard, unique_lock and
// scoped_lock work.
//
//   ours                       Go's sync.Mutex             std::timed_mutex
//   lock()                     Lock()                      lock()
//   try_lock()                 TryLock()                   try_lock(); ours does not fail spuriously
//   try_lock_for / _until      -                           try_lock_for / _until
//   unlock()                   Unlock()                    unlock()
//   unlock by another          allowed                     undefined; ours: allowed, a goroutine may unlock what another has locked
//   unlock when not locked     fatal error                 undefined; ours: fatal error
//   lock when held by oneself  waits for ever; reported as a deadlock when nobody else runs
//   who comes next             barging; FIFO after 1 ms    unspecified; ours as Go's
//   destroy                    -                           once unlocked and nobody waits, though unlock() may not have returned yet
//   size                       8 bytes                     40 bytes; ours 4
//
// Every call is a cooperative point: no loop of them starves others at p = 1. lock and try_lock yield, if at all, before they take the mutex,
// unlock after the release: never with it in hand. On an ordinary thread all of this blocks the thread. May be locked on a goroutine and
// unlocked on a thread.
//
// Fairness. Who comes by a free mutex takes it, waiters or not (barging): handing it over would leave it locked until the waiter runs. Waiters
// stand in a queue, FIFO; unlock wakes the first, unless one is woken already and has yet to try. Woken, it competes; if it loses it goes back to
// the front of the queue. But unlock hands the mutex to a first in line who has waited for more than `starving_ns`, at once: locked it stays, so
// nobody can barge, and as long as the next in line has waited for as long, it goes from waiter to waiter. So nobody waits for more than
// that time, and then the turns of those before it in the queue, and what the scheduler takes to run who was woken (sched/park.h).
//
// Cost. Uncontended, lock is one locked instruction (none while the process has a single thread), and unlock none: a plain store. That takes an argument:
//
//   word      L locked   S slow   W somebody waits   K one was woken and has yet to try   T S came while locked plainly
//     0, L            fast: unlock stores 0 over whatever has come meanwhile, then looks whether it has
//     S.., L|S..      slow: only read-modify-writes, all bits are right; a count of quiet unlocks leads back to fast
//     L|S|T|W         on its way from fast to slow, until that tenure's unlock: *unsettled*
//
//   MUTEX-TURN     unlock                               who must wait
//                  U1 word == L? (else: the slow way)   under the lot's lock:
//                  U2 word = 0                          N1 unsettled[lot] += 1
//                  U3 fence_light                       N2 word: L -> L|S|T|W; queue
//                  U4 unsettled[lot] != 0?              and without it:
//                     then settle                       N3 fence_heavy
//                                                       N4 settle
//   Forbidden: U2 erases N2's bits, U4 reads zero and N4 does not see U2. Then N sleeps, and nobody knows. Take U1 before N2, else it would
//   see S. If N3, which is a full fence on U's thread at some point, falls before U4, U4 sees N1. If it falls after U4, it falls after U2,
//   and N4 sees U2's store. Either way somebody settles after the erasure: under the lot's lock it finds the waiter (I3) and puts the bits back,
//   or wakes it. Until then others may lock and unlock the fast way: the same holds for each of them.
//   After U2 unlock touches no byte of the mutex, only the tables: it may have been destroyed.
//
//   I1  under the lot's lock: the mutex counts once in unsettled[lot] iff T is set, or it has waiters and S is clear.
//   I2  S set and T clear: W iff it has waiters.
//   I3  waiters and S clear: U2 has erased the bits, and a settle is to come: that unlock's, a later one's, or N4.
// fence_heavy costs microseconds, so a mutex that was contended stays slow until `quiet_unlocks` have found nobody waiting; then the gain of fast has
// paid for the next fence. Where the kernel has no membarrier, both are ordinary fences.
//
// Progress. lock is blocking by nature. What a stopped thread can hold up: who holds the mutex, all who want it; who is stopped under
// the lot's lock, those who must wait or wake there. try_lock is lock-free, uncontended lock and unlock are a few instructions without a loop.
//
// Rejected: an exchange in unlock (4.4 ns a pair where the store makes 2.2 and std::mutex 6.3; Go's, two RMWs, 5); always handing over (each
// turn costs a switch, and at p > 1 a wait for the woken to run); a flag word beside the lock word that unlock reads after its store (the
// mutex may be gone by then).
//
// Edges
//   name          release side               acquire side                  carries                                  test
//   MUTEX         unlock                     lock, try_lock                what was done under the mutex            mutex.*
//   MUTEX-HAND    unlock_slow (by LOT-WAKE)  lock_slow                     the same, when handed over               mutex.*
//   MUTEX-TURN    above                                                                                             mutex.*
// Sources: Go mutex.go (barging and starvation); sched/runq.h (the asymmetric take); WebKit's Lock (four bytes and a parking lot).

#pragma once

#include <chrono>
#include <cstdint>

#include "parking_lot.h"

namespace weft {

class mutex;

namespace rt {

namespace mutex_word {
inline constexpr std::uint32_t locked = 1;
inline constexpr std::uint32_t slow = 2;
inline constexpr std::uint32_t turning = 4;
inline constexpr std::uint32_t waited_for = 8;
inline constexpr std::uint32_t waking = 16;
inline constexpr std::uint32_t quiet = 256;  // and up: how many quiet unlocks in a row
inline constexpr std::uint32_t quiet_mask = ~(quiet - 1);
}  // namespace mutex_word

// By lot: mutexes whose word cannot be trusted (I1). Written under the lot's lock.
extern WEFT_API atomic<std::uint32_t> unsettled_mutexes[num_lots];
// U4 saw one. `word` may be gone.
WEFT_API void settle_mutex(atomic<std::uint32_t>* word) noexcept;

}  // namespace rt

class WEFT_API mutex {
 public:
  constexpr mutex() noexcept = default;
  mutex(const mutex&) = delete;
  mutex& operator=(const mutex&) = delete;
  ~mutex() = default;

  // Not a cooperative point where it need not wait: the unlock is. (Both: 3.5 ns a pair, eight goroutines at one P; so 3.1.)
  void lock() {
    using namespace rt::mutex_word;
    if (os::only_thread()) {
      // MUTEX acquire <- unlock, by a thread that has ended. The store is relaxed: nobody else is there.
      if (const std::uint32_t w = word_.load(acquire); !(w & locked)) return word_.store(w | locked, relaxed);
    }
    std::uint32_t w = word_.load(relaxed);  // relaxed: the exchange decides
    // MUTEX acquire <- unlock.
    if ((w & locked) || !word_.compare_exchange_strong(w, w | locked, acquire, relaxed)) [[unlikely]]
      lock_slow(os::no_deadline);
  }

  bool try_lock() {
    using namespace rt::mutex_word;
    rt::cooperate(rt::self());
    std::uint32_t w = word_.load(relaxed);
    while (!(w & locked))
      if (word_.compare_exchange_weak(w, w | locked, acquire, relaxed)) return true;  // MUTEX acquire
    return false;
  }

  void unlock() {
    using namespace rt::mutex_word;
    if (word_.load(relaxed) == locked) [[likely]] {  // U1. relaxed: ours, or N2, which U4 makes good
      word_.store(0, release);                       // U2. MUTEX release -> lock
      os::fence_light();                             // U3
      if (rt::unsettled_mutexes[rt::lot_index(&word_)].load(relaxed) != 0) [[unlikely]]  // U4
        rt::settle_mutex(&word_);                                                        // by address only
    } else {
      unlock_slow();
    }
    rt::cooperate(rt::self());
  }

  // As std's: false when the time has come and the mutex was not to be had. Throws std::bad_alloc when there is no memory for a timer.
  template <class Rep, class Period>
  bool try_lock_for(const std::chrono::duration<Rep, Period>& d) {
    return try_lock() || lock_slow(rt::deadline_after(d));
  }
  template <class Clock, class Duration>
  bool try_lock_until(const std::chrono::time_point<Clock, Duration>& t) {
    return try_lock() || rt::until(t, [this](std::int64_t deadline) { return lock_slow(deadline); });
  }

 private:
  bool lock_slow(std::int64_t deadline);
  void unlock_slow();

  atomic<std::uint32_t> word_{0};
};

}  // namespace weft
