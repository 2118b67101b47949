// SPDX-License-Identifier: MIT
#pragma once

// The few things that several rows ask of the kernel, with failures in words. Nothing here is on a measured path except
// the futex calls, which add nothing to the bare system call.

#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bench::hierarchy {

/// "<what>: No such file or directory", for the current errno.
std::string errno_text(std::string_view what);

/// Throws unavailable(errno_text(what)) when `result` is negative; else returns it.
std::int64_t checked(std::int64_t result, std::string_view what);

class fd {
 public:
  fd() = default;
  explicit fd(int n) : n_(n) {}
  fd(fd&& other) noexcept : n_(std::exchange(other.n_, -1)) {}
  fd& operator=(fd&& other) noexcept {
    std::swap(n_, other.n_);
    return *this;
  }
  ~fd() { close(); }

  int get() const { return n_; }
  explicit operator bool() const { return n_ >= 0; }
  void close();

 private:
  int n_ = -1;
};

struct pipe_ends {
  fd read, write;
};
pipe_ends make_pipe();  // close-on-exec

/// All of it, or false: the other end is gone.
bool write_all(int to, const void* data, std::size_t size);
bool read_all(int from, void* data, std::size_t size);

/// One write of a whole small file, as /proc and cgroup files want it; false and errno otherwise.
bool write_file(const std::string& path, std::string_view text);

/// What a small file holds, without the last newline; empty when it cannot be read.
std::string read_file(const std::string& path);

/// Zeroed memory, shared with children that are yet to be made.
class shared_memory {
 public:
  explicit shared_memory(std::size_t size);
  ~shared_memory();
  shared_memory(const shared_memory&) = delete;
  shared_memory& operator=(const shared_memory&) = delete;
  void* get() const { return at_; }

 private:
  void* at_;
  std::size_t size_;
};

// ---- futex

enum class futex_scope { one_process, shared };
void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t expected, futex_scope scope);
void futex_wake_one(std::atomic<std::uint32_t>& word, futex_scope scope);

// ---- CPUs

/// Those that this process may use.
std::vector<int> allowed_cpus();

/// Keeps the calling thread, and the threads and processes that it makes from now on, on one CPU.
void pin_to(int cpu);

/// The CPU for what needs one: the last, rather than the first, which is where most machines send their interrupts.
int home_cpu();

/// Where a row's two sides run.
struct two_cpus {
  int first;
  int second;
  std::string text;
};
two_cpus same_core();
two_cpus cross_core();  // throws unavailable when there is one CPU only

// ---- children

/// To be called first in a new child: it dies when `parent`, the process that made it, does. (A new process namespace
/// shows no parent: 0.)
void die_with_parent(std::int64_t parent);

struct program_output {
  int status = 0;  // as waitpid gives it
  bool timed_out = false;
  std::string text;  // standard output and error
};

/// Whether a program that is run may have children of its own, which must then not outlive it.
enum class offspring { none, some };

/// Runs a program to its end, but not longer than that; afterwards neither it nor what it has started is left.
program_output run_program(const std::vector<std::string>& arguments, const std::string& folder,
                           const std::vector<std::pair<std::string, std::string>>& environment,
                           std::chrono::milliseconds limit, offspring children);

}  // namespace bench::hierarchy
