// SPDX-License-Identifier: MIT
//
// after, timer, ticker, recv_for, send_for. Never early is checked; late only against weft_test::patience.
#include "runtime/chan/timer_chan.h"

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

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

WEFT_ON_PROCS(timer_chan);

TEST_P(timer_chan, after_gives_one_value_and_never_early) {
  run([] {
    for (auto d : {0ms, 1ms, 5ms, -1ms}) {
      auto start = clock::now();
      auto c = after(d);
      auto v = c.recv();
      ASSERT_TRUE(v.has_value());
      EXPECT_GE(*v, start + d);
      EXPECT_GE(clock::now(), *v);
      EXPECT_TRUE(c.try_recv().is_empty());
    }
  });
}

TEST_P(timer_chan, a_pending_timer_does_not_hold_up_run) {
  auto start = clock::now();
  recv_chan<steady_time> kept;
  std::optional<timer> outlives;
  std::optional<ticker> ticks;
  run([&] {
    kept = after(1h);
    outlives.emplace(1h);
    ticks.emplace(1h);
    (void)after(1h);
  });
  EXPECT_LT(clock::now() - start, weft_test::patience);
  EXPECT_TRUE(kept.try_recv().is_empty());
  EXPECT_FALSE(outlives->stop());
}

TEST_P(timer_chan, a_stopped_timer_does_not_fire) {
  run([] {
    timer t(1h);
    EXPECT_TRUE(t.stop());
    EXPECT_FALSE(t.stop());
    timer u(1ms);
    auto c = u.chan();
    c.recv();
    EXPECT_FALSE(u.stop());
  });
}

TEST_P(timer_chan, stop_takes_back_a_value_that_nobody_received) {
  run([] {
    timer t(0ms);
    ASSERT_TRUE(weft_test::eventually([&] { return t.chan().len() == 1; }));
    EXPECT_TRUE(t.stop());
    EXPECT_TRUE(t.chan().try_recv().is_empty());
    EXPECT_FALSE(t.stop());
  });
}

TEST_P(timer_chan, reset_never_lets_an_old_value_through) {
  run([] {
    timer t(0ms);
    for (int i = 0; i < 300; ++i) {
      for (int k = i % 7; k > 0; --k) yield();
      auto start = clock::now();
      t.reset(200us);
      EXPECT_GE(*t.chan().recv(), start + 200us);
    }
    t.reset(1h);
    EXPECT_TRUE(t.chan().try_recv().is_empty());
    EXPECT_TRUE(t.reset(0ms));
    EXPECT_TRUE(t.chan().recv().has_value());
    EXPECT_FALSE(t.reset(1h));
  });
}

TEST_P(timer_chan, stop_and_reset_from_many_goroutines_take_turns) {
  run([] {
    timer t(1h);
    wait_group done;
    for (int i = 0; i < 8; ++i)
      done.go([&t, i] {
        for (int r = 0; r < 300; ++r) {
          if ((r + i) % 3 == 0)
            t.stop();
          else
            t.reset(std::chrono::microseconds(r % 5));
          if (r % 4 == 0) t.chan().try_recv();
          if (r % 8 == 0) yield();
        }
      });
    done.wait();
    t.stop();
    EXPECT_TRUE(t.chan().try_recv().is_empty());
  });
}

TEST_P(timer_chan, a_ticker_ticks_until_it_is_stopped) {
  run([] {
    auto start = clock::now();
    ticker k(1ms);
    steady_time last = start;
    for (int i = 1; i <= 5; ++i) {
      auto v = k.chan().recv();
      EXPECT_GE(*v, start + i * 1ms);
      EXPECT_GT(*v, last);
      last = *v;
    }
    k.stop();
    EXPECT_TRUE(k.chan().recv_for(5ms).is_empty());
    k.reset(1ms);
    EXPECT_TRUE(k.chan().recv().has_value());
  });
}

TEST_P(timer_chan, a_ticker_keeps_one_tick_for_a_slow_receiver) {
  run([] {
    ticker k(1ms);
    sleep_for(20ms);
    EXPECT_LE(k.chan().len(), 1U);
    EXPECT_TRUE(k.chan().recv().has_value());
    k.stop();
  });
}

TEST_P(timer_chan, a_ticker_refuses_a_period_that_is_not_positive) {
  run([] {
    EXPECT_THROW(ticker(0ms), std::invalid_argument);
    EXPECT_THROW(ticker(-1s), std::invalid_argument);
    ticker k(1h);
    EXPECT_THROW(k.reset(0ms), std::invalid_argument);
  });
}

TEST_P(timer_chan, an_ordinary_thread_cannot_make_one_but_may_stop_it) {
  EXPECT_THROW(after(1s), std::logic_error);
  EXPECT_THROW(timer(1s), std::logic_error);
  run([] {
    timer t(1h);
    bool was = false;
    std::thread([&] { was = t.stop(); }).join();
    EXPECT_TRUE(was);
  });
}

