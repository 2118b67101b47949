// SPDX-License-Identifier: MIT

#include "timer.h"

#include <algorithm>
#include <array>
#include <cstring>
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

namespace {

struct candidate {
  std::int64_t when;
  std::uint32_t number;
};

[[gnu::always_inline]] inline candidate earlier(candidate a, candidate b) {
  const std::uint64_t second = 0U - static_cast<std::uint64_t>(b.when < a.when);  // all bits, or none
  return {a.when ^ static_cast<std::int64_t>(static_cast<std::uint64_t>(a.when ^ b.when) & second),
          a.number ^ ((a.number ^ b.number) & static_cast<std::uint32_t>(second))};
}

}  // namespace

void timer_heap::sift_down(std::uint32_t index, entry e) {
  const auto n = static_cast<std::uint32_t>(entries.size());
  const entry* const all = entries.data();
  // Which child is the least is anybody's guess, so nothing is guessed: a tournament in arithmetic, in which times go up with their numbers, so
  // that no level waits for a second load. The lines that may be next are all asked for. (50,000 entries, a pop: 35 ns; by comparing in turn 83.)
  std::uint32_t child;
  while ((child = index * arity + 1) + arity <= n) {
    const entry* const c = all + child;
    if (const std::uint32_t below = child * arity + 1; below + arity * arity <= n)
      for (std::size_t i = 0; i < arity; ++i) __builtin_prefetch(all + below + i * arity, 1);
    const candidate a = earlier({c[0].when, 0}, {c[1].when, 1});
    const candidate b = earlier({c[2].when, 2}, {c[3].when, 3});
    const candidate least = earlier(a, b);
    if (e.when <= least.when) return place(index, e);
    place(index, c[least.number]);
    index = child + least.number;
  }
  std::uint32_t least = child;
  for (std::uint32_t i = child + 1; i < n; ++i)
    if (all[i].when < all[least].when) least = i;
  if (child < n && all[least].when < e.when) {
    place(index, all[least]);
    index = least;
  }
  place(index, e);
}

void timer_heap::push(entry e) {
  entries.push_back(e);
  count();
  sift_up(static_cast<std::uint32_t>(entries.size() - 1), e);
}

const timer_heap::entry* timer_heap::earliest() const {
  const entry* other = entries.empty() ? nullptr : entries.data();
  if (soon_at == soon_end) return other;
  return other && other->when < soon[soon_at].when ? other : &soon[soon_at];
}

void timer_heap::pop() {
  if (earliest() != &soon[soon_at]) return remove(0);
  ++soon_at;
  count();
}

G* timer_heap::pop_sleeper(std::int64_t now) {
  const entry* e = earliest();
  if (!e || e->when > now || !is_sleeper(*e)) return nullptr;
  G* g = sleeper_of(*e);
  pop();
  return g;
}

bool timer_heap::look_ahead(std::int64_t until) {
  if (soon_at != soon_end) return false;
  soon_at = soon_end = 0;
  while (soon_end < limits::timers_soon && !entries.empty() && entries[0].when <= until && is_sleeper(entries[0])) {
    soon[soon_end++] = entries[0];
    remove(0);
  }
  return soon_end != 0;
}

void timer_heap::put_first(const entry* due, std::uint32_t n) {
  const std::uint32_t rest = soon_end - soon_at;
  std::memmove(&soon[n], &soon[soon_at], rest * sizeof(entry));
  std::copy_n(due, n, soon.begin());
  soon_at = 0;
  soon_end = n + rest;
  count();
}

// relaxed: lk; readers without it take a hint, or fence (TIMER-KEEPER)
void timer_heap::look_again() {
  const entry* e = earliest();
  first.store(e ? e->when : never, relaxed);
}

void timer_heap::count() { pending.store(static_cast<std::uint32_t>(entries.size()) + soon_end - soon_at, relaxed); }

