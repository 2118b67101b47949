// SPDX-License-Identifier: MIT
//
// run: what it returns and what it refuses, how often and how many at once. set_procs: the world changes while it turns.
#include "runtime/sched/world.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/channels.h"
#include "tests/support/world.h"

namespace weft {
namespace {

using weft_test::eventually;

// An environment variable for the length of a scope.
class with_env {
 public:
  with_env(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    ::setenv(name, value, 1);
  }
  with_env(const with_env&) = delete;
  with_env& operator=(const with_env&) = delete;
  ~with_env() {
    if (old_)
      ::setenv(name_, old_->c_str(), 1);
    else
      ::unsetenv(name_);
  }

 private:
  const char* name_;
  std::optional<std::string> old_;
};

WEFT_ON_PROCS(world);

TEST_P(world, run_returns_what_its_function_returns) {
  EXPECT_EQ(run([] { return 42; }), 42);
  EXPECT_EQ(run([] { return std::string("text"); }), "text");
  EXPECT_EQ(*run([] { return std::make_unique<int>(7); }), 7);
  static_assert(std::is_void_v<decltype(run([] {}))>);
  run([] {});
  int x = 5;
  static_assert(std::is_same_v<decltype(run([&x]() -> int& { return x; })), int&>);
  EXPECT_EQ(&run([&x]() -> int& { return x; }), &x);
  auto p = std::make_unique<int>(1);
  static_assert(
      std::is_same_v<decltype(run([&p]() -> std::unique_ptr<int>&& { return std::move(p); })), std::unique_ptr<int>&&>);
  auto q = run([&p]() -> std::unique_ptr<int>&& { return std::move(p); });
  EXPECT_EQ(p, nullptr);
  EXPECT_EQ(*q, 1);
  struct no_default {
    explicit no_default(int n) : v(n) {}
    int v;
  };
  EXPECT_EQ(run([] { return no_default(3); }).v, 3);
  const auto constant = [] { return 1; };
  EXPECT_EQ(run(constant), 1);
  int calls = 0;
  auto counter = [&calls]() mutable { return ++calls; };
  EXPECT_EQ(run(counter), 1);
  EXPECT_EQ(run(counter), 2);
}

TEST_P(world, run_waits_for_every_goroutine) {
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> ended{0};
    run([&] {
      for (int i = 0; i < 50; ++i)
        go([&] {
          for (int r = 0; r < 5; ++r) yield();
          go([&] {
            yield();
            ++ended;
          });
          ++ended;
        });
    });
    ASSERT_EQ(ended, 100);
  }
}

TEST_P(world, run_can_be_called_again_and_again) {
  for (int i = 0; i < weft_test::scaled(1'000); ++i)
    ASSERT_EQ(run([i] {
                auto c = make_chan<int>();
                go([c, i] { c.send(i); });
                return c.recv().value();
              }),
              i);
}

TEST_P(world, several_runs_at_once_in_threads) {
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) {
        const int sum = run([t] {
          auto c = make_chan<int>(2);
          for (int g = 0; g < 10; ++g) go([c, t] { c.send(t); });
          int total = 0;
          for (int g = 0; g < 10; ++g) total += c.recv().value();
          EXPECT_LE(num_goroutines(), 11);
          return total;
        });
        if (sum == 10 * t) ++good;
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(good, 80);
}

TEST_P(world, a_nested_run_throws) {
  run([this] {
    EXPECT_THROW(weft::run([] {}), std::logic_error);
    EXPECT_THROW(run([] { return 1; }), std::logic_error);
    // In a thread of its own it may.
    std::thread t([] { EXPECT_EQ(weft::run({.procs = 1}, [] { return 3; }), 3); });
    t.join();
  });
}

TEST_P(world, procs_says_how_many) {
  EXPECT_EQ(weft::procs(), 0);
  EXPECT_EQ(num_goroutines(), 0);
  run([p = procs()] {
    EXPECT_EQ(weft::procs(), p);
    EXPECT_EQ(set_procs(0), p);
    EXPECT_EQ(set_procs(-5), p);
    EXPECT_EQ(set_procs(p), p);
    EXPECT_EQ(weft::procs(), p);
  });
  EXPECT_EQ(weft::procs(), 0);
  EXPECT_GE(num_cpus(), 1);
}

TEST_P(world, num_goroutines_counts_those_that_live) {
  run([] {
    EXPECT_EQ(num_goroutines(), 1);
    auto c = make_chan<int>();
    for (int i = 1; i <= 100; ++i) {
      go([c] { (void)c.recv(); });
      EXPECT_EQ(num_goroutines(), 1 + i);
    }
    c.close();
    EXPECT_TRUE(eventually([] { return num_goroutines() == 1; }));
  });
}

TEST_P(world, set_procs_grows_and_shrinks_under_load) {
  run([p = procs()] {
    std::atomic<bool> stop{false};
    std::atomic<long long> moved{0};
    wait_group w;
    auto c = make_chan<int>(3);
    for (int i = 0; i < 20; ++i) {
      w.go([&, c] {
        while (!stop) {
          c.send(1);
          yield();
        }
      });
      w.go([&, c] {
        for ([[maybe_unused]] int v : c) ++moved;
      });
      w.go([&] {
        while (!stop) yield();
      });
      w.add();
      go({.home = i}, [&] {  // bound to a P that comes and goes
        while (!stop) yield();
        w.done();
      });
    }
    int last = p;
    for (int round = 0; round < weft_test::scaled(40); ++round) {
      for (const int n : {1, 16, 2, 7, 3, 16, 1, 4}) {
        EXPECT_EQ(set_procs(n), last);
        EXPECT_EQ(weft::procs(), n);
        last = n;
        const long long before = moved;
        EXPECT_TRUE(eventually([&] { return moved > before; }));
      }
    }
    stop = true;
    // Senders may wait for room: receivers go on until everybody has been served.
    EXPECT_TRUE(eventually([&] { return num_goroutines() <= 21; }));
    c.close();
    w.wait();
  });
}

TEST_P(world, set_procs_by_several_goroutines_at_once) {
  run([] {
    wait_group w;
    for (int i = 0; i < 8; ++i)
      w.go([i] {
        for (int r = 0; r < 20; ++r) {
          (void)set_procs(1 + (i + r) % 8);
          yield();
        }
      });
    w.wait();
    (void)set_procs(5);
    EXPECT_EQ(weft::procs(), 5);
  });
}

TEST_P(world, more_ps_take_part_after_growth) {
  run([] {
    (void)set_procs(1);
    (void)set_procs(4);
    // Four that wait for each other without calling the runtime can only end on four Ps.
    std::atomic<int> there{0};
    wait_group w;
    const auto end = std::chrono::steady_clock::now() + weft_test::patience;
    for (int i = 0; i < 4; ++i)
      w.go([&] {
        ++there;
        while (there < 4 && std::chrono::steady_clock::now() < end) {
        }
      });
    w.wait();
    EXPECT_EQ(there, 4);
    EXPECT_LT(std::chrono::steady_clock::now(), end);
  });
}

TEST_P(world, goroutines_parked_on_a_p_that_goes_wake_on_another) {
  run([] {
    auto c = make_chan<int>();
    wait_group w;
    for (int i = 0; i < 64; ++i) {
      w.add();
      go({.home = i % weft::procs()}, [&w, c] {
        (void)c.recv();
        w.done();
      });
    }
    weft_test::await_waiters(c, 64);
    EXPECT_EQ(num_goroutines(), 65);
    (void)set_procs(1);
    for (int i = 0; i < 64; ++i) c.send(i);
    w.wait();
  });
}

TEST(run, bad_settings_throw_and_name_what_is_wrong) {
  const auto nothing = [] {};
  EXPECT_THROW(weft::run({.procs = -1}, nothing), std::invalid_argument);
  EXPECT_THROW(weft::run({.procs = 1025}, nothing), std::invalid_argument);
  EXPECT_THROW(weft::run({.stack_size = 1}, nothing), std::invalid_argument);
  EXPECT_THROW(weft::run({.stack_size = (std::size_t{1} << 30) + 1}, nothing), std::invalid_argument);
  for (const char* bad : {"0", "-1", "x", "1025", "1.5", " 4"}) {
    const with_env e("WEFT_PROCS", bad);
    try {
      weft::run(nothing);
      ADD_FAILURE() << bad;
    } catch (const std::invalid_argument& error) {
      EXPECT_NE(std::string(error.what()).find("WEFT_PROCS"), std::string::npos) << error.what();
    }
    EXPECT_EQ(weft::run({.procs = 2}, [] { return weft::procs(); }), 2);  // not looked at
  }
}

TEST(run, settings_come_from_the_options_then_the_environment) {
  const with_env a("GOMAXPROCS", "3");
  EXPECT_EQ(weft::run([] { return weft::procs(); }), 3);
  const with_env b("WEFT_PROCS", "2");
  EXPECT_EQ(weft::run([] { return weft::procs(); }), 2);
  EXPECT_EQ(weft::run({.procs = 5}, [] { return weft::procs(); }), 5);
}

TEST(run, without_settings_there_are_as_many_ps_as_cpus) {
  if (std::getenv("WEFT_PROCS") != nullptr || std::getenv("GOMAXPROCS") != nullptr) GTEST_SKIP() << "they are set here";
  EXPECT_EQ(weft::run([] { return weft::procs(); }), num_cpus());
}

TEST(run, set_procs_refuses_what_cannot_be) {
  EXPECT_THROW(set_procs(2), std::logic_error);
  weft::run({.procs = 2}, [] {
    EXPECT_THROW(set_procs(1025), std::invalid_argument);
    EXPECT_EQ(weft::procs(), 2);
  });
}

TEST(run, with_the_largest_number_of_ps) {
  const int sum = weft::run(weft_test::on(1024), [] {
    auto c = make_chan<int>(10);
    for (int i = 0; i < 3'000; ++i) go([c] { c.send(1); });
    int n = 0;
    for (int i = 0; i < 3'000; ++i) n += c.recv().value();
    return n;
  });
  EXPECT_EQ(sum, 3'000);
}

TEST(run, yield_on_an_ordinary_thread_is_harmless) {
  for (int i = 0; i < 10; ++i) yield();
}

TEST(run, work_that_an_ordinary_thread_brings_later_is_not_a_deadlock) {
  auto c = make_chan<int>();
  // When all are asleep, and for so long that the run would be found dead, if it were.
  const auto later_still = [c](std::chrono::milliseconds time) {
    weft_test::await_waiters(c, 1);
    std::this_thread::sleep_for(time);
  };
  std::thread later([c, later_still] {
    later_still(std::chrono::milliseconds(50));
    for (int i = 0; i < 3; ++i) {
      c.send(i);
      later_still(std::chrono::milliseconds(5));
    }
    c.close();
  });
  const int sum = weft::run({.procs = 2}, [c] {
    int n = 0;
    for (int v : c) n += v;
    return n;
  });
  later.join();
  EXPECT_EQ(sum, 3);
}

}  // namespace
}  // namespace weft
