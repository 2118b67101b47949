// SPDX-License-Identifier: MIT
#pragma once

// Which workloads there are, and the runs of them, in rounds: in each round every workload runs once at every p, one p after the other, so
// that a machine that slows down slows all of them.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../series.h"
#include "verdict.h"

namespace bench::workloads {

struct row {
  std::string workload;
  std::optional<int> procs;  // none: p is not its affair
  std::string metric;        // less is better in all
  series runs;
  std::string note;
};

struct plan {
  std::vector<int> procs;
  std::vector<std::string> only;  // empty: all
  std::int64_t rounds = 5;
  bool quick = false;
};

struct findings {
  std::vector<row> rows;  // by workload, then p
  std::vector<verdict> verdicts;
  std::vector<std::string> remarks;  // on memory
};

/// The names that `only` may hold.
std::vector<std::string_view> families();

findings run(const plan& p);

}  // namespace bench::workloads
