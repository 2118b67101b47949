// SPDX-License-Identifier: MIT
#include "report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "../cli.h"
#include "counter.h"

namespace bench::hierarchy {
namespace {

using json = nlohmann::ordered_json;

constexpr std::string_view unit_row = "goroutine.channel.p1";  // what multipliers are over

const outcome* row_named(const sampling& figures, std::string_view name) {
  const auto& all = figures.outcomes;
  const auto o = std::find_if(all.begin(), all.end(), [&](const outcome& x) { return x.of->name == name; });
  return o != all.end() && o->measured() ? &*o : nullptr;
}

std::optional<double> unit(const sampling& figures) {
  const outcome* const o = row_named(figures, unit_row);
  return o != nullptr ? std::optional(o->median()) : std::nullopt;
}

// Three digits, but no fewer than the whole part has; thousands apart.
std::string figure(double x) {
  const int decimals = x < 9.995 ? 2 : x < 99.95 ? 1 : 0;
  std::string text = fmt::format("{:.{}f}", x, decimals);
  const auto point = std::min(text.find('.'), text.size());
  for (auto at = point; at > 3; at -= 3) text.insert(at - 3, ",");
  return text;
}

std::string multiple(const std::optional<double>& one, double x) { return one ? figure(x / *one) + "x" : "-"; }

constexpr double small = 5, allowed = 0.10;  // of rows above 5 ns, two runs' medians are to be within 10 %

std::string plus_minus(const interval& i) { return fmt::format("{:.1f} %", 100 * i.half_width()); }

// As other rows of the same kind lie in between, the table of isolation has the least and the most of their medians.
struct level {
  std::string_view name;
  std::string_view isolation;
  std::vector<std::string_view> rows;
};

const std::vector<level>& levels() {
  static const std::vector<level> all{
      {"goroutine, one P", isolation::goroutine, {"goroutine.channel.p1"}},
      {"goroutine, N Ps", isolation::goroutine, {"goroutine.channel.pn"}},
      {"goroutine in Go, one P", isolation::goroutine, {"go.channel.p1"}},
      {"goroutine in Go, N Ps", isolation::goroutine, {"go.channel.pn"}},
      {"OS thread, same core",
       isolation::thread,
       {"thread.futex.same_core", "thread.pipe.same_core", "thread.condvar.same_core"}},
      {"OS thread, cross core",
       isolation::thread,
       {"thread.futex.cross_core", "thread.pipe.cross_core", "thread.condvar.cross_core"}},
      {"process, same core", isolation::process, {"process.futex.same_core", "process.pipe.same_core"}},
      {"process, cross core", isolation::process, {"process.futex.cross_core", "process.pipe.cross_core"}},
      {"container, same core", isolation::container, {"container.futex.same_core", "container.pipe.same_core"}},
      {"container, cross core", isolation::container, {"container.futex.cross_core", "container.pipe.cross_core"}},
      {"virtual machine, same core", isolation::machine, {"vm.pingpong.same_core"}},
      {"virtual machine, cross core", isolation::machine, {"vm.pingpong.cross_core"}},
      {"start of a process", isolation::process, {"process.start"}},
      {"start of a container", isolation::container, {"container.start"}},
      {"start of a virtual machine", isolation::machine, {"vm.start"}},
  };
  return all;
}

void print_levels(const report& r) {
  const std::optional<double> one = unit(r.figures);
  bool begun = false;
  const auto begin = [&begun] {
    if (std::exchange(begun, true)) return;
    fmt::print("\nThe hierarchy of isolation (medians; the quickest and the slowest way of each)\n");
    fmt::print("{:28} {:>21} {:>19}  {}\n", "abstraction", "switch or start, ns", "multiple", "isolation");
  };
  for (const level& l : levels()) {
    std::vector<double> medians;
    std::string_view here = l.isolation;
    for (const std::string_view name : l.rows) {
      if (const outcome* const o = row_named(r.figures, name)) {
        medians.push_back(o->median());
        here = o->isolation;
      }
    }
    if (medians.empty()) continue;
    begin();
    const auto [low, high] = std::minmax_element(medians.begin(), medians.end());
    const bool several = medians.size() > 1;
    const std::string multiples = multiple(one, *low) + (several && one ? " - " + multiple(one, *high) : "");
    fmt::print("{:28} {:>21} {:>19}  {}\n", l.name, figure(*low) + (several ? " - " + figure(*high) : ""), multiples,
               here);
  }
}

void print_steadiness(const sampling& figures) {
  std::string restless;
  int all = 0, quiet = 0;
  for (const outcome& o : figures.outcomes) {
    if (!o.measured() || o.median() <= small) continue;
    const interval known = median_interval(o.turns);
    ++all;
    if (known.steady()) {
      ++quiet;
    } else {
      restless += fmt::format("{} {} (+- {})", restless.empty() ? ":" : ",", o.of->name, plus_minus(known));
    }
  }
  if (all == 0) return;
  fmt::print(
      "\n+-: half of the interval in which the median lies with 95 % confidence, by the medians of the turns.\n");
  fmt::print("{} of the {} rows above 5 ns are steady: +- 5 % or less", quiet, all);
  if (quiet < all) fmt::print("; the machine is not quiet for the others{}", restless);
  fmt::print("\n");
}

json three(double min, double median, double p99) { return {{"min", min}, {"median", median}, {"p99", p99}}; }

json row_json(const outcome& o, const report& r) {
  json j{{"name", o.of->name}, {"method", o.method}, {"isolation", o.isolation}};
  if (!o.measured()) {
    j["unavailable"] = o.missing;
    return j;
  }
  const double rate = r.shared.ticks_per_ns;
  const std::optional<double> one = unit(r.figures);
  j["ns"] = three(o.min(), o.median(), o.p99());
  j["cycles"] = three(o.min() * rate, o.median() * rate, o.p99() * rate);
  j["multiplier"] = one ? json(o.median() / *one) : json(nullptr);
  j["samples"] = o.samples.size();
  const interval known = median_interval(o.turns);
  j["turns"] = {{"count", o.turns.size()}, {"median_ci95", {known.low, known.high}}};
  return j;
}

struct figures_of {
  std::string name;
  std::optional<double> median;
  std::optional<interval> known;
};

std::vector<figures_of> read_json(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw usage_error(fmt::format("--compare: cannot read '{}'", path));
  try {
    const json document = json::parse(file);
    if (document.at("bench") != "hierarchy")
      throw usage_error(fmt::format("--compare: '{}' is of another bench", path));
    std::vector<figures_of> rows;
    for (const json& row : document.at("rows")) {
      rows.push_back({row.at("name"), {}, {}});
      if (row.contains("ns")) rows.back().median = row.at("ns").at("median").get<double>();
      if (row.contains("turns")) {
        const json& ends = row.at("turns").at("median_ci95");
        rows.back().known = interval{ends.at(0).get<double>(), ends.at(1).get<double>()};
      }
    }
    return rows;
  } catch (const json::exception&) {
    throw usage_error(fmt::format("--compare: '{}' holds no run of this bench", path));
  }
}

}  // namespace

void print_table(const report& r) {
  const std::optional<double> one = unit(r.figures);
  fmt::print("{:28} {:>11} {:>11} {:>8} {:>11} {:>13} {:>10}  {}\n", "row", "min ns", "median ns", "+-", "p99 ns",
             "median cycles", "multiple", "isolation");
  for (const outcome& o : r.figures.outcomes) {
    if (o.measured()) {
      fmt::print("{:28} {:>11} {:>11} {:>8} {:>11} {:>13} {:>10}  {}\n", o.of->name, figure(o.min()),
                 figure(o.median()), plus_minus(median_interval(o.turns)), figure(o.p99()),
                 figure(o.median() * r.shared.ticks_per_ns), multiple(one, o.median()), o.isolation);
      fmt::print("    {}\n", o.method);
    } else {
      fmt::print("{:28} unavailable: {}\n    {}\n", o.of->name, o.missing, o.method);
    }
  }
  print_levels(r);
  print_steadiness(r.figures);
  fmt::print(
      "\n{} rounds of {} ms a row, {:.0f} s in all; {} at {:.3f} ticks per ns, which is what cycles are counted in",
      r.figures.rounds, r.how.turn.count(), r.took.count(), counter_name, r.shared.ticks_per_ns);
  if (const outcome* const cycle = row_named(r.figures, "cpu.cycle")) {
    fmt::print(" (the core's own took {:.3f} ns)", cycle->median());
  }
  fmt::print("\n");
  if (!one) fmt::print("no multiples: {} was not measured\n", unit_row);
}

void write_json(const report& r, const std::string& path) {
  const bench::machine& m = r.where;
  json rows = json::array();
  for (const outcome& o : r.figures.outcomes) rows.push_back(row_json(o, r));
  const json document = {
      {"bench", "hierarchy"},
      {"schema", 1},
      {"machine", {{"cpu", m.cpu}, {"cpus", m.cpus}, {"kernel", m.kernel}, {"compiler", m.compiler}, {"arch", m.arch}}},
      {"revision", bench::revision()},
      {"settings",
       {{"quick", r.shared.quick},
        {"rounds", r.figures.rounds},
        {"turn_ms", r.how.turn.count()},
        {"seconds", r.took.count()},
        {"counter", counter_name},
        {"ticks_per_ns", r.shared.ticks_per_ns},
        {"unit", unit_row}}},
      {"rows", std::move(rows)}};
  std::ofstream file(path, std::ios::trunc);
  file << document.dump(2, ' ', false, json::error_handler_t::replace) << '\n';
  file.close();
  if (!file) throw std::runtime_error(fmt::format("writing {} failed", path));
}

bool compare(const std::string& path_a, const std::string& path_b) {
  const std::vector<figures_of> a = read_json(path_a), b = read_json(path_b);
  int apart = 0, together = 0, alone = 0;
  fmt::print("{:28} {:>13} {:>13} {:>8}\n", "row (medians, ns)", "A", "B", "B / A");
  for (const figures_of& x : a) {
    const auto y = std::find_if(b.begin(), b.end(), [&](const figures_of& f) { return f.name == x.name; });
    if (y == b.end() || !x.median || !y->median) {
      const auto text = [](const std::optional<double>& m) { return m ? figure(*m) : std::string("-"); };
      fmt::print("{:28} {:>13} {:>13} {:>8}\n", x.name, text(x.median), y == b.end() ? "-" : text(y->median), "-");
      ++alone;
      continue;
    }
    const double ratio = *y->median / *x.median;
    // Of the two, neither is the right one: the same verdict whichever is A.
    const bool differ = std::max(ratio, 1 / ratio) > 1 + allowed;
    const bool counts = std::max(*x.median, *y->median) > small;
    std::string verdict = !differ ? "" : counts ? "  apart" : "  apart, but of 5 ns or less";
    for (const auto& [run, known] : {std::pair("A", x.known), std::pair("B", y->known)}) {
      if (differ && counts && known && !known->steady())
        verdict += fmt::format("; {} was not steady, +- {}", run, plus_minus(*known));
    }
    fmt::print("{:28} {:>13} {:>13} {:>8.3f}{}\n", x.name, figure(*x.median), figure(*y->median), ratio, verdict);
    ++(differ && counts ? apart : together);
  }
  fmt::print("\n{} rows agree within 10 % (or are of 5 ns or less), {} do not; {} are not in both runs\n", together,
             apart, alone);
  return apart == 0;
}

}  // namespace bench::hierarchy
