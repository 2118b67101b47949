// SPDX-License-Identifier: MIT
//
// The switch and the first frame, AArch64.
//
//   void weft_switch(context* from /*x0*/, context* to /*x1*/);
//   bool weft_switch_cas(context* from /*x0*/, context* to /*x1*/, uint64_t* word /*x2*/, uint64_t expected /*x3*/,
//                        uint64_t desired /*x4*/, uint32_t* done /*x5*/);
//   void weft_jump(context* to /*x0*/);
//   void weft_first_frame();  // never called: a fresh context's pc
//
// AAPCS64, "General-purpose Registers", "SIMD and Floating-Point Registers", "Universal stack constraints", "The Frame Pointer".
//
// Ledger  x19-x28                 saved            callee-saved
//         x29 (frame pointer)     saved, and in the context for the inlined form (I1)
//         x30 (link register)     saved, signed where the CPU signs pointers
//         sp, pc                  in the context
//         d8-d15                  saved            the low halves of v8-v15; the high halves are the caller's
//         x0-x17, v0-v7, v16-v31, flags            dead at a call
//         x18                     the platform's: untouched
//         fpcr                    per thread; saved only with -Dsave_fpenv=true, in the context
//         tpidr_el0               the thread's, not the goroutine's: untouched
//
// Parked by weft_switch[_cas], high addresses first       Freshly made
//   +0x98..+0x60  d15 ... d8                               +0x08  fn
//   +0x58..+0x10  x28 ... x19                              +0x00  arg                 <- context.sp, 16-byte aligned
//   +0x08  x30, signed
//   +0x00  x29                      <- context.sp          Running: the goroutine's frames below weft_first_frame's
//
// Signing. The switch is a function that spills its return address like any other: paciasp before the spill, autiasp after the
// reload, with the same sp both times. They are hints: nothing on a CPU or a process without pointer authentication. context.pc
// is not signed; whoever can write a G can do more than redirect it.
// Leaving. `ret`, not `br x30`: a return site carries no bti landing, and ret needs none. (The return predictor misses here as
// on x86-64; AArch64 has no unpredicted indirect jump that BTI would let pass to a return site.)
// The compare-and-swap is a load-exclusive loop, correct on every ARMv8.0 CPU; LSE's cas where the compiler targets 8.1.

#include "../asm.h"
#include "layout.h"

// clang-format off

