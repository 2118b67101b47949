// SPDX-License-Identifier: MIT
//
// In which order started goroutines run for the first time (sched/deque.h): a tree in depth, a storm in gulps, nobody never.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <vector>

#include "runtime/os/limits.h"
#include "runtime/sched/deque.h"
#include "runtime/sched/park.h"
#include "tests/support/emulated.h"
#include "tests/support/world.h"

namespace weft {
namespace {

using weft_test::eventually;
using weft_test::patience;

WEFT_ON_PROCS(start);

// A goroutine costs the sanitizers hundreds of times as much, a fiber of theirs.
constexpr bool dear = WEFT_TSAN || WEFT_ASAN;

// How many are alive at once is bounded by what a machine starts in a limits::deque_patience_ns: not asked where that is next to nothing.
bool bounds_hold() { return !dear && weft_test::emulator() == nullptr; }

// A count that knows the most it has been.
class high_water {
 public:
  void up() {
    const long now = ++count_;
    for (long seen = most_; now > seen && !most_.compare_exchange_weak(seen, now);) {
    }
  }
  void down() { --count_; }
  long now() const { return count_; }
  long most() const { return most_; }

 private:
  std::atomic<long> count_{0};
  std::atomic<long> most_{0};
};

struct tree {
  explicit tree(int b) : branches(b) {}
  high_water alive;
  std::atomic<long> leaves{0};
  int branches;

  void grow(int depth) {
    if (depth == 0) {
      ++leaves;
      return;
    }
    wait_group w;
    for (int i = 0; i < branches; ++i) {
      alive.up();
      w.go([this, depth] {
        grow(depth - 1);
        alive.down();
      });
    }
    w.wait();
  }
};

long power(int base, int exponent) { return exponent == 0 ? 1 : base * power(base, exponent - 1); }

// In breadth all of a tree's leaves are alive at once; in depth, of each generation the children of one. (Every
// limits::deque_patience_ns one more branch is begun beside the others, so that a slow machine has some more.)
TEST_P(start, a_tree_is_walked_in_depth) {
  for (const auto& [branches, depth] : {std::pair{2, dear ? 8 : 16}, std::pair{10, dear ? 2 : 5}}) {
    tree t(branches);
    run([&, d = depth] { t.grow(d); });
    const long leaves = power(branches, depth);
    EXPECT_EQ(t.leaves, leaves);
    EXPECT_EQ(t.alive.now(), 0);
    if (procs() == 1 && bounds_hold()) {
      EXPECT_LT(t.alive.most(), leaves / 10);
    }
  }
}

TEST_P(start, who_starts_a_storm_gives_way_to_it) {
  constexpr int n = dear ? 500 : 10'000;
  high_water unstarted;
  std::atomic<int> ran{0};
  run([&] {
    for (int i = 0; i < n; ++i) {
      unstarted.up();
      go([&] {
        unstarted.down();
        ++ran;
      });
    }
  });
  EXPECT_EQ(ran, n);
  EXPECT_EQ(unstarted.now(), 0);
  if (procs() == 1) {
    EXPECT_LE(unstarted.most(), 2 * long{limits::spawn_storm});
  }
}

// Two storms, each of which finds the other's in the deque; and what is started stays, each waiting for all of the others.
TEST_P(start, two_storms_give_way_to_each_other) {
  constexpr int n = dear ? 300 : 5'000;
  high_water unstarted;
  std::atomic<int> ran{0};
  latch all_ran(2 * n);
  run([&] {
    wait_group w;
    for (int k = 0; k < 2; ++k)
      w.go([&] {
        for (int i = 0; i < n; ++i) {
          unstarted.up();
          go([&] {
            unstarted.down();
            ++ran;
            all_ran.arrive_and_wait();
          });
        }
      });
    w.wait();
  });
  EXPECT_EQ(ran, 2 * n);
  if (procs() == 1) {
    EXPECT_LE(unstarted.most(), 4 * long{limits::spawn_storm});
  }
}

// A crowd of goroutines that only count themselves is started beside some that take turns for ever: until all of the crowd have run, or too
// many turns have gone by without them.
constexpr int crowd = 100;

class starved {
 public:
  std::atomic<bool> stop{false};
  std::atomic<long> turns{0};
  wait_group w;

