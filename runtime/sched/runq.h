// SPDX-License-Identifier: MIT
//
// The run queue of a P: a bounded ring that its owner fills and empties and any other P steals from, and in front of it
// `runnext`, the goroutine that was readied last.
//
// Ring. One producer (the owner), many consumers (owner and thieves). The tail is moved by the owner only, the head by all: a biased word (biased.h),
// which the owner moves by plain stores while no thief comes, for some ten thousand takes on end; the first thief then fences it.
//   I1  head <= tail <= head + capacity, as distances modulo 2^32.
//   I2  slots in [head, tail) hold goroutines; only who moves head past a slot owns what it held.
// A thief that comes to a head with another P's bias pays a fence of 1 to 50 us, once; a ring that is robbed more often than it goes round some
// dozen times never has one. (A yield between two, other Ps being there: 7.4 -> 6.0 ns.)
// Progress: put is wait-free; get and steal_into are lock-free (a failed move means that another taker got on; see biased.h).
//
// runnext. What makes a ping-pong fast is that readying and picking the other goroutine cost no locked instruction. So the
// owner uses plain loads and stores, and a thief, who comes only when a goroutine waits too long behind one that computes
// (sysmon, every 50 us or so), pays for both. `claim` says who gets it, in epochs:
//
//     idle(n) --thief: cas--> wanted(n) --thief: cas--> taken(n) --owner: store--> idle(n+1)
//                                 \--owner or thief: cas--> idle(n+1)
//
//   RUNNEXT-CLAIM    owner: take_runnext             thief: steal_runnext
//                    O1 g = runnext                  T1 claim: idle(n) -> wanted(n)
//                    O2 runnext = null               T2 fence_heavy
//                    O3 fence_light                  T3 g = runnext
//                    O4 claim idle? g is mine        T4 claim: wanted(n) -> taken(n)? g is mine
//   Forbidden: O4 sees idle (before T1) and T3 sees g that O2 erased. Then both run g.
//   Past T2 every owner's take sees wanted or taken, and settles by compare-and-swap who has it. The thief never writes
//   runnext: the owner erases it. The owner never waits: a thief that is stopped between T1 and T4 loses the race.
// Progress: take_runnext is wait-free (one try each way); steal_runnext is wait-free, and may come home empty-handed.
//
// Rejected: compare-and-swap on runnext by both sides, as Go does: two locked instructions per switch, a third of a ping-pong.
//
// Edges
//   name            release side           acquire side          carries                               model test
//   RUNQ-PUBLISH    put, yield's commit    get, steal_into       slot contents; the G, saved           runq.publish_to_one_thief
//   RUNQ-CONSUME    steal_into             put, steal_into       the slot has been read, may be reused runq.reuse_of_slots
//   BIAS            see biased.h: thieves and the owner's plain stores of the head                     runq.biased, biased_two_thieves
//   RUNNEXT         put_runnext            steal_runnext         the G, saved                          runnext.claim
//   RUNNEXT-CLAIM   above                                                                              runnext.claim, two_thieves
//
// Sources: Go proc.go runqput, runqget, runqgrab; the asymmetric take is weft's own.

#pragma once

#include <algorithm>

#include "biased.h"

