// SPDX-License-Identifier: MIT
//
// Numbers that never repeat within a process, for words that must never look the same twice. A P counts through ranges of 2^28 that
// it takes from a shared counter; no locked instruction but for every 2^28th. Their four low bits are zero: the words' own.

#pragma once

#include "g_m_p.h"

namespace weft::rt {

inline constexpr std::uint64_t stamp_step = 16;

// The first number of a fresh range.
WEFT_API std::uint64_t new_stamp_range();

// Owner of the counter.
[[gnu::always_inline]] inline std::uint64_t next_stamp(std::uint64_t& last) {
  if (static_cast<std::uint32_t>(last += stamp_step) == 0) [[unlikely]]
    last = new_stamp_range();
  return last;
}
[[gnu::always_inline]] inline std::uint64_t next_stamp(P* p) { return next_stamp(p->stamp); }

}  // namespace weft::rt
