// SPDX-License-Identifier: MIT
//
// Restartable sections (arch/section.h) on guarded words: a compare-and-swap without a locked instruction, for the one who is named in
// the guard, and the fence that the others need before they may take his place.
//
//   section_store      guard == mine and word == expected? then word = desired. Plain loads and a plain store
//   section_overwrite  guard == mine? then word = desired: for who knows that the word is `expected` then (sched/biased.h, I5). So the word is not
//                      looked at, nor acquired; the simulated machine looks
//   section_exchange   the same by a compare-and-swap: for when several may change the word, as long as the guard stays what it is
//   fence_sections     fence_heavy; and every section that another thread was halfway through is aborted
//
// The guarantee. Let G change a guard, then call fence_sections. A section that had found the guard as it was before has either stored by the
// time the call returns, and whoever called knows of it, or it never will. A section that begins later finds the guard changed.
// So a section needs no store-load fence of its own: that half of the argument is the kernel's.
//
// Orders. A section's loads acquire and its store releases, what it read included: a release sequence that it enters goes on behind it.
//
// Progress: both are a few instructions without a loop, so wait-free; but `aborted` may come any number of times in a row. A thread that is
// single-stepped by a debugger is aborted at each step, for ever. Callers need another way.
//
// Where there are none (`sections` is false: no rseq in the C library or the kernel, as under valgrind and qemu-user; no membarrier; a
// sanitizer; -Dasymmetric=false) none of these may be called.
//
// Costs, where a locked instruction takes 6.1 ns: section_store 0.6 ns, section_exchange 9 (it waits for the
// slot's store as well), fence_sections 1.1 us, or up to 50
// with the other core at work for the same process.

#pragma once

#include "../../arch/section.h"
#include "atomic.h"

namespace weft::os {

enum class section_result : std::uint8_t {
  done,
  differs,
  aborted
};  // differs: the word; aborted: the guard, or interrupted

// Side by side: arch/ knows where the guard is.
struct guarded_word {
  atomic<std::uint64_t> word;
  atomic<std::uint64_t> guard{0};

  explicit constexpr guarded_word(std::uint64_t w) : word(w) {}
};

// empty(slot) stands behind a section that is part of a switch (arch/switch.h) and did not come to its commit. The others see to it themselves.
// load_word and exchange_word are those of word itself, guard or not, and stand, for the simulated machine, where their caller was called (call_site).

}  // namespace weft::os

#if defined(WEFT_SIM)
#include "sim/section_impl.h"
#else
#include "real/section_impl.h"
#endif
