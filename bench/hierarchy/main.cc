// SPDX-License-Identifier: MIT
//
// What everything costs, from a cycle of the core to the start of a virtual machine, measured in one run on this machine and
// set in relation to a goroutine's switch.
//
//   row.h        what a row is                      report.h    table, JSON, comparison
//   sampler.h    how samples are taken, and why so  janitor.h   who cleans up
//   cpu_memory, locks, syscalls_files, goroutines, go_peer, threads, processes, container, kvm: the rows, a file for each
//                subject, its methods at its head
//
// What the machine does not allow is a row that says why. A figure that is not measured here is not in the table.

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <optional>
#include <regex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "../cli.h"
#include "../experiments.h"
#include "../machine.h"
#include "counter.h"
#include "go_peer.h"
#include "janitor.h"
#include "os.h"
#include "report.h"
#include "row.h"
#include "sampler.h"

namespace {

namespace hierarchy = bench::hierarchy;

constexpr const char* program = "bench_hierarchy";
constexpr std::int64_t default_seconds = 42;

struct arguments {
  bool help = false, list = false, quick = false;
  std::optional<std::string> only, json, folder;
  std::vector<std::string> compared;
  std::optional<std::int64_t> seconds;
};

hierarchy::rows all_rows() {
  hierarchy::rows all;
  for (const auto part : {hierarchy::cpu_and_memory_rows, hierarchy::lock_rows, hierarchy::syscall_and_file_rows,
                          hierarchy::goroutine_rows, hierarchy::go_peer_rows, hierarchy::thread_rows,
                          hierarchy::process_rows, hierarchy::container_rows, hierarchy::virtual_machine_rows}) {
    hierarchy::rows some = part();
    std::move(some.begin(), some.end(), std::back_inserter(all));
  }
  return all;
}

hierarchy::rows chosen_rows(const std::optional<std::string>& only) {
  hierarchy::rows all = all_rows();
  if (!only) return all;
  try {
    const std::regex wanted(*only);
    std::erase_if(all, [&](const hierarchy::row& r) { return !std::regex_search(r.name, wanted); });
  } catch (const std::regex_error&) {
    throw bench::usage_error(fmt::format("--only: '{}' is no regular expression", *only));
  }
  if (all.empty())
    throw bench::usage_error(fmt::format("--only: no row's name matches '{}'; --list shows them", *only));
  return all;
}

arguments parse(int argc, char** argv) {
  arguments a;
  CLI::App app("The cost of everything, from a CPU cycle to a virtual machine, beside a goroutine's switch.", program);
  app.add_flag("--quick", a.quick, "a few seconds, for tests: every row, figures not to be quoted");
  app.add_option_function<std::string>(
         "--seconds", [&a](const std::string& given) { a.seconds = bench::whole_number("--seconds", given, 1, 3600); },
         fmt::format("how long to measure, all rows together, preparing not counted (default {})", default_seconds))
      ->type_name("N");
  bench::add_text(app, "--only", a.only, "REGEX", "only rows whose names it matches somewhere");
  app.add_flag("--list", a.list, "print names and methods, and measure nothing");
  bench::add_text(app, "--json", a.json, "FILE", "write the rows to this file as well");
  bench::add_text(app, "--dir", a.folder, "DIR",
                  "where the file rows put their file (default /var/tmp, else the temporary folder)");
  app.add_option("--compare", a.compared, "measure nothing, but compare two such files; exit status 1 if they disagree")
      ->type_name("A.json B.json")
      ->expected(2);
  a.help = !bench::parse(app, argc, argv);
  return a;
}

// A folder of this run alone. In --dir, since a file is written in it.
std::string make_folder(const std::optional<std::string>& wanted, const std::string& name) {
  const auto made = [&name](const std::string& where) {
    std::string path = where + "/" + name + "XXXXXX";
    return mkdtemp(path.data()) != nullptr ? path : std::string();
  };
  if (wanted) {
    if (std::string path = made(*wanted); !path.empty()) return path;
    throw bench::usage_error("--dir: " + hierarchy::errno_text(fmt::format("cannot write to '{}'", *wanted)));
  }
  if (std::string path = made("/var/tmp"); !path.empty()) return path;
  if (std::string path = made(std::filesystem::temp_directory_path()); !path.empty()) return path;
  throw bench::usage_error("no temporary folder can be written to; name one with --dir");
}

// A slow build of the Go programs, or rows that hang, are at the expense of rounds: the whole takes less than a minute,
// unless another length is asked for.
hierarchy::plan plan_for(const arguments& a, std::chrono::steady_clock::time_point begin) {
  using std::chrono::milliseconds, std::chrono::seconds;
  hierarchy::plan p{.turn = milliseconds(15),
                    .rounds = 1'000'000,
                    .measuring = seconds(a.seconds.value_or(default_seconds)),
                    .latest = begin + (a.seconds ? std::chrono::hours(24) : seconds(54)),
                    .patience = seconds(10)};
  if (a.quick) {
    p.turn = milliseconds(2);
    p.rounds = 2;
    p.patience = seconds(60);  // the machine that runs tests may be busy with others
  }
  return p;
}

int measure(const arguments& a, const hierarchy::rows& rows) {
  const bench::stopwatch watch;
  const hierarchy::instant begin = hierarchy::instant::now();
  hierarchy::setup s;
  s.quick = a.quick;
  s.run_name = fmt::format("weft-hierarchy-{}.", getpid());
  s.files = make_folder(a.folder, s.run_name);
  const hierarchy::janitor cleaner(s.run_name, s.files);

  const bench::machine m = bench::this_machine();
  const hierarchy::plan p = plan_for(a, begin.time);
  fmt::print("{} rows, {}\n", rows.size(),
             a.quick ? "quickly" : fmt::format("measured for {} s", p.measuring.count() / 1000));
  fmt::print("{}, {} CPUs, {}, {}, {}; weft {}\n", m.cpu, m.cpus, m.arch, m.kernel, m.compiler, bench::revision());
  if (const std::string why = bench::why_not_to_quote(); !why.empty() || a.quick) {
    fmt::print("figures of this run are not to be quoted: {}\n", why.empty() ? "--quick" : why);
  }
  fmt::print("\n");
  std::fflush(stdout);

  if (std::any_of(rows.begin(), rows.end(), [](const auto& r) { return r.name.starts_with("go."); })) {
    hierarchy::build_go_peer(s);
  }
  // A tenth of a second tells the counter's rate to a millionth, and has mostly passed already.
  std::this_thread::sleep_for(std::chrono::milliseconds(100) - watch.elapsed());
  s.ticks_per_ns = hierarchy::ticks_per_ns(begin, hierarchy::instant::now());

  const hierarchy::sampling figures = hierarchy::take_samples(rows, s, p);
  const hierarchy::report r{.figures = figures, .how = p, .shared = s, .where = m, .took = watch.elapsed()};
  hierarchy::print_table(r);
  if (a.json) hierarchy::write_json(r, *a.json);
  if (std::fflush(stdout) != 0) throw std::runtime_error("writing to the standard output failed");
  return 0;
}

int hierarchy_main(int argc, char** argv) {
  const arguments a = parse(argc, argv);
  if (a.help) return 0;
  if (!a.compared.empty()) return hierarchy::compare(a.compared[0], a.compared[1]) ? 0 : 1;
  const hierarchy::rows rows = chosen_rows(a.only);
  if (a.list) {
    for (const hierarchy::row& r : rows) fmt::print("{:28} {}\n", r.name, r.method);
    return 0;
  }
  bench::check_writable(a.json);
  return measure(a, rows);
}

}  // namespace

int main(int argc, char** argv) {
  return bench::exit_status(program, [&] { return hierarchy_main(argc, argv); });
}
