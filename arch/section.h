// SPDX-License-Identifier: MIT
//
// Restartable sections: a few instructions that the kernel lets a thread run through undivided or not at all (Linux's rseq). A thread that
// is interrupted inside of one, by another thread on its CPU, by a signal or by membarrier(PRIVATE_EXPEDITED_RSEQ) from anywhere, goes on at
// the section's abort handler instead. So a section may look at two words and store to one, by plain instructions, where a locked
// instruction costs 2.5 to 6 ns; who must be sure that nobody is halfway through one calls membarrier (os/section.h).
//
// A *guarded word* is two words side by side: what the section changes, and the guard, which it looks at first. One bit of the first word, the
// bias flag, says that the guard counts; what it then says is sched/biased.h's.
//
// What the kernel asks of a section (rseq(2), include/uapi/linux/rseq.h):
//   * A descriptor, 32 bytes aligned to 32: version, flags, start, length, abort handler. Here in section __rseq_cs.
//   * Its address is stored into the thread's rseq area (`slot`) by the last instruction before the first one of the section: interrupted
//     before that store a thread goes on as if nothing had happened, interrupted behind it it is aborted.
//   * The last instruction is the commit, the only one with an effect that others see.
//   * Four bytes before the abort handler stands the signature that the C library has registered.
// The slot is emptied behind each section: a descriptor must not be unmapped while a slot names it (a library that is closed).
//
// Sources: Linux kernel/rseq.c; Desnoyers, librseq; Dice, Huang, Yang, "Asymmetric Dekker Synchronization"; tcmalloc's per-CPU caches.

#pragma once

#include <cstdint>

namespace weft::arch {

inline constexpr std::uint64_t bias_flag = 8;

}  // namespace weft::arch

// clang-format off
// Of one section of the asm statement that it stands in: from `start` to behind the commit, `end`; local labels all.
#define WEFT_SECTION_DESCRIPTOR(name, start, end, abort) \
  ".pushsection __rseq_cs, \"aw?\"\n\t" \
  ".balign 32\n\t" \
  name ":\n\t" \
  ".long 0, 0\n\t" \
  ".quad " start ", " end " - " start ", " abort "\n\t" \
  ".popsection\n\t"

#if defined(__x86_64__)
// Reads as `ud1 sig(%rip), %edi`: a trap for who comes here by mistake.
#define WEFT_SECTION_SIGNATURE ".byte 0x0f, 0xb9, 0x3d\n\t.long 0x53053053\n\t"
#else
#define WEFT_SECTION_SIGNATURE ".inst 0xd428bc00\n\t"  // brk #0x45e0
#endif
// clang-format on
