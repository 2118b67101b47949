// SPDX-License-Identifier: MIT
//
// How a select is written, from one case to more than fit, and who may call it.
#include "runtime/chan/select.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/channels.h"
#include "tests/support/world.h"

namespace weft {
namespace {

using weft_test::await_waiters;
using weft_test::scaled;
using weft_test::waiters;

WEFT_ON_PROCS(select_semantics);

// Many cases ------------------------------------------------------------------------------------------------------------------

template <std::size_t... I>
std::size_t receive_any(const std::vector<chan<int>>& all, int& got, std::index_sequence<I...>) {
  return select(on_recv(all[I], [&got](std::optional<int> v) { got = v.value(); })...);
}

// n channels, of capacities 0 to kinds - 1: select_any(all, got) must find the i-th, where a value waits or will come; i goes in steps.
template <class Select>
void each_is_found(std::size_t n, std::size_t kinds, std::size_t step, Select select_any) {
  std::vector<chan<int>> all;
  for (std::size_t i = 0; i < n; ++i) all.push_back(make_chan<int>(i % kinds));
  for (std::size_t i = 0; i < n; i += step) {
    for (const bool waits : {false, true}) {
      if (waits)
        go([&all, i] {
          await_waiters(all[i], 1);
          all[i].send(static_cast<int>(i));
        });
      else
        go([c = all[i], i] { c.send(static_cast<int>(i)); });
      int got = -1;
      ASSERT_EQ(select_any(all, got), i) << n;
      ASSERT_EQ(got, static_cast<int>(i));
      for (const auto& c : all) ASSERT_EQ(waiters(c), 0);
    }
  }
}

template <std::size_t N>
void static_cases() {
  each_is_found(N, 2, N > 20 ? 7 : 1,
                [](const auto& all, int& got) { return receive_any(all, got, std::make_index_sequence<N>{}); });
}

TEST_P(select_semantics, from_1_to_64_cases_in_the_static_form) {
  weft::run({.procs = procs(), .stack_size = 4 * weft_test::test_stack}, [] {
    static_cases<1>();
    static_cases<2>();
    static_cases<3>();
    static_cases<15>();
    static_cases<16>();
    static_cases<17>();
    static_cases<33>();
    static_cases<64>();
  });
}

TEST_P(select_semantics, from_1_to_200_cases_in_the_run_time_form) {
  run([] {
    for (const std::size_t n : {1u, 2u, 15u, 16u, 17u, 63u, 64u, 65u, 200u}) {
      each_is_found(n, 3, std::max<std::size_t>(1, n / 5), [](const auto& all, int& got) {
        std::vector<select_case> list;
        for (const auto& c : all) list.emplace_back(on_recv(c, [&got](std::optional<int> v) { got = v.value(); }));
        return select(list);
      });
    }
  });
}

TEST_P(select_semantics, a_run_time_list_mixes_types_and_directions_and_serves_until_each_case_is_used) {
  run([] {
    auto a = make_chan<int>(1);
    auto b = make_chan<std::string>(1);
    b.send("b");
    std::vector<select_case> list;
    std::string said;
    list.emplace_back(on_send(a, 5, [&] { said += "sent "; }));
    list.emplace_back(on_recv(b, [&](std::optional<std::string> v) { said += v.value() + ' '; }));
    const auto first = select(list);
    const auto second = first == 0 ? std::size_t{1} : std::size_t{0};
    std::vector<select_case> rest;
    rest.push_back(std::move(list[second]));
    EXPECT_EQ(select(std::move(rest)), 0u);
    EXPECT_EQ(said, first == 0 ? "sent b " : "b sent ");
    EXPECT_EQ(a.recv(), 5);
  });
}

TEST_P(select_semantics, a_case_that_the_caller_keeps_keeps_its_handlers_state) {
  run([] {
    auto c = make_chan<int>();
    auto never = make_chan<int>();
    static int seen;  // not captured: a small case is what could be copied by mistake
    seen = 0;
    // Whether the sender is there already or has to be waited for, it is this handler that counts.
    auto count = on_recv(c, [n = 0](std::optional<int> /*v*/) mutable { seen = ++n; });
    static_assert(sizeof(count) <= 16 && std::is_trivially_copyable_v<decltype(count)>);
    auto idle = on_recv(never, [](std::optional<int> /*v*/) { FAIL(); });
    for (int i = 1; i <= 10; ++i) {
      go([c, i] { c.send(i); });
      if (i % 2 == 0) await_waiters(c, 1);
      EXPECT_EQ(select(count, idle), 0U);
      EXPECT_EQ(seen, i);
    }
  });
}

TEST(select_limits, more_cases_than_fit_are_refused) {
  weft::run(weft_test::on(2), [] {
    auto c = make_chan<int>(1);
    c.send(1);
    std::vector<select_case> list;
    for (int i = 0; i < 65'535; ++i) list.emplace_back(on_recv(c));
    EXPECT_LT(select(list), 65'535u);
    c.send(1);
    list.emplace_back(on_recv(c));
    EXPECT_THROW(select(list), std::length_error);
    EXPECT_EQ(c.len(), 1u);
  });
}

// Ordinary threads ------------------------------------------------------------------------------------------------------------

TEST(select_threads, two_ordinary_threads) {
  auto a = make_chan<int>();
  auto b = make_chan<int>(1);
  auto done = make_chan<int>();
  const int n = scaled(3'000);
  long long sum = 0;
  std::thread other([&] {
    for (bool on = true; on;)
      select(on_recv(a, [&](auto v) { sum += *v; }), on_recv(b, [&](auto v) { sum += *v; }),
             on_recv(done, [&](auto) { on = false; }));
    while (auto v = b.try_recv()) sum += *v;
  });
  for (int i = 0; i < n; ++i) select(on_send(a, i), on_send(b, i));
  done.close();
  other.join();
  EXPECT_EQ(sum, static_cast<long long>(n) * (n - 1) / 2);
  EXPECT_EQ(select(on_recv(a), on_send(a, 1), otherwise()), 2u);
  EXPECT_EQ(waiters(a), 0);
}

TEST(select_threads, threads_and_goroutines) {
  auto a = make_chan<int>();
  auto b = make_chan<int>();
  const int n = scaled(2'000);
  std::atomic<int> sent{0};
  std::atomic<int> received{0};
  std::atomic<int> running{4};
  auto done = make_chan<int>();
  const auto work = [&] {
    for (bool on = true; on;) {
      select(on_send(a, 1, [&] { ++sent; }), on_recv(b, [&](auto) { ++received; }),
             on_recv(a, [&](auto) { ++received; }), on_send(b, 1, [&] { ++sent; }),
             on_recv(done, [&](auto) { on = false; }));
      if (sent >= n && on) {
        try {
          done.close();
        } catch (const closed_channel&) {
        }
      }
    }
    --running;
  };
  std::thread t1(work);
  std::thread t2(work);
  weft::run(weft_test::on(2), [&] {
    go(work);
    go(work);
  });
  t1.join();
  t2.join();
  EXPECT_EQ(sent, received);
  EXPECT_GE(sent, n);
  EXPECT_EQ(running, 0);
}

}  // namespace
}  // namespace weft
