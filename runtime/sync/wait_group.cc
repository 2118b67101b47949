// SPDX-License-Identifier: MIT

#include "wait_group.h"

#include <stdexcept>

namespace weft {

using namespace rt;

void wait_group::add(std::int64_t n) {
  if (n == 0) return;
  std::int64_t before = count_.load(relaxed);
  std::int64_t after;
  do {
    after = before + n;
    if (after < 0) throw std::logic_error("weft::wait_group: negative counter");
    // Opened before the count shows it: whoever sees the count above zero finds a stack to wait on. Another add from zero that does
    // the same at the same time changes nothing; a wait at the same time is a misuse, as in Go.
    if (before == 0) waiters_.store(0, relaxed);
    // WG-DONE release: what the caller did; acquire: what the others did, for whom the last one wakes.
  } while (!count_.compare_exchange_weak(before, after, acq_rel, relaxed));
  if (after != 0) return cooperate(self());
  std::uint64_t w = waiters_.exchange(none, acq_rel);  // WG-WAIT acquire; WG-DONE release. The last touch
  for (auto* who = reinterpret_cast<waiter*>(w); who;) {
    waiter* next = who->next;
    ready(self(), who);
    who = next;
  }
  cooperate(self());
}

void wait_group::wait() {
  M* m = self();
  thread_waiter thread;
  waiter* me = m ? static_cast<waiter*>(m->curg) : &thread;
  for (;;) {
    std::uint64_t w = waiters_.load(acquire);  // WG-DONE acquire
    if (w == none) return cooperate(m);
    me->next = reinterpret_cast<waiter*>(w);
    if (m) {
      if (park(m, waiters_, w, reinterpret_cast<std::uint64_t>(me), wait_reason::wait_group) != parked::no) return;
    } else if (waiters_.compare_exchange_weak(w, reinterpret_cast<std::uint64_t>(me), acq_rel, relaxed)) {
      block_thread(thread);
      return;
    }
  }
}

}  // namespace weft
