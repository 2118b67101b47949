// SPDX-License-Identifier: MIT
#include "runs.h"

#include <sched.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include <weft/weft.h>

#include "../cache_line.h"
#include "../experiments.h"

namespace bench::breakdown {

namespace {

using value_type = int;  // as bench_pingpong's

// One locked instruction more for each switch: a round trip is two switches and two sends.
struct fenced_via {
  void send(const weft::chan<value_type>& c, value_type v) const {
    weft::os::fence_full();
    c.send(v);
  }
  [[gnu::always_inline]] value_type recv(const weft::chan<value_type>& c) const { return *c.recv(); }
};

// Asks, after each receive, which P this is.
struct counting_via {
  std::atomic<std::int64_t>* moves;
  mutable const weft::rt::P* last = nullptr;

  void send(const weft::chan<value_type>& c, value_type v) const { c.send(v); }
  value_type recv(const weft::chan<value_type>& c) const {
    const value_type v = *c.recv();
    const weft::rt::P* const now = weft::rt::self()->p;
    if (last && now != last) moves->fetch_add(1, std::memory_order_relaxed);  // read when both have ended
    last = now;
    return v;
  }
};

double thread_cpu_ns() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

// A thread that spins on that CPU for as long as this lives.
class spinner {
 public:
  explicit spinner(int cpu)
      : thread_([this, cpu] {
          const pinned pin(cpu);
          for (std::uint64_t n = 0; !over_.load(std::memory_order_relaxed); ++n) spins_ = n;
        }) {}
  ~spinner() {
    over_.store(true, std::memory_order_relaxed);
    thread_.join();
  }
  spinner(const spinner&) = delete;
  spinner& operator=(const spinner&) = delete;

 private:
  std::atomic<bool> over_{false};
  volatile std::uint64_t spins_ = 0;
  std::thread thread_;
};

void require(bool right) {
  if (!right) throw std::runtime_error("a sum of the ping-pong is wrong, values were lost or repeated");
}

// This thread may use the CPUs afterwards that it may use now.
class same_cpus_after {
 public:
  same_cpus_after() { known_ = sched_getaffinity(0, sizeof cpus_, &cpus_) == 0; }
  ~same_cpus_after() {
    if (known_) sched_setaffinity(0, sizeof cpus_, &cpus_);
  }
  same_cpus_after(const same_cpus_after&) = delete;
  same_cpus_after& operator=(const same_cpus_after&) = delete;

 private:
  cpu_set_t cpus_{};
  bool known_;
};

template <class Via>
double wall_ns(int procs, const pingpong_setting& s, Via via) {
  const result r = weft::run({.procs = procs}, [&] { return pingpong_via<value_type>(s, via); });
  require(r.right);
  return r.ns_per_op();
}

// A pair bound to P 0. The clocks are read by the one that answers, from its first receive to its last send: where the pair is pinned, all
// of that is on one thread. The threads of the other Ps are there before that one is pinned, as a new thread inherits its maker's CPUs.
timing bound_pair(const setting& s, std::int64_t round_trips) {
  const same_cpus_after here;  // whatever becomes of the pin below
  timing t{};
  weft::run({.procs = s.procs}, [&] {
    require(pingpong<value_type>({.rounds = 50, .pairs = 4 * s.procs}).right);
    const auto ping = weft::make_chan<value_type>();
    const auto pong = weft::make_chan<value_type>();
    std::int64_t answered = 0, asked = 0;
    weft::wait_group done;
    done.add(2);
    weft::go({.home = 0}, [&] {
      std::optional<pinned> pin;
      if (s.pinned) pin.emplace(allowed_cpus().front());
      const double cpu = thread_cpu_ns();
      const stopwatch watch;
      answered = answer<value_type>(ping, pong, round_trips, direct{});
      const auto elapsed = watch.elapsed();
      const auto switches = static_cast<double>(2 * round_trips);
      t = {static_cast<double>(elapsed.count()) / switches, (thread_cpu_ns() - cpu) / switches};
      pin.reset();
      done.done();
    });
    weft::go({.home = 0}, [&] {
      asked = ask<value_type>(ping, pong, round_trips, direct{});
      done.done();
    });
    done.wait();
    require(answered == sum_below(round_trips) && asked == answered);
  });
  return t;
}

}  // namespace

std::string why_not_pinned() {
  const std::vector<int> cpus = allowed_cpus();
  if (cpus.empty() || !pinned(cpus.front())) return "the kernel does not let a thread be kept on a CPU";
  return {};
}

std::string why_not_two_cpus() {
  if (std::string why = why_not_pinned(); !why.empty()) return why;
  const std::vector<int> cpus = allowed_cpus();
  if (cpus.size() < 2) return "this process may use one CPU only";
  if (!pinned(cpus[1])) return "the kernel does not let a thread be kept on a CPU";
  return {};
}

timing run(const setting& s, std::int64_t round_trips) {
  if (s.bound || s.pinned) {
    std::optional<spinner> busy;
    if (s.busy == competitor::same_cpu) busy.emplace(allowed_cpus()[0]);
    if (s.busy == competitor::other_cpu) busy.emplace(allowed_cpus()[1]);
    return bound_pair(s, round_trips);
  }
  const pingpong_setting p{.rounds = round_trips, .where = s.cross ? place::cross : place::automatic};
  return {s.fenced ? wall_ns(s.procs, p, fenced_via{}) : wall_ns(s.procs, p, direct{}), 0};
}

double moves_per_switch(int procs, std::int64_t round_trips) {
  std::atomic<std::int64_t> moves{0};
  wall_ns(procs, {.rounds = round_trips}, counting_via{&moves});
  return static_cast<double>(moves.load(std::memory_order_relaxed)) / static_cast<double>(2 * round_trips);
}

double cache_line_ns(std::int64_t round_trips) {
  // Two threads that spin for each other lose a time slice of the kernel's at each handover when a third wants one of their CPUs: hence
  // in small steps, with an end.
  constexpr std::int64_t step = 50;
  constexpr auto patience = std::chrono::milliseconds(100);
  const std::vector<int> cpus = allowed_cpus();
  cache_line_pair pair(cpus[0], cpus[1]);
  if (!pair) throw std::runtime_error("the threads cannot be kept on their CPUs");
  pair.round_trips(step);
  std::int64_t made = 0;
  const stopwatch watch;
  while (made < round_trips && watch.elapsed() < patience) {
    pair.round_trips(step);
    made += step;
  }
  return static_cast<double>(watch.elapsed().count()) / static_cast<double>(2 * made);
}

}  // namespace bench::breakdown
