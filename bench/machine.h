// SPDX-License-Identifier: MIT
#pragma once

// A figure is worth nothing without the machine, the compiler and the revision it came from: this is where the programs
// here get them. Deliberately without the host's name.

#include <string>

namespace bench {

struct machine {
  std::string cpu;       // the model's name, as the kernel gives it
  int cpus;              // those that this process may use
  std::string kernel;    // name and release
  std::string compiler;  // name and version, and what was switched on that makes figures worthless
  std::string arch;
};

machine this_machine();

/// The revision that was built, "-dirty" when it was not quite that.
std::string revision();

/// Why figures of this build must not be quoted (not optimised, checks on, a sanitizer); empty when they may be.
std::string why_not_to_quote();

}  // namespace bench
