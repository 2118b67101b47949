// SPDX-License-Identifier: MIT
//
// park and ready: how a goroutine waits and how it is woken. All that blocks (channels, wait_group, mutexes) meets here.
//
// park publishes the current goroutine by one compare-and-swap on a word of the caller's (the commit, arch/switch.h) and gives
// the P to the next goroutine. ready makes a waiter that the caller took from such a word runnable: it becomes its P's runnext
// and runs in the waker's time slice (decision 5). The fast halves are inline; neither makes a call nor, but for the commit,
// a locked instruction; where the word is biased to the caller's P (sched/biased.h) the commit has none either.
//
// A waiter can also be an ordinary thread: it blocks in the kernel, and ready wakes it there.
//
// Budget. Every runtime call costs its P something; when the budget is spent, the slow half looks round: is the world to be
// stopped, does the global queue wait, has the ring had its turn. This is all there is to time slices: a pair of goroutines
// that ready each other run `limits::slice / limits::switch_cost` switches, then the ring's head gets a turn.
//
// Who blocks: the goroutine. Called from an ordinary thread, the thread.

#pragma once

#include <type_traits>

#include "deque.h"
#include "switch.h"

namespace weft::rt {

// An ordinary thread that waits. Lives on the thread's stack or in its record; `ready` does not touch it after the wake is
// visible to the thread.
struct thread_waiter : waiter {
  atomic<std::uint32_t> woken{0};
};

// How a wait ended. rose: as done, and rose_closed: as closed, and there is a seat to leave.
enum class parked : std::uint8_t { no, done, closed, rose, rose_closed };

// The slow halves.
WEFT_API parked park_slow(M* m, atomic<std::uint64_t>& word, std::uint64_t expected, std::uint64_t desired,
                          wait_reason why, atomic<std::uint32_t>* done);
WEFT_API parked park_slow(M* m, biased_word& word, std::uint64_t expected, std::uint64_t desired, wait_reason why);
// Of a w->result that is neither `done`, which it becomes, nor `seated`, which it stays until the seat is left. Was the park lost, then w goes on, and
// who was to run instead goes back.
WEFT_API parked finish_park_slow(waiter* w);
WEFT_API void ready_slow(waiter* w);
WEFT_API void nag_sysmon(P* p);
WEFT_API void cooperate_slow();
// Between the two, calls of the runtime on this thread do not yield: for whoever holds a runtime_lock, and for timers, which fire in
// the midst of a park. Nothing in between may park. Nestable; `m` may be null, an ordinary thread.
WEFT_API void hold_switches(M* m) noexcept;
WEFT_API void allow_switches(M* m) noexcept;

// Takes `cost` from p's budget. True: it is spent. Owner only.
[[gnu::always_inline]] inline bool spend(P* p, std::int32_t cost) { return os::take_alone(p->budget, cost); }
inline void unspend(P* p, std::int32_t cost) { p->budget.store(p->budget.load(relaxed) + cost, relaxed); }

// How a wait ended, for the one who waited.
[[gnu::always_inline]] inline parked finish_park(waiter* w) {
  const outcome how = w->result;
  if (how == outcome::done) [[likely]]
    return parked::done;
  if (how == outcome::seated) return parked::rose;
  return finish_park_slow(w);
}

// park's frequent half: another goroutine is to run next, and the budget lasts. False: it has not been tried; the slow half is to.
template <class Word>
[[gnu::always_inline]] inline bool park_at_once([[maybe_unused]] M* m, [[maybe_unused]] Word& word,
                                                [[maybe_unused]] std::uint64_t expected,
                                                [[maybe_unused]] std::uint64_t desired,
                                                [[maybe_unused]] wait_reason why, [[maybe_unused]] parked& how) {
#if !WEFT_COMPOSED_SWITCH
  P* p = m->p;
  G* g = m->curg;
  if (!spend(p, limits::switch_cost)) [[likely]] {
    if (G* to = take_runnext(p)) [[likely]] {
      g->why.store(why, relaxed);
      park_into(m, p, g, to, word, expected, desired);
      how = finish_park(g);
      return true;
    }
    unspend(p, limits::switch_cost);  // the slow half does
  }
#endif
  return false;
}

// Parks the current goroutine of `m`, publishing it by *word: expected -> desired. Returns how it ended once somebody readied it; `no`
// at once, and nothing has happened, when the word held something else. Unless `no`, `m` may be another thread's M by now.
template <class Word>
[[gnu::always_inline]] inline parked park_at(M* m, Word& word, std::uint64_t expected, std::uint64_t desired,
                                             wait_reason why) {
  parked how;
  if (park_at_once(m, word, expected, desired, why, how)) [[likely]]
    return how;
  if constexpr (std::is_same_v<Word, biased_word>)
    return park_slow(m, word, expected, desired, why);
  else
    return park_slow(m, word, expected, desired, why, nullptr);
}
[[gnu::always_inline]] inline parked park(M* m, atomic<std::uint64_t>& word, std::uint64_t expected,
                                          std::uint64_t desired, wait_reason why) {
  return park_at(m, word, expected, desired, why);
}
// A biased word: `no` also when it is another P's.
[[gnu::always_inline]] inline parked park(M* m, biased_word& word, std::uint64_t expected, std::uint64_t desired,
                                          wait_reason why) {
  return park_at(m, word, expected, desired, why);
}

// Makes `w` runnable. The caller must have taken it from where it was published: it is the only one who knows it.
// `p` is the current P; `m` is the current M, or null on an ordinary thread. `w` may be running, or gone, before this returns.
[[gnu::always_inline]] inline void ready(P* p, waiter* w) {
  if (w->affinity.load(relaxed) == p->s || w->affinity.load(relaxed) == p) [[likely]] {
    if (p->runnext.load(relaxed) == nullptr) [[likely]] {
      w->why.store(wait_reason::none, relaxed);
      put_runnext(p, static_cast<G*>(w));
      // Nobody is woken (decision 5); sysmon finds a runnext that waits too long. When it sleeps it says so here; its own look,
      // after a fence_heavy, and this one cannot both miss. SYSMON-NAG, see sysmon.cc.
      asm volatile("" ::: "memory");
      if (p->nag.load(relaxed)) [[unlikely]]
        nag_sysmon(p);
      return;
    }
  }
  ready_slow(w);
}
[[gnu::always_inline]] inline void ready(M* m, waiter* w) {
  if (m) [[likely]]
    return ready(m->p, w);
  ready_slow(w);
}

// For runtime calls that do not park: takes one from the budget, and yields when it is spent and others wait.
[[gnu::always_inline]] inline void cooperate(P* p) {
  if (spend(p, 1)) [[unlikely]]
    cooperate_slow();
}
[[gnu::always_inline]] inline void cooperate(M* m) {
  if (m) cooperate(m->p);
}

// yield's rare half: on an ordinary thread, and whenever there is more to look at than the ring.
WEFT_API void yield_slow(M* m);

// yield. The frequent case, pick_next's in short: nothing is asked of this P, nobody is bound or new, and the ring's oldest goes on, which leaves
// room for this one. All is looked at before anything is changed, but for the budget.
[[gnu::always_inline]] inline void yield_here() {
  M* m = self();
  if (!m || m->no_switch != 0) [[unlikely]]
    return yield_slow(m);
  P* p = m->p;
  G* g = m->curg;
  if (!g || p->runnext.load(relaxed) || p->attention.load(relaxed) || p->inbox.load(relaxed) ||
      deque::own_size(p) != 0 || g->affinity.load(relaxed) != p->s) [[unlikely]]
    return yield_slow(m);
  const runq::oldest first = runq::look(p);
  if (!first.g || first.g->affinity.load(relaxed) != p->s || spend(p, limits::switch_cost)) [[unlikely]]
    return yield_slow(m);
  if (!runq::take(m, p, first)) [[unlikely]]
    return yield_slow(m);
  yield_into(m, p, g, first.g);
}

// Ps of its run. Not a cooperative point, as weft::procs() is.
int procs_of(const M* m) noexcept;

// Blocks the calling ordinary thread until somebody readies `w`.
void block_thread(thread_waiter& w);

}  // namespace weft::rt
