// SPDX-License-Identifier: MIT
//
// bench_micro: the pieces that a goroutine's life is made of, one by one, on Google Benchmark.
//
// The Time column is nanoseconds of wall clock per single operation (a switch, a yield, an element, a goroutine), the
// CPU column what all threads of the process used per operation: over Time it shows Ps that spin, under it Ps asleep.
//
// A runtime is started once per benchmark and setting; in it one batch runs unrecorded, then batch after batch, each
// timed around its work alone. A batch is some ten thousand operations, so that starting goroutines does not show.
//
// The raw stack switches are in micro_switch.cc, the bare cache line between two threads in micro_cache_line.cc.

#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdint>
#include <mutex>
#include <thread>

#include <weft/weft.h>

#include "experiments.h"
#include "machine.h"

namespace {

using bench::place;

// `once` runs a batch of `ops` operations and returns its bench::result.
template <class Once>
void in_runtime(benchmark::State& state, std::int64_t ops, Once once) {
  bool right = true;
  weft::run({.procs = static_cast<int>(state.range(0))}, [&] {
    right = once().right;
    while (state.KeepRunningBatch(ops)) {
      const bench::result r = once();
      right = right && r.right;
      state.SetIterationTime(std::chrono::duration<double>(r.elapsed).count());
    }
  });
  if (!right) state.SkipWithError("a sum is wrong: values were lost or repeated");
}

// The goroutine that drives the batches may move from thread to thread: hence the process's CPU time, not the thread's.
void at_each_p(benchmark::internal::Benchmark* b) {
  b->ArgName("p")->Arg(1)->Arg(2)->Arg(16)->UseManualTime()->MeasureProcessCPUTime();
}

// ---- goroutines ---------------------------------------------------------------------------------------------------

void spawn_run_exit(benchmark::State& state) {
  in_runtime(state, 10'000, [] { return bench::spawn_and_join(10'000); });
}
BENCHMARK(spawn_run_exit)->Apply(at_each_p);

void yield_between_two(benchmark::State& state) {
  in_runtime(state, 20'000, [] { return bench::yield_between_two(10'000); });
}
BENCHMARK(yield_between_two)->Apply(at_each_p);

// A goroutine for each inner node of fib(20)'s call tree: whatever another P does, it has stolen.
void steal_fork_join(benchmark::State& state) {
  in_runtime(state, bench::serial_fib(21) - 1, [] { return bench::fork_join_fib(20); });
}
BENCHMARK(steal_fork_join)->Apply(at_each_p);

// ---- channels, nobody else there ----------------------------------------------------------------------------------

template <class Loop>
void alone(benchmark::State& state, Loop loop) {
  constexpr std::int64_t pairs = 10'000;
  in_runtime(state, 2 * pairs, [loop] {
    const auto c = weft::make_chan<std::int64_t>(128);
    const bench::stopwatch watch;
    const std::int64_t sum = loop(c, pairs);
    return bench::result{watch.elapsed(), 2 * pairs, sum == bench::sum_below(pairs)};
  });
}

void chan_alone_send_recv(benchmark::State& state) {
  alone(state, [](const weft::chan<std::int64_t>& c, std::int64_t pairs) {
    std::int64_t sum = 0;
    for (std::int64_t i = 0; i < pairs; ++i) {
      c.send(i);
      sum += *c.recv();
    }
    return sum;
  });
}
BENCHMARK(chan_alone_send_recv)->Apply(at_each_p);

void chan_alone_try_send_try_recv(benchmark::State& state) {
  alone(state, [](const weft::chan<std::int64_t>& c, std::int64_t pairs) {
    std::int64_t sum = 0;
    for (std::int64_t i = 0; i < pairs; ++i) {
      if (!c.try_send(i)) return std::int64_t{-1};
      if (auto v = c.try_recv()) sum += *v;
    }
    return sum;
  });
}
BENCHMARK(chan_alone_try_send_try_recv)->Apply(at_each_p);

