// SPDX-License-Identifier: MIT
#include "runtime/sched/deque.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <tuple>

#include "tests/support/bare_p.h"
#include "tests/support/queue_cases.h"

namespace weft::rt {
namespace {

using weft_test::bare_p;
using weft_test::gs;
using weft_test::number;
using weft_test::number_of;

constexpr std::uint32_t capacity = deque::capacity;
constexpr auto starts = weft_test::starts(capacity);
constexpr std::uint32_t many = limits::deque_steal_many;
static_assert(capacity >= 4 * many);  // the thefts below

void start_at(P* p, std::uint32_t position) {
  p->deque_head.store(position, relaxed);
  p->deque_tail.store(position, relaxed);
  p->deque_split.store(position, relaxed);
}

// The oldest, as a thief gets it whose victim does not answer.
G* take_oldest(P* p) {
  if (!deque::has_public(p)) deque::force(p);
  return deque::take(p);
}

// As when a thief had called for all of it.
void publish_all(P* p) {
  p->deque_call.store(deque::call::wanted, relaxed);
  deque::answer(p);
}

// From each of `starts`, all that is pushed public or private until somebody comes for it.
class started : public ::testing::TestWithParam<std::tuple<std::uint32_t, bool>> {
 protected:
  started() : owned_(bare_p()), p(owned_.get()) { start_at(p, std::get<0>(GetParam())); }
  void fill(std::uint32_t n, std::uint64_t from = 0) {
    for (std::uint32_t i = 0; i < n; ++i) ASSERT_TRUE(deque::push(p, number(from + i)));
    if (std::get<1>(GetParam())) publish_all(p);
  }
  void expect_empty() {
    EXPECT_EQ(deque::size(p), 0u);
    EXPECT_EQ(deque::pop(p), nullptr);
    EXPECT_EQ(take_oldest(p), nullptr);
    EXPECT_EQ(deque::size(p), 0u);
  }

 private:
  std::unique_ptr<P> owned_;

