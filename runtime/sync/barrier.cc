// SPDX-License-Identifier: MIT

#include "barrier.h"

#include <stdexcept>

namespace weft::rt {

barrier_core::barrier_core(std::int64_t n) : expected_(n), missing_(n) {
  if (n < 0) throw std::invalid_argument("weft::barrier: a negative number expected");
}

std::uint64_t barrier_core::arrive(std::int64_t n, std::int64_t drop, bool& last) {
  lock_scope hold(lot_of(this).lk);
  if (n <= 0 || n > missing_) throw std::logic_error("weft::barrier: more arrive than are expected");
  missing_ -= n;
  expected_ -= drop;
  last = missing_ == 0;
  return phase_;
}

void barrier_core::open() {
  woken_list out;
  {
    lot& l = lot_of(this);
    lock_scope hold(l.lk);
    ++phase_;
    missing_ = expected_;
    while (wait_entry* e = l.first(lot_kind::barrier, this)) out.take(l, *e);
  }
  out.wake_all();
}

void barrier_core::wait(std::uint64_t phase) {
  wait_entry e(lot_kind::barrier, this, nullptr);
  {
    lot& l = lot_of(this);
    lock_scope hold(l.lk);
    if (phase_ != phase) return;
    l.push_back(e);
  }
  block(e, wait_reason::barrier);
}

}  // namespace weft::rt
