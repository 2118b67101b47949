// SPDX-License-Identifier: MIT
//
// Virtual threads: who runs, who waits, and how one follows the other. The theory is in machine.h.

#include "machine.h"

#include <bit>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "../../../arch/first_frame.h"

namespace weft::sim {

machine* the_machine = nullptr;
bool inside = false;
void* sim_self = nullptr;

namespace {

// libsupc++ declares it nowhere; the layout is the ABI's (Itanium C++ ABI, "Caught Exception Stack").
extern "C" eh_globals* __cxa_get_globals();

void thread_main(void* p) {
  auto* t = static_cast<vthread*>(p);
  machine& m = *the_machine;
  try {
    t->fn(t->arg);
  } catch (const std::exception& e) {
    m.fail(std::string("an exception left a virtual thread: ") + e.what());
  } catch (...) {
    m.fail("an exception left a virtual thread");
  }
  for (int round = 0; round < 4; ++round)
    for (int k = 0; k < 8; ++k)
      if (void* v = std::exchange(t->data[k], nullptr)) m.key_end[k](v);
  if (t->id == 0) {
    for (int i = 1; i < m.nthreads; ++i)
      if (m.threads[i].state != thread_state::done && !(m.stopped >> i & 1))
        m.fail("thread " + std::to_string(i) + " has not ended");
    m.end_run();
  }
  m.point({what::os, nullptr, true, false}, t->last_site);
  t->state = thread_state::done;
  m.runnable &= ~(1U << t->id);
  m.lazy = 0;
  for (int i = 0; i < m.nthreads; ++i)
    if (m.threads[i].state == thread_state::blocked && m.threads[i].joins == t->id) m.wake(m.threads[i]);
  m.leave_to(m.pick(-1));
}

}  // namespace

const char* to_string(what w) {
  switch (w) {
    case what::start:
      return "start";
    case what::load:
      return "load";
    case what::store:
      return "store";
    case what::rmw:
      return "rmw";
    case what::cas:
      return "cas";
    case what::fence:
      return "fence";
    case what::fence_of_all:
      return "fence_of_all";
    case what::relax:
      return "relax";
    case what::os:
      return "os";
    case what::futex_wait:
      return "futex_wait";
    case what::futex_wake:
      return "futex_wake";
  }
  return "?";
}

std::string where(site s) {
  if (!s.file) return "?";
  std::string_view f = s.file;
  while (f.starts_with("../")) f.remove_prefix(3);
  return std::string(f) + ":" + std::to_string(s.line);
}

bool dependent(const step& a, const step& b) noexcept {
  if (a.kind == what::start || b.kind == what::start) return false;
  if (a.kind == what::fence_of_all || b.kind == what::fence_of_all) return true;
  auto is_os = [](const step& s) { return s.kind >= what::os; };
  if (is_os(a) && is_os(b)) return true;
  if (a.kind == what::relax || b.kind == what::relax) return a.write || b.write;
  if (a.sc && b.sc) return true;
  return a.at != nullptr && a.at == b.at && (a.write || b.write);
}

int machine::add_thread(void (*fn)(void*), void* arg) {
  int id = nthreads;
  if (id == max_threads) fail("the simulation has run out of threads");
  ++nthreads;
  vthread& t = threads[id];
  t = vthread{};
  t.id = id;
  t.fn = fn;
  t.arg = arg;
  t.stack = thread_stack(id);
  t.state = thread_state::runnable;
  runnable |= 1U << id;
  if (now) {
    t.now = now->now;
    t.rel = now->rel;
  }
  t.now.hb.set(id, 1);
  arch::make_first_frame(t.ctx, t.stack + thread_stack_bytes, thread_main, &t);
  return id;
}

void machine::switch_to(int n) {
  vthread& from = *now;
  vthread& to = threads[n];
  from.eh = *eh;
  from.error = errno;
  from.self = sim_self;
  *eh = to.eh;
  errno = to.error;
  sim_self = to.self;
  now = &to;
  weft_switch(&from.ctx, &to.ctx);
}

void machine::leave_to(int n) {
  vthread& to = threads[n];
  *eh = to.eh;
  errno = to.error;
  sim_self = to.self;
  now = &to;
  weft_jump(&to.ctx);
}

// Who goes on. `current`: the running thread, or -1 when it cannot.
int machine::pick(int current) {
  for (;;) {
    std::uint32_t ready = runnable & ~stopped;
    std::uint32_t can = ready & ~lazy;
    std::uint32_t sleeping = timed & ~stopped;
    vthread* first = nullptr;  // to be woken by the clock
    for (std::uint32_t rest = sleeping; rest != 0; rest &= rest - 1) {
      vthread& t = threads[std::countr_zero(rest)];
      if (!first || t.deadline < first->deadline || (t.deadline == first->deadline && t.order < first->order))
        first = &t;
    }
    if (ready != 0 && how.clock_stands) first = nullptr;
    if (can == 0 && ready != 0 && !first) {
      lazy &= ~ready;
      can = ready;
    }
    if (can == 0 && sleeping == 0) {
      // Whoever waits for a thread that was stopped for good learns of it now.
      bool told = false;
      for (int i = 0; i < nthreads; ++i) {
        vthread& t = threads[i];
        if (t.state == thread_state::blocked && t.joins >= 0 && (stopped >> t.joins & 1) && !(stopped >> i & 1)) {
          t.stopped_join = true;
          wake(t);
          told = true;
        }
      }
      if (told) continue;
      std::string text = "deadlock: nobody can go on";
      for (int i = 0; i < nthreads; ++i) {
        vthread& t = threads[i];
        if (t.state != thread_state::blocked) continue;
        text += "; thread " + std::to_string(i) + " waits at " + where(t.last_site);
      }
      if (stopped != 0)
        text += "; stopped for good: thread " + std::to_string(how.stop_thread) + " before " +
                where(threads[how.stop_thread].last_site);
      fail(text);
    }
    // When all who could run only wait for others, time passes. (Or when they are slow: a decision.)
    bool now_due = first && (can == 0 || first->deadline <= time);
    if (!now_due && first && how.early && how.how != strategy::exhaustive) now_due = choose(decision::early, 2) != 0;
    if (now_due) {
      if (first->deadline > time) time = first->deadline;
      first->timed_out = true;
      wake(*first);
      continue;
    }
    return choose_thread(can, current);
  }
}

void machine::point(const step& s, site where_at) {
  vthread& t = *now;
  t.next = s;
  t.last_site = where_at;
  ++total_points;
  if (++steps > limit) fail("livelock: " + std::to_string(limit) + " points and no end, last at " + where(where_at));
  time += 5;
  if (t.id == how.stop_thread && t.local == how.stop_at) {
    stopped |= 1U << t.id;
    lazy = 0;
    switch_to(pick(-1));
    fail("a stopped thread goes on");
  }
  int n = pick(t.id);
  if (n != t.id) switch_to(n);
  ++t.local;
}

void machine::block() {
  vthread& t = *now;
  t.state = thread_state::blocked;
  t.order = ++wait_order;
  t.timed_out = false;
  runnable &= ~(1U << t.id);
  if (t.deadline != INT64_MAX) timed |= 1U << t.id;
  int n = pick(-1);
  if (n != t.id) switch_to(n);
  t.deadline = INT64_MAX;
  t.waits_at = nullptr;
  t.joins = -1;
}

void machine::wake(vthread& t) noexcept {
  t.state = thread_state::runnable;
  t.next = {what::os, t.waits_at, true, false};
  runnable |= 1U << t.id;
  timed &= ~(1U << t.id);
}

void machine::fail(std::string text) {
  inside = false;
  if (!failed) message.assign(text.data(), text.size());  // a copy: `text` is in the run's arena
  failed = true;
  end_run();
}

void machine::end_run() {
  inside = false;
  weft_jump(&native);
}

void machine::note(what kind, site s, const location* l, std::uint64_t value, std::uint64_t more, int order,
                   bool did_fail, int aside, const char* text) {
  outside_scope outside;
  int where_it_is = l ? static_cast<int>(l - locations) : -1;
  trace.push_back({kind, static_cast<std::int8_t>(now->id), did_fail, static_cast<std::uint8_t>(aside),
                   static_cast<std::uint8_t>(order), now->local, s, where_it_is, value, more, text});
}

void machine::start_run() {
  nthreads = 0;
  now = nullptr;
  runnable = timed = lazy = stopped = 0;
  steps = 0;
  wait_order = 0;
  time = 1'000'000'000;
  failed = false;
  pruned = false;
  message.clear();
  last_words.clear();
  for (bool& k : keys) k = false;
  nlocations = nplains = 0;
  ++run;
  global_sc = clock{};
  sc_clock = 0;
  trace.clear();
  eh = __cxa_get_globals();
  eh_globals saved = *eh;
  *eh = {};
  add_thread([](void* b) { (*static_cast<const std::function<void()>*>(b))(); },
             const_cast<std::function<void()>*>(body));
  now = &threads[0];
  sim_self = nullptr;
  inside = true;
  weft_switch(&native, &threads[0].ctx);
  inside = false;
  sim_self = nullptr;
  now = nullptr;
  *eh = saved;
}

// What tests use.

thread::thread(std::function<void()> f) : f_(std::move(f)) {
  machine& m = *the_machine;
  m.point({what::os, nullptr, true, false}, {});
  id_ = m.add_thread([](void* p) { static_cast<thread*>(p)->f_(); }, this);
}

thread::~thread() {
  if (!joined_ && inside) the_machine->fail("sim::thread: not joined");
}

bool thread::join() {
  machine& m = *the_machine;
  vthread& t = *m.now;
  joined_ = true;
  m.point({what::os, nullptr, true, false}, {});
  vthread& other = m.threads[id_];
  if (other.state != thread_state::done) {
    t.joins = id_;
    t.stopped_join = false;
    m.block();
    if (t.stopped_join) return false;
  }
  t.now.join(other.now);
  return true;
}

void require(bool ok, const char* text, site s) {
  if (ok || !inside) return;
  the_machine->fail(std::string(text) + " (" + where(s) + ")");
}

void say(const char* text, std::uint64_t value, site s) {
  if (!inside) return;
  machine& m = *the_machine;
  if (m.tracing) m.note(what::start, s, nullptr, value, 0, 0, false, 0, text);
}

void spin(site s) {
  if (!inside) return;
  machine& m = *the_machine;
  // Who waits for what has been there for long, and did not see it, will see it when it looks again: time does not pass for that.
  if (m.now->saw_old)
    m.now->saw_old = false;
  else
    m.lazy |= 1U << m.now->id;
  m.point({what::relax, nullptr, false, false}, s);
}

moment mark() {
  vthread& t = *the_machine->now;
  t.now.hb.set(t.id, t.now.hb[t.id] + 1);
  return {t.id, t.now.hb[t.id]};
}

bool happened(moment m) { return m.thread >= 0 && the_machine->now->now.hb[m.thread] >= m.time; }

void fence_acquire(site s) { fence(std::memory_order_acquire, s); }
void fence_release(site s) { fence(std::memory_order_release, s); }

}  // namespace weft::sim
