// SPDX-License-Identifier: MIT
//
// std::chrono's spans and points as a deadline of CLOCK_MONOTONIC in nanoseconds. What overflows never comes, some 292 years.

#pragma once

#include <chrono>
#include <cstdint>
#include <type_traits>

#include "../os/clock.h"

namespace weft::rt {

inline constexpr std::int64_t no_deadline = INT64_MAX;

template <class Rep, class Period>
std::int64_t ns_of(const std::chrono::duration<Rep, Period>& d) {
  using std::chrono::nanoseconds;
  if (std::chrono::duration<double>(d) >= std::chrono::duration<double>(nanoseconds::max())) return no_deadline;
  if (std::chrono::duration<double>(d) <= std::chrono::duration<double>(nanoseconds::min())) return INT64_MIN;
  return std::chrono::ceil<nanoseconds>(d).count();
}

template <class Rep, class Period>
std::int64_t deadline_after(const std::chrono::duration<Rep, Period>& d) {
  const std::int64_t now = os::now_ns();
  const std::int64_t ns = ns_of(d);
  std::int64_t when = 0;
  if (__builtin_add_overflow(now, ns, &when)) return ns < 0 ? 0 : no_deadline;
  return when;
}

// The nearest deadline of steady_clock by which a point of another clock may have come; such a clock may be set, so look at it again then.
template <class Clock, class Duration>
std::int64_t deadline_at(const std::chrono::time_point<Clock, Duration>& t) {
  if constexpr (std::is_same_v<Clock, std::chrono::steady_clock>)
    return ns_of(t.time_since_epoch());
  else
    return deadline_after(t - Clock::now());
}

}  // namespace weft::rt
