// SPDX-License-Identifier: MIT

#include "switch.h"

#include "../base/check.h"
#include "../os/thread.h"

#if WEFT_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#if WEFT_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

namespace weft::rt {

void take_exceptions(M* m, waiter* g) {
  WEFT_CHECK(m->eh->uncaught < UINT16_MAX, "a goroutine has more than 65,534 exceptions in flight");
  g->caught = m->eh->caught;
  g->exceptions = static_cast<std::uint16_t>(m->eh->uncaught + 1);
  *m->eh = {};
}

void give_exceptions(M* m, waiter* g) {
  m->eh->caught = g->caught;
  m->eh->uncaught = g->exceptions - 1U;
  g->exceptions = 0;
}

#if WEFT_COMPOSED_SWITCH

namespace {

// One side of a plain switch: the context and what the sanitizers call it.
struct side {
  arch::context* ctx;
  void* tsan_fiber;
  void** asan_fake_stack;
  const void* lo;
  std::size_t size;
};

side side_of(G* g) { return {&g->ctx, g->tsan_fiber, &g->asan_fake_stack, g->stack_lo, g->stack_size}; }
side side_of(M* m) { return {&m->g0, m->g0_tsan_fiber, &m->g0_asan_fake_stack, m->g0_stack_lo, m->g0_stack_size}; }
side current_side(M* m) { return m->curg ? side_of(m->curg) : side_of(m); }

// Not instrumented: ThreadSanitizer's shadow call stack must be changed right at the switch, not a frame above it.
#if WEFT_TSAN
__attribute__((no_sanitize("thread")))
#endif
WEFT_NOINLINE void
plain_switch(side from, side to, bool from_is_dead) {
#if WEFT_ASAN
  __sanitizer_start_switch_fiber(from_is_dead ? nullptr : from.asan_fake_stack, to.lo, to.size);
#endif
#if WEFT_TSAN
  __tsan_switch_to_fiber(to.tsan_fiber, 0);
#endif
  (void)from_is_dead;
  os::plain_write(from.ctx);
  os::plain_read(to.ctx);
  weft_switch(from.ctx, to.ctx);
#if WEFT_ASAN
  __sanitizer_finish_switch_fiber(*from.asan_fake_stack, nullptr, nullptr);
#endif
}

// Whoever switched to the context that runs now may have left a commit to finish. When it fails, that goroutine gets the
// thread back, and this context comes here again when it is resumed.
void finish_commit() {
  for (;;) {
    M* m = self();
#if WEFT_TSAN
    if (m->dying) {
      __tsan_destroy_fiber(m->dying->tsan_fiber);
      m->dying->tsan_fiber = nullptr;
    }
#endif
    m->dying = nullptr;
    if (P* p = m->commit.yielded) {
      m->commit.yielded = nullptr;
      p->runq_tail.store(p->runq_tail.load(relaxed) + 1, release);  // RUNQ-PUBLISH release -> acquire in steal_into
      return;
    }
    G* from = m->commit.from;
    if (!from) return;
    m->commit.from = nullptr;
    std::uint64_t expected = m->commit.expected;
    atomic<std::uint32_t>* done = m->commit.done;
    // COMMIT release. On failure somebody else has been there: acquire, for what he did before (LOT-WAKE).
    if (m->commit.biased) {
      if (move(m, *m->commit.biased, expected, m->commit.desired, release)) return;
    } else {
      if (m->commit.word->compare_exchange_strong(expected, m->commit.desired, release, relaxed)) {
        if (done) done->store(0, release);
        return;
      }
      (void)m->commit.word->load(acquire);
    }
    m->commit.failed = true;
    side here = current_side(m);
    plain_switch(here, side_of(from), false);
  }
}

bool composed_park(M* m, G* g, side to, atomic<std::uint64_t>* word, biased_word* biased, std::uint64_t expected,
                   std::uint64_t desired, atomic<std::uint32_t>* done) {
  m->commit = {.from = g, .word = word, .biased = biased, .done = done, .expected = expected, .desired = desired};
  plain_switch(side_of(g), to, false);
  m = self();
  if (m->commit.failed) {
    m->commit.failed = false;
    return false;
  }
  finish_commit();
  return true;
}

bool park_into_slow(M* m, G* to, atomic<std::uint64_t>* word, biased_word* biased, std::uint64_t expected,
                    std::uint64_t desired, atomic<std::uint32_t>* done) {
  G* g = m->curg;
  leave_thread(m, g);
  enter_thread(m, to);
  if (composed_park(m, g, side_of(to), word, biased, expected, desired, done)) return true;
  come_back(m, to, g);  // a failed commit comes back on the same thread
  return false;
}

bool park_into_scheduler(M* m, atomic<std::uint64_t>* word, biased_word* biased, std::uint64_t expected,
                         std::uint64_t desired, atomic<std::uint32_t>* done) {
  G* g = m->curg;
  leave_thread(m, g);
  m->curg = nullptr;
  if (composed_park(m, g, side_of(m), word, biased, expected, desired, done)) return true;
  enter_thread(m, g);
  return false;
}

}  // namespace

bool park_into_slow(M* m, G* to, atomic<std::uint64_t>& word, std::uint64_t expected, std::uint64_t desired,
                    atomic<std::uint32_t>* done) {
  return park_into_slow(m, to, &word, nullptr, expected, desired, done);
}
bool park_into_slow(M* m, G* to, biased_word& word, std::uint64_t expected, std::uint64_t desired) {
  return park_into_slow(m, to, nullptr, &word, expected, desired, nullptr);
}
bool park_into_scheduler(M* m, atomic<std::uint64_t>& word, std::uint64_t expected, std::uint64_t desired,
                         atomic<std::uint32_t>* done) {
  return park_into_scheduler(m, &word, nullptr, expected, desired, done);
}
bool park_into_scheduler(M* m, biased_word& word, std::uint64_t expected, std::uint64_t desired) {
  return park_into_scheduler(m, nullptr, &word, expected, desired, nullptr);
}

void yield_into(M* m, P* p, G* g, G* to) {
  p->runq[p->runq_tail.load(relaxed) % runq::capacity].store(g, relaxed);  // published by the commit
  leave_thread(m, g);
  enter_thread(m, to);
  m->commit = {.yielded = p};
  plain_switch(side_of(g), side_of(to), false);
  finish_commit();
}

void run_from_scheduler(M* m, G* to) {
  enter_thread(m, to);
  plain_switch(side_of(m), side_of(to), false);
  finish_commit();
}

void leave_for_good(M* m, G* to) {
  G* g = m->curg;
  m->dying = g;
  if (to)
    enter_thread(m, to);
  else
    m->curg = nullptr;
  plain_switch(side_of(g), to ? side_of(to) : side_of(m), true);
  fatal("a finished goroutine was resumed");
}

void arrived_fresh() {
#if WEFT_ASAN
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
  finish_commit();
}

void make_fiber([[maybe_unused]] G* g) {
#if WEFT_TSAN
  g->tsan_fiber = __tsan_create_fiber(0);
  if (g->name) __tsan_set_fiber_name(g->tsan_fiber, g->name);
#endif
#if WEFT_ASAN
  g->asan_fake_stack = nullptr;
#endif
}

void bind_scheduler_fiber([[maybe_unused]] M* m) {
#if WEFT_TSAN
  m->g0_tsan_fiber = __tsan_get_current_fiber();
#endif
  os::stack_bounds_of_thread(m->g0_stack_lo, m->g0_stack_size);
}

#else  // direct

bool park_into_slow(M* m, G* to, atomic<std::uint64_t>& word, std::uint64_t expected, std::uint64_t desired,
                    atomic<std::uint32_t>* done) {
  G* g = m->curg;
  leave_thread(m, g);
  enter_thread(m, to);
  if (weft_switch_cas(&g->ctx, &to->ctx, word.raw(), expected, desired, (done ? done : &m->nobody)->raw())) return true;
  come_back(m, to, g);  // same thread: nothing was switched
  return false;
}

bool park_into_scheduler(M* m, atomic<std::uint64_t>& word, std::uint64_t expected, std::uint64_t desired,
                         atomic<std::uint32_t>* done) {
  G* g = m->curg;
  leave_thread(m, g);
  m->curg = nullptr;
  if (weft_switch_cas(&g->ctx, &m->g0, word.raw(), expected, desired, (done ? done : &m->nobody)->raw())) return true;
  enter_thread(m, g);
  return false;
}

bool park_into_slow(M* m, G* to, biased_word& word, std::uint64_t expected, std::uint64_t desired) {
  G* g = m->curg;
  park_into(m, m->p, g, to, word, expected, desired);
  if (!has(g->result, outcome::lost)) return true;
  g->result = outcome::done;
  come_back(m, to, g);
  return false;
}

bool park_into_scheduler(M* m, biased_word& word, std::uint64_t expected, std::uint64_t desired) {
  G* g = m->curg;
  leave_thread(m, g);
  m->curg = nullptr;
  arch::context* mine = &g->ctx;
  arch::switch_section_inline<result_at, static_cast<std::uint8_t>(outcome::lost)>(
      mine, &m->g0, word.at.word.raw(), expected, desired, m->section, guard_of(m->p));
  if (!has(g->result, outcome::lost)) return true;
  g->result = outcome::done;
  enter_thread(m, g);
  return false;
}

void run_from_scheduler(M* m, G* to) {
  enter_thread(m, to);
  weft_switch(&m->g0, &to->ctx);
}

#endif

}  // namespace weft::rt
