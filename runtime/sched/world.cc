// SPDX-License-Identifier: MIT
//
// run: a world is made, lives and ends; set_procs: it is stopped, resized and started.
//
// Stopping. Whoever stops the world asks every P that runs (P::attention) and takes those that are idle; each M gives its P up
// at its next cooperative point, after its queues have gone to the global queue. A goroutine that computes without calling
// the runtime holds the stop up, and everybody with it: weft does not interrupt goroutines.
//
// The end. A run is over when every P is idle, nobody looks for work, nothing is queued and as many goroutines have ended as
// were born. The counts are per P and plain; they are added up only then, when nobody writes them.
//
// Edges
//   name        release side             acquire side               carries                                        model test
//   ALLP        see world.h
//   WORLD-BUSY  start_the_world          stop_the_world             what the last one to change the world wrote    none; world_stress
//   EXTERNAL    ready_remote, at its end run's last wait            that nothing of this run will be touched       none; world_stress
//   SHRINK      see ready_bound (park.cc)

#include <algorithm>
#include <stdexcept>
#include <string>

#include "../base/check.h"
#include "quiesce.h"
#include "stamp.h"
#include "world.h"

namespace weft::rt {

int cached_num_cpus() {
  static const int n = os::num_cpus();  // reads files
  return n;
}

namespace {

// Before the first run of the process makes a thread: afterwards nobody can tell.
int cached_num_foreign_threads() {
  static const int n = os::num_foreign_threads();
  return n;
}

// libsupc++ declares neither; the layout is the ABI's (Itanium C++ ABI, "Caught Exception Stack").
extern "C" eh_state* __cxa_get_globals();

}  // namespace

std::uint64_t new_stamp_range() {
  static atomic<std::uint32_t> next{1};
  // relaxed: uniqueness is all that is asked. 2^32 ranges of 2^28 numbers.
  return std::uint64_t{next.fetch_add(1, relaxed)} << 32 | stamp_step;
}

M* new_m(sched* s) {
  auto m = std::make_unique<M>();
  auto more = std::make_unique<M::parts>();
  more->self = m.get();
  m->s = s;
  M* raw = m.get();
  {
    std::lock_guard hold(s->lk);
    s->all_ms.reserve(s->all_ms.size() + 1);
    m->smr = smr_enter_thread();
    // Nothing fails from here on.
    m->more = more.release();
    m->id = static_cast<std::uint32_t>(s->all_ms.size());
    m->rand = fast_rand(s->chaos + m->id + 1);
    s->all_ms.push_back(std::move(m));
  }
  return raw;
}

namespace {

void delete_parts(M* m) {
  if (m->smr) smr_leave_thread(m->smr);  // it never ran
  delete m->more;
}

}  // namespace

void drop_m(sched* s, M* m) {
  std::lock_guard hold(s->lk);
  delete_parts(m);
  std::erase_if(s->all_ms, [m](const auto& p) { return p.get() == m; });
}

void bind_m(M* m) {
  os::set_self(m);
  m->section = os::sections ? os::section_slot_of_thread() : nullptr;
  m->errno_address = &os::errno_of_thread();
  m->eh = __cxa_get_globals();
  bind_scheduler_fiber(m);
}

void unbind_m(M* m) {
  smr_leave_thread(std::exchange(m->smr, nullptr));
  if (m->more->guest_smr) smr_leave_thread(std::exchange(m->more->guest_smr, nullptr));
  os::set_self(nullptr);
}

P* new_p(sched* s, int id) {
  P* p = new P;
  p->more = new P::parts;
  p->s = s;
  p->id = id;
  p->budget.store(limits::slice, relaxed);  // relaxed: published by ALLP, as all of p
  p->stamp = new_stamp_range();
  if (!os::asymmetric_fences) p->claim.store(claim::fenced, relaxed);
  return p;
}

namespace {

void delete_p(P* p) {
  delete p->more;
  delete p;
}

// All that `p` has queued goes to the global queue. Its M, or with the world stopped.
void drain(sched* s, P* p) {
  g_list batch;
  if (G* g = take_runnext(p)) batch.push_back(g);
  while (G* g = runq::get(nullptr, p)) batch.push_back(g);
  deque::take_oldest(p, deque::capacity, batch);
  take_inbox(p, [&](G* g) { batch.push_back(g); });
  queue_global(s, batch);
}

void stop_the_world(M* m) {
  sched* s = m->s;
  bool none = false;
  while (!s->world_busy.compare_exchange_strong(none, true, relaxed, relaxed)) {  // relaxed: what it guards goes by lk
    none = false;
    yield();
    m = self();
  }
  bool wait;
  {
    std::lock_guard hold(s->lk);
    s->stop_wait = 0;
    int n = s->nprocs.load(relaxed);
    for (int i = 0; i < n; ++i) {
      P* p = proc(s, i);
      if (p == m->p || take_idle(s, p)) continue;
      p->attention.store(1, relaxed);  // relaxed: what follows is said under lk
      ++s->stop_wait;
    }
    wait = s->stop_wait != 0;
  }
  if (wait) s->world_stopped.sleep();
  s->world_stopped.clear();
}

void start_the_world(M* m) {
  sched* s = m->s;
  {
    std::lock_guard hold(s->lk);
    s->low_idle = 0;
    int n = s->nprocs.load(relaxed);
    for (int i = 0; i < n; ++i)
      if (proc(s, i) != m->p) put_idle(s, proc(s, i));
  }
  os::fence_full();
  s->sysmon_wake.wake();                // come what may: SYSMON-IDLE, and new Ps that do not nag yet
  s->world_busy.store(false, relaxed);  // relaxed: see stop_the_world
  // Threads that readied bound goroutines meanwhile saw no P idle. relaxed: after the fence
  for (int i = 0, n = s->nprocs.load(relaxed); i < n; ++i)
    if (proc(s, i)->inbox.load(relaxed)) start_p(s, proc(s, i));
  wake_p(s);
}

}  // namespace

void stop_for_world(M* m) {
  sched* s = m->s;
  drain(s, m->p);
  {
    std::lock_guard hold(s->lk);
    P* p = m->p;
    if (!p->attention.load(relaxed)) return;  // relaxed: lk
    p->attention.store(0, relaxed);
    m->p = nullptr;
    if (--s->stop_wait == 0) s->world_stopped.wake();
  }
  if (m->spinning) {
    m->spinning = false;
    s->nspinning.fetch_sub(1, relaxed);  // relaxed: who starts the world again looks at every queue
  }
}

quiet quiescence(sched* s) {
  // relaxed, all: lk. nspinning: before our P went idle there was a fence, R2 in spin.cc; who stops to spin looks after one of his own.
  int n = s->nprocs.load(relaxed);
  if (s->nidle.load(relaxed) != n || s->nspinning.load(relaxed) != 0) return quiet::no;
  if (s->sysmon_holds || s->globq.n != 0 || s->nblocked != 0) return quiet::no;
  std::uint64_t born = 0;
  std::uint64_t ended = 0;
  bool timers = false;
  for (const auto& made : s->allp) {
    P* p = made.load(
        relaxed);  // relaxed: who made it has been through lk since. Those that a shrink left behind count too: they have seen births
    if (!p) break;
    // relaxed here and below: every P is idle, so what its M wrote came by lk; an inbox is looked at after R2
    if (p->more->timers.first.load(relaxed) != timer_heap::never) timers = true;
    if (waiting(p) != 0 || has_runnext(p) || p->inbox.load(relaxed)) return quiet::no;
    born += p->born.load(relaxed);
    ended += p->ended.load(relaxed);
  }
  if (born == ended) return quiet::ended;  // pending timers do not hold it up
  return timers ? quiet::no : quiet::asleep;
}

void end_run(sched* s) {
  s->over.store(true, relaxed);  // relaxed: every M reads it under lk or is woken through its note
  for (M* m = s->idle_ms; m;) {
    M* next = m->more->next_idle;
    m->more->wake.wake();
    m = next;
  }
  s->idle_ms = nullptr;
}

bool nobody_else(sched* s) {
  int all = os::num_threads_of_process();
  std::size_t ours = s->all_ms.size();
  if (s->sysmon_running.load(relaxed)) ++ours;
  if (s->packer) ours += stack_packer::threads;
  // ThreadSanitizer starts its own thread before or after we can tell it from others.
  ours += static_cast<std::size_t>(std::max(cached_num_foreign_threads(), WEFT_TSAN));
  return all >= 0 && static_cast<std::size_t>(all) <= ours;
}

void run_world(const options& o, void (*entry)(G*), void* closure, const void* started_at) {
  if (self())
    throw std::logic_error("weft::run called from a goroutine: one runtime cannot be nested in another's stack");
  settings set = resolve_settings(o.procs, o.stack_size, o.pack_after.count());
  auto owned = std::make_unique<sched>();
  sched* s = owned.get();
  s->ncpu = cached_num_cpus();
  (void)cached_num_foreign_threads();
  s->chaos = set.chaos_seed;
  s->default_class = stack_pool::class_of(set.stack_size);
  if (set.pack_after_ms != 0) {
    s->packer = std::make_unique<stack_packer>(s->stacks, set.pack_after_ms * 1'000'000);
    s->stacks.set_keeper(s->packer.get());
  }
  struct cleaner {
    sched* s;
    ~cleaner() {
      // relaxed here and below: all goroutines have ended, and their Ms with them
      if (s->sysmon_running.load(relaxed)) stop_sysmon(s);
      // Who readied a goroutine from outside may still be leaving, and on its way out start an M that will find the run over.
      while (s->external.load(acquire) != 0) os::yield_thread();  // EXTERNAL acquire <- ready_remote: it has left
      for (auto& m : s->all_ms) {
        if (m->more->thread.joinable()) m->more->thread.join();
        delete_parts(m.get());
      }
      for (auto& p : s->allp)
        if (P* made = p.load(relaxed)) drop_timers(made->more->timers);
      for (auto& p : s->allp)
        if (P* made = p.load(relaxed)) delete_p(made);
      remove_pool(&s->stacks);
      remove_fault_handler();
    }
  } clean{s};
  install_fault_handler();
  add_pool(&s->stacks);
  // relaxed, both: before there are threads
  for (int i = 0; i < set.procs; ++i) s->allp[i].store(new_p(s, i), relaxed);
  s->nprocs.store(set.procs, relaxed);
  proc(s, 0)->thieves = set.procs > 1;
  M* m = new_m(s);
  s->m0 = m;
  m->p = proc(s, 0);
  m->p->more->cpu.store(os::current_cpu(), relaxed);
  for (int i = set.procs - 1; i > 0; --i) put_idle(s, proc(s, i));
  s->low_idle = 0;
  if (set.procs > 1)
    start_sysmon(s);  // with the Ps on the idle list: one that sees none goes to sleep until it is told
  const os::alt_stack alt(m->more->signal_stack);
  int saved_errno = os::errno_of_thread();
  bind_m(m);
  const eh_state saved_eh = std::exchange(*m->eh, {});
  struct unbinder {
    M* m;
    eh_state eh;
    int saved_errno;
    ~unbinder() {
      *m->eh = eh;
      unbind_m(m);
      os::errno_of_thread() = saved_errno;
    }
  } unbind{m, saved_eh, saved_errno};
  G* g = new_goroutine(m, {.name = "main", .stack_size = 0, .home = -1}, started_at);
  g->closure = closure;
  launch(m, g, entry);
  schedule(m);
}

int procs_of(const M* m) noexcept { return m->s->nprocs.load(relaxed); }  // relaxed: m has a P

}  // namespace weft::rt

