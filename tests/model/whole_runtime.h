// SPDX-License-Identifier: MIT
//
// The whole runtime on the simulated machine: weft::run with several virtual Ms, from its start to its end. A goroutine that nobody
// runs shows as a livelock (somebody spins for it) or as the runtime's own report of a deadlock.

#pragma once

#include "model.h"
#include "runtime/weft/weft.h"

namespace weft_test {

using weft::acquire;
using weft::atomic;

inline constexpr weft::sim::plan whole{.max_steps = 200'000};

// Computes until it is told to stop: no call of the runtime, so what waits behind it must be taken by others.
inline void compute_until(atomic<int>& flag, int wanted) {
  while (flag.load(acquire) < wanted) weft::sim::spin();
}

// The whole runtime, and a clock that nobody's deadline is ahead of: else it may leap just before one looks whether something was in time. (It did, in
// one schedule of 3,400, for the one that read `ran`.)
inline constexpr weft::sim::plan in_time = [] {
  weft::sim::plan p = whole;
  p.early = false;
  return p;
}();

// The idle protocol without the watchdog, which would mend a lost wakeup two ticks later: time stands still.
inline constexpr weft::sim::plan no_watchdog{.clock_stands = true, .max_steps = 50'000};

}  // namespace weft_test