namespace weft::rt {

namespace claim {
inline constexpr std::uint64_t mask = 3;
inline constexpr std::uint64_t idle = 0;
inline constexpr std::uint64_t wanted = 1;
inline constexpr std::uint64_t taken = 2;
// Set for good where fence_light() is not free: sends take_runnext the slow way, which has the real fence.
inline constexpr std::uint64_t fenced = 4;
inline constexpr std::uint64_t epoch = 8;
}  // namespace claim

// Settles a take that met a thief. Owner only.
WEFT_API G* take_runnext_slow(P* p, G* g);

// Owner only.
[[gnu::always_inline]] inline G* take_runnext(P* p) {
  G* g = p->runnext.load(relaxed);  // O1. relaxed: the owner wrote it
  if (!g) return nullptr;
  p->runnext.store(nullptr, relaxed);  // O2. relaxed: ordered before O4 by RUNNEXT-CLAIM's fence pair
  asm volatile("" ::: "memory");       // O3, the light half, when it is free
  if (p->claim.load(relaxed) & (claim::mask | claim::fenced)) [[unlikely]]  // O4
    return take_runnext_slow(p, g);
  return g;
}

// Owner only; runnext must be empty.
[[gnu::always_inline]] inline void put_runnext(P* p, G* g) {
  p->runnext.store(g,
                   release);  // RUNNEXT release -> acquire in steal_runnext. Weaker, a thief could run a half-saved g.
}

// Anyone but the owner. Null when there is nothing, or when the owner or another thief was there first. Microseconds.
G* steal_runnext(P* p);

// A hint, for anyone: false may be stale at once.
inline bool has_runnext(const P* p) {
  return p->runnext.load(relaxed) != nullptr && (p->claim.load(relaxed) & claim::mask) != claim::taken;
}

namespace runq {

inline constexpr std::uint32_t capacity = limits::runq_capacity;
static_assert((capacity & (capacity - 1)) == 0 && capacity >= 4);

// From head to tail, as somebody saw them who is not their owner: of different moments. With the tail behind the head, all that was in before that
// tail has been taken; with the tail more than the capacity before the head, it was never empty in between. (Modulo 2^32 a ring of minus
// one and a deque of one made none together, and sysmon went to sleep on the one.)
inline std::uint32_t distance(std::uint32_t head, std::uint32_t tail, std::uint32_t capacity) {
  const auto n = static_cast<std::int32_t>(tail - head);
  return n < 0 ? 0 : std::min(static_cast<std::uint32_t>(n), capacity);
}

// The head: a position, modulo 2^32, above the four bits that a biased word keeps.
namespace head {
constexpr std::uint32_t of(std::uint64_t w) { return static_cast<std::uint32_t>(w >> 4); }
constexpr std::uint64_t at(std::uint32_t position) { return std::uint64_t{position} << 4; }
}  // namespace head

// Owner only. False when full.
inline bool put(P* p, G* g) {
  std::uint32_t h = head::of(p->runq_head.load(acquire));  // RUNQ-CONSUME acquire <- steal_into: the slot was read
  std::uint32_t t = p->runq_tail.load(relaxed);            // relaxed: the owner wrote it
  if (t - h >= capacity) return false;
  os::plain_write(&p->runq[t % capacity]);
  p->runq[t % capacity].store(g, relaxed);  // relaxed: published by the tail
  p->runq_tail.store(t + 1, release);       // RUNQ-PUBLISH release -> acquire in steal_into
  return true;
}

// The lines that a goroutine finds its way back by: of one that sleeps, from a loop, all there are.
[[gnu::always_inline]] inline void fetch_stack([[maybe_unused]] const G* g) {
#if !WEFT_TSAN  // reads the saved context of a goroutine that may run elsewhere
  const auto sp = reinterpret_cast<std::uintptr_t>(g->ctx.sp);
  for (std::uintptr_t line = sp - 128; line != sp + 320; line += 64)  // with two below, for the frames it will call
    __builtin_prefetch(reinterpret_cast<const void*>(line), 1);
#endif
}

// The ring is long when many goroutines wait, and then each is cold: its lines, and its stack's, are fetched while those before it run. What
// was stolen meanwhile is fetched in vain; it is there to be read, as goroutines are type-stable.
[[gnu::always_inline]] inline void prefetch([[maybe_unused]] const P* p, [[maybe_unused]] std::uint32_t h,
                                            [[maybe_unused]] std::uint32_t t) {
#if !WEFT_TSAN  // reads the saved context of a goroutine that may run elsewhere
  if (capacity <= 8 || t - h <= 8) return;
  __builtin_prefetch(p->runq[(h + 8) % capacity].load(relaxed), 1);
  fetch_stack(p->runq[(h + 4) % capacity].load(relaxed));
#endif
}

// The head as somebody saw it, the tail, and who is the oldest; null: there is none.
struct oldest {
  std::uint64_t head;
  std::uint32_t tail;
  G* g;
};

// Owner only, both: look, and take who was seen. By the M that holds p; null: who has p for himself. False: a thief has moved the head.
[[gnu::always_inline]] inline oldest look(const P* p) {
  const std::uint64_t w = p->runq_head.load(relaxed);  // relaxed: a stale head fails the move
  const std::uint32_t h = head::of(w);
  const std::uint32_t t = p->runq_tail.load(relaxed);  // relaxed, both: the owner wrote it
  return {w, t, t == h ? nullptr : p->runq[h % capacity].load(relaxed)};
}
[[gnu::always_inline]] inline bool take(M* m, P* p, const oldest& first) {
  const std::uint32_t h = head::of(first.head);
  const std::uint64_t next = (first.head & bias_flag) | head::at(h + 1);
  // relaxed: the slot's next writer is this owner, or comes after it by lk. With no other P there is no thief: a yield between two takes 5.4 ns instead
  // of 7.4.
  if (!p->thieves)
    p->runq_head.store(next, relaxed);
  else if (!move<flag::same, seen::just_now>(m, p->runq_head, first.head, next, relaxed))
    return false;
  prefetch(p, h, first.tail);
  return true;
}
inline G* get(M* m, P* p) {
  for (;;) {
    const oldest first = look(p);
    if (!first.g || take(m, p, first)) return first.g;
  }
}

// A hint, for anyone; for the owner never less than there are.
inline std::uint32_t size(const P* p) {
  std::uint32_t h = head::of(p->runq_head.load(relaxed));
  std::uint32_t t = p->runq_tail.load(relaxed);
  return distance(h, t, capacity);
}

// The same, owner only, who knows the tail.
inline std::uint32_t own_size(const P* p) { return p->runq_tail.load(relaxed) - head::of(p->runq_head.load(relaxed)); }

// The owner of `dst` takes half of `src`'s ring, rounded up, and up to `most`; all but one go into dst's own ring, the last is returned. Null
// when there was nothing, or when the first one is bound to its P (a laboratory's; those behind it wait until it has run). `m` holds dst, or is null.
G* steal_into(M* m, P* dst, P* src, std::uint32_t most = capacity);

}  // namespace runq
}  // namespace weft::rt
