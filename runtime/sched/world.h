// SPDX-License-Identifier: MIT
//
// What the Gs, Ms and Ps of one run share, and the private parts of M and P. For sched/*.cc only.
//
// Lock: sched::lk guards the group marked so. It is held for a few dozen instructions, never across a switch, a wake or an
// allocation of a stack, and nothing else is locked under it but the stack pool's own lock.

#pragma once

#include <memory>
#include <string>
#include <vector>

#include "../base/env.h"
#include "../base/lock.h"
#include "../os/clock.h"
#include "../os/signal.h"
#include "../os/thread.h"
#include "block_cache.h"
#include "deque.h"
#include "go.h"
#include "pack.h"
#include "park.h"
#include "stack.h"
#include "theft.h"
#include "timer.h"

namespace weft::rt {

inline constexpr std::size_t m_stack_bytes = 256 << 10;
// Free slots of the default size that a P keeps for itself.
inline constexpr std::uint32_t p_cache_batch = limits::real_or_sim(32U, 2U);  // fetched at once
inline constexpr std::uint32_t p_cache_max = 160;
// So that a storm of starts finds its slots again, those fetched and not used included: else one in twelve goes to the pool and back.
static_assert(limits::simulated || limits::spawn_storm + p_cache_batch <= p_cache_max);
inline constexpr std::uint32_t p_cache_idle = 32;

inline constexpr unsigned no_cpu = ~0U;

struct M::parts {
  M* self = nullptr;
  os::thread thread;            // not started for the M of the thread that called run
  note wake;                    // start_m -> stop_m
  M* next_idle = nullptr;       // lk
  P* next_p = nullptr;          // start_m, before wake: the P to run with; null when the run is over
  unsigned waker_cpu = no_cpu;  // with next_p: where the thread runs that woke this one
  G* requeue = nullptr;         // a goroutine that yielded into the scheduler: to be queued now that it is saved
  G* to_pool = nullptr;         // a finished goroutine whose slot this M's P does not cache: to be freed off its stack
  smr_record* guest_smr =
      nullptr;              // this M: for timers that fire inside another section (run_timers); made when first wanted
  bool was_keeper = false;  // written under lk, before wake; then this M's: SYSMON-TIMERS
  // This M: from whose deque it took last, until that has been judged (spin.cc); how many, when, and how long that took.
  P* robbed = nullptr;
  std::uint32_t stolen = 0;
  std::int64_t stole_ns = 0;
  std::int64_t theft_ns = 0;
  // This M: from whose ring it took last, until it looks for work again; has one of those gone home (gather.cc)?
  P* robbed_ring = nullptr;
  bool went_home = false;
  P* going_to = nullptr;  // this M: the P to whose inbox `requeue` goes (go_to); null: to our own ring
  // This M: when it last paused after a loss, or stole; with which P, and how many calls that had seen; and how long a line takes to come (gather.cc).
  P* dense_on = nullptr;
  std::uint32_t dense_calls = 0;
  std::int64_t dense_ns = 0;
  std::int64_t line_ns = 0;
  os::alt_stack_memory signal_stack;  // made by who starts the thread, who can take the failure
};

struct P::parts {
  G* free = nullptr;  // owner: finished goroutines of the default size, ready for reuse, linked by waiter::next
  std::uint32_t nfree = 0;
  std::uint32_t cold_batches = 0;  // owner: of stacks that came without their pages, while there was no sysmon
  block_cache blocks;
  heap_of_p own_timers;
  timer_heap& timers = own_timers.heap();
  std::int64_t clock_ns = 0;       // owner: what the clock showed to a sleeper, until the scheduler has used it
  std::uint32_t inbox_rounds = 0;  // owner: how long to watch the inbox before anything else; adapts
  G* spawner = nullptr;            // owner: who started a goroutine last; only compared
  std::uint32_t spawned = 0;       // owner: how many it has started, and nobody else any
  bool newer_next = false;         // owner: whose turn it was last, the deque's or the ring's (schedule.cc, local)
  std::uint32_t deque_owed = 0;    // owner: so many from the deque before the ring has its turn (schedule.cc, local)
  // Owner: where the deque's bottom was when it was first seen there, and when that was. Zero: it was empty, or has been seen to.
  std::uint32_t deque_seen_head = 0;
  std::int64_t deque_since_ns = 0;
  theft_account thefts;   // from the deque
  theft_bar ring_thefts;  // from the ring, of who has gathered here (gather.h)
  // Thieves, relaxed: when one last looked how dense this P is, how many calls it had seen by then, and the verdict.
  atomic<std::int64_t> looked_ns{0};
  atomic<std::uint32_t> looked_calls{0};
  atomic<bool> looked_dense{false};
  atomic<unsigned> cpu{no_cpu};  // where its M ran when it last looked round, or took the P. relaxed: a hint
  // sysmon only: what it saw at its last look, and when it last saw that the P had moved.
  std::int64_t moved_ns = 0;
  std::uint32_t seen_rounds = 0;
  std::int32_t seen_budget = 0;
  bool seen_runnext = false;
  std::uint32_t seen_head = 0;
  bool seen_waiting = false;
  bool seen_inbox = false;
  std::uint32_t seen_tail = 0;  // of the ring
};

struct sched {
  // Set before the first goroutine runs.
  unsigned default_class = 0;
  std::uint64_t chaos = 0;
  int ncpu = 1;
  M* m0 = nullptr;
  stack_pool stacks;
  std::unique_ptr<stack_packer> packer;  // or null

