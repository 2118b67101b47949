// SPDX-License-Identifier: MIT
#pragma once

// From measurements to rows: which part of a switch takes how much, and what is left over.
//
// Parts of the one-P switch. On a processor that does many things at once a part has no time of its own: left out alone it gives back
// less than it takes where the others hide it, and more where others waited for it. So all 2^6 ways of leaving parts out are measured,
// and a part's figure is what adding it costs, averaged over all orders in which the six can be added (the Shapley value). So the six add
// up to the path of one stack less what is left of it without any of them; `unexplained` is what then lacks to the shipped ping-pong: the
// bare loop, the scheduler's slow half once per budget, the second stack, and what else is wrong about the laboratory. It may be negative.
// Beside each figure stand what leaving out that part alone gave back (one stack) and what doing it twice cost (two stacks): a part whose
// three figures are far apart is one that others hide, or that hides others.
//
// What p = N adds. The row of N Ps takes over the six figures of one P, and adds differences of shipped runs of this same N:
//   cache-line transfer  moves of a goroutine to another P, per switch (counted) x a line from CPU to CPU (measured): the least a move costs
//   rmw and fence        a locked instruction more per switch costs how much more at N than at 1
//   os noise             free threads less a pinned one, both goroutines bound to P 0, at N; less the same at 1
//   migration            moves per switch x (the pair on two Ps less the pair on one, less a line): the rest of what a move costs
//   extra runtime work   the pair pinned on one CPU at N, less the same at 1: sysmon, Ms that look for work, more Ps to look at
// None is forced to fit: what lacks to the whole, or is too much, is unexplained.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "measure.h"

namespace bench::breakdown {

struct part_row {
  std::string name = {};
  std::string method = {};
  std::optional<double> ns = {};
  std::optional<double> left_out_ns = {};
  std::optional<double> doubled_ns = {};
  std::optional<double> instructions = {};
  std::string unavailable = {};  // why there is no ns
};

struct breakdown_row {
  int procs = 1;
  double whole_ns = 0;
  std::vector<part_row> parts = {};
  double unexplained_ns = 0;
  std::optional<double> whole_instructions = {};
  std::optional<double> unexplained_instructions = {};

  bool explained() const { return unexplained_ns < whole_ns / 10 && unexplained_ns > -whole_ns / 10; }
};

/// One for each number of Ps asked for.
std::vector<breakdown_row> rows_of(const measurement& m, const std::vector<int>& procs);

/// What was measured beside: not part of any sum.
struct context_row {
  std::string name = {};
  std::string method = {};
  std::optional<int> procs = {};
  std::optional<double> value = {};
  std::string unavailable = {};
};
std::vector<context_row> context_of(const measurement& m);

}  // namespace bench::breakdown
