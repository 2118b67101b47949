// SPDX-License-Identifier: MIT
//
// Programs for another CPU run in an emulator, Meson's exe_wrapper. The kernel cannot start them by themselves, limits of the process
// are the emulator's, and it says a line of its own when one dies of a signal.

#pragma once

#include <cstdlib>

namespace weft_test {

// The program to start ourselves with, or null: we run natively.
inline const char* emulator() {
  const char* wrapper = std::getenv("MESON_EXE_WRAPPER");
  return wrapper && *wrapper ? wrapper : nullptr;
}

}  // namespace weft_test

// The end of a regular expression for what is printed before an abort.
#define WEFT_ABORTED "(qemu: [^\n]*\n)?$"
