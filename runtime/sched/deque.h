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
// Private and public. Popping costs its owner no fence and no locked instruction: a fence waits for all that the stores before it have written,
// which for a new goroutine are several lines (10 ns of its 37 at two Ps). So the deque is split. What lies below the split, the oldest, is
// public, and thieves take it at little cost. What lies above is private: a thief that wants some calls for it, and the owner, at its next push or
// pop, makes public all but the newest; so it does as well when it starts goroutines beside an idle P. Who comes down to the split
// takes back what is public there, with one fence for all. Where the owner does not answer, as its goroutine computes or its thread is off its CPU,
// the thief makes public what there is in its stead, and pays for both: its fence is one of the owner's thread as well, 2 to 10 us.
//
//   position      head          split           tail
//   slots         | public ...  | private ...   |         (all private where split <= head; split is above tail inside pop alone)
//
// The owner's `call` says what thieves want of it, in epochs:
//
//     none(e) --thief: cas--> asked(e) --thief: cas--> wanted(e, x) --thieves: cas--> open(e, x'), all below x' is public
//        ^                                   (from none(e) as well, and from an open(e, x') of which all is taken)
//        +--owner: exchange, from any of them, with the next e: it has made public, by the split, what is to be
//
// Past a thief's fence behind wanted(e, x) each push and pop of the owner's sees the call, and answers it: until then the tail stands still, so
// any thief may do the last step, and one that was slow does no harm. (Epochs repeat after 2^30 answers.)
//
// Invariants
//   I1  head <= tail <= head + capacity, as distances modulo 2^32; while the owner is inside pop, tail may be head - 1.
//   I2  slots in [head, tail) hold goroutines. A slot is taken by moving head past it, by compare-and-swap, or, by the owner alone, by
//       moving tail below it and then seeing that head is not there yet.
//   I3  split is never so far behind head that it seems to be before it: head moves past split by the owner, who then moves split as well, and by
//       thieves while the call is open, which the owner answers at its next push or pop.
//
//   DEQUE-SPLIT    owner, reclaim; answer            thief, take
//                  S1 split = s; call = none         T1 h = head
//                  S2 fence_full                     T2 fence_full
//                  S3 head < s? [s, ..) is private   T3 split > h, or call open(x) with x > h? head: h -> h + 1, and slot h is mine
//   Forbidden, for h >= s: S3 sees a head from before T1's, and T3 sees a split, or a call, from before S1. Then both run what lies in slot h.
//   Where S3 sees a head that has come to s or passed it, one thief may still be at that slot, and none above (who is there has read
//   a later head, hence the new split): that slot stays public.
//
//   DEQUE-FORCE    owner, pop                        thief, force
//                  O1 tail = t                       F1 call: -> wanted(x)
//                  O2 fence_light                    F2 fence_heavy
//                  O3 no call? slot t is private     F3 t' = tail
//                                                    F4 call: wanted(x) -> open(min(x, t'))
//   Forbidden: O3 sees no call (before F1) and F3 sees a tail from before O1. Then slot t is the owner's and public. Where O3 sees a call the owner
//   settles it: F4 fails after that, and if it came before, DEQUE-SPLIT says who has slot t.
//
// What lies there alone the owner takes as a thief does, by moving head; so it does where it finds, behind O3, that head has come to t.
// Progress: push, pop, ask and force are wait-free (a force whose exchange fails leaves it to who made it fail); take is lock-free (a failed exchange
// means that another took one).
//
// Rejected: a fence in each pop and no split, as it was: spawn at p = 2 37 ns instead of 28, no thief being there. fence_light in pop with a
// fence_heavy in each thief: 8 us, and a thief comes as often as a goroutine waits. A thief that moves head by many at once, as in the ring: the
// owner, coming down without an exchange, would meet it in the middle. A private part that only the owner can open: at p = 16 on two CPUs most
// owners are off their CPU, with work that others could do.
//
// Edges
//   name            release side              acquire side     carries                     model test
//   DEQUE-PUBLISH   publish, reclaim; force   take             slot contents; the G, made  deque.publish, publish_by_reclaim, publish_by_force
//   DEQUE-TAIL      push, pop                 force            the same, for F4            deque.publish_by_force
//   DEQUE-CONSUME   take                      push             the slot has been read      deque.reuse_of_slots
//   DEQUE-SPLIT     above                                                                  deque.split, split_two_thieves, all_taken_while_taken_back
//   DEQUE-FORCE     above                                                                  deque.force, force_again, force_and_answer
//
// Sources: Chase and Lev, "Dynamic circular work-stealing deque" (SPAA 2005), with the orders of Le, Pop, Cohen and Zappa Nardelli, "Correct and
// efficient work-stealing for weak memory models" (PPoPP 2013); the split: Dinan, Larkins, Sadayappan, Krishnamoorthy, Nieplocha, "Scalable
// work stealing" (SC 2009), and van Dijk and van de Pol, "Lace: non-blocking split deque for work-stealing" (2014); Blumofe and Leiserson on what
// depth first bounds. That a thief may open what is private is weft's own.

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

