// SPDX-License-Identifier: MIT
#include "rows.h"

#include <bit>

namespace bench::breakdown {

namespace {

constexpr std::array<std::string_view, parts> methods = {
    "mean over all orders of adding it: M found, channel word loaded and checked, stamp, value handed over",
    "mean over all orders of adding it: errno and exceptions compared, pc sp fp stored, registers spilled",
    "mean over all orders of adding it: ready, runnext put and taken, budget, cooperative point",
    "mean over all orders of adding it: errno and exceptions compared, fp sp loaded, registers reloaded",
    "mean over all orders of adding it: both compare-and-swaps locked, or there at all when no channel is synchronised",
    "mean over all orders of adding it: pc loaded and jumped to, instead of a direct jump; predicted",
};

// In k! (5 - k)! of all 6! orders a given part comes behind just these k others.
double weight(int k) {
  constexpr std::array<double, parts> factorial = {1, 1, 2, 6, 24, 120};
  return factorial[static_cast<std::size_t>(k)] * factorial[parts - 1 - static_cast<std::size_t>(k)] / 720;
}

double shapley(const measurement& m, std::size_t part) {
  const unsigned bit = 1U << part;
  double sum = 0;
  for (unsigned others = 0; others < 1U << parts; ++others) {
    if ((others & bit) != 0) continue;
    sum += weight(std::popcount(others)) * (m.variant_ns(one_stack(others | bit)) - m.variant_ns(one_stack(others)));
  }
  return sum;
}

std::vector<part_row> parts_of_one_p(const measurement& m) {
  std::vector<part_row> rows;
  const double all = m.variant_ns(all_of_one_stack);
  for (std::size_t k = 0; k < parts; ++k) {
    part_row r{.name = std::string(part_names[k]), .method = std::string(methods[k])};
    r.ns = shapley(m, k);
    r.left_out_ns = all - m.variant_ns(all_of_one_stack & ~(std::size_t{1} << k));
    r.doubled_ns = m.variant_ns(doubled_on_two_stacks(k)) - m.variant_ns(all_of_two_stacks);
    r.instructions = m.instructions.part[k];
    rows.push_back(std::move(r));
  }
  return rows;
}

part_row part_or_why(std::string name, std::string method, const std::string& why_not, double ns) {
  part_row r{.name = std::move(name), .method = std::move(method)};
  if (why_not.empty()) {
    r.ns = ns;
  } else {
    r.unavailable = why_not;
  }
  return r;
}

double median_or_zero(const series& s) { return s.empty() ? 0 : s.median(); }

// What `more` takes more than `less`, each time that both were measured one after the other: a machine that changed its speed in between the
// rounds does not show.
series less(const series& more, const series& less) {
  series d;
  for (std::size_t k = 0; k < more.runs().size() && k < less.runs().size(); ++k) d.add(more.runs()[k] - less.runs()[k]);
  return d;
}

std::vector<part_row> parts_of_more_ps(const measurement& m, const procs_series& p) {
  const procs_series& one = m.by_procs.front();
  const double moves = median_or_zero(p.moves);
  const double line = median_or_zero(m.cache_line);
  const double crossing = median_or_zero(p.cross) - p.bound.median();
  std::vector<part_row> rows;
  rows.push_back(part_or_why("cache-line transfer",
                             "moves to another P per switch (counted) x a line, one way (measured)", m.why_not_two_cpus,
                             moves * line));
  rows.push_back(part_or_why("rmw and fence",
                             "a locked instruction more per switch: its cost at this p, less that at p = 1", "",
                             less(less(p.fenced, p.whole), less(one.fenced, one.whole)).median()));
  rows.push_back(part_or_why("os noise", "bound to P 0: threads free less thread pinned, less the same at p = 1",
                             m.why_not_pinned,
                             median_or_zero(less(less(p.bound, p.pinned), less(one.bound, one.pinned)))));
  rows.push_back(part_or_why("migration", "moves per switch (counted) x (pair on two Ps less pair on one, less a line)",
                             m.why_not_two_cpus, moves * (crossing - line)));
  rows.push_back(part_or_why("extra runtime work", "bound to P 0, thread pinned: at this p, less the same at p = 1",
                             m.why_not_pinned, median_or_zero(less(p.pinned, one.pinned))));
  return rows;
}

void leave_the_rest(breakdown_row& r) {
  r.unexplained_ns = r.whole_ns;
  r.unexplained_instructions = r.whole_instructions;
  for (const part_row& p : r.parts) {
    if (p.ns) r.unexplained_ns -= *p.ns;
    if (p.instructions && r.unexplained_instructions) *r.unexplained_instructions -= *p.instructions;
  }
}

class context_list {
 public:
  void add(std::string name, std::string method, const std::string& why_not, const series& s,
           std::optional<int> procs = {}) {
    context_row r{.name = std::move(name), .method = std::move(method), .procs = procs};
    if (why_not.empty() && !s.empty()) {
      r.value = s.median();
    } else {
      r.unavailable = why_not.empty() ? "not measured" : why_not;
    }
    rows.push_back(std::move(r));
  }
  std::vector<context_row> rows;
};

}  // namespace

std::vector<breakdown_row> rows_of(const measurement& m, const std::vector<int>& procs) {
  std::vector<breakdown_row> rows;
  for (const int asked : procs) {
    for (const procs_series& p : m.by_procs) {
      if (p.procs != asked) continue;
      breakdown_row r{.procs = asked, .whole_ns = p.whole.median(), .parts = parts_of_one_p(m)};
      if (asked == 1) {
        r.whole_instructions = m.instructions.whole;
      } else {
        for (part_row& more : parts_of_more_ps(m, p)) r.parts.push_back(std::move(more));
      }
      leave_the_rest(r);
      rows.push_back(std::move(r));
    }
  }
  return rows;
}

std::vector<context_row> context_of(const measurement& m) {
  context_list c;
  c.add("path.one_stack", "the laboratory's path, all parts, one stack for both", "", m.variants[all_of_one_stack]);
  c.add("path.two_stacks", "the same on two stacks", "", m.variants[all_of_two_stacks]);
  c.add("path.nothing", "the same without all six parts: the loop", "", m.variants[one_stack(0)]);
  c.add("switch.one_target", "bare inlined switch, always the same partner", "", m.raw_one_target);
  c.add("switch.in_turn", "four partners with code of their own, in turn: jumps predicted", "", m.raw_in_turn);
  c.add("switch.at_random", "the same at random: three of eight jumps mispredicted", "", m.raw_at_random);
  c.add("switch.out_of_line", "the bare switch called: callee-saved registers pushed and popped", "", m.raw_call);
  c.add("cache_line.one_way", "a line from CPU to CPU between two bare threads", m.why_not_two_cpus, m.cache_line);
  for (const procs_series& p : m.by_procs) {
    c.add("pinned.idle_core", "bound to P 0, its thread on a CPU with nothing else", m.why_not_pinned, p.pinned,
          p.procs);
    c.add("pinned.idle_core.cpu", "processor time of the same", m.why_not_pinned, p.pinned_cpu, p.procs);
    c.add("pinned.busy_core", "the same beside a thread that spins on that CPU", m.why_not_pinned, p.same_cpu_wall,
          p.procs);
    c.add("pinned.busy_core.cpu", "processor time of the same, without the spinner's", m.why_not_pinned, p.same_cpu_cpu,
          p.procs);
    c.add("pinned.busy_neighbour", "the same beside a thread that spins on the second CPU", m.why_not_two_cpus,
          p.other_cpu_wall, p.procs);
    if (p.procs == 1) continue;
    c.add("moves_per_switch", "how often a goroutine went on on another P", "", p.moves, p.procs);
    c.add("pair.bound", "both goroutines bound to P 0", "", p.bound, p.procs);
    c.add("pair.cross", "one bound to P 0, one to P 1: every switch crosses", m.why_not_two_cpus, p.cross, p.procs);
  }
  return c.rows;
}

}  // namespace bench::breakdown
