// SPDX-License-Identifier: MIT

#include "../self.h"

#include <cerrno>

extern "C" {
thread_local void* weft_self_pointer = nullptr;
}

namespace weft::os {

WEFT_NOINLINE void set_self(void* v) { weft_self_pointer = v; }

WEFT_NOINLINE int& errno_of_thread() {
  asm volatile("");  // glibc declares __errno_location const: this keeps the call from being folded into callers
  return errno;
}

}  // namespace weft::os
