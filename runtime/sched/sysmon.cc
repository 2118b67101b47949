// SPDX-License-Identifier: MIT
//
// The watchdog of a run: a thread without a P.
//   * A runnext whose waker goes on computing must not wait (decision 5): one that is still there after two looks, on a P that has
//     not switched in between, is stolen and given to an idle P. A look takes place every `tick`, so it waits two ticks at most,
//     and what it takes to wake a thread.
//   * The same for one goroutine that a second ready has pushed from runnext into the ring (park.cc, ready_slow): nobody was woken for it
//     either; and for what lies in the deque of a P whose goroutines were not worth the last theft (theft.h), where nobody is called.
//     If the heads of ring and deque have not moved between two looks, an idle P is woken to come and take it.
//   * Goroutines that have gathered on a P (gather.h): those that lie in its inbox while it does not move, and are not bound to it, are put into the global
//     queue; and its ring, which thieves are kept from, is opened to one when somebody has waited there for a tick, or when it is time.
//   * A timer that is overdue while a P is idle: the M that kept the time has risen for an earlier one, and its goroutine computes. An idle P
//     is woken to run it. (Waking another keeper at each rise, as Go's wakep does, would cost a thousand sleepers a futex wake each.)
//   * Stacks that were needed at a peak go back to the kernel.
//   * With one P, which has no spinner beside it, sysmon brings the pages of stacks that are wanted (warm_stacks).
//
// It costs nothing when there is nothing to watch. After some looks that saw no runnext it sleeps, having set P::nag everywhere: the next
// goroutine to be put into a runnext wakes it. After how many adapts: woken again at once, it was too few; a tick costs as much as a wake.
//
//   SYSMON-NAG    owner, ready                     sysmon
//                 O1 runnext = g, or an inbox      T1 nag = true
//                 O2 light fence                   T2 fence_heavy
//                 O3 nag? wake sysmon              T3 any there? then do not sleep
//   Forbidden: O3 sees no nag and T3 sees no runnext. Then g waits behind its waker and nobody watches.
//   Where fence_heavy is only this thread's own fence, sysmon does not go to sleep on a nag, but keeps looking.
//
// While no P is idle a runnext has nowhere to go, so there is nothing to watch either: sysmon sleeps, and the first to put a P on
// the idle list wakes it. The same while as many Ps run as there are CPUs (p_to_spare): one more would but take turns with them, and each look takes a CPU
// from one. Then it looks every limits::stands_ns at who *stands still*: has not moved for so long, as its goroutine computes, or keeps its thread
// waiting in the kernel. Those are not counted, so where one stands an idle P may run beside it, and all is watched as above.
//
// That departs from decision 5: beside a P that is idle, but has no CPU, a goroutine may wait for two stands_ns, 800 us, behind who begins to compute. What
// it brings, on two CPUs at P = 16, before and after: parked 2.9 us and 1.6 a goroutine, skynet 33 ms and 29, fib(30) 34 ns and 32. (Twenty
// context switches a millisecond were of Ms that took turns.)
//
//   SYSMON-IDLE   who puts a P on the idle list    sysmon
//                 O1 nidle += 1                    T1 sysmon_wants_idle = true
//                 O2 fence_full                    T2 fence_full
//                 O3 wanted? wake sysmon           T3 a P to spare? then do not sleep
//   Forbidden: O3 sees no wish and T3 sees no idle P. Then a runnext waits beside an idle P for as long as its waker computes.
//   With a P to spare already it sleeps on the nags alone: Ps that come and go, as with a few goroutines that sleep, do not wake it. (They
//   did once, at every turn: 86 us of CPU per wakeup of a hundred sleepers at p = 2.)
//
// What no nag tells of: a goroutine that the scheduler has in its hand while T3 looks, and puts down again afterwards, as a yield does with the one
// it leaves. Telling of each such would be an nth of each yield. Instead, while a P is idle and another runs, sysmon looks again every
// limits::overlooked_ns, come what may. While all are idle there is nothing to overlook; when that has been so for a while, it sleeps for good, and
// who takes a P wakes it. (At once, a thousand sleepers at p = 2 paid for it at each of their turns: 8.1 us of CPU a wakeup instead of 6.8.)
//
//   SYSMON-REST   by lk: sysmon rests (sysmon_rests) only if every P is idle; who takes one off the list looks at sysmon_rests after that.
//
// While a P is idle and a timer is pending, sysmon looks when the earliest is overdue. Timers that it does not know of, as they were started after
// its look, are the keeper's; and who was keeper compares, when it has run what was due, what is left with sysmon's plans.
//
//   SYSMON-TIMERS   who was keeper                  sysmon
//                   O1 keeper_deadline = never      T1 sysmon_until = u
//                   O2 fence_full                   T2 fence_full
//                   O3 sysmon_until too late for    T3 earliest timer too early for u? then earlier
//                      the earliest? wake sysmon
//   Forbidden: O3 sees an earlier sysmon_until, and T3 misses a timer that O3 saw. Then it waits for sysmon's next look, or for the goroutine
//   that computes. (Who starts one and sees no keeper makes one: TIMER-KEEPER.)
//
// Source of the idea: Go proc.go, sysmon and retake.

