// SPDX-License-Identifier: MIT
//
// The inlined switch, AArch64. Included by arch/switch.h only.
//
// The asm statement says that it destroys every register, so the compiler spills what is live, and only that. x29 cannot be named
// as destroyed where it is the frame pointer, sp never: both travel in the context. x18 is a temporary like any other here: AAPCS64
// leaves it to the platform, and Linux has no use for it, so compilers keep values in it. Nothing is written below sp. At the one
// instruction between the load of sp and the jump the caller is marked unknown.

#pragma once

namespace weft::arch {

// clang-format off
#define WEFT_CLOBBER_ALL "x5", "x6", WEFT_CLOBBER_FROM_X7
#define WEFT_CLOBBER_FROM_X7 "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "x18", "x19", "x20", "x21", \
  "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x30", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", \
  "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", \
  "v29", "v30", "v31", "memory", "cc"

#if defined(__GCC_HAVE_DWARF2_CFI_ASM)
#define WEFT_CFI_LOST ".cfi_remember_state\n\t.cfi_undefined x30\n\t"
#define WEFT_CFI_FOUND ".cfi_restore_state\n\t"
#else
#define WEFT_CFI_LOST
#define WEFT_CFI_FOUND
#endif

// Where a program has branch target identification, each of its units was compiled for it: this one too.
#if defined(__ARM_FEATURE_BTI_DEFAULT)
#define WEFT_LANDING "hint #36\n\t"
#else
#define WEFT_LANDING
#endif

#if defined(WEFT_SAVE_FPENV)
#define WEFT_INLINE_SAVE_FPENV "mrs x9, fpcr\n\tstr x9, [x0, #24]\n\t"
#define WEFT_INLINE_LOAD_FPENV "ldr x9, [x1, #24]\n\tmsr fpcr, x9\n\t"
#else
#define WEFT_INLINE_SAVE_FPENV
#define WEFT_INLINE_LOAD_FPENV
#endif

#define WEFT_INLINE_SAVE \
  "adr x9, 1f\n\t" \
  "mov x10, sp\n\t" \
  "stp x9, x10, [x0]\n\t" \
  "str x29, [x0, #16]\n\t" \
  WEFT_INLINE_SAVE_FPENV

#define WEFT_INLINE_RESUME \
  WEFT_INLINE_LOAD_FPENV \
  "ldp x16, x9, [x1]\n\t" \
  "ldr x29, [x1, #16]\n\t" \
  WEFT_CFI_LOST \
  "mov sp, x9\n\t" \
  "br x16\n\t" \
  WEFT_CFI_FOUND

#if defined(__ARM_FEATURE_ATOMICS)
#define WEFT_INLINE_COMMIT \
  "mov x9, x3\n\t" \
  "casal x9, x4, [x2]\n\t" \
  "cmp x9, x3\n\t" \
  "b.ne 2f\n\t"
#define WEFT_INLINE_LOST ""
#else
#define WEFT_INLINE_COMMIT \
  "4:\n\t" \
  "ldaxr x9, [x2]\n\t" \
  "cmp x9, x3\n\t" \
  "b.ne 2f\n\t" \
  "stlxr w9, x4, [x2]\n\t" \
  "cbnz w9, 4b\n\t"
#define WEFT_INLINE_LOST "clrex\n\t"
#endif

// COMMIT of a guarded word, and what of it is rare; behind the former comes the load half.
#define WEFT_INLINE_SECTION_COMMIT \
  WEFT_SECTION_DESCRIPTOR("70", "11f", "12f", "13f") \
  "tbz x3, #3, 6f\n\t" \
  "orr x4, x4, #8\n\t" \
  "adrp x9, 70b\n\t" \
  "add x9, x9, :lo12:70b\n\t" \
  "str x9, [x5]\n\t" \
  "11:\n\t" \
  "ldr x9, [x2, #8]\n\t" \
  "cmp x9, x6\n\t" \
  "b.ne 2f\n\t" \
  "ldar x10, [x2]\n\t" \
  "cmp x10, x3\n\t" \
  "b.ne 2f\n\t" \
  "stlr x4, [x2]\n\t" \
  "12:\n\t" \
  "str xzr, [x5]\n\t" \
  "14:\n\t"
#define WEFT_INLINE_SECTION_REST \
  "6:\n\t" \
  WEFT_INLINE_COMMIT \
  "b 14b\n\t" \
  WEFT_SECTION_SIGNATURE \
  "13:\n\t"
// clang-format on

// weft_switch, inlined.
[[gnu::always_inline]] inline void switch_inline(context* from, context* to) {
  register context* x0 asm("x0") = from;
  register context* x1 asm("x1") = to;
  asm volatile(WEFT_INLINE_SAVE WEFT_INLINE_RESUME "1:\n\t" WEFT_LANDING
               : "+r"(x0), "+r"(x1)
               :
               : "x2", "x3", "x4", WEFT_CLOBBER_ALL);
}

// weft_jump, inlined (I3).
[[noreturn, gnu::always_inline]] inline void jump_inline(context* to) {
  register context* x1 asm("x1") = to;
  asm volatile(WEFT_INLINE_RESUME : : "r"(x1) : "memory");
  __builtin_unreachable();
}

// weft_switch_cas without its last argument, inlined. COMMIT is the stlxr, or casal. `from` is an output too: it comes back in a
// register (I2), so that the caller need not keep it on its stack meanwhile. Where that one says by its result whether the compare succeeded, this one
// says that it did not by a byte: LostAt behind *from becomes Lost, and the caller goes on. Who parks looks at such a byte anyway (sched/park.h).
template <std::size_t LostAt, std::uint8_t Lost>
[[gnu::always_inline]] inline void switch_cas_inline(context*& from, context* to, std::uint64_t* word,
                                                     std::uint64_t expected, std::uint64_t desired) {
  register context* x0 asm("x0") = from;
  register context* x1 asm("x1") = to;
  register std::uint64_t* x2 asm("x2") = word;
  register std::uint64_t x3 asm("x3") = expected;
  register std::uint64_t x4 asm("x4") = desired;
  asm volatile(WEFT_INLINE_SAVE WEFT_INLINE_COMMIT WEFT_INLINE_RESUME "2:\n\t" WEFT_INLINE_LOST
                                                                      "mov w9, %[lost]\n\t"
                                                                      "strb w9, [x0, %[at]]\n\t"
                                                                      "mov x1, x0\n\t"
                                                                      "b 3f\n\t"
                                                                      "1:\n\t" WEFT_LANDING "3:\n\t"
               : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3), "+r"(x4)
               : [at] "i"(LostAt), [lost] "i"(Lost)
               : WEFT_CLOBBER_ALL);
  from = x1;
}

