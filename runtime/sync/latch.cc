// SPDX-License-Identifier: MIT

#include "latch.h"

#include <stdexcept>

#include "../base/check.h"

namespace weft {

using namespace rt;

latch::latch(std::int64_t n) : word_(static_cast<std::uint64_t>(n) * 2) {
  if (n < 0 || n > max()) throw std::invalid_argument("weft::latch: a count below 0 or above max()");
}

void latch::count_down(std::int64_t n) {
  std::uint64_t w = word_.load(relaxed);
  std::uint64_t to;
  do {
    if (n < 0 || static_cast<std::uint64_t>(n) > w >> 1) throw std::logic_error("weft::latch: count below zero");
    to = w - 2 * static_cast<std::uint64_t>(n);
    // LATCH acq_rel: what the caller did; and what the others did, for whom the last one wakes. The last touch.
  } while (!word_.compare_exchange_weak(w, to, acq_rel, relaxed));
  if (to == waited_for) {
    // By address: the latch may be gone, and another be here. Its waiters, too, look again when they are woken.
    woken_list out;
    {
      lot& l = lot_of(this);
      lock_scope hold(l.lk);
      while (wait_entry* e = l.first(lot_kind::latch, this)) out.take(l, *e);
    }
    out.wake_all();
  }
  cooperate(self());
}

void latch::wait() const {
  wait_entry e(lot_kind::latch, this, nullptr);
  for (;;) {
    {
      lot& l = lot_of(this);
      lock_scope hold(l.lk);
      std::uint64_t w = word_.load(acquire);  // LATCH acquire
      while (w >> 1 != 0 && !word_.compare_exchange_weak(w, w | waited_for, acquire, acquire)) {
      }
      if (w >> 1 == 0) break;
      l.push_back(e);
    }
    block(e, wait_reason::latch);
    e.arm();
  }
  cooperate(self());
}

}  // namespace weft
