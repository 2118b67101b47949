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

// Owner only. All below position s is public.
void publish_below(P* p, std::uint32_t s) {
  // DEQUE-PUBLISH release -> acquire in take.
  if (before(p->deque_split.load(relaxed), s)) p->deque_split.store(s, release);
}

// The owner has come down to the split: slot t is public, and so may those below be, from h on. The upper half is private from now on: who takes back
// all makes each thief ask, and wait for as long as a goroutine takes.
WEFT_NOINLINE void reclaim(P* p, std::uint32_t h, std::uint32_t t) {
  const std::uint32_t s = h + (t + 1 - h) / 2;
  p->deque_split.store(s, release);  // S1. release: as in publish_below, for what stays
  os::fence_full();                  // S2
  h = p->deque_head.load(relaxed);   // S3. relaxed: after S2
  // Slot h again, release as above; but not what is to be pushed next, where thieves have taken all.
  if (!before(h, s)) p->deque_split.store(h + (before(t, h) ? 0 : 1), release);
}

// Owner, whose tail is t: thieves have called. All but the newest below t are public from now on, or, where they may be at it already, all.
WEFT_NOINLINE void settle(P* p, std::uint32_t t) {
  const std::uint64_t epoch = (p->deque_call.load(relaxed) + call::epoch) & call::epochs;  // relaxed: the owner's
  const std::uint64_t was =
      p->deque_call.exchange(epoch, relaxed);  // S1. relaxed: a position; S2, and publish, order it
  if ((was & call::mask) == call::asked) {
    if (const std::uint32_t h = p->deque_head.load(relaxed); before(h, t)) publish_below(p, t - h > 1 ? t - 1 : t);
    return;
  }
  os::fence_full();  // S2
  publish_below(p, t);
}

}  // namespace

void publish(P* p) {
  const std::uint32_t t = p->deque_tail.load(relaxed);  // relaxed: the owner wrote it
  const std::uint32_t h = p->deque_head.load(relaxed);  // relaxed: an older one makes public what has been taken
  if (before(h, t)) publish_below(p, t - h > 1 ? t - 1 : t);
}

void answer(P* p) { settle(p, p->deque_tail.load(relaxed)); }

G* pop(P* p) {
  std::uint32_t t = p->deque_tail.load(relaxed);  // relaxed: the owner wrote it
  std::uint32_t h = p->deque_head.load(relaxed);  // relaxed: head never passes tail; an older one is looked at again
  if (t == h) return nullptr;
  --t;
  if (t == h) {
    // It lies there alone: a race with the thieves. relaxed: the slot's next writer is this owner.
    G* g = p->deque[t % capacity].load(relaxed);
    if (!p->deque_head.compare_exchange_strong(h, h + 1, relaxed, relaxed)) return nullptr;
    p->deque_split.store(h + 1, relaxed);  // I3. relaxed: there is nothing below it
    return g;
  }
  if (before(t, p->deque_split.load(relaxed))) [[unlikely]]
    reclaim(p, h, t);
  // O1. release: who sees this tail takes what lies below it (DEQUE-TAIL); the tail that push stored may be gone.
  p->deque_tail.store(t, release);
  os::fence_light();                                                          // O2
  if ((p->deque_call.load(relaxed) & call::mask) != call::none) [[unlikely]]  // O3. relaxed: after O2
    settle(p, t);
  h = p->deque_head.load(relaxed);  // S3, if it was. relaxed: after S2
  const auto above = static_cast<std::int32_t>(t - h);
  if (above > 0) {
    prefetch(p, t, above);
    return p->deque[t % capacity].load(relaxed);  // relaxed: the owner wrote it
  }
  G* g = nullptr;
  if (above == 0) {
    // As above, with thieves that were quicker than our first look.
    g = p->deque[t % capacity].load(relaxed);
    if (!p->deque_head.compare_exchange_strong(h, h + 1, relaxed, relaxed)) g = nullptr;
  }
  p->deque_tail.store(t + 1, release);   // empty: head == tail. release: as O1
  p->deque_split.store(t + 1, relaxed);  // I3. relaxed: there is nothing below it
  return g;
}

