// SPDX-License-Identifier: MIT
//
// Timers: something to be done at a point of time, on whichever M comes by.
//
// Each P has a heap of its own, under a lock of its own (timers are started and run by their P, so it is hardly ever contended;
// other Ps come to steal what is overdue, and stop_timer comes from anywhere). The heap is 4-ary: the four children of an entry lie in
// one cache line, and it is half as deep as a binary one. An entry carries its time, so that ordering touches no timer; only a timer
// is told its index when it moves.
//
// A sleeping goroutine has no timer: its entry is the goroutine itself. Where 100,000 sleep every line is cold, and what a wakeup costs is how
// many of its lines are touched, and above all that its page is translated: 200 ns here, which a prefetch does not hide, unless several overlap. So
//   * the entry leads straight to the goroutine, whose first line has all that waking it needs;
//   * a heap keeps those that are due next apart (`soon`): taken out of the heap some dozens at a time, and fetched together, before they are due;
//     the stack of each is fetched while the one before the one before it runs (runq.h, fetch_stack);
//   * a goroutine that goes to sleep where nobody else waits switches straight to the next sleeper that is due (sleep_goroutine);
//   * other Ps keep away until the first has been due for some time (limits::steal_grace_max_ns, where many sleep), and then take some dozens.
// (100,000 sleepers, CPU per wakeup, Go / weft: p = 1 980 ns / 220, without all of this 400; p = 2 950 / 255, 450; p = 16 1,280 / 257, 580.)
//
// A P that is not behind, and has nothing else to run, takes one sleeper at a time. Two in its ring would have to be watched, in case the first one
// computes (sysmon.cc), and to have sysmon awake costs more than to run them; what is due and still in the heap sysmon watches as well, but in its
// own time. A P is behind when the first has been due for limits::timer_patience_ns, 600 us; then it takes dozens, no more than half of the ring
// holds, so that none goes the long way round the global queue, and calls for help.
//
// States of a timer, by `home`:
//     null --start_timer--> in p's heap --run_timers--> null, and p's `firing` until fire() has returned
//                                       --stop_timer--> null
//                                       --drop_timers-> null, and p's `firing` until drop() has returned
// A sleeping goroutine's states, by waiter::select (which a sleeper does not use otherwise):
//     0 about to sleep --its commit--> 1 asleep, and whoever takes its entry may run it        0 --whoever takes its entry--> 2 over
//
// A heap outlives its run: it goes to the next P that is made, in this process, and is never freed. So an ordinary thread may stop a timer at the
// very moment in which its run ends: what `home` and `fired_by` point at is a heap, this run's or another's, and it says in time that
// the timer is not there. A timer or ticker that outlives its run is one that was stopped: its channel stays silent, stop says false (unless
// a value that had been sent was still to be received), and reset, called in another run, starts it there.
//
// Edges
//   name          release side                 acquire side             carries                                      test
//   TIMER-FIRED   run_timers, drop_timers:     stop_timer               that fire(), or drop(), has returned, and    timers.several_*
//                 firing = null                                         all it did
//   TIMER-TAKEN   run_timers: home = null      stop_timer               fired_by, firing                             timers.stopped_*
//   SLEEP         sleep's commit               is_asleep                the sleeper, saved                           timers.sleep
//   TIMER-KEEPER  below
//
// When do timers run? Whenever their P looks round (schedule.cc) and before it looks for other work; when it idles or computes, on any
// M that looks for work. While Ps are idle one of the sleeping Ms is the *keeper*: it sleeps no longer than until the earliest timer of
// all Ps (spin.cc). When it rises nobody is in its place; the next M to sleep will be. If that takes long, as what it rose for computes, sysmon finds
// the next timer overdue, and sends another M (sysmon.cc, SYSMON-TIMERS).
//
//   TIMER-KEEPER   who starts a timer              who goes to sleep
//                  S1 heap.first = when            R1 keeper = me, keeper_deadline = d
//                  S2 fence_full                   R2 fence_full
//                  S3 keeper_deadline > when?      R3 earliest of all heaps < d? look again
//                     nudge an idle M
//   Forbidden: S3 sees an early enough keeper that R3 does not make good. Then the timer waits for somebody to come by.
//
// Never early: a timer runs when now_ns() has reached its time. Late: by what it takes to wake a thread when all is idle; while others compute and
// a P is idle, by a millisecond more at most (timer_patience_ns and timer_look_ns); with no P idle, until a goroutine of its P calls the runtime.
//
// Where many sleep, the keeper rises in vain for one what it could do for several: to be woken by the kernel costs 10 to 30 us of CPU, to run a
// timer less than one. So it keeps a distance to its last rise, of 400 ns for each pending timer, 400 us at most (limits.h): nobody is
// late by more than that for it, and by as much again where another P has to come for it (steal_grace_max_ns); and with a few timers, or after a pause,
// nobody is. (Go's idle Ms sleep in epoll, in whole milliseconds.)
// Such a keeper need not be told of earlier timers: keeper_deadline says so by being earlier than all.
//
// Source: Go time.go (per-P 4-ary heaps, stealing). Unlike there, stopping removes at once: a million stopped timers hold nothing.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

