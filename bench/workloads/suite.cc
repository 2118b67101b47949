// SPDX-License-Identifier: MIT
#include "suite.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <stdexcept>

#include <weft/weft.h>

#include "memory.h"
#include "programs.h"

namespace bench::workloads {

namespace {

constexpr std::string_view memory_family = "memory";
constexpr std::int64_t memory_tasks = 100'000;
constexpr std::int64_t memory_threads = 10'000;
constexpr std::int64_t long_rounds = 3;  // at most, of what takes seconds: a page fault for each of 100,000 goroutines

struct program {
  std::string_view name;
  result (*run)(std::int64_t n);
  std::int64_t n;
  std::int64_t quick_n;
  std::string_view metric;  // ms: of the whole
  advice expected;
  bool cpu_too;  // processor time as well, as name.cpu
  bool big;      // n goroutines at once
  std::string_view note;
};

constexpr std::array<program, 5> programs = {{
    {"sequential", sequential, 200'000, 2'000, "ns_per_op", advice::few_ps, false, false,
     "ping-pong of two goroutines; an op is a switch"},
    {"parallel", parallel, 30'000'000, 300'000, "ms", advice::all_cores, false, false,
     "numbers mixed and summed by fork and join, 256 leaves that compute"},
    {"io", io, 20'000, 200, "ns_per_op", advice::either, true, false,
     "stand-in, as there is no network poller: up to 1,000 goroutines sleep 1 ms, then pread 4 KiB from the page "
     "cache"},
    {"handlers", handlers, 100'000, 1'000, "ms", advice::silent, false, true,
     "all handlers started and waiting at once, then each answers through one channel"},
    {"actors", actors, 100, 3, "ns_per_op", advice::silent, false, false,
     "tree of 585 actors with mailboxes of 16; an op is a message"},
}};

bool chosen(const plan& p, std::string_view name) {
  return p.only.empty() || std::find(p.only.begin(), p.only.end(), name) != p.only.end();
}

class collector {
 public:
  void add(const std::string& workload, std::optional<int> procs, std::string_view metric, std::string_view note,
           double value) {
    auto r = std::find_if(rows_.begin(), rows_.end(),
                          [&](const row& x) { return x.workload == workload && x.procs == procs; });
    if (r == rows_.end()) {
      rows_.push_back({workload, procs, std::string(metric), {}, std::string(note)});
      r = rows_.end() - 1;
    }
    r->runs.add(value);
  }
  std::map<int, double> medians(std::string_view workload) const {
    std::map<int, double> m;
    for (const row& r : rows_) {
      if (r.workload == workload && r.procs) m[*r.procs] = r.runs.median();
    }
    return m;
  }
  double median(std::string_view workload) const {
    return std::find_if(rows_.begin(), rows_.end(), [&](const row& x) { return x.workload == workload; })
        ->runs.median();
  }
  // By workload, in the order in which the first of each came; then as they came.
  std::vector<row> sorted() {
    std::map<std::string, std::size_t> first;
    for (const row& r : rows_) first.try_emplace(r.workload, first.size());
    std::stable_sort(rows_.begin(), rows_.end(),
                     [&](const row& x, const row& y) { return first[x.workload] < first[y.workload]; });
    return std::move(rows_);
  }

