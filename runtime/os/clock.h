// SPDX-License-Identifier: MIT
//
// Time, in nanoseconds of CLOCK_MONOTONIC: never steps back, is slewed by NTP, stands still in suspend. Every deadline
// in the runtime is an absolute value of this clock, so that a wait that was interrupted needs no arithmetic to go on.
#pragma once

#include <cstdint>

#include "cpu.h"

namespace weft::os {

// A deadline that never comes.
inline constexpr std::int64_t no_deadline = INT64_MAX;

// About 25 ns (vDSO); no system call where the kernel's clock source allows it. Cannot fail.
WEFT_API std::int64_t now_ns() noexcept;

// Blocks the thread for at least `ns`; zero or less returns at once. A signal handler that runs meanwhile does not
// cut it short (absolute deadline, restarted on EINTR). Overshoots by the thread's timer slack, 50 us unless changed.
void sleep_ns(std::int64_t ns) noexcept;

}  // namespace weft::os
