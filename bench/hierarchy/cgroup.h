// SPDX-License-Identifier: MIT
#pragma once

// Control groups of our own, version 1 or 2, whatever the machine has mounted. Version 1 is one hierarchy per controller (or
// set of them), version 2 one for all; a machine may have both. A group is a folder below the one that this process is in.
//
// Left alone: cpuset (an empty one takes no process, and a set of CPUs is not what is measured) and named hierarchies, which
// are a service manager's book-keeping. Version 2's controllers are not switched on for the new group: that is a setting of
// the group above, and other people's.

#include <sys/types.h>

#include <string>
#include <vector>

namespace bench::hierarchy {

/// A group in each hierarchy in which one can be made, removed when this dies. No process may be in it then.
class cgroup {
 public:
  explicit cgroup(std::string name);
  ~cgroup();
  cgroup(const cgroup&) = delete;
  cgroup& operator=(const cgroup&) = delete;

  void make();  // both are also done by hand, where their time is measured
  void remove();
  void take(pid_t pid);  // throws unavailable

  bool any() const { return !folders_.empty(); }
  /// "version 1: cpu, memory", or why there is none.
  const std::string& text() const { return text_; }

 private:
  struct folder {
    std::string path;
    std::string what;
  };
  std::string name_;
  std::vector<folder> folders_;
  std::string text_;
};

/// Removes those whose names begin so; processes in them are killed. For the janitor.
void remove_cgroups(const std::string& beginning);

}  // namespace bench::hierarchy
