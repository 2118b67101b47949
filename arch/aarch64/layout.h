// SPDX-License-Identifier: MIT
//
// Offsets that the assembler and the compiler must agree on. Read by switch.S (as plain defines) and by first_frame.h.

#pragma once

#define WEFT_CONTEXT_PC 0
#define WEFT_CONTEXT_SP 8
#define WEFT_CONTEXT_FP 16
#define WEFT_CONTEXT_FPENV 24

// The first frame, above its stack pointer: what weft_first_frame calls.
#define WEFT_FIRST_ARG 0
#define WEFT_FIRST_FN 8
#define WEFT_FIRST_SIZE 16
// What a thread starts with: all traps off, round to nearest.
#define WEFT_FIRST_FPENV 0

// The frame that weft_switch[_cas] pushes: x29, x30, x19-x28, d8-d15.
#define WEFT_FRAME_SIZE 160

#if !defined(__ASSEMBLER__)
#include <cstddef>

#include "../switch.h"
static_assert(offsetof(weft::arch::context, pc) == WEFT_CONTEXT_PC);
static_assert(offsetof(weft::arch::context, sp) == WEFT_CONTEXT_SP);
static_assert(offsetof(weft::arch::context, fp) == WEFT_CONTEXT_FP);
#if defined(WEFT_SAVE_FPENV)
static_assert(offsetof(weft::arch::context, fpenv) == WEFT_CONTEXT_FPENV);
#endif
#endif
