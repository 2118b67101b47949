// SPDX-License-Identifier: MIT

#include "latch.h"

#include <stdexcept>

namespace weft {

using namespace rt;

latch::latch(std::int64_t n) : word_(static_cast<std::uint64_t>(n) * 2) {
  if (n < 0 || n > max()) throw std::invalid_argument("weft::latch: a count below 0 or above max()");
}

void latch::count_down(std::int64_t n) {
  if (n < 0) throw std::logic_error("weft::latch: a negative count");
  const std::uint64_t down = 2 * static_cast<std::uint64_t>(n);
  woken_list out;
  std::uint64_t w = word_.load(relaxed);  // relaxed: the exchange decides
  for (;;) {
    if (down > w) throw std::logic_error("weft::latch: count below zero");
    // LATCH release: what the caller did. The last touch.
    if (w - down != waited_for) {
      if (word_.compare_exchange_weak(w, w - down, release, relaxed)) break;
      continue;
    }
    // It opens, with waiters: they are taken out in the same section, since once one of them runs the latch may be gone.
    lot& l = lot_of(this);
    lock_scope hold(l.lk);
    // LATCH acq_rel: and acquire, what the others did, for whom we wake.
    if (!word_.compare_exchange_strong(w, 0, acq_rel, relaxed)) continue;
    while (wait_entry* e = l.first(lot_kind::latch, this)) out.take(l, *e);
    break;
  }
  out.wake_all();
  cooperate(self());
}

void latch::wait() const {
  if (word_.load(acquire) >> 1 != 0) {  // LATCH acquire
    wait_entry e(lot_kind::latch, this, nullptr);
    bool queued = false;
    {
      lot& l = lot_of(this);
      lock_scope hold(l.lk);
      // LATCH acquire. The exchange is relaxed: who wakes us brings it all.
      for (std::uint64_t w; !queued && (w = word_.load(acquire)) >> 1 != 0;)
        queued = word_.compare_exchange_weak(w, w | waited_for, relaxed, relaxed);
      if (queued) l.push_back(e);
    }
    if (queued) block(e, wait_reason::latch);
  }
  cooperate(self());
}

}  // namespace weft
