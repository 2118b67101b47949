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
}

// From each of `starts`, with thieves about and without (then pop leaves out its fence).
class started : public ::testing::TestWithParam<std::tuple<std::uint32_t, bool>> {
 protected:
  started() : owned_(bare_p()), p(owned_.get()) {
    start_at(p, std::get<0>(GetParam()));
    p->thieves = std::get<1>(GetParam());
  }
  void fill(std::uint32_t n, std::uint64_t from = 0) {
    for (std::uint32_t i = 0; i < n; ++i) ASSERT_TRUE(deque::push(p, number(from + i)));
  }
  void expect_empty() {
    EXPECT_EQ(deque::size(p), 0u);
    EXPECT_EQ(deque::pop(p), nullptr);
    EXPECT_EQ(deque::take_oldest(p), nullptr);
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
      ASSERT_EQ(number_of(deque::take_oldest(p)), i);
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
        ASSERT_EQ(number_of(deque::take_oldest(p)), lo++);
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
  EXPECT_EQ(number_of(deque::take_oldest(p)), 0u);
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
      ASSERT_EQ(number_of(deque::take_oldest(p)), out++ % gs().size());
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
    EXPECT_EQ(number_of(deque::steal_into(thief.get(), p)), 0u);
    EXPECT_EQ(deque::size(thief.get()), capacity);
    EXPECT_EQ(deque::size(p), capacity - 1 - room);
    for (std::uint32_t i = room; i > 0; --i) ASSERT_EQ(number_of(deque::pop(thief.get())), i);
    for (std::uint32_t i = had; i-- > 0;) ASSERT_EQ(number_of(deque::pop(thief.get())), 10'000 + i);
    for (std::uint32_t i = capacity; i-- > 1 + room;) ASSERT_EQ(number_of(deque::pop(p)), i);
    expect_empty();
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

TEST_F(last_one_steps, the_owner_takes_it_between_t1_and_t3) {
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
  EXPECT_EQ(deque::take_oldest(p), nullptr) << "a thief that comes now leaves it to the owner";
  EXPECT_TRUE(take(h)) << "one that was there before does not";
  EXPECT_EQ(deque::size(p), 0u) << "the tail is behind the head";
  EXPECT_EQ(deque::take_oldest(p), nullptr);
}

}  // namespace
}  // namespace weft::rt
