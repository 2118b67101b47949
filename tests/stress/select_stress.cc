// SPDX-License-Identifier: MIT
//
// select under many shapes of load. What each run checks: every value that was sent is received exactly once (counts, sums, and each
// body whole), nothing is said to have happened that did not, and everybody comes home: where a shape can always go on, it must.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/world.h"

namespace weft {
namespace {

using weft_test::announce_seed;
using weft_test::scaled;

// A value with a body that is lost when it is moved twice, and found when it is moved never.
using item = std::unique_ptr<std::uint64_t>;

struct tally {
  std::atomic<long long> sent{0}, received{0};
  std::atomic<std::uint64_t> sent_sum{0}, received_sum{0};
  void send(std::uint64_t v) {
    ++sent;
    sent_sum += v;
  }
  void receive(const item& v) {
    ASSERT_TRUE(v);
    ++received;
    received_sum += *v;
  }
  void check(const std::string& what) const {
    EXPECT_EQ(sent, received) << what;
    EXPECT_EQ(sent_sum, received_sum) << what;
  }
};

class select_stress : public ::testing::TestWithParam<int> {
 protected:
  int procs() const { return GetParam(); }
  void TearDown() override { leaks_.check(); }
  template <class F>
  void run(F&& f) const {
    weft::run(weft_test::on(procs()), std::forward<F>(f));
  }
  bool failed() const { return HasFatalFailure() || HasNonfatalFailure(); }