// switch_cas_inline for a guarded word (arch/section.h): COMMIT is the stlr of a section, if `expected` has the bias flag and `mine` is in the
// guard, and the stlxr or casal if it has not. `desired` comes without the flag, and gets it with the former. Lost also when the flag is there and the
// guard another's, and when the thread was interrupted.
template <std::size_t LostAt, std::uint8_t Lost>
[[gnu::always_inline]] inline void switch_section_inline(context*& from, context* to, std::uint64_t* word,
                                                         std::uint64_t expected, std::uint64_t desired,
                                                         std::uint64_t* slot, std::uint64_t mine) {
  register context* x0 asm("x0") = from;
  register context* x1 asm("x1") = to;
  register std::uint64_t* x2 asm("x2") = word;
  register std::uint64_t x3 asm("x3") = expected;
  register std::uint64_t x4 asm("x4") = desired;
  register std::uint64_t* x5 asm("x5") = slot;
  register std::uint64_t x6 asm("x6") = mine;
  asm volatile(WEFT_INLINE_SAVE WEFT_INLINE_SECTION_COMMIT WEFT_INLINE_RESUME WEFT_INLINE_SECTION_REST
               "2:\n\t" WEFT_INLINE_LOST
               "mov w9, %[lost]\n\t"
               "strb w9, [x0, %[at]]\n\t"
               "mov x1, x0\n\t"
               "b 3f\n\t"
               "1:\n\t" WEFT_LANDING "3:\n\t"
               : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3), "+r"(x4), "+r"(x5), "+r"(x6)
               : [at] "i"(LostAt), [lost] "i"(Lost)
               : WEFT_CLOBBER_FROM_X7);
  from = x1;
}

// Saves, stores `value` to *word (COMMIT, by a store-release), resumes *to. For a word with one writer, such as the tail of a run
// queue.
[[gnu::always_inline]] inline void switch_store_inline(context* from, context* to, std::uint32_t* word,
                                                       std::uint32_t value) {
  register context* x0 asm("x0") = from;
  register context* x1 asm("x1") = to;
  register std::uint32_t* x2 asm("x2") = word;
  register std::uint32_t w3 asm("w3") = value;
  asm volatile(WEFT_INLINE_SAVE "stlr w3, [x2]\n\t" WEFT_INLINE_RESUME "1:\n\t" WEFT_LANDING
               : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(w3)
               :
               : "x4", WEFT_CLOBBER_ALL);
}

}  // namespace weft::arch
