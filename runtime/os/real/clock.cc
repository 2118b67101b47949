// SPDX-License-Identifier: MIT
#include "../clock.h"

#include <cerrno>
#include <ctime>

namespace weft::os {
namespace {
constexpr std::int64_t ns_per_s = 1'000'000'000;
}

std::int64_t now_ns() noexcept {
  timespec t;
  // Fails for no valid clock, and leaves errno alone.
  (void)::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::int64_t>(t.tv_sec) * ns_per_s + t.tv_nsec;
}

void sleep_ns(std::int64_t ns) noexcept {
  if (ns <= 0) return;
  const std::int64_t start = now_ns();
  const std::int64_t until = ns > no_deadline - start ? no_deadline : start + ns;
  const timespec t{.tv_sec = static_cast<time_t>(until / ns_per_s), .tv_nsec = static_cast<long>(until % ns_per_s)};
  // Returns its error instead of setting errno.
  while (::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, nullptr) == EINTR) {
  }
}

}  // namespace weft::os