 private:
  std::vector<row> rows_;
};

struct timed {
  result r;
  std::int64_t cpu_ns;
};

timed run_once(const program& w, int procs, std::int64_t n) {
  const timed t = weft::run({.procs = procs}, [&w, n] {
    const std::int64_t before = process_cpu_ns();
    const result r = w.run(n);
    return timed{r, process_cpu_ns() - before};
  });
  if (!t.r.right) {
    throw std::runtime_error(fmt::format("{} -p {}: a sum is wrong, values were lost or repeated", w.name, procs));
  }
  return t;
}

void run_program(const program& w, const plan& p, collector& c, bool counts) {
  std::int64_t n = p.quick || !counts ? w.quick_n : w.n;
  std::string note(w.note);
  if (w.big) {
    const std::int64_t room = at_most_for_memory(n);
    note +=
        room < n ? fmt::format("; {}, as there is memory for no more, instead of {}", room, n) : fmt::format("; {}", n);
    n = room;
  }
  for (const int procs : p.procs) {
    const timed t = run_once(w, procs, n);
    if (!counts) continue;
    c.add(std::string(w.name), procs, w.metric, note,
          w.metric == "ms" ? static_cast<double>(t.r.elapsed.count()) / 1e6 : t.r.ns_per_op());
    if (!w.cpu_too) continue;
    c.add(fmt::format("{}.cpu", w.name), procs, "cpu_ns_per_op", note + "; processor time of all threads",
          static_cast<double>(t.cpu_ns) / static_cast<double>(t.r.ops));
  }
}

void run_memory(const plan& p, collector& c) {
  const std::int64_t goroutines = at_most_for_memory(p.quick ? 1'000 : memory_tasks);
  const std::string g_note = fmt::format("{} goroutines that wait on one channel, stacks of 64 KiB{}", goroutines,
                                         goroutines < memory_tasks ? "; fewer than 100000" : "");
  for (const int procs : p.procs) {
    const memory_use g = goroutine_memory(procs, goroutines);
    c.add("memory.goroutine.resident", procs, "bytes_per_task", g_note, g.resident);
    c.add("memory.goroutine.virtual", procs, "bytes_per_task", g_note, g.virtual_);
    c.add("memory.goroutine.kernel", procs, "bytes_per_task",
          g_note + "; the kernel's stacks and page tables, of the whole machine", g.kernel);
  }
  const std::int64_t asked = at_most_for_memory(p.quick ? 100 : memory_threads);
  const memory_use t = thread_memory(asked);
  const std::string t_note =
      fmt::format("{} threads that wait, stacks of the default size{}", t.tasks,
                  t.tasks < asked ? fmt::format("; the system refused the rest of {}", asked) : "");
  c.add("memory.thread.resident", {}, "bytes_per_task", t_note, t.resident);
  c.add("memory.thread.virtual", {}, "bytes_per_task", t_note, t.virtual_);
  c.add("memory.thread.kernel", {}, "bytes_per_task",
        t_note + "; the kernel's stacks and page tables, of the whole machine", t.kernel);
  const std::string far = fmt::format("not measured: extrapolated from {} threads to 100000", t.tasks);
  c.add("memory.thread.resident.extrapolated", {}, "bytes_of_100000", far, t.resident * memory_tasks);
  c.add("memory.thread.virtual.extrapolated", {}, "bytes_of_100000", far, t.virtual_ * memory_tasks);
}

void judge_memory(const collector& c, findings& f) {
  const auto compare = [&](std::string_view kind) {
    const double g = c.median(fmt::format("memory.goroutine.{}", kind));
    const double t = c.median(fmt::format("memory.thread.{}", kind));
    f.remarks.push_back(
        g > 0 ? fmt::format("memory, {}: a thread {:.0f} bytes, a goroutine {:.0f}: {:.1f}x", kind, t, g, t / g)
              : fmt::format("memory, {}: a thread {:.0f} bytes, a goroutine {:.0f}", kind, t, g));
  };
  compare("resident");
  compare("kernel");
  compare("virtual");
  f.remarks.push_back(
      fmt::format("memory of 100,000 threads, extrapolated: {:.2f} GiB resident, {:.1f} GiB of address space",
                  c.median("memory.thread.resident.extrapolated") / (1 << 30),
                  c.median("memory.thread.virtual.extrapolated") / (1 << 30)));
}

}  // namespace

std::vector<std::string_view> families() {
  std::vector<std::string_view> names;
  for (const program& w : programs) names.push_back(w.name);
  names.push_back(memory_family);
  return names;
}

findings run(const plan& p) {
  collector c;
  // Once unrecorded, and short.
  for (const program& w : programs) {
    if (chosen(p, w.name)) run_program(w, p, c, false);
  }
  for (std::int64_t round = 0; round < p.rounds; ++round) {
    for (const program& w : programs) {
      if (chosen(p, w.name) && (!w.big || round < long_rounds)) run_program(w, p, c, true);
    }
    if (chosen(p, memory_family) && round < long_rounds) run_memory(p, c);
  }

  findings f;
  for (const program& w : programs) {
    if (!chosen(p, w.name)) continue;
    f.verdicts.push_back(judge(w.name, w.expected, c.medians(w.name), weft::num_cpus()));
    if (!w.cpu_too) continue;
    const std::string cpu = fmt::format("{}.cpu", w.name);
    f.verdicts.push_back(judge(cpu, w.expected, c.medians(cpu), weft::num_cpus()));
  }
  if (chosen(p, memory_family)) judge_memory(c, f);
  f.rows = c.sorted();
  return f;
}

}  // namespace bench::workloads
