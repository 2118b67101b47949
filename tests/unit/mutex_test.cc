// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

#include "runtime/sync/parking_lot.h"
#include "tests/support/crowd.h"
#include "tests/support/emulated.h"
#include "tests/support/in_line.h"
#include "tests/support/world.h"

namespace weft {
namespace {

using namespace std::chrono_literals;
using weft_test::eventually;
using weft_test::in_goroutines;
using weft_test::scaled;

static_assert(sizeof(mutex) == 4);
static_assert(!std::is_copy_constructible_v<mutex>);

// Nobody waits anywhere, and no mutex is left on its way between fast and slow.
void expect_nothing_left() {
  for (std::size_t i = 0; i < rt::num_lots; ++i) {
    EXPECT_EQ(rt::lot_of(reinterpret_cast<void*>(i * 8)).heads, nullptr);
    EXPECT_EQ(rt::unsettled_mutexes[i].load(acquire), 0u);
  }
}

int in_line(const mutex& m) { return weft_test::in_line(rt::lot_kind::mutex, &m); }

// Pretends that the quiet time of a mutex has passed.
void calm_down(mutex& m) {
  for (int i = 0; i < 1 << 15; ++i) {
    m.lock();
    m.unlock();
  }
}

class mutex_test : public weft_test::on_procs {
 protected:
  void TearDown() override {
    expect_nothing_left();
    on_procs::TearDown();
  }
};
INSTANTIATE_TEST_SUITE_P(procs, mutex_test, ::testing::Values(1, 2, 4, 16),
                         [](const auto& info) { return std::to_string(info.param); });

TEST_P(mutex_test, counting_under_it_loses_nothing) {
  const int per = scaled(20'000);
  mutex m;
  long long count = 0;
  run([&] {
    in_goroutines(8, [&] {
      for (int i = 0; i < per; ++i) {
        std::lock_guard hold(m);
        ++count;
      }
    });
  });
  EXPECT_EQ(count, 8LL * per);
}

TEST_P(mutex_test, held_across_a_yield_it_keeps_the_others_out) {
  const int per = scaled(500);
  mutex m;
  int inside = 0;
  long long count = 0;
  run([&] {
    in_goroutines(8, [&] {
      for (int i = 0; i < per; ++i) {
        std::unique_lock hold(m);
        EXPECT_EQ(++inside, 1);
        yield();
        EXPECT_EQ(inside--, 1);
        ++count;
      }
    });
  });
  EXPECT_EQ(count, 8LL * per);
}

TEST_P(mutex_test, try_lock_takes_only_what_is_free) {
  run([] {
    mutex m;
    EXPECT_TRUE(m.try_lock());
    EXPECT_FALSE(m.try_lock());
    m.unlock();
    EXPECT_TRUE(m.try_lock());
    m.unlock();
  });
}

TEST_P(mutex_test, scoped_lock_takes_two_in_any_order) {
  const int per = scaled(1'000);
  run([per] {
    mutex a, b;
    int count = 0;
    in_goroutines(4, [&](int k) {
      for (int i = 0; i < per; ++i) {
        if (k % 2 != 0) {
          std::scoped_lock hold(a, b);
          ++count;
        } else {
          std::scoped_lock hold(b, a);
          ++count;
        }
      }
    });
    EXPECT_EQ(count, 4 * per);
  });
}

TEST_P(mutex_test, waiters_get_it_in_the_order_in_which_they_came) {
  run([] {
    mutex m;
    std::vector<int> order;
    wait_group done;
    m.lock();
    for (int k = 0; k < 10; ++k) {
      done.go([&, k] {
        m.lock();
        order.push_back(k);
        m.unlock();
      });
      ASSERT_TRUE(eventually([&] { return in_line(m) == k + 1; }));
    }
    sleep_for(2ms);  // past the time from which on it is handed over: nobody barges
    m.unlock();
    done.wait();
    for (int k = 0; k < 10; ++k) EXPECT_EQ(order[static_cast<std::size_t>(k)], k);
  });
}

TEST_P(mutex_test, who_waits_gets_it_from_one_who_takes_it_again_at_once) {
  run([] {
    mutex m;
    std::atomic<bool> stop{false};
    wait_group done;
    for (int k = 0; k < 2; ++k)
      done.go([&] {
        while (!stop) {
          m.lock();
          const auto until = std::chrono::steady_clock::now() + 20us;
          while (std::chrono::steady_clock::now() < until) {
          }
          m.unlock();
        }
      });
    int got = 0;
    ASSERT_TRUE(eventually([&] {
      m.lock();
      ++got;
      m.unlock();
      return got == 20;
    }));
    stop = true;
    done.wait();
  });
}

TEST_P(mutex_test, a_loop_of_it_starves_nobody) {
  run([] {
    mutex m;
    bool ran = false;  // p = 1: no race; else under a mutex of its own
    mutex own;
    go([&] {
      std::lock_guard hold(own);
      ran = true;
    });
    EXPECT_TRUE(eventually([&] {
      for (int i = 0; i < 1000; ++i) {
        m.lock();
        m.unlock();
      }
      std::lock_guard hold(own);
      return ran;
    }));
    mutex held;
    held.lock();
    go([&] { held.unlock(); });
    while (!held.try_lock()) {
    }
    held.unlock();
  });
}

TEST_P(mutex_test, goroutines_and_threads_share_it) {
  const int per = scaled(5'000);
  mutex m;
  long long count = 0;
  run([&] {
    weft_test::in_goroutines_and_threads([&] {
      for (int i = 0; i < per; ++i) {
        std::lock_guard hold(m);
        ++count;
      }
    });
  });
  EXPECT_EQ(count, static_cast<long long>(weft_test::crowd) * per);
}

TEST_P(mutex_test, a_goroutine_may_unlock_what_another_has_locked) {
  run([] {
    mutex m;
    m.lock();
    go([&] { m.unlock(); });
    m.lock();
    m.unlock();
  });
}

TEST_P(mutex_test, contended_and_quiet_in_turn) {
  run([] {
    mutex m;
    for (int round = 0; round < scaled(20); ++round) {
      wait_group done;
      m.lock();
      for (int k = 0; k < 3; ++k)
        done.go([&] {
          m.lock();
          m.unlock();
        });
      EXPECT_TRUE(eventually([&] { return in_line(m) == 3; }));
      m.unlock();
      done.wait();
      calm_down(m);
    }
  });
}

TEST_P(mutex_test, may_be_destroyed_as_soon_as_the_last_user_has_it) {
  struct shared {
    mutex m;
    int users = 3;
  };
  run([] {
    for (int i = 0; i < scaled(3'000); ++i) {
      auto* s = new shared;
      const auto leave = [s] {
        s->m.lock();
        const bool last = --s->users == 0;
        s->m.unlock();
        if (last) delete s;
      };
      wait_group done;
      done.go(leave);
      done.go(leave);
      leave();
      done.wait();
    }
  });
}

TEST_P(mutex_test, a_timed_try_waits_at_least_its_time) {
  run([] {
    mutex m;
    m.lock();
    const auto start = std::chrono::steady_clock::now();
    EXPECT_FALSE(m.try_lock_for(3ms));
    EXPECT_GE(std::chrono::steady_clock::now() - start, 3ms);
    EXPECT_FALSE(m.try_lock_until(std::chrono::steady_clock::now() + 1ms));
    EXPECT_FALSE(m.try_lock_until(std::chrono::system_clock::now() + 1ms));
    EXPECT_FALSE(m.try_lock_for(-1s));
    expect_nothing_left();
    go([&] {
      EXPECT_TRUE(eventually([&] { return in_line(m) == 1; }));
      m.unlock();
    });
    EXPECT_TRUE(m.try_lock_for(std::chrono::hours(1'000'000)));
    m.unlock();
  });
}

TEST_P(mutex_test, a_timed_try_of_a_thread_waits_too) {
  mutex m;
  m.lock();
  EXPECT_FALSE(m.try_lock_for(2ms));
  std::thread t([&] {
    EXPECT_TRUE(eventually([&] { return in_line(m) == 1; }));
    m.unlock();
  });
  EXPECT_TRUE(m.try_lock_for(2 * weft_test::patience));
  t.join();
  m.unlock();
}

TEST(mutex_death_test, unlocking_what_is_not_locked_is_fatal) {
  if (!weft_test::emulator()) GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        mutex m;
        m.unlock();
      },
      "unlock of unlocked mutex");
}

}  // namespace
}  // namespace weft
