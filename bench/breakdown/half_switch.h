// SPDX-License-Identifier: MIT
#pragma once

// The shipped switch with its commit (arch/<cpu>/inline.h, switch_section_inline), in pieces: each piece can be left out or doubled, by
// the assembler's own .rept and .if. The save half and the commit are the shipped macros; the load half had to be written again, as there it is
// one macro and here three pieces:
//
//   save      pc, sp and fp into the context that is left                    (and the compiler's spills, see below)
//   commit    a section, or a compare-and-swap where there are none; or load, compare, store; or none
//   restore   fp and sp from the context that goes on
//   resume    the load of pc, and the indirect jump
//
// One stack or two. With `two_stacks` this is the real thing: the jump leads to where the other one parked. With one stack a single
// loop plays both goroutines: what is loaded as sp and fp are the values that are there already, and the jump leads to the instruction behind
// it, so its address comes from a register instead of from the load, which is made all the same. Only so can each piece be left out.
// It needs a frame pointer in the function around it: a register that held anything else would be loaded with its value of one step ago.
//
// Clobbers: all registers, as shipped, so that the compiler spills what lives; none but the scratch ones when both save and restore are left
// out. A spill without its reload does not exist, so the two share it.

#include <cstdint>

#include "../../arch/switch.h"
#include "../../runtime/sched/switch.h"

