// SPDX-License-Identifier: MIT
//
// The experiment that the project exists to run: two goroutines, two unbuffered channels, n round trips; the time of a
// switch is total / 2n. What is measured stands in experiments.h; here are the settings, the order of runs, the report.
//
// - Every run has a runtime of its own, so that no run inherits another's threads, stacks or placement.
// - The time is taken inside that runtime, around both goroutines, from before the first is started until both have
//   ended; starting and stopping the runtime and making the channels are outside.
// - Runs of the settings alternate (A B A B, not A A B B): a machine that slows down meanwhile slows all of them.
// - Before the first run that counts, each setting runs once unrecorded, a tenth as long.

#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <weft/weft.h>

#include "cli.h"
#include "experiments.h"
#include "machine.h"

namespace {

using bench::place;

constexpr const char* program = "bench_pingpong";

struct place_name {
  place where;
  std::string_view name;
};
constexpr place_name place_names[] = {{place::same, "same"}, {place::cross, "cross"}, {place::automatic, "auto"}};

std::string_view name_of(place where) {
  return std::find_if(std::begin(place_names), std::end(place_names), [where](auto& p) { return p.where == where; })
      ->name;
}

place place_named(std::string_view name) {
  for (const auto& p : place_names) {
    if (p.name == name) return p.where;
  }
  throw bench::usage_error(fmt::format("--place: '{}' is none of same, cross, auto", name));
}

struct arguments {
  std::vector<int> procs;
  std::int64_t round_trips = 1'000'000;
  std::int64_t runs = 3;
  std::int64_t depth = 0;
  std::int64_t pairs = 1;
  place where = place::automatic;
  std::optional<std::string> json;
  bool help = false;

  bench::pingpong_setting setting(std::int64_t trips) const {
    return {.rounds = std::max<std::int64_t>(trips / pairs, 1),
            .pairs = pairs,
            .depth = static_cast<int>(depth),
            .where = where};
  }
};

arguments parse(int argc, char** argv) {
  arguments a;
  CLI::App app("Two goroutines, two unbuffered channels: the time of a goroutine switch.", program);
  bench::add_procs(
      app, a.procs,
      "Ps to run with; several, as a list or by repeating it, are run in turn and compared (default 1,16)");
  // A value is an int: more round trips than it counts are refused.
  bench::add_number(app, "-n", a.round_trips, 1, std::numeric_limits<int>::max(),
                    "round trips of a run, shared by all pairs");
  bench::add_number(app, "-r", a.runs, 1, 1'000'000, "runs of each setting");
  app.add_option_function<std::string>(
         "--place", [&a](const std::string& name) { a.where = place_named(name); },
         "the two goroutines of a pair on one P, on two, or as the scheduler likes (default auto)")
      ->type_name("same|cross|auto");
  bench::add_number(app, "--depth", a.depth, 0, 256, "frames, not inlined, between the loop and the channel operation");
  bench::add_number(app, "--pairs", a.pairs, 1, 1'000'000, "pairs of goroutines at once");
  bench::add_text(app, "--json", a.json, "FILE", "write every run to this file as well");
  if (!bench::parse(app, argc, argv)) {
    a.help = true;
    return a;
  }

  if (a.procs.empty()) a.procs = {1, 16};
  if (a.where == place::cross && *std::min_element(a.procs.begin(), a.procs.end()) < 2) {
    throw bench::usage_error("--place cross: two Ps are needed, so every -p must be at least 2");
  }
  bench::check_writable(a.json);
  return a;
}

// Sleeps and preemptions of all the process's threads meanwhile: they tell a run in which both sides spun from one in
// which a side slept (a wakeup costs a thousand switches), and a quiet machine from a busy one.
struct context_switches {
  std::int64_t slept = 0;
  std::int64_t preempted = 0;

  static context_switches now() {
    rusage r{};
    getrusage(RUSAGE_SELF, &r);
    return {r.ru_nvcsw, r.ru_nivcsw};
  }
  context_switches since(const context_switches& then) const {
    return {slept - then.slept, preempted - then.preempted};
  }
};

struct one_run {
  bench::result result;
  context_switches switches;
};

one_run run_once(int procs, const bench::pingpong_setting& s) {
  const one_run r = weft::run({.procs = procs}, [&s] {
    const auto before = context_switches::now();
    const bench::result result = bench::pingpong<int>(s);
    return one_run{result, context_switches::now().since(before)};
  });
  if (!r.result.right) {
    throw std::runtime_error(fmt::format("-p {}: the sums are wrong, values were lost or repeated", procs));
  }
  return r;
}

struct measured {
  int procs;
  std::vector<double> runs;  // ns per switch, in the order they were run

