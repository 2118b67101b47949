// SPDX-License-Identifier: MIT
#pragma once

// What the C++ peers share: their command line, PROGRAM NAME P N, the clock, and what a run says of itself. The
// programs proper are in programs.h. None of it is weft's: a peer links its own runtime and nothing of ours.
//
// A wrong sum ends the process with exit status 1 and a line on stderr; a workload that a peer does not have, or a bad
// number, with 2.

#include <time.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace peer {

[[noreturn]] inline void fail(int status, const char* what) {
  std::fprintf(stderr, "%s\n", what);
  std::exit(status);
}

inline void check(bool right) {
  if (!right) fail(1, "a sum is wrong");
}

inline void must(bool done, const char* what) {
  if (!done) fail(1, what);
}

class stopwatch {
 public:
  double ns() const { return std::chrono::duration<double, std::nano>(clock::now() - start_).count(); }

 private:
  using clock = std::chrono::steady_clock;
  clock::time_point start_ = clock::now();
};

inline std::int64_t sum_below(std::int64_t n) { return n * (n - 1) / 2; }

inline double resident_bytes() {
  long size = 0, resident = 0;
  std::FILE* f = std::fopen("/proc/self/statm", "r");
  must(f != nullptr && std::fscanf(f, "%ld %ld", &size, &resident) == 2, "/proc/self/statm cannot be read");
  std::fclose(f);
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

// Of all threads.
inline double processor_ns() {
  timespec t;
  must(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0, "no clock of processor time");
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

inline void print_per_op(double ns, std::int64_t ops) {
  std::printf("ns_per_op=%.3f\n", ns / static_cast<double>(ops));
}

struct arguments {
  std::string name;
  int procs;
  std::int64_t n;
};

inline std::int64_t whole_number(const char* text) {
  char* end = nullptr;
  const long long value = std::strtoll(text, &end, 10);
  if (end == text || *end != '\0' || value < 1) fail(2, "P and N are whole numbers above zero");
  return value;
}

inline arguments parse(int argc, char** argv) {
  if (argc != 4) fail(2, "usage: PEER NAME P N");
  return {argv[1], static_cast<int>(whole_number(argv[2])), whole_number(argv[3])};
}

}  // namespace peer
