// SPDX-License-Identifier: MIT

#include "semaphore.h"

#include <stdexcept>

namespace weft {

using namespace rt;

namespace {
constexpr auto max_permits = static_cast<std::uint64_t>(semaphore::max());
}

semaphore::semaphore(std::int64_t permits) : word_(static_cast<std::uint64_t>(permits) * 2) {
  if (permits < 0 || permits > max()) throw std::invalid_argument("weft::semaphore: permits below 0 or above max()");
}

void semaphore::bad_number() { throw std::invalid_argument("weft::semaphore: a negative number of permits"); }

// Lot's lock; the word's waited_for is set.
void semaphore::grant(lot& l, std::uint64_t permits, woken_list& out) {
  wait_entry* e = l.first(lot_kind::semaphore, this);
  while (e && e->want <= permits) {
    permits -= e->want;
    e->handed = true;
    out.take(l, *e);
    e = l.first(lot_kind::semaphore, this);
  }
  // PERMIT release. The last touch, unless somebody still waits.
  word_.store(permits * 2 + (e ? waited_for : 0), weft::release);
}

bool semaphore::withdraw(wait_entry& e) {
  woken_list out;
  {
    lot& l = lot_of(e.object);
    lock_scope hold(l.lk);
    if (!e.queued) return false;
    auto* self = static_cast<semaphore*>(const_cast<void*>(e.object));
    l.remove(e);
    self->grant(l, self->word_.load(relaxed) >> 1, out);  // it may have stood before smaller requests
  }
  out.wake_all();
  return true;
}

bool semaphore::wait(std::int64_t n, std::int64_t deadline) {
  if (deadline != os::no_deadline && deadline <= os::now_ns()) {
    cooperate(self());
    return false;
  }
  wait_entry e(lot_kind::semaphore, this, withdraw);
  e.want = static_cast<std::uint64_t>(n);
  {
    lot& l = lot_of(this);
    lock_scope hold(l.lk);
    std::uint64_t w = word_.load(relaxed);  // relaxed: a look, the exchange decides
    for (;;) {
      bool enough = !(w & waited_for) && (w >> 1) >= e.want;
      // PERMIT acquire <- release.
      if (word_.compare_exchange_weak(w, enough ? w - 2 * e.want : w | waited_for, weft::acquire, relaxed)) {
        if (enough) return true;
        break;
      }
    }
    l.push_back(e);
  }
  block_until(e, wait_reason::semaphore, deadline);
  return e.handed;
}

void semaphore::release(std::int64_t n) {
  if (n < 0) bad_number();
  auto more = static_cast<std::uint64_t>(n);
  woken_list out;
  std::uint64_t w = word_.load(relaxed);  // relaxed: a look, the exchange decides
  for (;;) {
    if ((w >> 1) + more > max_permits) throw std::overflow_error("weft::semaphore: more permits than max()");
    if (!(w & waited_for)) {
      if (word_.compare_exchange_weak(w, w + 2 * more, weft::release, relaxed))
        break;  // PERMIT release. The last touch
      continue;
    }
    lot& l = lot_of(this);
    lock_scope hold(l.lk);
    w = word_.load(relaxed);  // relaxed: with waited_for set it changes under this lock only
    if (!(w & waited_for)) continue;
    if ((w >> 1) + more > max_permits) continue;  // throws
    grant(l, (w >> 1) + more, out);
    break;
  }
  out.wake_all();
  cooperate(self());
}

}  // namespace weft
