// SPDX-License-Identifier: MIT
//
// The first frame of a computation. Not part of switch.h: it reads the ports' layouts. Inline, as each goroutine passes here once.

#pragma once

#include <cstdint>

#include "switch.h"
#if defined(__x86_64__)
#include "x86_64/layout.h"
#else
#include "aarch64/layout.h"
#endif

extern "C" [[gnu::visibility("hidden")]] void weft_first_frame();

namespace weft::arch {

// Builds the first frame of a computation at the top of a fresh stack, so that resuming `c` calls fn(arg) there. `top` need
// not be aligned; some 32 bytes below it are used. fn must not return.
inline void make_first_frame(context& c, void* top, void (*fn)(void*), void* arg) {
  // psABI, "The Stack Frame": rsp + 8 is a multiple of 16 at a function's entry, that is, rsp is one at the call. AAPCS64, "Universal stack
  // constraints": sp is a multiple of 16 at every public interface.
  const auto sp = (reinterpret_cast<std::uintptr_t>(top) - WEFT_FIRST_SIZE) & ~std::uintptr_t{15};
  *reinterpret_cast<void**>(sp + WEFT_FIRST_ARG) = arg;
  *reinterpret_cast<void (**)(void*)>(sp + WEFT_FIRST_FN) = fn;
  c.pc = reinterpret_cast<void*>(&weft_first_frame);
  c.sp = reinterpret_cast<void*>(sp);
  c.fp = nullptr;
#if defined(WEFT_SAVE_FPENV)
  c.fpenv = WEFT_FIRST_FPENV;
#endif
}

}  // namespace weft::arch
