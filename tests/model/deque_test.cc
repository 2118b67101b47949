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
  p->deque_split.store(position, relaxed);
}

// As when a thief had called for all.
void publish_all(P* p) {
  p->deque_call.store(deque::call::at(p->deque_tail.load(relaxed)) | deque::call::wanted, relaxed);
  deque::answer(p);
}

void drain(P* p, counted_gs& all) {
  while (all.take(deque::pop(p))) {
  }
}

// A thief that gets what it comes for.
G* force_and_take(P* p) {
  if (G* g = deque::take(p)) return g;
  deque::force(p);
  return deque::take(p);
}

// DEQUE-PUBLISH
void publish() {
  auto p = bare_p();
  counted_gs all(3);
  sim::thread thief([&] {
    all.take(deque::take(p.get()));
    all.take(deque::take(p.get()));
  });
  deque::push(p.get(), all.make(0));
  deque::push(p.get(), all.make(1));
  deque::publish(p.get());
  deque::push(p.get(), all.make(2));
  deque::publish(p.get());
  thief.join();
  drain(p.get(), all);
  all.all_taken(3);
}
TEST(deque, publish) { check_all(publish); }

// DEQUE-PUBLISH by the split that reclaim leaves: what publish stored, the thief may never see.
void publish_by_reclaim() {
  auto p = bare_p();
  counted_gs all(4);
  sim::thread thief([&] {
    all.take(deque::take(p.get()));
    all.take(deque::take(p.get()));
  });
  for (std::size_t i = 0; i < 4; ++i) deque::push(p.get(), all.make(i));
  deque::publish(p.get());
  all.take(deque::pop(p.get()));
  all.take(deque::pop(p.get()));  // takes back half of the three
  thief.join();
  drain(p.get(), all);
  all.all_taken(4);
}
TEST(deque, publish_by_reclaim) {
  check_all(publish_by_reclaim, {.preemptions = 3});
  check_some(publish_by_reclaim, 100'000);
}

// DEQUE-TAIL, and DEQUE-PUBLISH by who forces: another takes what it opens.
void publish_by_force() {
  auto p = bare_p();
  counted_gs all(3);
  sim::thread thief([&] {
    deque::force(p.get());
    all.take(deque::take(p.get()));
  });
  sim::thread another([&] { all.take(deque::take(p.get())); });
  deque::push(p.get(), all.make(0));
  deque::push(p.get(), all.make(1));
  all.take(deque::pop(p.get()));  // what push stored, the thief may never see
  deque::push(p.get(), all.make(2));
  thief.join();
  another.join();
  drain(p.get(), all);
  all.all_taken(3);
}
TEST(deque, publish_by_force) {
  check_all(publish_by_force, {.preemptions = 2});
  check_some(publish_by_force, 100'000);
  check_some(publish_by_force, 100'000, {.asymmetric = false});
}

// DEQUE-SPLIT. Of two, so that a thief comes to the last one by its own exchange, and the owner by a stale head.
void split() {
  auto p = bare_p();
  start_at(p.get(), 0xffff'ffff);
  counted_gs all(3);
  for (std::size_t i = 0; i < 2; ++i) deque::push(p.get(), all.make(i));
  publish_all(p.get());
  sim::thread thief([&] {
    all.take(deque::take(p.get()));
    all.take(deque::take(p.get()));
  });
  all.take(deque::pop(p.get()));
  all.take(deque::pop(p.get()));
  deque::push(p.get(), all.make(2));
  thief.join();
  drain(p.get(), all);
  all.all_taken(3);
}
TEST(deque, split) {
  check_all(split, {.preemptions = 3});
  check_some(split, 100'000);
}

// The same where it was another thief that came to the slot: the head that T1 read is not its own. Three public, of which half are taken back.
void split_two_thieves() {
  auto p = bare_p();
  counted_gs all(5);
  for (std::size_t i = 0; i < 3; ++i) deque::push(p.get(), all.make(i));
  publish_all(p.get());
  auto steal = [&] {
    all.take(deque::take(p.get()));
    all.take(deque::take(p.get()));
  };
  sim::thread a(steal);
  sim::thread b(steal);
  all.take(deque::pop(p.get()));
  deque::push(p.get(), all.make(3));
  all.take(deque::pop(p.get()));
  a.join();
  b.join();
  drain(p.get(), all);
  all.all_taken(4);
}
TEST(deque, split_two_thieves) {
  check_all(split_two_thieves, {.preemptions = 2});
  check_some(split_two_thieves, 100'000);
}

// All is taken while the owner takes back: what it pushes next is not public by that.
void all_taken_while_taken_back() {
  auto p = bare_p();
  counted_gs all(5);
  for (std::size_t i = 0; i < 2; ++i) deque::push(p.get(), all.make(i));
  publish_all(p.get());
  sim::thread thief([&] {
    for (int k = 0; k < 4; ++k) all.take(deque::take(p.get()));
  });
  all.take(deque::pop(p.get()));
  for (std::size_t i = 2; i < 5; ++i) deque::push(p.get(), all.make(i));
  all.take(deque::pop(p.get()));
  thief.join();
  drain(p.get(), all);
  all.all_taken(5);
}
TEST(deque, all_taken_while_taken_back) {
  check_all(all_taken_while_taken_back, {.preemptions = 2});
  check_some(all_taken_while_taken_back, 100'000);
}

// What lies there alone: pushed and popped again and again, public for part of the time.
void alone_again_and_again() {
  auto p = bare_p();
  counted_gs all(3);
  sim::thread thief([&] {
    for (int k = 0; k < 2; ++k) all.take(deque::take(p.get()));
  });
  for (std::size_t i = 0; i < 3; ++i) {
    deque::push(p.get(), all.make(i));
    deque::publish(p.get());
    all.take(deque::pop(p.get()));
  }
  thief.join();
  drain(p.get(), all);
  all.all_taken(3);
}
TEST(deque, alone_again_and_again) {
  check_all(alone_again_and_again, {.preemptions = 2});
  check_some(alone_again_and_again, 100'000);
}

// DEQUE-FORCE: the owner pops what a thief opens, down to the last one.
void force() {
  auto p = bare_p();
  start_at(p.get(), 0xffff'ffff);
  counted_gs all(4);
  for (std::size_t i = 0; i < 3; ++i) deque::push(p.get(), all.make(i));
  sim::thread thief([&] {
    all.take(force_and_take(p.get()));
    all.take(deque::take(p.get()));
  });
  all.take(deque::pop(p.get()));
  all.take(deque::pop(p.get()));
  deque::push(p.get(), all.make(3));
  thief.join();
  drain(p.get(), all);
  all.all_taken(4);
}
TEST(deque, force) {
  check_all(force, {.preemptions = 3});
  check_some(force, 100'000);
  check_some(force, 100'000, {.asymmetric = false});
}

// The owner pushes one more, not having seen the call, and then does nothing for long: who comes later gets that as well.
void force_again() {
  auto p = bare_p();
  counted_gs all(2);
  deque::push(p.get(), all.make(0));
  sim::thread thief([&] { all.take(force_and_take(p.get())); });
  sim::thread another([&] { all.take(force_and_take(p.get())); });
  deque::push(p.get(), all.make(1));
  thief.join();
  another.join();
  while (all.take(force_and_take(p.get()))) {
  }
  all.all_taken(2);
}
TEST(deque, force_again) {
  check_all(force_again, {.preemptions = 3});
  check_some(force_again, 100'000);
}

// Two force and take, one asks in between: the owner answers, in pushes and pops, whatever the call has come to; its epochs keep the one
// who was slow from opening what another has called for.
void force_and_answer() {
  auto p = bare_p();
  counted_gs all(6);
  for (std::size_t i = 0; i < 2; ++i) deque::push(p.get(), all.make(i));
  sim::thread a([&] { all.take(force_and_take(p.get())); });
  sim::thread b([&] {
    deque::ask(p.get());
    all.take(force_and_take(p.get()));
  });
  all.take(deque::pop(p.get()));
  deque::push(p.get(), all.make(2));
  deque::push(p.get(), all.make(3));
  all.take(deque::pop(p.get()));
  all.take(deque::pop(p.get()));
  deque::push(p.get(), all.make(4));
  a.join();
  b.join();
  drain(p.get(), all);
  all.all_taken(5);
}
TEST(deque, force_and_answer) {
  check_all(force_and_answer, {.preemptions = 2});
  check_some(force_and_answer, 200'000);
}

// Who asks is answered at the next push or pop, and takes then.
void ask() {
  auto p = bare_p();
  counted_gs all(4);
  for (std::size_t i = 0; i < 2; ++i) deque::push(p.get(), all.make(i));
  sim::thread thief([&] {
    deque::ask(p.get());
    all.take(deque::take(p.get()));
    all.take(deque::take(p.get()));
  });
  deque::push(p.get(), all.make(2));
  all.take(deque::pop(p.get()));
  deque::push(p.get(), all.make(3));
  thief.join();
  drain(p.get(), all);
  all.all_taken(4);
}
TEST(deque, ask) {
  check_all(ask, {.preemptions = 3});
  check_some(ask, 100'000);
}

// DEQUE-CONSUME: the slots go round while a thief is at them. The positions wrap as well.
void reuse() {
  auto p = bare_p();
  start_at(p.get(), 0xffff'fffe);
  counted_gs all(8);
  for (std::size_t i = 0; i < 4; ++i) deque::push(p.get(), all.make(i));
  publish_all(p.get());
  std::size_t made = 4;
  sim::thread thief([&] {
    for (int k = 0; k < 3; ++k) all.take(deque::take(p.get()));
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
  publish_all(p.get());
  std::size_t made = 4;
  auto steal = [&] { all.take(deque::take(p.get())); };
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

void busy() {
  auto p = bare_p();
  start_at(p.get(), 0xffff'fffd);
  counted_gs all(10);
  for (std::size_t i = 0; i < 3; ++i) deque::push(p.get(), all.make(i));
  publish_all(p.get());
  auto steal = [&] {
    deque::ask(p.get());
    for (int k = 0; k < 3; ++k) all.take(k == 1 ? force_and_take(p.get()) : deque::take(p.get()));
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
  deque::publish(p.get());
  sim::thread thief([&] {
    for (int k = 0; k < 2; ++k) all.take(deque::take(p.get()));
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
  deque::publish(p.get());
  sim::thread first([&] {
    all.take(deque::steal_into(q.get(), p.get()));
    deque::publish(q.get());
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
    all.take(force_and_take(p.get()));
    sim::require(deque::size(p.get()) <= deque::capacity, "more than there is room for");
  });
  for (std::size_t i = 0; i < 3; ++i) deque::push(p.get(), all.make(i));
  sim::require(deque::size(p.get()) >= 2, "the thief took no more than one");
  deque::publish(p.get());
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
    publish_all(p.get());
    all.take(deque::take(p.get()));
  }
  looks.join();
  drain(p.get(), all);
  all.all_taken(made);
}
TEST(deque, what_never_ends_is_not_overlooked) { check_all(waiting_in_a_full_one, {.preemptions = 2, .stale = 0}); }

}  // namespace
}  // namespace weft::rt
