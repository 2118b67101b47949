// SPDX-License-Identifier: MIT
//
// The contract of a stack switch, shared by all ports.
//
// A `context` is the whole of a parked computation: where it goes on (pc), its stack pointer and its frame pointer.
// Everything else is on its stack, or is dead. Three promises make the ports interchangeable:
//
//   I1  To resume a context is: load fp, load sp, jump to pc. Nothing more, whoever parked it and however.
//   I2  The code at pc expects no register but sp, fp and, in the register of a second argument (rsi, x1), the address of its own
//       context. So a switch written inline (the compiler keeps what is live) and one written out of line (which pushes what the
//       callee owns) may resume each other; and who is resumed knows who it is without having saved it.
//   I3  The resuming side never returns through `ret` on x86-64: after a switch of stacks the return predictor holds the
//       other stack's history and misses, 5-7 ns each time. It pops the address and jumps.
//       And who ends leaves the predictor as he found it: the first frame and the jump out of the last one push nothing that no `ret` takes away.
//       A goroutine that parks until one that it has started is through then returns as predicted, as after a call; with four entries too many,
//       each of its returns missed.
//
// What is saved is what the ABI says a callee owns, and no more:
//   x86-64    System V AMD64 psABI, "Registers": rbx rbp r12-r15 rsp. The control bits of MXCSR and the x87 control word are
//             callee-owned too; saving them costs 3-8 ns, so they stay with the thread, unless built with -Dsave_fpenv=true.
//   AArch64   AAPCS64, "General-purpose Registers" and "SIMD and Floating-Point Registers": x19-x30, sp, d8-d15 (the low
//             halves of v8-v15). FPCR likewise only with -Dsave_fpenv=true.
// The inlined forms save no register at all: they tell the compiler that every register is lost, and it spills what lives.
//
// Publish after saving (the commit). A parked goroutine may be resumed by another thread the moment it is published, so it
// must not be published before its context is complete, and nothing may touch its stack afterwards. The `_cas` forms do the
// publishing compare-and-swap between the save half and the load half:
//
//   COMMIT      release: the compare-and-swap      acquire: whoever reads `desired` from the word
//   Carries the context and all that the goroutine wrote before. Weaker, a waker could resume a half-saved context.
//   When the compare fails nothing has happened: the call returns false on the old stack.
//
// switch_section_inline commits by a restartable section, where the word has an owner and the caller is it (section.h): the same, without the
// locked instruction.
//
// Unwinding. CFI describes every instruction of the out-of-line forms; between the load of sp and the jump the caller is
// declared unknown, since there the two stacks do not match. weft_first_frame declares the return address undefined: there
// a backtrace, gdb and the C++ search for a handler end. The search calls `weft_first_frame_personality`, which the layer
// above defines: it is how an exception that nobody catches is reported with the stack that threw it still intact.
//
// Shadow stacks (x86 SHSTK) are refused: the objects carry no SHSTK mark, so that a kernel or loader that enforces them
// leaves them off for the process. Indirect branch tracking is supported: every landing is an endbr64 / `bti j`.
//
// The idea of letting the compiler spill for an inlined switch is PhotonLibOS' ("Stackful Coroutine Made Fast"); the
// compare-and-swap between the halves is weft's own.

#pragma once

#include <cstddef>
#include <cstdint>

#include "section.h"

namespace weft::arch {

struct context {
  void* pc = nullptr;
  void* sp = nullptr;
  void* fp = nullptr;
#if defined(WEFT_SAVE_FPENV)
  std::uint64_t fpenv = 0;
#endif
};

}  // namespace weft::arch

extern "C" {

// Saves the caller in *from and resumes *to. Returns when somebody resumes *from.
[[gnu::visibility("hidden")]] void weft_switch(weft::arch::context* from, weft::arch::context* to);

// Saves the caller in *from; if *word == expected, stores `desired` there (COMMIT), then zero to *done (release; it ends the
// reader section of the operation that parks), and resumes *to. Returns true once resumed; false at once, with *done
// untouched, when the word held something else.
[[gnu::visibility("hidden")]] bool weft_switch_cas(weft::arch::context* from, weft::arch::context* to,
                                                   std::uint64_t* word, std::uint64_t expected, std::uint64_t desired,
                                                   std::uint32_t* done);

// Resumes *to and forgets the caller. For a stack that is finished.
[[noreturn, gnu::visibility("hidden")]] void weft_jump(weft::arch::context* to);
}

#if defined(__x86_64__)
#include "x86_64/inline.h"
#elif defined(__aarch64__)
#include "aarch64/inline.h"
#else
#error "weft has no port for this processor: x86-64 and AArch64 only"
#endif