.macro push_callee_saved
  hint #25                             // paciasp
  .cfi_negate_ra_state
  stp x29, x30, [sp, #-WEFT_FRAME_SIZE]!
  .cfi_def_cfa_offset WEFT_FRAME_SIZE
  .cfi_offset x29, -160
  .cfi_offset x30, -152
  stp x19, x20, [sp, #16]
  .cfi_offset x19, -144
  .cfi_offset x20, -136
  stp x21, x22, [sp, #32]
  .cfi_offset x21, -128
  .cfi_offset x22, -120
  stp x23, x24, [sp, #48]
  .cfi_offset x23, -112
  .cfi_offset x24, -104
  stp x25, x26, [sp, #64]
  .cfi_offset x25, -96
  .cfi_offset x26, -88
  stp x27, x28, [sp, #80]
  .cfi_offset x27, -80
  .cfi_offset x28, -72
  stp d8, d9, [sp, #96]
  .cfi_offset d8, -64
  .cfi_offset d9, -56
  stp d10, d11, [sp, #112]
  .cfi_offset d10, -48
  .cfi_offset d11, -40
  stp d12, d13, [sp, #128]
  .cfi_offset d12, -32
  .cfi_offset d13, -24
  stp d14, d15, [sp, #144]
  .cfi_offset d14, -16
  .cfi_offset d15, -8
.endm

.macro pop_callee_saved_and_return
  ldp d14, d15, [sp, #144]
  ldp d12, d13, [sp, #128]
  ldp d10, d11, [sp, #112]
  ldp d8, d9, [sp, #96]
  ldp x27, x28, [sp, #80]
  ldp x25, x26, [sp, #64]
  ldp x23, x24, [sp, #48]
  ldp x21, x22, [sp, #32]
  ldp x19, x20, [sp, #16]
  ldp x29, x30, [sp], #WEFT_FRAME_SIZE
  .cfi_def_cfa_offset 0
  .cfi_restore x19
  .cfi_restore x20
  .cfi_restore x21
  .cfi_restore x22
  .cfi_restore x23
  .cfi_restore x24
  .cfi_restore x25
  .cfi_restore x26
  .cfi_restore x27
  .cfi_restore x28
  .cfi_restore x29
  .cfi_restore x30
  .cfi_restore d8
  .cfi_restore d9
  .cfi_restore d10
  .cfi_restore d11
  .cfi_restore d12
  .cfi_restore d13
  .cfi_restore d14
  .cfi_restore d15
  hint #29                             // autiasp
  .cfi_negate_ra_state
  ret
.endm

// Save half: the context, complete before anything publishes it.
.macro save context, resumed
  adr x9, \resumed
  mov x10, sp
  stp x9, x10, [\context, #WEFT_CONTEXT_PC]
  str x29, [\context, #WEFT_CONTEXT_FP]
#if defined(WEFT_SAVE_FPENV)
  mrs x9, fpcr
  str x9, [\context, #WEFT_CONTEXT_FPENV]
#endif
.endm

// Load half; the context is in x1 (I2). x16: an indirect branch through it may land on `bti c` as well as on `bti j`.
.macro resume
#if defined(WEFT_SAVE_FPENV)
  ldr x9, [x1, #WEFT_CONTEXT_FPENV]
  msr fpcr, x9
#endif
  ldp x16, x9, [x1, #WEFT_CONTEXT_PC]
  ldr x29, [x1, #WEFT_CONTEXT_FP]
  .cfi_remember_state
  .cfi_undefined x30
  mov sp, x9
  br x16
  .cfi_restore_state
.endm

WEFT_FUNCTION(weft_switch)
  hint #34                             // bti c
  push_callee_saved
  save x0, .Lswitch_resumed
  resume
.Lswitch_resumed:
  hint #36                             // bti j
  pop_callee_saved_and_return
WEFT_END(weft_switch)

WEFT_FUNCTION(weft_switch_cas)
  hint #34                             // bti c
  push_callee_saved
  .cfi_remember_state
  save x0, .Lcas_resumed
#if defined(__ARM_FEATURE_ATOMICS)
  mov x9, x3
  casal x9, x4, [x2]                   // COMMIT: from here on this stack belongs to whoever reads the word
  cmp x9, x3
  b.ne .Lcas_failed
#else
1:
  ldaxr x9, [x2]
  cmp x9, x3
  b.ne .Lcas_lost
  stlxr w9, x4, [x2]                   // COMMIT
  cbnz w9, 1b
#endif
  stlr wzr, [x5]
  resume
.Lcas_resumed:
  hint #36                             // bti j
  mov w0, #1
  pop_callee_saved_and_return
#if !defined(__ARM_FEATURE_ATOMICS)
.Lcas_lost:
  clrex
#endif
.Lcas_failed:
  .cfi_restore_state
  mov w0, #0
  pop_callee_saved_and_return
WEFT_END(weft_switch_cas)

WEFT_FUNCTION(weft_jump)
  hint #34                             // bti c
  mov x1, x0
  resume
WEFT_END(weft_jump)

// The oldest frame of every goroutine. The return address is undefined from its first instruction to its last, so an unwinder stops
// here; 0x1b = pc-relative, signed 4 bytes.
WEFT_FUNCTION(weft_first_frame)
  .cfi_personality 0x1b, weft_first_frame_personality
  .cfi_undefined x30
  .cfi_def_cfa sp, WEFT_FIRST_SIZE
  hint #36                             // bti j
  mov x29, xzr                         // the end of the frame-pointer chain, for tools that follow that
  ldp x0, x16, [sp, #WEFT_FIRST_ARG]
  adr x30, .Lfirst_returned            // a call, but for the return predictor, which nobody would take it from again (I3)
  br x16                               // x16: may land on the `bti c` or paciasp that fn begins with
  nop                                  // unwinders look up the instruction before a return address
.Lfirst_returned:
  brk #0x1                             // fn must not return
WEFT_END(weft_first_frame)

WEFT_OBJECT_NOTES
