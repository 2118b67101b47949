// SPDX-License-Identifier: MIT
//
// The slow halves of park and ready, and yield.
//
// Edges
//   name       release side          acquire side     carries                     model test
//   INBOX      push_inbox            take_inbox       the Gs, saved               idle.inbox, gather.*
//   SHRINK     see to_inbox                                                     world.shrink_*
//   THREAD     ready_slow            block_thread     what the partner wrote      park.thread_waiter

#include "park.h"

#include "../base/check.h"
#include "../os/futex.h"
#include "world.h"

namespace weft::rt {

namespace {

// The goroutine is queued by the scheduler once it is saved: for when there is nobody to switch to directly.
void yield_to_scheduler(M* m) {
  m->more->requeue = m->curg;
  park_into_scheduler(m, m->always, 0, 0, nullptr);
}

void push_inbox(P* p, G* g) {
  prefetch_write(&p->inbox);  // on its way while the stores before are, for which the exchange waits
  // Empty, mostly. A load before the exchange would fetch the line twice, once to be read and once to be written.
  waiter* head = nullptr;
  do {
    os::plain_write(&g->next);
    g->next = head;
    // INBOX release -> acquire in get_inbox.
  } while (!p->inbox.compare_exchange_weak(head, g, release, relaxed));
  os::fence_full();  // O2; and before the look at nidle, see SUBMIT-IDLE in spin.cc
}

// Goroutines bound to a P, or on their way to one: pushed to it, whoever it is. Of another P nothing is touched but the line of its inbox.
//
//   SHRINK        an ordinary thread, here          set_procs
//                 O1 g into p's inbox               R1 nprocs = less than p's number
//                 O2 fence_full                     R2 fence_full
//                 O3 p beyond nprocs? take it back  R3 what is in p's inbox goes to the global queue
//   Forbidden: O3 sees p in use, and R3 sees no g. Then g lies in the inbox of a P that nobody serves.
void to_inbox(sched* s, P* p, G* g) {
  push_inbox(p, g);
  while (p->id >= s->nprocs.load(relaxed))
    [[unlikely]] {  // O3. relaxed: after O2; and those below p are there: a shrink retired it, another serves
      P* home = nullptr;
      take_inbox(p, [&](G* taken) {
        if (!home) home = proc(s, p->id % s->nprocs.load(relaxed));
        push_inbox(home, taken);
      });
      if (!home) return;  // set_procs has them, or who came after us
      p = home;
    }
  if (s->nidle.load(relaxed) != 0) start_p(s, p);
}

void ready_bound(sched* s, G* g) { to_inbox(s, static_cast<P*>(g->affinity.load(relaxed)), g); }

// From outside of the goroutine's runtime. The goroutine is parked until it is queued, which keeps its runtime alive until
// then; from then on `external` does.
void ready_remote(G* g) {
  sched* s = g->s;
  s->external.fetch_add(1, relaxed);  // relaxed: ordered before the goroutine's queueing by lk, hence before its end
  if (g->affinity.load(relaxed) != s) {
    ready_bound(s, g);
  } else {
    g_list one;
    one.push_back(g);
    queue_global(s, one);
    os::fence_full();  // SUBMIT-IDLE
    wake_p(s);
  }
  s->external.fetch_sub(1, release);  // release -> acquire in run's last wait: all of the above is over
}

}  // namespace

namespace {

// A goroutine that was picked, and cannot run after all.
void put_back(M* m, G* to) {
  if (m->p->runnext.load(relaxed) == nullptr && to->affinity.load(relaxed) == m->s)
    put_runnext(m->p, to);
  else
    queue_local(m, to);
  tell_sysmon_of_waiting(m->p);
}

template <class... Where>
parked park_in_slow_half(M* m, wait_reason why, Where&... where) {
  G* g = m->curg;
  G* to = pick_next(m);
  g->why.store(why, relaxed);
  if (to) {
    if (park_into_slow(m, to, where...)) return finish_park(g);
    put_back(m, to);
  } else {
    if (park_into_scheduler(m, where...)) return finish_park(g);
  }
  g->why.store(wait_reason::none, relaxed);
  return parked::no;
}

}  // namespace

parked park_slow(M* m, atomic<std::uint64_t>& word, std::uint64_t expected, std::uint64_t desired, wait_reason why,
                 atomic<std::uint32_t>* done) {
  return park_in_slow_half(m, why, word, expected, desired, done);
}

parked park_slow(M* m, biased_word& word, std::uint64_t expected, std::uint64_t desired, wait_reason why) {
  for (std::uint32_t tries = 0;;) {
    if (!make_movable(m, word, expected)) return parked::no;
    const parked how = park_in_slow_half(m, why, word, expected, desired);
    if (how != parked::no) return how;
    if (m->section) os::empty(m->section);
    if (word.load(relaxed) != expected) return how;  // relaxed: the caller looks again
    if (++tries >= limits::section_tries) forbid_bias(m, word);
  }
}

parked finish_park_slow(waiter* w) {
  const outcome r = w->result;
  w->result = outcome::done;
  if (!has(r, outcome::lost)) return has(r, outcome::seated) ? parked::rose_closed : parked::closed;
  G* g = static_cast<G*>(w);
  M* m = self();
  if (m->section) os::empty(m->section);
  G* to = m->curg;
  come_back(m, to, g);
  g->why.store(wait_reason::none, relaxed);
  put_back(m, to);
  return parked::no;
}

void ready_slow(waiter* w) {
  if (!w->affinity.load(relaxed)) {
    auto& word = static_cast<thread_waiter*>(w)->woken;
    word.store(1, release);   // THREAD release -> acquire in block_thread. From here on the waiter may be gone.
    os::futex_wake(word, 1);  // by address only
    return;
  }
  G* g = static_cast<G*>(w);
  g->why.store(wait_reason::none, relaxed);
  M* m = self();
  sched* s = g->s;
  if (!m || m->s != s || !m->p) return ready_remote(g);
  P* p = m->p;
  if (g->affinity.load(relaxed) != s && g->affinity.load(relaxed) != p) return ready_bound(s, g);
  // The last one readied runs next; the one before it takes the ring's tail, where others may steal it.
  displace_runnext(m, g);
  call_for_help(s, p, p->more->ring_thefts.in_doubt() ? 0 : waiting_here(p));
}

void go_to(M* m, P* p) {
  m->more->requeue = m->curg;
  m->more->going_to = p;
  park_into_scheduler(m, m->always, 0, 0, nullptr);
}

void push_inbox_of(sched* s, P* p, G* g) {
  to_inbox(s, p, g);
  if (p->nag.load(relaxed)) nag_sysmon(p);  // SYSMON-NAG, O3; O2 is push_inbox's fence
}

bool empty_inbox(sched* s, P* p) {
  g_list free;
  take_inbox(p, [&](G* g) {
    if (g->affinity.load(relaxed) == s)
      free.push_back(g);
    else
      ready_bound(s, g);
  });
  const bool any = free.n != 0;
  queue_global(s, free);
  return any;
}

void give_way_to_deque(M* m) {
  if (!m->curg || m->no_switch != 0) return;
  m->p->more->deque_owed = deque::own_size(m->p);
  yield();
}

void call_for_help(sched* s, P* p, std::uint32_t spare) {
  if (s->nprocs.load(relaxed) == 1) return;
  // One goroutine in the ring is left to sysmon, as one in runnext is: woken at once, another P would tear three that talk to each other
  // apart, and put each of their words on the wire between two cores.
  if (spare <= 1) return tell_sysmon_of_waiting(p);
  os::fence_full();  // SUBMIT-IDLE, submitter's side (spin.cc)
  const bool looking = s->nspinning.load(relaxed) != 0;
  const bool idle = p_to_spare(s);
  if (idle || looking) deque::publish(p);
  if (looking) return;
  if (idle)
    wake_p(s);
  else
    tell_sysmon_of_waiting(p);
}

void hold_switches(M* m) noexcept {
  if (m) ++m->no_switch;
}

void allow_switches(M* m) noexcept {
  if (m) --m->no_switch;
}

void cooperate_slow() {
  M* m = self();
  // On the scheduler's stack there is nobody to yield; the next call of a goroutine's finds the budget as it is.
  if (!m->curg || m->no_switch != 0) return;
  P* p = m->p;
  if (p->attention.load(relaxed)) {
    refill(p);
    return yield_to_scheduler(m);
  }
  // A yield finds the budget spent, and looks round. Were it refilled here, goroutines that all call once and yield, so many that each time the
  // budget ends in a call (a slice is 61 yields), would never let the scheduler look at the global queue, nor at timers.
  if (p->runnext.load(relaxed) || waiting_here(p) || m->s->globq_size.load(relaxed) || p->inbox.load(relaxed) ||
      p->more->timers.first.load(relaxed) != timer_heap::never)
    return yield();
  refill(p);
}

void block_thread(thread_waiter& w) {
  while (w.woken.load(acquire) == 0) os::futex_wait(w.woken, 0);  // THREAD acquire <- ready_slow
}

void yield_slow(M* m) {
  if (!m || !m->curg || m->no_switch != 0) return os::yield_thread();
  P* p = m->p;
  G* g = m->curg;
  if (p->attention.load(relaxed)) return yield_to_scheduler(m);
  if (runq::own_size(p) == runq::capacity || (g->affinity.load(relaxed) != m->s && g->affinity.load(relaxed) != p))
    return yield_to_scheduler(m);
  G* to = pick_next(m);
  if (!to) return;
  if (runq::own_size(p) == runq::capacity) {  // the pick filled it up from the global queue
    g_list one;
    one.push_back(to);
    queue_global(m->s, one);
    return yield_to_scheduler(m);
  }
  yield_into(m, p, g, to);
}

}  // namespace weft::rt
