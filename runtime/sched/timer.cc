// SPDX-License-Identifier: MIT

#include "timer.h"

#include <algorithm>
#include <array>
#include <optional>

#include "../base/check.h"
#include "deadline.h"
#include "quiesce.h"
#include "world.h"

namespace weft::rt {

namespace {

constexpr std::uint32_t arity = 4;

// So many woken sleepers are no reason to wake another M, which costs 10 to 30 us of CPU.
constexpr std::uint32_t few_sleepers = 16;

// Goroutines taken out of a heap under one hold of its lock.
constexpr std::size_t batch_max = 32;

bool is_sleeper(const timer_heap::entry& e) { return (e.what & 1) != 0; }
timer* timer_of(const timer_heap::entry& e) { return reinterpret_cast<timer*>(e.what); }
G* sleeper_of(const timer_heap::entry& e) { return reinterpret_cast<G*>(e.what & ~std::uint64_t{1}); }

constinit runtime_lock heaps_lock;
constinit timer_heap* free_heaps = nullptr;  // heaps_lock

timer_heap* take_heap() {
  {
    lock_scope hold(heaps_lock);
    if (timer_heap* h = free_heaps) {
      free_heaps = h->next;
      return h;
    }
  }
  return new timer_heap;
}

}  // namespace

heap_of_p::heap_of_p() : heap_(take_heap()) {}

heap_of_p::~heap_of_p() {
  {
    lock_scope hold(heap_->lk);  // who is late with stop_timer
    decltype(heap_->entries)().swap(heap_->entries);
    heap_->look_again();
  }
  lock_scope hold(heaps_lock);
  heap_->next = free_heaps;
  free_heaps = heap_;
}

void timer_heap::place(std::uint32_t index, entry e) {
  entries[index] = e;
  if (!is_sleeper(e)) timer_of(e)->index = index;
}

void timer_heap::sift_up(std::uint32_t index, entry e) {
  while (index > 0) {
    std::uint32_t parent = (index - 1) / arity;
    if (entries[parent].when <= e.when) break;
    place(index, entries[parent]);
    index = parent;
  }
  place(index, e);
}

void timer_heap::sift_down(std::uint32_t index, entry e) {
  auto n = static_cast<std::uint32_t>(entries.size());
  for (;;) {
    std::uint32_t child = index * arity + 1;
    if (child >= n) break;
    std::uint32_t end = std::min(child + arity, n);
    std::uint32_t least = child;
    for (std::uint32_t i = child + 1; i < end; ++i)
      if (entries[i].when < entries[least].when) least = i;
    if (e.when <= entries[least].when) break;
    place(index, entries[least]);
    index = least;
  }
  place(index, e);
}

void timer_heap::push(entry e) {
  entries.push_back(e);
  pending.store(static_cast<std::uint32_t>(entries.size()), relaxed);
  sift_up(static_cast<std::uint32_t>(entries.size() - 1), e);
}

void timer_heap::pop() { remove(0); }

// relaxed: lk; readers without it take a hint, or fence (TIMER-KEEPER)
void timer_heap::look_again() { first.store(entries.empty() ? never : entries[0].when, relaxed); }

void timer_heap::remove(std::uint32_t index) {
  entry last = entries.back();
  entries.pop_back();
  pending.store(static_cast<std::uint32_t>(entries.size()), relaxed);
  if (index == entries.size()) return;
  if (index > 0 && last.when < entries[(index - 1) / arity].when)
    sift_up(index, last);
  else
    sift_down(index, last);
}

namespace {

// S2 and S3: the heap has a new first.
void tell_keeper(M* m, std::int64_t when) {
  os::fence_full();  // S2
  sched* s = m->s;
  // S3. Keeper: see TIMER-KEEPER.
  if (s->nidle.load(relaxed) != 0 && when < s->keeper_deadline.load(relaxed)) nudge_keeper(s);
}

}  // namespace

void start_timer(timer& t, std::int64_t when_ns) {
  M* m = self();
  timer_heap& heap = m->p->more->timers;
  bool earlier;
  {
    lock_scope hold(heap.lk);
    heap.push({when_ns, reinterpret_cast<std::uint64_t>(&t)});
    t.fired_by = nullptr;
    t.home.store(&heap, relaxed);                     // relaxed: under lk; stop_timer takes it before it believes
    earlier = when_ns < heap.first.load(relaxed);     // relaxed: lk
    if (earlier) heap.first.store(when_ns, relaxed);  // S1
  }
  if (earlier) tell_keeper(m, when_ns);
}

bool stop_timer(timer& t) noexcept {
  for (;;) {
    timer_heap* heap = t.home.load(acquire);  // TIMER-TAKEN acquire <- run_timers, drop_timers
    if (!heap) break;
    lock_scope hold(heap->lk);
    if (t.home.load(relaxed) != heap) continue;  // it was moved, or is due
    heap->remove(t.index);
    heap->look_again();
    t.home.store(nullptr, relaxed);  // relaxed: lk; its owner's again
    return true;
  }
  // Due, and perhaps on its way: fire() is short.
  if (timer_heap* heap = t.fired_by)
    for (int i = 0; heap->firing.load(acquire) == &t; ++i)  // TIMER-FIRED
      i < 100 ? cpu_relax() : os::yield_thread();
  return false;
}

namespace {

void fetch(const G* g) {
  __builtin_prefetch(g, 1);
  __builtin_prefetch(&g->select, 1);
}

// Into this P's ring, in the order of their times.
void wake_sleepers(M* m, G* const* sleepers, std::size_t n) {
  sched* s = m->s;
  P* p = m->p;
  // All at once, not while they are taken out of the heap: each is a walk through the page tables, and what comes behind it in between waits for it.
  for (std::size_t i = 0; i < n; ++i) fetch(sleepers[i]);
  for (std::size_t i = 0; i < n; ++i) {
    G* g = sleepers[i];
    // SLEEP acquire: on 1 the sleeper is saved and ours; on 0 it will see 2 and go on.
    if (g->select.exchange(2, acquire) != 1) continue;
    if (g->affinity.load(relaxed) != s && g->affinity.load(relaxed) != p) {  // relaxed: as the rest of g, by SLEEP
      ready_slow(g);
      continue;
    }
    g->why.store(wait_reason::none, relaxed);  // relaxed: for the dump
    queue_local(m, g);
  }
  std::uint32_t spare = waiting_here(p) + has_runnext(p);
  // Who asks runs one of them now; mostly it is the only one.
  if (spare != 0) --spare;
  // A few: sysmon comes if the first of them computes. Another M would be awake only when they are done, mostly asleep again at once.
  if (spare != 0) call_for_help(s, p, spare < few_sleepers ? 1 : spare);
}

// lk. t is the caller's, to fire or to drop, until let_go.
void take_out(timer_heap& heap, timer* t) {
  // release: TIMER-FIRED of the one before, too. Who waits for that one may read this, and never the null.
  heap.firing.store(t, release);
  t->fired_by = &heap;
  t->home.store(nullptr, release);  // TIMER-TAKEN release -> acquire in stop_timer: fired_by and firing
}

void let_go(timer_heap& heap) {
  heap.firing.store(nullptr, release);  // TIMER-FIRED release -> acquire in stop_timer: all that fire(), or drop(), did
}

}  // namespace

bool run_timers(timer_heap& heap, std::int64_t now, bool alone) {
  std::size_t fired = 0;
  bool by_ready = false;
  // We may be inside somebody's park: on the stack of a goroutine that is about to wait, with its section open. So fire() must not
  // yield, and what it does to channels must not end that section: it gets a record of its own.
  struct visitor {
    M* m = self();
    smr_record* outer = m->smr;
    visitor() {
      if (outer->pin.load(relaxed) != 0) {  // relaxed: our own
        if (!m->more->guest_smr) m->more->guest_smr = smr_enter_thread();
        m->smr = m->more->guest_smr;
      }
      hold_switches(m);
    }
    ~visitor() {
      m->smr = outer;
      allow_switches(m);
    }
  };
  std::optional<visitor> guest;
  M* m = self();
  for (;;) {
    if (heap.first.load(relaxed) > now) break;  // relaxed: a hint, looked at again under lk or later
    std::array<G*, batch_max> sleepers;
    std::size_t n = 0;
    timer* t = nullptr;
    bool one;
    {
      lock_scope hold(heap.lk);
      one = alone && !heap.entries.empty() && now - heap.entries[0].when < limits::timer_patience_ns;
      const std::size_t most = one ? 1 : batch_max;
      while (n < most && !heap.entries.empty() && heap.entries[0].when <= now && is_sleeper(heap.entries[0])) {
        sleepers[n++] = sleeper_of(heap.entries[0]);
        heap.pop();
      }
      if (n == 0) {
        if (heap.entries.empty() || heap.entries[0].when > now) break;
        // Another M is at it. acquire: TIMER-FIRED, to be passed on by our own store.
        if (heap.firing.load(acquire) != nullptr) break;
        t = timer_of(heap.entries[0]);
        heap.pop();
        take_out(heap, t);
      }
      heap.look_again();
      if (one && !heap.entries.empty() && is_sleeper(heap.entries[0])) {  // the next one, while this one runs
        fetch(sleeper_of(heap.entries[0]));
      }
    }
    if (t) {
      if (!guest) guest.emplace();
      t->fire(t);
      let_go(heap);
      ++fired;
      by_ready = true;
      if (one && has_work(m->p)) break;
      continue;
    }
    fired += n;
    wake_sleepers(m, sleepers.data(), n);
    if (one && has_work(m->p)) break;
    if (runq::own_size(m->p) >= runq::capacity / 2) break;  // enough for now
  }
  // Several that were due: they run in the order of their times, so the last one readied goes behind those it drove from runnext.
  if (by_ready && fired > 1)
    if (G* last = take_runnext(m->p)) queue_local(m, last);
  return fired != 0;
}

namespace {

// For who may have no P: one of the Ps that nprocs counts may have been made just now, and cannot be seen yet. It has no timer, or who starts
// one there sees to it himself (S2).
template <class F>
void for_each_heap(sched* s, F f) {
  int n = s->nprocs.load(relaxed);
  for (int i = 0; i < n; ++i) {
    P* p = proc(s, i);
    if (!p) break;
    f(p->more->timers);
  }
}

}  // namespace

std::int64_t earliest_timer(sched* s) {
  std::int64_t first = timer_heap::never;
  // relaxed: a hint, or after R2 (TIMER-KEEPER)
  for_each_heap(s, [&](timer_heap& heap) { first = std::min(first, heap.first.load(relaxed)); });
  return first;
}

std::int64_t keeper_gap(sched* s) {
  std::int64_t pending = 0;
  for_each_heap(s, [&](timer_heap& heap) { pending += heap.pending.load(relaxed); });  // relaxed: a measure of distance
  return std::min(pending * limits::keeper_gap_each_ns, limits::keeper_gap_max_ns);
}

void drop_timers(timer_heap& heap) {
  for (;;) {
    timer* t = nullptr;
    {
      lock_scope hold(heap.lk);
      if (heap.entries.empty()) break;
      WEFT_CHECK(!is_sleeper(heap.entries.back()), "drop_timers: a goroutine sleeps beyond its run");
      t = timer_of(heap.entries.back());
      heap.entries.pop_back();
      heap.look_again();
      take_out(heap, t);
    }
    // Not under lk: drop() may take a lock under which others start timers. Who stops t meanwhile waits, as for fire().
    if (t->drop) t->drop(t);
    let_go(heap);
  }
}

void move_timers(timer_heap& to, timer_heap& from) {
  lock_scope hold_to(to.lk);  // the only place that takes two, and one at a time
  lock_scope hold_from(from.lk);
  for (auto& e : from.entries) {
    to.push(e);
    if (!is_sleeper(e)) timer_of(e)->home.store(&to, relaxed);  // relaxed: both locks are held; stop_timer looks again
  }
  from.entries.clear();
  from.look_again();
  to.look_again();
}

namespace {

void sleep_goroutine(M* m, std::int64_t when) {
  G* g = m->curg;
  timer_heap& heap = m->p->more->timers;
  g->select.store(0, relaxed);  // relaxed: published by lk
  bool earlier;
  {
    lock_scope hold(heap.lk);
    heap.push({when, reinterpret_cast<std::uint64_t>(g) | 1});
    earlier = when < heap.first.load(relaxed);     // relaxed: lk
    if (earlier) heap.first.store(when, relaxed);  // S1
  }
  if (earlier) tell_keeper(m, when);
  // SLEEP release. `no`: it was over before we slept, and nobody knows of us any more.
  park(m, g->select, 0, 1, wait_reason::sleep);
}

}  // namespace

}  // namespace weft::rt

namespace weft {

void sleep_until_ns(std::int64_t when_ns) {
  using namespace rt;
  M* m = self();
  if (!m) return os::sleep_ns(when_ns - os::now_ns());
  if (when_ns <= os::now_ns()) return yield();
  sleep_goroutine(m, when_ns);
}

void sleep_ns(std::int64_t ns) {
  using namespace rt;
  M* m = self();
  if (!m) return os::sleep_ns(ns);
  if (ns <= 0) return yield();
  std::int64_t when = 0;
  if (__builtin_add_overflow(os::now_ns(), ns, &when)) when = no_deadline;
  sleep_goroutine(m, when);
}

}  // namespace weft
