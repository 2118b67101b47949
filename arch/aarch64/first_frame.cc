// SPDX-License-Identifier: MIT

#include <cstdint>

#include "layout.h"

extern "C" [[gnu::visibility("hidden")]] void weft_first_frame();

namespace weft::arch {

void make_first_frame(context& c, void* top, void (*fn)(void*), void* arg) {
  // AAPCS64, "Universal stack constraints": sp is a multiple of 16 at every public interface.
  auto sp = (reinterpret_cast<std::uintptr_t>(top) - WEFT_FIRST_SIZE) & ~std::uintptr_t{15};
  *reinterpret_cast<void**>(sp + WEFT_FIRST_ARG) = arg;
  *reinterpret_cast<void (**)(void*)>(sp + WEFT_FIRST_FN) = fn;
  c.pc = reinterpret_cast<void*>(&weft_first_frame);
  c.sp = reinterpret_cast<void*>(sp);
  c.fp = nullptr;
#if defined(WEFT_SAVE_FPENV)
  c.fpenv = 0;  // what a thread starts with: FPCR of zero, all traps off, round to nearest
#endif
}

}  // namespace weft::arch
