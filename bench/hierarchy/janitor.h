// SPDX-License-Identifier: MIT
#pragma once

// Who cleans up, however the run ends.
//
// The kernel takes back processes, memory, namespaces and nameless files by itself. Left are this run's folder of files and
// its control groups. They are the business of one small process, forked before all others, that sleeps in a read of a pipe
// whose other end every process of the run holds. The read ends when the last of them is gone, by whatever death, SIGKILL
// included; only then are the control groups empty and can be removed, and then they are.
//
// Everything is found by name: what this run makes outside its processes begins with setup::run_name.

#include <sys/types.h>

#include <string>

#include "os.h"

namespace bench::hierarchy {

class janitor {
 public:
  /// `folder` is removed with all it holds, and the control groups whose names begin with run_name.
  janitor(const std::string& run_name, const std::string& folder);
  /// Waits until all is clean.
  ~janitor();
  janitor(const janitor&) = delete;
  janitor& operator=(const janitor&) = delete;

 private:
  pid_t pid_ = 0;
  fd held_;
};

}  // namespace bench::hierarchy
