// SPDX-License-Identifier: MIT
//
// The yardstick for goroutines on two Ps: two bare threads on two CPUs that hand one cache line to and fro, spinning
// without a pause. One operation is one way, as a switch is half a round trip. Nothing that crosses can be faster.
//
// Both threads stay on the first two CPUs that the process may use. Whether those are two cores or two threads of one
// is the machine's affair: lscpu tells, and the figure differs several times over.

#include <benchmark/benchmark.h>
#include <sched.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace {

std::vector<int> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

// The calling thread on one CPU, for as long as this lives.
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

// The line holds the number of handovers made; even numbers are the asker's to move on, odd ones the answerer's.
struct alignas(128) line {
  std::atomic<std::int64_t> handovers{0};

  void wait_for(std::int64_t n) const {
    while (handovers.load(std::memory_order_acquire) != n) {
    }
  }
};

void cache_line_one_way(benchmark::State& state) {
  constexpr std::int64_t rounds = 10'000;
  constexpr std::int64_t stop = -1;
  const std::vector<int> cpus = allowed_cpus();
  if (cpus.size() < 2) {
    state.SkipWithError("two CPUs are needed");
    return;
  }
  const pinned here(cpus[0]);
  line l;
  std::atomic<int> there{0};  // 1: pinned, -1: could not be
  std::thread answerer([&l, &there, cpu = cpus[1]] {
    const pinned pin(cpu);
    there.store(pin ? 1 : -1);
    for (std::int64_t next = 1;; next += 2) {
      std::int64_t now = 0;
      while ((now = l.handovers.load(std::memory_order_acquire)) != next) {
        if (now == stop) return;
      }
      l.handovers.store(next + 1, std::memory_order_release);
    }
  });
  while (there.load() == 0) {
  }
  if (!here || there.load() < 0) {
    state.SkipWithError("the threads cannot be kept on their CPUs");  // the loop below then ends before it begins
  }
  std::int64_t made = 0;
  while (state.KeepRunningBatch(2 * rounds)) {
    for (std::int64_t i = 0; i < rounds; ++i, made += 2) {
      l.handovers.store(made + 1, std::memory_order_release);
      l.wait_for(made + 2);
    }
  }
  l.handovers.store(stop, std::memory_order_release);
  answerer.join();
}
BENCHMARK(cache_line_one_way)->UseRealTime();

}  // namespace
