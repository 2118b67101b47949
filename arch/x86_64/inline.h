// SPDX-License-Identifier: MIT
//
// The inlined switch, x86-64. Included by arch/switch.h only.
//
// The asm statement says that it destroys every register, so the compiler spills what is live, and only that. rbp cannot be
// named as destroyed where it is the frame pointer, rsp never: both travel in the context. Nothing is written below rsp, so
// callers need no -mno-red-zone: what a leaf function keeps there stays untouched while it is parked.
// At the one instruction between the load of rsp and the jump the caller is marked unknown for unwinders.

#pragma once

namespace weft::arch {

// clang-format off
#if defined(__AVX512F__)
#define WEFT_CLOBBER_AVX512 , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", \
  "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"
#else
#define WEFT_CLOBBER_AVX512
#endif
// xmm names stand for the whole register, ymm and zmm parts included, for gcc and clang both.
#define WEFT_CLOBBER_ALL "r9", "r10", WEFT_CLOBBER_BUT_R9_R10
#define WEFT_CLOBBER_BUT_R9_R10 "rbx", "r8", "r11", "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", \
  "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "mm0", "mm1", "mm2", "mm3", \
  "mm4", "mm5", "mm6", "mm7", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "memory", "cc" \
  WEFT_CLOBBER_AVX512

#if defined(__GCC_HAVE_DWARF2_CFI_ASM)
#define WEFT_CFI_LOST ".cfi_remember_state\n\t.cfi_undefined rip\n\t"
#define WEFT_CFI_FOUND ".cfi_restore_state\n\t"
#else
#define WEFT_CFI_LOST
#define WEFT_CFI_FOUND
#endif

// Where a program has indirect branch tracking, each of its units was compiled for it: this one too.
#if defined(__CET__) && (__CET__ & 1) != 0
#define WEFT_LANDING "endbr64\n\t"
#else
#define WEFT_LANDING
#endif

#if defined(WEFT_SAVE_FPENV)
#define WEFT_INLINE_SAVE_FPENV "stmxcsr 24(%%rdi)\n\tfnstcw 28(%%rdi)\n\t"
#define WEFT_INLINE_LOAD_FPENV "ldmxcsr 24(%%rsi)\n\tfldcw 28(%%rsi)\n\t"
#else
#define WEFT_INLINE_SAVE_FPENV
#define WEFT_INLINE_LOAD_FPENV
#endif

#define WEFT_INLINE_SAVE \
  "leaq 1f(%%rip), %%r8\n\t" \
  "movq %%r8, 0(%%rdi)\n\t" \
  "movq %%rsp, 8(%%rdi)\n\t" \
  "movq %%rbp, 16(%%rdi)\n\t" \
  WEFT_INLINE_SAVE_FPENV

#define WEFT_INLINE_RESUME \
  WEFT_INLINE_LOAD_FPENV \
  "movq 16(%%rsi), %%rbp\n\t" \
  "movq 0(%%rsi), %%r8\n\t" \
  "movq 8(%%rsi), %%rsp\n\t" \
  WEFT_CFI_LOST \
  "jmp *%%r8\n\t" \
  WEFT_CFI_FOUND

// COMMIT of a guarded word, and what of it is rare; behind the former comes the load half.
#define WEFT_INLINE_SECTION_COMMIT \
  WEFT_SECTION_DESCRIPTOR("70", "11f", "12f", "13f") \
  "testb $8, %%al\n\t" \
  "jz 4f\n\t" \
  "leaq 70b(%%rip), %%r8\n\t" \
  "orq $8, %%rcx\n\t" \
  "movq %%r8, (%%r9)\n\t" \
  "11:\n\t" \
  "cmpq %%r10, 8(%%rdx)\n\t" \
  "jne 2f\n\t" \
  "cmpq %%rax, (%%rdx)\n\t" \
  "jne 2f\n\t" \
  "movq %%rcx, (%%rdx)\n\t" \
  "12:\n\t" \
  "movq $0, (%%r9)\n\t" \
  "14:\n\t"
#define WEFT_INLINE_SECTION_REST \
  "4:\n\t" \
  "lock cmpxchgq %%rcx, (%%rdx)\n\t" \
  "je 14b\n\t" \
  "jmp 2f\n\t" \
  WEFT_SECTION_SIGNATURE \
  "13:\n\t"
// clang-format on

// weft_switch, inlined.
[[gnu::always_inline]] inline void switch_inline(context* from, context* to) {
  asm volatile(WEFT_INLINE_SAVE WEFT_INLINE_RESUME "1:\n\t" WEFT_LANDING
               : "+D"(from), "+S"(to)
               :
               : "rax", "rcx", "rdx", WEFT_CLOBBER_ALL);
}

// weft_jump, inlined (I3).
[[noreturn, gnu::always_inline]] inline void jump_inline(context* to) {
  asm volatile(WEFT_INLINE_RESUME : : "S"(to) : "memory");
  __builtin_unreachable();
}

// weft_switch_cas without its last argument, inlined. COMMIT is the lock cmpxchg. `from` is an output too: it comes back in a register
// (I2), so that the caller need not keep it on its stack meanwhile. Where that one says by its result whether the compare succeeded, this one says
// that it did not by a byte: LostAt behind *from becomes Lost, and the caller goes on. Who parks looks at such a byte anyway (sched/park.h).
template <std::size_t LostAt, std::uint8_t Lost>
[[gnu::always_inline]] inline void switch_cas_inline(context*& from, context* to, std::uint64_t* word,
                                                     std::uint64_t expected, std::uint64_t desired) {
  asm volatile(WEFT_INLINE_SAVE
               "lock cmpxchgq %%rcx, (%%rdx)\n\t"
               "jne 2f\n\t" WEFT_INLINE_RESUME
               "2:\n\t"
               "movb %[lost], %c[at](%%rdi)\n\t"
               "movq %%rdi, %%rsi\n\t"
               "jmp 3f\n\t"
               "1:\n\t" WEFT_LANDING "3:\n\t"
               : "+D"(from), "+S"(to), "+d"(word), "+a"(expected), "+c"(desired)
               : [at] "i"(LostAt), [lost] "i"(Lost)
               : WEFT_CLOBBER_ALL);
  from = to;
}

// switch_cas_inline for a guarded word (arch/section.h): COMMIT is the plain store of a section, if `expected` has the bias flag and `mine` is in
// the guard, and the lock cmpxchg if it has not. `desired` comes without the flag, and gets it with the former. Lost also when the flag is there and
// the guard another's, and when the thread was interrupted.
template <std::size_t LostAt, std::uint8_t Lost>
[[gnu::always_inline]] inline void switch_section_inline(context*& from, context* to, std::uint64_t* word,
                                                         std::uint64_t expected, std::uint64_t desired,
                                                         std::uint64_t* slot, std::uint64_t mine) {
  register std::uint64_t* r9 asm("r9") = slot;
  register std::uint64_t r10 asm("r10") = mine;
  asm volatile(WEFT_INLINE_SAVE WEFT_INLINE_SECTION_COMMIT WEFT_INLINE_RESUME WEFT_INLINE_SECTION_REST
               "2:\n\t"
               "movb %[lost], %c[at](%%rdi)\n\t"
               "movq %%rdi, %%rsi\n\t"
               "jmp 3f\n\t"
               "1:\n\t" WEFT_LANDING "3:\n\t"
               : "+D"(from), "+S"(to), "+d"(word), "+a"(expected), "+c"(desired), "+r"(r9), "+r"(r10)
               : [at] "i"(LostAt), [lost] "i"(Lost)
               : WEFT_CLOBBER_BUT_R9_R10);
  from = to;
}

// Saves, stores `value` to *word (COMMIT, by a plain store: release on x86-64), resumes *to. For a word with one writer, such
// as the tail of a run queue.
[[gnu::always_inline]] inline void switch_store_inline(context* from, context* to, std::uint32_t* word,
                                                       std::uint32_t value) {
  asm volatile(WEFT_INLINE_SAVE "movl %%ecx, (%%rdx)\n\t" WEFT_INLINE_RESUME "1:\n\t" WEFT_LANDING
               : "+D"(from), "+S"(to), "+d"(word), "+c"(value)
               :
               : "rax", WEFT_CLOBBER_ALL);
}

}  // namespace weft::arch
