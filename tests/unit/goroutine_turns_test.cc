// SPDX-License-Identifier: MIT
//
// Whose turn it is: yield, runnext, the ring and the global queue, and that no loop of runtime calls keeps the others from theirs.
#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#include "tests/support/channels.h"
#include "tests/support/world.h"

namespace weft {
namespace {

using weft_test::await_waiters;
using weft_test::eventually;

WEFT_ON_PROCS(goroutine);

TEST_P(goroutine, yield_takes_turns) {
  // Bound to one P, so that they must.
  run([] {
    constexpr int n = 5;
    constexpr int rounds = 2'000;
    std::vector<int> count(n);
    int started = 0;  // plain: all of them run on one P
    int widest = 0;
    wait_group w;
    for (int i = 0; i < n; ++i) {
      w.add();
      go({.home = 0}, [&, i] {
        const auto me = static_cast<std::size_t>(i);
        ++started;
        while (started < n) yield();
        for (int r = 0; r < rounds; ++r) {
          ++count[me];
          if (r < rounds / 2)
            for (const int c : count) widest = std::max(widest, count[me] - c);
          yield();
        }
        w.done();
      });
    }
    w.wait();
    // Strict turns would be 1. Every 61st pick serves others first, and the P may lose a turn to goroutines that are not ours;
    // a thousand would mean that one was left out.
    EXPECT_LT(widest, 100);
  });
}

// n goroutines of one P, that go on until the awaited one has had its turn: it gets that only if they give way.
class sharing_a_p {
 public:
  // All are added at once: a call for each would be paid from the slice in which they are started, and a test counts on what is left of it.
  explicit sharing_a_p(int n) { w_.add(n); }
  template <class F>
  void start(F f, const char* name = "") {
    go({.name = name, .home = 0}, [this, f]() mutable {
      f();
      w_.done();
    });
  }
  // op() over and over. The name is for the debugger of a hang: SCOPED_TRACE keeps to a thread, not to a goroutine.
  template <class Op>
  void start_loop(Op op, const char* name = "") {
    start(
        [this, op]() mutable {
          while (!over_) op();
        },
        name);
  }
  template <class F>
  void start_awaited(F f) {
    start([this, f]() mutable {
      f();
      over_ = true;
    });
  }
  bool over() const { return over_; }
  void wait() { w_.wait(); }

