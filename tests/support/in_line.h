// SPDX-License-Identifier: MIT
//
// How many wait in line for a mutex, a semaphore or the like: not merely on their way to it.
#pragma once

#include "runtime/sync/parking_lot.h"

namespace weft_test {

inline int in_line(weft::rt::lot_kind kind, const void* object) {
  weft::rt::lot& l = weft::rt::lot_of(object);
  weft::lock_scope hold(l.lk);
  int n = 0;
  for (auto* e = l.first(kind, object); e; e = e->next) ++n;
  return n;
}

}  // namespace weft_test
