// SPDX-License-Identifier: MIT
//
// error_group: the first error wins, cancels the rest, and is rethrown; a limit holds.
#include "runtime/sync/error_group.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <stdexcept>

#include "tests/support/world.h"

namespace weft {
namespace {

WEFT_ON_PROCS(error_groups);

TEST_P(error_groups, wait_returns_when_all_have_ended) {
  run([] {
    error_group g;
    std::atomic<int> n{0};
    for (int i = 0; i < 100; ++i)
      g.go([&n, own = std::make_unique<int>(1)] {
        yield();
        n += *own;
      });
    EXPECT_FALSE(g.ctx().err());
    g.wait();
    EXPECT_EQ(n, 100);
    EXPECT_TRUE(g.ctx().err());
    EXPECT_THROW(g.go([] {}), std::logic_error);
  });
}

TEST_P(error_groups, the_first_error_cancels_the_rest_and_is_rethrown) {
  run([] {
    error_group g;
    std::atomic<int> stopped{0};
    for (int i = 0; i < 10; ++i)
      g.go([&] {
        g.ctx().done().recv();
        ++stopped;
        throw std::logic_error("later");
      });
    g.go([] { throw std::runtime_error("first"); });
    EXPECT_THROW(g.wait(), std::runtime_error);
    EXPECT_EQ(stopped, 10);
    EXPECT_THROW(std::rethrow_exception(g.ctx().cause()), std::runtime_error);
  });
}

TEST_P(error_groups, no_more_run_at_a_time_than_the_limit) {
  run([] {
    error_group g;
    g.set_limit(3);
    std::atomic<int> now{0};
    std::atomic<int> most{0};
    for (int i = 0; i < 50; ++i)
      g.go([&] {
        int n = ++now;
        int seen = most;
        while (n > seen && !most.compare_exchange_weak(seen, n)) {
        }
        yield();
        --now;
      });
    g.wait();
    EXPECT_LE(most, 3);
    EXPECT_GE(most, 1);
  });
}

TEST_P(error_groups, try_go_is_refused_when_there_is_no_place) {
  run([] {
    error_group g;
    g.set_limit(1);
    auto hold = make_chan<int>();
    EXPECT_TRUE(g.try_go([hold] { hold.recv(); }));
    EXPECT_FALSE(g.try_go([] {}));
    hold.send(1);
    g.go([] {});
    g.wait();
  });
}

TEST_P(error_groups, the_destructor_cancels_and_waits) {
  run([] {
    std::atomic<int> ended{0};
    {
      error_group g;
      for (int i = 0; i < 5; ++i)
        g.go([&] {
          g.ctx().done().recv();
          ++ended;
        });
    }
    EXPECT_EQ(ended, 5);
  });
}

TEST_P(error_groups, a_parent_that_is_cancelled_cancels_the_group) {
  run([] {
    auto [ctx, cancel] = with_cancel(context::background());
    error_group g(ctx);
    g.go([&g] { g.ctx().done().recv(); });
    cancel();
    g.wait();
  });
}

}  // namespace
}  // namespace weft
