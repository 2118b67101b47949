// SPDX-License-Identifier: MIT
//
// bench_breakdown: where a channel switch's nanoseconds go, at one P and at more.
//
//   lab.h        the switch put together from the runtime's inline functions, its parts left out in all combinations, or doubled
//   runs.h       the shipped ping-pong in the settings whose differences say what more Ps add
//   rows.h       how figures become parts, and what "unexplained" is
//
// Everything is measured once in each round, the rounds follow each other, medians are reported.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <weft/weft.h>

#include "../cli.h"
#include "../machine.h"
#include "instructions.h"
#include "measure.h"
#include "rows.h"

namespace {

using namespace bench::breakdown;

constexpr const char* program = "bench_breakdown";

struct arguments {
  std::vector<int> procs;
  std::int64_t rounds = 15;
  std::optional<std::string> json;
  bool no_instructions = false;
  bool quick = false;
  std::optional<std::string> count;
  std::int64_t switches = 100'000;
  bool help = false;
};

arguments parse(int argc, char** argv) {
  arguments a;
  CLI::App app("Where the nanoseconds of a goroutine switch through a channel go.", program);
  bench::add_procs(app, a.procs, "Ps to run with, as a list or by repeating it (default 1, the CPUs, 16)");
  bench::add_number(app, "-r", a.rounds, 1, 10'000, "rounds; each measures everything once");
  bench::add_text(app, "--json", a.json, "FILE", "write all figures to this file as well");
  app.add_flag("--quick", a.quick, "a fiftieth of the work: to see that all runs, not to be quoted");
  app.add_flag("--no-instructions", a.no_instructions, "do not count instructions, by callgrind or otherwise");
  bench::add_text(app, "--count", a.count, "VARIANT",
                  "for callgrind: run only this, unmeasured: whole, or a variant such as 111111 or 011111");
  bench::add_number(app, "--switches", a.switches, 2, 1'000'000'000, "with --count: so many switches");
  if (!bench::parse(app, argc, argv)) {
    a.help = true;
    return a;
  }
  if (a.procs.empty()) a.procs = {1, weft::num_cpus(), 16};
  bench::drop_repeated(a.procs);
  bench::check_writable(a.json);
  return a;
}

std::string or_dash(const std::optional<double>& v, int digits = 2) {
  return v ? fmt::format("{:.{}f}", *v, digits) : "-";
}

void print(const breakdown_row& r, const instruction_counts& counts) {
  fmt::print("\n-p {}: a switch takes {:.2f} ns{}\n", r.procs, r.whole_ns,
             r.whole_instructions ? fmt::format(", {:.1f} instructions", *r.whole_instructions) : "");
  fmt::print("  {:<26}{:>8}{:>8}{:>10}{:>9}{:>14}\n", "part", "ns", "share", "left out", "doubled", "instructions");
  for (const part_row& p : r.parts) {
    if (!p.ns) {
      fmt::print("  {:<26}unavailable: {}\n", p.name, p.unavailable);
      continue;
    }
    fmt::print("  {:<26}{:>8.2f}{:>7.1f}%{:>10}{:>9}{:>14}\n", p.name, *p.ns, 100 * *p.ns / r.whole_ns,
               or_dash(p.left_out_ns), or_dash(p.doubled_ns), or_dash(p.instructions, 1));
  }
  fmt::print("  {:<26}{:>8.2f}{:>7.1f}%{:>10}{:>9}{:>14}\n", "unexplained", r.unexplained_ns,
             100 * r.unexplained_ns / r.whole_ns, "", "", or_dash(r.unexplained_instructions, 1));
  fmt::print("  the parts add up to the whole {} 10 %\n",
             r.explained() ? "within" : "only with an unexplained rest of more than");
  if (r.procs == 1 && !counts.why_not.empty()) fmt::print("  instructions unavailable: {}\n", counts.why_not);
}

void print(const std::vector<context_row>& context) {
  fmt::print("\nmeasured beside, in ns unless said\n");
  for (const context_row& c : context) {
    fmt::print("  {:<24}{:>7}{:>12}  {}\n", c.name, c.procs ? fmt::format("-p {}", *c.procs) : "",
               c.value ? fmt::format("{:.{}f}", *c.value, c.name == "moves_per_switch" ? 6 : 2) : "-",
               c.value ? c.method : "unavailable: " + c.unavailable);
  }
}

using json = nlohmann::ordered_json;

json or_null(const std::optional<double>& v) { return v ? json(*v) : json(nullptr); }

json to_json(const breakdown_row& r, const instruction_counts& counts) {
  json parts = json::array();
  for (const part_row& p : r.parts) {
    json one = {{"name", p.name},
                {"method", p.method},
                {"ns", or_null(p.ns)},
                {"left_out_ns", or_null(p.left_out_ns)},
                {"doubled_ns", or_null(p.doubled_ns)},
                {"instructions", or_null(p.instructions)}};
    if (!p.instructions) {
      one["instructions_unavailable"] =
          counts.why_not.empty() ? "a difference of times, of the same instructions" : counts.why_not;
    }
    if (!p.ns) one["unavailable"] = p.unavailable;
    parts.push_back(std::move(one));
  }
  return {{"procs", r.procs},
          {"whole_ns", r.whole_ns},
          {"parts", std::move(parts)},
          {"unexplained_ns", r.unexplained_ns},
          {"within_10_percent", r.explained()},
          {"whole_instructions", or_null(r.whole_instructions)},
          {"unexplained_instructions", or_null(r.unexplained_instructions)}};
}

json to_json(const std::vector<context_row>& context) {
  json all = json::array();
  for (const context_row& c : context) {
    json one = {{"name", c.name}, {"method", c.method}};
    if (c.procs) one["procs"] = *c.procs;
    if (c.value) {
      one[c.name == "moves_per_switch" ? "per_switch" : "ns"] = *c.value;
    } else {
      one["unavailable"] = c.unavailable;
    }
    all.push_back(std::move(one));
  }
  return all;
}

void write_json(const std::string& path, const arguments& a, const bench::machine& m, const measurement& all,
                const std::vector<breakdown_row>& rows, const std::vector<context_row>& context) {
  json row_list = json::array();
  for (const breakdown_row& r : rows) row_list.push_back(to_json(r, all.instructions));
  json by_variant = json::object();
  for (std::size_t v = 0; v < all.variants.size(); ++v) by_variant[variants()[v].name()] = all.variant_ns(v);
  const json document = {
      {"bench", "breakdown"},
      {"schema", 1},
      {"machine", {{"cpu", m.cpu}, {"cpus", m.cpus}, {"kernel", m.kernel}, {"compiler", m.compiler}, {"arch", m.arch}}},
      {"revision", bench::revision()},
      {"settings",
       {{"procs", a.procs},
        {"rounds", a.rounds},
        {"quick", a.quick},
        {"instructions",
         all.instructions.source.empty() ? "unavailable: " + all.instructions.why_not : all.instructions.source}}},
      {"rows", std::move(row_list)},
      {"context", to_json(context)},
      {"variants", std::move(by_variant)}};
  std::ofstream file(path, std::ios::trunc);
  file << document.dump(2) << '\n';
  file.close();
  if (!file) throw std::runtime_error(fmt::format("writing {} failed", path));
}

int breakdown_main(int argc, char** argv) {
  const arguments a = parse(argc, argv);
  if (a.help) return 0;
  if (const std::string why = why_no_lab(); !why.empty()) throw bench::usage_error(why);
  if (a.count) {
    run_counted(*a.count, a.switches);
    return 0;
  }

  const bench::machine m = bench::this_machine();
  fmt::print("where a goroutine switch through a channel spends its time; {} rounds, medians{}\n", a.rounds,
             a.quick ? "; --quick: not to be quoted" : "");
  fmt::print("{}, {} CPUs, {}, {}, {}; weft {}\n", m.cpu, m.cpus, m.arch, m.kernel, m.compiler, bench::revision());
  if (const std::string why = bench::why_not_to_quote(); !why.empty()) {
    fmt::print("figures of this build are not to be quoted: {}\n", why);
  }
  std::fflush(stdout);

  measurement all = measure(a.procs, a.rounds, a.quick);
  all.instructions = count_instructions(a.no_instructions ? "--no-instructions" : "");
  const std::vector<breakdown_row> rows = rows_of(all, a.procs);
  const std::vector<context_row> context = context_of(all);
  for (const breakdown_row& r : rows) print(r, all.instructions);
  print(context);
  if (a.json) write_json(*a.json, a, m, all, rows, context);
  if (std::fflush(stdout) != 0) throw std::runtime_error("writing to the standard output failed");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return bench::exit_status(program, [&] { return breakdown_main(argc, argv); });
}
