// SPDX-License-Identifier: MIT
//
// How long a test lasts. Repeat counts are written for an ordinary build on an ordinary machine and go through scaled():
// under sanitizers and qemu, where every step costs ten times as much or more, tools/check sets WEFT_TEST_SCALE (percent,
// 100 = as written) to a tenth or less; the soak suite sets it to many times more.

#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace weft_test {

inline long long scale_percent() {
  static const long long percent = [] {
    const char* text = std::getenv("WEFT_TEST_SCALE");
    if (text == nullptr) return 100LL;
    char* end = nullptr;
    errno = 0;
    const long long value = std::strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < 1 || value > 1'000'000) {
      std::fprintf(stderr, "WEFT_TEST_SCALE=%s: want a whole number of percent, 1 to 1000000\n", text);
      std::exit(2);
    }
    return value;
  }();
  return percent;
}

// n, n at 100 percent; at least 1, so that no loop turns into a test of nothing, and never past an int.
inline int scaled(int n) { return static_cast<int>(std::clamp(n * scale_percent() / 100, 1LL, 2'000'000'000LL)); }

}  // namespace weft_test
