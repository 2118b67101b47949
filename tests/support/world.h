// SPDX-License-Identifier: MIT
//
// What tests of the running runtime share: a fixture that runs with 1, 2, 4 and 16 Ps and looks for what was left behind,
// waiting with a generous bound, and seeds.
//
// Seeds. Every random choice of a test comes from seed(). It is taken from WEFT_TEST_SEED, or from the clock; announce_seed()
// prints it with the command that repeats the test. A repeated run makes the same choices; the threads' timing is its own.

#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "runtime/base/rand.h"
#include "runtime/os/atomic.h"
#include "runtime/os/cpu.h"
#include "runtime/os/thread.h"
#include "runtime/weft/weft.h"
#include "scale.h"

namespace weft_test {

inline std::uint64_t seed() {
  static const std::uint64_t value = [] {
    if (const char* text = std::getenv("WEFT_TEST_SEED"))
      return static_cast<std::uint64_t>(std::strtoull(text, nullptr, 10));
    return static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()) % 1'000'000'007;
  }();
  return value;
}

inline void announce_seed() {
  const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
  std::printf("seed %llu; to repeat: WEFT_TEST_SEED=%llu WEFT_TEST_SCALE=%lld %s --gtest_filter='%s.%s'\n",
              static_cast<unsigned long long>(seed()), static_cast<unsigned long long>(seed()), scale_percent(),
              program_invocation_short_name, info->test_suite_name(), info->name());
  std::fflush(stdout);
}

// Liveness, not speed: how long something that must happen may take before the test says that it never will. A loaded
// machine, a sanitizer and qemu together are slower than an idle one by a few hundred times.
inline constexpr std::chrono::seconds patience{60};

// Yields (a goroutine its P, a thread its core) until cond() holds. False: it never did.
template <class Cond>
[[nodiscard]] bool eventually(Cond cond) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!cond()) {
    if (std::chrono::steady_clock::now() > end) return false;
    weft::yield();
  }
  return true;
}

// Sanitizers make frames several times larger, and a failing assertion writes its text on the goroutine's stack.
inline constexpr std::size_t test_stack = WEFT_ASAN || WEFT_TSAN ? 512 << 10 : 64 << 10;

inline weft::options on(int procs) { return {.procs = procs, .stack_size = test_stack}; }

// Threads of the process, as before the test: a thread that was joined may be listed for a moment longer.
class leak_check {
 public:
  leak_check() {
#if WEFT_TSAN
    // With the first thread ThreadSanitizer starts one of its own, in the background, which stays.
    static const bool started = (std::thread([] {}).join(), true);
    (void)started;
#endif
    threads_ = weft::os::num_threads_of_process();
  }
  void check() const {
    EXPECT_TRUE(eventually([this] { return weft::os::num_threads_of_process() <= threads_; }))
        << threads_ << " threads before the test, " << weft::os::num_threads_of_process() << " after it";
  }

 private:
  int threads_ = 0;
};

// A test that is run with 1, 2, 4 and 16 Ps.
class on_procs : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override { leaks_ = leak_check(); }
  void TearDown() override { leaks_.check(); }
  int procs() const { return GetParam(); }
  template <class F>
  decltype(auto) run(F&& f) const {
    return weft::run(on(GetParam()), std::forward<F>(f));
  }

 private:
  leak_check leaks_;
};

}  // namespace weft_test

// NOLINTNEXTLINE(cppcoreguidelines-macro-usage): the suite's name is part of the tests' names
#define WEFT_ON_PROCS(suite)                                             \
  class suite : public ::weft_test::on_procs {};                         \
  INSTANTIATE_TEST_SUITE_P(procs, suite, ::testing::Values(1, 2, 4, 16), \
                           [](const auto& info) { return std::to_string(info.param); })
