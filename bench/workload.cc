// SPDX-License-Identifier: MIT
//
//   workload NAME P N        one workload with P Ps, as the programs of other runtimes take it; prints key=value
//
// so that one script can run ours and theirs in turn. The workloads that bench_micro knows too stand in experiments.h;
// those that only make sense once per process, because they watch its memory, stand here.
//
// Like the others, and unlike bench_pingpong, it has no warm-up: starting cold is part of what is compared.

#include <fmt/format.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <weft/weft.h>

#include "cli.h"
#include "experiments.h"

namespace {

constexpr const char* program = "workload";

using namespace std::chrono_literals;

std::int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::int64_t size = 0, resident = 0;
  if (!(statm >> size >> resident)) throw std::runtime_error("/proc/self/statm cannot be read");
  return resident * sysconf(_SC_PAGESIZE);
}

// Nothing to do, for that long. The P still passes through the scheduler now and then, as in any program that is idle
// but alive, so that what waits for such a passage is not held up by the benchmark itself.
void idle_for(std::chrono::milliseconds time) {
  for (const bench::stopwatch watch; watch.elapsed() < time;) {
    std::this_thread::sleep_for(1ms);
    weft::yield();
  }
}

struct memory_result {
  double bytes_per_task;  // resident, while all are parked
  double after_bytes;     // still resident a second after all have ended
  double create_ns;       // until the last one has begun
  double wake_ns;         // from the first value to the end of the last one
  bool right;
};

// When what is resident has not become less for four seconds.
std::int64_t when_settled(std::int64_t resident) {
  for (int quiet = 0; quiet < 40; ++quiet) {
    idle_for(100ms);
    if (const std::int64_t now = resident_bytes(); now < resident) {
      resident = now;
      quiet = 0;
    }
  }
  return resident;
}

/// n goroutines wait on one channel; then each gets a value. `settled`: they are measured when their stacks have been packed.
memory_result parked(std::int64_t n, bool settled) {
  const auto per_task = [n](std::int64_t total) { return static_cast<double>(total) / static_cast<double>(n); };
  const std::int64_t before = resident_bytes();
  const auto c = weft::make_chan<std::int64_t>();
  std::atomic<std::int64_t> sum{0};
  weft::wait_group started, ended;
  started.add(n);
  ended.add(n);
  const bench::stopwatch watch;
  for (std::int64_t i = 0; i < n; ++i) {
    weft::go([&c, &sum, &started, &ended] {
      started.done();
      sum.fetch_add(*c.recv(), std::memory_order_relaxed);  // ended.wait() orders it
      ended.done();
    });
  }
  started.wait();
  const auto created = watch.elapsed();
  idle_for(50ms);
  std::int64_t full = resident_bytes();
  if (settled) full = when_settled(full);
  const bench::stopwatch waking;
  for (std::int64_t i = 0; i < n; ++i) c.send(1);
  ended.wait();
  const auto woken = waking.elapsed();
  idle_for(1s);
  const std::int64_t after = resident_bytes();
  return {.bytes_per_task = per_task(full - before),
          .after_bytes = per_task(after - before),
          .create_ns = per_task(created.count()),
          .wake_ns = per_task(woken.count()),
          .right = sum.load(std::memory_order_relaxed) == n};
}

std::string ns_per_op(const bench::result& r) { return fmt::format("ns_per_op={:.3f}", r.ns_per_op()); }

struct outcome {
  std::string line;
  bool right;
};

outcome plain(const bench::result& r) { return {ns_per_op(r), r.right}; }

// Go's int has 64 bits, so an element has too.
outcome pingpong(std::int64_t n, std::int64_t pairs, int depth) {
  return plain(
      bench::pingpong<std::int64_t>({.rounds = std::max<std::int64_t>(n / pairs, 1), .pairs = pairs, .depth = depth}));
}

outcome skynet(std::int64_t n) {
  const bench::result r = bench::skynet(n);
  return {fmt::format("{} ms={:.2f}", ns_per_op(r), static_cast<double>(r.elapsed.count()) / 1e6), r.right};
}

