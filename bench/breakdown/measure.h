// SPDX-License-Identifier: MIT
#pragma once

// All measurements of one bench_breakdown run, taken in rounds: each round measures everything once, so that a machine that changes
// its speed changes it for all.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "../series.h"
#include "lab.h"

namespace bench::breakdown {

/// What is measured anew for each number of Ps.
struct procs_series {
  int procs = 1;
  series whole = {};           // the shipped ping-pong, placed as the scheduler likes
  series fenced = {};          // ... with a locked instruction more for each switch
  series bound = {};           // ... both goroutines bound to P 0
  series pinned = {};          // ... and its thread to a CPU
  series moves = {};           // moves to another P per switch
  series cross = {};           // one goroutine on P 0, one on P 1
  series same_cpu_wall = {};   // pinned, beside a thread that spins on the same CPU
  series same_cpu_cpu = {};    //   processor time of the pair's thread alone
  series other_cpu_wall = {};  // beside one that spins on the second CPU
  series pinned_cpu = {};
};

struct instruction_counts {
  std::string source;   // empty: none
  std::string why_not;  // then
  std::optional<double> whole;
  std::array<std::optional<double>, parts> part;
};

struct measurement {
  std::vector<series> variants;  // as variants()
  series raw_one_target, raw_in_turn, raw_at_random, raw_call;
  series cache_line;
  std::vector<procs_series> by_procs;  // the first is p = 1, asked for or not
  std::string why_not_two_cpus;
  std::string why_not_pinned;
  instruction_counts instructions;

  double variant_ns(std::size_t which) const { return variants[which].median(); }
};

/// quick: a fiftieth of the work, to see that all runs.
measurement measure(const std::vector<int>& procs, std::int64_t rounds, bool quick);

/// `why_not`: empty, or why none shall be counted.
instruction_counts count_instructions(const std::string& why_not);

}  // namespace bench::breakdown
