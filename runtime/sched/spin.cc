// SPDX-License-Identifier: MIT
//
// Idle and spinning: who looks for work, who sleeps, and why no goroutine is left lying while a P is idle.
//
// An M without work first *spins*: it looks at the other Ps' rings, its inbox and the global queue for a few microseconds, as
// finding work so costs 0.15 us and being woken by the kernel 7 to 40. Then it puts its P on the idle list and itself to sleep.
//   * At most one M spins per two that run, itself included, and never more Ms run and spin than there are CPUs: on 2 CPUs at p = 16 a spinner
//     would take the core from a runnable M.
//   * Nor is an M woken for what waits in a ring or a deque while as many Ps have one as there are CPUs (p_to_spare): sysmon sees to it that nothing
//     waits there behind who stands still.
//   * How long adapts: looking that paid doubles the next look, looking in vain takes a quarter off.
//   * Where cold stacks are being used (the kernel has to bring a page for each), who spins and finds nothing has those of the next batch brought
//     (warm_stacks): 200,000 parked goroutines at P = 2 took 15 us each to start, so 7, in a virtual machine where a page costs 7.
//   * Whoever stops spinning because it found work makes sure that somebody looks for the rest.
//   * Theft from a deque adapts likewise, by the P that is robbed: what its goroutines were worth to the last thief says how many the next one takes,
//     and when (theft.h). Until then they are barred: spinners wait for it if it is soon, or if they have stacks to warm meanwhile; others do as
//     if they were not there, and sysmon is told. (They waited in any case: at P = 2 a storm of small goroutines cost a second CPU, all of it, and
//     was slower by a twentieth.)
//
// Who makes a goroutine runnable in a place that others can take it from (a ring, the global queue, an inbox) must see to it
// that somebody will look: wake an M, unless one is spinning, or no P is idle.
//
//   SUBMIT-IDLE    submitter                              the last to look
//                  S1 queue g                             R1 P on the idle list; nspinning -= 1
//                  S2 fence_full                          R2 fence_full
//                  S3 a P to spare, nspinning == 0?       R3 look at every queue again
//                     then wake_p
//   Forbidden: S3 sees no P to spare, or a spinner, and R3 does not see g. Then g waits beside an idle P. The fences exclude it.
//   All that is between the fences is relaxed.
//   If S3 sees a spinner that is still to reach R1, that spinner does R3 after S1. (Model tests: idle.a_full_ring_is_seen_at_once and its kin.)
//   A runnext is not such a place, and what is barred is left to sysmon as it is: see sysmon.cc.
//
// Rejected, as Go did and for its reasons (proc.go, "Worker thread parking/unparking"): one central scheduler lock; handing the
// P directly to a woken M at each ready (the state ping-pongs between threads); waking an M at every ready (thrash).
// Rejected here: membarrier in R2, to free S2 of its fence: it interrupts the cores that work, 8 us each time, against 2 ns.
//
// Sources: Go proc.go wakep, startm, stopm, findRunnable, resetspinning.

#include <utility>

#include "../base/check.h"
#include "gather.h"
#include "world.h"

