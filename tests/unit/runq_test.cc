// SPDX-License-Identifier: MIT
#include "runtime/sched/runq.h"

#include <gtest/gtest.h>

#include <cstdint>

#include "tests/support/bare_p.h"
#include "tests/support/queue_cases.h"

namespace weft::rt {
namespace {

using weft_test::bare_p;
using weft_test::number;
using weft_test::number_of;

constexpr std::uint32_t capacity = runq::capacity;
constexpr auto starts = weft_test::starts(capacity);

class ring : public ::testing::TestWithParam<std::uint32_t> {
 protected:
  ring() : owned_(bare_p()), p(owned_.get()) {
    p->runq_head.store(runq::head::at(GetParam()), relaxed);
    p->runq_tail.store(GetParam(), relaxed);
  }
  void fill(std::uint32_t n, std::uint64_t from = 0) {
    for (std::uint32_t i = 0; i < n; ++i) ASSERT_TRUE(runq::put(p, number(from + i)));
  }

 private:
  std::unique_ptr<P> owned_;

 protected:
  P* p;
};

INSTANTIATE_TEST_SUITE_P(runq, ring, ::testing::ValuesIn(starts));

TEST_P(ring, an_empty_one_gives_nothing) {
  EXPECT_EQ(runq::size(p), 0u);
  EXPECT_EQ(runq::get(nullptr, p), nullptr);
  auto thief = bare_p();
  EXPECT_EQ(runq::steal_into(nullptr, thief.get(), p), nullptr);
}

TEST_P(ring, gives_what_it_got_first_in_first_out) {
  for (const std::uint32_t n : {1u, 2u, capacity - 1, capacity}) {
    fill(n);
    EXPECT_EQ(runq::size(p), n);
    for (std::uint32_t i = 0; i < n; ++i) ASSERT_EQ(number_of(runq::get(nullptr, p)), i);
    EXPECT_EQ(runq::get(nullptr, p), nullptr);
  }
}

TEST_P(ring, a_full_one_refuses_and_is_unharmed) {
  fill(capacity);
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(runq::put(p, number(999)));
  EXPECT_EQ(runq::size(p), capacity);
  EXPECT_EQ(number_of(runq::get(nullptr, p)), 0u);
  EXPECT_TRUE(runq::put(p, number(capacity)));
  EXPECT_FALSE(runq::put(p, number(999)));
  for (std::uint32_t i = 1; i <= capacity; ++i) ASSERT_EQ(number_of(runq::get(nullptr, p)), i);
}

TEST_P(ring, many_laps_with_the_ring_at_every_fill) {
  std::uint64_t in = 0;
  std::uint64_t out = 0;
  for (std::uint32_t keep = 1; keep < capacity; keep += 13) {
    while (runq::size(p) < keep) ASSERT_TRUE(runq::put(p, number(in++)));
    for (std::uint32_t i = 0; i < 2 * capacity; ++i) {
      ASSERT_TRUE(runq::put(p, number(in++)));
      ASSERT_EQ(number_of(runq::get(nullptr, p)), out++);
    }
  }
}

TEST_P(ring, steal_takes_half_rounded_up) {
  for (const std::uint32_t n : {1u, 2u, 3u, 4u, 5u, 17u, capacity - 1, capacity}) {
    for (const std::uint32_t thief_at : starts) {
      auto thief = bare_p();
      thief->runq_head.store(runq::head::at(thief_at), relaxed);
      thief->runq_tail.store(thief_at, relaxed);
      fill(n);
      const std::uint32_t half = (n + 1) / 2;
      // The oldest half; the last of it is handed out, the others are the thief's, in order.
      EXPECT_EQ(number_of(runq::steal_into(nullptr, thief.get(), p)), half - 1);
      EXPECT_EQ(runq::size(thief.get()), half - 1);
      EXPECT_EQ(runq::size(p), n - half);
      for (std::uint32_t i = 0; i + 1 < half; ++i) ASSERT_EQ(number_of(runq::get(nullptr, thief.get())), i);
      for (std::uint32_t i = half; i < n; ++i) ASSERT_EQ(number_of(runq::get(nullptr, p)), i);
      EXPECT_EQ(runq::get(nullptr, p), nullptr);
      EXPECT_EQ(runq::get(nullptr, thief.get()), nullptr);
    }
  }
}

TEST_P(ring, steal_stops_at_a_goroutine_that_is_bound_to_its_p) {
  weft_test::numbered_gs all(6);
  all[3]->affinity.store(p, relaxed);
  for (std::uint32_t i = 0; i < 6; ++i) ASSERT_TRUE(runq::put(p, all[i]));
  auto thief = bare_p();
  EXPECT_EQ(all.number_of(runq::steal_into(nullptr, thief.get(), p)), 2u);
  EXPECT_EQ(runq::size(thief.get()), 2u);
  EXPECT_EQ(runq::size(p), 3u);
  EXPECT_EQ(runq::steal_into(nullptr, thief.get(), p), nullptr);
  EXPECT_EQ(runq::size(p), 3u);
  for (std::size_t i = 3; i < 6; ++i) EXPECT_EQ(all.number_of(runq::get(nullptr, p)), i);
}

TEST_P(ring, steal_never_overfills_the_thief) {
  for (const std::uint32_t room : {0u, 1u, 2u, 50u, capacity / 2}) {
    auto thief = bare_p();
    for (std::uint32_t i = 0; i < capacity - room; ++i) ASSERT_TRUE(runq::put(thief.get(), number(1'000 + i)));
    fill(capacity);
    const std::uint32_t taken = std::min(capacity / 2, room + 1);
    EXPECT_EQ(number_of(runq::steal_into(nullptr, thief.get(), p)), taken - 1);
    EXPECT_EQ(runq::size(thief.get()), capacity - room + taken - 1);
    for (std::uint32_t i = 0; i < capacity - room; ++i)
      ASSERT_EQ(number_of(runq::get(nullptr, thief.get())), 1'000 + i);
    for (std::uint32_t i = 0; i + 1 < taken; ++i) ASSERT_EQ(number_of(runq::get(nullptr, thief.get())), i);
    while (runq::get(nullptr, p) != nullptr) {
    }
  }
}

// runnext -------------------------------------------------------------------------------------------------------------------

TEST(runnext, is_taken_once) {
  auto p = bare_p();
  EXPECT_EQ(take_runnext(p.get()), nullptr);
  EXPECT_FALSE(has_runnext(p.get()));
  put_runnext(p.get(), number(1));
  EXPECT_TRUE(has_runnext(p.get()));
  EXPECT_EQ(number_of(take_runnext(p.get())), 1u);
  EXPECT_EQ(take_runnext(p.get()), nullptr);
  EXPECT_FALSE(has_runnext(p.get()));
}

TEST(runnext, is_stolen_once_and_the_owner_notices) {
  auto p = bare_p();
  EXPECT_EQ(steal_runnext(p.get()), nullptr);
  for (std::uint64_t round = 0; round < 5; ++round) {
    put_runnext(p.get(), number(round));
    EXPECT_EQ(number_of(steal_runnext(p.get())), round);
    EXPECT_FALSE(has_runnext(p.get())) << "taken";
    EXPECT_EQ(steal_runnext(p.get()), nullptr) << "the owner has yet to notice";
    EXPECT_EQ(take_runnext(p.get()), nullptr) << "stolen";
    EXPECT_EQ(take_runnext(p.get()), nullptr);
    // From here on as if nothing had been.
    put_runnext(p.get(), number(100 + round));
    EXPECT_EQ(number_of(take_runnext(p.get())), 100 + round);
  }
}

TEST(runnext, an_attempt_on_an_empty_one_leaves_it_as_it_was) {
  auto p = bare_p();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(steal_runnext(p.get()), nullptr);
  put_runnext(p.get(), number(1));
  EXPECT_EQ(number_of(steal_runnext(p.get())), 1u);
  EXPECT_EQ(take_runnext(p.get()), nullptr);
}

// The protocol of runq.h, step by step: the thief's steps are done by hand, the owner's by take_runnext in between.
class claim_steps : public ::testing::Test {
 protected:
  std::uint64_t before() { return p->claim.load(relaxed); }
  bool t1(std::uint64_t c) { return p->claim.compare_exchange_strong(c, c | claim::wanted, acq_rel, relaxed); }
  G* t3() { return p->runnext.load(acquire); }
  bool t4(std::uint64_t c) {
    std::uint64_t wanted = c | claim::wanted;
    return p->claim.compare_exchange_strong(wanted, c | claim::taken, acq_rel, relaxed);
  }
  std::unique_ptr<P> owned = bare_p();
  P* p = owned.get();
};

TEST_F(claim_steps, the_owner_takes_before_t1) {
  put_runnext(p, number(1));
  EXPECT_EQ(number_of(take_runnext(p)), 1u);
  const auto c = before();
  ASSERT_TRUE(t1(c));
  EXPECT_EQ(t3(), nullptr);
}

TEST_F(claim_steps, the_owner_takes_between_t1_and_t3) {
  put_runnext(p, number(1));
  const auto c = before();
  ASSERT_TRUE(t1(c));
  EXPECT_EQ(number_of(take_runnext(p)), 1u) << "the thief has not moved the claim: the owner was first";
  EXPECT_EQ(t3(), nullptr);
  EXPECT_FALSE(t4(c));
}

TEST_F(claim_steps, the_owner_takes_between_t3_and_t4) {
  put_runnext(p, number(1));
  const auto c = before();
  ASSERT_TRUE(t1(c));
  EXPECT_EQ(number_of(t3()), 1u);
  EXPECT_EQ(number_of(take_runnext(p)), 1u);
  EXPECT_FALSE(t4(c)) << "both would run it";
}

TEST_F(claim_steps, the_owner_takes_after_t4) {
  put_runnext(p, number(1));
  const auto c = before();
  ASSERT_TRUE(t1(c));
  EXPECT_EQ(number_of(t3()), 1u);
  ASSERT_TRUE(t4(c));
  EXPECT_FALSE(has_runnext(p));
  EXPECT_EQ(take_runnext(p), nullptr);
  // A new one right away.
  put_runnext(p, number(2));
  EXPECT_TRUE(has_runnext(p));
  EXPECT_EQ(number_of(take_runnext(p)), 2u);
}

TEST_F(claim_steps, the_owner_takes_and_puts_another_between_t1_and_t3) {
  put_runnext(p, number(1));
  const auto c = before();
  ASSERT_TRUE(t1(c));
  EXPECT_EQ(number_of(take_runnext(p)), 1u);
  put_runnext(p, number(2));
  EXPECT_EQ(number_of(t3()), 2u);
  EXPECT_FALSE(t4(c)) << "the take has opened another epoch";
  EXPECT_EQ(number_of(take_runnext(p)), 2u);
}

TEST_F(claim_steps, the_owner_puts_between_t1_and_t3_and_loses_it) {
  const auto c = before();
  ASSERT_TRUE(t1(c));
  put_runnext(p, number(1));
  EXPECT_EQ(number_of(t3()), 1u);
  ASSERT_TRUE(t4(c));
  EXPECT_EQ(take_runnext(p), nullptr);
}

TEST_F(claim_steps, two_thieves_one_gets_past_t1) {
  put_runnext(p, number(1));
  const auto c = before();
  ASSERT_TRUE(t1(c));
  EXPECT_EQ(steal_runnext(p), nullptr);
  EXPECT_FALSE(t1(c));
  ASSERT_TRUE(t4(c));
  EXPECT_EQ(steal_runnext(p), nullptr);
}

TEST_F(claim_steps, a_thief_that_slept_through_many_epochs_gets_nothing) {
  put_runnext(p, number(1));
  const auto c = before();
  ASSERT_TRUE(t1(c));
  EXPECT_EQ(number_of(t3()), 1u);
  EXPECT_EQ(number_of(take_runnext(p)), 1u);
  for (std::uint64_t i = 0; i < 10; ++i) {
    put_runnext(p, number(1));  // the same G again: only the epoch tells
    EXPECT_EQ(number_of(steal_runnext(p)), 1u);
    EXPECT_EQ(take_runnext(p), nullptr);
  }
  put_runnext(p, number(1));
  EXPECT_FALSE(t4(c));
  EXPECT_EQ(number_of(take_runnext(p)), 1u);
}

}  // namespace
}  // namespace weft::rt
