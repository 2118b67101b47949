// SPDX-License-Identifier: MIT
#pragma once

// Repeated measurements of one thing, and what is quoted of them.

#include <algorithm>
#include <cstddef>
#include <vector>

namespace bench {

class series {
 public:
  void add(double v) { runs_.push_back(v); }
  bool empty() const { return runs_.empty(); }
  const std::vector<double>& runs() const { return runs_; }  // in the order they were made

  double min() const { return *std::min_element(runs_.begin(), runs_.end()); }
  double median() const {
    std::vector<double> sorted = runs_;
    std::sort(sorted.begin(), sorted.end());
    const std::size_t half = sorted.size() / 2;
    return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  }

 private:
  std::vector<double> runs_;
};

}  // namespace bench
