// SPDX-License-Identifier: MIT
//
// Random numbers for choosing victims and shuffling cases: wyrand (Wang Yi), a Weyl sequence put through one 64x64->128
// multiplication whose halves are folded. One word of state, every seed good (0 as well), period 2^64, about a
// nanosecond, passes BigCrush and PractRand. Not for secrets. One owner, no synchronisation.
#pragma once

#include <cstdint>

namespace weft {

class fast_rand {
 public:
  constexpr explicit fast_rand(std::uint64_t seed = 0) noexcept : state_(seed) {}

  constexpr std::uint64_t next() noexcept {
    state_ += 0xa0761d6478bd642f;
    const auto product = static_cast<wide>(state_) * (state_ ^ 0xe7037ed1a0b428db);
    return static_cast<std::uint64_t>(product >> 64) ^ static_cast<std::uint64_t>(product);
  }

  // One of 0..n-1, n > 0. The high half of a product instead of a division (Lemire); with 32 bits mapped onto n values,
  // no value is favoured by more than n / 2^32.
  constexpr std::uint32_t below(std::uint32_t n) noexcept {
    return static_cast<std::uint32_t>(((next() >> 32) * n) >> 32);
  }

 private:
  __extension__ using wide = unsigned __int128;

  std::uint64_t state_;
};

static_assert(sizeof(fast_rand) == 8);

}  // namespace weft