  void start_crowd() {
    for (int i = 0; i < crowd; ++i)
      w.go([this] {
        if (++ran_ == crowd) stop = true;
      });
  }
  // One of those that would starve the crowd has had its turn; too many of them, and the test is over.
  bool again() {
    if (++turns >= most) stop = true;
    return !stop;
  }
  void expect_all_ran() const {
    EXPECT_EQ(ran_, crowd);
    EXPECT_LT(turns, most) << "others had all these turns, and of the started ones some none";
  }
  // A round for each, and some: far less than time would give them (limits::deque_patience_ns).
  static constexpr long most = 10L * crowd * limits::globq_poll;

 private:
  std::atomic<int> ran_{0};
};

void ping_pong(starved& s) {
  auto ping = make_chan<int>();
  auto pong = make_chan<int>();
  s.w.go([&s, ping, pong] {
    while (s.again()) {
      ping.send(1);
      (void)pong.recv();
    }
    ping.close();
  });
  s.w.go([ping, pong] {
    for ([[maybe_unused]] int v : ping) pong.send(1);
  });
}

// p = 1, where nobody else comes for them.
TEST(start_at_one_p, a_pair_that_readies_each_other_does_not_starve_the_started) {
  run(weft_test::on(1), [] {
    starved s;
    ping_pong(s);
    yield();
    s.start_crowd();
    s.w.wait();
    s.expect_all_ran();
  });
}

TEST(start_at_one_p, a_pair_and_one_that_yields_do_not_starve_the_started) {
  run(weft_test::on(1), [] {
    starved s;
    ping_pong(s);
    s.w.go([&s] {
      while (s.again()) yield();
    });
    yield();
    s.start_crowd();
    s.w.wait();
    s.expect_all_ran();
  });
}

// Whatever else they call: their calls come out of the same budget, and must not beat with the scheduler's turns.
TEST(start_at_one_p, those_that_yield_do_not_starve_the_started) {
  for (int calls = 0; calls <= 8; ++calls)
    for (const int how_many : {1, 2, 3})
      run(weft_test::on(1), [calls, how_many] {
        starved s;
        for (int k = 0; k < how_many; ++k)
          s.w.go([&s, calls] {
            auto c = make_chan<int>(1);
            while (s.again()) {
              for (int i = 0; i < calls; ++i) (void)c.try_recv();
              yield();
            }
          });
        yield();
        s.start_crowd();
        s.w.wait();
        s.expect_all_ran();
      });
}

// And the started, however many come, do not starve those that were readied: a goroutine that yields has its turns beside a
// tree, and beside a storm.
TEST(start_at_one_p, the_started_do_not_starve_who_yields) {
  run(weft_test::on(1), [] {
    std::atomic<bool> stop{false};
    std::atomic<int> turns{0};
    wait_group w;
    w.go([&] {
      for (; turns < 50; ++turns) yield();
      stop = true;
    });
    long started = 0;
    for (; !stop && started < 1'000'000; ++started) go([] {});
    EXPECT_TRUE(stop) << turns << " turns beside " << started << " goroutines";
    w.wait();
  });
  run(weft_test::on(1), [] {
    std::atomic<bool> stop{false};
    std::atomic<int> turns{0};
    wait_group w;
    w.go([&] {
      for (; turns < 50; ++turns) yield();
      stop = true;
    });
    yield();
    tree t(2);
    t.grow(dear ? 8 : 12);
    EXPECT_TRUE(stop) << turns << " turns beside a tree";
    w.wait();
  });
}

TEST(start_at_one_p, the_oldest_gets_its_turn_although_newer_ones_keep_coming) {
  // The deque has something newer until the tree's end, which is far away: a leaf takes as long as it takes time to pass.
  run(weft_test::on(1), [] {
    std::atomic<bool> ran{false};
    std::atomic<int> leaves{0};
    int before = 0;
    constexpr int all = dear ? 1 << 9 : 1 << 12;
    struct slow_tree {
      std::atomic<int>& leaves;
      void grow(int size) {
        if (size == 1) {
          const auto end =
              std::chrono::steady_clock::now() + std::chrono::nanoseconds(40 * limits::deque_patience_ns / all);
          while (std::chrono::steady_clock::now() < end) {
          }
          ++leaves;
          return;
        }
        wait_group w;
        for (int i = 0; i < 2; ++i) w.go([this, size] { grow(size / 2); });
        w.wait();
      }
    } t{leaves};
    go([&] {
      before = leaves;
      ran = true;
    });
    go([] {});  // the runnext; the one before it goes to the deque
    wait_group w;
    w.go([&] { t.grow(all); });
    w.wait();
    EXPECT_TRUE(ran);
    EXPECT_LT(before, all / 2) << "leaves of a newer tree were run first";
  });
}

// On several Ps: who computes keeps nothing of what it started to itself, but for the storm's own gulp.
TEST_P(start, what_is_started_by_who_computes_runs_elsewhere) {
  if (procs() == 1) return;  // there is no elsewhere
  for (const int n : {1, 2, 3, 10, static_cast<int>(limits::spawn_storm) - 1})
    run([n] {
      std::atomic<int> ran{0};
      for (int i = 0; i < n; ++i) go([&] { ++ran; });
      const auto end = std::chrono::steady_clock::now() + patience;
      while (ran < n && std::chrono::steady_clock::now() < end) {  // computes: no call of the runtime
      }
      EXPECT_EQ(ran, n);
    });
}

TEST_P(start, a_p_that_goes_leaves_none_behind) {
  for (int round = 0; round < weft_test::scaled(50); ++round) {
    std::atomic<int> ran{0};
    run([&, n = procs()] {
      wait_group w;
      w.add();
      // On the last P: it starts them, and retires the P under itself.
      go({.home = n - 1}, [&, n] {
        for (int i = 0; i < 100; ++i) go([&] { ++ran; });
        EXPECT_EQ(set_procs(std::max(1, n / 2)), n);
        for (int i = 0; i < 100; ++i) go([&] { ++ran; });
        set_procs(n);
        w.done();
      });
      for (int i = 0; i < 100; ++i) go([&] { ++ran; });
      w.wait();
    });
    EXPECT_EQ(ran, 300);
  }
}

TEST_P(start, a_run_ends_when_the_last_started_has_run) {
  for (int round = 0; round < weft_test::scaled(50); ++round)
    for (const int n : {1, 2, 3, 127, 300}) {
      std::atomic<int> ran{0};
      run([&] {
        for (int i = 0; i < n; ++i) go([&] { ++ran; });
      });
      EXPECT_EQ(ran, n);
    }
}

// main sleeps for good, so to speak: those that have not run yet are the only ones that can wake it. No deadlock.
TEST_P(start, the_started_count_as_awake) {
  for (const int n : {1, 2, 3, 100})
    run([n] {
      auto c = make_chan<int>();
      for (int i = 0; i < n; ++i) go([c, i] { c.send(i); });
      long sum = 0;
      for (int i = 0; i < n; ++i) sum += c.recv().value_or(0);
      EXPECT_EQ(sum, long{n} * (n - 1) / 2);
    });
}

TEST_P(start, one_with_a_home_does_not_go_where_thieves_look) {
  run([n = procs()] {
    std::atomic<int> ran{0};
    std::atomic<int> elsewhere{0};
    constexpr int each = 20;
    wait_group w;
    w.add();
    go({.home = 0}, [&] {
      rt::P* const mine = rt::self()->p;
      for (int i = 0; i < each; ++i)
        for (int home = 0; home < n; ++home) {
          w.add();
          go({.home = home}, [&, home] {
            if (rt::self()->p->id != home) ++elsewhere;
            ++ran;
            w.done();
          });
          EXPECT_EQ(rt::self()->p, mine);
          EXPECT_EQ(rt::deque::size(mine), 0u);
        }
      w.done();
    });
    w.wait();
    EXPECT_EQ(ran, n * each);
    EXPECT_EQ(elsewhere, 0);
  });
}

}  // namespace
}  // namespace weft
