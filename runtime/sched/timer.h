// SPDX-License-Identifier: MIT
//
// Timers: something to be done at a point of time, on whichever M comes by.
//
// Each P has a heap of its own, under a lock of its own (timers are started and run by their P, so it is hardly ever contended;
// other Ps come to steal what is overdue, and stop_timer comes from anywhere). The heap is 4-ary: the four children of an entry lie in
// one cache line, and it is half as deep as a binary one. An entry carries its time, so that ordering touches no timer; only a timer
// that may be stopped is told its index when it moves, a sleeping goroutine's is not: a heap of 100,000 sleepers moves eight entries
// a pop, and each timer touched would be a cache miss.
//
// States of a timer, by `home`:
//     null --start_timer--> in p's heap --run_timers--> null, and p's `firing` until fire() has returned
//                                       --stop_timer--> null
//
// When do timers run? Whenever their P looks round (schedule.cc) and before it looks for other work; when it idles or computes, on any
// M that looks for work. While Ps are idle one of the sleeping Ms is the *keeper*: it sleeps no longer than until the earliest timer of
// all Ps (spin.cc).
//
//   TIMER-KEEPER   who starts a timer              who goes to sleep
//                  S1 heap.first = when            R1 keeper = me, keeper_deadline = d
//                  S2 fence_full                   R2 fence_full
//                  S3 keeper_deadline > when?      R3 earliest of all heaps < d? look again
//                     nudge an idle M
//   Forbidden: S3 sees an early enough keeper that R3 does not make good. Then the timer waits for somebody to come by.
//
// Never early: a timer runs when now_ns() has reached its time. Late: by what it takes to wake a thread when all is idle; on a P whose
// goroutine computes, with no other P idle, until that goroutine calls the runtime.
//
// Source: Go time.go (per-P 4-ary heaps, stealing). Unlike there, stopping removes at once: a million stopped timers hold nothing.

#pragma once

#include <cstdint>
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
  bool stoppable = true;  // before start_timer; false promises that nobody calls stop_timer

  // The heap's, under its lock.
  std::uint32_t index = 0;
  atomic<timer_heap*> home{nullptr};
  timer_heap* fired_by = nullptr;
};

struct timer_heap {
  static constexpr std::int64_t never = INT64_MAX;

  struct entry {
    std::int64_t when;
    std::uint64_t what;  // timer, and in bit 0 whether it wants to know its index
  };

  alignas(64) atomic<std::int64_t> first{never};  // the earliest `when`; written under lk, read by anyone
  atomic<timer*> firing{nullptr};                 // its fire() is under way
  runtime_lock lk;
  std::vector<entry> entries;  // lk

  void push(std::int64_t when, timer* t);    // lk. Throws std::bad_alloc
  void remove(std::uint32_t index);          // lk
  void place(std::uint32_t index, entry e);  // lk
  void sift_up(std::uint32_t index, entry e);
  void sift_down(std::uint32_t index, entry e);
};

// Starts `t`, which must not be pending, on the current P. Only from a goroutine. Throws std::bad_alloc.
void start_timer(timer& t, std::int64_t when_ns);

// True: it was pending and will not fire. False: it was not pending; if it fired, fire() has returned. From anywhere.
bool stop_timer(timer& t) noexcept;

// Fires what is due in `heap`. True: something was.
bool run_timers(timer_heap& heap, std::int64_t now);

// The run is over: all that is pending is dropped.
void drop_timers(timer_heap& heap);

// With the world stopped: `from`'s P is retired.
void move_timers(timer_heap& to, timer_heap& from);

// The earliest of all Ps.
std::int64_t earliest_timer(sched* s);

}  // namespace weft::rt
