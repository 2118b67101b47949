// SPDX-License-Identifier: MIT

#include "timer.h"

#include <algorithm>
#include <optional>

#include "quiesce.h"
#include "world.h"

namespace weft::rt {

namespace {

constexpr std::uint32_t arity = 4;

timer* timer_of(const timer_heap::entry& e) { return reinterpret_cast<timer*>(e.what & ~std::uint64_t{1}); }

}  // namespace

void timer_heap::place(std::uint32_t index, entry e) {
  entries[index] = e;
  if (e.what & 1) timer_of(e)->index = index;
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

void timer_heap::push(std::int64_t when, timer* t) {
  entry e{when, reinterpret_cast<std::uint64_t>(t) | static_cast<std::uint64_t>(t->stoppable)};
  entries.push_back(e);
  sift_up(static_cast<std::uint32_t>(entries.size() - 1), e);
}

void timer_heap::remove(std::uint32_t index) {
  entry last = entries.back();
  entries.pop_back();
  if (index == entries.size()) return;
  if (index > 0 && last.when < entries[(index - 1) / arity].when)
    sift_up(index, last);
  else
    sift_down(index, last);
}

void start_timer(timer& t, std::int64_t when_ns) {
  M* m = self();
  timer_heap& heap = m->p->more->timers;
  bool earlier;
  {
    lock_scope hold(heap.lk);
    heap.push(when_ns, &t);
    t.fired_by = nullptr;
    t.home.store(&heap, relaxed);  // relaxed: under lk; stop_timer takes it before it believes
    earlier = when_ns < heap.first.load(relaxed);
    if (earlier) heap.first.store(when_ns, relaxed);  // S1
  }
  if (!earlier) return;
  os::fence_full();  // S2
  sched* s = m->s;
  if (s->nidle.load(relaxed) != 0 && when_ns < s->keeper_deadline.load(relaxed)) nudge_keeper(s);  // S3
}

bool stop_timer(timer& t) noexcept {
  for (;;) {
    timer_heap* heap = t.home.load(acquire);
    if (!heap) break;
    lock_scope hold(heap->lk);
    if (t.home.load(relaxed) != heap) continue;  // it was moved, or is due
    heap->remove(t.index);
    heap->first.store(heap->entries.empty() ? timer_heap::never : heap->entries[0].when, relaxed);
    t.home.store(nullptr, relaxed);
    return true;
  }
  // Due, and perhaps on its way: fire() is short.
  if (timer_heap* heap = t.fired_by)
    for (int i = 0; heap->firing.load(acquire) == &t; ++i) i < 100 ? cpu_relax() : os::yield_thread();
  return false;
}

bool run_timers(timer_heap& heap, std::int64_t now) {
  int fired = 0;
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
  for (;;) {
    timer* t;
    if (heap.first.load(relaxed) > now) break;  // relaxed: a hint, looked at again under lk or later
    if (!guest) guest.emplace();
    {
      lock_scope hold(heap.lk);
      if (heap.entries.empty() || heap.entries[0].when > now) break;
      if (heap.firing.load(relaxed) != nullptr) break;  // another M is at it
      t = timer_of(heap.entries[0]);
      heap.remove(0);
      heap.first.store(heap.entries.empty() ? timer_heap::never : heap.entries[0].when, relaxed);
      heap.firing.store(t, relaxed);  // relaxed: published with home
      t->fired_by = &heap;
      t->home.store(nullptr, release);  // release -> acquire in stop_timer: fired_by and firing
    }
    t->fire(t);
    heap.firing.store(nullptr, release);  // release -> acquire in stop_timer: all that fire() did
    ++fired;
  }
  // Several that were due: they run in the order of their times, so the last one readied goes behind those it drove from runnext.
  if (fired > 1)
    if (M* m = self(); G* last = take_runnext(m->p)) queue_local(m, last);
  return fired != 0;
}

std::int64_t earliest_timer(sched* s) {
  std::int64_t first = timer_heap::never;
  int n = s->nprocs.load(acquire);
  for (int i = 0; i < n; ++i) first = std::min(first, proc(s, i)->more->timers.first.load(relaxed));
  return first;
}

void drop_timers(timer_heap& heap) {
  for (auto& e : heap.entries) {
    timer* t = timer_of(e);
    t->home.store(nullptr, relaxed);
    if (t->drop) t->drop(t);
  }
  heap.entries.clear();
}

void move_timers(timer_heap& to, timer_heap& from) {
  lock_scope hold_to(to.lk);  // the only place that takes two, and one at a time
  lock_scope hold_from(from.lk);
  for (auto& e : from.entries) {
    timer* t = timer_of(e);
    to.push(e.when, t);
    t->home.store(&to, relaxed);  // relaxed: both locks are held; stop_timer looks again under one
  }
  from.entries.clear();
  from.first.store(timer_heap::never, relaxed);
  if (!to.entries.empty()) to.first.store(to.entries[0].when, relaxed);
}

namespace {

struct sleeper : timer {
  waiter* who;
  atomic<std::uint64_t> state{0};  // 0: not asleep yet; 1: asleep; 2: over
};

}  // namespace

}  // namespace weft::rt

namespace weft {

void sleep_until_ns(std::int64_t when_ns) {
  using namespace rt;
  M* m = self();
  if (!m) return os::sleep_ns(when_ns - os::now_ns());
  if (when_ns <= os::now_ns()) return yield();
  sleeper z;
  z.who = m->curg;
  z.stoppable = false;
  z.fire = [](timer* t) {
    auto* it = static_cast<sleeper*>(t);
    waiter* who = it->who;
    // SLEEP acq_rel: on 1 the sleeper is saved and ours; on 0 it will see 2 and go on. The last touch of what is on its stack.
    if (it->state.exchange(2, acq_rel) == 1) ready(self(), who);
  };
  start_timer(z, when_ns);
  // `no`: it fired before we slept, and does not touch z any more.
  park(m, z.state, 0, 1, wait_reason::sleep);
}

}  // namespace weft