outcome parked_line(std::int64_t n, bool settled) {
  const memory_result r = parked(n, settled);
  return {fmt::format("bytes_per_task={:.1f} create_ns={:.1f} after_bytes={:.1f}{}", r.bytes_per_task, r.create_ns,
                      r.after_bytes, settled ? fmt::format(" wake_ns={:.1f}", r.wake_ns) : ""),
          r.right};
}

// Processor time of all threads.
std::int64_t cpu_ns() {
  timespec t;
  if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) != 0) throw std::runtime_error("no clock of processor time");
  return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}

outcome timer_line(std::int64_t n) {
  const std::int64_t before = cpu_ns();
  const std::int64_t wakeups = bench::sleeping(n, 2s);
  return {fmt::format("ns_per_op={:.3f} wakeups={}",
                      static_cast<double>(cpu_ns() - before) / static_cast<double>(wakeups), wakeups),
          wakeups > 0};
}

// How late a sleep of 1 ms ends; `sleep` gets the point of time.
template <class Sleep>
outcome late_line(std::int64_t n, Sleep sleep) {
  std::vector<std::int64_t> late(static_cast<std::size_t>(n));
  for (std::int64_t& ns : late) {
    const auto when = std::chrono::steady_clock::now() + 1ms;
    sleep(when);
    ns = std::chrono::nanoseconds(std::chrono::steady_clock::now() - when).count();
  }
  std::sort(late.begin(), late.end());
  return {
      fmt::format("median_ns={} p99_ns={} max_ns={}", late[late.size() / 2], late[late.size() * 99 / 100], late.back()),
      late.front() >= 0};
}

void bare_sleep(std::chrono::steady_clock::time_point when) {
  const std::int64_t ns = when.time_since_epoch().count();
  const timespec t{.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, nullptr) != 0) {
  }
}

/// The ping-pong with a million others parked. That they are all there at its end is checked.
outcome pingpong_beside_parked(std::int64_t n) {
  constexpr std::int64_t others = 1'000'000;
  const auto gate = weft::make_chan<char>();
  std::atomic<std::int64_t> passed{0};
  weft::wait_group started, ended;
  started.add(others);
  ended.add(others);
  for (std::int64_t i = 0; i < others; ++i) {
    weft::go([&gate, &passed, &started, &ended] {
      started.done();
      (void)gate.recv();
      passed.fetch_add(1, std::memory_order_relaxed);  // ended.wait() orders it
      ended.done();
    });
  }
  started.wait();
  idle_for(50ms);
  const bench::result r = bench::pingpong<std::int64_t>({.rounds = n});
  const bool none = passed.load(std::memory_order_relaxed) == 0;
  gate.close();
  ended.wait();
  return {ns_per_op(r), r.right && none && passed.load(std::memory_order_relaxed) == others};
}

/// A runtime, started and stopped; nothing runs in it. One op is both.
outcome start_stop(int procs, std::int64_t n) {
  std::int64_t ran = 0;
  const bench::stopwatch watch;
  for (std::int64_t i = 0; i < n; ++i) weft::run({.procs = procs}, [&ran] { ++ran; });
  return plain({.elapsed = watch.elapsed(), .ops = n, .right = ran == n});
}

struct workload {
  std::string_view name;
  outcome (*run)(std::int64_t n);  // as a goroutine; null: start_stop, which makes its own runtimes
  std::int64_t least = 1;          // of n
  std::int64_t most = 1'000'000'000;
  std::chrono::milliseconds pack_after{0};
};

