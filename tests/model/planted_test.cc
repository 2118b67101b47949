// SPDX-License-Identifier: MIT
//
// Planted bugs: in each part of the runtime a memory order is weakened, a fence removed, a store or a check dropped, in the shipped source,
// and the model checker must find it. A bug is named by the text of its line, so that it survives edits around it; when the text is no
// longer there the test says so. (tools/mutants does the same to every order there is.)

#include <array>
#include <fstream>
#include <string>

#include "late_flag.h"
#include "model.h"
#include "runtime/sched/deque.h"
#include "runtime/sched/quiesce.h"
#include "runtime/sched/runq.h"
#include "runtime/sched/world.h"
#include "runtime/weft/weft.h"
#include "tests/support/bare_p.h"

namespace weft {
namespace {

using sim::explore;
using sim::plan;
using sim::report;
using sim::strategy;

// "file:line" of the first line that has `text` in it, code or comment.
std::string find(const char* file, const char* text) {
  std::ifstream in(std::string(WEFT_SOURCE_ROOT "/") + file);
  std::string line;
  for (int n = 1; std::getline(in, line); ++n)
    if (line.find(text) != std::string::npos) return std::string(file) + ":" + std::to_string(n);
  ADD_FAILURE() << file << " has no line with: " << text;
  return std::string(file) + ":0";
}

void must_find(const char* file, const char* text, const char* kind, const char* to, const std::function<void()>& body,
               plan p = {}) {
  std::string where = find(file, text);
  sim::set_mutant("");
  p.how = strategy::pct;
  p.expect_failure = true;
  p.shrink = false;
  p.schedules = 2000;
  report sound = explore(p, body);
  EXPECT_FALSE(sound.failed) << sound.message;
  sim::set_mutant(where + ":" + kind + ":" + to);
  bool found = false;
  for (strategy how : {strategy::pct, strategy::random}) {
    p.how = how;
    p.schedules = 300'000;
    report r = explore(p, body);
    if (r.failed && !found) {
      found = true;
      std::printf("  %s %s %s: schedule %llu: %s\n", where.c_str(), kind, to,
                  static_cast<unsigned long long>(r.schedules), r.message.c_str());
    }
    if (found) break;
  }
  EXPECT_TRUE(found) << "not found: " << where << " " << kind << " " << to;
  sim::set_mutant("");
}

constexpr plan whole{.max_steps = 200'000};

// Run queue.

void owner_and_thief() {
  using namespace rt;
  auto p = weft_test::bare_p();
  weft_test::numbered_gs gs(8);
  int taken[8] = {};
  auto take = [&](G* g) {
    if (!g) return;
    std::size_t i = gs.number_of(g);
    sim::require(g->slot == &taken[i], "not what was written to it");
    sim::require(++taken[i] == 1, "taken twice");
  };
  auto put = [&](std::size_t i) {
    gs[i]->slot = &taken[i];
    runq::put(p.get(), gs[i]);
  };
  sim::thread thief([&] {
    auto mine = weft_test::bare_p();
    for (int k = 0; k < 2; ++k) {
      take(runq::steal_into(nullptr, mine.get(), p.get()));
      while (G* g = runq::get(nullptr, mine.get())) take(g);
    }
  });
  std::size_t made = 0;
  for (; made < 3; ++made) put(made);
  for (; made < 7; ++made) {
    take(runq::get(nullptr, p.get()));
    put(made);
  }
  thief.join();
  while (G* g = runq::get(nullptr, p.get())) take(g);
  for (std::size_t i = 0; i < made; ++i) sim::require(taken[i] == 1, "lost");
}

TEST(planted, runq_publishes_by_a_relaxed_store) {
  must_find("runtime/sched/runq.h", "RUNQ-PUBLISH release -> acquire in steal_into", "store", "relaxed",
            owner_and_thief);
}
TEST(planted, runq_thief_does_not_check_that_head_stood_still) {
  must_find("runtime/sched/runq.cc", "move(m, src->runq_head", "cas", "drop", owner_and_thief);
}

// Deque. Of two, the thief takes the lower by its exchange, and comes to the last one.

class from_both_ends {
 public:
  from_both_ends() : p(weft_test::bare_p()) {}
  void push(std::size_t i) {
    gs_[i]->slot = &taken_[i];
    rt::deque::push(p.get(), gs_[i]);
  }
  void pop() { take(rt::deque::pop(p.get())); }
  void steal() { take(rt::deque::take(p.get())); }
  void drain() {
    while (rt::G* g = rt::deque::pop(p.get())) take(g);
    for (int n : taken_) sim::require(n == 1, "lost");
  }
  const std::unique_ptr<rt::P> p;

 private:
  void take(rt::G* g) {
    if (!g) return;
    std::size_t i = gs_.number_of(g);
    sim::require(g->slot == &taken_[i], "not what was written to it");
    sim::require(++taken_[i] == 1, "taken twice");
  }
  weft_test::numbered_gs gs_{3};
  int taken_[3] = {};
};

void public_from_both_ends() {
  from_both_ends d;
  d.push(0);
  sim::thread thief([&] {
    for (int k = 0; k < 2; ++k) d.steal();
  });
  d.push(1);
  // For all.
  d.p->deque_call.store(rt::deque::call::wanted, relaxed);
  rt::deque::answer(d.p.get());
  d.pop();
  d.push(2);
  d.pop();
  thief.join();
  d.drain();
}

void published() {
  from_both_ends d;
  sim::thread thief([&] { d.steal(); });
  for (std::size_t i = 0; i < 3; ++i) d.push(i);
  rt::deque::publish(d.p.get());
  thief.join();
  d.drain();
}

void forced_from_both_ends() {
  from_both_ends d;
  d.push(0);
  sim::thread thief([&] {
    rt::deque::force(d.p.get());
    for (int k = 0; k < 2; ++k) d.steal();
  });
  d.push(1);
  d.pop();
  d.push(2);
  d.pop();
  thief.join();
  d.drain();
}

TEST(planted, deque_publishes_by_a_relaxed_store) {
  must_find("runtime/sched/deque.cc", "if (before(p->deque_split.load(relaxed), s)) p->deque_split.store(s, release);",
            "store", "relaxed", published);
}
TEST(planted, deque_owner_without_its_fence) {
  must_find("runtime/sched/deque.cc", "os::fence_full();                  // S2", "fence", "drop",
            public_from_both_ends);
}
TEST(planted, deque_thief_without_its_fence) {
  must_find("runtime/sched/deque.cc", "// T2", "fence", "drop", public_from_both_ends);
}
TEST(planted, deque_owner_takes_what_lies_there_alone_without_looking) {
  must_find("runtime/sched/deque.cc",
            "if (!p->deque_head.compare_exchange_strong(h, h + 1, relaxed, relaxed)) return nullptr;", "cas", "drop",
            public_from_both_ends);
}
TEST(planted, deque_owner_settles_without_its_fence) {
  must_find("runtime/sched/deque.cc", "os::fence_full();  // S2", "fence", "drop", forced_from_both_ends);
}
TEST(planted, deque_thief_forces_without_the_owners_fence) {
  must_find("runtime/sched/deque.cc", "// F2", "fence_of_all", "drop", forced_from_both_ends);
}
TEST(planted, deque_thief_opens_what_its_owner_has_settled) {
  must_find("runtime/sched/deque.cc", "| call::open, release, relaxed);", "cas", "drop", forced_from_both_ends);
}

void claim_runnext() {
  using namespace rt;
  auto p = weft_test::bare_p();
  weft_test::numbered_gs gs(2);
  int taken[2] = {};
  auto take = [&](G* g) {
    if (g) sim::require(++taken[gs.number_of(g)] == 1, "taken twice");
  };
  sim::thread thief([&] { take(steal_runnext(p.get())); });
  put_runnext(p.get(), gs[0]);
  take(take_runnext(p.get()));
  put_runnext(p.get(), gs[1]);
  take(take_runnext(p.get()));
  thief.join();
  take(take_runnext(p.get()));
  sim::require(taken[0] == 1 && taken[1] == 1, "lost");
}
TEST(planted, runnext_thief_without_its_fence) {
  must_find("runtime/sched/runq.cc", "// T2", "fence_of_all", "drop", claim_runnext);
}

// Channel.

void one_value() {
  auto c = make_chan<int>();
  sim::thread s([&] { c.send(1); });
  sim::require(c.recv() == 1, "another value");
  s.join();
}
void through_a_buffer() {
  auto c = make_chan<int>(1);
  sim::thread s([&] {
    c.send(1);
    c.send(2);
  });
  sim::require(c.recv() == 1 && c.recv() == 2, "another value");
  s.join();
}
TEST(planted, chan_full_slot_by_a_relaxed_store) {
  must_find("runtime/chan/typed_chan.h", "RING-FULL release -> acquire by who empties it", "store", "relaxed",
            through_a_buffer);
}
TEST(planted, chan_partner_does_not_acquire) {
  must_find("runtime/chan/chan_core.cc", "if (!move(nullptr, word, expected, desired, release))", "cas", "acquire",
            one_value);
}

// Park and ready.

void two_senders_to_a_buffer() {
  auto c = make_chan<int>(1);
  sim::thread s([&] {
    for (int i = 0; i < 2; ++i) c.send(1);
  });
  sim::thread t([&] { c.send(1); });
  for (int i = 0; i < 3; ++i) sim::require(c.recv() == 1, "another value");
  s.join();
  t.join();
  c.send(1);  // the ring goes on where it was
  sim::require(c.recv() == 1, "another value");
}
void ping_pong() {
  plain<int> data{0};
  weft::run({.procs = 2}, [&] {
    auto a = make_chan<int>();
    weft::go([&, a] {
      data = 1;
      a.send(1);
      a.recv();
      data = 3;
    });
    a.recv();
    sim::require(data == 1, "old data");
    a.send(2);
  });
}
TEST(planted, a_seat_without_the_position) {
  must_find("runtime/chan/chan_core.cc", "seat->position.store", "store", "drop", two_senders_to_a_buffer);
}
// Tickets that do not count: a partner that is late takes the seat's next waiter for the one it looked at.
TEST(planted, a_seat_that_comes_back) {
  must_find("runtime/chan/wait_list.h", "s->ticket.store(", "store", "drop", two_senders_to_a_buffer);
}
TEST(planted, park_commits_without_release) {
  must_find("runtime/sched/switch.cc", "if (move(m, *m->commit.biased, expected", "cas", "acquire", ping_pong, whole);
}
TEST(planted, thread_is_woken_by_a_relaxed_store) {
  must_find("runtime/sched/park.cc", "THREAD release -> acquire in block_thread", "store", "relaxed", one_value);
}

// Idle protocol.

// Without the watchdog, which would mend it later.
constexpr plan no_watchdog{.clock_stands = true, .max_steps = 50'000};
void bound_while_its_p_goes_to_sleep() {
  atomic<int> ran{0};
  weft::run({.procs = 2}, [&] {
    weft::go({.home = 0}, [&] {
      for (int i = 1; i <= 2; ++i) {
        weft::go({.home = 1}, [&] { ran.fetch_add(1, acq_rel); });
        while (ran.load(acquire) < i) sim::spin();
      }
    });
  });
}
void two_behind_who_computes() {
  atomic<int> ran{0};
  weft::run({.procs = 2}, [&] {
    for (int i = 0; i < 2; ++i) weft::go([&] { ran.fetch_add(1, acq_rel); });
    while (ran.load(acquire) < 2) sim::spin();
  });
}
TEST(planted, idle_last_look_without_its_fence) {
  must_find("runtime/sched/spin.cc", "// R2", "fence", "drop", two_behind_who_computes, whole);
}
TEST(planted, idle_submitter_without_its_fence) {
  must_find("runtime/sched/park.cc", "os::fence_full();", "fence", "drop", bound_while_its_p_goes_to_sleep,
            no_watchdog);
}
TEST(planted, idle_p_is_not_counted) {
  must_find("runtime/sched/spin.cc", "s->nidle.store(s->nidle.load(relaxed) + 1", "store", "drop",
            bound_while_its_p_goes_to_sleep, no_watchdog);
}

// The only CPU has a P that runs: those that stand still are not counted.
TEST(planted, idle_who_stands_still_is_counted) {
  must_find("runtime/sched/sysmon.cc", "s->nstanding.store(standing", "store", "drop", two_behind_who_computes,
            {.max_steps = 200'000, .cpus = 1});
}

// Who goes to another P, and is brought back from its inbox by sysmon, as that P's goroutine computes: rt::go_to and gather_test.cc.
void fetched_from_an_inbox() {
  atomic<int> computes{0};
  atomic<int> there{0};
  weft::run({.procs = 2}, [&] {
    weft::go({.home = 1}, [&] {
      computes.store(1, release);
      while (there.load(acquire) == 0) sim::spin();
    });
    while (computes.load(acquire) == 0) {
      sim::spin();
      weft::yield();
    }
    rt::go_to(rt::self(), rt::proc(rt::self()->s, 1));
    there.store(1, release);
  });
}

TEST(planted, idle_inbox_is_emptied_by_a_relaxed_exchange) {
  must_find("runtime/sched/world.h", "p->inbox.exchange(nullptr, acquire)", "rmw", "relaxed", fetched_from_an_inbox,
            whole);
}

// A word with a bias, as a lock, which two Ps and a thread take from each other.

void locked_by_a_biased_word() {
  using namespace rt;
  biased_word w(0);
  std::array<weft_test::held_p, 2> p;
  plain<int> guarded{0};
  const auto use = [&](M* m, bool bias) {
    if (bias) bias_to(m, w);
    for (;;) {
      const std::uint64_t v = w.load(relaxed);
      if ((v & ~bias_flag) == 0 && (move<flag::any, seen::just_now>(m, w, v, 16, acquire))) break;
      sim::spin();
    }
    guarded = guarded + 1;
    while (!move<flag::any, seen::just_now>(m, w, w.load(relaxed), 0, release)) {
    }
  };
  sim::thread second([&] { use(p[1].m(), true); });
  sim::thread third([&] { use(nullptr, false); });
  use(p[0].m(), true);
  second.join();
  third.join();
  sim::require(guarded == 3, "two were in at once");
}
TEST(planted, biased_word_is_not_acquired_with_the_bias) {
  must_find("runtime/sched/biased.cc", "std::uint64_t v = w.load(acquire);", "load", "relaxed",
            locked_by_a_biased_word);
}
TEST(planted, biased_word_is_not_acquired_where_another_sets_the_flag) {
  must_find("runtime/sched/biased.cc", "w.at.word.compare_exchange_weak(v, v | bias_flag", "cas", "fail:relaxed",
            weft_test::late_flag);
}
TEST(planted, biased_word_is_given_without_its_fence) {
  must_find("runtime/sched/biased.cc", "fence_failed();  // B2", "fence_of_all", "drop", locked_by_a_biased_word);
}

// Reclamation.

struct thing : rt::smr_node {
  plain<int> value{0};
};
void replace() {
  using namespace rt;
  atomic<thing*> link{nullptr};
  smr_record* mine = smr_enter_thread();
  link.store(new (smr_alloc(mine)) thing, release);
  sim::thread a([&] {
    smr_record* r = smr_enter_thread();
    for (int i = 0; i < 2; ++i) {
      smr_enter(r);
      int seen = link.load(acquire)->value;
      (void)seen;
      smr_leave(r);
    }
    smr_leave_thread(r);
  });
  for (int i = 0; i < 6; ++i) {
    auto* t = new (smr_alloc(mine)) thing;
    t->value = i;
    thing* old = link.exchange(t, acq_rel);
    smr_enter(mine);
    smr_retire(mine, old);
    smr_leave(mine);
  }
  a.join();
  smr_leave_thread(mine);
}
TEST(planted, reclamation_section_without_its_fence) {
  must_find("runtime/sched/quiesce.cc", "// S2", "fence", "drop", replace);
}
TEST(planted, reclamation_reader_does_not_pin) {
  must_find("runtime/sched/quiesce.cc", "// S1", "store", "drop", replace);
}
TEST(planted, reclamation_reader_leaves_by_a_relaxed_store) {
  must_find("runtime/sched/quiesce.h", "r->pin.store(0, release)", "store", "relaxed", replace);
}

// Mutex.

void take_turns() {
  mutex m;
  plain<int> count{0};
  auto work = [&] {
    for (int i = 0; i < 2; ++i) {
      m.lock();
      count = count + 1;
      m.unlock();
    }
  };
  sim::thread a(work);
  work();
  a.join();
  sim::require(count == 4, "a turn is lost");
}
TEST(planted, mutex_turns_without_its_fence) {
  must_find("runtime/sync/mutex.cc", "// N3", "fence_of_all", "drop", take_turns, {.cpus = 1});
}
TEST(planted, mutex_unlocks_by_a_relaxed_store) {
  must_find("runtime/sync/mutex.h", "// U2. MUTEX release", "store", "relaxed", take_turns, {.cpus = 1});
}

}  // namespace
}  // namespace weft