namespace weft::rt {

namespace {

constexpr int relax_per_round = 4;

// m has a P, and is about to run. The kernel likes to put who is woken on the CPU of who wakes: in a virtual machine it takes an idle CPU for one that
// the host has taken away, and so for no better (vcpu_is_preempted). There they take turns, however short the work, and no load balancer
// sees it, as one of them always sleeps: 4,000 ns a hand-over instead of 150. With CPUs to spare, move. (sysmon sleeps again at once.)
void settle(M* m) {
  sched* s = m->s;
  const unsigned waker_cpu = std::exchange(m->more->waker_cpu, no_cpu);
  const unsigned here = os::current_cpu();
  const bool shared = (here == waker_cpu && here != s->sysmon_cpu.load(relaxed)) || a_p_runs_on(s, here, m->p);
  if (shared && s->nprocs.load(relaxed) - s->nidle.load(relaxed) <= s->ncpu) os::leave_cpu(here);
  m->p->more->cpu.store(os::current_cpu(), relaxed);
}

void run_m(void* arg) {
  M* m = static_cast<M*>(arg);
  const os::alt_stack alt(m->more->signal_stack);  // a fresh thread: does not throw
  bind_m(m);
  m->p = m->more->next_p;
  m->more->next_p = nullptr;
  settle(m);
  schedule(m);
  unbind_m(m);
}

bool looks_like_work(sched* s) {
  if (s->globq_size.load(relaxed) != 0) return true;  // relaxed: after a fence, see SUBMIT-IDLE
  int n = s->nprocs.load(acquire);
  for (int i = 0; i < n; ++i) {
    P* p = proc(s, i);
    const bool ring = runq::size(p) != 0;
    if (ring && !p->more->ring_thefts.barred()) return true;
    const bool started = deque::size(p) != 0;
    if (!ring && !started) continue;
    if (started && !p->more->thefts.barred()) return true;
    if (p->nag.load(relaxed)) nag_sysmon(p);  // sysmon's, should it last
  }
  return false;
}

// Stops to count as a spinner. If it was the last one, work may have come that its submitter left to us.
void stop_spinning(M* m) {
  sched* s = m->s;
  m->spinning = false;
  s->nspinning.fetch_sub(1, relaxed);  // R1
  os::fence_full();                    // R2
}

// Who has found work after all: somebody shall look for the rest.
void pass_on_the_search(sched* s) {
  if (!looks_like_work(s)) return;  // R3
  if (p_to_spare(s)) return wake_p(s);
  const int n = s->nprocs.load(acquire);
  for (int i = 0; i < n; ++i)
    if (P* p = proc(s, i); waiting(p) != 0 && p->nag.load(relaxed)) nag_sysmon(p);
}

bool may_spin(sched* s) {
  int n = s->nprocs.load(relaxed);
  int busy = n - s->nidle.load(relaxed);  // this M included
  int spinning = s->nspinning.load(relaxed);
  return n > 1 && busy <= s->ncpu && 2 * spinning <= busy;
}

// Where the last goroutine came through the inbox the next one is likely to: watched alone, without joining the spinners, whose
// counter would be one more cache line to fight for. Bound goroutines that talk across Ps (a laboratory's) meet here.
G* watch_inbox(M* m) {
  P* p = m->p;
  std::uint32_t& rounds = p->more->inbox_rounds;
  for (std::uint32_t r = 0; r < rounds; ++r) {
    prefetch_write(&p->inbox);
    if (G* g = get_inbox(m)) {
      rounds = std::min(rounds * 2, limits::inbox_rounds_max);
      return g;
    }
    if (p->attention.load(relaxed) || m->s->globq_size.load(relaxed) != 0) return nullptr;
    cpu_relax();
  }
  rounds -= rounds / 4;
  if (rounds < limits::inbox_rounds_min) rounds = 0;
  return nullptr;
}

// Where many sleep their P is mostly at it: it has fetched them, and who steals has them to fetch again.
bool overdue(const timer_heap& heap, std::int64_t now) {
  // relaxed, both: hints; what is due is looked at again under lk, and a sleep on what was missed is the keeper's and sysmon's affair
  const std::int64_t grace =
      std::min(heap.pending.load(relaxed) * limits::steal_grace_each_ns, limits::steal_grace_max_ns);
  return heap.first.load(relaxed) <= now - grace;
}

// Runs what is overdue on other Ps, whose goroutines compute, or which idle.
bool steal_timers(M* m) {
  sched* s = m->s;
  std::int64_t first = earliest_timer(s);
  if (first == timer_heap::never) return false;
  std::int64_t now = os::now_ns();
  if (first > now) return false;
  int n = s->nprocs.load(relaxed);
  for (int i = 0; i < n; ++i) {
    timer_heap& heap = proc(s, i)->more->timers;
    if (!overdue(heap, now)) continue;
    timer_heap* of_whom = &heap;
    if (steal_sleepers(heap, now)) {
      of_whom = &m->p->more->timers;
      // Who looked at one heap before and at the other one after saw them nowhere; and the first to run may compute.
      tell_sysmon_of_timers(s);
    }
    if (run_timers(*of_whom, now, true) && has_work(m->p)) return true;
  }
  return false;
}

// What the last theft has brought this M, which looks for work again.
void judge_theft(M* m) {
  M::parts& mine = *m->more;
  if (const P* from = std::exchange(mine.robbed_ring, nullptr);
      from && !mine.went_home && from->more->ring_thefts.in_doubt())
    from->more->ring_thefts.lift();
  if (!mine.robbed) return;
  const std::int64_t now = os::now_ns();
  std::exchange(mine.robbed, nullptr)->more->thefts.judge(mine.stolen, mine.theft_ns, now - mine.stole_ns, now);
}

G* steal_started(M* m, P* victim) {
  theft_account& of = victim->more->thefts;
  const std::uint32_t before = deque::own_size(m->p);
  const std::int64_t start = os::now_ns();
  G* g = deque::steal_into(m->p, victim, of.most());
  if (!g) return nullptr;
  M::parts& mine = *m->more;
  mine.robbed = victim;
  mine.stolen = 1 + deque::own_size(m->p) - before;
  mine.stole_ns = os::now_ns();
  mine.theft_ns = mine.stole_ns - start;
  of.taken(mine.stole_ns);
  return g;
}

G* steal_readied(M* m, P* victim) {
  theft_bar& bar = victim->more->ring_thefts;
  if (runq::size(victim) == 0 || bar.barred()) return nullptr;
  G* g = runq::steal_into(m, m->p, victim, bar.in_doubt() ? 1 : runq::capacity);
  if (!g) return nullptr;
  const std::int64_t now = os::now_ns();
  m->more->robbed_ring = victim;
  m->more->went_home = false;
  bar.taken(now);
  gather_stolen(m, victim, now);
  return g;
}

// Each look at another P's queues takes lines from their owner who writes to them at each goroutine, and whose next fence waits for them: all
// that is there being barred, not so often.
void look_away(M* m) {
  P* p = m->p;
  const std::int64_t until = os::now_ns() + limits::look_away_ns;
  while (os::now_ns() < until) {
    if (p->attention.load(relaxed) || p->inbox.load(relaxed) || m->s->globq_size.load(relaxed) != 0) return;
    for (int i = 0; i < relax_per_round; ++i) cpu_relax();
  }
}

G* spin(M* m, std::uint32_t rounds) {
  sched* s = m->s;
  P* p = m->p;
  judge_theft(m);
  std::int64_t force_ns = 0;
  bool warming = false;
  for (std::uint32_t r = 0;; ++r) {
    bool held_back = false;
    P* asked = nullptr;
    if (p->attention.load(relaxed)) return nullptr;
    if (G* g = get_inbox(m)) return g;
    int n = s->nprocs.load(relaxed);
    auto start = static_cast<int>(m->rand.below(static_cast<std::uint32_t>(n)));
    for (int i = 0; i < n; ++i) {
      P* victim = proc(s, start + i < n ? start + i : start + i - n);
      if (victim == p) continue;
      const bool bar = victim->more->thefts.barred();
      if (bar && m->spinning) {
        if (warming || victim->more->thefts.briefly()) held_back = true;
        continue;
      }
      // Who starts many stands in the ring meanwhile (give_way_to_deque): where those were worth the theft, it is taken, and starts the next here, in
      // this core's cache. (1 us of work each, P = 2: 712 ns with the deque first, so 640.) Else the deque comes first: who is in the
      // ring has run there before.
      const bool ring_first = victim->more->thefts.proven();
      if (ring_first)
        if (G* g = steal_readied(m, victim)) return g;
      if (!bar && deque::has_public(victim))
        if (G* g = steal_started(m, victim)) return g;
      if (!ring_first)
        if (G* g = steal_readied(m, victim)) return g;
      if (!bar && deque::size(victim) != 0) {
        deque::ask(victim);
        asked = victim;
      }
    }
    if (G* g = get_global(m, true)) return g;
    if (steal_timers(m)) return nullptr;  // what they readied is in our own queue
    const bool warmed = m->spinning && warm_stacks(s);
    // Not answered: the owner is in a goroutine that computes, or its thread is off its CPU, which we may have.
    if (asked) {
      const std::int64_t now = os::now_ns();
      if (force_ns == 0) {
        force_ns = now + (m->spinning ? limits::ask_patience_ns : limits::ask_patience_busy_ns);
      } else if (now >= force_ns) {
        deque::force(asked);
        force_ns = 0;
      }
    }
    if (warmed) {
      warming = true;
      continue;
    }
    if (r >= rounds && !held_back && !asked) return nullptr;
    for (int i = 0; i < relax_per_round; ++i) cpu_relax();
    if (held_back) look_away(m);
  }
}

// lk. A P that its M gives up: idle, or, when the world is being stopped, stopped.
void release_p(sched* s, P* p) {
  if (p->attention.load(relaxed)) {
    p->attention.store(0, relaxed);
    if (--s->stop_wait == 0) s->world_stopped.wake();
  } else {
    put_idle(s, p);
  }
}

M* take_idle_m(sched* s);

// A sleeping M, or a new one, gets `p`. When no thread is to be had the P stays idle: the Ms that run find its work.
void run_p(sched* s, P* p, M* idle_m, bool spinning) {
  tell_sysmon_of_work(s);
  if (idle_m) {
    idle_m->more->next_p = p;
    idle_m->more->waker_cpu = os::current_cpu();
    idle_m->spinning = spinning;
    idle_m->more->wake.wake();
    return;
  }
  try {
    M* m = new_m(s);
    m->more->next_p = p;
    m->spinning = spinning;
    try {
      m->more->thread.start("weft-m", run_m, m, m_stack_bytes);
    } catch (...) {
      drop_m(s, m);
      throw;
    }
  } catch (const std::exception&) {
    M* late;
    {
      std::lock_guard hold(s->lk);
      late = take_idle_m(s);
      if (!late) {
        // Every M runs. Each that goes to sleep from now on sees this P idle, and no spinner that is none.
        if (spinning) s->nspinning.fetch_sub(1, relaxed);
        release_p(s, p);
      }
    }
    os::fence_full();
    tell_sysmon_of_idle(s);
    // One went to sleep while we tried, and left the last look, or the verdict on the run, to us.
    if (late) run_p(s, p, late, spinning);
  }
}

// lk. It keeps the time no longer; the next one to sleep will.
void resign(sched* s, M* m) {
  if (s->keeper != m) return;
  m->more->was_keeper = true;
  s->keeper = nullptr;
  s->keeper_deadline.store(timer_heap::never, relaxed);
}

// lk. Not the keeper, if there is another.
M* take_idle_m(sched* s) {
  M** at = &s->idle_ms;
  if (*at && *at == s->keeper && (*at)->more->next_idle) at = &(*at)->more->next_idle;
  M* m = *at;
  if (!m) return nullptr;
  *at = m->more->next_idle;
  --s->nidle_ms;
  resign(s, m);
  return m;
}

// After R2: a P to look further with, if something was submitted meanwhile. What is bound to the P that we gave up is for us to see, whatever else
// there is: who submitted it has counted on that. (We took the first P with something in its inbox; where that one ran, ours was left idle, with a
// goroutine of its own. Model test: idle.an_inbox_is_seen_beside_another.) What is bound to others: see run_p, where no thread was to be had.
P* look_again(sched* s, P* given_up) {
  auto has_inbox = [](const P* p) { return p->inbox.load(relaxed) != nullptr; };  // relaxed: after R2
  const bool ours = has_inbox(given_up);
  const bool work = looks_like_work(s);
  bool bound = ours;
  const int n = s->nprocs.load(acquire);
  for (int i = 0; i < n && !bound; ++i) bound = has_inbox(proc(s, i));
  if (!work && !bound) return nullptr;
  std::lock_guard hold(s->lk);
  if (ours && take_idle(s, given_up)) return given_up;
  for (int i = 0; i < n && bound; ++i)
    if (P* p = proc(s, i); has_inbox(p) && take_idle(s, p)) return p;
  return work ? take_idle_p(s) : nullptr;
}

}  // namespace

bool a_p_runs_on(const sched* s, unsigned cpu, const P* but) {
  const int n = s->nprocs.load(acquire);
  for (int i = 0; i < n; ++i)
    if (const P* p = proc(s, i); p != but && p->more->cpu.load(relaxed) == cpu) return true;
  return false;
}

void put_idle(sched* s, P* p) {
  s->idle[p->id] = true;
  p->more->cpu.store(no_cpu, relaxed);
  if (p->id < s->low_idle) s->low_idle = p->id;
  s->nidle.store(s->nidle.load(relaxed) + 1, relaxed);  // relaxed: lk, and R2
}

bool take_idle(sched* s, P* p) {
  if (!s->idle[p->id]) return false;
  s->idle[p->id] = false;
  s->nidle.store(s->nidle.load(relaxed) - 1, relaxed);
  return true;
}

P* take_idle_p(sched* s) {
  int n = s->nprocs.load(acquire);
  for (; s->low_idle < n; ++s->low_idle)
    if (P* p = proc(s, s->low_idle); take_idle(s, p)) return p;
  return nullptr;
}

void wake_p(sched* s) {
  for (;;) {
    if (s->nidle.load(relaxed) == 0) return;  // relaxed: S3, after the caller's fence
    int none = 0;
    if (!s->nspinning.compare_exchange_strong(none, 1, relaxed, relaxed)) return;
    P* p;
    M* m = nullptr;
    bool over;
    {
      std::lock_guard hold(s->lk);
      over = s->over.load(relaxed);
      p = over ? nullptr : take_idle_p(s);
      if (p) m = take_idle_m(s);
    }
    if (p) return run_p(s, p, m, true);
    // Somebody else took the P: no spinner after all. But others have counted on one meanwhile: a submitter that wakes nobody, and the
    // last M to sleep, whose verdict (quiescence) it held up. So look again: if an M went idle before this, it is ours to wake; if it
    // does after this, it sees that nobody spins.
    s->nspinning.fetch_sub(1, relaxed);
    if (over) return;
    os::fence_full();
  }
}

void start_p(sched* s, P* p) {
  M* m;
  {
    std::lock_guard hold(s->lk);
    if (!take_idle(s, p)) return;
    m = take_idle_m(s);
  }
  run_p(s, p, m, false);
}

namespace {

// Every goroutine sleeps, and no timer is pending. A deadlock, unless a thread that is not ours may still wake one: looks now and then.
void sleep_in_doubt(M* m) {
  sched* s = m->s;
  std::int64_t pause = 1'000'000;
  do {
    {
      // Both under lk: with all asleep no thread of ours is being born, so all that are counted are in all_ms. In this order: a thread
      // that readies one of ours and ends is either still counted, or what it has readied is seen.
      lock_scope hold(s->lk);
      if (nobody_else(s) && quiescence(s) == quiet::asleep) die_of_deadlock(s);
    }
    pause = std::min<std::int64_t>(pause * 2, 500'000'000);
  } while (!m->more->wake.sleep_until(os::now_ns() + pause));
}

// lk. Takes m off the idle list; false: somebody did, and its wake is on the way.
bool leave_idle_list(sched* s, M* m) {
  for (M** at = &s->idle_ms; *at; at = &(*at)->more->next_idle) {
    if (*at != m) continue;
    *at = m->more->next_idle;
    --s->nidle_ms;
    return true;
  }
  return false;
}

// When the keeper rises for a timer that is due at `deadline`.
struct rise {
  std::int64_t deadline = timer_heap::never;
  std::int64_t when = timer_heap::never;

