// SPDX-License-Identifier: MIT
//
// Channels under many shapes of load. What each run checks: every value arrives exactly once (sums and counts), the values of
// one sender reach any one receiver in the order in which they were sent, and everybody comes home.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "tests/support/world.h"

namespace weft {
namespace {

using weft_test::announce_seed;
using weft_test::scaled;

constexpr std::size_t capacities[] = {0, 1, 2, 3, 7, 128};
constexpr int all_procs[] = {1, 2, 4, 16};

// A value says who sent it and as which, and has a body that tears when it is moved at the wrong time.
struct item {
  int sender;
  int number;
  std::unique_ptr<std::uint64_t> body;
  item(int s, int n) : sender(s), number(n), body(std::make_unique<std::uint64_t>(key(s, n))) {}
  static std::uint64_t key(int s, int n) {
    return static_cast<std::uint64_t>(s) * 1'000'003 + static_cast<std::uint64_t>(n);
  }
  bool whole() const { return body && *body == key(sender, number); }
};

struct shape {
  int senders;
  int receivers;
};

// What one receiver has seen of each sender.
class order_check {
 public:
  explicit order_check(int senders) : last_(static_cast<std::size_t>(senders), -1) {}
  void see(const item& v) {
    ASSERT_TRUE(v.whole());
    auto& last = last_[static_cast<std::size_t>(v.sender)];
    ASSERT_LT(last, v.number) << "sender " << v.sender;
    last = v.number;
    ++count_;
    sum_ += v.number;
  }
  long long count() const { return count_; }
  long long sum() const { return sum_; }

 private:
  std::vector<int> last_;
  long long count_ = 0;
  long long sum_ = 0;
};

struct tally {
  std::atomic<long long> sent{0}, sent_sum{0}, received{0}, received_sum{0};
  void check(const std::string& what) const {
    EXPECT_EQ(sent, received) << what;
    EXPECT_EQ(sent_sum, received_sum) << what;
  }
};

// Sends `count` numbers as `who`: blocking or, now and then, by a try that is repeated; with yields in between. Stops early, with
// nothing lost, when the channel is closed under it.
void send_all(const chan<item>& c, int who, int count, fast_rand r, tally& t) {
  long long sum = 0;
  int n = 0;
  try {
    for (; n < count; ++n) {
      item v(who, n);
      switch (r.below(8)) {
        case 0:
          while (!c.try_send(std::move(v))) {  // NOLINT(bugprone-use-after-move): it keeps v then
            if (r.below(4) == 0) yield();
          }
          break;
        case 1:
          yield();
          [[fallthrough]];
        default:
          c.send_from(v);
      }
      sum += n;
    }
  } catch (const closed_channel&) {
  }
  t.sent += n;
  t.sent_sum += sum;
}

// Until closed and drained.
void receive_all(const chan<item>& c, int senders, fast_rand r, tally& t) {
  order_check seen(senders);
  for (;;) {
    if (r.below(8) == 0) {
      auto v = c.try_recv();
      if (v.is_closed()) break;
      if (v) seen.see(*v);
    } else {
      auto v = c.recv();
      if (!v) break;
      seen.see(*v);
    }
    if (r.below(8) == 0) yield();
  }
  t.received += seen.count();
  t.received_sum += seen.sum();
}

// One run of one shape. close_early: somebody closes in the middle of it.
void one_round(shape sh, std::size_t capacity, int count, std::uint64_t seed, bool close_early,
               const std::string& what) {
  tally t;
  fast_rand r(seed);
  auto c = make_chan<item>(capacity);
  wait_group senders;
  wait_group receivers;
  for (int i = 0; i < sh.receivers; ++i)
    receivers.go([&, c, mine = fast_rand(r.next())] { receive_all(c, sh.senders, mine, t); });
  for (int i = 0; i < sh.senders; ++i)
    senders.go([&, c, i, mine = fast_rand(r.next())] { send_all(c, i, count, mine, t); });
  if (close_early) {
    for (auto n = r.below(30); n > 0; --n) yield();
    c.close();
  }
  senders.wait();
  if (!close_early) c.close();
  receivers.wait();
  EXPECT_EQ(c.len(), 0u) << what;
  t.check(what);
  if (!close_early) {
    EXPECT_EQ(t.sent, static_cast<long long>(sh.senders) * count) << what;
  }
}

class chan_stress : public ::testing::TestWithParam<std::tuple<int, std::size_t>> {
 protected:
  int procs() const { return std::get<0>(GetParam()); }
  std::size_t capacity() const { return std::get<1>(GetParam()); }
  void TearDown() override { leaks_.check(); }

