// SPDX-License-Identifier: MIT

#include "deque.h"

#include <algorithm>

namespace weft::rt::deque {

namespace {

// As runq::prefetch: where many wait they are cold, and the one taken next is fetched while this one runs.
void prefetch([[maybe_unused]] const P* p, [[maybe_unused]] std::uint32_t t, [[maybe_unused]] std::int32_t below) {
#if !WEFT_TSAN
  if (capacity <= 8 || below <= 8) return;
  __builtin_prefetch(p->deque[(t - 8) % capacity].load(relaxed), 1);
  const auto* sp = static_cast<const char*>(p->deque[(t - 4) % capacity].load(relaxed)->ctx.sp);
  __builtin_prefetch(sp, 1);
  __builtin_prefetch(sp + 64, 1);
  __builtin_prefetch(sp + 128, 1);
#endif
}

}  // namespace

G* pop(P* p) {
  std::uint32_t t = p->deque_tail.load(relaxed);  // relaxed: the owner wrote it
  if (t == p->deque_head.load(relaxed))
    return nullptr;  // relaxed: head never passes tail, so this is so; an older one is looked at again
  --t;
  // O1. release: who sees this tail takes what lies below it (DEQUE-PUBLISH); the tail that push stored may be gone.
  p->deque_tail.store(t, release);
  if (p->thieves) os::fence_full();               // O2
  std::uint32_t h = p->deque_head.load(relaxed);  // O3. relaxed: after O2
  const auto above = static_cast<std::int32_t>(t - h);
  if (above > 0) {
    prefetch(p, t, above);
    return p->deque[t % capacity].load(relaxed);  // relaxed: the owner wrote it
  }
  G* g = nullptr;
  if (above == 0) {
    // The last one: a race with the thieves. relaxed: the slot's next writer is this owner.
    g = p->deque[t % capacity].load(relaxed);
    if (!p->deque_head.compare_exchange_strong(h, h + 1, relaxed, relaxed)) g = nullptr;
  }
  p->deque_tail.store(t + 1, release);  // empty: head == tail. release: as O1
  return g;
}

G* take_oldest(P* p) {
  std::uint32_t h = p->deque_head.load(relaxed);  // T1. relaxed: before T2; a stale one fails the exchange
  for (;;) {
    os::fence_full();                               // T2
    std::uint32_t t = p->deque_tail.load(acquire);  // T3. DEQUE-PUBLISH acquire <- push
    if (static_cast<std::int32_t>(t - h) <= 0) return nullptr;
    const os::moment read = os::this_moment();
    G* g = p->deque[h % capacity].load(relaxed);  // relaxed: by T3; a slot that was used again fails the exchange
    // DEQUE-CONSUME release -> acquire in push: our read comes before the slot's reuse. A failure means that another took this one.
    if (p->deque_head.compare_exchange_strong(h, h + 1, release, relaxed)) {
      os::plain_read(&p->deque[h % capacity], read);
      return g;
    }
  }
}

void take_oldest(P* p, std::uint32_t n, g_list& batch) {
  std::uint32_t t = p->deque_tail.load(relaxed);  // relaxed: the owner wrote it
  std::uint32_t h = p->deque_head.load(relaxed);  // relaxed: a stale head fails the exchange
  do {
    n = std::min(n, t - h);
    // relaxed: the slots' next writer is this owner. A failure means that a thief took some.
  } while (!p->deque_head.compare_exchange_weak(h, h + n, relaxed, relaxed));
  for (std::uint32_t i = 0; i < n; ++i)
    batch.push_back(p->deque[(h + i) % capacity].load(relaxed));  // relaxed: the owner wrote it
}

G* steal_into(P* dst, P* src, std::uint32_t most) {
  const std::uint32_t there = size(src);
  G* first = take_oldest(src);
  if (!first || there < limits::deque_steal_many) return first;
  for (std::uint32_t n = std::min({there / 2, capacity / 2, most}); n > 1 && size(dst) < capacity; --n) {
    G* g = take_oldest(src);
    if (!g) break;
    push(dst, g);
  }
  return first;
}

}  // namespace weft::rt::deque
