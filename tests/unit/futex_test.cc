// SPDX-License-Identifier: MIT
#include "runtime/os/futex.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <cerrno>
#include <thread>

namespace weft::os {
namespace {

TEST(futex, a_word_that_changed_is_told_at_once) {
  atomic<std::uint32_t> word{7};
  errno = 42;
  EXPECT_EQ(futex_wait(word, 8), futex_result::changed);
  EXPECT_EQ(errno, 42);
}

TEST(futex, a_deadline_ends_the_wait_and_not_before) {
  atomic<std::uint32_t> word{7};
  const std::int64_t deadline = now_ns() + 5'000'000;
  futex_result r;
  while ((r = futex_wait(word, 7, deadline)) == futex_result::woken) {
  }
  EXPECT_EQ(r, futex_result::timed_out);
  EXPECT_GE(now_ns(), deadline);
}

TEST(futex, a_deadline_in_the_past_or_below_zero_does_not_sleep) {
  atomic<std::uint32_t> word{7};
  EXPECT_EQ(futex_wait(word, 7, 1), futex_result::timed_out);
  EXPECT_EQ(futex_wait(word, 7, 0), futex_result::timed_out);
  EXPECT_EQ(futex_wait(word, 7, -5), futex_result::timed_out);
}

TEST(futex, a_wake_without_waiters_wakes_nobody_and_keeps_errno) {
  atomic<std::uint32_t> word{0};
  errno = 42;
  EXPECT_EQ(futex_wake(word, 1), 0);
  EXPECT_EQ(errno, 42);
}

TEST(futex, wake_wakes_as_many_as_asked) {
  atomic<std::uint32_t> word{0};
  atomic<int> awake{0};
  std::thread sleepers[3];
  for (auto& t : sleepers)
    t = std::thread([&] {
      while (word.load(acquire) == 0) (void)futex_wait(word, 0);
      awake.fetch_add(1, relaxed);
    });
  // Until all three sleep: a wake of two then leaves exactly one (they find the word unchanged and sleep again).
  int woken = 0;
  while (woken != 2) {
    sleep_ns(2'000'000);
    woken = futex_wake(word, 2);
  }
  word.store(1, release);
  while (awake.load(relaxed) != 3) {
    (void)futex_wake(word, 3);
    sleep_ns(100'000);
  }
  for (auto& t : sleepers) t.join();
}

TEST(futex, a_signal_handler_ends_the_wait_as_woken) {
  struct sigaction action = {}, before;
  static atomic<int> handled{0};
  action.sa_handler = [](int) { handled.fetch_add(1, relaxed); };
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGUSR1, &action, &before);
  atomic<std::uint32_t> word{0};
  atomic<int> result{-1};
  std::thread waiter([&] { result.store(static_cast<int>(futex_wait(word, 0, now_ns() + 20'000'000'000)), relaxed); });
  while (result.load(relaxed) == -1) {
    ::pthread_kill(waiter.native_handle(), SIGUSR1);
    sleep_ns(1'000'000);
  }
  waiter.join();
  ::sigaction(SIGUSR1, &before, nullptr);
  EXPECT_GT(handled.load(relaxed), 0);
  EXPECT_EQ(result.load(relaxed), static_cast<int>(futex_result::woken));
}

TEST(clock, never_steps_back) {
  std::int64_t last = now_ns();
  for (int i = 0; i < 100'000; ++i) {
    const std::int64_t t = now_ns();
    ASSERT_GE(t, last);
    last = t;
  }
}

TEST(clock, sleep_lasts_as_long_as_asked_although_signals_arrive) {
  struct sigaction action = {}, before;
  action.sa_handler = [](int) {};
  ::sigaction(SIGUSR1, &action, &before);
  atomic<std::int64_t> slept{0};
  std::thread sleeper([&] {
    const std::int64_t start = now_ns();
    sleep_ns(20'000'000);
    slept.store(now_ns() - start, relaxed);
  });
  while (slept.load(relaxed) == 0) {
    ::pthread_kill(sleeper.native_handle(), SIGUSR1);
    std::this_thread::yield();
  }
  sleeper.join();
  ::sigaction(SIGUSR1, &before, nullptr);
  EXPECT_GE(slept.load(relaxed), 20'000'000);
}

TEST(clock, sleeping_for_nothing_returns) {
  sleep_ns(0);
  sleep_ns(-1);
}

}  // namespace
}  // namespace weft::os
