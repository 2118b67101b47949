// SPDX-License-Identifier: MIT
#include "runtime/sync/wait_group.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tests/support/world.h"

namespace weft {
namespace {

using weft_test::scaled;

WEFT_ON_PROCS(wait_groups);

TEST_P(wait_groups, wait_returns_when_all_is_done) {
  run([] {
    for (int round = 0; round < 100; ++round) {
      wait_group w;
      int n = 0;  // plain: done() happens before wait() returns
      std::vector<int> done(20);
      for (std::size_t i = 0; i < done.size(); ++i) {
        w.add();
        go([&, i] {
          yield();
          done[i] = 1;
          w.done();
        });
      }
      w.wait();
      for (const int d : done) n += d;
      EXPECT_EQ(n, 20);
    }
  });
}

TEST_P(wait_groups, wait_on_none_returns_at_once) {
  run([] {
    wait_group w;
    w.wait();
    w.add(3);
    w.add(-3);
    w.wait();
    w.add(0);
    w.wait();
  });
}

TEST_P(wait_groups, many_wait_for_one) {
  run([] {
    for (int round = 0; round < 50; ++round) {
      wait_group w;
      w.add();
      std::atomic<int> home{0};
      wait_group waiters;
      for (int i = 0; i < 20; ++i)
        waiters.go([&] {
          w.wait();
          ++home;
        });
      for (int i = 0; i < round % 5; ++i) yield();
      EXPECT_EQ(home, 0);
      w.done();
      waiters.wait();
      EXPECT_EQ(home, 20);
    }
  });
}

TEST_P(wait_groups, is_used_again_after_a_wait) {
  run([] {
    wait_group w;
    int sum = 0;
    for (int round = 0; round < 500; ++round) {
      w.go([&sum] { ++sum; });
      w.wait();
      ASSERT_EQ(sum, round + 1);
    }
  });
}

TEST_P(wait_groups, a_count_below_zero_throws_and_changes_nothing) {
  run([] {
    wait_group w;
    EXPECT_THROW(w.done(), std::logic_error);
    EXPECT_THROW(w.add(-5), std::logic_error);
    w.wait();
    w.add(2);
    EXPECT_THROW(w.add(-3), std::logic_error);
    w.done();
    w.done();
    w.wait();
    EXPECT_THROW(w.done(), std::logic_error);
  });
}

TEST_P(wait_groups, go_passes_arguments_and_counts) {
  run([] {
    wait_group w;
    auto out = std::make_shared<std::atomic<int>>(0);
    w.go([](const std::shared_ptr<std::atomic<int>>& o, std::unique_ptr<int> n) { *o += *n; }, out,
         std::make_unique<int>(5));
    struct adder {
      void operator()(std::atomic<int>& o) { o += 2; }  // not const
    };
    w.go(adder{}, std::ref(*out));
    w.wait();
    EXPECT_EQ(*out, 7);
  });
}

TEST_P(wait_groups, go_that_throws_leaves_the_count_as_it_was) {
  struct throws {
    throws() = default;
    throws(const throws&) { throw std::runtime_error("no copy"); }
    void operator()() const {}
  };
  run([] {
    wait_group w;
    const throws t;
    EXPECT_THROW(w.go(t), std::runtime_error);
    w.wait();
  });
}

TEST_P(wait_groups, may_be_destroyed_as_soon_as_wait_returns) {
  // The last done() must not touch it afterwards. ASan and TSan see it if it does; elsewhere the memory is scribbled over.
  run([] {
    for (int round = 0; round < scaled(20'000); ++round) {
      auto w = std::make_unique<wait_group>();
      const int n = 1 + round % 3;
      w->add(n);
      for (int i = 0; i < n; ++i) go([p = w.get()] { p->done(); });
      if (round % 2 == 0) yield();
      w->wait();
      w.reset();
      auto scribble = std::make_unique<std::uint64_t[]>(sizeof(wait_group) / 8);
      for (std::size_t i = 0; i < sizeof(wait_group) / 8; ++i) scribble[i] = 0x5a5a'5a5a'5a5a'5a5a;
      if (round % 4 == 0) yield();
      for (std::size_t i = 0; i < sizeof(wait_group) / 8; ++i) ASSERT_EQ(scribble[i], 0x5a5a'5a5a'5a5a'5a5au);
    }
  });
}

TEST_P(wait_groups, ordinary_threads_add_do_and_wait) {
  for (int round = 0; round < scaled(100); ++round) {
    wait_group w;
    w.add(2);
    std::thread waiter([&w] { w.wait(); });
    std::thread doer([&w] { w.done(); });
    run([&w] {
      go([&w] { w.done(); });
      w.wait();
    });
    doer.join();
    waiter.join();
    w.wait();
  }
}

TEST_P(wait_groups, adds_from_zero_at_once_with_dones_all_count) {
  // Several add from zero and finish while others add: the count passes through zero many times. A wait that comes after an add
  // has returned must see that add, whatever the others did meanwhile.
  run([] {
    for (int round = 0; round < scaled(20'000) && !::testing::Test::HasFailure(); ++round) {
      wait_group w;
      std::atomic<bool> late_done{false};
      wait_group other;
      other.go([&w] {  // through zero and back
        for (int i = 0; i < 4; ++i) {
          w.add();
          w.done();
        }
      });
      w.add();
      other.wait();
      go([&] {
        yield();
        late_done = true;
        w.done();
      });
      w.wait();
      EXPECT_TRUE(late_done) << "wait returned with the count at one, round " << round;
      while (!late_done) yield();
    }
  });
}

TEST(wait_group, adds_from_zero_on_threads_at_once_with_dones_all_count) {
  // The same with threads that run at the same time for sure.
  struct state {
    wait_group w;
    std::atomic<int> go{0};
    std::atomic<int> through{0};
  };
  state s;
  std::atomic<bool> stop{false};
  std::thread other([&] {
    for (int round = 1;; ++round) {
      while (s.go.load() < round)
        if (stop) return;
      s.w.add();
      s.w.done();
      s.through = round;
    }
  });
  int early = 0;
  for (int round = 1; round <= scaled(100'000); ++round) {
    s.go = round;
    s.w.add();
    while (s.through.load() < round) {
    }
    // The count is one, and it is ours.
    std::atomic<bool> waited{false};
    if (round % 64 == 0) {
      std::thread waiter([&] {
        s.w.wait();
        waited = true;
      });
      for (int i = 0; i < 20 && !waited; ++i) std::this_thread::yield();
      if (waited) ++early;
      s.w.done();
      waiter.join();
    } else {
      s.w.done();
    }
  }
  stop = true;
  other.join();
  EXPECT_EQ(early, 0);
}

}  // namespace
}  // namespace weft
