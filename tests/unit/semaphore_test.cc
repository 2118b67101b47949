// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tests/support/in_line.h"
#include "tests/support/world.h"

namespace weft {
namespace {

using namespace std::chrono_literals;
using weft_test::eventually;
using weft_test::scaled;

WEFT_ON_PROCS(semaphore_test);

int in_line(const semaphore& s) { return weft_test::in_line(rt::lot_kind::semaphore, &s); }

TEST_P(semaphore_test, never_more_inside_than_permits) {
  const int per = scaled(2'000);
  run([per] {
    semaphore s(3);
    std::atomic<int> inside{0};
    wait_group done;
    for (int k = 0; k < 8; ++k)
      done.go([&] {
        for (int i = 0; i < per; ++i) {
          s.acquire();
          EXPECT_LE(inside.fetch_add(1) + 1, 3);
          if (i % 8 == 0) yield();
          inside.fetch_sub(1);
          s.release();
        }
      });
    done.wait();
    EXPECT_TRUE(s.try_acquire(3));
    EXPECT_FALSE(s.try_acquire());
  });
}

TEST_P(semaphore_test, a_big_request_is_not_starved_by_small_ones) {
  run([] {
    semaphore s(4);
    std::atomic<bool> stop{false};
    wait_group done;
    for (int k = 0; k < 4; ++k)
      done.go([&] {
        while (!stop) {
          s.acquire();
          yield();
          s.release();
        }
      });
    for (int i = 0; i < 20; ++i) {
      s.acquire(4);
      s.release(4);
    }
    stop = true;
    done.wait();
  });
}

TEST_P(semaphore_test, requests_are_granted_in_their_order) {
  run([] {
    semaphore s(0);
    std::vector<int> order;
    mutex m;
    wait_group done;
    for (int k = 0; k < 5; ++k) {
      done.go([&, k] {
        s.acquire(5 - k);
        std::lock_guard hold(m);
        order.push_back(k);
      });
      ASSERT_TRUE(eventually([&] { return in_line(s) == k + 1; }));
    }
    for (std::size_t k = 0; k < 5; ++k) {
      s.release(5 - static_cast<std::int64_t>(k));
      ASSERT_TRUE(eventually([&] {
        std::lock_guard hold(m);
        return order.size() == k + 1;
      }));
      EXPECT_EQ(order[k], static_cast<int>(k));
    }
    done.wait();
  });
}

TEST_P(semaphore_test, one_release_grants_many) {
  run([] {
    semaphore s(0);
    wait_group done;
    for (int k = 0; k < 10; ++k) done.go([&] { s.acquire(2); });
    ASSERT_TRUE(eventually([&] { return in_line(s) == 10; }));
    s.release(20);
    done.wait();
    EXPECT_FALSE(s.try_acquire());
    s.acquire(0);
    s.release(0);
  });
}

TEST_P(semaphore_test, bad_numbers_throw) {
  run([] {
    EXPECT_THROW(semaphore(-1), std::invalid_argument);
    semaphore s(semaphore::max());
    EXPECT_THROW(s.release(), std::overflow_error);
    EXPECT_THROW(s.release(-1), std::invalid_argument);
    EXPECT_THROW(s.acquire(-1), std::invalid_argument);
    EXPECT_TRUE(s.try_acquire(semaphore::max()));
    EXPECT_FALSE(s.try_acquire());
  });
}

TEST_P(semaphore_test, a_timed_request_that_gives_up_lets_smaller_ones_go) {
  run([] {
    semaphore s(1);
    wait_group done;
    std::atomic<bool> asked{false};
    done.go([&] {
      asked = true;
      const auto start = std::chrono::steady_clock::now();
      EXPECT_FALSE(s.try_acquire_for(5ms, 2));
      EXPECT_GE(std::chrono::steady_clock::now() - start, 5ms);
    });
    ASSERT_TRUE(eventually([&] { return asked.load(); }));
    s.acquire();  // behind it, or before it
    done.wait();
    EXPECT_FALSE(s.try_acquire_until(std::chrono::steady_clock::now() + 1ms));
    EXPECT_FALSE(s.try_acquire_for(0s));
    go([&] { s.release(); });
    EXPECT_TRUE(s.try_acquire_for(weft_test::patience));
  });
}

TEST_P(semaphore_test, goroutines_and_threads_share_it) {
  const int per = scaled(2'000);
  run([per] {
    semaphore items(0), room(2);
    std::thread consumer([&] {
      for (int i = 0; i < per; ++i) {
        items.acquire();
        room.release();
      }
    });
    for (int i = 0; i < per; ++i) {
      room.acquire();
      items.release();
    }
    consumer.join();
    EXPECT_TRUE(room.try_acquire(2));
  });
}

TEST_P(semaphore_test, may_be_destroyed_as_soon_as_acquire_returns) {
  run([] {
    for (int i = 0; i < scaled(3'000); ++i) {
      auto s = std::make_unique<semaphore>(0);
      go([p = s.get()] { p->release(); });
      s->acquire();
    }
  });
}

}  // namespace
}  // namespace weft