void timer_heap::remove(std::uint32_t index) {
  entry last = entries.back();
  entries.pop_back();
  count();
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

// What will be needed soon, into the cache. Asked for with heap.lk, done without.
struct ahead {
  bool all = false;           // `soon` has been filled
  const G* second = nullptr;  // its first but one

  // Owner only.
  void ask(timer_heap& heap, std::int64_t now) {
    all = heap.look_ahead(now + limits::timer_ahead_ns);
    if (heap.soon_end - heap.soon_at > 1) second = sleeper_of(heap.soon[heap.soon_at + 1]);
  }
  // Their own lines all at once: each is a walk through the page tables, 200 ns here. Several overlap; one alone stops the core, as a prefetch
  // does not retire before it has been translated. A stack while another goroutine runs before it: what it begins with is fetched by then.
  // Inlined, or GCC, to which a function that only fetches has no effect, leaves the call out.
  [[gnu::always_inline]] void fetch(const timer_heap& heap) const {
    for (std::uint32_t i = 0; all && i < heap.soon_end; ++i) __builtin_prefetch(sleeper_of(heap.soon[i]), 1);
    if (second) runq::fetch_stack(second);
  }
};

// Who has taken g's entry out of a heap: is g to be woken? Else it is about to sleep, will see the 2 and go on.
bool is_asleep(G* g) {
  // SLEEP acquire <- the sleeper's commit: it is saved and ours. Nobody else changes a 1, so it is left as it is.
  return g->select.load(acquire) == 1 || g->select.exchange(2, acquire) == 1;
}

// g is runnable: true, and to be run here. Or else it has been sent to where it is bound.
bool wake_here(M* m, G* g) {
  if (g->affinity.load(relaxed) != m->s && g->affinity.load(relaxed) != m->p) {  // relaxed: as the rest of g, by SLEEP
    ready_slow(g);
    return false;
  }
  g->why.store(wait_reason::none, relaxed);  // relaxed: for the dump
  return true;
}

// Into this P's ring, in the order of their times.
void wake_sleepers(M* m, G* const* sleepers, std::size_t n) {
  sched* s = m->s;
  P* p = m->p;
  for (std::size_t i = 0; i < n; ++i) {
    G* g = sleepers[i];
    if (is_asleep(g) && wake_here(m, g)) queue_local(m, g);
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
  const bool own = &heap == &m->p->more->timers;
  for (;;) {
    if (heap.first.load(relaxed) > now) break;  // relaxed: a hint, looked at again under lk or later
    std::array<G*, batch_max> sleepers;
    std::size_t n = 0;
    timer* t = nullptr;
    bool one;
    ahead next;
    {
      // Who steals does not wait: whoever holds the lock is at these timers, or starts another, and looks at them next.
      if (own)
        heap.lk.lock();
      else if (!heap.lk.try_lock())
        break;
      lock_scope hold(heap.lk, lock_held);
      const timer_heap::entry* e = heap.earliest();
      if (!e || e->when > now) break;
      one = alone && now - e->when < limits::timer_patience_ns;
      const std::size_t most = one ? 1 : batch_max;
      while (n < most && (sleepers[n] = heap.pop_sleeper(now))) ++n;
      if (n == 0) {
        // Another M is at it. acquire: TIMER-FIRED, to be passed on by our own store.
        if (heap.firing.load(acquire) != nullptr) break;
        t = timer_of(*e);
        heap.pop();
        take_out(heap, t);
      } else if (own) {
        next.ask(heap, now);
      }
      heap.look_again();
    }
    next.fetch(heap);
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

bool steal_sleepers(timer_heap& from, std::int64_t now) {
  timer_heap& mine = self()->p->more->timers;
  std::array<timer_heap::entry, limits::timers_soon> due;
  std::uint32_t n = 0;
  {
    lock_scope hold(mine.lk);
    if (mine.soon_end - mine.soon_at > limits::timers_soon) return false;
    if (!from.lk.try_lock()) return false;
    lock_scope hold_from(from.lk, lock_held);
    const timer_heap::entry* e = nullptr;
    while (n < due.size() && (e = from.earliest()) && e->when <= now && is_sleeper(*e)) {
      due[n++] = *e;
      from.pop();
    }
    if (n == 0) return false;
    from.look_again();
    mine.put_first(due.data(), n);
    mine.look_again();
  }
  for (std::uint32_t i = 0; i < n; ++i) __builtin_prefetch(sleeper_of(due[i]), 1);
  return true;
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
      WEFT_CHECK(heap.soon_at == heap.soon_end, "drop_timers: a goroutine sleeps beyond its run");
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
  for (; from.soon_at != from.soon_end; ++from.soon_at) to.push(from.soon[from.soon_at]);
  from.entries.clear();
  from.count();
  from.look_again();
  to.look_again();
}

namespace {

// Owner only. Nobody else waits for this P's attention: a goroutine that parks may go straight to a sleeper that is due, by runnext. So that must be
// empty, and not only without a goroutine: what a thief has taken lies there until the owner's next take.
bool nobody_waits(const P* p) {
  return p->budget.load(relaxed) >= limits::switch_cost && !p->attention.load(relaxed) && !p->runnext.load(relaxed) &&
         waiting_here(p) == 0 && !p->inbox.load(relaxed);  // relaxed: as in yield
}

void sleep_goroutine(M* m, std::int64_t now, std::int64_t when) {
  G* g = m->curg;
  P* p = m->p;
  timer_heap& heap = p->more->timers;
  g->select.store(0, relaxed);  // relaxed: published by lk
  const bool direct = nobody_waits(p);
  bool earlier;
  G* due = nullptr;
  ahead next;
  {
    lock_scope hold(heap.lk);
    heap.push({when, reinterpret_cast<std::uint64_t>(g) | 1});
    const std::int64_t first = heap.first.load(relaxed);  // relaxed: lk
    earlier = when < first;
    if (earlier) {
      heap.first.store(when, relaxed);  // S1
    } else if (direct && first <= now && now - first < limits::timer_patience_ns) {
      // Where many sleep one is mostly due by now: what run_timers would do for one, without a look at the clock, and with one hold of the lock.
      due = heap.pop_sleeper(now);
      if (due) {
        next.ask(heap, now);
        heap.look_again();
      }
    }
  }
  if (earlier) tell_keeper(m, when);
  next.fetch(heap);
  if (due && is_asleep(due) && wake_here(m, due))
    put_runnext(p, due);
  else
    p->more->clock_ns = now;
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
  const std::int64_t now = os::now_ns();
  if (when_ns <= now) return yield();
  sleep_goroutine(m, now, when_ns);
}

void sleep_ns(std::int64_t ns) {
  using namespace rt;
  M* m = self();
  if (!m) return os::sleep_ns(ns);
  if (ns <= 0) return yield();
  std::int64_t when = 0;
  const std::int64_t now = os::now_ns();
  if (__builtin_add_overflow(now, ns, &when)) when = no_deadline;
  sleep_goroutine(m, now, when);
}

}  // namespace weft
