// SPDX-License-Identifier: MIT
//
// Random numbers for choosing victims and shuffling cases: wyrand (Wang Yi), a Weyl sequence put through one 64x64->128
// multiplication whose halves are folded. Every seed good (0 as well), period 2^64, passes BigCrush and PractRand. Not for secrets. One owner,
// no synchronisation.
//
// The number to come lies ready: a branch on it is decided by a load, not by two multiplications behind one. A select among two ready
// channels mispredicts that branch every other time, and waits for it.
#pragma once

#include <cstdint>

namespace weft {

class fast_rand {
 public:
  constexpr explicit fast_rand(std::uint64_t seed = 0) noexcept : state_(seed) { next(); }

  constexpr std::uint64_t next() noexcept {
    const std::uint64_t now = ready_;
    state_ += 0xa0761d6478bd642f;
    const auto product = static_cast<wide>(state_) * (state_ ^ 0xe7037ed1a0b428db);
    ready_ = static_cast<std::uint64_t>(product >> 64) ^ static_cast<std::uint64_t>(product);
    return now;
  }

  // 0 or 1, each as often: tosses come in pairs, and the second of a pair is the other side. A branch on it is then mispredicted in a quarter of
  // all cases instead of half, and who looks at every toss, or at every other one, sees a fair coin, or one that is a little too fair.
  constexpr unsigned coin() noexcept {
    toss_ = second_ ? toss_ ^ 1 : static_cast<unsigned>(next() >> 63);
    second_ = !second_;
    return toss_;
  }

  // One of 0..n-1, n > 0. The high half of a product instead of a division (Lemire); with 32 bits mapped onto n values,
  // no value is favoured by more than n / 2^32.
  constexpr std::uint32_t below(std::uint32_t n) noexcept {
    return static_cast<std::uint32_t>(((next() >> 32) * n) >> 32);
  }

 private:
  __extension__ using wide = unsigned __int128;

  std::uint64_t state_;
  std::uint64_t ready_ = 0;
  unsigned toss_ = 0;
  bool second_ = false;
};

}  // namespace weft
