// SPDX-License-Identifier: MIT
//
// The real machine's sections. Included by os/section.h only.

#pragma once

#include <cstddef>

#include "../cpu.h"
#include "../section.h"

// Sanitizers must see every access, and a section's are assembly.
#define WEFT_SECTIONS (!WEFT_TSAN && !WEFT_ASAN)

namespace weft::os {

using section_slot = std::uint64_t;

// Decided before main, never changes.
extern WEFT_API bool sections;

// The calling thread's, for its life. Not to be asked when there are no sections.
section_slot* section_slot_of_thread() noexcept;

// Microseconds. From any thread. False: the kernel refused, and nothing may be concluded.
[[nodiscard]] bool fence_sections();

static_assert(offsetof(guarded_word, guard) == 8);

// Behind a section that did not come to its commit: no slot may name a descriptor for longer than its code is there.
[[gnu::always_inline]] inline void empty(section_slot* slot) noexcept { __atomic_store_n(slot, 0, __ATOMIC_RELAXED); }

struct call_site {
  static constexpr call_site here() { return {}; }
};
[[gnu::always_inline]] inline std::uint64_t load_word(const guarded_word& w, std::memory_order o, call_site) noexcept {
  return w.word.load(o);
}
[[gnu::always_inline]] inline bool exchange_word(guarded_word& w, std::uint64_t expected, std::uint64_t desired,
                                                 std::memory_order ok, call_site) noexcept {
  return w.word.compare_exchange_strong(expected, desired, ok, relaxed);
}

// A section whose commit is a plain store; in between it may look at the word.
// clang-format off
#if defined(__x86_64__)
#define WEFT_SECTION_LOOK \
  "cmpq %[expected], (%[word])\n\t" \
  "jne %l[differs]\n\t"
#define WEFT_SECTION(look) \
  WEFT_SECTION_DESCRIPTOR("70", "11f", "12f", "13f") \
  "leaq 70b(%%rip), %%rcx\n\t" \
  "movq %%rcx, (%[slot])\n\t" \
  "11:\n\t" \
  "cmpq %[mine], 8(%[word])\n\t" \
  "jne %l[aborted]\n\t" \
  look \
  "movq %[desired], (%[word])\n\t" \
  "12:\n\t" \
  "movq $0, (%[slot])\n\t" \
  ".pushsection .text.unlikely.weft_section, \"ax?\"\n\t" WEFT_SECTION_SIGNATURE \
  "13:\n\t" \
  "jmp %l[aborted]\n\t" \
  ".popsection\n\t"
#define WEFT_SECTION_SCRATCH "rcx"
#else
#define WEFT_SECTION_LOOK \
  "ldar x9, [%[word]]\n\t" \
  "cmp x9, %[expected]\n\t" \
  "b.ne %l[differs]\n\t"
#define WEFT_SECTION(look) \
  WEFT_SECTION_DESCRIPTOR("70", "11f", "12f", "13f") \
  "adrp x9, 70b\n\t" \
  "add x9, x9, :lo12:70b\n\t" \
  "str x9, [%[slot]]\n\t" \
  "11:\n\t" \
  "ldr x9, [%[word], #8]\n\t" \
  "cmp x9, %[mine]\n\t" \
  "b.ne %l[aborted]\n\t" \
  look \
  "stlr %[desired], [%[word]]\n\t" \
  "12:\n\t" \
  "str xzr, [%[slot]]\n\t" \
  ".pushsection .text.unlikely.weft_section, \"ax?\"\n\t" WEFT_SECTION_SIGNATURE \
  "13:\n\t" \
  "b %l[aborted]\n\t" \
  ".popsection\n\t"
#define WEFT_SECTION_SCRATCH "x9"
#endif
// clang-format on

[[gnu::always_inline]] inline section_result section_store([[maybe_unused]] section_slot* slot,
                                                           [[maybe_unused]] guarded_word& w,
                                                           [[maybe_unused]] std::uint64_t mine,
                                                           [[maybe_unused]] std::uint64_t expected,
                                                           [[maybe_unused]] std::uint64_t desired) {
#if WEFT_SECTIONS
  asm goto(
      WEFT_SECTION(WEFT_SECTION_LOOK)
      :
      : [slot] "r"(slot), [mine] "r"(mine), [word] "r"(w.word.raw()), [expected] "r"(expected), [desired] "r"(desired)
      : WEFT_SECTION_SCRATCH, "cc", "memory"
      : differs, aborted);
  return section_result::done;
differs:
  empty(slot);
  return section_result::differs;
aborted:
  empty(slot);
#endif
  return section_result::aborted;
}

[[gnu::always_inline]] inline section_result section_overwrite([[maybe_unused]] section_slot* slot,
                                                               [[maybe_unused]] guarded_word& w,
                                                               [[maybe_unused]] std::uint64_t mine, std::uint64_t,
                                                               [[maybe_unused]] std::uint64_t desired) {
#if WEFT_SECTIONS
  asm goto(WEFT_SECTION("")
           :
           : [slot] "r"(slot), [mine] "r"(mine), [word] "r"(w.word.raw()), [desired] "r"(desired)
           : WEFT_SECTION_SCRATCH, "cc", "memory"
           : aborted);
  return section_result::done;
aborted:
  empty(slot);
#endif
  return section_result::aborted;
}

// Rare, and so out of line.
section_result section_exchange(section_slot* slot, guarded_word& w, std::uint64_t mine, std::uint64_t expected,
                                std::uint64_t desired) noexcept;

}  // namespace weft::os
