// SPDX-License-Identifier: MIT
#pragma once

// What a row of the hierarchy is: a stable name, one line that says how it is measured, and an experiment that can be
// asked again and again for "so many operations".
//
// The experiment of each row lives in a process of its own (sampler.h). It may therefore pin itself, start threads,
// fork, map half a gigabyte or hang, and disturb no other row; what it leaves behind ends with its process.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace bench::hierarchy {

/// Why this machine gives no figure for a row. Any other exception in an experiment ends its row just the same; this one
/// says that nothing went wrong.
struct unavailable : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What all rows share, settled before the first of them starts.
struct setup {
  bool quick = false;
  std::string
      run_name;         // begins the name of all that is made outside this process; holds its process id, ends in a dot
  std::string files;    // a folder of this run alone, on the file system that the file rows are about
  std::string go_peer;  // the Go programs, built; empty when there are none
  std::string go_version;   // of the compiler that built them
  std::string go_missing;   // why there are none
  double ticks_per_ns = 1;  // of the cycle counter (counter.h)
};

class experiment {
 public:
  experiment() = default;
  virtual ~experiment() = default;
  experiment(const experiment&) = delete;
  experiment& operator=(const experiment&) = delete;

  /// Does about n operations, and returns nanoseconds for each of them.
  virtual double run(std::int64_t n) = 0;

  /// Runs `body`, which calls run() many times, where the experiment can be done: inside a runtime, or beside threads
  /// that were woken for it.
  virtual void within(const std::function<void()>& body) { body(); }

  /// Before the samples of a turn: other rows have had the caches meanwhile. May do more, or nothing.
  virtual void warm_up(std::int64_t n) { run(n); }

  /// Found while preparing, and added to what the row says: sizes, CPUs, file system.
  std::string detail;
  /// In place of the row's isolation, where the machine gave less than was asked for.
  std::string isolation;
};

/// One batch of this length is one sample: long enough that reading the clock (20 ns) does not show, short enough that
/// most of them are not interrupted.
inline constexpr std::chrono::microseconds usual_batch{100};

/// A batch for what sleeps and is woken: a hundred of those, or thereabouts.
inline constexpr std::chrono::microseconds long_batch{1000};

/// For what begins anew in each batch, on several threads, and costs next to nothing once it has begun: waking a thread must
/// not show.
inline constexpr std::chrono::microseconds longest_batch{4000};

/// A single operation is a sample.
inline constexpr std::chrono::microseconds one_by_one{0};

struct row {
  std::string name;
  std::string method;
  std::string isolation;
  std::chrono::microseconds batch;
  std::function<std::unique_ptr<experiment>(const setup&)> make;
};

using rows = std::vector<row>;

// In the order of the table, a file for each.
rows cpu_and_memory_rows();
rows lock_rows();
rows syscall_and_file_rows();
rows goroutine_rows();
rows go_peer_rows();
rows thread_rows();
rows process_rows();
rows container_rows();
rows virtual_machine_rows();

namespace isolation {
inline constexpr const char* none = "none";
inline constexpr const char* goroutine = "none: shared memory";
inline constexpr const char* kernel = "user and kernel mode";
inline constexpr const char* thread = "minimal: shared memory";
inline constexpr const char* process = "address space";
inline constexpr const char* container = "namespaces + cgroup";
inline constexpr const char* machine = "full hardware virtualisation";
}  // namespace isolation

}  // namespace bench::hierarchy