  // Written with the world stopped. relaxed: who has a P got it, by way of lk, after that, and so sees it, and the Ps that it counts.
  // acquire where an M without a P, or sysmon, then looks Ps up (ALLP).
  atomic<int> nprocs{0};
  // [0, nprocs) run; more may exist from before a shrink. Grows with the world stopped, but Ms without a P and other threads read
  // it even then. Once made, a P stays until the run is over.
  // ALLP release in run and set_procs -> acquire in the readers (proc). Carries the P.
  atomic<P*> allp[max_procs] = {};

  atomic<int> nidle{0};      // Ps without an M. Written under lk; read as a hint, or after a full fence (spin.cc)
  atomic<int> nstanding{0};  // Ps that have an M, and have not moved for long: sysmon's count. relaxed: a hint
  atomic<int> nspinning{0};  // Ms looking for work with none in hand
  atomic<std::uint32_t> globq_size{0};  // written under lk; read as a hint, or after a full fence
  atomic<bool> over{false};             // every goroutine has ended: Ms go home
  atomic<std::uint32_t> external{0};  // ordinary threads and other runtimes that are inside ready(): run waits for them
  atomic<std::int64_t> keeper_deadline{timer_heap::never};  // until when; written under lk. `never`: nobody does
  // Cold stacks are being used: so many more would be welcome with their pages there. relaxed: a hint
  atomic<std::uint32_t> warm_wanted{0};
  atomic<std::uint32_t> spin_rounds{
      limits::spin_rounds_first};  // how long the next spinner looks; adapts to whether looking paid

  runtime_lock lk;
  // Guarded by lk.
  bool idle[max_procs] = {};
  int low_idle = 0;  // no P below this one is idle
  M* idle_ms = nullptr;
  int nidle_ms = 0;
  std::vector<std::unique_ptr<M>> all_ms;
  g_list globq;
  M* keeper = nullptr;        // the idle M that sleeps only until the earliest timer
  std::int64_t rose_ns = 0;   // when a keeper's sleep last ended by itself
  bool sysmon_holds = false;  // sysmon has a goroutine in its hand, or is about to
  int nblocked = 0;           // goroutines inside weft::blocking
  int stop_wait = 0;          // Ps that have yet to stop for the world
  note world_stopped;
  atomic<bool> world_busy{false};  // somebody stops, changes or starts the world

