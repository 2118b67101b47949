// SPDX-License-Identifier: MIT
#pragma once

// What the jump of a resume costs when it is predicted, and when it is not: a bare switch between one context and four others, whose code
// is not the same, so that the jump has four targets. Gone to in turn they are predicted, at random they are not.

#include <cstdint>

namespace bench::breakdown {

enum class raw_order { one_target, in_turn, at_random };

/// ns for one bare inlined switch. Of every two, one (to a partner) has the order's targets, the other (back) always the same.
double raw_switch_ns(raw_order order, std::int64_t round_trips);
/// The out-of-line switch, one target.
double raw_call_ns(std::int64_t round_trips);

}  // namespace bench::breakdown