#include <algorithm>

#include "world.h"

namespace weft::rt {

namespace {

constexpr std::int64_t tick_ns = 40'000;
constexpr int quiet_looks_max = 8;
constexpr std::int64_t at_once_ns = 5 * tick_ns;
constexpr std::int64_t trim_every_ns = 100'000'000;
constexpr std::int64_t move_every_ns = 1'000'000;

// A goroutine has waited long enough in p's runnext, or in its inbox without being bound to it. From the steal to its queueing it is nowhere to be
// seen: `sysmon_holds` keeps the run from being judged meanwhile. An M that went to sleep in that time may have left the judging to us: another look
// will do it.
void rescue(sched* s, P* p, bool from_inbox) {
  {
    std::lock_guard hold(s->lk);
    s->sysmon_holds = true;
  }
  bool any = false;
  if (from_inbox) {
    any = empty_inbox(s, p);
  } else if (G* g = steal_runnext(p)) {
    g_list one;
    one.push_back(g);
    queue_global(s, one);
    any = true;
  }
  bool all_idle;
  {
    std::lock_guard hold(s->lk);
    s->sysmon_holds = false;
    all_idle = s->nidle.load(relaxed) == s->nprocs.load(relaxed);  // relaxed: lk, under which Ps go idle
  }
  os::fence_full();  // SUBMIT-IDLE
  if (any || all_idle) wake_p(s);
}

// Thieves stay away from p's ring (gather.h), in which somebody waits: they come again when it is time, or when one of those who waited at the last
// look waits still.
void look_at_bar(sched* s, P* p) {
  theft_bar& bar = p->more->ring_thefts;
  if (!bar.in_doubt() || runq::size(p) == 0) return;
  const std::uint32_t head = runq::head::of(p->runq_head.load(relaxed));
  const bool late = static_cast<std::int32_t>(p->more->seen_tail - head) > 0;
  if (late) bar.open();
  if (late || !bar.barred()) wake_p(s);  // without a fence: a look that comes too early is made good by the next
}

// Which Ps have moved since this was called last, and how many stand still that have an M.
void look_for_moves(sched* s, std::int64_t now) {
  const int n = s->nprocs.load(acquire);
  for (int i = 0; i < n; ++i) {
    const P* p = proc(s, i);
    P::parts& mine = *p->more;
    const std::uint32_t rounds = p->rounds.load(relaxed);
    const std::int32_t budget = p->budget.load(relaxed);
    if (rounds != mine.seen_rounds || budget != mine.seen_budget) mine.moved_ns = now;
    mine.seen_rounds = rounds;
    mine.seen_budget = budget;
  }
  const int idle = s->nidle.load(relaxed);
  int standing = 0;
  if (idle != 0 && n - idle >= s->ncpu) {  // else nobody asks
    std::lock_guard hold(s->lk);
    for (int i = 0; i < n; ++i)
      if (!s->idle[i] && now - proc(s, i)->more->moved_ns >= limits::stands_ns) ++standing;
    standing = std::max(standing - s->nspinning.load(relaxed), 0);  // who warms stacks does not move either
  }
  s->nstanding.store(standing, relaxed);
}

// Looks, at `now`, at every runnext, and at what waits where nobody was woken for it. True when there was something.
bool look(sched* s, bool may_steal, std::int64_t now) {
  bool any = false;
  int n = s->nprocs.load(acquire);
  for (int i = 0; i < n; ++i) {
    P* p = proc(s, i);
    P::parts& mine = *p->more;
    bool there = has_runnext(p);
    bool waits = waiting(p) != 0;
    // The deque's head moves by thieves alone: what the owner does not come down to waits there, however much it runs.
    std::uint32_t head = runq::head::of(p->runq_head.load(relaxed)) + p->deque_head.load(relaxed);
    bool inbox = p->inbox.load(relaxed) != nullptr;  // relaxed: T3, behind the fence; else a look
    any = any || there || waits || inbox;
    const bool stands = mine.moved_ns != now && s->nidle.load(relaxed) != 0;
    if (there && may_steal && mine.seen_runnext && stands) {
      rescue(s, p, false);
      there = false;
    }
    if (inbox && may_steal && mine.seen_inbox && stands) {
      rescue(s, p, true);
      inbox = false;
    }
    if (may_steal && waits) look_at_bar(s, p);
    mine.seen_inbox = inbox;
    mine.seen_tail = p->runq_tail.load(relaxed);
    if (waits && may_steal && mine.seen_waiting && mine.seen_head == head) {
      wake_p(s);  // without a fence: a look that comes too early is made good by the next
    }
    mine.seen_waiting = waits;
    mine.seen_head = head;
    mine.seen_runnext = there;
  }
  return any;
}

// SYSMON-REST: true when there is nothing to be overlooked until somebody takes a P.
bool may_rest(sched* s) {
  std::lock_guard hold(s->lk);
  const bool all_idle = s->nidle.load(relaxed) == s->nprocs.load(relaxed);
  if (all_idle) s->sysmon_rests.store(true, relaxed);
  return all_idle;
}

// When sysmon, that looks at `now`, has to look again for timers' sake: when the earliest is overdue, but not at once.
std::int64_t next_look_at_timers(sched* s, std::int64_t now) {
  const std::int64_t first = earliest_timer(s);
  if (first >= timer_heap::never - limits::timer_patience_ns) return timer_heap::never;
  return std::max(first + limits::timer_patience_ns, now + limits::timer_look_ns);
}

bool overdue(sched* s, std::int64_t now) {
  const std::int64_t first = earliest_timer(s);
  return first != timer_heap::never && first <= now - limits::timer_patience_ns;
}

void set_nag(sched* s, bool on) {
  for (int i = 0; i < max_procs; ++i) {
    P* p = proc(s, i);
    if (!p) break;
    p->nag.store(on, relaxed);
  }
}

bool all_nag(sched* s) {
  for (int i = 0; i < max_procs; ++i) {
    P* p = proc(s, i);
    if (!p) break;
    if (!p->nag.load(relaxed)) return false;
  }
  return true;
}

// What sysmon keeps in mind from one look to the next.
struct watch {
  int quiet = 0;  // looks in a row with nothing to watch
  int quiet_looks = quiet_looks_max;
  bool nagging = false;       // every P's nag is on, and was before the last look
  std::int64_t disturbed;     // when somebody last ended its sleep
  std::int64_t may_move = 0;  // to another CPU, not before
};

// sysmon wakes where it slept, and that may be a CPU that a P runs on while another has none (spin.cc, settle): each look takes it from that P for some
// microseconds. (Ping-pong, P = 2: 500 looks in 100 ms, and 10.6 ns instead of 8.4.)
void get_out_of_the_way(sched* s, watch& w, std::int64_t now) {
  if (now < w.may_move) return;
  const unsigned here = s->sysmon_cpu.load(relaxed);
  if (!a_p_runs_on(s, here)) return;
  os::leave_cpu(here);
  w.may_move = now + move_every_ns;
}

// The only P starts goroutines that stay.
void warm_for_the_only_p(sched* s, watch& w, std::int64_t now) {
  if (s->warm_wanted.load(relaxed) == 0) return;  // relaxed: a hint
  get_out_of_the_way(s, w, now);
  while (warm_stacks(s)) {
  }
}

// A P is idle that could take what waits on another.
bool idle_beside_others(sched* s) { return s->nidle.load(relaxed) != 0 && s->nprocs.load(relaxed) > 1; }

// Until when sysmon, that looked at `now`, may sleep on the nags: a P is idle. `latest` if nothing can be overlooked.
std::int64_t nap_on_nags(sched* s, watch& w, std::int64_t now, std::int64_t latest) {
  s->sysmon_wants_idle.store(false, relaxed);
  if (!w.nagging) {
    set_nag(s, true);                                           // SYSMON-NAG, T1
    os::fence_heavy();                                          // T2
    w.nagging = os::asymmetric_fences && !look(s, false, now);  // T3
  }
  if (!w.nagging) return now + tick_ns;
  if (now - w.disturbed >= limits::rest_after_ns && may_rest(s)) return latest;
  const std::int64_t until = std::min({latest, now + limits::overlooked_ns, next_look_at_timers(s, now)});
  s->sysmon_until.store(until, relaxed);                // SYSMON-TIMERS, T1
  os::fence_full();                                     // T2
  return std::min(until, next_look_at_timers(s, now));  // T3
}

// The same while no P is idle, or none that has a CPU to run on: whoever puts one on the idle list ends the sleep.
std::int64_t nap_while_none_to_spare(sched* s, watch& w, std::int64_t now, std::int64_t latest) {
  w.nagging = false;
  s->sysmon_wants_idle.store(true, relaxed);  // SYSMON-IDLE, T1
  os::fence_full();                           // T2
  if (!idle_beside_others(s)) return latest;  // T3
  return p_to_spare(s) ? now + tick_ns : std::min(latest, now + limits::stands_ns);
}

void run_sysmon(void* arg) {
  auto* s = static_cast<sched*>(arg);
  os::set_timer_slack_ns(1);
  watch w{.disturbed = os::now_ns()};
  std::int64_t next_trim = w.disturbed + trim_every_ns;
  while (!s->sysmon_over.load(relaxed)) {
    const std::int64_t now = os::now_ns();
    s->sysmon_cpu.store(os::current_cpu(), relaxed);
    if (s->nprocs.load(relaxed) == 1) warm_for_the_only_p(s, w, now);
    look_for_moves(s, now);
    const bool may_steal = idle_beside_others(s) && p_to_spare(s);
    const bool any = look(s, may_steal, now);
    w.quiet = any && may_steal ? 0 : w.quiet + 1;
    if (may_steal) get_out_of_the_way(s, w, now);
    if (may_steal && overdue(s, now)) wake_p(s);
    if (now >= next_trim && s->trim_wanted.load(relaxed)) {
      s->trim_wanted.store(false, relaxed);
      if (s->stacks.trim().again) s->trim_wanted.store(true, relaxed);
      next_trim = now + trim_every_ns;
    }
    const std::int64_t latest = s->trim_wanted.load(relaxed) ? next_trim : os::no_deadline;
    std::int64_t until = now + tick_ns;
    if (w.quiet >= w.quiet_looks) {
      const bool on_nags = idle_beside_others(s) && (may_steal || !any);
      until = on_nags ? nap_on_nags(s, w, now, latest) : nap_while_none_to_spare(s, w, now, latest);
    }
    s->sysmon_until.store(until, relaxed);  // not later than SYSMON-TIMERS' T1
    bool woken = s->sysmon_wake.sleep_until(until);
    s->sysmon_rests.store(false, relaxed);
    if (woken) {
      s->sysmon_wake.take();
      if (s->nprocs.load(relaxed) == 1) continue;  // there is nothing to watch
      w.disturbed = os::now_ns();
      // For a timer's sake, or as somebody took a P: nothing to watch yet.
      if (w.nagging && all_nag(s)) continue;
      w.nagging = false;
      w.quiet = 0;
      const bool at_once = w.disturbed - now < at_once_ns;
      w.quiet_looks = at_once ? std::min(2 * w.quiet_looks, quiet_looks_max) : std::max(w.quiet_looks / 2, 1);
    }
    if (w.quiet == 0 || until == now + tick_ns) {
      s->sysmon_wants_idle.store(false, relaxed);
      if (woken) set_nag(s, false);
    }
  }
}

}  // namespace

void nag_sysmon(P* p) {
  p->nag.store(false, relaxed);  // one wake is enough
  p->s->sysmon_wake.wake();
}

void tell_sysmon_of_timers(sched* s) {
  os::fence_full();  // O2
  // O3. A look before sysmon's next one, if it looked just now, is no gain.
  if (s->sysmon_until.load(relaxed) > next_look_at_timers(s, os::now_ns())) s->sysmon_wake.wake();
}

void start_sysmon(sched* s) {
  bool running = false;
  if (!s->sysmon_running.compare_exchange_strong(running, true, relaxed, relaxed)) return;  // relaxed: one may
  try {
    s->sysmon_thread.start("weft-sysmon", run_sysmon, s, 64 << 10);
  } catch (...) {
    s->sysmon_running.store(false, relaxed);
    throw;
  }
}

void stop_sysmon(sched* s) {
  s->sysmon_over.store(true, relaxed);  // relaxed: carried by the note
  s->sysmon_wake.wake();
  s->sysmon_thread.join();
}

}  // namespace weft::rt