#include "../base/lock.h"
#include "g_m_p.h"

namespace weft::rt {

struct timer_heap;

struct timer {
  // Runs on some M, on the scheduler's or a goroutine's stack, no lock held: short, may call ready(), must neither park nor throw. The
  // timer may be gone when it returns.
  void (*fire)(timer*) = nullptr;
  // The run is over and the timer was still pending; null when that cannot be (its goroutine waits for it).
  void (*drop)(timer*) = nullptr;
  // The heap's, under its lock.
  std::uint32_t index = 0;
  atomic<timer_heap*> home{nullptr};
  timer_heap* fired_by = nullptr;
};

// So that entries 1 to 4, 5 to 8, ... share a cache line each: children of one entry.
template <class T>
struct four_to_a_line {
  using value_type = T;
  static constexpr std::size_t before = 64 - sizeof(T);
  static constexpr std::align_val_t line{64};
  four_to_a_line() = default;
  template <class U>
  four_to_a_line(const four_to_a_line<U>& /*other*/) {}  // NOLINT(google-explicit-constructor): as allocators do
  T* allocate(std::size_t n) {
    return reinterpret_cast<T*>(static_cast<char*>(::operator new(n * sizeof(T) + before, line)) + before);
  }
  void deallocate(T* p, std::size_t /*n*/) { ::operator delete(reinterpret_cast<char*>(p) - before, line); }
  friend bool operator==(four_to_a_line /*a*/, four_to_a_line /*b*/) { return true; }
};

struct timer_heap {
  static constexpr std::int64_t never = INT64_MAX;

  struct entry {
    std::int64_t when;
    std::uint64_t what;  // a timer; or a goroutine that sleeps, and bit 0
  };

  alignas(64) atomic<std::int64_t> first{never};  // the earliest `when`; written under lk, read by anyone
  atomic<timer*> firing{nullptr};                 // its fire() is under way
  atomic<std::uint32_t> pending{0};               // how many; written under lk, relaxed: a statistic
  runtime_lock lk;
  std::vector<entry, four_to_a_line<entry>> entries;  // lk
  // Sleepers that were the earliest, in order, and have been fetched; others may have come before them since. lk, and written by the owner only,
  // but for soon_at: who steals takes from the front. The rest is [soon_at, soon_end).
  std::array<entry, 2 * limits::timers_soon> soon;
  std::uint32_t soon_at = 0;
  std::uint32_t soon_end = 0;

  timer_heap* next = nullptr;  // of those that no P has

  void push(entry e);                        // lk. Throws std::bad_alloc
  const entry* earliest() const;             // lk. Null: none
  void pop();                                // lk. That one
  G* pop_sleeper(std::int64_t now);          // lk. That one, if it sleeps and is due, or null
  void look_again();                         // lk. After any change: `first`
  void remove(std::uint32_t index);          // lk. Of `entries`
  void place(std::uint32_t index, entry e);  // lk
  void count();                              // lk. After any change: `pending`
  // Owner only, with lk. When `soon` is used up: fills it from what is due by `until`.
  bool look_ahead(std::int64_t until);
  // Owner only, with lk: sleepers that are due, in order, before those in `soon`, which are not, or only just; no more than there is room for.
  void put_first(const entry* due, std::uint32_t n);
  void sift_up(std::uint32_t index, entry e);
  void sift_down(std::uint32_t index, entry e);
};

// A P's heap: one that another had before, or a new one. Throws std::bad_alloc.
class heap_of_p {
 public:
  heap_of_p();
  ~heap_of_p();
  heap_of_p(const heap_of_p&) = delete;
  heap_of_p& operator=(const heap_of_p&) = delete;
  timer_heap& heap() const { return *heap_; }

 private:
  timer_heap* heap_;
};

// Starts `t`, which must not be pending, on the current P. Only from a goroutine. Throws std::bad_alloc.
void start_timer(timer& t, std::int64_t when_ns);

// True: it was pending and will not fire. False: it was not pending; if it fired, fire() has returned. From anywhere.
bool stop_timer(timer& t) noexcept;

// Fires what is due in `heap`, or some of it. True: something was. `alone`: the caller's P has nothing else to run, and is content with one sleeper.
bool run_timers(timer_heap& heap, std::int64_t now, bool alone = false);

// Takes some that are due from another P's heap to this P's, to be run there. True: some were. Never waits for either heap's other thieves.
bool steal_sleepers(timer_heap& from, std::int64_t now);

// The run is over: all that is pending is dropped.
void drop_timers(timer_heap& heap);

// With the world stopped: `from`'s P is retired.
void move_timers(timer_heap& to, timer_heap& from);

// The earliest of all Ps.
std::int64_t earliest_timer(sched* s);
// How long the keeper sleeps at least from one rise to the next, ns.
std::int64_t keeper_gap(sched* s);

}  // namespace weft::rt
