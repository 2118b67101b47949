// SPDX-License-Identifier: MIT
//
// What model tests share: how many schedules, and what is printed about them.

#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "runtime/os/sim/explore.h"
#include "tests/support/scale.h"

namespace weft_test {

namespace sim = weft::sim;

inline void print(const char* what, const sim::report& r) {
  std::printf("  %-14s %9llu schedules%s, %10llu points, %5.2f s, %5.2f M points/s%s\n", what,
              static_cast<unsigned long long>(r.schedules), r.complete ? " (all)" : "",
              static_cast<unsigned long long>(r.points), r.seconds,
              r.seconds > 0 ? static_cast<double>(r.points) / r.seconds / 1e6 : 0.0, r.failed ? "  FAILED" : "");
  std::fflush(stdout);
}

// Every schedule of `body`, or, when there are too many, all with so many preemptions. Fails the test when one fails.
inline sim::report check_all(const std::function<void()>& body, sim::plan p = {}) {
  p.how = sim::strategy::exhaustive;
  p.schedules = static_cast<std::uint64_t>(scaled(p.schedules == 1000 ? 2'000'000 : static_cast<int>(p.schedules)));
  sim::report r = sim::explore(p, body);
  print(p.preemptions < 0 ? "exhaustive" : "preemptions", r);
  EXPECT_FALSE(r.failed) << r.message;
  return r;
}

// `schedules` (at 100 percent) by PCT, and half as many by random walk, but of those no more than a tenth from 20 percent on.
inline void check_some(const std::function<void()>& body, int schedules, sim::plan p = {}) {
  for (sim::strategy how : {sim::strategy::pct, sim::strategy::random}) {
    p.how = how;
    int walks = std::min(scaled(schedules / 2), std::max(schedules / 10, scaled(schedules / 10)));
    p.schedules = static_cast<std::uint64_t>(how == sim::strategy::pct ? scaled(schedules) : walks);
    sim::report r = sim::explore(p, body);
    print(how == sim::strategy::pct ? "pct" : "random", r);
    EXPECT_FALSE(r.failed) << r.message;
    if (r.failed) return;
  }
}

}  // namespace weft_test
