// SPDX-License-Identifier: MIT
//
// Numbers that never repeat within a process, for words that must never look the same twice. A P counts through ranges of 2^32 that
// it takes from a shared counter; no locked instruction but for every 2^32nd.

#pragma once

#include "g_m_p.h"

namespace weft::rt {

// The first number of a fresh range; 60 bits in use.
WEFT_API std::uint64_t new_stamp_range();

// Owner of p.
[[gnu::always_inline]] inline std::uint64_t next_stamp(P* p) {
  if (static_cast<std::uint32_t>(++p->stamp) == 0) [[unlikely]]
    p->stamp = new_stamp_range();
  return p->stamp;
}

}  // namespace weft::rt