 private:
  weft_test::leak_check leaks_;
};

INSTANTIATE_TEST_SUITE_P(shapes, chan_stress,
                         ::testing::Combine(::testing::ValuesIn(all_procs), ::testing::ValuesIn(capacities)),
                         [](const auto& info) {
                           return "p" + std::to_string(std::get<0>(info.param)) + "_capacity" +
                                  std::to_string(std::get<1>(info.param));
                         });

TEST_P(chan_stress, every_value_arrives_once_and_in_its_senders_order) {
  announce_seed();
  constexpr shape shapes[] = {{1, 1}, {1, 4}, {4, 1}, {2, 2}, {4, 4}, {16, 16}, {3, 50}, {50, 3}, {100, 100}};
  const int rounds = scaled(12);
  for (int i = 0; i < rounds; ++i) {
    const std::uint64_t seed = weft_test::seed() + static_cast<std::uint64_t>(i);
    weft::run(weft_test::on(procs()), [&] {
      for (const shape sh : shapes)
        one_round(
            sh, capacity(), std::max(1, 1'600 / std::max(sh.senders, sh.receivers)), seed, false,
            "round " + std::to_string(i) + ", " + std::to_string(sh.senders) + " to " + std::to_string(sh.receivers));
    });
    if (HasFatalFailure() || HasNonfatalFailure()) return;
  }
}

TEST_P(chan_stress, thousands_of_seeds) {
  announce_seed();
  const int rounds = scaled(400);
  weft::run(weft_test::on(procs()), [&] {
    fast_rand r(weft_test::seed());
    for (int i = 0; i < rounds; ++i) {
      const shape sh{1 + static_cast<int>(r.below(6)), 1 + static_cast<int>(r.below(6))};
      const auto seed = r.next();
      one_round(sh, capacity(), static_cast<int>(r.below(40)), seed, i % 2 == 0, "round " + std::to_string(i));
      if (HasNonfatalFailure()) return;
    }
  });
}

TEST_P(chan_stress, closed_at_a_random_moment) {
  announce_seed();
  const int rounds = scaled(150);
  fast_rand r(weft_test::seed());
  for (int i = 0; i < rounds; ++i) {
    weft::run(weft_test::on(procs()), [&] {
      // All of them wait: close meets a long list, and helpers.
      const int n = 1 + static_cast<int>(r.below(60));
      const bool sending = r.below(2) == 0;
      auto c = make_chan<std::unique_ptr<int>>(capacity());
      std::atomic<int> home{0};
      if (sending) {
        for (std::size_t k = 0; k < capacity(); ++k) c.send(std::make_unique<int>(-1));
      }
      for (int g = 0; g < n; ++g)
        go([&home, c, g, sending] {
          if (sending) {
            auto v = std::make_unique<int>(g);
            try {
              c.send_from(v);
              EXPECT_EQ(v, nullptr);
            } catch (const closed_channel&) {
              EXPECT_TRUE(v && *v == g);
            }
          } else if (auto v = c.recv()) {
            EXPECT_NE(*v, nullptr);
          }
          ++home;
        });
      for (auto k = r.below(2 * static_cast<std::uint32_t>(n)); k > 0; --k) yield();
      // Some are served, by try operations that meet the close.
      wait_group others;
      for (int k = 0; k < 3; ++k)
        others.go([c, sending] {
          try {
            for (int m = 0; m < 5; ++m) {
              if (sending)
                (void)c.try_recv();
              else
                (void)c.try_send(std::make_unique<int>(7));
              yield();
            }
          } catch (const closed_channel&) {
          }
        });
      c.close();
      others.wait();
      while (c.recv()) {
      }
      EXPECT_TRUE(weft_test::eventually([&] { return home == n; }));
    });
    if (HasNonfatalFailure()) return;
  }
}

TEST_P(chan_stress, two_close_at_once_and_one_of_them_is_told) {
  announce_seed();
  for (int i = 0; i < scaled(300); ++i) {
    weft::run(weft_test::on(procs()), [&] {
      auto c = make_chan<int>(capacity());
      const int n = 1 + i % 5;
      for (int g = 0; g < n; ++g) go([c] { EXPECT_EQ(c.recv(), std::nullopt); });
      for (int g = 0; g < i % 7; ++g) yield();
      std::atomic<int> closed{0};
      std::atomic<int> refused{0};
      wait_group w;
      for (int g = 0; g < 3; ++g)
        w.go([&, c] {
          try {
            c.close();
            ++closed;
          } catch (const closed_channel&) {
            ++refused;
          }
        });
      w.wait();
      EXPECT_EQ(closed, 1);
      EXPECT_EQ(refused, 2);
    });
  }
}

TEST_P(chan_stress, ordinary_threads_and_goroutines_of_two_runtimes_on_one_channel) {
  announce_seed();
  const int count = scaled(400);
  fast_rand r(weft_test::seed());
  auto c = make_chan<item>(capacity());
  tally t;
  constexpr int groups = 2;  // of three senders each, per kind
  std::atomic<int> senders_left{3 * groups + 2};
  const auto sender = [&](int who, fast_rand mine) {
    send_all(c, who, count, mine, t);
    if (--senders_left == 0) c.close();
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < groups; ++i) {
    threads.emplace_back([&, i, mine = fast_rand(r.next())]() mutable {
      weft::run(weft_test::on(procs()), [&] {
        wait_group w;
        for (int g = 0; g < 3; ++g) {
          w.go([&, g, m = fast_rand(mine.next())] { sender(3 * i + g, m); });
          w.go([&, m = fast_rand(mine.next())] { receive_all(c, 3 * groups + 2, m, t); });
        }
        w.wait();
      });
    });
  }
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&, i, mine = fast_rand(r.next())] { sender(3 * groups + i, mine); });
    threads.emplace_back([&, mine = fast_rand(r.next())] { receive_all(c, 3 * groups + 2, mine, t); });
  }
  for (auto& th : threads) th.join();
  t.check("two runtimes");
  EXPECT_EQ(t.sent, static_cast<long long>(count) * (3 * groups + 2));
}

