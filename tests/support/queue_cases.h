// SPDX-License-Identifier: MIT
//
// What the unit tests of ring and deque share: numbered Gs, and where in its lap a queue stands when a test starts.
#pragma once

#include <array>
#include <cstdint>
#include <limits>

#include "bare_p.h"

namespace weft_test {

inline numbered_gs& gs() {
  static numbered_gs all(20'000);
  return all;
}
inline weft::rt::G* number(std::uint64_t n) { return gs()[n]; }
inline std::uint64_t number_of(weft::rt::G* g) { return g != nullptr ? gs().number_of(g) : ~std::uint64_t{0}; }

// Positions from which a test starts: the first, and those around the wrap of 2^32.
constexpr std::array<std::uint32_t, 7> starts(std::uint32_t capacity) {
  constexpr std::uint32_t last = std::numeric_limits<std::uint32_t>::max();
  return {0, 1, capacity - 1, last, last - 1, last - capacity + 1, last - capacity / 2};
}

}  // namespace weft_test
