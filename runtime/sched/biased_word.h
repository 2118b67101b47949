// SPDX-License-Identifier: MIT
//
// What a biased word consists of, for who has one among his fields. All else: biased.h.

#pragma once

#include "../os/section.h"

namespace weft::rt {

inline constexpr std::uint64_t bias_flag = arch::bias_flag;

struct biased_word {
  os::guarded_word at;
  // Who looked at it last, how often in a row, and how often a bias was taken back; relaxed: a statistic.
  atomic<std::uint64_t> history{0};

  explicit constexpr biased_word(std::uint64_t w) : at(w) {}
  // With the flag, or without.
  std::uint64_t load(std::memory_order o, os::call_site s = os::call_site::here()) const noexcept {
    return os::load_word(at, o, s);
  }
  // For who has the word for himself.
  void store(std::uint64_t v, std::memory_order o) noexcept { at.word.store(v, o); }
};

}  // namespace weft::rt
