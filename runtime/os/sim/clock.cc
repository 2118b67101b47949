// SPDX-License-Identifier: MIT
//
// Time is a counter: it goes on a little at every point, and to the next deadline when nobody else can go on (or when the explorer
// says that all were slow).

#include "../clock.h"

#include <ctime>

#include "machine.h"

namespace weft::os {

std::int64_t now_ns() noexcept {
  if (!sim::inside) {
    timespec t{};
    (void)::clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
  }
  return sim::the_machine->time;
}

void sleep_ns(std::int64_t ns) noexcept {
  if (!sim::inside || ns <= 0) return;
  sim::machine& m = *sim::the_machine;
  m.point({sim::what::os, nullptr, true, false}, {});
  m.now->deadline = m.time + ns;
  m.block();
}

}  // namespace weft::os