// What a losing try costs: it must leave no garbage and burn nothing.
void chan_alone_try_recv_empty(benchmark::State& state) {
  constexpr std::int64_t tries = 10'000;
  in_runtime(state, tries, [] {
    const auto c = weft::make_chan<std::int64_t>();
    std::int64_t got = 0;
    const bench::stopwatch watch;
    for (std::int64_t i = 0; i < tries; ++i) {
      if (c.try_recv()) ++got;
    }
    return bench::result{watch.elapsed(), tries, got == 0};
  });
}
BENCHMARK(chan_alone_try_recv_empty)->Apply(at_each_p);

// ---- mutex --------------------------------------------------------------------------------------------------------

// One lock and one unlock, by the only one who wants it. Not of the mutex's, but of the loop's: the counter, and what asks for it.
template <class Mutex>
void uncontended(benchmark::State& state) {
  std::thread([] {}).join();  // from now on nobody may think that there is but one thread
  weft::run({.procs = 1}, [&] {
    Mutex m;
    std::int64_t count = 0;
    for (auto _ : state) {
      m.lock();
      benchmark::DoNotOptimize(++count);
      m.unlock();
    }
  });
}
BENCHMARK_TEMPLATE(uncontended, weft::mutex);
BENCHMARK_TEMPLATE(uncontended, std::mutex);

void mutex_of_eight(benchmark::State& state) {
  in_runtime(state, 80'000, [] { return bench::counting_under_mutex(80'000, 8); });
}
BENCHMARK(mutex_of_eight)->Apply(at_each_p);

// ---- channels, ping-pong ------------------------------------------------------------------------------------------

// A value that no register holds: what is fast for an int must stay so.
struct wide {
  std::int64_t value;
  char rest[56] = {};

  explicit wide(std::int64_t v) : value(v) {}
  explicit operator std::int64_t() const { return value; }
};

template <class T>
void pingpong(benchmark::State& state, bench::pingpong_setting setting) {
  in_runtime(state, 2 * setting.rounds * setting.pairs, [setting] { return bench::pingpong<T>(setting); });
}

void pingpong_depth_0(benchmark::State& state) { pingpong<int>(state, {.rounds = 50'000}); }
BENCHMARK(pingpong_depth_0)->Apply(at_each_p);

void pingpong_depth_4(benchmark::State& state) { pingpong<int>(state, {.rounds = 50'000, .depth = 4}); }
BENCHMARK(pingpong_depth_4)->Apply(at_each_p);

void pingpong_1000_pairs(benchmark::State& state) { pingpong<int>(state, {.rounds = 200, .pairs = 1000}); }
BENCHMARK(pingpong_1000_pairs)->Apply(at_each_p);

void pingpong_64_bytes(benchmark::State& state) { pingpong<wide>(state, {.rounds = 50'000}); }
BENCHMARK(pingpong_64_bytes)->Apply(at_each_p);

// Held against cache_line_one_way: the wire, without a channel on it.
void pingpong_cross(benchmark::State& state) { pingpong<int>(state, {.rounds = 50'000, .where = place::cross}); }
BENCHMARK(pingpong_cross)->ArgName("p")->Arg(2)->UseManualTime()->MeasureProcessCPUTime();

// ---- channels, throughput -----------------------------------------------------------------------------------------

void throughput(benchmark::State& state, std::size_t capacity, std::int64_t each) {
  constexpr std::int64_t elements = 100'000;
  in_runtime(state, elements, [capacity, each] { return bench::channel(elements, capacity, each); });
}
BENCHMARK_CAPTURE(throughput, cap128_1x1, 128, 1)->Apply(at_each_p);
BENCHMARK_CAPTURE(throughput, cap128_4x4, 128, 4)->Apply(at_each_p);
BENCHMARK_CAPTURE(throughput, cap1_1x1, 1, 1)->Apply(at_each_p);
BENCHMARK_CAPTURE(throughput, cap1_4x4, 1, 4)->Apply(at_each_p);
BENCHMARK_CAPTURE(throughput, unbuffered_8x8, 0, 8)->Apply(at_each_p);

}  // namespace

int main(int argc, char** argv) {
  const bench::machine m = bench::this_machine();
  benchmark::AddCustomContext("cpu", m.cpu);
  benchmark::AddCustomContext("kernel", m.kernel);
  benchmark::AddCustomContext("compiler", m.compiler);
  benchmark::AddCustomContext("weft_revision", bench::revision());
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
