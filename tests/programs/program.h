// SPDX-License-Identifier: MIT
//
// What the programs share: sizes from the command line, and the verdict.

#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

#include "runtime/weft/weft.h"

namespace programs {

// The n-th argument, or what is usual.
inline int size_or(int argc, char** argv, int n, int usual) {
  if (n >= argc) return usual;
  const int given = std::atoi(argv[n]);
  if (given > 0) return given;
  std::fprintf(stderr, "%s: argument %d is not a size: %s\n", argv[0], n, argv[n]);
  std::exit(2);
}

// The exit status: 0 when `what` is as it should be.
inline int verdict(bool right, const std::string& what) {
  std::printf("%s: %s\n", right ? "ok" : "WRONG", what.c_str());
  return right ? 0 : 1;
}

}  // namespace programs
