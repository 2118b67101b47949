// SPDX-License-Identifier: MIT
#include "runtime/base/rand.h"

#include <gtest/gtest.h>

#include <set>

namespace weft {
namespace {

TEST(fast_rand, equal_seeds_give_equal_sequences_and_others_do_not) {
  fast_rand a(7), b(7), c(8);
  int same = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto x = a.next();
    EXPECT_EQ(x, b.next());
    same += x == c.next();
  }
  EXPECT_EQ(same, 0);
}

TEST(fast_rand, does_not_repeat_soon_whatever_the_seed) {
  for (std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{1}, UINT64_MAX}) {
    fast_rand r(seed);
    std::set<std::uint64_t> seen;
    for (int i = 0; i < 10'000; ++i) seen.insert(r.next());
    EXPECT_EQ(seen.size(), 10'000u);
  }
}

TEST(fast_rand, below_stays_below_and_reaches_every_value_about_equally) {
  fast_rand r(1);
  for (std::uint32_t n : {1u, 2u, 3u, 7u, 16u, 61u}) {
    int count[61] = {};
    constexpr int per_value = 2'000;
    for (std::uint32_t i = 0; i < n * per_value; ++i) {
      const auto v = r.below(n);
      ASSERT_LT(v, n);
      ++count[v];
    }
    // Five standard deviations (sqrt of 2,000 is 45): one false alarm in some 50,000 seeds, and the seed is fixed.
    for (std::uint32_t v = 0; v < n; ++v) EXPECT_NEAR(count[v], per_value, 225) << n << ' ' << v;
  }
  EXPECT_LT(r.below(UINT32_MAX), UINT32_MAX);
}

TEST(fast_rand, tosses_come_in_pairs_of_either_order_about_equally) {
  fast_rand r(1);
  constexpr int pairs = 10'000;
  int ones_first = 0;
  int same_as_the_pair_before = 0;
  unsigned before = 0;
  for (int i = 0; i < pairs; ++i) {
    const unsigned first = r.coin();
    ASSERT_LE(first, 1U);
    ASSERT_EQ(r.coin(), first ^ 1);
    ones_first += static_cast<int>(first);
    same_as_the_pair_before += static_cast<int>(first == before);
    before = first;
  }
  // Five standard deviations (50), and the seed is fixed.
  EXPECT_NEAR(ones_first, pairs / 2, 250);
  EXPECT_NEAR(same_as_the_pair_before, pairs / 2, 250);
}

}  // namespace
}  // namespace weft
