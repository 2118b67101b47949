// SPDX-License-Identifier: MIT
//
// From goroutine to goroutine: the one caller of arch/. Around the bare switch it moves what C++ keeps per thread (errno, the
// exceptions being handled) and tells the sanitizers.
//
// Two ways to the same thing:
//   direct    park_into inlines the switch with its commit between the halves. Nothing runs after a resume.
//   composed  a plain switch, and the *next* context finishes the commit (finish_commit). For builds whose tools must see the
//             compare-and-swap (ThreadSanitizer, AddressSanitizer, the simulated machine). When the commit fails, the next
//             context, not having run yet, switches back.
// Both keep decision 4: a goroutine is published only once its context is saved.

#pragma once

#include "../base/check.h"
#include "biased.h"
#include "runq.h"
#include "self.h"

namespace weft::rt {

// What travels with a goroutine: taken from the thread before COMMIT, and given to it.
//
//   errno        compared before it is stored: see waiter
//   exceptions   hardly ever are there any where a goroutine parks. Between two goroutines a thread has none: who leaves with some takes them away, and
//                who comes with some brings them. So two looks at the thread's and one at the goroutine's say that there is nothing to do, where
//                comparing all with all took fifteen instructions of a ping-pong's 156.
WEFT_API void take_exceptions(M* m, waiter* g);
WEFT_API void give_exceptions(M* m, waiter* g);

[[gnu::always_inline]] inline void leave_thread(M* m, waiter* g) {
  if (int e = *m->errno_address; e != g->saved_errno) [[unlikely]]
    g->saved_errno = e;
  if (const eh_state* eh = m->eh; eh->caught || eh->uncaught != 0) [[unlikely]]
    take_exceptions(m, g);
}

// The thread is m's, so this may come before the switch.
[[gnu::always_inline]] inline void enter_thread(M* m, G* g) {
  if (int e = g->saved_errno; e != *m->errno_address) *m->errno_address = e;
  if (g->exceptions != 0) [[unlikely]]
    give_exceptions(m, g);
  m->curg = g;
}

// `to` has been given the thread, and did not come to use it: who was to leave goes on.
inline void come_back(M* m, G* to, G* g) {
  leave_thread(m, to);
  enter_thread(m, g);
}

// The current goroutine parks: publishes itself by *word: expected -> desired, and `to`, which this M has taken, goes on.
// False: the word held something else, and nothing has happened; `to` is still in the caller's hand.
// `done`, when given, is set to zero once published (the reader section of quiesce.h ends).
bool park_into_slow(M* m, G* to, atomic<std::uint64_t>& word, std::uint64_t expected, std::uint64_t desired,
                    atomic<std::uint32_t>* done);

// For a biased word, which the caller may move; and false also when it may not any more, or was interrupted.
bool park_into_slow(M* m, G* to, biased_word& word, std::uint64_t expected, std::uint64_t desired);
bool park_into_scheduler(M* m, biased_word& word, std::uint64_t expected, std::uint64_t desired);

// The same with the M's scheduler context as what goes on.
bool park_into_scheduler(M* m, atomic<std::uint64_t>& word, std::uint64_t expected, std::uint64_t desired,
                         atomic<std::uint32_t>* done);

// Where the inlined switch says that its commit failed.
inline constexpr std::size_t result_at = offsetof(waiter, result);
static_assert(sizeof(plain<outcome>) == 1 || WEFT_COMPOSED_SWITCH);

// park_into_slow, inlined, for g == m->curg and p == m->p; afterwards g is the goroutine that was given, come what may, and m is nobody. Of a commit
// that failed g->result says that the park is lost; m->curg is still `to` then.
[[gnu::always_inline]] inline void park_into(M* m, P*, G*& g, G* to, atomic<std::uint64_t>& word,
                                             std::uint64_t expected, std::uint64_t desired) {
  leave_thread(m, g);
  enter_thread(m, to);
  arch::context* mine = &g->ctx;
  arch::switch_cas_inline<result_at, static_cast<std::uint8_t>(outcome::lost)>(mine, &to->ctx, word.raw(), expected,
                                                                               desired);
  g = static_cast<G*>(reinterpret_cast<waiter*>(mine));
}

[[gnu::always_inline]] inline void park_into(M* m, P* p, G*& g, G* to, biased_word& word, std::uint64_t expected,
                                             std::uint64_t desired) {
  leave_thread(m, g);
  enter_thread(m, to);
  arch::context* mine = &g->ctx;
  arch::switch_section_inline<result_at, static_cast<std::uint8_t>(outcome::lost)>(
      mine, &to->ctx, word.at.word.raw(), expected, desired, m->section, guard_of(p));
  g = static_cast<G*>(reinterpret_cast<waiter*>(mine));
}

// g, which is m's current goroutine, goes to the tail of its P's ring, for which there is room, and `to` goes on.
#if WEFT_COMPOSED_SWITCH
WEFT_API void yield_into(M* m, P* p, G* g, G* to);
#else
[[gnu::always_inline]] inline void yield_into(M* m, P* p, G* g, G* to) {
  std::uint32_t t = p->runq_tail.load(relaxed);
  p->runq[t % runq::capacity].store(g, relaxed);  // published by the commit
  leave_thread(m, g);
  enter_thread(m, to);
  // RUNQ-PUBLISH release -> acquire in steal_into: the switch stores the tail once the context is saved.
  arch::switch_store_inline(&g->ctx, &to->ctx, p->runq_tail.raw(), t + 1);
}
#endif

// The scheduler's context hands the thread to `to`; returns when a goroutine parks into it.
void run_from_scheduler(M* m, G* to);

// The current goroutine is finished; its stack may be reused by this M at once. Goes on with `to`, or with the scheduler.
#if WEFT_COMPOSED_SWITCH
[[noreturn]] void leave_for_good(M* m, G* to);
#else
[[noreturn, gnu::always_inline]] inline void leave_for_good(M* m, G* to) {
  if (!to) {
    m->curg = nullptr;
    arch::jump_inline(&m->g0);
  }
  enter_thread(m, to);
  arch::jump_inline(&to->ctx);
}
#endif

// First thing on a goroutine's fresh stack, composed builds: finishes the commit of whoever came here.
// And a G's sanitizer fiber: made before its first run, destroyed after its last.
#if WEFT_COMPOSED_SWITCH
void arrived_fresh();
void make_fiber(G* g);
void bind_scheduler_fiber(M* m);
#else
inline void arrived_fresh() {}
inline void make_fiber(G*) {}
inline void bind_scheduler_fiber(M*) {}
#endif

}  // namespace weft::rt
