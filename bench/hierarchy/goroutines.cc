// SPDX-License-Identifier: MIT
//
// The subject itself: the bare switch of stacks, then a goroutine's, by yield and by channel. goroutine.channel.p1 is what
// all multipliers are over. The programs are those of bench_pingpong and of the Go peer (experiments.h); the latter half of
// this file's names, with "go." in front, is in go_peer.cc.

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>

#include <weft/weft.h>

#include "../../arch/first_frame.h"
#include "../experiments.h"
#include "inside_runtime.h"
#include "row.h"

namespace bench::hierarchy {
namespace {

struct out_of_line {
  [[gnu::always_inline]] static inline void go(weft::arch::context* from, weft::arch::context* to) {
    weft_switch(from, to);
  }
};

struct inlined {
  [[gnu::always_inline]] static inline void go(weft::arch::context* from, weft::arch::context* to) {
    weft::arch::switch_inline(from, to);
  }
};

template <class Switch>
class bare_switch final : public experiment {
 public:
  bare_switch() { weft::arch::make_first_frame(partner_, stack_->bytes + sizeof stack_->bytes, partner_main, this); }

  double run(std::int64_t n) override {
    const std::int64_t rounds = n / 2 + 1, before = hits_;
    const bench::stopwatch watch;
    for (std::int64_t i = 0; i < rounds; ++i) Switch::go(&main_, &partner_);
    const auto elapsed = watch.elapsed();
    if (hits_ - before != rounds) throw std::runtime_error("the partner did not run once for each round trip");
    return static_cast<double>(elapsed.count()) / static_cast<double>(2 * rounds);
  }

 private:
  struct stack {
    alignas(64) std::byte bytes[64 << 10];
  };

  // Never ends; its stack is just given up.
  static void partner_main(void* arg) {
    auto* const self = static_cast<bare_switch*>(arg);
    for (;;) {
      ++self->hits_;
      Switch::go(&self->partner_, &self->main_);
    }
  }

  std::unique_ptr<stack> stack_ = std::make_unique<stack>();
  weft::arch::context main_{}, partner_{};
  std::int64_t hits_ = 0;
};

bench::result yielding(std::int64_t n) { return bench::yield_between_two(std::max<std::int64_t>(n / 2, 1)); }
bench::result meeting(std::int64_t n) {
  return bench::pingpong<std::int64_t>({.rounds = std::max<std::int64_t>(n / 2, 1)});
}

using program = bench::result (*)(std::int64_t n);

template <program Program>
std::unique_ptr<experiment> on_one(const setup&) {
  return std::make_unique<inside_runtime>(1, Program);
}

template <program Program>
std::unique_ptr<experiment> on_all(const setup&) {
  const int procs = static_cast<int>(weft::num_cpus());
  auto e = std::make_unique<inside_runtime>(procs, Program);
  e->detail = fmt::format("N is {}", procs);
  return e;
}

}  // namespace

rows goroutine_rows() {
  return {
      {"switch.raw", "weft_switch between two stacks, called, no scheduler; half a round trip", isolation::none,
       usual_batch, [](const setup&) { return std::make_unique<bare_switch<out_of_line>>(); }},
      {"switch.raw_inlined", "weft's switch inlined, between two stacks, no scheduler; half a round trip",
       isolation::none, usual_batch, [](const setup&) { return std::make_unique<bare_switch<inlined>>(); }},
      {"goroutine.yield.p1", "two goroutines that only yield, one P; total time / all yields", isolation::goroutine,
       usual_batch, on_one<yielding>},
      {"goroutine.yield.pn",
       "two goroutines that only yield, N Ps, so that they may run side by side; total time / all yields",
       isolation::goroutine, longest_batch, on_all<yielding>},
      // Long, both: a channel is biased to its P after some 10,000 moves, and each batch makes its own.
      {"goroutine.channel.p1", "two goroutines, two unbuffered channels, one P; half a round trip",
       isolation::goroutine, longest_batch, on_one<meeting>},
      {"goroutine.channel.pn", "two goroutines, two unbuffered channels, N Ps; half a round trip", isolation::goroutine,
       longest_batch, on_all<meeting>},
  };
}

}  // namespace bench::hierarchy
