// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>
#include <stop_token>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

#include "tests/support/world.h"

namespace weft {
namespace {

using namespace std::chrono_literals;
using weft_test::eventually;
using weft_test::scaled;

WEFT_ON_PROCS(condition_variable_test);

TEST_P(condition_variable_test, a_stop_ends_the_wait_of_whom_it_was_asked_and_of_nobody_else) {
  run([] {
    mutex m;
    condition_variable cv;
    bool flag = false;
    int waiting = 0;
    std::stop_source one;
    std::stop_source other;
    wait_group stopped;
    wait_group notified;
    const auto waiter = [&](std::stop_source& s, wait_group& w, bool want) {
      w.go([&, want, token = s.get_token()] {
        std::unique_lock hold(m);
        ++waiting;
        EXPECT_EQ(cv.wait(hold, token, [&] { return flag; }), want);
        EXPECT_TRUE(hold.owns_lock());
      });
    };
    waiter(one, stopped, false);
    waiter(one, stopped, false);
    waiter(other, notified, true);
    EXPECT_TRUE(weft_test::eventually([&] {
      std::lock_guard hold(m);
      return waiting == 3;
    }));
    one.request_stop();
    stopped.wait();
    {
      std::lock_guard hold(m);
      flag = true;
    }
    cv.notify_all();
    notified.wait();
    // Asked for before: what the predicate says, without a wait.
    std::unique_lock hold(m);
    EXPECT_TRUE(cv.wait(hold, one.get_token(), [] { return true; }));
    EXPECT_FALSE(cv.wait_for(hold, one.get_token(), std::chrono::hours(1), [] { return false; }));
    EXPECT_FALSE(cv.wait_until(hold, one.get_token(), std::chrono::system_clock::now() + std::chrono::hours(1),
                               [] { return false; }));
    // The time comes first; a token that never stops.
    EXPECT_FALSE(cv.wait_for(hold, other.get_token(), std::chrono::milliseconds(2), [] { return false; }));
    EXPECT_FALSE(cv.wait_for(hold, std::stop_token(), std::chrono::milliseconds(2), [] { return false; }));
  });
}

// Stops, notifications and deadlines at once, of goroutines and threads: everybody comes home, and nobody's entry stays.
TEST_P(condition_variable_test, stops_notifications_and_deadlines_at_once) {
  run([] {
    mutex m;
    condition_variable cv;
    for (int round = weft_test::scaled(300); round > 0; --round) {
      std::stop_source source;
      bool flag = false;
      const auto wait_one = [&, token = source.get_token()](int k) {
        std::unique_lock hold(m);
        if (k % 2 == 0)
          cv.wait(hold, token, [&] { return flag; });
        else
          cv.wait_for(hold, token, std::chrono::microseconds(40 * k), [&] { return flag; });
      };
      std::thread t([&] { wait_one(2); });
      wait_group w;
      for (int k = 0; k < 5; ++k) w.go([&wait_one, k] { wait_one(k); });
      w.go([&] { source.request_stop(); });
      if (round % 2 == 0) {
        std::lock_guard hold(m);
        flag = true;
        cv.notify_all();
      }
      w.wait();
      t.join();
    }
  });
}

TEST_P(condition_variable_test, a_bounded_queue_made_of_it_loses_nothing) {
  const int per = scaled(5'000);
  run([per] {
    mutex m;
    condition_variable not_empty, not_full;
    std::vector<int> q;
    long long sum = 0;
    wait_group done;
    for (int k = 0; k < 3; ++k) {
      done.go([&] {
        for (int i = 0; i < per; ++i) {
          std::unique_lock l(m);
          not_full.wait(l, [&] { return q.size() < 4; });
          q.push_back(i);
          not_empty.notify_one();
        }
      });
      done.go([&] {
        for (int i = 0; i < per; ++i) {
          std::unique_lock l(m);
          not_empty.wait(l, [&] { return !q.empty(); });
          sum += q.back();
          q.pop_back();
          l.unlock();
          not_full.notify_one();
        }
      });
    }
    done.wait();
    EXPECT_EQ(sum, 3LL * per * (per - 1) / 2);
  });
}

TEST_P(condition_variable_test, notify_one_wakes_in_the_order_of_the_waits) {
  run([] {
    mutex m;
    condition_variable cv;
    std::vector<int> order;
    int waiting = 0;
    wait_group done;
    for (int k = 0; k < 8; ++k) {
      done.go([&, k] {
        std::unique_lock l(m);
        ++waiting;
        cv.wait(l);  // no spurious wakeups
        order.push_back(k);
      });
      ASSERT_TRUE(eventually([&] {
        std::lock_guard hold(m);
        return waiting == k + 1;
      }));
    }
    for (std::size_t k = 0; k < 8; ++k) {
      cv.notify_one();
      ASSERT_TRUE(eventually([&] {
        std::lock_guard hold(m);
        return order.size() == k + 1;
      }));
      EXPECT_EQ(order[k], static_cast<int>(k));
    }
    done.wait();
  });
}

TEST_P(condition_variable_test, notify_all_wakes_all_who_wait_and_nobody_else) {
  run([] {
    mutex m;
    condition_variable cv;
    int waiting = 0, woken = 0;
    wait_group done;
    const auto wait_once = [&] {
      std::unique_lock l(m);
      ++waiting;
      cv.wait(l);
      ++woken;
    };
    const auto all = [&](int n) {
      return eventually([&, n] {
        std::lock_guard hold(m);
        return waiting == n;
      });
    };
    cv.notify_one();  // nobody: nothing is kept
    cv.notify_all();
    for (int k = 0; k < 20; ++k) done.go(wait_once);
    ASSERT_TRUE(all(20));
    EXPECT_EQ(woken, 0);
    cv.notify_all();
    done.wait();
    EXPECT_EQ(woken, 20);
    done.go(wait_once);
    ASSERT_TRUE(all(21));
    cv.notify_one();
    done.wait();
  });
}

TEST_P(condition_variable_test, works_with_any_lock) {
  run([] {
    shared_mutex m;
    condition_variable cv;
    bool ready = false;
    go([&] {
      std::unique_lock l(m);
      ready = true;
      cv.notify_all();
    });
    std::shared_lock l(m);
    cv.wait(l, [&] { return ready; });
    EXPECT_TRUE(l.owns_lock());
  });
}

TEST_P(condition_variable_test, a_timed_wait_ends_with_the_time_and_with_the_lock) {
  run([] {
    mutex m;
    condition_variable cv;
    std::unique_lock l(m);
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(cv.wait_for(l, 2ms), std::cv_status::timeout);
    EXPECT_GE(std::chrono::steady_clock::now() - start, 2ms);
    EXPECT_FALSE(m.try_lock());
    EXPECT_EQ(cv.wait_until(l, std::chrono::steady_clock::now() - 1s), std::cv_status::timeout);
    EXPECT_EQ(cv.wait_until(l, std::chrono::system_clock::now() + 1ms), std::cv_status::timeout);
    EXPECT_FALSE(cv.wait_for(l, 1ms, [] { return false; }));
    EXPECT_FALSE(cv.wait_until(l, std::chrono::steady_clock::now() + 1ms, [] { return false; }));
    EXPECT_TRUE(cv.wait_for(l, -1s, [] { return true; }));
    go([&] {
      std::lock_guard hold(m);
      cv.notify_one();
    });
    EXPECT_EQ(cv.wait_for(l, weft_test::patience), std::cv_status::no_timeout);
  });
}

TEST_P(condition_variable_test, goroutines_and_threads_share_it) {
  const int rounds = scaled(2'000);
  run([rounds] {
    mutex m;
    condition_variable cv;
    int turn = 0;
    const auto play = [&](int me) {
      for (int i = 0; i < rounds; ++i) {
        std::unique_lock l(m);
        if (!cv.wait_for(l, weft_test::patience, [&] { return turn % 2 == me; })) ADD_FAILURE();
        ++turn;
        cv.notify_one();
      }
    };
    std::thread other(play, 1);
    play(0);
    other.join();
    EXPECT_EQ(turn, 2 * rounds);
  });
}

TEST_P(condition_variable_test, may_be_destroyed_once_all_have_been_notified) {
  run([] {
    for (int i = 0; i < scaled(2'000); ++i) {
      mutex m;
      auto cv = std::make_unique<condition_variable>();
      int waiting = 0;
      bool over = false;
      wait_group done;
      for (int k = 0; k < 2; ++k)
        done.go([&, k] {
          std::unique_lock l(m);
          ++waiting;
          while (!over) k != 0 ? cv->wait(l) : static_cast<void>(cv->wait_for(l, weft_test::patience));
        });
      ASSERT_TRUE(eventually([&] {
        std::lock_guard hold(m);
        return waiting == 2;
      }));
      {
        std::lock_guard hold(m);
        over = true;
        cv->notify_all();
        cv.reset();
      }
      done.wait();
    }
  });
}

}  // namespace
}  // namespace weft