  double min() const { return *std::min_element(runs.begin(), runs.end()); }
  double max() const { return *std::max_element(runs.begin(), runs.end()); }
  double median() const {
    std::vector<double> sorted = runs;
    std::sort(sorted.begin(), sorted.end());
    const std::size_t half = sorted.size() / 2;
    return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  }
};

std::vector<measured> measure(const arguments& a, const bench::pingpong_setting& s) {
  std::vector<measured> settings;
  for (const int p : a.procs) {
    run_once(p, a.setting(a.round_trips / 10));
    settings.push_back({p, {}});
  }
  for (std::int64_t run = 1; run <= a.runs; ++run) {
    for (measured& m : settings) {
      const one_run r = run_once(m.procs, s);
      m.runs.push_back(r.result.ns_per_op());
      fmt::print("-p {:<4} run {:<3} total {:>10.3f} ms   {:>9.3f} ns per switch   threads slept {}, preempted {}\n",
                 m.procs, run, static_cast<double>(r.result.elapsed.count()) / 1e6, m.runs.back(), r.switches.slept,
                 r.switches.preempted);
      std::fflush(stdout);
    }
  }
  return settings;
}

void report(const std::vector<measured>& settings) {
  fmt::print("\n");
  for (const measured& m : settings) {
    fmt::print("-p {:<4} min {:.3f}   median {:.3f}   max {:.3f} ns per switch\n", m.procs, m.min(), m.median(),
               m.max());
  }
  if (settings.size() < 2) {
    fmt::print("\ncomparison: none, -p {} is the only setting\n", settings.front().procs);
    return;
  }
  std::vector<measured> ranked = settings;
  std::stable_sort(ranked.begin(), ranked.end(), [](auto& x, auto& y) { return x.median() < y.median(); });
  const measured& best = ranked.front();
  std::string line;
  for (std::size_t k = 1; k < ranked.size(); ++k) {
    line += fmt::format("{}{:.2f}x faster than -p {}", k == 1 ? "" : ", ", ranked[k].median() / best.median(),
                        ranked[k].procs);
  }
  fmt::print("\ncomparison: -p {} is {} (by median)\n", best.procs, line);
}

void write_json(const std::string& path, const arguments& a, const bench::pingpong_setting& s, const bench::machine& m,
                const std::vector<measured>& settings) {
  using json = nlohmann::ordered_json;
  json results = json::array();
  for (const measured& one : settings) {
    results.push_back({{"p", one.procs},
                       {"place", name_of(s.where)},
                       {"depth", s.depth},
                       {"pairs", s.pairs},
                       {"n", a.round_trips},
                       {"ns_per_switch", one.runs},
                       {"min", one.min()},
                       {"median", one.median()}});
  }
  const json document = {
      {"benchmark", "pingpong"},
      {"machine", {{"cpu", m.cpu}, {"cpus", m.cpus}, {"kernel", m.kernel}, {"compiler", m.compiler}, {"arch", m.arch}}},
      {"revision", bench::revision()},
      {"results", std::move(results)}};
  std::ofstream file(path, std::ios::trunc);
  file << document.dump(2) << '\n';
  file.close();
  if (!file) throw std::runtime_error(fmt::format("writing {} failed", path));
}

int pingpong_main(int argc, char** argv) {
  arguments a = parse(argc, argv);
  if (a.help) return 0;

  // What is divided among the pairs must come out even: n is what is really made.
  const bench::pingpong_setting s = a.setting(a.round_trips);
  a.round_trips = s.rounds * s.pairs;

  const bench::machine m = bench::this_machine();
  fmt::print("{} pair{} of goroutines, {} round trips a run, --place {}, --depth {}\n", s.pairs,
             s.pairs == 1 ? "" : "s", a.round_trips, name_of(s.where), s.depth);
  fmt::print("{}, {} CPUs, {}, {}, {}; weft {}\n", m.cpu, m.cpus, m.arch, m.kernel, m.compiler, bench::revision());
  if (const std::string why = bench::why_not_to_quote(); !why.empty()) {
    fmt::print("figures of this build are not to be quoted: {}\n", why);
  }
  fmt::print("\n");
  std::fflush(stdout);

  const std::vector<measured> settings = measure(a, s);
  report(settings);
  if (a.json) write_json(*a.json, a, s, m, settings);
  if (std::fflush(stdout) != 0) throw std::runtime_error("writing to the standard output failed");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return bench::exit_status(program, [&] { return pingpong_main(argc, argv); });
}
