// SPDX-License-Identifier: MIT
#pragma once

// What the queues' model tests put in and take out.

#include <array>
#include <cstddef>

#include "model.h"
#include "runtime/sched/g_m_p.h"
#include "tests/support/bare_p.h"

namespace weft_test {

using weft::rt::G;
using weft::rt::g_list;

// Goroutines that know how often they were taken; what is "written to it" is a goroutine's slot, which is plain.
class counted_gs {
 public:
  explicit counted_gs(std::size_t n) : gs_(n) {}
  G* make(std::size_t i) {
    G* g = gs_[i];
    g->slot = reinterpret_cast<void*>(i + 1);
    return g;
  }
  bool take(G* g) {
    if (!g) return false;
    std::size_t i = gs_.number_of(g);
    weft::sim::require(g->slot == reinterpret_cast<void*>(i + 1), "not what was written to it");
    weft::sim::require(++taken_[i] == 1, "taken twice");
    return true;
  }
  void take_all(g_list& batch, const std::size_t* numbers) {
    // A list's link lies over the slot: it says no more what was written.
    for (std::size_t k = 0; G* g = batch.pop_front(); ++k) {
      std::size_t i = gs_.number_of(g);
      if (numbers) weft::sim::require(i == numbers[k], "not in order");
      weft::sim::require(++taken_[i] == 1, "taken twice");
    }
  }
  void all_taken(std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) weft::sim::require(taken_[i] == 1, "lost");
  }

 private:
  numbered_gs gs_;
  std::array<int, 16> taken_{};
};

}  // namespace weft_test
