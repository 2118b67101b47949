// SPDX-License-Identifier: MIT
#include "lab.h"

#include <weft/weft.h>

#if !WEFT_COMPOSED_SWITCH

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <utility>

#include "../../arch/first_frame.h"
#include "../../runtime/sched/stamp.h"
#include "half_switch.h"

namespace bench::breakdown {

using namespace weft::rt;
using weft::acquire;
using weft::relaxed;
using value_type = int;  // as bench_pingpong's

namespace {

constexpr std::size_t stack_bytes = 64 << 10;
struct alignas(4096) stack {
  std::byte bytes[stack_bytes];
};

// What one of the two goroutines has on its stack.
struct alignas(64) side {
  G* g = nullptr;
  chan_core* out = nullptr;  // here the other one waits
  chan_core* in = nullptr;   // here this one will
  side* other = nullptr;
  chan_core* out_again = nullptr;  // the twins, for a channel synchronisation done twice
  chan_core* in_again = nullptr;
  value_type value = 0;
  std::optional<value_type> got;
  std::optional<value_type> got_again;
  std::int64_t sum = 0;
  // Known beforehand, for a channel synchronisation left out.
  std::uint64_t waits_in_out = 0;
  std::uint64_t waits_in_in = 0;
  std::uint64_t is_open = 0;
  biased_word* spare = nullptr;  // for barriers done twice
};

// A step went another way than the frequent one: then what was measured is not what was meant. Not an exception: this may be a stack
// without a frame to unwind to.
[[gnu::cold, gnu::noinline, noreturn]] void off_the_rails() {
  std::fputs("bench_breakdown: a step of the laboratory left the frequent path\n", stderr);
  std::_Exit(1);
}

[[gnu::always_inline]] inline void expect(bool on_the_rails) {
  if (!on_the_rails) [[unlikely]]
    off_the_rails();
}

[[gnu::always_inline]] inline void do_it_again() { asm volatile("" ::: "memory"); }

}  // namespace

struct workbench {
  P p;
  M m;
  G g[2];
  eh_state eh;
  chan_core channels[2];
  chan_core twins[2];
  biased_word spare{0};
  side sides[2];
  std::int64_t steps = 0;  // two stacks: then side 0 goes back to `home`
  weft::arch::context home;
  std::unique_ptr<stack> stacks[2] = {std::make_unique<stack>(), std::make_unique<stack>()};

