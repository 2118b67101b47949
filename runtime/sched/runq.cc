// SPDX-License-Identifier: MIT

#include "runq.h"

#include <algorithm>

namespace weft::rt {

G* take_runnext_slow(P* p, G* g) {
  // O3 where it is not free; where it is, the caller's compiler fence and the thief's fence_heavy already did it.
  if (p->claim.load(relaxed) & claim::fenced) os::fence_full();
  std::uint64_t c = p->claim.load(relaxed);
  if ((c & claim::mask) == claim::wanted) {
    // A thief looks at this runnext. Whoever moves the claim first has g. relaxed: nothing but the claim itself is passed on; that the
    // next thief sees O2 is his T2's doing, with O3.
    if (p->claim.compare_exchange_strong(c, (c & ~claim::mask) + claim::epoch, relaxed, relaxed)) return g;
  }
  if ((c & claim::mask) == claim::taken) {
    // The thief has g; runnext is erased (O2), so the next thief may come. relaxed: as above.
    p->claim.store((c & ~claim::mask) + claim::epoch, relaxed);
    return nullptr;
  }
  return g;  // idle: no thief, or one that gave up
}

G* steal_runnext(P* p) {
  std::uint64_t c = p->claim.load(relaxed);
  if ((c & claim::mask) != claim::idle) return nullptr;  // another thief, or a theft that the owner has yet to notice
  // T1. relaxed: T2 comes between it and T3, and is a fence of the owner's, too (or behind the owner's, O3).
  if (!p->claim.compare_exchange_strong(c, c | claim::wanted, relaxed, relaxed)) return nullptr;
  std::uint64_t wanted = c | claim::wanted;
  os::fence_heavy();                // T2
  G* g = p->runnext.load(acquire);  // T3. RUNNEXT acquire <- put_runnext
  std::uint64_t next = g ? (c | claim::taken) : (c + claim::epoch);
  // T4. relaxed: the claim is all there is to say. A failure means that the owner took it; it has opened the next epoch already.
  if (!p->claim.compare_exchange_strong(wanted, next, relaxed, relaxed)) return nullptr;
  return g;
}

namespace runq {

G* steal_into(M* m, P* dst, P* src, std::uint32_t most) {
  std::uint32_t to = dst->runq_tail.load(relaxed);  // relaxed: ours
  for (;;) {
    const std::uint64_t w = src->runq_head.load(relaxed);  // relaxed: a stale head fails the move
    const std::uint32_t h = head::of(w);
    std::uint32_t t = src->runq_tail.load(acquire);  // RUNQ-PUBLISH acquire <- put: the slots up to t
    std::uint32_t n = t - h;
    n -= n / 2;
    if (n == 0) return nullptr;
    if (n > capacity / 2) continue;  // h and t are of different moments: t may even be the older one
    // dst's owner is here, so its ring is empty or nearly so; never overfill it.
    std::uint32_t room =
        capacity - (to - head::of(dst->runq_head.load(acquire)));  // RUNQ-CONSUME acquire <- takers from dst
    n = std::min({n, room + 1, most});
    const os::moment read = os::this_moment();
    // Up to the first one that is bound to a P. (The slots may be stale, the Gs recycled: then the move below fails.)
    G* last = nullptr;
    for (std::uint32_t i = 0; i < n; ++i) {
      G* g = src->runq[(h + i) % capacity].load(relaxed);
      if (g->affinity.load(relaxed) != src->s) {
        n = i;
        break;
      }
      if (i > 0) {
        os::plain_write(&dst->runq[(to + i - 1) % capacity]);
        dst->runq[(to + i - 1) % capacity].store(last, relaxed);
      }
      last = g;
    }
    if (n == 0) return nullptr;
    // RUNQ-CONSUME release -> acquire in put: our reads come before the slots' reuse. A failure means that others took some.
    if (!move(m, src->runq_head, w, head::at(h + n), release)) continue;
    for (std::uint32_t i = 0; i < n; ++i) os::plain_read(&src->runq[(h + i) % capacity], read);
    if (n > 1) dst->runq_tail.store(to + n - 1, release);  // RUNQ-PUBLISH release
    return last;
  }
}

}  // namespace runq
}  // namespace weft::rt
