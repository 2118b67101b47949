// SPDX-License-Identifier: MIT
//
// What select chooses among what is ready, and that what it did not choose leaves nothing behind.
#include "runtime/chan/select.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <fstream>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "tests/support/channels.h"
#include "tests/support/world.h"

namespace weft {
namespace {

using weft_test::await_waiters;
using weft_test::eventually;
using weft_test::scaled;
using weft_test::waiters;

WEFT_ON_PROCS(select_semantics);

// Fairness --------------------------------------------------------------------------------------------------------------------

// Chi-square that a uniform choice exceeds with a probability below 1e-9 for any number of degrees of freedom that occurs here
// (Wilson and Hilferty's approximation at 6.5 sigma; it errs on the generous side for few of them).
double chi_square_bound(std::size_t freedom) {
  const double v = 2.0 / (9.0 * static_cast<double>(freedom));
  return static_cast<double>(freedom) * std::pow(1 - v + 6.5 * std::sqrt(v), 3);
}

// `ready` cases must share evenly, all others get nothing.
void expect_uniform(const std::vector<int>& count, const std::vector<bool>& ready) {
  const auto n = static_cast<std::size_t>(std::count(ready.begin(), ready.end(), true));
  double total = 0;
  for (const int k : count) total += k;
  const double expected = total / static_cast<double>(n);
  double chi = 0;
  for (std::size_t i = 0; i < count.size(); ++i) {
    if (ready[i])
      chi += (count[i] - expected) * (count[i] - expected) / expected;
    else
      EXPECT_EQ(count[i], 0) << i;
  }
  if (n > 1) {
    EXPECT_LT(chi, chi_square_bound(n - 1)) << ::testing::PrintToString(count);
  }
}

TEST_P(select_semantics, the_choice_among_ready_receives_is_uniform) {
  run([] {
    const int n = scaled(20'000);
    for (const std::vector<bool>& ready : std::vector<std::vector<bool>>{{true, true},
                                                                         {true, true, true, true},
                                                                         {true, true, false, false},
                                                                         {true, false, false, true},
                                                                         {false, true, true, true},
                                                                         std::vector<bool>(8, true),
                                                                         std::vector<bool>(20, true)}) {
      std::vector<chan<int>> all;
      for (const bool r : ready) {
        all.push_back(make_chan<int>());
        if (r) all.back().close();
      }
      std::vector<int> count(ready.size());
      std::vector<select_case> list;
      for (auto& c : all) list.emplace_back(on_recv(c));
      for (int i = 0; i < n; ++i) ++count[select(list)];
      expect_uniform(count, ready);
    }
  });
}

TEST_P(select_semantics, the_static_choice_among_sends_and_receives_is_uniform) {
  run([] {
    const int n = scaled(20'000);
    auto in = make_chan<int>(1);
    auto out = make_chan<int>(1);
    auto never = make_chan<int>();
    auto closed = make_chan<int>();
    closed.close();
    std::vector<int> count(5);
    out.send(1);
    for (int i = 0; i < n; ++i) {
      const auto which = select(on_recv(never), on_send(in, 1), on_recv(closed), on_recv(out), on_send(chan<int>{}, 1));
      ++count[which];
      if (which == 1) in.recv();
      if (which == 3) out.send(1);
    }
    expect_uniform(count, {false, true, true, true, false});
    std::vector<int> with(3);
    for (int i = 0; i < n; ++i) ++with[select(on_recv(closed), on_recv(closed), otherwise())];
    expect_uniform(with, {true, true, false});
  });
}

// Go: TestSelectFairness. Two producers that never tire must both be heard; here also with cases that wait.
TEST_P(select_semantics, producers_that_are_always_ready_are_both_heard) {
  run([] {
    for (const std::size_t capacity : {0u, 1u, 128u}) {
      auto a = make_chan<int>(capacity);
      auto b = make_chan<int>(capacity);
      auto never = make_chan<int>();
      auto done = make_chan<int>();
      wait_group w;
      for (const auto& c : {a, b})
        w.go([&, c] {
          for (bool on = true; on;) select(on_send(c, 1), on_recv(done, [&](auto) { on = false; }));
        });
      std::array<int, 3> count{};
      // How often both are ready depends on the machine's scheduler, so the shares are not judged (Go's test allows a tenth off half):
      // only that neither starves.
      const int n = scaled(1'000);
      EXPECT_TRUE(eventually([&] {
        for (int i = 0; i < 100; ++i) ++count[select(on_recv(a), on_recv(never), on_recv(b))];
        return count[0] >= n && count[2] >= n;
      })) << capacity
          << ::testing::PrintToString(count);
      done.close();
      w.wait();
    }
  });
}

// Memory ----------------------------------------------------------------------------------------------------------------------

long long resident_kib() {
  std::ifstream f("/proc/self/statm");
  long long size = 0;
  long long resident = 0;
  f >> size >> resident;
  return resident * ::sysconf(_SC_PAGESIZE) / 1024;
}

// Garbage of 64 bytes per select would be 64 MiB, six in each tenth. Sanitizers keep books of their own.
constexpr long long allowed_kib = WEFT_ASAN || WEFT_TSAN ? 64 << 10 : 4 << 10;

enum class company { nobody, before, behind, several };

void busy_and_never(int procs, company who) {
  weft::run(weft_test::on(procs), [&] {
    auto busy = make_chan<int>();
    auto done = make_chan<int>();
    const int n = scaled(1'000'000);
    const int selectors = who == company::several ? 4 : 1;
    wait_group w;
    std::atomic<int> left{n};
    auto stop = make_chan<int>();
    if (who == company::before) {
      w.go([=] { EXPECT_EQ(done.recv(), std::nullopt); });
      await_waiters(done, 1);
    }
    w.go([&] {
      for (int i = 0; i < n; ++i) busy.send(1);
      for (int i = 0; i < selectors; ++i) busy.send(0);
    });
    // Resident after each tenth. Garbage grows in every one of them. What a thread that the kernel has stopped inside a section holds back,
    // for as long as that lasts (sched/quiesce.h, Progress), grows in one, or in some on a loaded machine.
    const int tenth = std::max(n / 10, 1);
    std::array<std::atomic<long long>, 11> resident{};
    std::atomic<long long> got{0};
    wait_group selecting;
    for (int s = 0; s < selectors; ++s)
      selecting.go([&] {
        for (bool on = true; on;) {
          long long number = -1;
          select(on_recv(busy, [&](auto v) { *v == 0 ? void(on = false) : void(number = ++got); }),
                 on_recv(done, [](auto) { ADD_FAILURE(); }));
          if (number > 0 && number % tenth == 0 && number / tenth < 11)
            resident[static_cast<std::size_t>(number / tenth)] = resident_kib();
        }
      });
    if (who == company::behind) {
      w.go([=] {
        for (int i = 0; i < 100; ++i) yield();
        EXPECT_EQ(done.recv(), std::nullopt);
      });
    }
    selecting.wait();
    EXPECT_EQ(got, n);
    long long quietest = std::numeric_limits<long long>::max();
    for (std::size_t i = 2; i < resident.size(); ++i) quietest = std::min(quietest, resident[i] - resident[i - 1]);
    EXPECT_LT(quietest, allowed_kib / 4);
    const int expected = who == company::before || who == company::behind ? 1 : 0;
    EXPECT_TRUE(eventually([&] { return waiters(done) == expected; })) << waiters(done);
    done.close();
    w.wait();
  });
}

TEST_P(select_semantics, a_million_selects_on_a_busy_and_a_quiet_channel_hold_memory_flat) {
  busy_and_never(procs(), company::nobody);
}
TEST_P(select_semantics, memory_is_flat_with_a_receiver_parked_before) { busy_and_never(procs(), company::before); }
TEST_P(select_semantics, memory_is_flat_with_a_receiver_parked_behind) { busy_and_never(procs(), company::behind); }
TEST_P(select_semantics, memory_is_flat_with_several_selectors) { busy_and_never(procs(), company::several); }

// What a select withdrew may be left inside the list; the list is then not empty, but nobody waits. Found by the stress test as a double
// free: the last handle took the list's address for a count of values.
TEST_P(select_semantics, a_channel_dies_with_withdrawn_cases_in_its_list) {
  run([] {
    for (const std::size_t capacity : {0u, 1u, 3u}) {
      for (const bool sending : {false, true}) {
        auto quiet = make_chan<std::unique_ptr<int>>(capacity);
        auto busy = make_chan<int>();
        if (sending)
          for (std::size_t i = 0; i < capacity; ++i) quiet.send(std::make_unique<int>(1));
        wait_group w;
        for (int i = 0; i < 9; ++i) {
          w.go([&] {
            if (sending)
              select(on_recv(busy), on_send(quiet, std::make_unique<int>(2)));
            else
              select(on_recv(busy), on_recv(quiet));
          });
          await_waiters(quiet, i + 1);
          await_waiters(busy, i + 1);
        }
        // Whichever goes last: the list ends with dead nodes behind its head.
        for (int i = 0; i < 9; ++i) busy.send(i);
        w.wait();
        EXPECT_EQ(quiet.len(), sending ? capacity : 0u);
        quiet = {};
      }
    }
  });
}

// No waiting, no time: for a channel that someone else drains and fills, a losing poll burns nothing.
TEST_P(select_semantics, a_million_polls_hold_memory_flat) {
  run([] {
    auto a = make_chan<int>();
    auto b = make_chan<int>(1);
    const int n = scaled(1'000'000);
    long long before = 0;
    for (int i = 0; i < n; ++i) {
      if (i == n / 10) before = resident_kib();
      ASSERT_EQ(select(on_recv(a), on_recv(b), on_send(a, 1), otherwise()), 3u);
    }
    EXPECT_LT(resident_kib() - before, allowed_kib);
  });
}

}  // namespace
}  // namespace weft
