// SPDX-License-Identifier: MIT

#include "shared_mutex.h"

#include "../base/check.h"

namespace weft {

using namespace rt;

namespace {
constexpr std::uint64_t want_alone = 1, want_shared = 0;
}  // namespace

// Lot's lock; the word, whose waited_for is set, is to become `w` and what is granted to the first in line.
void shared_mutex::grant(lot& l, std::uint64_t w, woken_list& out) {
  w &= ~waited_for;
  wait_entry* e = l.first(lot_kind::shared_mutex, this);
  while (e && (e->want == want_alone ? w == 0 : !(w & writer))) {
    w += e->want == want_alone ? writer : reader;
    e->handed = true;
    out.take(l, *e);
    e = l.first(lot_kind::shared_mutex, this);
  }
  // SHARED release. The last touch, unless somebody still waits.
  word_.store(e ? w | waited_for : w, release);
}

bool shared_mutex::withdraw(wait_entry& e) {
  woken_list out;
  {
    lot& l = lot_of(e.object);
    lock_scope hold(l.lk);
    if (!e.queued) return false;
    auto* self = static_cast<shared_mutex*>(const_cast<void*>(e.object));
    l.remove(e);
    self->grant(l, self->word_.load(relaxed), out);  // a writer that goes may have stood before readers
  }
  out.wake_all();
  return true;
}

bool shared_mutex::wait(bool alone, std::int64_t deadline) {
  if (deadline != os::no_deadline && deadline <= os::now_ns()) return failed();
  wait_entry e(lot_kind::shared_mutex, this, withdraw);
  e.want = alone ? want_alone : want_shared;
  {
    lot& l = lot_of(this);
    lock_scope hold(l.lk);
    std::uint64_t w = word_.load(relaxed);  // relaxed: a look, the exchange decides
    for (;;) {
      bool free = alone ? w == 0 : !(w & (writer | waited_for));
      std::uint64_t to = !free ? w | waited_for : alone ? writer : w + reader;
      if (word_.compare_exchange_weak(w, to, acquire, relaxed)) {  // SHARED acquire
        if (free) return true;
        break;
      }
    }
    l.push_back(e);
  }
  block_until(e, wait_reason::shared_mutex, deadline);
  return e.handed;
}

void shared_mutex::unlock_slow() {
  woken_list out;
  {
    lot& l = lot_of(this);
    lock_scope hold(l.lk);
    std::uint64_t w = word_.load(relaxed);  // relaxed: SHARED was acquired by our lock()
    if (!(w & writer)) fatal("shared_mutex::unlock: unlock of unlocked shared_mutex");
    // Without waited_for the word may only become so under the lock: no race.
    if (w & waited_for)
      grant(l, w & ~writer, out);
    else
      word_.store(0, release);  // SHARED release
  }
  out.wake_all();
}

void shared_mutex::unlock_shared_slow() {
  woken_list out;
  {
    lot& l = lot_of(this);
    lock_scope hold(l.lk);
    std::uint64_t w = word_.load(relaxed);  // relaxed: a look, the exchange decides
    for (;;) {
      if ((w & writer) || w < reader) fatal("shared_mutex::unlock_shared: unlock of unlocked shared_mutex");
      if (w & waited_for) {
        grant(l, w - reader, out);
        break;
      }
      if (word_.compare_exchange_weak(w, w - reader, release, relaxed)) break;  // SHARED release
    }
  }
  out.wake_all();
}

}  // namespace weft