constexpr workload workloads[] = {
    {"pingpong", [](std::int64_t n) { return pingpong(n, 1, 0); }},
    {"pingpong_deep4", [](std::int64_t n) { return pingpong(n, 1, 4); }},
    {"pingpong_1000", [](std::int64_t n) { return pingpong(n, 1000, 0); }},
    {"pingpong_beside_parked", pingpong_beside_parked},
    {"start_stop", nullptr},
    {"switch", [](std::int64_t n) { return plain(bench::yield_between_two(n)); }},
    {"spawn", [](std::int64_t n) { return plain(bench::spawn_and_join(n)); }},
    {"parked", [](std::int64_t n) { return parked_line(n, false); }},
    {"parked_packed", [](std::int64_t n) { return parked_line(n, true); }, 1, 1'000'000'000, 1s},
    {"skynet", skynet},
    {"chan128_1x1", [](std::int64_t n) { return plain(bench::channel(n, 128, 1)); }},
    {"chan128_4x4", [](std::int64_t n) { return plain(bench::channel(n, 128, 4)); }},
    {"chan1_1x1", [](std::int64_t n) { return plain(bench::channel(n, 1, 1)); }},
    {"chan1_4x4", [](std::int64_t n) { return plain(bench::channel(n, 1, 4)); }},
    // n turns, and not n ops
    {"chan128_4x4_busy", [](std::int64_t n) { return plain(bench::channel(200'000, 128, 4, bench::turns{n})); }, 0,
     100'000},
    {"chan1_4x4_busy", [](std::int64_t n) { return plain(bench::channel(200'000, 1, 4, bench::turns{n})); }, 0,
     100'000},
    {"contended", [](std::int64_t n) { return plain(bench::channel(n, 0, 8)); }},
    {"select0", [](std::int64_t n) { return plain(bench::selecting(n, 0)); }},
    {"select128", [](std::int64_t n) { return plain(bench::selecting(n, 128)); }},
    {"tryselect_recv", [](std::int64_t n) { return plain(bench::trying_in_vain(n, true, false)); }},
    {"tryselect_send", [](std::int64_t n) { return plain(bench::trying_in_vain(n, false, true)); }},
    {"tryselect_both", [](std::int64_t n) { return plain(bench::trying_in_vain(n, true, true)); }},
    {"tryselect_ready", [](std::int64_t n) { return plain(bench::trying_with_success(n)); }},
    {"mutex", [](std::int64_t n) { return plain(bench::counting_under_mutex(n, 8)); }},
    {"mutex_alone", [](std::int64_t n) { return plain(bench::counting_under_mutex(n, 1)); }},
    {"std_mutex_alone", [](std::int64_t n) { return plain(bench::counting_under_mutex<std::mutex>(n, 1)); }},
    {"timer", timer_line},
    {"late", [](std::int64_t n) { return late_line(n, [](auto when) { weft::sleep_until(when); }); }, 1, 1'000'000},
    {"late_bare", [](std::int64_t n) { return late_line(n, bare_sleep); }, 1, 1'000'000},
    {"steal", [](std::int64_t n) { return plain(bench::fork_join_fib(n)); }, 2, 45},  // fib(n), not n ops
};

std::string all_names() {
  std::string names;
  for (const workload& w : workloads) {
    if (!names.empty()) names += ' ';
    names += w.name;
  }
  return names;
}

int workload_main(int argc, char** argv) {
  const std::string usage = fmt::format("usage: workload NAME P N, where NAME is one of: {}", all_names());
  if (argc == 2 && (argv[1] == std::string_view("--help") || argv[1] == std::string_view("-h"))) {
    fmt::print("{}\n", usage);
    return 0;
  }
  if (argc != 4) throw bench::usage_error(usage);
  const auto w = std::find_if(std::begin(workloads), std::end(workloads),
                              [name = std::string_view(argv[1])](const workload& x) { return x.name == name; });
  if (w == std::end(workloads)) {
    throw bench::usage_error(fmt::format("unknown workload '{}'; there are: {}", argv[1], all_names()));
  }
  const auto procs = static_cast<int>(bench::whole_number("P", argv[2], 1, bench::max_procs));
  const std::int64_t n = bench::whole_number("N", argv[3], w->least, w->most);
  if (w->name == "skynet") {
    std::int64_t power = 1;
    while (power < n) power *= 10;
    if (power != n) throw bench::usage_error(fmt::format("N: {} is no power of ten, as skynet needs", n));
  }

  const outcome o = w->run ? weft::run({.procs = procs, .pack_after = w->pack_after}, [w, n] { return w->run(n); })
                           : start_stop(procs, n);
  if (!o.right) throw std::runtime_error(fmt::format("{}: a sum is wrong", w->name));
  fmt::print("{}\n", o.line);
  if (std::fflush(stdout) != 0) throw std::runtime_error("writing to the standard output failed");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return bench::exit_status(program, [&] { return workload_main(argc, argv); });
}
