// SPDX-License-Identifier: MIT
#pragma once

// Instructions per switch: by callgrind where valgrind is installed, which runs this very program again as its child, in a mode that does
// nothing but one variant, N switches of it (--count VARIANT --switches N); else by the processor's own counter, where the
// kernel gives access to it. A long run less one of two switches: what the start takes is in both, and for all variants it is the
// same. Only instructions of user space count.

#include <cstdint>
#include <optional>
#include <string>

namespace bench::breakdown {

class instruction_counter {
 public:
  instruction_counter();

  /// "callgrind" or "perf"; empty when there is neither.
  const std::string& source() const { return source_; }
  /// ... and then this says why not. Also set when a count failed later on.
  const std::string& why_not() const { return why_not_; }

  /// Per switch; `work` is "whole" or a variant's number, as for run_counted. Empty: why_not says why.
  std::optional<double> per_switch(const std::string& work);

 private:
  std::optional<double> total(const std::string& work, std::int64_t switches);

  std::optional<double> base_whole_, base_variant_;  // of two switches, start included
  std::string source_;
  std::string why_not_;
};

/// What --count does: `work` is "whole", or a variant's name. Throws usage_error for another.
void run_counted(const std::string& work, std::int64_t switches);

}  // namespace bench::breakdown