namespace bench::breakdown {

enum commit_kind { no_commit, unlocked_commit, shipped_commit };

struct switch_counts {
  int save;
  commit_kind commit;
  int restore;
  int resume;
  bool two_stacks;
};

// clang-format off
#if defined(__x86_64__)

#define WEFT_BENCH_HALVES \
  ".rept %c[save]\n\t" \
  WEFT_INLINE_SAVE \
  ".endr\n\t" \
  ".if %c[commit] == 2\n\t" \
  WEFT_INLINE_SECTION_COMMIT \
  ".endif\n\t" \
  ".if %c[commit] == 1\n\t" \
  "cmpq %%rax, (%%rdx)\n\t" \
  "jne 2f\n\t" \
  "movq %%rcx, (%%rdx)\n\t" \
  ".endif\n\t" \
  ".if %c[resume] > 1\n\t" \
  "movq 0(%%rsi), %%r11\n\t" \
  "leaq 5f(%%rip), %%r8\n\t" \
  "jmp *%%r8\n\t" \
  "5:\n\t" \
  WEFT_LANDING \
  ".endif\n\t" \
  ".if %c[restore] > 1\n\t" \
  "movq 16(%%rsi), %%rbp\n\t" \
  "movq 8(%%rsi), %%rsp\n\t" \
  ".endif\n\t" \
  ".if %c[restore]\n\t" \
  WEFT_INLINE_LOAD_FPENV \
  "movq 16(%%rsi), %%rbp\n\t" \
  ".endif\n\t" \
  ".if %c[resume]\n\t" \
  "movq 0(%%rsi), %%r8\n\t" \
  ".if 1 - %c[two]\n\t" \
  "leaq 1f(%%rip), %%r8\n\t" \
  ".endif\n\t" \
  ".endif\n\t" \
  ".if %c[restore]\n\t" \
  "movq 8(%%rsi), %%rsp\n\t" \
  ".endif\n\t" \
  ".if %c[resume]\n\t" \
  WEFT_CFI_LOST \
  "jmp *%%r8\n\t" \
  WEFT_CFI_FOUND \
  ".else\n\t" \
  "jmp 1f\n\t" \
  ".endif\n\t" \
  ".if %c[commit] == 2\n\t" \
  WEFT_INLINE_SECTION_REST \
  ".endif\n\t" \
  "2:\n\t" \
  "movb %[lost], %c[at](%%rdi)\n\t" \
  "movq %%rdi, %%rsi\n\t" \
  "jmp 3f\n\t" \
  "1:\n\t" \
  WEFT_LANDING \
  "3:\n\t"
#define WEFT_BENCH_OPERANDS : "+D"(from), "+S"(to), "+d"(word), "+a"(expected), "+c"(desired), "+r"(r9), "+r"(r10)
#define WEFT_BENCH_SCRATCH "r8", "r11", "memory", "cc"
#define WEFT_BENCH_CLOBBER WEFT_CLOBBER_BUT_R9_R10

#elif defined(__aarch64__)

#define WEFT_BENCH_HALVES \
  ".rept %c[save]\n\t" \
  WEFT_INLINE_SAVE \
  ".endr\n\t" \
  ".if %c[commit] == 2\n\t" \
  WEFT_INLINE_SECTION_COMMIT \
  ".endif\n\t" \
  ".if %c[commit] == 1\n\t" \
  "ldr x9, [x2]\n\t" \
  "cmp x9, x3\n\t" \
  "b.ne 2f\n\t" \
  "str x4, [x2]\n\t" \
  ".endif\n\t" \
  ".if %c[resume] > 1\n\t" \
  "ldr x9, [x1]\n\t" \
  "adr x17, 5f\n\t" \
  "br x17\n\t" \
  "5:\n\t" \
  WEFT_LANDING \
  ".endif\n\t" \
  ".if %c[restore] > 1\n\t" \
  "ldr x9, [x1, #8]\n\t" \
  "ldr x29, [x1, #16]\n\t" \
  "mov sp, x9\n\t" \
  ".endif\n\t" \
  ".if %c[restore]\n\t" \
  WEFT_INLINE_LOAD_FPENV \
  "ldr x29, [x1, #16]\n\t" \
  "ldr x9, [x1, #8]\n\t" \
  ".endif\n\t" \
  ".if %c[resume]\n\t" \
  "ldr x16, [x1]\n\t" \
  ".if 1 - %c[two]\n\t" \
  "adr x16, 1f\n\t" \
  ".endif\n\t" \
  ".endif\n\t" \
  ".if %c[restore]\n\t" \
  "mov sp, x9\n\t" \
  ".endif\n\t" \
  ".if %c[resume]\n\t" \
  WEFT_CFI_LOST \
  "br x16\n\t" \
  WEFT_CFI_FOUND \
  ".else\n\t" \
  "b 1f\n\t" \
  ".endif\n\t" \
  ".if %c[commit] == 2\n\t" \
  WEFT_INLINE_SECTION_REST \
  ".endif\n\t" \
  "2:\n\t" \
  WEFT_INLINE_LOST \
  "mov w9, %[lost]\n\t" \
  "strb w9, [x0, %[at]]\n\t" \
  "mov x1, x0\n\t" \
  "b 3f\n\t" \
  "1:\n\t" \
  WEFT_LANDING \
  "3:\n\t"
#define WEFT_BENCH_OPERANDS : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3), "+r"(x4), "+r"(x5), "+r"(x6)
#define WEFT_BENCH_SCRATCH "x9", "x10", "x16", "x17", "memory", "cc"
#define WEFT_BENCH_CLOBBER WEFT_CLOBBER_FROM_X7

#endif

#define WEFT_BENCH_IMMEDIATES \
  : [save] "i"(N.save), [commit] "i"(static_cast<int>(N.commit)), [restore] "i"(N.restore), [resume] "i"(N.resume), [two] "i"(N.two_stacks ? 1 : 0), \
    [at] "i"(weft::rt::result_at), [lost] "i"(static_cast<int>(weft::rt::outcome::lost))
// clang-format on

/// As the runtime's use of arch::switch_section_inline: a commit that failed is written into the waiter's result. With one stack the caller is the one
/// who was given as `to` afterwards, if it did not fail.
template <switch_counts N>
[[gnu::always_inline]] inline void half_switch(weft::arch::context*& from, weft::arch::context* to, std::uint64_t* word,
                                               std::uint64_t expected, std::uint64_t desired, std::uint64_t* slot,
                                               std::uint64_t owner) {
#if defined(__x86_64__)
  register std::uint64_t* r9 asm("r9") = slot;
  register std::uint64_t r10 asm("r10") = owner;
  if constexpr (N.save != 0 || N.restore != 0) {
    asm volatile(WEFT_BENCH_HALVES WEFT_BENCH_OPERANDS WEFT_BENCH_IMMEDIATES : WEFT_BENCH_CLOBBER);
  } else {
    asm volatile(WEFT_BENCH_HALVES WEFT_BENCH_OPERANDS WEFT_BENCH_IMMEDIATES : WEFT_BENCH_SCRATCH);
  }
  from = to;
#elif defined(__aarch64__)
  register weft::arch::context* x0 asm("x0") = from;
  register weft::arch::context* x1 asm("x1") = to;
  register std::uint64_t* x2 asm("x2") = word;
  register std::uint64_t x3 asm("x3") = expected;
  register std::uint64_t x4 asm("x4") = desired;
  register std::uint64_t* x5 asm("x5") = slot;
  register std::uint64_t x6 asm("x6") = owner;
  if constexpr (N.save != 0 || N.restore != 0) {
    asm volatile(WEFT_BENCH_HALVES WEFT_BENCH_OPERANDS WEFT_BENCH_IMMEDIATES : WEFT_BENCH_CLOBBER);
  } else {
    asm volatile(WEFT_BENCH_HALVES WEFT_BENCH_OPERANDS WEFT_BENCH_IMMEDIATES : WEFT_BENCH_SCRATCH);
  }
  from = x1;
#endif
}

/// Where the caller's stack and frame are, as a save would say.
[[gnu::always_inline]] inline void note_stack(weft::arch::context& c) {
#if defined(__x86_64__)
  asm volatile("movq %%rsp, 8(%0)\n\tmovq %%rbp, 16(%0)" : : "r"(&c) : "memory");
#elif defined(__aarch64__)
  asm volatile("mov x9, sp\n\tstr x9, [%0, #8]\n\tstr x29, [%0, #16]" : : "r"(&c) : "x9", "memory");
#endif
#if defined(WEFT_SAVE_FPENV)
#if defined(__x86_64__)
  asm volatile("stmxcsr 24(%0)\n\tfnstcw 28(%0)" : : "r"(&c) : "memory");
#elif defined(__aarch64__)
  asm volatile("mrs x9, fpcr\n\tstr x9, [%0, #24]" : : "r"(&c) : "x9", "memory");
#endif
#endif
}

}  // namespace bench::breakdown
