// SPDX-License-Identifier: MIT

#include "../section.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "keep_errno.h"

#if WEFT_SECTIONS && defined(WEFT_ASYMMETRIC) && __has_include(<sys/rseq.h>)
#include <sys/rseq.h>  // glibc 2.35 and later, which registers every thread's area
#define WEFT_HAS_RSEQ 1
#else
#define WEFT_HAS_RSEQ 0
#endif

namespace weft::os {

namespace {

[[maybe_unused]] bool membarrier(int command) {
  keep_errno keep;
  return ::syscall(SYS_membarrier, command, 0, 0) == 0;
}

bool find_sections() {
#if WEFT_HAS_RSEQ
  return __rseq_size != 0 && membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ);
#else
  return false;
#endif
}

}  // namespace

bool sections = find_sections();

section_slot* section_slot_of_thread() noexcept {
#if WEFT_HAS_RSEQ
  char* thread;  // __builtin_thread_pointer() may be kept across a switch
#if defined(__x86_64__)
  asm volatile("movq %%fs:0, %0" : "=r"(thread));
#else
  asm volatile("mrs %0, tpidr_el0" : "=r"(thread));
#endif
  return reinterpret_cast<section_slot*>(thread + __rseq_offset + offsetof(struct rseq, rseq_cs));
#else
  return nullptr;
#endif
}

bool fence_sections() {
  fence_full();
  return !sections || membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ) ||
         (find_sections() && membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ));
}

section_result section_exchange([[maybe_unused]] section_slot* slot, [[maybe_unused]] guarded_word& w,
                                [[maybe_unused]] std::uint64_t mine, [[maybe_unused]] std::uint64_t expected,
                                [[maybe_unused]] std::uint64_t desired) noexcept {
#if WEFT_SECTIONS
#if defined(__x86_64__)
  asm goto(WEFT_SECTION_DESCRIPTOR("70", "11f", "12f", "13f")
           "movq %[expected], %%rax\n\t"
           "leaq 70b(%%rip), %%rcx\n\t"
           "movq %%rcx, (%[slot])\n\t"
           "11:\n\t"
           "cmpq %[mine], 8(%[word])\n\t"
           "jne %l[aborted]\n\t"
           "lock cmpxchgq %[desired], (%[word])\n\t"
           "12:\n\t"
           "movq $0, (%[slot])\n\t"
           "jne %l[differs]\n\t"
           ".pushsection .text.unlikely.weft_section, \"ax?\"\n\t" WEFT_SECTION_SIGNATURE
           "13:\n\t"
           "jmp %l[aborted]\n\t"
           ".popsection\n\t"
           :
           : [slot] "r"(slot), [mine] "r"(mine), [word] "r"(w.word.raw()), [expected] "r"(expected),
             [desired] "r"(desired)
           : "rax", "rcx", "cc", "memory"
           : differs, aborted);
#else
again:
  asm goto(WEFT_SECTION_DESCRIPTOR("70", "11f", "12f", "13f")
           "adrp x9, 70b\n\t"
           "add x9, x9, :lo12:70b\n\t"
           "str x9, [%[slot]]\n\t"
           "11:\n\t"
           "ldr x9, [%[word], #8]\n\t"
           "cmp x9, %[mine]\n\t"
           "b.ne %l[aborted]\n\t"
           "ldaxr x9, [%[word]]\n\t"
           "cmp x9, %[expected]\n\t"
           "b.ne %l[differs]\n\t"
           "stlxr w9, %[desired], [%[word]]\n\t"
           "12:\n\t"
           "str xzr, [%[slot]]\n\t"
           "cbnz w9, %l[again]\n\t"
           ".pushsection .text.unlikely.weft_section, \"ax?\"\n\t" WEFT_SECTION_SIGNATURE
           "13:\n\t"
           "b %l[aborted]\n\t"
           ".popsection\n\t"
           :
           : [slot] "r"(slot), [mine] "r"(mine), [word] "r"(w.word.raw()), [expected] "r"(expected),
             [desired] "r"(desired)
           : "x9", "cc", "memory"
           : differs, aborted, again);
#endif
  return section_result::done;
differs:
  empty(slot);
  return section_result::differs;
aborted:
  empty(slot);
  return section_result::aborted;
#else
  return section_result::aborted;
#endif
}

}  // namespace weft::os
