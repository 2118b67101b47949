// SPDX-License-Identifier: MIT
//
// The run queue (sched/runq.h): every goroutine that was put is taken by one taker, once, and with all that was written to it. A
// goroutine is only its waiter half here; what is "written to it" is its slot, which is plain.

#include <array>

#include "model.h"
#include "runtime/sched/runq.h"
#include "tests/support/bare_p.h"

namespace weft::rt {
namespace {

using weft_test::bare_p;
using weft_test::check_all;
using weft_test::check_some;

// Goroutines that know how often they were taken.
class items {
 public:
  explicit items(std::size_t n) : gs_(n) {}
  G* make(std::size_t i) {
    G* g = gs_[i];
    g->slot = reinterpret_cast<void*>(i + 1);
    return g;
  }
  void take(G* g) {
    if (!g) return;
    std::size_t i = gs_.number_of(g);
    sim::require(g->slot == reinterpret_cast<void*>(i + 1), "not what was written to it");
    sim::require(++taken_[i] == 1, "taken twice");
  }
  void all_taken(std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) sim::require(taken_[i] == 1, "lost");
  }

 private:
  weft_test::numbered_gs gs_;
  std::array<int, 16> taken_{};
};

void start_at(P* p, std::uint32_t position) {
  p->runq_head.store(position, relaxed);
  p->runq_tail.store(position, relaxed);
}

void drain(P* p, items& all) {
  all.take(take_runnext(p));
  while (G* g = runq::get(p)) all.take(g);
}

// RUNQ-PUBLISH
void publish() {
  auto p = bare_p();
  items all(3);
  sim::thread thief([&] {
    auto mine = bare_p();
    all.take(runq::steal_into(mine.get(), p.get()));
    drain(mine.get(), all);
  });
  runq::put(p.get(), all.make(0));
  runq::put(p.get(), all.make(1));
  all.take(runq::get(p.get()));
  thief.join();
  drain(p.get(), all);
  all.all_taken(2);
}
TEST(runq, publish_to_one_thief) { check_all(publish); }

// RUNQ-PUBLISH twice: what was stolen is stolen again.
void steal_what_was_stolen() {
  auto p = bare_p();
  auto q = bare_p();
  items all(3);
  for (std::size_t i = 0; i < 3; ++i) runq::put(p.get(), all.make(i));
  sim::thread first([&] {
    all.take(runq::steal_into(q.get(), p.get()));
    all.take(runq::get(q.get()));
  });
  sim::thread second([&] {
    auto mine = bare_p();
    all.take(runq::steal_into(mine.get(), q.get()));
    drain(mine.get(), all);
  });
  first.join();
  second.join();
  drain(p.get(), all);
  drain(q.get(), all);
  all.all_taken(3);
}
TEST(runq, steal_what_was_stolen) { check_all(steal_what_was_stolen, {.preemptions = 3}); }

// RUNQ-CONSUME: the ring goes round while a thief is at it. The positions wrap as well.
void reuse() {
  auto p = bare_p();
  start_at(p.get(), 0xffff'fffe);
  items all(7);
  for (std::size_t i = 0; i < 4; ++i) runq::put(p.get(), all.make(i));
  std::size_t made = 4;
  sim::thread thief([&] {
    auto mine = bare_p();
    all.take(runq::steal_into(mine.get(), p.get()));
    drain(mine.get(), all);
  });
  all.take(runq::get(p.get()));
  for (; made < 7; ++made)
    if (!runq::put(p.get(), all.make(made))) break;
  thief.join();
  drain(p.get(), all);
  all.all_taken(made);
}
TEST(runq, reuse_of_slots) {
  check_all(reuse, {.preemptions = 2});
  check_some(reuse, 100'000);
}

// The same where what comes into the ring was stolen as well.
void reuse_by_a_theft() {
  auto p = bare_p();
  auto full = bare_p();
  items all(8);
  for (std::size_t i = 0; i < 4; ++i) runq::put(p.get(), all.make(i));
  for (std::size_t i = 4; i < 8; ++i) runq::put(full.get(), all.make(i));
  sim::thread thief([&] {
    auto mine = bare_p();
    all.take(runq::steal_into(mine.get(), p.get()));
    drain(mine.get(), all);
  });
  while (G* g = runq::get(p.get())) all.take(g);
  for (int k = 0; k < 2; ++k) all.take(runq::steal_into(p.get(), full.get()));
  thief.join();
  drain(p.get(), all);
  drain(full.get(), all);
  all.all_taken(8);
}
TEST(runq, reuse_of_slots_by_a_theft) {
  check_all(reuse_by_a_theft, {.preemptions = 2});
  check_some(reuse_by_a_theft, 100'000);
}

void two_thieves() {
  auto p = bare_p();
  items all(8);
  for (std::size_t i = 0; i < 4; ++i) runq::put(p.get(), all.make(i));
  auto steal = [&] {
    auto mine = bare_p();
    for (int k = 0; k < 2; ++k) {
      all.take(runq::steal_into(mine.get(), p.get()));
      drain(mine.get(), all);
    }
  };
  sim::thread a(steal);
  sim::thread b(steal);
  std::size_t made = 4;
  for (int k = 0; k < 3; ++k) {
    all.take(runq::get(p.get()));
    if (made < 8 && runq::put(p.get(), all.make(made))) ++made;
  }
  a.join();
  b.join();
  drain(p.get(), all);
  all.all_taken(made);
}
TEST(runq, two_thieves) { check_some(two_thieves, 100'000); }

// RUNNEXT, RUNNEXT-CLAIM
void claim_runnext() {
  auto p = bare_p();
  items all(3);
  sim::thread thief([&] {
    all.take(steal_runnext(p.get()));
    all.take(steal_runnext(p.get()));
  });
  put_runnext(p.get(), all.make(0));
  all.take(take_runnext(p.get()));
  put_runnext(p.get(), all.make(1));
  all.take(take_runnext(p.get()));
  put_runnext(p.get(), all.make(2));
  thief.join();
  all.take(take_runnext(p.get()));
  all.all_taken(3);
}
TEST(runnext, claim) {
  check_all(claim_runnext, {.preemptions = 2});
  check_some(claim_runnext, 100'000);
}
TEST(runnext, claim_without_membarrier) {
  check_all(claim_runnext, {.preemptions = 2, .asymmetric = false});
  check_some(claim_runnext, 100'000, {.asymmetric = false});
}

void two_claimers() {
  auto p = bare_p();
  items all(2);
  put_runnext(p.get(), all.make(0));
  sim::thread a([&] { all.take(steal_runnext(p.get())); });
  sim::thread b([&] { all.take(steal_runnext(p.get())); });
  if (G* g = take_runnext(p.get())) {
    all.take(g);
    put_runnext(p.get(), all.make(1));
  } else {
    put_runnext(p.get(), all.make(1));
  }
  a.join();
  b.join();
  all.take(take_runnext(p.get()));
  all.all_taken(2);
}
TEST(runnext, two_thieves) { check_some(two_claimers, 100'000); }

}  // namespace
}  // namespace weft::rt
