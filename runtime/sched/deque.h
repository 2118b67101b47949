// SPDX-License-Identifier: MIT
//
// The deque of a P: goroutines that were started here and have not run yet. The owner takes the newest, thieves take the oldest.
//
// Why they do not stand in the ring with those that were readied (runq.h). A goroutine that starts others and then waits for them is a node
// of a tree. Taken in the order in which they were started, the tree is walked in breadth: fib(30) then has hundreds of thousands of
// goroutines at once, each with a page of its own, and the page's fault costs more than all of the goroutine's life. Newest first,
// the tree is walked in depth: as many are alive as the tree is deep, and each finds the stack still warm that the one before it has left.
// And what a thief takes, the oldest, is the largest part of the tree that there is, so that it need not come again soon. (fib(30) at
// one P, in turn: 1,249 ns a goroutine from the ring, 170 from here; skynet of a million 2,272 and 89 ms. On a machine where a page's fault takes 12 us.)
//
// One that has run can stand here too: who was to run next, when the scheduler goes into the deque instead (schedule.cc, look_round). Who starts
// many on end is made to give way to them (goroutine.cc, limits::spawn_storm).
//
// Who has run already waits in the order of being readied, as before: the ring and the deque take turns when both have some
// (schedule.cc, pick_next). No goroutine starves at the deque's bottom: when that has not moved for limits::deque_patience_ns, the
// oldest goes to the ring. (Once every limits::globq_poll picks, as with the ring's head, was too often: it began a new tree each time.)
//
// Invariants
//   I1  head <= tail <= head + capacity, as distances modulo 2^32; while the owner is inside pop, tail may be head - 1.
//   I2  slots in [head, tail) hold goroutines. A slot is taken by moving head past it, by compare-and-swap, or, by the owner alone, by
//       moving tail below it and then seeing that head is not there yet.
//
//   DEQUE-LAST     owner, pop                        thief, take_oldest
//                  O1 tail = t                       T1 h = head
//                  O2 fence_full                     T2 fence_full
//                  O3 head < t? slot t is mine       T3 tail > h? head: h -> h + 1, and slot h is mine
//   Forbidden, for h == t: O3 sees a head from before T1's and T3 sees a tail from before O1. Then both run the goroutine. Where O3 sees
//   head == t, the owner goes for head as a thief does.
// Progress: push and pop are wait-free; take_oldest is lock-free (a failed exchange means that another took one).
//
// Rejected: fence_light in pop, with a fence_heavy in each thief: 2 ns against 8 us, and a thief comes as often as a goroutine waits; a thief that
// moves head by many at once, as in the ring: the owner, coming down without an exchange, would meet it in the middle.
//
// Edges
//   name            release side         acquire side      carries                               model test
//   DEQUE-PUBLISH   push, pop            take_oldest       slot contents; the G, made            deque.publish, publish_by_pop
//   DEQUE-CONSUME   take_oldest          push              the slot has been read                deque.reuse_of_slots
//   DEQUE-LAST      above                                                                        deque.last_one, deque.two_thieves
//
// Sources: Chase and Lev, "Dynamic circular work-stealing deque" (SPAA 2005), with the orders of Le, Pop, Cohen and Zappa Nardelli, "Correct and
// efficient work-stealing for weak memory models" (PPoPP 2013); Blumofe and Leiserson on what depth first bounds.

#pragma once

#include "runq.h"

namespace weft::rt::deque {

inline constexpr std::uint32_t capacity = limits::deque_capacity;
static_assert((capacity & (capacity - 1)) == 0 && capacity >= 4);

// A hint, for anyone; for the owner never less than there are.
inline std::uint32_t size(const P* p) {
  std::uint32_t h = p->deque_head.load(relaxed);
  std::uint32_t t = p->deque_tail.load(relaxed);
  return runq::distance(h, t, capacity);
}

// The same, owner only, who knows the tail.
inline std::uint32_t own_size(const P* p) { return p->deque_tail.load(relaxed) - p->deque_head.load(relaxed); }

// Owner only. False when full.
inline bool push(P* p, G* g) {
  std::uint32_t h = p->deque_head.load(acquire);  // DEQUE-CONSUME acquire <- take_oldest: the slot was read
  std::uint32_t t = p->deque_tail.load(relaxed);  // relaxed: the owner wrote it
  if (t - h >= capacity) return false;
  os::plain_write(&p->deque[t % capacity]);
  p->deque[t % capacity].store(g, relaxed);  // relaxed: published by the tail
  p->deque_tail.store(t + 1, release);       // DEQUE-PUBLISH release -> acquire in take_oldest
  return true;
}

// Owner only: the newest. Null when empty.
G* pop(P* p);

// Anyone: the oldest. Null when empty.
G* take_oldest(P* p);

// Owner only: up to n of the oldest, at once, behind those in `batch`.
void take_oldest(P* p, std::uint32_t n, g_list& batch);

// The owner of `dst` takes from `src`: the oldest, which is returned; where there are many, hence none of them large, up to half, which go
// into dst's own deque, the newest of them on top, but no more than `most`. Null when there was nothing.
G* steal_into(P* dst, P* src, std::uint32_t most = capacity);

}  // namespace weft::rt::deque
