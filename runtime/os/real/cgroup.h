// SPDX-License-Identifier: MIT
//
// The CPU quota of a control group, in two dialects.
//
//   /proc/self/cgroup       which group, per hierarchy:   v2  0::/a/b            v1  4:cpu,cpuacct:/a/b
//   /proc/self/mountinfo    where that hierarchy is:      fs type cgroup2         fs type cgroup, option cpu
//   <group>/cpu.max                       v2: "<quota> <period>" in us, or "max <period>"
//   <group>/cpu.cfs_quota_us, _period_us  v1: -1 = none
//
// A quota on any ancestor binds, so every directory from the group up to the mount point is read and the least
// ratio wins. Hybrid systems have both hierarchies; only one carries the cpu controller, the other has no such file.
// Inside a container the mount may show a subtree (its root, field 4 of mountinfo, is then a prefix of the group's
// path), or the group's path may lie outside of what is mounted; then the mount point itself is all there is to read.
// Internal to os/real; a header of its own so that tests can hand in a tree of their own making.
#pragma once

#include <string>

namespace weft::os {

// CPUs' worth of quota, rounded up, at least 1; 0 when there is no quota or it cannot be told. `root` is put before
// every path: "" for the real system.
int cgroup_cpu_limit(const std::string& root);

}  // namespace weft::os
