// SPDX-License-Identifier: MIT
#include "verdict.h"

#include <fmt/format.h>

#include <algorithm>

namespace bench::workloads {

namespace {

std::string_view about_few_ps(double ratio) {
  if (ratio < 1 - noise) return "fewer Ps are faster: 'lower GOMAXPROCS for sequential work' holds";
  if (ratio <= 1 + noise)
    return "it makes no difference: 'lower GOMAXPROCS for sequential work' is refuted, there is nothing to gain";
  return "more Ps are faster: 'lower GOMAXPROCS for sequential work' is refuted";
}

std::string about_all_cores(double ratio, int cpus) {
  const std::string speed = fmt::format("{} Ps are {:.2f}x as fast as one", cpus, ratio);
  // Seven tenths of what would be perfect: shared caches, memory and hypervisors take their share.
  if (ratio >= 0.7 * cpus) return speed + ": 'all cores for parallel work' holds";
  if (ratio > 1 + noise) return speed + ": 'all cores for parallel work' holds, though far from ideal";
  return speed + ": 'all cores for parallel work' is refuted";
}

std::string_view about_either(double ratio) {
  if (ratio < 1 - noise) return "one P is better: 'either will do, one has the lower overhead' holds";
  if (ratio <= 1 + noise) return "it makes no difference: 'either will do' holds";
  return "all CPUs are better: 'either will do' is refuted";
}

std::string found(double ratio, int cpus) {
  if (ratio < 1 - noise) return fmt::format("one P is {:.2f}x as fast as {}", 1 / ratio, cpus);
  if (ratio <= 1 + noise) return "it makes no difference";
  return fmt::format("{} Ps are {:.2f}x as fast as one", cpus, ratio);
}

}  // namespace

verdict judge(std::string_view workload, advice a, const std::map<int, double>& medians, int cpus) {
  verdict v{.workload = std::string(workload), .cpus = cpus, .ratio = {}, .text = {}};
  v.best_procs =
      std::min_element(medians.begin(), medians.end(), [](auto& x, auto& y) { return x.second < y.second; })->first;
  const auto one = medians.find(1), all = medians.find(cpus);
  if (cpus == 1) {
    v.text = "with one CPU nothing can be said of more";
  } else if (one == medians.end() || all == medians.end()) {
    v.text = fmt::format("no verdict without -p 1 and -p {}", cpus);
  } else {
    v.ratio = one->second / all->second;
    switch (a) {
      case advice::few_ps:
        v.text = about_few_ps(*v.ratio);
        break;
      case advice::all_cores:
        v.text = about_all_cores(*v.ratio, cpus);
        break;
      case advice::either:
        v.text = about_either(*v.ratio);
        break;
      case advice::silent:
        v.text = found(*v.ratio, cpus);
        break;
    }
  }
  return v;
}

}  // namespace bench::workloads
