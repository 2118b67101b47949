// SPDX-License-Identifier: MIT
//
// The stack switch alone, with no scheduler round it: out of line (a call of weft_switch), inlined, and Boost.Context's
// jump_fcontext for comparison where it is installed. A partner on its own stack does nothing but count and switch
// back, so a round trip is two switches; one operation is one switch.

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "../arch/first_frame.h"

#if defined(WEFT_HAVE_BOOST_CONTEXT)
#include <boost/context/detail/fcontext.hpp>
#endif

namespace {

constexpr std::int64_t rounds = 4096;  // of a batch
constexpr std::size_t stack_size = 64 << 10;

struct stack {
  alignas(64) std::byte bytes[stack_size];
  void* top() { return bytes + stack_size; }
};

// Both contexts and the partner's count; the partner never ends, its stack is just given up.
struct partners {
  weft::arch::context main{};
  weft::arch::context partner{};
  std::int64_t hits = 0;
};

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
void partner_main(void* arg) {
  auto* const p = static_cast<partners*>(arg);
  for (;;) {
    ++p->hits;
    Switch::go(&p->partner, &p->main);
  }
}

void check_hits(benchmark::State& state, std::int64_t hits, std::int64_t batches) {
  if (hits != rounds * batches) state.SkipWithError("the partner did not run once for each round trip");
}

template <class Switch>
void raw_switch(benchmark::State& state) {
  const auto other = std::make_unique<stack>();
  partners p;
  weft::arch::make_first_frame(p.partner, other->top(), partner_main<Switch>, &p);
  std::int64_t batches = 0;
  while (state.KeepRunningBatch(2 * rounds)) {
    for (std::int64_t i = 0; i < rounds; ++i) Switch::go(&p.main, &p.partner);
    ++batches;
  }
  check_hits(state, p.hits, batches);
}
BENCHMARK_TEMPLATE(raw_switch, out_of_line);
BENCHMARK_TEMPLATE(raw_switch, inlined);

#if defined(WEFT_HAVE_BOOST_CONTEXT)

namespace boost_context = boost::context::detail;

// What boost.context hands along with each jump is its way to pass a value; here it carries the count once.
void boost_partner(boost_context::transfer_t t) {
  auto* const hits = static_cast<std::int64_t*>(t.data);
  for (;;) {
    ++*hits;
    t = boost_context::jump_fcontext(t.fctx, nullptr);
  }
}

void raw_switch_boost_fcontext(benchmark::State& state) {
  const auto other = std::make_unique<stack>();
  std::int64_t hits = 0, batches = 0;
  boost_context::fcontext_t partner = boost_context::make_fcontext(other->top(), stack_size, boost_partner);
  while (state.KeepRunningBatch(2 * rounds)) {
    for (std::int64_t i = 0; i < rounds; ++i) partner = boost_context::jump_fcontext(partner, &hits).fctx;
    ++batches;
  }
  check_hits(state, hits, batches);
}
BENCHMARK(raw_switch_boost_fcontext);

#endif

}  // namespace
