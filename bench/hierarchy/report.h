// SPDX-License-Identifier: MIT
#pragma once

// What the figures look like: a table to read, JSON for other programs, and two JSON files side by side.

#include <chrono>
#include <string>
#include <vector>

#include "../machine.h"
#include "sampler.h"

namespace bench::hierarchy {

struct report {
  const sampling& figures;
  const plan& how;
  const setup& shared;
  const bench::machine& where;
  std::chrono::duration<double> took;
};

/// Every row, its method below it; then the rows that isolate, as a table of what isolation costs.
void print_table(const report& r);

/// Throws runtime_error when it cannot be written.
void write_json(const report& r, const std::string& path);

/// Prints the medians of two runs side by side. False: some row above 5 ns differs by more than 10 %. Throws usage_error
/// when a file is not one of ours.
bool compare(const std::string& path_a, const std::string& path_b);

}  // namespace bench::hierarchy
