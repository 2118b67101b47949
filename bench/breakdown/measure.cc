// SPDX-License-Identifier: MIT
#include "measure.h"

#include <map>

#include "instructions.h"
#include "raw.h"
#include "runs.h"

namespace bench::breakdown {

namespace {

// Of each measurement, so many.
struct amounts {
  std::int64_t lab_switches = 6'000;
  int repeats = 3;                    // in each round, of what is short
  std::int64_t round_trips = 40'000;  // of the shipped ping-pong: a millisecond
  std::int64_t cross = 10'000;
  std::int64_t beside_a_spinner = 1'000'000;  // several of the kernel's time slices
  std::int64_t line = 20'000;
  std::int64_t raw = 1 << 15;
};
constexpr amounts quick_amounts = {200, 1, 800, 200, 20'000, 400, 1 << 10};

void measure_lab(lab& l, measurement& m, const amounts& n) {
  for (std::size_t v = 0; v < m.variants.size(); ++v) m.variants[v].add(l.run(v, n.lab_switches));
  m.raw_one_target.add(raw_switch_ns(raw_order::one_target, n.raw));
  m.raw_in_turn.add(raw_switch_ns(raw_order::in_turn, n.raw));
  m.raw_at_random.add(raw_switch_ns(raw_order::at_random, n.raw));
  m.raw_call.add(raw_call_ns(n.raw));
}

void measure_pair(procs_series& p, const measurement& m, const amounts& n) {
  p.whole.add(run({.procs = p.procs}, n.round_trips).wall_ns);
  p.fenced.add(run({.procs = p.procs, .fenced = true}, n.round_trips).wall_ns);
  p.bound.add(run({.procs = p.procs, .bound = true}, n.round_trips).wall_ns);
  if (!m.why_not_pinned.empty()) return;
  const timing alone = run({.procs = p.procs, .pinned = true}, n.round_trips);
  p.pinned.add(alone.wall_ns);
  p.pinned_cpu.add(alone.cpu_ns);
}

void measure_disturbed(procs_series& p, const measurement& m, const amounts& n) {
  if (p.procs > 1) p.moves.add(moves_per_switch(p.procs, n.round_trips));
  if (m.why_not_pinned.empty()) {
    const timing beside = run({.procs = p.procs, .pinned = true, .busy = competitor::same_cpu}, n.beside_a_spinner);
    p.same_cpu_wall.add(beside.wall_ns);
    p.same_cpu_cpu.add(beside.cpu_ns);
  }
  if (m.why_not_two_cpus.empty()) {
    p.other_cpu_wall.add(run({.procs = p.procs, .pinned = true, .busy = competitor::other_cpu}, n.round_trips).wall_ns);
    if (p.procs > 1) p.cross.add(run({.procs = p.procs, .cross = true}, n.cross).wall_ns);
  }
}

}  // namespace

measurement measure(const std::vector<int>& procs, std::int64_t rounds, bool quick) {
  const amounts n = quick ? quick_amounts : amounts{};
  measurement m;
  m.why_not_two_cpus = why_not_two_cpus();
  m.why_not_pinned = why_not_pinned();
  m.variants.resize(variants().size());
  m.by_procs.push_back({});
  for (const int p : procs) {
    if (p != 1) m.by_procs.push_back({.procs = p});
  }
  lab l;
  for (std::int64_t round = 0; round < rounds; ++round) {
    for (int k = 0; k < n.repeats; ++k) {
      measure_lab(l, m, n);
      for (procs_series& p : m.by_procs) measure_pair(p, m, n);
    }
    for (procs_series& p : m.by_procs) measure_disturbed(p, m, n);
    if (m.why_not_two_cpus.empty()) m.cache_line.add(cache_line_ns(n.line));
  }
  return m;
}

instruction_counts count_instructions(const std::string& why_not) {
  instruction_counts c;
  c.why_not = why_not;
  if (!why_not.empty()) return c;
  instruction_counter counter;
  std::map<std::size_t, std::optional<double>> known;
  const auto count = [&](std::size_t which) {
    const auto [it, is_new] = known.try_emplace(which);
    if (is_new) it->second = counter.per_switch(variants()[which].name());
    return it->second;
  };
  c.whole = counter.per_switch("whole");
  for (std::size_t k = 0; k < parts; ++k) {
    // Instructions do not overlap: what a part has is what leaves with it. But two pairs have some in common (the words; the spills), so
    // there the mean of both orders is taken, as for the times.
    const std::size_t bit = std::size_t{1} << k;
    const std::size_t pair = k == channel || k == barriers ? 1U << channel | 1U << barriers
                             : k == save || k == restore   ? 1U << save | 1U << restore
                                                           : bit;
    const auto all = count(all_of_one_stack), without = count(all_of_one_stack & ~bit);
    const auto without_other = count(all_of_one_stack & ~(pair & ~bit)), without_both = count(all_of_one_stack & ~pair);
    if (all && without && without_other && without_both) {
      c.part[k] = (*all - *without + *without_other - *without_both) / 2;
    }
  }
  c.source = counter.why_not().empty() ? counter.source() : "";
  c.why_not = counter.why_not();
  return c;
}

}  // namespace bench::breakdown
