// SPDX-License-Identifier: MIT
//
// The yardstick for goroutines on two Ps: see cache_line.h.

#include "cache_line.h"

#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

namespace {

void cache_line_one_way(benchmark::State& state) {
  constexpr std::int64_t rounds = 10'000;
  const std::vector<int> cpus = bench::allowed_cpus();
  if (cpus.size() < 2) {
    state.SkipWithError("two CPUs are needed");
    return;
  }
  bench::cache_line_pair pair(cpus[0], cpus[1]);
  if (!pair) {
    state.SkipWithError("the threads cannot be kept on their CPUs");  // the loop below then ends before it begins
  }
  while (state.KeepRunningBatch(2 * rounds)) pair.round_trips(rounds);
}
BENCHMARK(cache_line_one_way)->UseRealTime();

}  // namespace