namespace weft {

using namespace rt;

int procs() {
  M* m = self();
  if (!m) return 0;
  cooperate(m);
  return procs_of(self());
}

int num_cpus() { return cached_num_cpus(); }

std::int64_t num_goroutines() {
  M* m = self();
  if (!m) return 0;
  cooperate(m);
  m = self();
  // Ended before born: never less than there are.
  std::uint64_t ended = 0;
  std::uint64_t born = 0;
  int made = 0;
  for (; made < max_procs; ++made) {
    P* p = proc(m->s, made);
    if (!p) break;
    ended += p->ended.load(acquire);  // acquire: the births that were before these ends are seen below
  }
  for (int i = 0; i < made; ++i) born += proc(m->s, i)->born.load(relaxed);  // relaxed: a snapshot
  return static_cast<std::int64_t>(born - ended);
}

int set_procs(int n) {
  M* m = self();
  if (!m) throw std::logic_error("weft::set_procs called outside of weft::run");
  sched* s = m->s;
  int old = s->nprocs.load(relaxed);  // a look; decided with the world stopped
  if (n < 1 || n == old) {
    cooperate(m);
    return old;
  }
  if (n > max_procs)
    throw std::invalid_argument("weft::set_procs: more than " + std::to_string(max_procs) + " processors");
  if (n > 1) start_sysmon(s);
  stop_the_world(m);
  m = self();
  old = s->nprocs.load(relaxed);
  try {
    for (int i = old; i < n; ++i)
      if (!proc(s, i)) s->allp[i].store(new_p(s, i), release);  // ALLP release
  } catch (...) {
    start_the_world(m);
    throw;
  }
  s->nprocs.store(n, release);  // ALLP release -> acquire in whoever counts to it: those Ps are there
  os::fence_full();             // SHRINK, see ready_bound
  proc(s, 0)->thieves = n > 1;
  for (int i = n; i < old; ++i) {
    P* p = proc(s, i);
    if (p == m->p) {
      m->p = proc(s, 0);
      refill(m->p);
    }
    drain(s, p);
    move_timers(m->p->more->timers, p->more->timers);
    free_cached(s, p, 0);
    p->more->blocks.drop();
  }
  start_the_world(m);
  return old;
}

}  // namespace weft
