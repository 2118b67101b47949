// SPDX-License-Identifier: MIT
//
// What every function in a .S file needs around it: hidden visibility, type, size and CFI; and what every object needs at its
// end: a stack that is not executable and the property note that says branch targets are marked.

#pragma once

// clang-format off
#define WEFT_FUNCTION(name) \
  .text; \
  .balign 32; \
  .globl name; \
  .hidden name; \
  .type name, %function; \
  name: \
  .cfi_startproc

#define WEFT_END(name) \
  .cfi_endproc; \
  .size name, . - name

#if defined(__x86_64__)
// GNU_PROPERTY_X86_FEATURE_1_AND (0xc0000002) = IBT (1). SHSTK (2) is left out on purpose: see switch.h.
#define WEFT_PROPERTY_TYPE 0xc0000002
#define WEFT_PROPERTY_BITS 1
#else
// GNU_PROPERTY_AARCH64_FEATURE_1_AND (0xc0000000) = BTI (1) | PAC (2): return addresses that are spilled are signed.
#define WEFT_PROPERTY_TYPE 0xc0000000
#define WEFT_PROPERTY_BITS 3
#endif

#define WEFT_OBJECT_NOTES \
  .section .note.GNU-stack, "", %progbits; \
  .section .note.gnu.property, "a"; \
  .balign 8; \
  .long 4; \
  .long 16; \
  .long 5; \
  .asciz "GNU"; \
  .long WEFT_PROPERTY_TYPE; \
  .long 4; \
  .long WEFT_PROPERTY_BITS; \
  .long 0
// clang-format on
