// SPDX-License-Identifier: MIT
#pragma once

// The wire between two CPUs: two bare threads that hand one cache line to and fro, spinning without a pause. One operation is one way, as
// a switch is half a round trip. Nothing that crosses can be faster.
//
// Both threads stay on the first two CPUs that the process may use. Whether those are two cores or two threads of one is the machine's
// affair: lscpu tells, and the figure differs several times over.

#include <sched.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace bench {

inline std::vector<int> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

/// The calling thread on one CPU, for as long as this lives. False: it could not be.
class pinned {
 public:
  explicit pinned(int cpu) {
    sched_getaffinity(0, sizeof before_, &before_);
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    done_ = sched_setaffinity(0, sizeof set, &set) == 0;
  }
  ~pinned() { sched_setaffinity(0, sizeof before_, &before_); }
  pinned(const pinned&) = delete;
  pinned& operator=(const pinned&) = delete;

  explicit operator bool() const { return done_; }

 private:
  cpu_set_t before_{};
  bool done_ = false;
};

/// The line, and the thread that answers. The constructor's caller is the one who asks.
class cache_line_pair {
 public:
  cache_line_pair(int here, int there) : pin_(here), answerer_([this, there] { answer(there); }) {
    while (there_.load() == 0) {
    }
  }
  ~cache_line_pair() {
    line_.store(stop, std::memory_order_release);
    answerer_.join();
  }
  cache_line_pair(const cache_line_pair&) = delete;
  cache_line_pair& operator=(const cache_line_pair&) = delete;

  /// Both threads are where they should be.
  explicit operator bool() const { return static_cast<bool>(pin_) && there_.load() > 0; }

  /// To and fro so many times: twice as many operations.
  void round_trips(std::int64_t n) {
    for (; n > 0; --n, made_ += 2) {
      line_.store(made_ + 1, std::memory_order_release);
      while (line_.load(std::memory_order_acquire) != made_ + 2) {
      }
    }
  }

 private:
  static constexpr std::int64_t stop = -1;

  void answer(int cpu) {
    const pinned pin(cpu);
    there_.store(pin ? 1 : -1);
    for (std::int64_t next = 1;; next += 2) {
      std::int64_t now = 0;
      while ((now = line_.load(std::memory_order_acquire)) != next) {
        if (now == stop) return;
      }
      line_.store(next + 1, std::memory_order_release);
    }
  }

  // Holds the number of handovers made; even numbers are the asker's to move on, odd ones the answerer's.
  alignas(128) std::atomic<std::int64_t> line_{0};
  alignas(128) std::int64_t made_ = 0;
  std::atomic<int> there_{0};  // 1: pinned, -1: could not be
  pinned pin_;
  std::thread answerer_;
};

}  // namespace bench
