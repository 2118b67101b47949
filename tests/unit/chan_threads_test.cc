// SPDX-License-Identifier: MIT
//
// Channels between ordinary threads, threads and goroutines, and two runtimes.
#include "runtime/chan/chan.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "tests/support/channels.h"
#include "tests/support/world.h"

namespace weft {
namespace {

using weft_test::await_waiters;
using weft_test::capacities;

WEFT_ON_PROCS(chan_semantics);

TEST(chan, works_on_ordinary_threads_alone) {
  for (const std::size_t capacity : capacities) {
    auto c = make_chan<int>(capacity);
    const int n = weft_test::scaled(2'000);
    std::thread sender([c, n] {
      for (int i = 0; i < n; ++i) c.send(i);
      c.close();
    });
    int expected = 0;
    for (int v : c) ASSERT_EQ(v, expected++);
    EXPECT_EQ(expected, n);
    sender.join();
    EXPECT_THROW(c.send(1), closed_channel);
  }
}

TEST(chan, many_ordinary_threads_wait_in_line_and_close_sends_them_home) {
  for (const std::size_t capacity : capacities) {
    auto c = make_chan<int>(capacity);
    std::vector<std::thread> all;
    std::array<int, 6> got{};
    for (int i = 0; i < 6; ++i) {
      all.emplace_back([c, &got, i] { got[static_cast<std::size_t>(i)] = c.recv().value_or(-1); });
      await_waiters(c, i + 1);
    }
    for (int i = 0; i < 4; ++i) c.send(i);
    c.close();
    for (auto& t : all) t.join();
    for (int i = 0; i < 6; ++i) EXPECT_EQ(got[static_cast<std::size_t>(i)], i < 4 ? i : -1) << capacity;
  }
}

TEST_P(chan_semantics, ordinary_threads_send_to_goroutines) {
  for (const std::size_t capacity : capacities) {
    auto c = make_chan<int>(capacity);
    const int n = weft_test::scaled(1'000);
    std::vector<std::thread> senders;
    for (int t = 0; t < 3; ++t)
      senders.emplace_back([c, n] {
        for (int i = 0; i < n; ++i) c.send(i);
      });
    const long long sum = run([c, n] {
      std::atomic<long long> total{0};
      wait_group all;
      for (int g = 0; g < 3; ++g)
        all.go([c, n, &total] {
          for (int i = 0; i < n; ++i) total += c.recv().value();
        });
      all.wait();
      return total.load();
    });
    for (auto& t : senders) t.join();
    EXPECT_EQ(sum, 3LL * n * (n - 1) / 2);
  }
}

TEST_P(chan_semantics, goroutines_send_to_ordinary_threads) {
  for (const std::size_t capacity : capacities) {
    auto c = make_chan<int>(capacity);
    const int n = weft_test::scaled(1'000);
    std::atomic<long long> sum{0};
    std::vector<std::thread> receivers;
    for (int t = 0; t < 3; ++t)
      receivers.emplace_back([c, &sum] {
        for (int v : c) sum += v;
      });
    run([c, n] {
      wait_group all;
      for (int g = 0; g < 3; ++g)
        all.go([c, n] {
          for (int i = 0; i < n; ++i) c.send(i);
        });
      all.wait();
      c.close();
    });
    for (auto& t : receivers) t.join();
    EXPECT_EQ(sum, 3LL * n * (n - 1) / 2);
  }
}

TEST_P(chan_semantics, two_runtimes_share_a_channel) {
  for (const std::size_t capacity : capacities) {
    auto there = make_chan<int>(capacity);
    auto back = make_chan<int>(capacity);
    const int n = weft_test::scaled(500);
    std::thread other([&, p = procs()] {
      weft::run(weft_test::on(p), [there, back] {
        wait_group all;
        for (int g = 0; g < 3; ++g)
          all.go([there, back] {
            for (int v : there) back.send(v + 1);
          });
        all.wait();
        back.close();
      });
    });
    run([there, back, n] {
      go([there, n] {
        for (int i = 0; i < n; ++i) there.send(i);
        there.close();
      });
      long long sum = 0;
      for (int v : back) sum += v;
      EXPECT_EQ(sum, static_cast<long long>(n) * (n + 1) / 2);
    });
    other.join();
  }
}

}  // namespace
}  // namespace weft