  bool kept_apart() const { return when > deadline; }  // from the last one: no timer makes it earlier
};

// lk
rise next_rise(sched* s) {
  rise r;
  r.deadline = r.when = earliest_timer(s);
  if (r.deadline != timer_heap::never) r.when = std::max(r.deadline, s->rose_ns + keeper_gap(s));
  return r;
}

// The keeper's sleep: until it is woken, or it is time; then it goes for a P to run timers with.
void sleep_as_keeper(M* m, const rise& r) {
  sched* s = m->s;
  os::fence_full();                                                                                      // R2
  if ((r.kept_apart() || earliest_timer(s) >= r.deadline) && m->more->wake.sleep_until(r.when)) return;  // R3
  bool somebody_did = false;
  {
    lock_scope hold(s->lk);
    s->rose_ns = os::now_ns();
    if (leave_idle_list(s, m)) {
      resign(s, m);
      m->more->next_p = take_idle_p(s);  // none: every P runs, and looks after its own timers
    } else {
      somebody_did = true;
    }
  }
  if (somebody_did) return m->more->wake.sleep();
  tell_sysmon_of_work(s);
}

// What the last sleeper read of the clock will do where something is due by that: with many sleepers that is mostly so.
std::int64_t clock_for(P* p) {
  const std::int64_t seen = std::exchange(p->more->clock_ns, 0);
  return p->more->timers.first.load(relaxed) <= seen ? seen : os::now_ns();  // relaxed: a hint
}

}  // namespace

void nudge_keeper(sched* s) {
  M* m;
  {
    lock_scope hold(s->lk);
    m = s->keeper;
    if (m)
      leave_idle_list(s, m);
    else
      m = take_idle_m(s);
    if (m) resign(s, m);
  }
  if (m) return m->more->wake.wake();  // without a P: it looks again, and sleeps again
  // No M sleeps. Whoever does next looks at the timers first; but there may be a P that never had one, and our own may now compute.
  wake_p(s);
}

void stop_m(M* m) {
  sched* s = m->s;
  note& wake = m->more->wake;
  while (!m->p) {
    enum { soundly, in_doubt, as_keeper } how = soundly;
    rise r;
    {
      lock_scope hold(s->lk);
      if (s->over.load(relaxed)) return;
      m->more->next_idle = s->idle_ms;
      s->idle_ms = m;
      ++s->nidle_ms;
      switch (quiescence(s)) {
        case quiet::no:
          break;
        case quiet::ended:
          end_run(s);
          break;
        case quiet::asleep:
          how = in_doubt;
          break;
      }
      if (how == soundly && !s->keeper && s->nidle.load(relaxed) != 0) {  // with no P idle, each runs its own timers
        r = next_rise(s);
        if (r.deadline != timer_heap::never) {
          how = as_keeper;
          s->keeper = m;  // R1
          s->keeper_deadline.store(r.kept_apart() ? INT64_MIN : r.deadline, relaxed);
        }
      }
    }
    switch (how) {
      case soundly:
        wake.sleep();
        break;
      case in_doubt:
        sleep_in_doubt(m);
        break;
      case as_keeper:
        sleep_as_keeper(m, r);
        break;
    }
    wake.clear();
    m->p = m->more->next_p;
    m->more->next_p = nullptr;
  }
  settle(m);
}

G* find_runnable(M* m) {
  sched* s = m->s;
  for (;;) {
    if (!m->p) {
      stop_m(m);
      if (!m->p) return nullptr;  // the run is over
    }
    if (m->p->attention.load(relaxed)) {
      stop_for_world(m);
      continue;
    }
    timer_heap& timers = m->p->more->timers;
    // relaxed: the owner's hint. With work in hand timers wait for their turn (look_round), as they do while goroutines switch to one another.
    const bool timed = timers.first.load(relaxed) != timer_heap::never && !has_work(m->p);
    if (timed) run_timers(timers, clock_for(m->p), true);
    if (m->more->was_keeper) {
      m->more->was_keeper = false;
      tell_sysmon_of_timers(s);
    }
    G* g = pick_next(m, timed);
    if (!g && m->p->more->inbox_rounds != 0 && s->nprocs.load(relaxed) - s->nidle.load(relaxed) <= s->ncpu)
      g = watch_inbox(m);
    if (!g) {
      if (!m->spinning && may_spin(s)) {
        m->spinning = true;
        s->nspinning.fetch_add(1, relaxed);
      }
      std::uint32_t rounds = m->spinning ? s->spin_rounds.load(relaxed) : 0;
      g = spin(m, rounds);
      if (m->spinning)  // relaxed, and lost updates do not matter: a statistic
        s->spin_rounds.store(
            g ? std::min(rounds * 2, limits::spin_rounds_max) : std::max(rounds - rounds / 4, limits::spin_rounds_min),
            relaxed);
    }
    if (!g && has_work(m->p)) continue;
    if (g) {
      if (m->spinning) {
        stop_spinning(m);
        pass_on_the_search(s);
      }
      if (!eligible(m, g)) continue;
      return g;
    }
    P* p = m->p;
    free_cached(s, p, p_cache_idle);  // an idle P hoards no stacks
    {
      std::lock_guard hold(s->lk);
      if (s->globq.n != 0 && !p->attention.load(relaxed)) continue;
      release_p(s, p);  // R1
      m->p = nullptr;
    }
    if (m->spinning)
      stop_spinning(m);
    else
      os::fence_full();  // R2
    tell_sysmon_of_idle(s);
    if (P* other = look_again(s, p)) {  // R3
      tell_sysmon_of_work(s);
      m->p = other;
      m->spinning = true;
      s->nspinning.fetch_add(1, relaxed);
    }
  }
}

}  // namespace weft::rt
