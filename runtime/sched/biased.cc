// SPDX-License-Identifier: MIT

#include "biased.h"

#include <algorithm>

#include "../base/check.h"
#include "quiesce.h"
#include "stamp.h"

namespace weft::rt {

namespace {

// A P's address has none of these.
constexpr std::uint64_t state_mask = 7;
constexpr std::uint64_t unbiased = 0;
constexpr std::uint64_t locked_only = 1;
constexpr std::uint64_t biasing = 2;
constexpr std::uint64_t revoking = 3;

std::uint64_t fresh(M* m, std::uint64_t state) {
  if (m) return next_stamp(m->p) | state;
  smr_record* r = smr_of_thread();
  return next_stamp(r->stamp) | state;
}

[[noreturn]] void fence_failed() noexcept { fatal("the kernel has no fence for restartable sections any more"); }

namespace history {
// The P's address, less what is zero or the same in all; times in a row; times revoked.
constexpr std::uint32_t who(std::uint64_t h) { return static_cast<std::uint32_t>(h >> 32); }
constexpr std::uint32_t streak(std::uint64_t h) { return h >> 8 & 0xff'ffff; }
constexpr std::uint32_t revoked(std::uint64_t h) { return h & 0xff; }
constexpr std::uint64_t make(std::uint32_t who, std::uint32_t streak, std::uint32_t revoked) {
  return std::uint64_t{who} << 32 | std::uint64_t{streak & 0xff'ffff} << 8 | std::min(revoked, 0xffU);
}
}  // namespace history

bool is_owned(std::uint64_t g) { return g != unbiased && (g & state_mask) == 0; }

// Leads the guard out of another P's hand, or out of a change, to `unbiased`; or to `locked_only`, from wherever.
void revoke(M* m, biased_word& w, std::uint64_t last) noexcept {
  for (;;) {
    std::uint64_t g = w.at.guard.load(relaxed);  // relaxed, all of these: BIAS, by the fence
    if (g == locked_only || g == last) return;
    if (last == unbiased && m && g == guard_of(m->p)) return;
    if ((g & state_mask) != revoking) {
      const std::uint64_t mine = fresh(m, revoking);
      const bool owned = is_owned(g);
      if (!w.at.guard.compare_exchange_strong(g, mine, relaxed, relaxed)) continue;  // B1
      g = mine;
      if (owned) w.history.store(history::make(0, 0, history::revoked(w.history.load(relaxed)) + 1), relaxed);
    }
    if (!os::fence_sections()) fence_failed();                      // B2
    w.at.guard.compare_exchange_strong(g, last, relaxed, relaxed);  // B3. A failure: somebody else has fenced as well
  }
}

}  // namespace

bool move_biased(M* m, biased_word& w, std::uint64_t expected, std::uint64_t desired) noexcept {
  os::section_slot* slot = m ? m->section : os::section_slot_of_thread();
  for (std::uint32_t tries = 0;;) {
    const std::uint64_t g = w.at.guard.load(relaxed);  // relaxed: BIAS, the section looks again
    os::section_result r = os::section_result::aborted;
    if (g == locked_only) return w.at.word.compare_exchange_strong(expected, desired & ~bias_flag, acq_rel, relaxed);
    if (m && g == guard_of(m->p)) {
      r = os::section_store(slot, w.at, g, expected, desired | bias_flag);
    } else if (g == unbiased) {
      r = os::section_exchange(slot, w.at, g, expected, desired & ~bias_flag);
    } else {
      revoke(m, w, unbiased);
      continue;
    }
    if (r != os::section_result::aborted) return r == os::section_result::done;
    if (++tries >= limits::section_tries) forbid_bias(m, w);
  }
}

std::uint64_t load_settled(M* m, biased_word& w, os::call_site s) noexcept {
  for (;;) {
    const std::uint64_t v = w.load(seq_cst, s);  // SETTLED
    if (is_settled(m, w, v)) return v;
    move_biased(m, w, v, v);  // to what it is: so the flag goes, or the bias is ours by now
  }
}

bool make_movable(M* m, biased_word& w, std::uint64_t& expected) noexcept {
  // relaxed: the section looks again
  if (!(expected & bias_flag) || w.at.guard.load(relaxed) == guard_of(m->p)) return true;
  if (!move_biased(m, w, expected, expected)) return false;
  // Without the flag now, or with it still, if the bias has become ours.
  const std::uint64_t v = w.load(relaxed);  // relaxed: the commit looks again
  const bool same = ((v ^ expected) & ~bias_flag) == 0;
  expected = v;
  return same;
}

void forbid_bias(M* m, biased_word& w) noexcept { revoke(m, w, locked_only); }

void bias_to(M* m, biased_word& w) noexcept {
  std::uint64_t g = unbiased;
  const std::uint64_t mine = fresh(m, biasing);
  // B1. relaxed: as in revoke
  if (!os::sections || !w.at.guard.compare_exchange_strong(g, mine, relaxed, relaxed)) return;
  if (!os::fence_sections()) fence_failed();  // B2
  // I3
  // GIVEN acquire <- a move, here and where the exchange fails: where another has set the flag, there is none of ours. Carries what the word names
  std::uint64_t v = w.load(acquire);
  // SETTLED: who reads no flag has read before this, and what we read after our moves, which are plain stores, comes after it
  while (!(v & bias_flag) && !w.at.word.compare_exchange_weak(v, v | bias_flag, seq_cst, acquire)) {
  }
  g = mine;
  w.at.guard.compare_exchange_strong(g, guard_of(m->p), relaxed, relaxed);  // B3. A failure: taken back already
}

void consider_bias(M* m, biased_word& w) noexcept {
  m->p->bias_countdown = limits::bias_every;
  if (!os::sections || w.at.guard.load(relaxed) != unbiased) return;  // relaxed: a hint
  const std::uint64_t h = w.history.load(relaxed);
  const auto who = static_cast<std::uint32_t>(guard_of(m->p) >> 6);
  const std::uint32_t revoked = history::revoked(h);
  const std::uint32_t streak = history::who(h) == who ? history::streak(h) + 1 : 1;
  w.history.store(history::make(who, streak, revoked), relaxed);
  if (streak >= limits::bias_streak << std::min(revoked, limits::bias_doublings)) bias_to(m, w);
}

}  // namespace weft::rt