// What thieves want: the state, an epoch, and above them a position.
namespace call {
inline constexpr std::uint64_t mask = 3;
inline constexpr std::uint64_t none = 0;
inline constexpr std::uint64_t asked = 1;
inline constexpr std::uint64_t wanted = 2;
inline constexpr std::uint64_t open = 3;
inline constexpr std::uint64_t epoch = 4;
inline constexpr std::uint64_t epochs = 0xffff'fffc;
constexpr std::uint32_t position(std::uint64_t c) { return static_cast<std::uint32_t>(c >> 32); }
constexpr std::uint64_t at(std::uint32_t position) { return std::uint64_t{position} << 32; }
}  // namespace call

// Is position a before b?
constexpr bool before(std::uint32_t a, std::uint32_t b) { return static_cast<std::int32_t>(a - b) < 0; }

// A hint, for anyone: is there something that a thief may take?
inline bool has_public(const P* p) {
  const std::uint32_t h = p->deque_head.load(relaxed);
  if (before(h, p->deque_split.load(relaxed))) return true;
  const std::uint64_t c = p->deque_call.load(relaxed);
  return (c & call::mask) == call::open && before(h, call::position(c));
}

// Owner only: all but the newest are public from now on, or the one there is.
void publish(P* p);

// Owner only, inside push: thieves have called.
void answer(P* p);

// Owner only. False when full.
inline bool push(P* p, G* g) {
  std::uint32_t h = p->deque_head.load(acquire);  // DEQUE-CONSUME acquire <- take: the slot was read
  std::uint32_t t = p->deque_tail.load(relaxed);  // relaxed: the owner wrote it
  if (t - h >= capacity) return false;
  os::plain_write(&p->deque[t % capacity]);
  p->deque[t % capacity].store(g, relaxed);  // relaxed: published by split or tail
  p->deque_tail.store(t + 1, release);       // DEQUE-TAIL release -> acquire in force
  // DEQUE-FORCE. relaxed: a call that is missed here is answered at the next push or pop; behind F2 none is.
  if ((p->deque_call.load(relaxed) & call::mask) != call::none) [[unlikely]]
    answer(p);
  return true;
}

// Owner only: the newest. Null when empty.
G* pop(P* p);

// Thieves: the oldest, if it is public. Null when there is none.
G* take(P* p);

// Thieves: the owner is to make some public.
void ask(P* p);

// Thieves: makes public what there is, without the owner. Microseconds, and an interrupt of its thread.
void force(P* p);

// Owner only: up to n of the oldest, at once, behind those in `batch`.
void take_oldest(P* p, std::uint32_t n, g_list& batch);

// The owner of `dst` takes from `src` what is public: the oldest, which is returned; where there are many, hence none of them large, up to half and
// up to `most`, which go into dst's own deque, the newest of them on top. Null when there was nothing.
G* steal_into(P* dst, P* src, std::uint32_t most = capacity);

}  // namespace weft::rt::deque
