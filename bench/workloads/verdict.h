// SPDX-License-Identifier: MIT
#pragma once

// The advice that is put to the test: "lower GOMAXPROCS for sequential work, all cores for parallel work; for I/O either, one has the lower
// overhead". A verdict is computed from the medians alone; 5 % is what noise may do on a machine that is not one's own.

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace bench::workloads {

inline constexpr double noise = 0.05;

/// What the advice says of a workload; silent: nothing, and the verdict is what was found.
enum class advice { few_ps, all_cores, either, silent };

struct verdict {
  std::string workload;
  int best_procs = 0;
  int cpus = 0;
  std::optional<double>
      ratio;         // p = 1 / p = cpus; above 1: the CPUs pay. Empty when either was not measured, or there is one CPU
  std::string text;  // what was found, and whether the advice holds
};

/// `medians`: less is better.
verdict judge(std::string_view workload, advice a, const std::map<int, double>& medians, int cpus);

}  // namespace bench::workloads
