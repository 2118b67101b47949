// SPDX-License-Identifier: MIT
//
// The deque (sched/deque.h): every goroutine that was pushed is taken by one taker, once, and with all that was written to it.

#include "counted_gs.h"
#include "runtime/sched/world.h"
#include "tests/support/bare_p.h"

namespace weft::rt {
namespace {

using weft_test::bare_p;
using weft_test::check_all;
using weft_test::check_some;
using weft_test::counted_gs;

void start_at(P* p, std::uint32_t position) {
  p->deque_head.store(position, relaxed);
  p->deque_tail.store(position, relaxed);
}

void drain(P* p, counted_gs& all) {
  while (all.take(deque::pop(p))) {
  }
}

// DEQUE-PUBLISH
void publish() {
  auto p = bare_p();
  counted_gs all(2);
  sim::thread thief([&] {
    all.take(deque::take_oldest(p.get()));
    all.take(deque::take_oldest(p.get()));
  });
  deque::push(p.get(), all.make(0));
  deque::push(p.get(), all.make(1));
  thief.join();
  drain(p.get(), all);
  all.all_taken(2);
}
TEST(deque, publish) { check_all(publish); }

// DEQUE-PUBLISH by the tail that pop leaves: what push stored, the thief may never see.
void publish_by_pop() {
  auto p = bare_p();
  counted_gs all(3);
  sim::thread thief([&] { all.take(deque::take_oldest(p.get())); });
  deque::push(p.get(), all.make(0));
  deque::push(p.get(), all.make(1));
  all.take(deque::pop(p.get()));
  deque::push(p.get(), all.make(2));
  thief.join();
  drain(p.get(), all);
  all.all_taken(3);
}
TEST(deque, publish_by_pop) {
  check_all(publish_by_pop, {.preemptions = 3});
  check_some(publish_by_pop, 100'000);
}

// DEQUE-LAST. Of two, so that a thief comes to the last one by its own exchange, and the owner by a stale head.
void last_one() {
  auto p = bare_p();
  start_at(p.get(), 0xffff'ffff);
  counted_gs all(3);
  for (std::size_t i = 0; i < 2; ++i) deque::push(p.get(), all.make(i));
  sim::thread thief([&] {
    all.take(deque::take_oldest(p.get()));
    all.take(deque::take_oldest(p.get()));
  });
  all.take(deque::pop(p.get()));
  all.take(deque::pop(p.get()));
  deque::push(p.get(), all.make(2));
  thief.join();
  drain(p.get(), all);
  all.all_taken(3);
}
TEST(deque, last_one) {
  check_all(last_one, {.preemptions = 3});
  check_some(last_one, 100'000);
}

// The same where the owner pops what lies there alone, and puts another one into the place.
void last_one_again_and_again() {
  auto p = bare_p();
  counted_gs all(3);
  sim::thread thief([&] {
    for (int k = 0; k < 2; ++k) all.take(deque::take_oldest(p.get()));
  });
  for (std::size_t i = 0; i < 3; ++i) {
    deque::push(p.get(), all.make(i));
    all.take(deque::pop(p.get()));
  }
  thief.join();
  drain(p.get(), all);
  all.all_taken(3);
}
TEST(deque, last_one_again_and_again) {
  check_all(last_one_again_and_again, {.preemptions = 2});
  check_some(last_one_again_and_again, 100'000);
}

// DEQUE-CONSUME: the slots go round while a thief is at them. The positions wrap as well.
void reuse() {
  auto p = bare_p();
  start_at(p.get(), 0xffff'fffe);
  counted_gs all(8);
  for (std::size_t i = 0; i < 4; ++i) deque::push(p.get(), all.make(i));
  std::size_t made = 4;
  sim::thread thief([&] {
    for (int k = 0; k < 3; ++k) all.take(deque::take_oldest(p.get()));
  });
  for (int k = 0; k < 4; ++k)
    if (deque::push(p.get(), all.make(made))) ++made;
  all.take(deque::pop(p.get()));
  if (deque::push(p.get(), all.make(made))) ++made;
  thief.join();
  drain(p.get(), all);
  all.all_taken(made);
}
TEST(deque, reuse_of_slots) {
  check_all(reuse, {.preemptions = 2});
  check_some(reuse, 100'000);
}

// The same where one thief makes room while another, slower, has read the slot.
void reuse_behind_a_slow_thief() {
  auto p = bare_p();
  counted_gs all(8);
  for (std::size_t i = 0; i < 4; ++i) deque::push(p.get(), all.make(i));
  std::size_t made = 4;
  auto steal = [&] { all.take(deque::take_oldest(p.get())); };
  sim::thread slow(steal);
  sim::thread quick(steal);
  for (int k = 0; k < 3; ++k)
    if (deque::push(p.get(), all.make(made))) ++made;
  slow.join();
  quick.join();
  drain(p.get(), all);
  all.all_taken(made);
}
TEST(deque, reuse_of_slots_behind_a_slow_thief) {
  check_all(reuse_behind_a_slow_thief, {.preemptions = 2});
  check_some(reuse_behind_a_slow_thief, 100'000);
}

// DEQUE-LAST where it was another thief that came down to the last one: the head that T1 read is not its own.
void two_thieves() {
  auto p = bare_p();
  counted_gs all(4);
  for (std::size_t i = 0; i < 2; ++i) deque::push(p.get(), all.make(i));
  auto steal = [&] { all.take(deque::take_oldest(p.get())); };
  sim::thread a(steal);
  sim::thread b(steal);
  all.take(deque::pop(p.get()));
  deque::push(p.get(), all.make(2));
  all.take(deque::pop(p.get()));
  a.join();
  b.join();
  drain(p.get(), all);
  all.all_taken(3);
}
TEST(deque, two_thieves) {
  check_all(two_thieves, {.preemptions = 2});
  check_some(two_thieves, 100'000);
}

void busy() {
  auto p = bare_p();
  start_at(p.get(), 0xffff'fffd);
  counted_gs all(10);
  for (std::size_t i = 0; i < 3; ++i) deque::push(p.get(), all.make(i));
  auto steal = [&] {
    for (int k = 0; k < 3; ++k) all.take(deque::take_oldest(p.get()));
  };
  sim::thread a(steal);
  sim::thread b(steal);
  std::size_t made = 3;
  for (int k = 0; k < 3; ++k) {
    all.take(deque::pop(p.get()));
    for (int n = 0; n < 2; ++n)
      if (deque::push(p.get(), all.make(made))) ++made;
  }
  a.join();
  b.join();
  drain(p.get(), all);
  all.all_taken(made);
}
TEST(deque, two_busy_thieves) { check_some(busy, 100'000); }

// The owner takes several of the oldest at once, beside a thief: when the deque is full, and when its P retires.
void batch() {
  auto p = bare_p();
  counted_gs all(6);
  for (std::size_t i = 0; i < 4; ++i) deque::push(p.get(), all.make(i));
  sim::thread thief([&] {
    for (int k = 0; k < 2; ++k) all.take(deque::take_oldest(p.get()));
  });
  std::size_t made = 4;
  g_list some;
  deque::take_oldest(p.get(), 2, some);
  for (; made < 6; ++made) sim::require(deque::push(p.get(), all.make(made)), "refused, with room for it");
  all.take_all(some, nullptr);
  all.take(deque::pop(p.get()));
  g_list rest;
  deque::take_oldest(p.get(), deque::capacity, rest);
  all.take_all(rest, nullptr);
  sim::require(deque::size(p.get()) == 0, "left behind by the owner");
  thief.join();
  all.all_taken(made);
}
TEST(deque, the_owner_takes_a_batch) {
  check_all(batch, {.preemptions = 2});
  check_some(batch, 100'000);
}

// Where there are many a thief fills its own deque, which is robbed in turn.
void steal_what_was_stolen() {
  auto p = bare_p();
  auto q = bare_p();
  counted_gs all(6);
  for (std::size_t i = 0; i < 4; ++i) deque::push(p.get(), all.make(i));
  sim::thread first([&] {
    all.take(deque::steal_into(q.get(), p.get()));
    all.take(deque::pop(q.get()));
  });
  sim::thread second([&] {
    auto mine = bare_p();
    all.take(deque::steal_into(mine.get(), q.get()));
    drain(mine.get(), all);
  });
  all.take(deque::pop(p.get()));
  std::size_t made = 4;
  for (int k = 0; k < 2; ++k)
    if (deque::push(p.get(), all.make(made))) ++made;
  first.join();
  second.join();
  drain(p.get(), all);
  drain(q.get(), all);
  all.all_taken(made);
}
TEST(deque, steal_what_was_stolen) {
  check_all(steal_what_was_stolen, {.preemptions = 2});
  check_some(steal_what_was_stolen, 100'000);
}

// The hint: what the owner has pushed it never overlooks itself, and nobody sees more than there is room for.
void hint() {
  auto p = bare_p();
  counted_gs all(3);
  sim::thread thief([&] {
    sim::require(deque::size(p.get()) <= deque::capacity, "more than there is room for");
    all.take(deque::take_oldest(p.get()));
    sim::require(deque::size(p.get()) <= deque::capacity, "more than there is room for");
  });
  for (std::size_t i = 0; i < 3; ++i) deque::push(p.get(), all.make(i));
  sim::require(deque::size(p.get()) >= 2, "the thief took no more than one");
  all.take(deque::pop(p.get()));
  sim::require(deque::size(p.get()) >= 1, "the thief took no more than one");
  thief.join();
  drain(p.get(), all);
  all.all_taken(3);
}
TEST(deque, the_hint_is_never_too_small_for_its_owner) { check_all(hint, {.preemptions = 3}); }

// Ring and deque together, as sysmon and who goes to sleep look at them: what stays in the one is not made up for by what goes through the other.
void waiting_in_the_deque() {
  auto p = bare_p();
  counted_gs all(3);
  deque::push(p.get(), all.make(0));
  sim::thread looks([&] { sim::require(waiting(p.get()) != 0, "one waits all the time"); });
  for (std::size_t i = 1; i < 3; ++i) {
    runq::put(p.get(), all.make(i));
    all.take(runq::get(nullptr, p.get()));
  }
  looks.join();
  drain(p.get(), all);
  all.all_taken(3);
}
TEST(deque, what_waits_there_is_not_overlooked_beside_a_busy_ring) { check_all(waiting_in_the_deque); }

void waiting_in_the_ring() {
  auto p = bare_p();
  counted_gs all(3);
  runq::put(p.get(), all.make(0));
  sim::thread looks([&] { sim::require(waiting(p.get()) != 0, "one waits all the time"); });
  for (std::size_t i = 1; i < 3; ++i) {
    deque::push(p.get(), all.make(i));
    all.take(deque::pop(p.get()));
  }
  looks.join();
  all.take(runq::get(nullptr, p.get()));
  all.all_taken(3);
}
TEST(deque, what_waits_in_the_ring_is_not_overlooked_beside_a_busy_deque) { check_all(waiting_in_the_ring); }

// More may go through than there is room for, between the look at the head and the one at the tail: then it was never empty. (No old values
// here: with an old tail behind a new head it looks empty, and all from before that tail has been taken.)
void waiting_in_a_full_one() {
  auto p = bare_p();
  counted_gs all(3 * deque::capacity);
  std::size_t made = 0;
  for (; made < 2; ++made) deque::push(p.get(), all.make(made));
  sim::thread looks([&] { sim::require(waiting(p.get()) != 0, "one waits all the time"); });
  for (; made < 2 * deque::capacity; ++made) {
    deque::push(p.get(), all.make(made));
    all.take(deque::take_oldest(p.get()));
  }
  looks.join();
  drain(p.get(), all);
  all.all_taken(made);
}
TEST(deque, what_never_ends_is_not_overlooked) { check_all(waiting_in_a_full_one, {.preemptions = 2, .stale = 0}); }

}  // namespace
}  // namespace weft::rt