G* take(P* p) {
  for (;;) {
    std::uint32_t h = p->deque_head.load(relaxed);          // T1. relaxed: before T2; a stale one fails the exchange
    os::fence_full();                                       // T2
    if (!before(h, p->deque_split.load(acquire))) {         // T3. DEQUE-PUBLISH acquire <- publish_below, reclaim
      const std::uint64_t c = p->deque_call.load(acquire);  // T3. DEQUE-PUBLISH acquire <- force
      if ((c & call::mask) != call::open || !before(h, call::position(c))) return nullptr;
    }
    const os::moment read = os::this_moment();
    G* g = p->deque[h % capacity].load(relaxed);  // relaxed: by T3; a slot that was used again fails the exchange
    // DEQUE-CONSUME release -> acquire in push: our read comes before the slot's reuse. A failure means that another took this one.
    if (p->deque_head.compare_exchange_strong(h, h + 1, release, relaxed)) {
      os::plain_read(&p->deque[h % capacity], read);
      return g;
    }
  }
}

void ask(P* p) {
  // Looked at first: the line is the owner's to read. relaxed, all: a request, and what it is about is carried by DEQUE-PUBLISH.
  std::uint64_t c = p->deque_call.load(relaxed);
  if ((c & call::mask) == call::none) p->deque_call.compare_exchange_strong(c, c | call::asked, relaxed, relaxed);
}

void force(P* p) {
  std::uint64_t c = p->deque_call.load(relaxed);        // relaxed: F2 comes behind it
  const std::uint32_t x = p->deque_tail.load(relaxed);  // relaxed: a wish
  switch (c & call::mask) {
    case call::wanted:
      break;  // by another, who may be off its CPU: its call serves as well
    case call::open:
      // It is enough while there is something below it, and as long as nothing was pushed since: the owner had not seen the call then.
      if (before(p->deque_head.load(relaxed), call::position(c)) || !before(call::position(c), x)) return;
      [[fallthrough]];
    default: {
      const std::uint64_t wanted = call::at(x) | (c & call::epochs) | call::wanted;
      // F1. relaxed: F2 comes between it and F3, and is a fence of the owner's, too (or behind the owner's, O2).
      if (!p->deque_call.compare_exchange_strong(c, wanted, relaxed, relaxed)) return;
      c = wanted;
    }
  }
  os::fence_heavy();                                    // F2
  const std::uint32_t t = p->deque_tail.load(acquire);  // F3. DEQUE-TAIL acquire <- push, pop
  const std::uint32_t all = before(call::position(c), t) ? call::position(c) : t;
  // F4. DEQUE-PUBLISH release -> acquire in take. A failure means that the owner has answered, or another thief was quicker.
  p->deque_call.compare_exchange_strong(c, call::at(all) | (c & call::epochs) | call::open, release, relaxed);
}

void take_oldest(P* p, std::uint32_t n, g_list& batch) {
  std::uint32_t t = p->deque_tail.load(relaxed);  // relaxed: the owner wrote it
  std::uint32_t h = p->deque_head.load(relaxed);  // relaxed: a stale head fails the exchange
  do {
    n = std::min(n, t - h);
    // relaxed: the slots' next writer is this owner. A failure means that a thief took some.
  } while (!p->deque_head.compare_exchange_weak(h, h + n, relaxed, relaxed));
  if (before(p->deque_split.load(relaxed), h + n))
    p->deque_split.store(h + n, relaxed);  // I3. relaxed: nothing below it
  for (std::uint32_t i = 0; i < n; ++i)
    batch.push_back(p->deque[(h + i) % capacity].load(relaxed));  // relaxed: the owner wrote it
}

G* steal_into(P* dst, P* src, std::uint32_t most) {
  const std::uint32_t there = size(src);
  G* first = take(src);
  if (!first || there < limits::deque_steal_many) return first;
  for (std::uint32_t n = std::min({there / 2, capacity / 2, most}); n > 1 && size(dst) < capacity; --n) {
    G* g = take(src);
    if (!g) break;
    push(dst, g);
  }
  return first;
}

}  // namespace weft::rt::deque
