// SPDX-License-Identifier: MIT
//
// bench_workloads: the same programs at p = 1, 2, 4, ...: is "lower GOMAXPROCS for sequential work, all cores for parallel" true of weft?
// The programs are in programs.h and memory.h, the order of runs in suite.h, the verdicts in verdict.h; here are options and report.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <weft/weft.h>

#include "../cli.h"
#include "../machine.h"
#include "suite.h"

namespace {

using namespace bench::workloads;

constexpr const char* program = "bench_workloads";

struct arguments {
  plan what;
  std::optional<std::string> json;
  bool help = false;
};

// 1, 2, 4, ... up to 16 and twice the CPUs, and the CPUs themselves.
std::vector<int> default_procs(int cpus) {
  std::vector<int> procs;
  for (int p = 1; p < 2 * std::max(16, 2 * cpus) && p <= bench::max_procs; p *= 2) {
    procs.push_back(p);
    if (p >= std::max(16, 2 * cpus)) break;
  }
  if (std::find(procs.begin(), procs.end(), cpus) == procs.end()) procs.push_back(cpus);
  std::sort(procs.begin(), procs.end());
  return procs;
}

void add_only(plan& p, const std::string& list) {
  const auto known = families();
  std::string_view rest = list;
  for (;;) {
    const auto comma = rest.find(',');
    const std::string_view name = rest.substr(0, comma);
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      throw bench::usage_error(fmt::format("--only: '{}' is none of {}", name, fmt::join(known, ", ")));
    }
    p.only.emplace_back(name);
    if (comma == std::string_view::npos) return;
    rest.remove_prefix(comma + 1);
  }
}

arguments parse(int argc, char** argv) {
  arguments a;
  CLI::App app("The same workloads with 1, 2, 4, ... Ps: which number suits which?", program);
  bench::add_procs(app, a.what.procs,
                   "Ps to run with, as a list or by repeating it (default 1, 2, 4, ... up to 16 and twice the CPUs)");
  bench::add_number(app, "-r", a.what.rounds, 1, 10'000, "rounds");
  app.add_option_function<std::string>(
         "--only", [&a](const std::string& list) { add_only(a.what, list); },
         fmt::format("only these of {}", fmt::join(families(), ", ")))
      ->type_name("NAME[,NAME...]");
  app.add_flag("--quick", a.what.quick, "a hundredth of the work: to see that all runs, not to be quoted");
  bench::add_text(app, "--json", a.json, "FILE", "write every run to this file as well");
  if (!bench::parse(app, argc, argv)) {
    a.help = true;
    return a;
  }
  bench::drop_repeated(a.what.procs);
  if (a.what.procs.empty()) a.what.procs = default_procs(weft::num_cpus());
  bench::check_writable(a.json);
  return a;
}

// One workload's curve: a bar for each p, the longest for the largest.
void print_curves(const std::vector<row>& rows) {
  constexpr double widest = 40;
  std::map<std::string_view, double> largest;
  for (const row& r : rows) largest[r.workload] = std::max(largest[r.workload], r.runs.median());
  std::string_view last;
  for (const row& r : rows) {
    if (r.workload != last) fmt::print("\n{}, {}\n    {}\n", r.workload, r.metric, r.note);
    last = r.workload;
    const double share = largest[r.workload] > 0 ? std::max(r.runs.median(), 0.0) / largest[r.workload] : 0;
    fmt::print("  {:<7}{:>16.2f}  (least {:.2f})  {}\n", r.procs ? fmt::format("-p {}", *r.procs) : "", r.runs.median(),
               r.runs.min(), r.procs ? std::string(static_cast<std::size_t>(share * widest + 0.5), '#') : "");
  }
}

void print_verdicts(const findings& f) {
  fmt::print("\nverdicts, by medians\n");
  for (const verdict& v : f.verdicts) {
    fmt::print("  {:<11} best at -p {}{}; {}\n", v.workload, v.best_procs,
               v.ratio ? fmt::format("; p = 1 / p = {}: {:.2f}", v.cpus, *v.ratio) : "", v.text);
  }
  for (const std::string& remark : f.remarks) fmt::print("  {}\n", remark);
}

using json = nlohmann::ordered_json;

void write_json(const std::string& path, const arguments& a, const bench::machine& m, const findings& f) {
  json rows = json::array();
  for (const row& r : f.rows) {
    rows.push_back({{"workload", r.workload},
                    {"procs", r.procs ? json(*r.procs) : json(nullptr)},
                    {"metric", r.metric},
                    {"better", "lower"},
                    {"runs", r.runs.runs()},
                    {"median", r.runs.median()},
                    {"note", r.note}});
  }
  json verdicts = json::array();
  for (const verdict& v : f.verdicts) {
    verdicts.push_back({{"workload", v.workload},
                        {"best_procs", v.best_procs},
                        {"cpus", v.cpus},
                        {"ratio_p1_to_cpus", v.ratio ? json(*v.ratio) : json(nullptr)},
                        {"text", v.text}});
  }
  const json document = {
      {"bench", "workloads"},
      {"schema", 1},
      {"machine", {{"cpu", m.cpu}, {"cpus", m.cpus}, {"kernel", m.kernel}, {"compiler", m.compiler}, {"arch", m.arch}}},
      {"revision", bench::revision()},
      {"settings",
       {{"procs", a.what.procs}, {"rounds", a.what.rounds}, {"quick", a.what.quick}, {"only", a.what.only}}},
      {"rows", std::move(rows)},
      {"verdicts", std::move(verdicts)},
      {"remarks", f.remarks}};
  std::ofstream file(path, std::ios::trunc);
  file << document.dump(2) << '\n';
  file.close();
  if (!file) throw std::runtime_error(fmt::format("writing {} failed", path));
}

int workloads_main(int argc, char** argv) {
  const arguments a = parse(argc, argv);
  if (a.help) return 0;

  const bench::machine m = bench::this_machine();
  fmt::print("workloads at -p {}; {} rounds{}\n", fmt::join(a.what.procs, ", "), a.what.rounds,
             a.what.quick ? ", --quick: not to be quoted" : "");
  fmt::print("{}, {} CPUs, {}, {}, {}; weft {}\n", m.cpu, m.cpus, m.arch, m.kernel, m.compiler, bench::revision());
  if (const std::string why = bench::why_not_to_quote(); !why.empty()) {
    fmt::print("figures of this build are not to be quoted: {}\n", why);
  }
  std::fflush(stdout);

  const findings f = run(a.what);
  print_curves(f.rows);
  print_verdicts(f);
  if (a.json) write_json(*a.json, a, m, f);
  if (std::fflush(stdout) != 0) throw std::runtime_error("writing to the standard output failed");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return bench::exit_status(program, [&] { return workloads_main(argc, argv); });
}