// As a stopped one: silent; and it starts again in another run.
TEST_P(timer_chan, a_timer_and_a_ticker_may_outlive_their_run) {
  std::optional<timer> t;
  std::optional<ticker> k;
  std::optional<timer> fired;
  run([&] {
    t.emplace(1h);
    k.emplace(1h);
    fired.emplace(1ns);
    while (fired->chan().len() == 0) yield();
  });
  EXPECT_FALSE(t->stop());
  EXPECT_TRUE(fired->stop());  // its value was still there
  EXPECT_FALSE(fired->stop());
  EXPECT_TRUE(t->chan().try_recv().is_empty());
  EXPECT_THROW(t->reset(1ms), std::logic_error);
  run([&] {
    EXPECT_FALSE(t->reset(1ms));
    EXPECT_TRUE(t->chan().recv().has_value());
    k->reset(1ms);
    EXPECT_TRUE(k->chan().recv().has_value());
    EXPECT_TRUE(k->chan().recv().has_value());
  });
  k->stop();
}

// Ordinary threads stop timers, and destroy them, at the very moment in which the run of these ends.
TEST_P(timer_chan, threads_stop_timers_while_their_run_ends) {
  for (int round = weft_test::scaled(60); round > 0; --round) {
    constexpr std::size_t each = 40;
    std::vector<std::optional<timer>> timers(2 * each);
    std::atomic<bool> made{false};
    const auto stop = [&](std::size_t from) {
      while (!made) std::this_thread::yield();
      for (std::size_t i = from; i < from + each; ++i) {
        timers[i]->stop();
        if (i % 2 == 0) timers[i].reset();
      }
    };
    std::thread a(stop, 0);
    std::thread b(stop, each);
    run([&] {
      for (auto& t : timers) t.emplace(1h);
      made = true;
    });
    a.join();
    b.join();
  }
}

TEST_P(timer_chan, a_timer_moves_and_its_channel_falls_silent_with_it) {
  run([] {
    recv_chan<steady_time> c;
    {
      timer t(1ms);
      timer u(std::move(t));
      c = u.chan();
      EXPECT_TRUE(c.recv().has_value());
      u.reset(1ms);
    }
    EXPECT_TRUE(c.recv_for(5ms).is_empty());
  });
}

TEST_P(timer_chan, dropped_channels_of_after_take_their_timers_along) {
  run([] {
    auto busy = make_chan<int>(1);
    for (int i = 0; i < 20'000; ++i) {
      busy.send(i);
      select(on_recv(busy), on_recv(after(1h)));
    }
    for (int i = 0; i < 2'000; ++i) (void)after(std::chrono::microseconds(i % 50));
  });
}

TEST_P(timer_chan, many_timers_fire_while_goroutines_wait_in_lists) {
  run([] {
    auto start = make_chan<int>();
    wait_group done;
    for (int i = 0; i < 200; ++i)
      done.go([&, i] {
        for (int r = 0; r < 20; ++r) {
          auto c = after(std::chrono::microseconds((i * 7 + r * 13) % 300));
          if (i % 2)
            EXPECT_TRUE(c.recv().has_value());
          else
            select(on_recv(start), on_recv(c));
        }
      });
    done.wait();
  });
}

TEST_P(timer_chan, recv_for_gives_a_value_or_nothing_or_closed) {
  run([] {
    auto c = make_chan<int>();
    auto begin = clock::now();
    EXPECT_TRUE(c.recv_for(2ms).is_empty());
    EXPECT_GE(clock::now(), begin + 2ms);
    EXPECT_TRUE(c.recv_for(-1ms).is_empty());
    EXPECT_TRUE(chan<int>().recv_for(1ms).is_empty());
    EXPECT_TRUE(c.recv_until(clock::now() + 1ms).is_empty());
    EXPECT_TRUE(c.recv_until(std::chrono::system_clock::now() + 1ms).is_empty());
    go([c] { c.send(7); });
    EXPECT_EQ(c.recv_for(1h).value(), 7);
    go([c] { c.close(); });
    EXPECT_TRUE(c.recv_for(1h).is_closed());
  });
}

TEST_P(timer_chan, send_for_sends_or_leaves_the_value) {
  run([] {
    auto c = make_chan<std::unique_ptr<int>>();
    auto v = std::make_unique<int>(5);
    EXPECT_FALSE(c.send_for(std::move(v), 2ms));
    ASSERT_TRUE(v);
    EXPECT_FALSE(c.send_until(std::move(v), clock::now() + 1ms));
    ASSERT_TRUE(v);
    go([c] { EXPECT_EQ(**c.recv(), 5); });
    EXPECT_TRUE(c.send_for(std::move(v), 1h));
    c.close();
    v = std::make_unique<int>(6);
    EXPECT_THROW(c.send_for(std::move(v), 1h), closed_channel);
    EXPECT_TRUE(v);
  });
}

TEST_P(timer_chan, recv_for_works_on_an_ordinary_thread) {
  auto c = make_chan<int>(1);
  EXPECT_TRUE(c.recv_for(2ms).is_empty());
  EXPECT_TRUE(c.send_for(1, 1ms));
  EXPECT_FALSE(c.send_for(2, 1ms));
  EXPECT_EQ(*c.recv_for(1s), 1);
}

}  // namespace
}  // namespace weft
