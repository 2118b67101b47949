// SPDX-License-Identifier: MIT
//
// The loop of an M, and where the next goroutine comes from. Read top to bottom, find_runnable (spin.cc) and pick_next are the
// list of sources:
//   1. runnext         readied last by this P: its data is in this core's cache
//   2. the inbox       goroutines bound to this P, readied by others, or come to stay here (gather.h)
//   3. the ring        this P's other goroutines, oldest first, and
//      the deque       those that have not run yet, newest first: by turns when both have some (local)
//   4. the global queue
//   5. other Ps' rings and deques (runq.cc, deque.cc)
// Every limits::globq_poll picks others get their turn, which keeps a pair that readies each other from starving the rest: the head
// of the global queue and one of the P's own, from ring and deque or from the inbox by turns, run next, and the runnext goes to the tail.
// They take turns at being the first as well, for the second is only a runnext: whom the first one readies takes its place.

#include <algorithm>

#include "../base/check.h"
#include "world.h"

namespace weft::rt {

static_assert(limits::slice / limits::switch_cost == limits::globq_poll);

void queue_global(sched* s, g_list& batch) {
  if (batch.n == 0) return;
  std::lock_guard hold(s->lk);
  if (s->globq.tail)
    s->globq.tail->next = batch.head;
  else
    s->globq.head = batch.head;
  s->globq.tail = batch.tail;
  s->globq.n += batch.n;
  s->globq_size.store(s->globq.n, relaxed);  // relaxed: fenced by whoever decides on it (spin.cc, SUBMIT-IDLE)
  batch = {};
}

void queue_local(M* m, G* g) {
  P* p = m->p;
  if (runq::put(p, g)) return;
  // Full. Half of the ring goes with it, so that the next 127 puts are cheap again, and others can take their share.
  g_list batch;
  for (std::uint32_t i = 0; i < runq::capacity / 2; ++i) {
    G* old = runq::get(m, p);
    if (!old) break;
    batch.push_back(old);
  }
  batch.push_back(g);
  queue_global(m->s, batch);
}

void queue_started(M* m, G* g) {
  P* p = m->p;
  if (deque::push(p, g)) return;
  g_list batch;
  deque::take_oldest(p, deque::capacity / 2, batch);
  queue_global(m->s, batch);
  if (!deque::push(p, g)) fatal("queue_started: the deque is full, half of it having been taken");
}

G* get_global(M* m, bool fill_ring) {
  sched* s = m->s;
  if (s->globq_size.load(relaxed) == 0) return nullptr;  // relaxed: a hint; the idle protocol looks again after a fence
  G* first;
  std::uint32_t more = 0;
  {
    std::lock_guard hold(s->lk);
    first = s->globq.pop_front();
    if (!first) return nullptr;
    if (fill_ring) {
      std::uint32_t share = (s->globq.n + 1) / static_cast<std::uint32_t>(s->nprocs.load(relaxed));
      std::uint32_t room = runq::capacity / 2 - std::min(runq::capacity / 2, runq::own_size(m->p));
      more = std::min({share, room, s->globq.n});
      for (std::uint32_t n = more; n > 0; --n) runq::put(m->p, s->globq.pop_front());
    }
    s->globq_size.store(s->globq.n, relaxed);
  }
  if (more != 0) tell_sysmon_of_waiting(m->p);
  return first;
}

G* get_inbox(M* m) {
  P* p = m->p;
  if (p->inbox.load(relaxed) == nullptr) return nullptr;  // relaxed: as globq_size
  waiter* oldest = nullptr;                               // pushed like a stack: turn it round
  take_inbox(p, [&](G* g) {
    g->next = oldest;
    oldest = g;
  });
  G* first = static_cast<G*>(oldest);
  if (!first) return nullptr;
  if (first->affinity.load(relaxed) == p && p->more->inbox_rounds == 0)
    p->more->inbox_rounds = limits::inbox_rounds_first;
  for (waiter* rest = first->next; rest;) {
    waiter* next = rest->next;
    queue_local(m, static_cast<G*>(rest));
    rest = next;
  }
  // Those that are bound are for this P alone; the others (gather.h) are not, should it not come to run them.
  if (first->next) tell_sysmon_of_waiting(p);
  return first;
}

bool eligible(M* m, G* g) {
  if (g->affinity.load(relaxed) == m->s || g->affinity.load(relaxed) == m->p) return true;
  int home = static_cast<P*>(g->affinity.load(relaxed))->id %
             m->s->nprocs.load(relaxed);  // a P that a shrink retired: another serves
  if (proc(m->s, home) == m->p) return true;
  ready_slow(g);
  return false;
}

namespace {

G* ring(M* m) {
  while (G* g = runq::get(m, m->p))
    if (eligible(m, g)) return g;
  return nullptr;
}

// The ring's oldest or the deque's newest, by turns when both have some; but who gave way to the deque (park.cc) waits for as many as it found
// there. The turn is a bit of its own: the budget's would beat with what goroutines call in between (four calls and a yield, and the ring
// had every turn).
G* local(M* m, bool& newest) {
  newest = true;
  P* p = m->p;
  if (G* g = take_owed(p)) return g;
  bool& newer = p->more->newer_next;
  newer = !newer;
  if (newer)
    if (G* g = deque::pop(p)) return g;
  newest = false;
  if (G* g = ring(m)) return g;
  newest = true;
  return newer ? nullptr : deque::pop(p);
}

G* global(M* m, bool fill_ring) {
  while (G* g = get_global(m, fill_ring))
    if (eligible(m, g)) return g;
  return nullptr;
}

// The deque's bottom, where nobody has been for long: the oldest goes to the ring, where all have their turn. One at a time: of a tree each is a
// large part, and begins to be walked beside the others.
void age_deque(M* m, std::int64_t now) {
  P* p = m->p;
  P::parts& mine = *p->more;
  const std::uint32_t head = p->deque_head.load(relaxed);  // relaxed: a look
  if (head != mine.deque_seen_head || mine.deque_since_ns == 0) {
    mine.deque_seen_head = head;
    mine.deque_since_ns = now;
  } else if (now - mine.deque_since_ns >= limits::deque_patience_ns) {
    g_list oldest;
    deque::take_oldest(p, 1, oldest);
    if (G* g = oldest.pop_front()) queue_local(m, g);
    mine.deque_since_ns = 0;
  }
}

// The budget is spent: everybody else's turn first.
G* look_round(M* m, bool timers_were_run) {
  P* p = m->p;
  refill(p);
  if (p->attention.load(relaxed)) return nullptr;  // relaxed: a request; what it is about is read under lk
  timer_heap& timers = p->more->timers;
  const bool timed = !timers_were_run && timers.first.load(relaxed) != timer_heap::never;  // relaxed: the owner's hint
  const bool newer = deque::own_size(p) != 0;
  if (!newer) p->more->deque_since_ns = 0;
  if (timed || newer) {
    const std::int64_t now = os::now_ns();
    if (newer) age_deque(m, now);
    if (timed) run_timers(timers, now, !has_work(p));
  }
  std::uint32_t turn = p->rounds.load(relaxed);
  G* shared = global(m, false);
  bool newest = false;  // own: it comes from the deque
  const bool inbox_first = (turn & 2) == 0 && p->more->deque_owed == 0;
  G* own = inbox_first ? get_inbox(m) : local(m, newest);
  if (!own) {
    newest = false;
    own = inbox_first ? local(m, newest) : get_inbox(m);
  }
  if (!shared && !own) return nullptr;
  if (G* next = take_runnext(p)) {
    // Who was to run next stays on top of the deque, if that is where we go: a tree is still walked in depth.
    if (!own || !newest || next->affinity.load(relaxed) != m->s || !deque::push(p, next)) queue_local(m, next);
    tell_sysmon_of_waiting(p);
  }
  if (!shared || !own) return shared ? shared : own;
  if ((turn & 1) != 0) std::swap(shared, own);
  if (own->affinity.load(relaxed) == m->s)
    put_runnext(p, own);
  else
    queue_local(m, own);  // bound: not where thieves look without asking
  tell_sysmon_of_waiting(p);
  return shared;
}

}  // namespace

G* pick_next(M* m, bool timers_were_run) {
  P* p = m->p;
  std::int32_t left = p->budget.load(relaxed) - limits::switch_cost;
  p->budget.store(left, relaxed);
  if (left < 0) {
    if (G* g = look_round(m, timers_were_run)) return g;
    if (p->attention.load(relaxed)) return nullptr;
  }
  if (G* g = take_runnext(p)) return g;
  // The inbox before the ring: what thieves took by mistake and sent back has waited there already.
  if (G* g = get_inbox(m)) return g;
  bool newest;
  if (G* g = local(m, newest)) return g;
  return global(m, true);
}

void schedule(M* m) {
  while (G* to = find_runnable(m)) {
    run_from_scheduler(m, to);
    after_switch(m);
  }
}

}  // namespace weft::rt
