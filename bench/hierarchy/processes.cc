// SPDX-License-Identifier: MIT
//
// Two processes that take turns (pair.h), kept on one CPU or on two: a switch of address spaces on top of what threads pay.
// And a process's start, as far as its first instruction, to set beside a container's (container.cc).

#include <memory>

#include "child.h"
#include "os.h"
#include "pair.h"
#include "row.h"
#include "start.h"

namespace bench::hierarchy {
namespace {

template <class Turns, two_cpus (*Where)()>
std::unique_ptr<experiment> made(const setup&) {
  return std::make_unique<two_processes<Turns>>(Where(), child_settings{}, child_settings{});
}

}  // namespace

rows process_rows() {
  const char* const level = isolation::process;
  return {
      {"process.pipe.same_core", "two processes, a byte through a pipe each way; half a round trip", level, long_batch,
       made<pipe_turns, same_core>},
      {"process.pipe.cross_core", "two processes, a byte through a pipe each way; half a round trip", level, long_batch,
       made<pipe_turns, cross_core>},
      {"process.futex.same_core",
       "two processes, a word of shared memory and FUTEX_WAKE / FUTEX_WAIT; half a round trip", level, long_batch,
       made<futex_across, same_core>},
      {"process.futex.cross_core",
       "two processes, a word of shared memory and FUTEX_WAKE / FUTEX_WAIT; half a round trip", level, long_batch,
       made<futex_across, cross_core>},
      {"process.start", "clone3 to the first instruction of a static program", level, one_by_one,
       [](const setup& s) { return start_of_child(s, walls::none, until::first_instruction); }},
      {"process.start_to_exit", "clone3 of a static program until its end has been waited for", level, one_by_one,
       [](const setup& s) { return start_of_child(s, walls::none, until::exit); }},
  };
}

}  // namespace bench::hierarchy
