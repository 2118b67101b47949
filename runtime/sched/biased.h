// SPDX-License-Identifier: MIT
//
// A word that many may change and mostly one P does: a channel's. While it is biased to a P, who holds that P changes it without a locked
// instruction, by a restartable section (os/section.h); anybody else first takes the bias back. A word without a bias costs what it always did.
//
// Why: two goroutines that talk to each other share a P, nearly always (sched/park.h), and a locked instruction is half of what a buffered
// send costs, and of a ping-pong (6 ns of 16 where it takes 6; 2.5 of 9).
//
//   flag in the word   guard                 who moves the word
//   clear              whatever it is        all, by a compare-and-swap. The guard is not looked at
//   set                a P                   who holds that P, by section_store or section_overwrite; the flag stays
//   set                unbiased              all, by section_exchange, which takes the flag along
//   set                biasing, revoking     nobody. Each with a stamp
//   set                locked_only           all, by a compare-and-swap, which takes the flag along; no bias any more, for good
//
//   guard: unbiased -> biasing -> the P that wants it -> revoking -> unbiased; biasing -> revoking; anything -> revoking -> locked_only
//
//   I1  Each change of the guard is one compare-and-swap, and no stamp comes twice.
//   I2  Whoever leads the guard from `biasing` to a P, or out of `revoking`, has called fence_sections since it read that very guard. It was
//       that all the time, as stamps do not repeat: all sections that had found another one are over.
//   I3  The flag is set, before the guard names a P, by who wrote `biasing`: and stays while it does, as then only that P's moves succeed. One that
//       comes late with the flag sets it in front of whatever guard there is, and does no harm.
//   I4  So a compare-and-swap, which expects no flag, a section_exchange, a section_store and a section_overwrite never change the word between
//       another section's look at it and its store.
//   I5  Only who holds P makes a guard name P. So if a section of theirs finds P there, it was there since they did, the word included: when they
//       have read that, and nobody else has run on P since, it is what they read. Such a section need not look at the word (section_overwrite), and
//       acquires nothing: what the word carries came to them with P, or with the bias (bias_to).
//
//   BIAS   who changes the guard              who moves the word, with the flag
//          B1 guard = biasing, or revoking    M1 section begins: guard as expected?
//          B2 fence_sections                  M2 word as expected?
//          B3 guard = the next one            M3 word = desired, section ends
//   Forbidden: M1 before B1 and M3 after B2. The fence aborts such a section.
//
// Who would say by what the word holds that there is nothing, and says so without a move of his own, reads it by load_settled: a bias of another P is taken
// back first. Else the owner's move may still be in its core's store buffer, while the owner has read, by then, that there was nothing in another
// word, which the first one moved before he came here: each finds that the other has not come yet (SETTLED below). A program that sends, and then
// finds a signal up already, counts on that one of them is told. (Two Ps, each with a biased channel: 2 to 6 of 1,000 rounds went wrong.)
//
// Progress. move is lock-free: another P's bias is taken back by whoever comes, and who finds `biasing` or `revoking` does not wait for the one
// who is at it, but fences for itself. A thread that is aborted again and again (a debugger steps it) makes the word locked_only.
//
// To whom. A bias costs two fences, one to give it and one to take it back, each an interruption of the other cores: 1 us where no other thread of the
// process runs, up to 50 beside one that does (two virtual CPUs). It saves 2 to 4 ns a move. So each P looks at every bias_every-th word that it moves without one,
// and a word gets its bias when it was the same P so many times in a row that moves without a bias have cost, by then, about half as much more as
// the bias may cost in vain (the rule for who may rent or buy: never much worse than the best); twice as many after each time that it was
// taken back. A word that is used for one request, or from two Ps in turn, never gets any. (After 500 moves instead of 10,000: a thousand pairs at
// P = 2, which are stolen now and then, 16 ns a switch instead of 11.)
//
// A P that has ended may still be named: then nobody holds it. A new one at the same address comes after it, and may as well have its bias: all that
// the old one's holders did came before the new one was made (I5).
//
// Rejected: a bias at birth to the P that makes the channel (each request that another P answers would pay a fence); never a second one
// (a pair that was stolen once would be slow for good); no flag, but a look at the guard in each move: then a compare-and-swap needs a section as
// well, 3 ns an operation for who has no bias; waiting until the owner comes by a quiescent point, as biased locks do (a stopped thread
// would stop the others).
//
// Edges
//   name      release side        acquire side                  carries                                        model test
//   BIAS      B2                  M1 to M3                      the word as it was left; no section is left    biased.*
//   SETTLED   a move, or the flag,  load_settled: seq_cst, and    none: of two that each move, and then look    go_chan.one_of_two_*,
//             by seq_cst; B2        no other P's bias             at the other's word, one finds the other's   go_select.one_of_two_*
//   GIVEN     a move              bias_to: acquire, whoever     what the word carries, for I5's sections           biased.orders_*,
//                                 has set the flag                                                               planted.biased_word_*
//   the word's own: as in chan/chan_core.h. A section acquires and releases; I5's releases. (A move that asks for less than release carries on
//   what those before it have released, as each exchange does.)
//
// Sources: Kawachiya, Koseki, Onodera, "Lock Reservation" (2002); Russell, Detlefs, "Eliminating Synchronization-Related Atomic Operations with
// Biased Locking and Bulk Rebiasing" (2006); Dice, Huang, Yang, "Asymmetric Dekker Synchronization". The use of rseq for it is weft's own.

