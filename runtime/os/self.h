// SPDX-License-Identifier: MIT
//
// One pointer per thread: the runtime's only thread-local.
//
// A goroutine parks on one thread and wakes on another, so the address of a thread-local that a compiler keeps across a park
// is the address of somebody else's variable. Compilers do keep it: the language lets them assume that a function stays on
// its thread. Hence this pointer is read by an asm volatile statement. The compiler cannot compute, keep or move the address,
// because it never sees one: the segment register is read anew at each use, also after inlining and under LTO.
// It costs two loads: the offset (initial-exec model: one fixed offset in all threads) and the pointer.

#pragma once

#include "cpu.h"

#if defined(WEFT_SIM)

namespace weft {
namespace sim {
extern void* sim_self;  // of the virtual thread that runs
}
namespace os {
inline void* self() { return *static_cast<void* volatile*>(&sim::sim_self); }
}  // namespace os
}  // namespace weft

#else

extern "C" {
// Never name it in C++: os::self() and os::set_self() are the only readers and writers.
extern WEFT_API thread_local void* weft_self_pointer __attribute__((tls_model("initial-exec")));
}

namespace weft::os {

[[gnu::always_inline]] inline void* self() {
  void* v;
#if defined(__x86_64__)
  asm volatile(
      "movq weft_self_pointer@gottpoff(%%rip), %0\n\t"
      "movq %%fs:(%0), %0"
      : "=&r"(v));
#elif defined(__aarch64__)
  void* t;
  asm volatile(
      "mrs %1, tpidr_el0\n\t"
      "adrp %0, :gottprel:weft_self_pointer\n\t"
      "ldr %0, [%0, #:gottprel_lo12:weft_self_pointer]\n\t"
      "ldr %0, [%1, %0]"
      : "=&r"(v), "=&r"(t));
#endif
  return v;
}

}  // namespace weft::os

#endif

namespace weft::os {

// Out of line: called once per thread and run.
void set_self(void* v);

// errno of the thread that runs this very moment. Never inlined: see above.
WEFT_API int& errno_of_thread();

}  // namespace weft::os
