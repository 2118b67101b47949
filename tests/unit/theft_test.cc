// SPDX-License-Identifier: MIT
#include "runtime/sched/theft.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

#include <weft/weft.h>

#include "runtime/sched/self.h"
#include "runtime/sched/world.h"
#include "tests/support/world.h"

namespace weft::rt {
namespace {

constexpr std::int64_t worth = limits::steal_worth_ns;
constexpr std::int64_t first = limits::stay_away_first_ns;
constexpr std::int64_t longest = limits::stay_away_max_ns;

TEST(theft, begins_with_a_few_and_no_doubt) {
  const theft_account a;
  EXPECT_EQ(a.most(), limits::theft_first);
  EXPECT_FALSE(a.proven());
  EXPECT_FALSE(a.in_doubt());
  EXPECT_FALSE(a.barred_at(0));
  EXPECT_FALSE(a.barred());
}

TEST(theft, what_was_worth_it_doubles_up_to_half_a_deque) {
  theft_account a;
  std::uint32_t most = limits::theft_first;
  for (int i = 0; i < 20; ++i) {
    a.judge(3, 0, 3 * worth, 1'000'000);
    most = std::min(2 * most, limits::deque_capacity / 2);
    EXPECT_EQ(a.most(), most);
    EXPECT_TRUE(a.proven());
    EXPECT_FALSE(a.in_doubt());
  }
  EXPECT_EQ(most, limits::deque_capacity / 2);
}

TEST(theft, what_was_not_comes_down_to_one) {
  theft_account a;
  for (int i = 0; i < 8; ++i) a.judge(1, 0, worth, 0);
  std::uint32_t most = a.most();
  for (int i = 0; i < 8; ++i) {
    a.judge(most, 0, most * worth - 1, 1'000'000);
    most = std::max(most / 4, 1U);
    EXPECT_EQ(a.most(), most);
  }
  EXPECT_EQ(most, 1U);
  EXPECT_FALSE(a.proven());
}

TEST(theft, the_bar_lasts_twice_as_long_each_time_until_one_is_worth_it) {
  theft_account a;
  std::int64_t now = 1'000'000'000;
  for (int round = 0; round < 2; ++round) {
    for (std::int64_t away = first, i = 0; i < 10; ++i, away = std::min(2 * away, longest)) {
      a.judge(1, 0, worth - 1, now);
      EXPECT_TRUE(a.in_doubt());
      EXPECT_TRUE(a.barred_at(now));
      EXPECT_TRUE(a.barred_at(now + away - 1));
      EXPECT_FALSE(a.barred_at(now + away));
      now += away;
    }
    a.judge(1, 0, worth, now);
    EXPECT_FALSE(a.in_doubt());
    EXPECT_FALSE(a.barred_at(now));
  }
}

TEST(theft, is_judged_by_what_the_theft_took) {
  theft_account a;
  const std::int64_t theft = 10 * worth;
  a.judge(1, theft, limits::steal_worth_thefts * theft, 1);
  EXPECT_FALSE(a.in_doubt());
  a.judge(1, theft, limits::steal_worth_thefts * theft - 1, 1);
  EXPECT_TRUE(a.in_doubt());
}

TEST(theft, one_at_a_time_while_in_doubt) {
  theft_account a;
  a.taken(1'000);
  EXPECT_FALSE(a.barred_at(1'000));
  a.judge(1, 0, 0, 2'000);
  const std::int64_t later = 2'000 + first;
  ASSERT_FALSE(a.barred_at(later));
  a.taken(later);
  EXPECT_TRUE(a.barred_at(later + first - 1));
  a.judge(1, 0, worth, later + 1);
  EXPECT_FALSE(a.barred_at(later + 1));
}

TEST(theft, a_bar_is_opened_for_the_next_one_and_lifted_for_all) {
  theft_bar bar;
  bar.extend(1'000, 10, 25);
  EXPECT_TRUE(bar.barred_at(1'009));
  EXPECT_FALSE(bar.barred_at(1'010));
  bar.extend(2'000, 10, 25);
  bar.extend(3'000, 10, 25);
  EXPECT_TRUE(bar.barred_at(3'024));
  EXPECT_FALSE(bar.barred_at(3'025));
  bar.open();
  EXPECT_FALSE(bar.barred_at(3'001));
  EXPECT_TRUE(bar.in_doubt());
  bar.taken(4'000);
  EXPECT_TRUE(bar.barred_at(4'024)) << "open for one, and no longer";
  bar.lift();
  EXPECT_FALSE(bar.barred_at(4'001));
  EXPECT_FALSE(bar.in_doubt());
  bar.taken(5'000);
  EXPECT_FALSE(bar.barred_at(5'000));
}

TEST(theft, the_clock_lifts_the_bar) {
  theft_account a;
  a.judge(1, 0, 0, os::now_ns());
  const auto end = std::chrono::steady_clock::now() + weft_test::patience;
  while (a.barred() && std::chrono::steady_clock::now() < end) {
  }
  EXPECT_FALSE(a.barred());
  EXPECT_TRUE(a.in_doubt());
}

// A storm of goroutines that no thief should want; then two that need two Ps, and would wait for ever if nobody came for the second.
TEST(theft, whose_goroutines_were_not_worth_it_is_still_helped) {
  for (int round = 0; round < 3; ++round)
    weft::run({.procs = 2}, [] {
      weft::wait_group all;
      for (int i = 0; i < 500; ++i) all.go([] {});  // no more: under ThreadSanitizer each takes milliseconds
      all.wait();
      P* p = self()->p;
      p->more->thefts.judge(1, 0, 0, os::now_ns());  // should none have come
      std::atomic<int> there{0};
      const auto end = std::chrono::steady_clock::now() + weft_test::patience;
      for (int i = 0; i < 2; ++i)
        all.go([&] {
          ++there;
          while (there.load() < 2 && std::chrono::steady_clock::now() < end) {
          }
          EXPECT_EQ(there.load(), 2);
        });
      all.wait();
    });
}

}  // namespace
}  // namespace weft::rt
