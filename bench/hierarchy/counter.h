// SPDX-License-Identifier: MIT
#pragma once

// The cycle counter: x86's TSC, AArch64's CNTVCT_EL0. Both count at one fixed rate, on all cores together, whatever the
// cores' own frequency is at the moment; so a "cycle" in these tables is a tick of the counter, and the row cpu.cycle
// tells how long one of the core's is.

#include <chrono>
#include <cstdint>
#include <thread>

namespace bench::hierarchy {

#if defined(__x86_64__)
inline constexpr const char* counter_name = "tsc";
// Not before what precedes it has been done, nor after what follows it has begun.
inline std::uint64_t ticks() {
  std::uint32_t low, high;
  asm volatile("lfence\n\trdtsc\n\tlfence" : "=a"(low), "=d"(high)::"memory");
  return std::uint64_t{high} << 32 | low;
}
#elif defined(__aarch64__)
inline constexpr const char* counter_name = "cntvct_el0";
inline std::uint64_t ticks() {
  std::uint64_t t;
  asm volatile("isb\n\tmrs %0, cntvct_el0\n\tisb" : "=r"(t)::"memory");
  return t;
}
#endif

/// A point of time on both clocks.
struct instant {
  std::uint64_t tick;
  std::chrono::steady_clock::time_point time;

  // The nearer together the two readings, the better; so the best of some tries.
  static instant now() {
    instant best{};
    std::uint64_t best_width = ~std::uint64_t{0};
    for (int i = 0; i < 100; ++i) {
      const std::uint64_t before = ticks();
      const auto time = std::chrono::steady_clock::now();
      const std::uint64_t width = ticks() - before;
      if (width < best_width) {
        best_width = width;
        best = {before + width / 2, time};
      }
    }
    return best;
  }
};

/// Ticks per nanosecond, by the clock.
inline double ticks_per_ns(const instant& from, const instant& to) {
  return static_cast<double>(to.tick - from.tick) /
         static_cast<double>(std::chrono::nanoseconds(to.time - from.time).count());
}

}  // namespace bench::hierarchy
