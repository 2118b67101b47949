// SPDX-License-Identifier: MIT
#pragma once

// What one that waits costs in memory: a goroutine, and a thread of the system. Each measurement is a process of its own, forked for it, so
// that nothing of what was measured before is in it.

#include <cstdint>

namespace bench::workloads {

struct memory_use {
  double resident = 0;  // bytes per task, by which the process's resident memory grew
  double virtual_ = 0;  // ... and its address space
  double kernel =
      0;  // ... and what /proc/meminfo calls KernelStack and PageTables; that is the whole machine's, whoever asked for it
  std::int64_t tasks = 0;  // that could be made; fewer than asked for where the system refuses
};

/// n goroutines wait on one channel, with that many Ps.
memory_use goroutine_memory(int procs, std::int64_t n);

/// n threads, with stacks of the default size, wait for a word to change.
memory_use thread_memory(std::int64_t n);

/// So many goroutines or threads at most, for which there is memory: 16 KiB each, in half of what is available.
std::int64_t at_most_for_memory(std::int64_t n);

}  // namespace bench::workloads
