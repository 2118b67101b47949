// SPDX-License-Identifier: MIT
//
// latch and barrier.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <thread>

#include "runtime/sync/parking_lot.h"
#include "tests/support/world.h"

namespace weft {
namespace {

using weft_test::scaled;

WEFT_ON_PROCS(latch_test);

TEST_P(latch_test, opens_at_zero_for_all_and_for_good) {
  run([] {
    latch l(5);
    int before = 0;
    mutex m;
    wait_group done;
    EXPECT_FALSE(l.try_wait());
    for (int k = 0; k < 3; ++k)
      done.go([&] {
        l.wait();
        EXPECT_EQ(before, 5);
      });
    for (int k = 0; k < 5; ++k)
      done.go([&] {
        bool odd;
        {
          std::lock_guard hold(m);
          odd = ++before % 2 != 0;
        }
        if (odd) yield();
        l.count_down();
      });
    done.wait();
    l.wait();
    EXPECT_TRUE(l.try_wait());
    l.count_down(0);
    EXPECT_THROW(l.count_down(), std::logic_error);
    EXPECT_THROW(latch(-1), std::invalid_argument);
  });
}

TEST_P(latch_test, may_be_destroyed_as_soon_as_wait_returns) {
  run([] {
    for (int i = 0; i < scaled(3'000); ++i) {
      auto l = std::make_unique<latch>(2);
      go([p = l.get()] { p->count_down(); });
      l->arrive_and_wait();
    }
  });
}

TEST_P(latch_test, may_be_destroyed_as_soon_as_one_of_many_waits_returns) {
  run([] {
    for (int i = 0; i < scaled(2'000); ++i) {
      auto l = std::make_unique<latch>(1);
      std::atomic<int> in_line{0};
      wait_group done;
      for (int k = 0; k < 3; ++k)
        done.go([&, p = l.get()] {
          in_line.fetch_add(1);
          p->wait();
          if (in_line.fetch_sub(1) == 3) l.reset();
        });
      ASSERT_TRUE(weft_test::eventually([&] {
        rt::lot& lot = rt::lot_of(l.get());
        lock_scope hold(lot.lk);
        int n = 0;
        for (auto* e = lot.first(rt::lot_kind::latch, l.get()); e; e = e->next) ++n;
        return n == 3;
      }));
      l->count_down();
      done.wait();
    }
  });
}

TEST_P(latch_test, threads_may_wait_and_count) {
  run([] {
    latch up(1), down(1);
    std::thread t([&] {
      up.wait();
      down.count_down();
    });
    up.count_down();
    down.wait();
    t.join();
  });
}

TEST_P(latch_test, a_barrier_lets_nobody_into_the_next_phase_before_all_have_arrived) {
  const int phases = scaled(500);
  run([phases] {
    constexpr int n = 5;
    int completed = 0;
    auto count = [&completed]() noexcept { ++completed; };
    barrier b(n, count);
    std::atomic<int> arrived{0};
    wait_group done;
    for (int k = 0; k < n; ++k)
      done.go([&, k] {
        for (int i = 0; i < phases; ++i) {
          if ((i + k) % 7 == 0) yield();
          arrived.fetch_add(1);
          if (k % 2 == 0) {
            b.arrive_and_wait();
          } else {
            auto t = b.arrive();
            b.wait(std::move(t));
          }
          EXPECT_GE(arrived.load(), n * (i + 1));
          EXPECT_GE(completed, i + 1);
          b.arrive_and_wait();
        }
      });
    done.wait();
    EXPECT_EQ(completed, 2 * phases);
  });
}

TEST_P(latch_test, who_drops_out_of_a_barrier_is_not_waited_for) {
  run([] {
    barrier b(3);
    wait_group done;
    done.go([&] { b.arrive_and_drop(); });
    for (int k = 0; k < 2; ++k)
      done.go([&] {
        for (int i = 0; i < 10; ++i) b.arrive_and_wait();
      });
    done.wait();
    EXPECT_THROW(static_cast<void>(b.arrive(3)), std::logic_error);
  });
}

}  // namespace
}  // namespace weft
