// SPDX-License-Identifier: MIT

#include <cstdint>

#include "layout.h"

extern "C" [[gnu::visibility("hidden")]] void weft_first_frame();

namespace weft::arch {

void make_first_frame(context& c, void* top, void (*fn)(void*), void* arg) {
  // psABI, "The Stack Frame": rsp + 8 is a multiple of 16 at a function's entry, that is, rsp is one at the call.
  auto sp = (reinterpret_cast<std::uintptr_t>(top) - WEFT_FIRST_SIZE) & ~std::uintptr_t{15};
  *reinterpret_cast<void**>(sp + WEFT_FIRST_ARG) = arg;
  *reinterpret_cast<void (**)(void*)>(sp + WEFT_FIRST_FN) = fn;
  c.pc = reinterpret_cast<void*>(&weft_first_frame);
  c.sp = reinterpret_cast<void*>(sp);
  c.fp = nullptr;
#if defined(WEFT_SAVE_FPENV)
  // The state a thread starts with (psABI, "Process Initialization"): all exceptions masked, round to nearest.
  c.fpenv = std::uint64_t{0x1f80} | std::uint64_t{0x037f} << 32;
#endif
}

}  // namespace weft::arch