 private:
  weft_test::leak_check leaks_;
};

INSTANTIATE_TEST_SUITE_P(procs, select_stress, ::testing::Values(1, 2, 4, 16),
                         [](const auto& info) { return std::to_string(info.param); });

// Random programs -------------------------------------------------------------------------------------------------------------

// One random operation: a plain one, or a select of up to six random cases. False: it met a closed channel.
bool step(const std::vector<chan<item>>& all, fast_rand& r, tally& t) {
  const auto pick = [&]() -> const chan<item>& { return all[r.below(static_cast<std::uint32_t>(all.size()))]; };
  const std::uint64_t v = r.next() >> 8;
  switch (r.below(10)) {
    case 0: {
      pick().send(std::make_unique<std::uint64_t>(v));
      t.send(v);
      return true;
    }
    case 1: {
      auto got = pick().recv();
      if (got) t.receive(*got);
      return got.has_value();
    }
    case 2: {
      if (pick().try_send(std::make_unique<std::uint64_t>(v))) t.send(v);
      return true;
    }
    case 3: {
      auto got = pick().try_recv();
      if (got) t.receive(*got);
      return !got.is_closed();
    }
    default: {
      bool on = true;
      std::vector<select_case> list;
      const std::size_t n = 1 + r.below(6);
      for (std::size_t i = 0; i < n; ++i) {
        if (r.below(2) == 0) {
          list.emplace_back(on_send(pick(), std::make_unique<std::uint64_t>(v + i), [&t, v, i] { t.send(v + i); }));
        } else {
          list.emplace_back(
              on_recv(pick(), [&](std::optional<item> got) { got ? t.receive(*got) : void(on = false); }));
        }
      }
      if (r.below(4) == 0) {
        EXPECT_LE(select(list, otherwise()), n);
      } else {
        EXPECT_LT(select(list), n);
      }
      return on;
    }
  }
}

TEST_P(select_stress, random_programs_of_random_cases) {
  announce_seed();
  const int rounds = scaled(2'000);
  run([&] {
    fast_rand r(weft_test::seed());
    for (int i = 0; i < rounds && !failed(); ++i) {
      const auto this_one = r.next();
      fast_rand mine(this_one);
      constexpr std::size_t capacities[] = {0, 0, 0, 1, 2, 7};
      std::vector<chan<item>> all;
      for (auto k = 1 + mine.below(4); k > 0; --k) all.push_back(make_chan<item>(capacities[mine.below(6)]));
      tally t;
      std::atomic<int> done{0};
      wait_group w;
      const int n = 2 + static_cast<int>(mine.below(8));
      for (int g = 0; g < n; ++g)
        w.go([&, own = fast_rand(mine.next())]() mutable {
          try {
            while (step(all, own, t)) ++done;
          } catch (const closed_channel&) {
          }
        });
      // Such programs come to a standstill sooner or later, or run for ever: the end is a close of all.
      for (auto k = mine.below(60); k > 0; --k) yield();
      for (std::size_t k = all.size(); k > 0; --k) {
        all[k - 1].close();
        if (mine.below(2) == 0) yield();
      }
      w.wait();
      for (auto& c : all)
        while (auto left = c.recv()) t.receive(*left);
      t.check("round " + std::to_string(i));
    }
  });
}

// Shapes that can always go on ----------------------------------------------------------------------------------------------------

// `n` selects both ways on the same unbuffered channels, with plain senders and receivers among them. While two of the selects are
// left there is always somebody to meet: a standstill is a lost wakeup.
void both_ways(int channels, int n, int plain, int target, std::uint64_t seed, const std::string& what) {
  fast_rand r(seed);
  std::vector<chan<item>> all;
  for (int i = 0; i < channels; ++i) all.push_back(make_chan<item>());
  auto done = make_chan<int>();
  tally t;
  std::atomic<int> met{0};
  wait_group plains;
  wait_group selects;
  for (int g = 0; g < n; ++g)
    selects.go([&, own = fast_rand(r.next())]() mutable {
      for (bool on = true; on;) {
        const auto v = own.next() >> 8;
        const auto& a = all[own.below(static_cast<std::uint32_t>(all.size()))];
        const auto& b = own.below(4) == 0 ? all[own.below(static_cast<std::uint32_t>(all.size()))] : a;
        auto send = on_send(a, std::make_unique<std::uint64_t>(v), [&] {
          t.send(v);
          ++met;
        });
        auto recv = on_recv(b, [&](std::optional<item> got) { t.receive(*got); });
        auto stop = on_recv(done, [&](auto) { on = false; });
        std::size_t which = 0;
        switch (own.below(3)) {
          case 0:
            which = select(send, recv, stop);
            break;
          case 1:
            which = select(recv, stop, send) == 1 ? 2 : 0;
            break;
          default: {
            // Every channel, both ways.
            std::vector<select_case> list;
            for (auto& c : all) {
              list.emplace_back(on_recv(c, [&](std::optional<item> got) { t.receive(*got); }));
              list.emplace_back(on_send(c, std::make_unique<std::uint64_t>(v), [&] {
                t.send(v);
                ++met;
              }));
            }
            list.emplace_back(std::move(stop));
            which = select(list);
          }
        }
        if (!on) break;
        if (which == 0 && own.below(8) == 0) yield();
      }
    });
  for (int g = 0; g < plain; ++g)
    plains.go([&, g, own = fast_rand(r.next())]() mutable {
      for (int i = 0; i < target / 8 + 1; ++i) {
        const auto& c = all[own.below(static_cast<std::uint32_t>(all.size()))];
        const auto v = own.next() >> 8;
        if (g % 2 == 0) {
          c.send(std::make_unique<std::uint64_t>(v));
          t.send(v);
          ++met;
        } else {
          t.receive(*c.recv());
        }
      }
    });
  plains.wait();
  while (met < target) yield();
  done.close();
  selects.wait();
  t.check(what);
}

TEST_P(select_stress, selects_both_ways_on_one_unbuffered_channel) {
  announce_seed();
  fast_rand r(weft_test::seed());
  const int rounds = scaled(400);
  run([&] {
    for (int i = 0; i < rounds && !failed(); ++i) {
      const int n = 2 + static_cast<int>(r.below(14));
      both_ways(1, n, 0, 60, r.next(), "round " + std::to_string(i) + ", " + std::to_string(n) + " selects");
    }
  });
}

// With plain ones, at least three selects per channel: one that meets plain ones only may still need a second to go on with.
TEST_P(select_stress, selects_both_ways_with_plain_senders_and_receivers) {
  announce_seed();
  fast_rand r(weft_test::seed());
  const int rounds = scaled(400);
  run([&] {
    for (int i = 0; i < rounds && !failed(); ++i) {
      const int n = 2 + static_cast<int>(r.below(6));
      const int plain = 1 + static_cast<int>(r.below(6));
      both_ways(
          1, n, plain, 60, r.next(),
          "round " + std::to_string(i) + ", " + std::to_string(n) + " selects, " + std::to_string(plain) + " plain");
    }
  });
}

// Rings: each of n selects sends to its own channel or receives from its neighbour's, all at once. Two selects meet at each edge.
TEST_P(select_stress, a_ring_of_selects) {
  announce_seed();
  fast_rand r(weft_test::seed());
  const int rounds = scaled(200);
  run([&] {
    for (int i = 0; i < rounds && !failed(); ++i) {
      const std::size_t n = 2 + r.below(6);
      std::vector<chan<item>> all;
      for (std::size_t k = 0; k < n; ++k) all.push_back(make_chan<item>());
      auto done = make_chan<int>();
      tally t;
      std::atomic<int> met{0};
      wait_group w;
      for (std::size_t k = 0; k < n; ++k)
        w.go([&, k, own = fast_rand(r.next())]() mutable {
          for (bool on = true; on;) {
            const auto v = own.next() >> 8;
            auto send = on_send(all[k], std::make_unique<std::uint64_t>(v), [&] {
              t.send(v);
              ++met;
            });
            auto recv = on_recv(all[(k + 1) % n], [&](std::optional<item> got) { t.receive(*got); });
            auto stop = on_recv(done, [&](auto) { on = false; });
            own.below(2) == 0 ? select(send, recv, stop) : select(stop, recv, send);
          }
        });
      while (met < 100) yield();
      done.close();
      w.wait();
      t.check("round " + std::to_string(i) + ", " + std::to_string(n));
    }
  });
}

// Go: TestSelectStress. Four channels; each is fed by one plain sender and by one select that feeds all, and emptied likewise.
TEST_P(select_stress, plain_and_select_on_either_side_of_four_channels) {
  announce_seed();
  const int n = scaled(10'000);
  run([&] {
    const std::array<chan<int>, 4> c = {make_chan<int>(), make_chan<int>(), make_chan<int>(2), make_chan<int>(3)};
    wait_group w;
    for (std::size_t k = 0; k < 4; ++k) {
      w.go([&, k] {
        for (int i = 0; i < n; ++i) c[k].send(0);
      });
      w.go([&, k] {
        for (int i = 0; i < n; ++i) EXPECT_TRUE(c[k].recv());
      });
    }
    w.go([&] {
      std::array<chan<int>, 4> left = c;
      std::array<int, 4> count{};
      for (int i = 0; i < 4 * n; ++i) {
        const auto k = select(on_send(left[3], 0), on_send(left[2], 0), on_send(left[0], 0), on_send(left[1], 0));
        const std::size_t which = std::array<std::size_t, 4>{3, 2, 0, 1}[k];
        if (++count[which] == n) left[which] = {};
      }
    });
    w.go([&] {
      std::array<chan<int>, 4> left = c;
      std::array<int, 4> count{};
      for (int i = 0; i < 4 * n; ++i) {
        const auto k = select(on_recv(left[0]), on_recv(left[1]), on_recv(left[2]), on_recv(left[3]));
        if (++count[k] == n) left[k] = {};
      }
    });
    w.wait();
    for (auto& ch : c) EXPECT_EQ(ch.len(), 0u);
  });
}

// Go: TestSelfSelect, test/chan/select5 in spirit. Two selects that send to and receive from the same channel never get their own value.
TEST_P(select_stress, nobody_gets_its_own_value) {
  announce_seed();
  const int n = scaled(5'000);
  run([&] {
    for (const std::size_t capacity : {0u, 10u}) {
      auto c = make_chan<int>(capacity);
      std::atomic<int> left{2};
      wait_group w;
      for (int me = 0; me < 2; ++me)
        w.go([&, me] {
          // The last one would find nobody: it ends when the other has closed.
          try {
            for (int i = 0; i < n; ++i) {
              bool closed = false;
              const auto got = [&](std::optional<int> v) {
                if (!v) closed = true;
                if (v && capacity == 0) {
                  EXPECT_NE(*v, me);
                }
              };
              if (me == 0)
                select(on_recv(c, got), on_send(c, me));
              else
                select(on_send(c, me), on_recv(c, got));
              if (closed) break;
            }
            c.close();
          } catch (const closed_channel&) {
          }
        });
      w.wait();
    }
  });
}

// Close at random moments: every select that waits on the channel, whichever way, is told.
TEST_P(select_stress, closed_at_a_random_moment) {
  announce_seed();
  const int rounds = scaled(600);
  run([&] {
    fast_rand r(weft_test::seed());
    for (int i = 0; i < rounds && !failed(); ++i) {
      const std::size_t capacity = std::array<std::size_t, 4>{0, 0, 1, 3}[r.below(4)];
      auto c = make_chan<item>(capacity);
      auto never = make_chan<item>();
      auto d = make_chan<item>(capacity);
      tally t;
      wait_group w;
      const int n = 1 + static_cast<int>(r.below(20));
      std::atomic<int> told{0};
      for (int g = 0; g < n; ++g)
        w.go([&, g, own = fast_rand(r.next())]() mutable {
          try {
            for (bool on = true; on;) {
              const auto v = own.next() >> 8;
              const auto got = [&](std::optional<item> x) { x ? t.receive(*x) : void(on = false); };
              const auto sent = [&] { t.send(v); };
              auto value = std::make_unique<std::uint64_t>(v);
              auto send = on_send(c, std::move(value), sent);
              auto recv = on_recv(c, got);
              auto quiet = on_recv(never, got);
              auto other = on_recv(d, got);
              try {
                switch (g % 5) {
                  case 0:
                    select(send, quiet);
                    break;
                  case 1:
                    select(quiet, recv);
                    break;
                  case 2:
                    select(recv, send);
                    break;
                  case 3:
                    select(send, other, recv);
                    break;
                  default:
                    select(other, recv);
                }
              } catch (const closed_channel&) {
                EXPECT_TRUE(send.value && *send.value == v);
                throw;
              }
            }
          } catch (const closed_channel&) {
          }
          ++told;
        });
      for (auto k = r.below(procs() == 1 ? 4 : 40); k > 0; --k) yield();  // each may take a slice of all others
      c.close();
      if (r.below(2) == 0) d.close();
      w.wait();
      EXPECT_EQ(told, n);
      while (auto left = c.recv()) t.receive(*left);
      t.check("round " + std::to_string(i));
    }
  });
}

// A request with its own channel for the answer and a time limit that never comes: channels are born and die around selects.
TEST_P(select_stress, channels_are_born_and_die_around_selects) {
  announce_seed();
  struct request {
    int n;
    chan<int> answer;
  };
  const int count = scaled(3'000);
  run([&] {
    auto ask = make_chan<request>();
    auto done = make_chan<int>();
    wait_group servers;
    wait_group clients;
    for (int g = 0; g < 3; ++g)
      servers.go([&] {
        for (bool on = true; on;)
          select(on_recv(ask,
                         [](std::optional<request> q) {
                           if (q) q->answer.send(q->n + 1);
                         }),
                 on_recv(done, [&](auto) { on = false; }));
      });
    for (int g = 0; g < 4; ++g)
      clients.go([&, g] {
        for (int i = 0; i < count; ++i) {
          auto answer = make_chan<int>(static_cast<std::size_t>(g % 2));
          auto cancel = make_chan<int>();
          select(on_send(ask, request{i, answer}), on_recv(done), on_recv(cancel));
          select(on_recv(cancel), on_recv(answer, [&](auto v) { EXPECT_EQ(v, i + 1); }), on_recv(done));
        }
      });
    clients.wait();
    done.close();
    servers.wait();
  });
}

// Runtimes and ordinary threads, all on the same channels.
TEST_P(select_stress, two_runtimes_and_ordinary_threads) {
  announce_seed();
  const int target = scaled(2'000);
  auto a = make_chan<item>();
  auto b = make_chan<item>(1);
  auto done = make_chan<int>();
  tally t;
  std::atomic<int> met{0};
  const auto work = [&](fast_rand own) {
    for (bool on = true; on;) {
      const auto v = own.next() >> 8;
      const auto sent = [&] {
        t.send(v);
        ++met;
      };
      const auto got = [&](std::optional<item> x) { t.receive(*x); };
      select(on_send(a, std::make_unique<std::uint64_t>(v), sent), on_recv(b, got),
             on_send(b, std::make_unique<std::uint64_t>(v), sent), on_recv(a, got),
             on_recv(done, [&](auto) { on = false; }));
    }
  };
  fast_rand r(weft_test::seed());
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back(work, fast_rand(r.next()));
    threads.emplace_back([&, first = r.next(), second = r.next()] {
      weft::run(weft_test::on(procs()), [&] {
        go(work, fast_rand(first));
        go(work, fast_rand(second));
      });
    });
  }
  EXPECT_TRUE(weft_test::eventually([&] { return met >= target; })) << met;
  done.close();
  for (auto& th : threads) th.join();
  while (auto left = b.try_recv()) t.receive(*left);
  t.check("two runtimes");
}

}  // namespace
}  // namespace weft