  // sysmon.cc
  os::thread sysmon_thread;
  note sysmon_wake;
  atomic<bool> sysmon_running{false};
  atomic<bool> sysmon_over{false};
  atomic<bool> trim_wanted{false};               // slots went back to the pool since it was last trimmed to the bottom
  atomic<bool> sysmon_wants_idle{false};         // sysmon sleeps as no P is idle, or there is but one: see SYSMON-IDLE
  atomic<unsigned> sysmon_cpu{no_cpu};           // where it last ran. relaxed: a hint
  atomic<bool> sysmon_rests{false};              // set under lk: sysmon sleeps as every P is idle: see SYSMON-REST
  atomic<std::int64_t> sysmon_until{INT64_MAX};  // when sysmon looks again: see SYSMON-TIMERS
};

inline P* proc(const sched* s, int id) {
  return s->allp[id].load(acquire);
}  // ALLP acquire; null when it was never made

// A P is idle, and there is a CPU that it could run on: not as many Ps have an M as there are CPUs, those not counted that stand still (sysmon.cc). As
// nidle: a hint, or after a full fence.
inline bool p_to_spare(const sched* s) {
  const int idle = s->nidle.load(relaxed);
  return idle != 0 && s->nprocs.load(relaxed) - idle - s->nstanding.load(relaxed) < s->ncpu;
}

// schedule.cc
inline void refill(P* p) {
  p->budget.store(limits::slice, relaxed);
  p->more->cpu.store(os::current_cpu(), relaxed);
  p->rounds.store(p->rounds.load(relaxed) + 1, relaxed);  // no RMW: the owner's
}
void schedule(M* m);  // on g0, until the run is over
// The next goroutine of this P without going to the scheduler, or null. `timers_were_run`: just now, they need not be looked at again.
G* pick_next(M* m, bool timers_were_run = false);
// From the deque, as long as somebody in the ring lets them go first.
[[gnu::always_inline]] inline G* take_owed(P* p) {
  std::uint32_t& n = p->more->deque_owed;
  if (n == 0) return nullptr;
  G* g = deque::pop(p);
  n = g ? n - 1 : 0;
  return g;
}
// pick_next's frequent case, for who ends: the budget lasts, and runnext goes on, or one that is owed. Null: ask pick_next.
[[gnu::always_inline]] inline G* pick_at_once(M* m) {
  P* p = m->p;
  const std::int32_t left = p->budget.load(relaxed) - limits::switch_cost;  // relaxed: the owner's
  if (left < 0) return nullptr;
  G* g = take_runnext(p);
  if (!g && !p->inbox.load(relaxed)) g = take_owed(p);  // relaxed: a hint, as in get_inbox
  if (g) p->budget.store(left, relaxed);
  return g;
}
void queue_local(M* m, G* g);    // tail of the ring, overflow to the global queue; no wake
void queue_started(M* m, G* g);  // top of the deque, likewise: one that has not run yet
// Goroutines that wait in p's ring and deque, where others may take them. A hint, for anyone.
inline std::uint32_t waiting(const P* p) { return runq::size(p) + deque::size(p); }
inline std::uint32_t waiting_here(const P* p) { return runq::own_size(p) + deque::own_size(p); }  // owner only
inline bool has_work(const P* own) { return has_runnext(own) || waiting_here(own) != 0; }         // owner only
void queue_global(sched* s, g_list& batch);                                                       // takes all
G* get_global(M* m, bool fill_ring);  // one to run; with fill_ring, a fair share of the rest into the ring
G* get_inbox(M* m);
bool eligible(M* m, G* g);  // else it went to the P it is bound to

// spin.cc
void wake_p(sched* s);           // if a P is idle and nobody looks for work: send somebody to look
void start_p(sched* s, P* p);    // this idle P, which has work of its own
void stop_m(M* m);               // without a P: sleeps until it has one, or the run is over (then p is null)
P* take_idle_p(sched* s);        // lk
bool take_idle(sched* s, P* p);  // lk
void put_idle(sched* s, P* p);   // lk
// A P other than `but` runs there, or did when it last looked round. A hint.
bool a_p_runs_on(const sched* s, unsigned cpu, const P* but = nullptr);
void nudge_keeper(sched* s);  // the earliest timer is earlier than it was: an idle M looks again when to rise
G* find_runnable(M* m);       // blocks; null when the run is over

// world.cc
enum class quiet { no, ended, asleep };
quiet quiescence(sched* s);  // lk: is there nothing left to run? Then the run has ended, or nobody can go on
void end_run(sched* s);      // lk
bool nobody_else(sched* s);  // lk, and all asleep: no thread in this process but this run's
void stop_for_world(M* m);   // the M's P is wanted: gives it up
P* new_p(sched* s, int id);
M* new_m(sched* s);           // throws std::bad_alloc
void drop_m(sched* s, M* m);  // one that never ran
void bind_m(M* m);            // on its thread
void unbind_m(M* m);
int cached_num_cpus();

// goroutine.cc
void free_cached(sched* s, P* p, std::uint32_t keep);  // all but `keep` of P's free slots, back to the pool
// By one with nothing else to do: some of the stacks that are wanted with their pages there (refill, in goroutine.cc). False: none is.
bool warm_stacks(sched* s);
void after_switch(M* m);  // on g0: what a goroutine left to do when it switched here

// Anyone: each of those that lie in p's inbox, the newest first, taken out.
template <class Each>
void take_inbox(P* p, Each each) {
  // INBOX acquire <- push_inbox: the Gs, saved.
  for (waiter* w = p->inbox.exchange(nullptr, acquire); w;) {
    os::plain_read(&w->next);
    waiter* next = w->next;
    each(static_cast<G*>(w));
    w = next;
  }
}

// park.cc
// The current goroutine goes to that P's inbox, and on there, on another M.
void go_to(M* m, P* p);
void push_inbox_of(sched* s, P* p, G* g);  // who goes there, saved
// What lies in p's inbox without being bound, into the global queue. True: there was some.
bool empty_inbox(sched* s, P* p);
// `spare` goroutines wait in p's ring while its M runs another: sees to it that somebody comes for them.
void call_for_help(sched* s, P* p, std::uint32_t spare);
// The current goroutine has started more than it should before they run: it goes on behind those in the deque.
void give_way_to_deque(M* m);
// g becomes m->p's runnext. What was that takes the ring's tail, or, when it has not run yet, the deque's top. No wake.
[[gnu::always_inline]] inline void displace_runnext(M* m, G* g) {
  P* p = m->p;
  G* old = take_runnext(p);
  put_runnext(p, g);
  if (!old) return;
  if (old->why.load(relaxed) != wait_reason::start || old->affinity.load(relaxed) != m->s) return queue_local(m, old);
  if (!deque::push(p, old)) [[unlikely]]
    queue_started(m, old);
}

// sysmon.cc
// Whoever puts a P on the idle list, then, after a full fence: SYSMON-IDLE. (nprocs: a change of it wakes sysmon anyway.)
inline void tell_sysmon_of_idle(sched* s) {
  if (s->sysmon_wants_idle.load(relaxed) && s->nprocs.load(relaxed) > 1) s->sysmon_wake.wake();
}
// The owner, who has put a goroutine where others may take it, and wakes nobody for it: SYSMON-NAG.
inline void tell_sysmon_of_waiting(P* p) {
  asm volatile("" ::: "memory");  // O2
  if (p->nag.load(relaxed)) [[unlikely]]
    nag_sysmon(p);  // O3
}
// Whoever has taken a P off the idle list, without lk: SYSMON-REST.
inline void tell_sysmon_of_work(sched* s) {
  if (!s->sysmon_rests.load(relaxed)) return;  // relaxed: by lk
  s->sysmon_rests.store(false, relaxed);       // one wake is enough
  s->sysmon_wake.wake();
}
// Who was keeper, when it has run what was due: SYSMON-TIMERS.
void tell_sysmon_of_timers(sched* s);
void start_sysmon(sched* s);  // throws std::system_error
void stop_sysmon(sched* s);

// dump.cc, fault.cc
[[noreturn]] void die_of_deadlock(sched* s);
std::string describe(const G* g);   // id and name
std::string place(const void* pc);  // module, function and offset, as far as the dynamic symbols tell
void install_fault_handler();
void remove_fault_handler();
void add_pool(stack_pool* pool);  // where the fault handler looks
void remove_pool(stack_pool* pool);

}  // namespace weft::rt