  void reset();
};

namespace {

// A budget that always ends in a park, and never in cooperate, which would go to the scheduler: the two come by turns.
constexpr std::int32_t budget = 51 * (weft::limits::switch_cost + 1) + 1;

// park's first half; here a spent budget is filled up at once.
[[gnu::always_inline]] inline G* decide(P* p, G* g, wait_reason why) {
  if (spend(p, weft::limits::switch_cost)) [[unlikely]]
    p->budget.store(budget, relaxed);
  G* to = take_runnext(p);
  expect(to != nullptr);
  g->why.store(why, relaxed);
  return to;
}

// What a send does with the word before its compare-and-swap, and what it hands over after; what a receive does before it parks.
struct found {
  std::uint64_t seen;
  std::uint64_t next;
};
[[gnu::always_inline]] inline found find_receiver(M* m, chan_core* c) {
  const std::uint64_t w = c->word.load(relaxed);
  expect(c->capacity == 0 && word::kind_of(w) == word::receiver);
  return {w, word::stamped(word::open, next_stamp(m->p))};
}
[[gnu::always_inline]] inline found find_nobody(chan_core* c, G* g, std::optional<value_type>* to) {
  const std::uint64_t w = c->word.load(relaxed);
  expect(c->capacity == 0 && word::kind_of(w) == word::open);
  g->slot = to;
  return {w, word::lone(word::receiver, g)};
}
// Where nothing keeps the move whole.
[[gnu::always_inline]] inline std::uint64_t with_flag(const found& f) { return f.next | (f.seen & bias_flag); }

// One more of what keeps a move whole.
[[gnu::always_inline]] inline void move_the_spare(M* m, side* me) {
  const std::uint64_t w = me->spare->load(relaxed);
  expect(move(m, *me->spare, w, w, acquire));
}

// From one resume to the next: what the goroutine `me` does.
template <variant V>
[[gnu::always_inline]] inline void step(M* known_m, side* me) {
  constexpr auto times = V.times;

  // chan<T>::send, typed_chan<T>::send_to_lone
  M* m = known_m;
  found to_open{me->waits_in_out, me->is_open};
  if constexpr (times[channel] > 0) {
    m = self();
    expect(m != nullptr);
    to_open = find_receiver(m, me->out);
  }
  if constexpr (times[barriers] > 1) move_the_spare(m, me);
  if constexpr (times[barriers] > 0) {
    expect(move(m, me->out->word, to_open.seen, to_open.next, acquire));
  } else if constexpr (times[channel] > 0) {
    expect(me->out->word.load(relaxed) == to_open.seen);
    me->out->word.store(with_flag(to_open), relaxed);
  }
  waiter* r = me->other->g;
  if constexpr (times[channel] > 0) {
    r = word::waiter_of(to_open.seen);
    typed_chan<value_type>::hand_over(r->slot, &me->value);
  }
  if constexpr (times[channel] > 1) {
    do_it_again();
    expect(self() == m);
    const found again = find_receiver(m, me->out_again);
    me->out_again->word.store(with_flag(again), relaxed);
    typed_chan<value_type>::hand_over(&me->other->got_again, &me->value);
  }
  for (int k = 0; k < times[decision]; ++k) {
    if (k > 0) {
      G* const once = decide(m->p, me->g, wait_reason::chan_send);
      do_it_again();
      r = once;
    }
    ready(m->p, r);
    cooperate(m->p);
  }

  // chan<T>::recv, park
  G* g = me->g;
  found to_wait{me->is_open, me->waits_in_in};
  if constexpr (times[channel] > 1) {
    expect(self() == m);
    const found again = find_nobody(me->in_again, g, &me->got_again);
    me->in_again->word.store(with_flag(again), relaxed);
    do_it_again();
  }
  if constexpr (times[channel] > 0) {
    m = self();
    expect(m != nullptr);
    if constexpr (times[restore] > 0) g = m->curg;  // else nobody has set it
    to_wait = find_nobody(me->in, g, &me->got);
  }
  G* to = static_cast<G*>(r);
  if constexpr (times[decision] > 0) to = decide(m->p, g, wait_reason::chan_receive);
  for (int k = 0; k < times[save]; ++k) {
    leave_thread(m, g);
    do_it_again();
  }
  for (int k = 0; k < times[restore]; ++k) {
    enter_thread(m, to);
    do_it_again();
  }
  if constexpr (times[barriers] > 1) move_the_spare(m, me);
  constexpr commit_kind commit = times[barriers] > 0  ? shipped_commit
                                 : times[channel] > 0 ? unlocked_commit
                                                      : no_commit;
  constexpr switch_counts counts{times[save], commit, times[restore], times[resume], V.two_stacks};
  weft::arch::context* mine = &g->ctx;
  const std::uint64_t desired = commit == unlocked_commit ? with_flag(to_wait) : to_wait.next;
  for (int tries = 0;;) {
    half_switch<counts>(mine, &to->ctx, me->in->word.at.word.raw(), to_wait.seen, desired, m->section, guard_of(m->p));
    if constexpr (times[channel] == 0 && commit == no_commit) break;
    // As finish_park, asked of whoever goes on: on one stack that is the other one already. A thread that was interrupted in the section comes back to
    // where it was, and tries again.
    auto* const resumed = static_cast<G*>(reinterpret_cast<waiter*>(mine));
    if (resumed->result == outcome::done) [[likely]]
      break;
    resumed->result = outcome::done;
    expect(++tries < 1'000);
  }
}

// What the loop does with what came, and with what goes.
template <variant V>
[[gnu::always_inline]] inline void take(side* me, std::int64_t i) {
  if constexpr (V.times[channel] > 0) me->sum += *me->got;
  if constexpr (V.times[channel] > 1) me->sum += *me->got_again - *me->got;
  me->value = static_cast<value_type>(i);
}

template <variant V>
[[gnu::noinline]] void play_both(M* m, side* sides, std::int64_t steps) {
  for (int k = 0; k < 2; ++k) {
    note_stack(sides[k].g->ctx);
    // There must be a frame pointer: see half_switch.h.
    expect(sides[k].g->ctx.fp == __builtin_frame_address(0));
  }
  for (std::int64_t i = 0; i < steps; ++i) {
    side* const me = &sides[i & 1];
    step<V>(m, me);
    take<V>(me->other, i + 1);
  }
}

// One of a pair of stacks. Side 0 counts.
template <variant V>
void play_one(void* arg) {
  auto* const b = static_cast<workbench*>(arg);
  const bool counts = b->m.curg == &b->g[0];
  side* const me = &b->sides[counts ? 0 : 1];
  for (std::int64_t i = counts ? 0 : 1;; i += 2) {
    if (i != 0) take<V>(me, i);
    if (counts && i >= b->steps) break;
    step<V>(&b->m, me);
  }
  weft_jump(&b->home);
}

struct row {
  variant v;
  void (*one)(M*, side*, std::int64_t);
  void (*two)(void*);
};

template <variant V>
row row_of() {
  if constexpr (V.two_stacks) {
    return {V, nullptr, play_one<V>};
  } else {
    return {V, play_both<V>, nullptr};
  }
}

constexpr variant with_parts(std::size_t bits) {
  variant v{{}, false};
  for (std::size_t k = 0; k < parts; ++k) v.times[k] = static_cast<int>(bits >> k & 1);
  return v;
}

template <std::size_t... Bits>
void add_one_stack(std::vector<row>& rows, std::index_sequence<Bits...>) {
  (rows.push_back(row_of<with_parts(Bits)>()), ...);
}

constexpr variant doubling(std::size_t part) {
  variant v{{1, 1, 1, 1, 1, 1}, true};
  v.times[part] = 2;
  return v;
}

template <std::size_t... Part>
void add_doubled(std::vector<row>& rows, std::index_sequence<Part...>) {
  (rows.push_back(row_of<doubling(Part)>()), ...);
}

const std::vector<row>& rows() {
  static const std::vector<row> all = [] {
    std::vector<row> r;
    add_one_stack(r, std::make_index_sequence<1U << parts>());
    r.push_back(row_of<variant{{1, 1, 1, 1, 1, 1}, true}>());
    add_doubled(r, std::make_index_sequence<parts>());
    return r;
  }();
  return all;
}

void play(workbench& b, const row& r, std::int64_t steps) {
  if (r.one) return r.one(&b.m, b.sides, steps);
  b.steps = steps;
  for (int k = 0; k < 2; ++k) {
    weft::arch::make_first_frame(b.g[k].ctx, b.stacks[k].get() + 1, r.two, &b);
  }
  weft_switch(&b.home, &b.g[0].ctx);
}

// On this thread weft's calls find the workbench's M, for as long as this lives.
class at_the_bench {
 public:
  explicit at_the_bench(workbench& b) : before_(weft::os::self()) { weft::os::set_self(&b.m); }
  ~at_the_bench() { weft::os::set_self(before_); }
  at_the_bench(const at_the_bench&) = delete;
  at_the_bench& operator=(const at_the_bench&) = delete;

 private:
  void* before_;
};

}  // namespace

void workbench::reset() {
  p.s = reinterpret_cast<sched*>(this);  // an address, and no more: that of the goroutines' affinity
  p.runnext.store(nullptr, relaxed);
  p.budget.store(budget, relaxed);
  p.claim.store(weft::os::asymmetric_fences ? claim::idle : claim::fenced, relaxed);
  if (p.stamp == 0) p.stamp = new_stamp_range();
  m.p = &p;
  m.s = p.s;
  m.curg = &g[0];
  m.errno_address = &weft::os::errno_of_thread();
  m.eh = &eh;
  // Biased to this P, as the shipped ping-pong's soon are; where there are no sections, to nobody.
  m.section = weft::os::sections ? weft::os::section_slot_of_thread() : nullptr;
  const std::uint64_t flag = weft::os::sections ? bias_flag : 0;
  for (biased_word* w : {&channels[0].word, &channels[1].word, &twins[0].word, &twins[1].word, &spare})
    w->at.guard.store(guard_of(&p), relaxed);
  spare.store(flag, relaxed);
  for (int k = 0; k < 2; ++k) {
    g[k].affinity.store(p.s, relaxed);
    g[k].saved_errno = *m.errno_address;
    const std::uint64_t open = word::stamped(word::open, next_stamp(&p)) | flag;
    sides[k] = {.g = &g[k],
                .out = &channels[k],
                .in = &channels[1 - k],
                .other = &sides[1 - k],
                .out_again = &twins[k],
                .in_again = &twins[1 - k],
                .value = 0,
                .got = {},
                .got_again = {},
                .sum = 0,
                .waits_in_out = word::lone(word::receiver, &g[1 - k]) | flag,
                .waits_in_in = word::lone(word::receiver, &g[k]) | flag,
                .is_open = open,
                .spare = &spare};
    channels[k].word.store(open, relaxed);
    twins[k].word.store(open, relaxed);
  }
  sides[1].is_open = sides[0].is_open;
  channels[1].word.store(sides[0].is_open, relaxed);
  // Side 1 waits, side 0 is about to send.
  channels[0].word.store(sides[0].waits_in_out, relaxed);
  twins[0].word.store(sides[0].waits_in_out, relaxed);
  g[1].slot = &sides[1].got;
}

lab::lab() : b_(std::make_unique<workbench>()) {}
lab::~lab() = default;

const std::vector<variant>& variants() {
  static const std::vector<variant> all = [] {
    std::vector<variant> v;
    for (const row& r : rows()) v.push_back(r.v);
    return v;
  }();
  return all;
}

void lab::run_untimed(std::size_t which, std::int64_t switches) {
  const at_the_bench here(*b_);
  b_->reset();
  play(*b_, rows()[which], switches);
}

double lab::run(std::size_t which, std::int64_t switches) {
  constexpr std::int64_t warm_up = 512;
  const row& r = rows()[which];
  run_untimed(which, warm_up);
  const at_the_bench here(*b_);
  b_->reset();
  const auto start = std::chrono::steady_clock::now();
  play(*b_, r, switches);
  const std::chrono::nanoseconds time = std::chrono::steady_clock::now() - start;
  if (r.v.times[channel] > 0 && b_->sides[0].sum + b_->sides[1].sum != switches * (switches - 1) / 2) {
    throw std::runtime_error("variant " + r.v.name() + ": the sums are wrong, values were lost or repeated");
  }
  return static_cast<double>(time.count()) / static_cast<double>(switches);
}

std::string why_no_lab() { return {}; }

}  // namespace bench::breakdown

#else  // the composed switch: nothing of it is inlined

namespace bench::breakdown {

struct workbench {};
lab::lab() = default;
lab::~lab() = default;
void lab::run_untimed(std::size_t, std::int64_t) {}
double lab::run(std::size_t, std::int64_t) { return 0; }
const std::vector<variant>& variants() {
  static const std::vector<variant> none;
  return none;
}
std::string why_no_lab() {
  return "a sanitizer's build composes its switch (runtime/sched/switch.h): there is no inlined path to take apart";
}

}  // namespace bench::breakdown

#endif

namespace bench::breakdown {

std::string variant::name() const {
  std::string s;
  for (const int n : times) s += static_cast<char>('0' + n);
  if (two_stacks) s += '+';
  return s;
}

}  // namespace bench::breakdown