TEST_P(chan_stress, channels_are_born_and_die_while_others_are_in_use) {
  // Nodes of one channel's list of waiters are soon another's: what reclamation must get right.
  announce_seed();
  weft::run(weft_test::on(procs()), [&] {
    wait_group all;
    fast_rand r(weft_test::seed());
    for (int g = 0; g < 8; ++g)
      all.go([this, mine = fast_rand(r.next())]() mutable {
        for (int i = 0; i < scaled(150); ++i) {
          auto c = make_chan<std::string>(capacity());
          const int n = 2 + static_cast<int>(mine.below(12));
          wait_group w;
          for (int k = 0; k < n; ++k)
            w.go([c, k] { c.send("a string too long for the small ones, number " + std::to_string(k)); });
          for (int k = 0; k < n; ++k) {
            if (mine.below(4) == 0) yield();
            EXPECT_TRUE(c.recv().has_value());
          }
          w.wait();
        }
      });
    all.wait();
  });
}

// Ping-pong ------------------------------------------------------------------------------------------------------------------

// Two goroutines on two Ps, two channels, n round trips.
void ping_pong(int procs, std::size_t capacity, int n) {
  weft::run(weft_test::on(procs), [&] {
    auto ping = make_chan<int>(capacity);
    auto pong = make_chan<int>(capacity);
    wait_group w;
    w.add(2);
    go({.name = "pong", .home = 0}, [&] {
      for (int i = 0; i < n; ++i) {
        ASSERT_EQ(ping.recv(), i);
        pong.send(i);
      }
      w.done();
    });
    go({.name = "ping", .home = 1}, [&] {
      for (int i = 0; i < n; ++i) {
        ping.send(i);
        ASSERT_EQ(pong.recv(), i);
      }
      w.done();
    });
    w.wait();
  });
}

// A peer library hangs after some hundred thousand of these: a wakeup lost between the two Ps. The soak runs millions.
TEST(chan_ping_pong, capacity_one_across_two_ps) { ping_pong(2, 1, scaled(100'000)); }
TEST(chan_ping_pong, unbuffered_across_two_ps) { ping_pong(2, 0, scaled(100'000)); }
TEST(chan_ping_pong, capacity_one_across_two_of_sixteen_ps) { ping_pong(16, 1, scaled(50'000)); }
TEST(chan_ping_pong, unbuffered_on_one_p) { ping_pong(1, 0, scaled(1'000'000)); }
TEST(chan_ping_pong, capacity_one_on_one_p) { ping_pong(1, 1, scaled(1'000'000)); }

TEST(chan_ping_pong, between_two_ordinary_threads) {
  for (const std::size_t capacity : {0u, 1u}) {
    auto ping = make_chan<int>(capacity);
    auto pong = make_chan<int>(capacity);
    const int n = scaled(10'000);
    std::thread other([&] {
      for (int v : ping) pong.send(v);
    });
    for (int i = 0; i < n; ++i) {
      ping.send(i);
      ASSERT_EQ(pong.recv(), i);
    }
    ping.close();
    other.join();
  }
}

}  // namespace
}  // namespace weft
