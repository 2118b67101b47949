// SPDX-License-Identifier: MIT

#include "parking_lot.h"

#include "../base/check.h"
#include "../sched/timer.h"

namespace weft::rt {

namespace {

constinit lot lots[num_lots];

// Wakes its waiter when the time has come.
struct alarm : timer {
  wait_entry* e = nullptr;
};

void time_out(wait_entry& e) noexcept {
  e.timed_out = true;
  wake(e);
}

}  // namespace

lot& lot_of(const void* object) noexcept { return lots[lot_index(object)]; }

void wait_entry::arm() noexcept {
  M* m = self();
  handed = false;
  timed_out = false;
  if (m) {
    who = m->curg;
    state.store(0, relaxed);  // relaxed: published by the lot's lock
  } else {
    thread.emplace();
    who = &*thread;
    state.store(1, relaxed);  // relaxed: as above
  }
}

wait_entry** lot::link_to(lot_kind k, const void* object) noexcept {
  wait_entry** at = &heads;
  while (*at && ((*at)->object != object || (*at)->kind != k)) at = &(*at)->next_head;
  return at;
}

wait_entry* lot::first(lot_kind k, const void* object) const noexcept {
  wait_entry* e = heads;
  while (e && (e->object != object || e->kind != k)) e = e->next_head;
  return e;
}

void lot::push_back(wait_entry& e) noexcept {
  WEFT_DCHECK(!e.queued, "lot::push_back: queued twice");
  e.queued = true;
  e.next = nullptr;
  wait_entry** at = link_to(e.kind, e.object);
  if (wait_entry* head = *at) {
    e.prev = head->last;
    head->last->next = &e;
    head->last = &e;
    return;
  }
  e.prev = nullptr;
  e.last = &e;
  e.next_head = nullptr;
  *at = &e;
}

void lot::push_front(wait_entry& e) noexcept {
  wait_entry** at = link_to(e.kind, e.object);
  wait_entry* head = *at;
  if (!head) return push_back(e);
  WEFT_DCHECK(!e.queued, "lot::push_front: queued twice");
  e.queued = true;
  e.prev = nullptr;
  e.next = head;
  e.last = head->last;
  e.next_head = head->next_head;
  head->prev = &e;
  *at = &e;
}

void lot::remove(wait_entry& e) noexcept {
  WEFT_DCHECK(e.queued, "lot::remove: not queued");
  e.queued = false;
  if (e.prev) {
    e.prev->next = e.next;
    if (e.next)
      e.next->prev = e.prev;
    else
      first(e.kind, e.object)->last = e.prev;
    return;
  }
  wait_entry** at = link_to(e.kind, e.object);
  WEFT_DCHECK(*at == &e, "lot::remove: not the head that it says it is");
  if (wait_entry* head = e.next) {
    head->prev = nullptr;
    head->last = e.last;
    head->next_head = e.next_head;
    *at = head;
  } else {
    *at = e.next_head;
  }
}

void wake(wait_entry& e) noexcept {
  waiter* who = e.who;
  // LOT-WAKE release -> block; LOT-SLEEP acquire <- block's commit: on 1 it is saved. On 0 the entry may be gone from here on.
  if (e.state.exchange(2, acq_rel) == 1) ready(self(), who);
}

void woken_list::wake_all() noexcept {
  if (!head) return;
  for (wait_entry* e = head->next; e;) {
    wait_entry* next = e->next;
    wake(*e);
    e = next;
  }
  wake(*head);
}

void block(wait_entry& e, wait_reason why) {
  if (e.thread) return block_thread(*e.thread);
  park(self(), e.state, 0, 1, why);  // `no`: woken already. LOT-SLEEP, LOT-WAKE
}

void block_until(wait_entry& e, wait_reason why, std::int64_t deadline_ns) {
  if (deadline_ns == os::no_deadline) return block(e, why);
  if (e.thread) {
    auto& woken = e.thread->woken;
    while (woken.load(acquire) == 0) {  // THREAD acquire <- ready_slow
      if (os::futex_wait(woken, 0, deadline_ns) != os::futex_result::timed_out) continue;
      if (!e.withdraw(e)) return block(e, why);  // somebody has it: the wake is on its way
      e.timed_out = true;
      return;
    }
    return;
  }
  alarm a;
  a.e = &e;
  a.fire = [](timer* t) {
    wait_entry& late = *static_cast<alarm*>(t)->e;
    if (late.withdraw(late)) time_out(late);
  };
  try {
    start_timer(a, deadline_ns);
  } catch (...) {
    if (e.withdraw(e)) throw;
    return block(e, why);
  }
  block(e, why);
  stop_timer(a);  // false: fire() has returned, and touches neither `a` nor `e` any more
}

}  // namespace weft::rt
