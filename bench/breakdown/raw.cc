// SPDX-License-Identifier: MIT
#include "raw.h"

#include <array>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "../../arch/first_frame.h"
#include "../experiments.h"

namespace bench::breakdown {

namespace {

constexpr std::size_t partners = 4;

struct stack {
  alignas(64) std::byte bytes[16 << 10];
};

struct circle {
  weft::arch::context main;
  weft::arch::context partner[partners];
  std::int64_t hits = 0;
  std::unique_ptr<stack> stacks[partners];
};

template <std::size_t K, bool Inlined>
void partner_main(void* arg) {
  auto* const c = static_cast<circle*>(arg);
  for (;;) {
    ++c->hits;
    if constexpr (Inlined) {
      weft::arch::switch_inline(&c->partner[K], &c->main);
    } else {
      weft_switch(&c->partner[K], &c->main);
    }
  }
}

template <bool Inlined, std::size_t... K>
std::unique_ptr<circle> make_circle(std::index_sequence<K...>) {
  auto c = std::make_unique<circle>();
  ((c->stacks[K] = std::make_unique<stack>(),
    weft::arch::make_first_frame(c->partner[K], c->stacks[K].get() + 1, partner_main<K, Inlined>, c.get())),
   ...);
  return c;
}

constexpr std::int64_t visits = 1 << 14;  // longer than what a predictor learns by heart

template <bool Inlined>
[[gnu::noinline]] void visit(circle& c, const std::vector<std::uint8_t>& order, std::int64_t round_trips) {
  for (std::int64_t i = 0; i < round_trips; ++i) {
    weft::arch::context* const to = &c.partner[order[static_cast<std::size_t>(i % visits)]];
    if constexpr (Inlined) {
      weft::arch::switch_inline(&c.main, to);
    } else {
      weft_switch(&c.main, to);
    }
  }
}

template <bool Inlined>
double measure(const std::vector<std::uint8_t>& order, std::int64_t round_trips) {
  const auto c = make_circle<Inlined>(std::make_index_sequence<partners>());
  visit<Inlined>(*c, order, round_trips / 10 + 4);
  c->hits = 0;
  const stopwatch watch;
  visit<Inlined>(*c, order, round_trips);
  const auto elapsed = watch.elapsed();
  if (c->hits != round_trips)
    throw std::runtime_error("a partner of the bare switch did not run once for each round trip");
  return static_cast<double>(elapsed.count()) / static_cast<double>(2 * round_trips);
}

}  // namespace

double raw_switch_ns(raw_order order, std::int64_t round_trips) {
  std::vector<std::uint8_t> targets(static_cast<std::size_t>(visits));
  std::uint64_t x = 88172645463325252;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    x ^= x << 13;  // Marsaglia's xorshift
    x ^= x >> 7;
    x ^= x << 17;
    targets[i] = static_cast<std::uint8_t>(order == raw_order::one_target ? 0
                                           : order == raw_order::in_turn  ? i % partners
                                                                          : (x >> 32) % partners);
  }
  return measure<true>(targets, round_trips);
}

double raw_call_ns(std::int64_t round_trips) {
  return measure<false>(std::vector<std::uint8_t>(static_cast<std::size_t>(visits), 0), round_trips);
}

}  // namespace bench::breakdown
