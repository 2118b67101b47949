// SPDX-License-Identifier: MIT
//
// A run is a function of its seed: the same seed gives the same trace, byte for byte, for 1,000 seeds; another gives another. What fails
// is replayed by the seed that the report names. And how fast it goes.

#include <set>
#include <string>

#include "model.h"
#include "runtime/weft/weft.h"

namespace weft {
namespace {

using sim::plan;
using sim::report;
using sim::strategy;

void busy() {
  weft::run({.procs = 2}, [] {
    auto c = make_chan<int>(1);
    mutex m;
    for (int k = 0; k < 2; ++k)
      weft::go([=, &m] {
        m.lock();
        weft::yield();
        m.unlock();
        c.send(k);
      });
    c.recv();
    weft::sleep_for(std::chrono::microseconds(1));
    c.recv();
  });
}

TEST(replay, a_thousand_seeds) {
  for (strategy how : {strategy::random, strategy::pct}) {
    std::set<std::size_t> different;
    for (std::uint64_t seed = 1; seed <= 500; ++seed) {
      plan p{.how = how, .seed = seed, .max_steps = 200'000};
      report first = sim::trace_of(p, busy);
      report second = sim::trace_of(p, busy);
      ASSERT_FALSE(first.failed) << first.message;
      ASSERT_EQ(first.trace, second.trace) << "seed " << seed;
      different.insert(std::hash<std::string>{}(first.trace));
    }
    EXPECT_GT(different.size(), 490U);
  }
}

TEST(replay, a_failure_by_its_seed) {
  auto body = [] {
    atomic<int> x{0};
    auto add = [&] { x.store(x.load(relaxed) + 1, relaxed); };
    sim::thread a(add);
    sim::thread b(add);
    a.join();
    b.join();
    sim::require(x.load(relaxed) == 2, "an addition is lost");
  };
  for (strategy how : {strategy::random, strategy::pct}) {
    report r = sim::explore({.how = how, .schedules = 10'000, .expect_failure = true}, body);
    ASSERT_TRUE(r.failed);
    EXPECT_LE(r.deviations, 4);
    report again = sim::explore({.how = how, .seed = r.seed, .schedules = 1, .expect_failure = true}, body);
    EXPECT_TRUE(again.failed);
    EXPECT_EQ(again.message, r.message);
    EXPECT_EQ(again.trace, r.trace);
  }
}

// The figure in the README: points a second, on one core. Not a test of the machine it runs on: only the order of magnitude is.
TEST(replay, is_fast_enough) {
  report r = sim::explore(
      {.how = strategy::random, .schedules = static_cast<std::uint64_t>(weft_test::scaled(2000)), .max_steps = 200'000},
      busy);
  weft_test::print("speed", r);
  EXPECT_GT(static_cast<double>(r.points) / r.seconds, 100'000.0);
}

}  // namespace
}  // namespace weft