#pragma once

#include "biased_word.h"
#include "g_m_p.h"

namespace weft::rt {

// What names p in a guard.
inline std::uint64_t guard_of(const P* p) { return reinterpret_cast<std::uintptr_t>(p); }

// Nobody has moved the word from v by a store that could not be seen yet when v was read: it has no bias, or the caller's P's. v was read by seq_cst.
[[gnu::always_inline]] inline bool is_settled(const M* m, const biased_word& w, std::uint64_t v) noexcept {
  // relaxed: while it names our P only we could have such a store under way, and who takes the bias from us fences us
  return !(v & bias_flag) || (m && w.at.guard.load(relaxed) == guard_of(m->p));
}
// A hint: it has a bias, or is about to have one.
inline bool has_bias(const biased_word& w) noexcept { return w.at.guard.load(relaxed) != 0; }
// load by seq_cst, settled.
std::uint64_t load_settled(M* m, biased_word& w, os::call_site s = os::call_site::here()) noexcept;

// It is time to look at a word without a bias, and the caller is about to move one.
WEFT_API void consider_bias(M* m, biased_word& w) noexcept;
WEFT_API bool move_biased(M* m, biased_word& w, std::uint64_t expected, std::uint64_t desired) noexcept;

enum class moved : std::uint8_t { yes, no, ask };

// The flag in `desired`: any, or the same as in `expected`, which saves an instruction or two.
enum class flag : std::uint8_t { any, same };

// When the caller has read `expected` in the word: at some time, or since another goroutine, or a timer, could last have run on this P (I5), which
// saves two more.
enum class seen : std::uint8_t { once, just_now };

// move's frequent half. ask: the word has a bias that is not the caller's, or a section was aborted; the rest is move_biased's.
template <flag Flag = flag::any, seen Seen = seen::once>
[[gnu::always_inline]] inline moved move_if_mine(M* m, biased_word& w, std::uint64_t expected, std::uint64_t desired,
                                                 std::memory_order ok,
                                                 os::call_site s = os::call_site::here()) noexcept {
  // GIVEN release, here and below -> acquire in bias_to. Weaker, the next one to have the bias would use what the word carries, unseen.
  if (expected & bias_flag) [[likely]] {
    if (!m) [[unlikely]]
      return moved::ask;
    if constexpr (Flag != flag::same) desired |= bias_flag;
    switch (Seen == seen::just_now ? os::section_overwrite(m->section, w.at, guard_of(m->p), expected, desired)
                                   : os::section_store(m->section, w.at, guard_of(m->p), expected, desired)) {
      case os::section_result::done:
        return moved::yes;
      case os::section_result::differs:
        return moved::no;
      case os::section_result::aborted:
        return moved::ask;
    }
  }
  if (m && m->p->bias_countdown < 0) [[unlikely]]
    consider_bias(m, w);
  if (!os::exchange_word(w.at, expected, Flag == flag::same ? desired : desired & ~bias_flag, ok, s)) return moved::no;
  if (m) --m->p->bias_countdown;  // behind the exchange, which waits for the stores before it
  return moved::yes;
}

// Once the word has been moved nothing of w is touched: who sees it moved may end its life.
// word: expected, which has been read there, flag and all -> desired; whatever flag that has. False: it held something else. `m`: the current M,
// or null on an ordinary thread. `ok` is what a success needs at least; a failure orders nothing.
template <flag Flag = flag::any, seen Seen = seen::once>
[[gnu::always_inline]] inline bool move(M* m, biased_word& w, std::uint64_t expected, std::uint64_t desired,
                                        std::memory_order ok, os::call_site s = os::call_site::here()) noexcept {
  const moved how = move_if_mine<Flag, Seen>(m, w, expected, desired, ok, s);
  if (how == moved::ask) [[unlikely]]
    return move_biased(m, w, expected, desired);
  return how == moved::yes;
}

// For a park, whose commit is a compare-and-swap or the caller's own section_store: `expected` as the word is when it can be moved by one of these.
// False: it holds something else by now.
bool make_movable(M* m, biased_word& w, std::uint64_t& expected) noexcept;

// Locked only, from now on.
void forbid_bias(M* m, biased_word& w) noexcept;

// What consider_bias does in the end; tests ask for it. The bias is the caller's P's, unless somebody else was faster, or it is forbidden.
WEFT_API void bias_to(M* m, biased_word& w) noexcept;

}  // namespace weft::rt
