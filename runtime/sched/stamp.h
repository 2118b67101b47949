// SPDX-License-Identifier: MIT
//
// Numbers that never repeat within a process, for words that must never look the same twice. A P counts through ranges of 2^32 that
// it takes from a shared counter; no locked instruction but for every 2^32nd.

#pragma once

#include "g_m_p.h"

namespace weft::rt {

// The first number of a fresh range; 60 bits in use.
WEFT_API std::uint64_t new_stamp_range();

// Owner of the counter.
[[gnu::always_inline]] inline std::uint64_t next_stamp(std::uint64_t& last) {
  if (static_cast<std::uint32_t>(++last) == 0) [[unlikely]]
    last = new_stamp_range();
  return last;
}
[[gnu::always_inline]] inline std::uint64_t next_stamp(P* p) { return next_stamp(p->stamp); }

}  // namespace weft::rt