 protected:
  P* p;
};

INSTANTIATE_TEST_SUITE_P(deque, started, ::testing::Combine(::testing::ValuesIn(starts), ::testing::Bool()));

TEST_P(started, an_empty_one_gives_nothing_to_anybody) {
  for (int i = 0; i < 3; ++i) expect_empty();
  auto thief = bare_p();
  EXPECT_EQ(deque::steal_into(thief.get(), p), nullptr);
  EXPECT_EQ(deque::size(thief.get()), 0u);
  g_list batch;
  deque::take_oldest(p, 5, batch);
  EXPECT_EQ(batch.n, 0u);
  fill(1);
  EXPECT_EQ(number_of(deque::pop(p)), 0u) << "unharmed";
}

TEST_P(started, pop_gives_the_newest_first) {
  for (const std::uint32_t n : {1u, 2u, capacity - 1, capacity}) {
    fill(n);
    for (std::uint32_t i = n; i-- > 0;) {
      ASSERT_EQ(deque::size(p), i + 1);
      ASSERT_EQ(number_of(deque::pop(p)), i);
    }
    expect_empty();
  }
}

TEST_P(started, take_oldest_gives_the_oldest_first) {
  for (const std::uint32_t n : {1u, 2u, capacity - 1, capacity}) {
    fill(n);
    for (std::uint32_t i = 0; i < n; ++i) {
      ASSERT_EQ(deque::size(p), n - i);
      ASSERT_EQ(number_of(take_oldest(p)), i);
    }
    expect_empty();
  }
}

TEST_P(started, from_both_ends_they_meet_in_the_middle) {
  for (const std::uint32_t n : {1u, 2u, 3u, 4u, 9u, capacity}) {
    fill(n);
    std::uint32_t lo = 0;
    std::uint32_t hi = n;
    while (lo < hi) {
      ASSERT_EQ(number_of(deque::pop(p)), --hi);
      if (lo < hi) {
        ASSERT_EQ(number_of(take_oldest(p)), lo++);
      }
      ASSERT_EQ(deque::size(p), hi - lo);
    }
    expect_empty();
  }
}

TEST_P(started, a_full_one_refuses_and_is_unharmed) {
  fill(capacity);
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(deque::push(p, number(9'999)));
  EXPECT_EQ(deque::size(p), capacity);
  EXPECT_EQ(number_of(deque::pop(p)), capacity - 1);
  EXPECT_TRUE(deque::push(p, number(capacity)));
  EXPECT_FALSE(deque::push(p, number(9'999)));
  EXPECT_EQ(number_of(take_oldest(p)), 0u);
  EXPECT_TRUE(deque::push(p, number(capacity + 1)));
  EXPECT_FALSE(deque::push(p, number(9'999)));
  EXPECT_EQ(number_of(deque::pop(p)), capacity + 1);
  EXPECT_EQ(number_of(deque::pop(p)), capacity);
  for (std::uint32_t i = capacity - 1; i-- > 1;) ASSERT_EQ(number_of(deque::pop(p)), i);
  expect_empty();
}

TEST_P(started, many_laps_at_every_fill) {
  std::uint64_t in = 0;
  std::uint64_t out = 0;
  for (std::uint32_t keep = 1; keep < capacity; keep += 93) {
    while (deque::size(p) < keep) ASSERT_TRUE(deque::push(p, number(in++ % gs().size())));
    for (std::uint32_t i = 0; i < 2 * capacity; ++i) {
      ASSERT_TRUE(deque::push(p, number(in++ % gs().size())));
      ASSERT_EQ(number_of(take_oldest(p)), out++ % gs().size());
      // A tree walked in depth on top of it.
      ASSERT_TRUE(deque::push(p, number(17)));
      ASSERT_EQ(number_of(deque::pop(p)), 17u);
    }
  }
}

TEST_P(started, a_batch_of_the_oldest_comes_in_order_behind_what_it_holds) {
  for (const std::uint32_t n : {1u, 2u, 5u, capacity / 2, capacity})
    for (const std::uint32_t wanted : {0u, 1u, 2u, capacity / 2, capacity}) {
      fill(n);
      const std::uint32_t taken = std::min(n, wanted);
      g_list batch;
      batch.push_back(number(15'000));
      deque::take_oldest(p, wanted, batch);
      EXPECT_EQ(batch.n, taken + 1);
      EXPECT_EQ(number_of(batch.pop_front()), 15'000u);
      for (std::uint32_t i = 0; i < taken; ++i) ASSERT_EQ(number_of(batch.pop_front()), i);
      EXPECT_EQ(batch.pop_front(), nullptr);
      EXPECT_EQ(deque::size(p), n - taken);
      for (std::uint32_t i = n; i-- > taken;) ASSERT_EQ(number_of(deque::pop(p)), i);
      expect_empty();
    }
}

TEST_P(started, steal_takes_one_where_there_are_few) {
  for (const std::uint32_t n : {1u, 2u, 3u, many - 1}) {
    auto thief = bare_p();
    fill(n);
    publish_all(p);
    EXPECT_EQ(number_of(deque::steal_into(thief.get(), p)), 0u) << "the oldest";
    EXPECT_EQ(deque::size(thief.get()), 0u);
    EXPECT_EQ(deque::size(p), n - 1);
    for (std::uint32_t i = n; i-- > 1;) ASSERT_EQ(number_of(deque::pop(p)), i);
    expect_empty();
  }
}

TEST_P(started, steal_takes_up_to_half_where_there_are_many) {
  for (const std::uint32_t n : {many, many + 1, 2 * many, capacity - 1, capacity})
    for (const std::uint32_t thief_at : starts) {
      auto thief = bare_p();
      start_at(thief.get(), thief_at);
      fill(n);
      publish_all(p);
      const std::uint32_t half = n / 2;
      EXPECT_EQ(number_of(deque::steal_into(thief.get(), p)), 0u) << "the oldest is handed out";
      EXPECT_EQ(deque::size(thief.get()), half - 1);
      EXPECT_EQ(deque::size(p), n - half);
      // Those after it are the thief's, in the order that they had.
      for (std::uint32_t i = half; i-- > 1;) ASSERT_EQ(number_of(deque::pop(thief.get())), i);
      for (std::uint32_t i = n; i-- > half;) ASSERT_EQ(number_of(deque::pop(p)), i);
      expect_empty();
      EXPECT_EQ(deque::pop(thief.get()), nullptr);
    }
}

TEST_P(started, steal_never_overfills_the_thief) {
  for (const std::uint32_t room : {0u, 1u, 2u, many}) {
    auto thief = bare_p();
    const std::uint32_t had = capacity - room;
    for (std::uint32_t i = 0; i < had; ++i) ASSERT_TRUE(deque::push(thief.get(), number(10'000 + i)));
    fill(capacity);
    publish_all(p);
    EXPECT_EQ(number_of(deque::steal_into(thief.get(), p)), 0u);
    EXPECT_EQ(deque::size(thief.get()), capacity);
    EXPECT_EQ(deque::size(p), capacity - 1 - room);
    for (std::uint32_t i = room; i > 0; --i) ASSERT_EQ(number_of(deque::pop(thief.get())), i);
    for (std::uint32_t i = had; i-- > 0;) ASSERT_EQ(number_of(deque::pop(thief.get())), 10'000 + i);
    for (std::uint32_t i = capacity; i-- > 1 + room;) ASSERT_EQ(number_of(deque::pop(p)), i);
    expect_empty();
  }
}

TEST_P(started, steal_takes_no_more_than_it_may) {
  for (const std::uint32_t most : {1u, 2u, 7u}) {
    auto thief = bare_p();
    fill(2 * many);
    publish_all(p);
    EXPECT_EQ(number_of(deque::steal_into(thief.get(), p, most)), 0u);
    EXPECT_EQ(deque::size(thief.get()), most - 1);
    while (deque::pop(p)) {
    }
  }
}

// Who may take what, and when.
class parts : public ::testing::TestWithParam<std::uint32_t> {
 protected:
  parts() { start_at(p, GetParam()); }
  void fill(std::uint32_t n) {
    for (std::uint32_t i = 0; i < n; ++i) ASSERT_TRUE(deque::push(p, number(i)));
  }
  // So many are public: the oldest.
  void expect_public(std::uint32_t n) {
    EXPECT_EQ(deque::has_public(p), n != 0);
    for (std::uint32_t i = 0; i < n; ++i) ASSERT_EQ(number_of(deque::take(p)), i);
    EXPECT_EQ(deque::take(p), nullptr);
    EXPECT_FALSE(deque::has_public(p));
  }
  void expect_private(std::uint32_t from, std::uint32_t to) {
    for (std::uint32_t i = to; i-- > from;) ASSERT_EQ(number_of(deque::pop(p)), i);
    EXPECT_EQ(deque::pop(p), nullptr);
  }
  std::unique_ptr<P> owned = bare_p();
  P* p = owned.get();
};

INSTANTIATE_TEST_SUITE_P(deque, parts, ::testing::ValuesIn(starts));

TEST_P(parts, what_is_pushed_is_private) {
  fill(5);
  expect_public(0);
  expect_private(0, 5);
}

TEST_P(parts, publish_keeps_the_newest_if_there_are_others) {
  deque::publish(p);
  expect_public(0);
  fill(5);
  deque::publish(p);
  deque::publish(p);
  expect_public(4);
  expect_private(4, 5);
  fill(1);
  deque::publish(p);
  expect_public(1);
  expect_private(1, 1);
}

TEST_P(parts, who_asks_is_answered_by_the_next_push) {
  fill(3);
  deque::ask(p);
  deque::ask(p);
  EXPECT_FALSE(deque::has_public(p));
  ASSERT_TRUE(deque::push(p, number(3)));
  expect_public(3);
  ASSERT_TRUE(deque::push(p, number(4)));
  EXPECT_FALSE(deque::has_public(p)) << "once";
  expect_private(3, 5);
}

TEST_P(parts, who_asks_is_answered_by_the_next_pop) {
  fill(4);
  deque::ask(p);
  EXPECT_EQ(number_of(deque::pop(p)), 3u);
  expect_public(2);
  expect_private(2, 3);
}

TEST_P(parts, who_asks_an_empty_one_gets_what_is_pushed_first) {
  deque::ask(p);
  fill(1);
  expect_public(1);
}

TEST_P(parts, force_opens_all_there_is) {
  fill(4);
  deque::force(p);
  deque::force(p);
  expect_public(4);
  fill(2);
  expect_public(1);  // the owner's answer, at its first push: somebody may be at the newest as well
  expect_private(1, 2);
  fill(2);
  expect_public(0);
  expect_private(0, 2);
}

TEST_P(parts, what_was_opened_the_owner_takes_as_well) {
  for (const bool asked_first : {false, true}) {
    fill(5);
    if (asked_first) deque::ask(p);
    deque::force(p);
    EXPECT_EQ(number_of(deque::pop(p)), 4u);
    EXPECT_EQ(number_of(deque::take(p)), 0u);
    expect_private(1, 4);
  }
}

TEST_P(parts, force_finds_an_empty_one_empty) {
  deque::force(p);
  EXPECT_FALSE(deque::has_public(p));
  EXPECT_EQ(deque::take(p), nullptr);
  EXPECT_EQ(deque::pop(p), nullptr);
  fill(2);
  expect_public(1);
  expect_private(1, 2);
}

TEST_P(parts, force_goes_on_where_all_was_taken_and_more_was_pushed) {
  fill(2);
  deque::force(p);
  // As by a push that came just before the call.
  p->deque[(GetParam() + 2) % capacity].store(number(2), relaxed);
  p->deque_tail.store(GetParam() + 3, relaxed);
  deque::force(p);
  EXPECT_EQ(number_of(deque::take(p)), 0u);
  EXPECT_EQ(number_of(deque::take(p)), 1u);
  EXPECT_FALSE(deque::has_public(p));
  deque::force(p);
  EXPECT_EQ(number_of(deque::take(p)), 2u);
  deque::force(p);
  EXPECT_EQ(deque::take(p), nullptr);
}

TEST_P(parts, the_owner_takes_back_half) {
  fill(9);
  publish_all(p);
  EXPECT_EQ(number_of(deque::pop(p)), 8u);
  expect_public(4);
  expect_private(4, 8);
}

TEST_P(parts, what_is_taken_in_a_batch_leaves_nothing_public_that_is_not_there) {
  fill(6);
  publish_all(p);
  g_list batch;
  deque::take_oldest(p, 6, batch);
  EXPECT_EQ(batch.n, 6u);
  expect_public(0);
  fill(2);
  expect_public(0);
  deque::take_oldest(p, 1, batch);
  ASSERT_TRUE(deque::push(p, number(2)));
  expect_public(0);
  expect_private(1, 3);
}

// A split that stayed behind for half of all positions would be before the head.
TEST_P(parts, the_split_keeps_up_with_a_head_that_the_owner_moves) {
  for (int i = 0; i < 3; ++i) {
    fill(1);
    EXPECT_EQ(number_of(deque::pop(p)), 0u);
    EXPECT_EQ(p->deque_split.load(relaxed), p->deque_head.load(relaxed));
    fill(3);
    g_list batch;
    deque::take_oldest(p, 2, batch);
    EXPECT_EQ(p->deque_split.load(relaxed), p->deque_head.load(relaxed));
    EXPECT_EQ(number_of(deque::pop(p)), 2u);
  }
}

// The protocol of deque.h, step by step: one side's steps are done by hand, the other's by the function in between.
class last_one_steps : public ::testing::Test {
 protected:
  std::uint32_t head() { return p->deque_head.load(relaxed); }
  std::uint32_t tail() { return p->deque_tail.load(relaxed); }
  bool take(std::uint32_t h) { return p->deque_head.compare_exchange_strong(h, h + 1, acq_rel, relaxed); }
  std::unique_ptr<P> owned = bare_p();
  P* p = owned.get();
};

TEST_F(last_one_steps, the_owner_takes_it_between_t1_and_its_exchange) {
  ASSERT_TRUE(deque::push(p, number(1)));
  const auto h = head();
  EXPECT_EQ(number_of(deque::pop(p)), 1u);
  EXPECT_EQ(tail(), h + 1) << "an empty one is empty further up: nobody takes that slot twice";
  EXPECT_FALSE(take(h));
}

TEST_F(last_one_steps, the_owner_takes_it_and_puts_another_into_its_place) {
  ASSERT_TRUE(deque::push(p, number(1)));
  const auto h = head();
  EXPECT_EQ(number_of(deque::pop(p)), 1u);
  ASSERT_TRUE(deque::push(p, number(2)));
  EXPECT_FALSE(take(h)) << "the thief has read what lay there before";
  EXPECT_EQ(number_of(deque::pop(p)), 2u);
}

TEST_F(last_one_steps, the_thief_takes_it_while_the_owner_is_in_pop) {
  ASSERT_TRUE(deque::push(p, number(1)));
  const auto h = head();
  p->deque_tail.store(tail() - 1, relaxed);  // O1
  EXPECT_EQ(deque::size(p), 0u);
  EXPECT_EQ(take_oldest(p), nullptr) << "a thief that comes now leaves it to the owner";
  EXPECT_TRUE(take(h)) << "one that was there before does not";
  EXPECT_EQ(deque::size(p), 0u) << "the tail is behind the head";
  EXPECT_EQ(take_oldest(p), nullptr);
}

}  // namespace
}  // namespace weft::rt
