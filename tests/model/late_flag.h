// SPDX-License-Identifier: MIT
#pragma once

#include <array>

#include "model.h"
#include "runtime/sched/biased.h"
#include "tests/support/bare_p.h"

namespace weft_test {

// One comes late with the flag of a bias that was taken back meanwhile, between another's look at the word and that one's exchange.
inline void late_flag() {
  using namespace weft;
  using namespace weft::rt;
  biased_word w(bias_flag);  // left behind by a bias that has been taken back
  std::array<held_p, 2> p;
  plain<int> carried{0};
  sim::thread late([&] { bias_to(p[0].m(), w); });
  sim::thread third([&] {
    carried = 1;
    for (int tries = 0; tries < 2; ++tries)
      if (const std::uint64_t v = w.load(relaxed); (v & bias_flag) == 0 && move(nullptr, w, v, 16, release)) break;
  });
  M* m = p[1].m();
  move(m, w, w.load(relaxed), 0, relaxed);
  bias_to(m, w);
  const std::uint64_t v = w.load(relaxed);
  if ((v & ~bias_flag) == 16 && (move<flag::any, seen::just_now>(m, w, v, 32, acquire)))
    sim::require(carried == 1, "not carried");
  late.join();
  third.join();
}

}  // namespace weft_test
