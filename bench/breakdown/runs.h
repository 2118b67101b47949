// SPDX-License-Identifier: MIT
#pragma once

// The shipped ping-pong in a runtime of its own, in the settings whose differences say what more Ps add.

#include <cstdint>
#include <optional>
#include <string>

namespace bench::breakdown {

enum class competitor { none, same_cpu, other_cpu };

struct setting {
  int procs = 1;
  bool bound = false;                  // both goroutines to P 0, instead of where the scheduler likes
  bool pinned = false;                 // bound, and the thread that runs them to the first CPU
  bool fenced = false;                 // a locked instruction more at each send
  bool cross = false;                  // one goroutine bound to P 0, the other to P 1
  competitor busy = competitor::none;  // pinned: a thread that only spins, on the same CPU or on the second one
};

struct timing {
  double wall_ns;  // per switch
  double cpu_ns;   // per switch, of the thread that runs the pair; only where that is pinned
};

/// Throws when a sum is wrong. `round_trips`: two switches each.
timing run(const setting& s, std::int64_t round_trips);

/// How often a goroutine of the pair went on on another P than before, per switch.
double moves_per_switch(int procs, std::int64_t round_trips);

/// ns for a cache line from one CPU to the other, one way. Needs two CPUs.
double cache_line_ns(std::int64_t round_trips);

/// Why the settings with two CPUs cannot be had (one only, pinning refused); empty when they can.
std::string why_not_two_cpus();
/// The same for `pinned`.
std::string why_not_pinned();

}  // namespace bench::breakdown
