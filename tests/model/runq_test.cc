// SPDX-License-Identifier: MIT
//
// The run queue (sched/runq.h): every goroutine that was put is taken by one taker, once, and with all that was written to it. A
// goroutine is only its waiter half here; what is "written to it" is its slot, which is plain.

#include <optional>

#include "counted_gs.h"
#include "runtime/sched/runq.h"
#include "tests/support/bare_p.h"

namespace weft::rt {
namespace {

using weft_test::bare_p;
using weft_test::check_all;
using weft_test::check_some;
using weft_test::counted_gs;
using weft_test::held_p;

void start_at(P* p, std::uint32_t position) {
  p->runq_head.store(runq::head::at(position), relaxed);
  p->runq_tail.store(position, relaxed);
}

void drain(P* p, counted_gs& all) {
  all.take(take_runnext(p));
  while (G* g = runq::get(nullptr, p)) all.take(g);
}

// RUNQ-PUBLISH
void publish() {
  auto p = bare_p();
  counted_gs all(3);
  sim::thread thief([&] {
    auto mine = bare_p();
    all.take(runq::steal_into(nullptr, mine.get(), p.get()));
    drain(mine.get(), all);
  });
  runq::put(p.get(), all.make(0));
  runq::put(p.get(), all.make(1));
  all.take(runq::get(nullptr, p.get()));
  thief.join();
  drain(p.get(), all);
  all.all_taken(2);
}
TEST(runq, publish_to_one_thief) { check_all(publish); }

// RUNQ-PUBLISH twice: what was stolen is stolen again.
void steal_what_was_stolen() {
  auto p = bare_p();
  auto q = bare_p();
  counted_gs all(3);
  for (std::size_t i = 0; i < 3; ++i) runq::put(p.get(), all.make(i));
  sim::thread first([&] {
    all.take(runq::steal_into(nullptr, q.get(), p.get()));
    all.take(runq::get(nullptr, q.get()));
  });
  sim::thread second([&] {
    auto mine = bare_p();
    all.take(runq::steal_into(nullptr, mine.get(), q.get()));
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
  counted_gs all(7);
  for (std::size_t i = 0; i < 4; ++i) runq::put(p.get(), all.make(i));
  std::size_t made = 4;
  sim::thread thief([&] {
    auto mine = bare_p();
    all.take(runq::steal_into(nullptr, mine.get(), p.get()));
    drain(mine.get(), all);
  });
  all.take(runq::get(nullptr, p.get()));
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
  counted_gs all(8);
  for (std::size_t i = 0; i < 4; ++i) runq::put(p.get(), all.make(i));
  for (std::size_t i = 4; i < 8; ++i) runq::put(full.get(), all.make(i));
  sim::thread thief([&] {
    auto mine = bare_p();
    all.take(runq::steal_into(nullptr, mine.get(), p.get()));
    drain(mine.get(), all);
  });
  while (G* g = runq::get(nullptr, p.get())) all.take(g);
  for (int k = 0; k < 2; ++k) all.take(runq::steal_into(nullptr, p.get(), full.get()));
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
  counted_gs all(8);
  for (std::size_t i = 0; i < 4; ++i) runq::put(p.get(), all.make(i));
  auto steal = [&] {
    auto mine = bare_p();
    for (int k = 0; k < 2; ++k) {
      all.take(runq::steal_into(nullptr, mine.get(), p.get()));
      drain(mine.get(), all);
    }
  };
  sim::thread a(steal);
  sim::thread b(steal);
  std::size_t made = 4;
  for (int k = 0; k < 3; ++k) {
    all.take(runq::get(nullptr, p.get()));
    if (made < 8 && runq::put(p.get(), all.make(made))) ++made;
  }
  a.join();
  b.join();
  drain(p.get(), all);
  all.all_taken(made);
}
TEST(runq, two_thieves) { check_some(two_thieves, 100'000); }

// With the head biased to the owner's P, from the start or again in the middle: BIAS keeps thieves and his plain stores apart, RUNQ-CONSUME as ever.
void biased(int thieves, std::size_t rounds) {
  held_p owner;
  P* p = owner.p();
  bias_to(owner.m(), p->runq_head);
  counted_gs all(10);
  std::size_t made = 0;
  for (; made < 3; ++made) runq::put(p, all.make(made));
  const auto steal = [&] {
    held_p mine;
    all.take(runq::steal_into(mine.m(), mine.p(), p));
    while (G* g = runq::get(mine.m(), mine.p())) all.take(g);
  };
  sim::thread first(steal);
  std::optional<sim::thread> second;
  if (thieves == 2) second.emplace(steal);
  for (std::size_t k = 0; k < rounds; ++k) {
    all.take(runq::get(owner.m(), p));
    if (runq::put(p, all.make(made))) ++made;
    if (k == 1) bias_to(owner.m(), p->runq_head);
  }
  first.join();
  if (second) second->join();
  while (G* g = runq::get(owner.m(), p)) all.take(g);
  all.all_taken(made);
}
TEST(runq, biased) {
  check_all([] { biased(1, 1); }, {.preemptions = 2, .spurious = 0});
  check_some([] { biased(1, 5); }, 100'000, {.spurious = 2});
}
TEST(runq, biased_two_thieves) {
  check_some([] { biased(2, 5); }, 100'000, {.spurious = 2});
}

// RUNNEXT, RUNNEXT-CLAIM
void claim_runnext() {
  auto p = bare_p();
  counted_gs all(3);
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
  counted_gs all(2);
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
