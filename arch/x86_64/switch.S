// SPDX-License-Identifier: MIT
//
// The switch and the first frame, x86-64.
//
//   void weft_switch(context* from /*rdi*/, context* to /*rsi*/);
//   bool weft_switch_cas(context* from /*rdi*/, context* to /*rsi*/, uint64_t* word /*rdx*/, uint64_t expected /*rcx*/,
//                        uint64_t desired /*r8*/, uint32_t* done /*r9*/);
//   void weft_jump(context* to /*rdi*/);
//   void weft_first_frame();  // never called: a fresh context's pc
//
// System V AMD64 psABI, "Function Calling Sequence", "Registers", "The Stack Frame".
//
// Ledger  rbx rbp r12-r15         saved            callee-saved
//         rsp, pc                 in the context   rbp too, for the inlined form (I1)
//         rax rcx rdx rsi rdi r8-r11 xmm* k* st*   dead at a call
//         mxcsr, x87 control word per thread; saved only with -Dsave_fpenv=true, in the context
//         fs base                 the thread's, not the goroutine's: untouched
//         direction flag          clear at a call, by the ABI
//
// Parked by weft_switch[_cas], high addresses first       Freshly made
//   +0x30  return address                                  +0x08  fn
//   +0x28  rbp                                             +0x00  arg                 <- context.sp, 16-byte aligned
//   +0x20  rbx
//   +0x18..+0x00  r12 r13 r14 r15   <- context.sp          Running: the goroutine's frames below weft_first_frame's

#include "../asm.h"
#include "layout.h"

// clang-format off

.macro push_callee_saved
  pushq %rbp
  .cfi_adjust_cfa_offset 8
  .cfi_rel_offset rbp, 0
  pushq %rbx
  .cfi_adjust_cfa_offset 8
  .cfi_rel_offset rbx, 0
  pushq %r12
  .cfi_adjust_cfa_offset 8
  .cfi_rel_offset r12, 0
  pushq %r13
  .cfi_adjust_cfa_offset 8
  .cfi_rel_offset r13, 0
  pushq %r14
  .cfi_adjust_cfa_offset 8
  .cfi_rel_offset r14, 0
  pushq %r15
  .cfi_adjust_cfa_offset 8
  .cfi_rel_offset r15, 0
.endm

.macro pop_callee_saved
  popq %r15
  .cfi_adjust_cfa_offset -8
  .cfi_restore r15
  popq %r14
  .cfi_adjust_cfa_offset -8
  .cfi_restore r14
  popq %r13
  .cfi_adjust_cfa_offset -8
  .cfi_restore r13
  popq %r12
  .cfi_adjust_cfa_offset -8
  .cfi_restore r12
  popq %rbx
  .cfi_adjust_cfa_offset -8
  .cfi_restore rbx
  popq %rbp
  .cfi_adjust_cfa_offset -8
  .cfi_restore rbp
.endm

// Back to the caller without `ret` (I3). `notrack`: a return site is no endbr64, and need not be, as the address comes from
// the stack as it would for ret.
.macro leave_by_jump
  popq %rcx
  .cfi_adjust_cfa_offset -8
  .cfi_register rip, rcx
  notrack jmp *%rcx
.endm

.macro save_fpenv context
#if defined(WEFT_SAVE_FPENV)
  stmxcsr WEFT_CONTEXT_FPENV(\context)
  fnstcw WEFT_CONTEXT_FPENV+4(\context)
#endif
.endm

// Load half; the context is in rsi (I2). The jump stands one instruction behind the load of rsp; at that one instruction the
// caller is unknown.
.macro resume
#if defined(WEFT_SAVE_FPENV)
  ldmxcsr WEFT_CONTEXT_FPENV(%rsi)
  fldcw WEFT_CONTEXT_FPENV+4(%rsi)
#endif
  movq WEFT_CONTEXT_FP(%rsi), %rbp
  movq WEFT_CONTEXT_PC(%rsi), %rax
  movq WEFT_CONTEXT_SP(%rsi), %rsp
  .cfi_remember_state
  .cfi_undefined rip
  jmp *%rax
  .cfi_restore_state
.endm

WEFT_FUNCTION(weft_switch)
  endbr64
  push_callee_saved
  leaq .Lswitch_resumed(%rip), %rax
  movq %rax, WEFT_CONTEXT_PC(%rdi)
  movq %rsp, WEFT_CONTEXT_SP(%rdi)
  movq %rbp, WEFT_CONTEXT_FP(%rdi)
  save_fpenv %rdi
  resume
.Lswitch_resumed:
  endbr64
  pop_callee_saved
  leave_by_jump
WEFT_END(weft_switch)

WEFT_FUNCTION(weft_switch_cas)
  endbr64
  push_callee_saved
  leaq .Lcas_resumed(%rip), %rax
  movq %rax, WEFT_CONTEXT_PC(%rdi)
  movq %rsp, WEFT_CONTEXT_SP(%rdi)
  movq %rbp, WEFT_CONTEXT_FP(%rdi)
  save_fpenv %rdi
  movq %rcx, %rax
  lock cmpxchgq %r8, (%rdx)            // COMMIT: from here on this stack belongs to whoever reads the word
  jne .Lcas_failed
  movl $0, (%r9)
  resume
.Lcas_resumed:
  endbr64
  pop_callee_saved
  movl $1, %eax
  leave_by_jump
.Lcas_failed:                          // no switch happened: the return predictor is right, so `ret`
  .cfi_adjust_cfa_offset 56
  .cfi_offset rip, -8
  .cfi_offset rbp, -16
  .cfi_offset rbx, -24
  .cfi_offset r12, -32
  .cfi_offset r13, -40
  .cfi_offset r14, -48
  .cfi_offset r15, -56
  pop_callee_saved
  xorl %eax, %eax
  ret
WEFT_END(weft_switch_cas)

WEFT_FUNCTION(weft_jump)
  endbr64
  movq %rdi, %rsi
  resume
WEFT_END(weft_jump)

// The oldest frame of every goroutine. rip is undefined from its first instruction to its last, so an unwinder stops here;
// 0x1b = pc-relative, signed 4 bytes.
WEFT_FUNCTION(weft_first_frame)
  .cfi_personality 0x1b, weft_first_frame_personality
  .cfi_undefined rip
  .cfi_def_cfa rsp, WEFT_FIRST_SIZE
  endbr64
  xorl %ebp, %ebp                      // the end of the frame-pointer chain, for tools that follow that
  movq WEFT_FIRST_ARG(%rsp), %rdi
  movq WEFT_FIRST_FN(%rsp), %rax
  leaq .Lfirst_returned(%rip), %rcx    // a call, but for the return predictor, which nobody would take it from again (I3)
  pushq %rcx
  .cfi_adjust_cfa_offset 8
  jmp *%rax
  .cfi_adjust_cfa_offset -8
  nop                                  // unwinders look up the byte before a return address
.Lfirst_returned:
  ud2                                  // fn must not return
WEFT_END(weft_first_frame)

WEFT_OBJECT_NOTES