 private:
  std::atomic<bool> over_{false};
  wait_group w_;
};

template <class Op>
void gives_way(const char* what, Op op) {
  sharing_a_p all(2);
  all.start_loop(op, what);
  all.start_awaited([] {
    for (int i = 0; i < 3; ++i) yield();
  });
  all.wait();
}

TEST_P(goroutine, no_loop_of_cooperative_calls_starves_the_others) {
  run([] {
    gives_way("yield", [] { yield(); });
    auto one = make_chan<int>(1);
    gives_way("buffered send and receive", [one] {
      one.send(1);
      (void)one.recv();
    });
    auto full = make_chan<int>(1);
    full.send(1);
    gives_way("try_send on a full channel", [full] { EXPECT_FALSE(full.try_send(1)); });
    auto empty = make_chan<int>(1);
    gives_way("try_recv on an empty channel", [empty] { EXPECT_TRUE(empty.try_recv().is_empty()); });
    auto nobody = make_chan<int>();
    gives_way("try_send with no receiver", [nobody] { EXPECT_FALSE(nobody.try_send(1)); });
    gives_way("try_recv with no sender", [nobody] { EXPECT_TRUE(nobody.try_recv().is_empty()); });
    gives_way("try_send and try_recv that succeed", [one] {
      EXPECT_TRUE(one.try_send(1));
      EXPECT_TRUE(one.try_recv());
    });
    chan<int> nil;
    gives_way("try_recv on nil", [nil] { EXPECT_TRUE(nil.try_recv().is_empty()); });
    gives_way("try_send on nil", [nil] { EXPECT_FALSE(nil.try_send(1)); });
    auto closed = make_chan<int>();
    closed.close();
    gives_way("recv on a closed channel", [closed] { EXPECT_EQ(closed.recv(), std::nullopt); });
    gives_way("try_recv on a closed channel", [closed] { EXPECT_TRUE(closed.try_recv().is_closed()); });
    gives_way("send on a closed channel", [closed] { EXPECT_THROW(closed.send(1), closed_channel); });
    gives_way("make and close", [] { make_chan<int>().close(); });
    wait_group idle;
    gives_way("wait_group", [&idle] {
      idle.add();
      idle.done();
      idle.wait();
    });
    gives_way("wait on a finished wait_group", [&idle] { idle.wait(); });
    gives_way("go", [] { go({.home = 0}, [] {}); });
    gives_way("procs", [] { EXPECT_GT(weft::procs(), 0); });
    gives_way("set_procs that only asks", [] { EXPECT_GT(set_procs(0), 0); });
  });
}

TEST_P(goroutine, a_pair_that_readies_each_other_does_not_starve_the_rest) {
  run([] {
    auto ping = make_chan<int>();
    auto pong = make_chan<int>();
    sharing_a_p all(3);
    all.start([&all, ping, pong] {
      while (!all.over()) {
        ping.send(1);
        (void)pong.recv();
      }
      ping.close();
    });
    all.start([ping, pong] {
      for ([[maybe_unused]] int v : ping) pong.send(1);
    });
    all.start_awaited([] {
      for (int i = 0; i < 100; ++i) yield();
    });
    all.wait();
  });
}

TEST_P(goroutine, the_global_queue_is_served_while_the_ring_is_busy) {
  // More goroutines than a ring holds go to the global queue; those that yield all the time fill the ring.
  run([] {
    std::atomic<bool> stop{false};
    std::atomic<int> started{0};
    wait_group w;
    const int n = 400;  // 256 fit
    for (int i = 0; i < n; ++i)
      w.go([&] {
        ++started;
        while (!stop) yield();
      });
    EXPECT_TRUE(eventually([&] { return started == n; }));
    stop = true;
    w.wait();
  });
}

// A call and ten yields a round, over and over, which meets the end of the budget in the call each time, if it does once: two rounds of 40 after the
// yield in it, and four of 41, make 244, the budget. The look that goes with the end must not be skipped: a sleeper's turn comes by it. (It was:
// the call filled the budget up and then yielded.) One of the 41 phases is it.
TEST_P(goroutine, a_timer_fires_beside_goroutines_that_call_and_yield_in_step) {
  run([] {
    for (int phase = 0; phase < 41; ++phase) {
      sharing_a_p all(11);
      all.start_awaited([] { sleep_for(std::chrono::microseconds(100)); });
      for (int i = 0; i < 9; ++i) all.start_loop([] { yield(); });
      all.start([&all, phase] {
        for (int k = 0; k < phase; ++k) (void)weft::procs();
        while (!all.over()) {
          (void)weft::procs();
          yield();
        }
      });
      all.wait();
    }
  });
}

// Nobody else is there: the calls themselves must look after the timers, with one P as with several.
TEST_P(goroutine, a_timer_fires_beside_one_that_only_calls) {
  run([] {
    sharing_a_p all(2);
    all.start_awaited([] { sleep_for(std::chrono::milliseconds(1)); });
    all.start_loop([c = make_chan<int>(1)] {
      c.send(1);
      (void)c.recv();
    });
    all.wait();
  });
}

TEST_P(goroutine, a_runnext_behind_a_goroutine_that_computes_runs_on_another_p) {
  run([p = procs()] {
    if (p == 1) return;  // there is no other
    std::atomic<bool> ran{false};
    go([&] { ran = true; });
    const auto end = std::chrono::steady_clock::now() + weft_test::patience;
    while (!ran && std::chrono::steady_clock::now() < end) {  // computes: no call of the runtime
    }
    EXPECT_TRUE(ran);
    // The same for one that a channel operation readied, again and again.
    auto c = make_chan<int>();
    std::atomic<int> got{0};
    wait_group w;
    w.go([&got, c] {
      for ([[maybe_unused]] int v : c) ++got;
    });
    for (int i = 1; i <= 20 && !::testing::Test::HasFailure(); ++i) {
      c.send(i);
      while (got < i && std::chrono::steady_clock::now() < end) {
      }
      EXPECT_EQ(got, i);
    }
    c.close();
    w.wait();
  });
}

// Two are readied by one that computes: the first of them lies in the ring then, where nobody was woken for it. And one lies there while
// the other computes.
TEST_P(goroutine, two_readied_by_a_goroutine_that_computes_both_run_on_another_p) {
  run([p = procs()] {
    if (p == 1) return;  // there is no other
    const auto end = std::chrono::steady_clock::now() + weft_test::patience;
    auto a = make_chan<int>();
    auto b = make_chan<int>();
    std::atomic<int> got{0};
    wait_group w;
    for (const auto& c : {a, b})
      w.go([&got, c] {
        for ([[maybe_unused]] int v : c) ++got;
      });
    for (int i = 1; i <= 20 && !::testing::Test::HasFailure(); ++i) {
      a.send(i);
      b.send(i);
      while (got < 2 * i && std::chrono::steady_clock::now() < end) {  // computes: no call of the runtime
      }
      EXPECT_EQ(got, 2 * i);
    }
    a.close();
    b.close();
    w.wait();

    std::atomic<bool> ran{false};
    auto c = make_chan<int>();
    auto d = make_chan<int>();
    w.go([&ran, c] {
      (void)c.recv();
      ran = true;
    });
    w.go([&ran, d, end] {
      (void)d.recv();
      while (!ran && std::chrono::steady_clock::now() < end) {
      }
      EXPECT_TRUE(ran);
    });
    await_waiters(c, 1);
    await_waiters(d, 1);
    c.send(1);
    d.send(1);
    w.wait();
  });
}

}  // namespace
}  // namespace weft
