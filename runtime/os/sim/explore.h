// SPDX-License-Identifier: MIT
//
// Model checking, as a test sees it.
//
//   sim::report r = sim::explore({.how = sim::strategy::exhaustive}, [] {
//     atomic<int> x{0}, y{0};
//     sim::thread a([&] { x.store(1, relaxed); ... });
//     sim::thread b([&] { ... });
//     a.join(); b.join();
//     sim::require(..., "both missed");
//   });
//
// The body is run over and over on virtual threads, each time with other decisions (machine.h). It must make all it uses, or use
// global variables: those are put back to what they were before each run. It must not depend on anything else, that is on the time or on
// addresses outside of its own.
//
// Strategies
//   random      a walk: at each point anybody who can goes on. Seeded.
//   pct         probabilistic concurrency testing (Burckhardt et al., ASPLOS 2010): threads have random priorities, the highest that
//               can run does, and at d - 1 random points the running one's becomes the lowest. A bug that d ordering
//               constraints bring about in a run of k points and n threads is found by a schedule with a probability of at least
//               1 / (n * k^(d-1)). (The bound is about orders of points. What loads read is chosen at random besides.)
//   exhaustive  all there is, depth first, without those that sleep sets (Godefroid) show to be repetitions; or, with
//               `preemptions` >= 0, all with at most so many preemptions (Musuvathi, Qadeer, CHESS), all reads included.
//
// A failure prints the seed of the schedule that failed and a trace, after shrinking: of the decisions that were not the default (the
// same thread goes on, a load reads the newest) as many are taken back as can be while it still fails.

#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "atomic_impl.h"

namespace weft::sim {

enum class strategy : std::uint8_t { random, pct, exhaustive };

struct plan {
  strategy how = strategy::random;
  std::uint64_t seed = 1;
  std::uint64_t schedules = 1000;  // exhaustive: at most
  int depth = 3;                   // pct: d
  int preemptions = -1;            // exhaustive: at most so many a run; -1: no bound, sleep sets instead
  int stale = -1;                  // at most so many loads a run that do not read the newest; -1: no bound
  int stale_in_a_row = 2;          // a thread that reads the same location again reads the newest after so many
  int spurious = 1;  // weak compare-and-swaps that fail, sections aborted, and sleeps that end, for no reason, a run
  bool reorder_stores = true;
  bool early = true;  // random, pct: deadlines may pass while others could run
  // Deadlines pass only when nobody at all could run: what the watchdog would mend in time is not mended.
  bool clock_stands = false;
  std::uint64_t max_steps = 20'000;  // more is a livelock
  int cpus = 4;                      // os::num_cpus
  bool asymmetric = true;            // os::asymmetric_fences
  bool sections = true;              // os::sections
  int stop_thread = -1;              // this thread stops for good ...
  std::uint32_t stop_at = 0;         // ... before its point number so many
  int threads = 0;                   // os::thread::start fails when there are so many already; 0: never
  bool shrink = true;
  bool expect_failure = false;  // say nothing about it
};

struct report {
  bool failed = false;
  bool complete = false;  // exhaustive: all was seen
  std::uint64_t schedules = 0;
  std::uint64_t points = 0;
  std::uint64_t pruned = 0;  // exhaustive: broken off, as repetitions
  double seconds = 0;
  std::uint64_t seed = 0;  // of the schedule that failed
  std::string message;
  std::string trace;
  int deviations = 0;             // that the failure needs, after shrinking
  std::uint32_t stop_points = 0;  // stop_thread: most points that it came to in any run
  std::string stopped_at;         // stop_thread: where, last
};

// Runs `body` according to `p`, until it fails or the plan is done. Not from inside of a run. WEFT_SIM_SEED=n in the environment
// runs the schedule with that seed only (random, pct) and prints its trace. WEFT_SIM_BRIEF: a failure is not explained.
report explore(const plan& p, const std::function<void()>& body);

// One run, with its trace, whatever becomes of it.
report trace_of(const plan& p, const std::function<void()>& body);

// Inside of a run only.
class thread {
 public:
  explicit thread(std::function<void()> f);
  ~thread();
  thread(const thread&) = delete;
  thread& operator=(const thread&) = delete;
  // False: it was stopped for good (plan::stop_thread), and nobody else can run any more either.
  bool join();

 private:
  std::function<void()> f_;
  int id_;
  bool joined_ = false;
};

// Ends the run as a failure unless `ok`.
void require(bool ok, const char* text, site s = site::here());
// A line in the trace.
void say(const char* text, std::uint64_t value = 0, site s = site::here());
void spin(site s = site::here());  // the caller waits for somebody else: others go first
void fence_acquire(site s = site::here());
void fence_release(site s = site::here());

// What the runtime's handler would say of a fault at `address`, on the calling thread.
bool fault_at(void* address);

// A moment of the calling thread, and whether the caller knows that it is past (happens-before, not the simulation's own order: a
// load that returns an old value is not late).
struct moment {
  int thread = -1;
  int time = 0;
};
moment mark();
bool happened(moment m);

// Places in the source at which atomics were used by any run since watch_sites(true), or since the last call: "file:line kind
// orders<tab>times", one a line.
void watch_sites(bool on);
std::string sites_seen();
// From now on the operation `kind` (load, store, rmw, cas, fence, fence_of_all) that stands in `file` (its end will do) at `line` has the
// order `to` ("relaxed", ...; "fail:relaxed" for the failure of a cas), or does not take place ("drop"). Empty: no mutant.
// WEFT_SIM_MUTANT="file:line:kind:to" in the environment does the same.
void set_mutant(const std::string& spec);

}  // namespace weft::sim
