// SPDX-License-Identifier: MIT
//
// Waits are queued in the machine's threads. What the waiter compares is what any load may see that comes after all futex calls so far
// (the kernel's own locks and fences order waiter and waker), so: the word changed, then woken, is never missed; a word changed and not
// yet woken may be. Nothing else is ordered.

#include "../futex.h"

#include "machine.h"

namespace weft::os {

using sim::machine;

futex_result futex_wait(atomic<std::uint32_t>& word, std::uint32_t expected, std::int64_t deadline_ns) noexcept {
  machine& m = *sim::the_machine;
  sim::vthread& t = *m.now;
  m.point({sim::what::futex_wait, word.raw(), false, true}, t.last_site);
  sim::location& l = m.at(word.raw(), 4, {});
  std::uint32_t value = static_cast<std::uint32_t>(m.futex_value(l));
  if (value != expected) {
    if (m.tracing) m.note(sim::what::futex_wait, t.last_site, &l, value, 0, 0, false, 0, "changed");
    return futex_result::changed;
  }
  if (deadline_ns <= m.time) return futex_result::timed_out;
  if (m.spurious_left > 0 && m.choose(sim::decision::spurious_wake, 2) != 0) {
    --m.spurious_left;
    if (m.tracing) m.note(sim::what::futex_wait, t.last_site, &l, value, 0, 0, false, 0, "woken for no reason");
    return futex_result::woken;
  }
  if (m.tracing) m.note(sim::what::futex_wait, t.last_site, &l, value, 0, 0, false, 0, "sleeps");
  t.waits_at = word.raw();
  t.deadline = deadline_ns == no_deadline ? INT64_MAX : deadline_ns;
  m.block();
  return t.timed_out ? futex_result::timed_out : futex_result::woken;
}

int futex_wake(atomic<std::uint32_t>& word, int n) noexcept {
  if (!sim::inside) return 0;
  machine& m = *sim::the_machine;
  const void* at = word.raw();  // only an address: the word may be gone
  m.point({sim::what::futex_wake, at, true, true}, m.now->last_site);
  m.global_sc.join(m.now->now.hb);
  m.wrote(m.now->id);
  int woken = 0;
  while (woken < n) {
    sim::vthread* first = nullptr;
    for (int i = 0; i < m.nthreads; ++i) {
      sim::vthread& t = m.threads[i];
      if (t.state == sim::thread_state::blocked && t.waits_at == at && (!first || t.order < first->order)) first = &t;
    }
    if (!first) break;
    m.wake(*first);
    ++woken;
  }
  if (m.tracing)
    m.note(sim::what::futex_wake, m.now->last_site, m.find(at), static_cast<std::uint64_t>(woken), 0, 0, false, 0,
           "woken");
  return woken;
}

}  // namespace weft::os
