// SPDX-License-Identifier: MIT
//
// Parallel quicksort: each half of a partition is a goroutine's, down to a size at which it is quicker to do it at once.
//
//   quicksort [numbers] [at once]
#include <algorithm>
#include <span>
#include <vector>

#include "program.h"
#include "runtime/base/rand.h"

namespace {

void sort(std::span<std::uint32_t> s, std::size_t at_once) {
  if (s.size() <= at_once) return std::sort(s.begin(), s.end());
  const std::uint32_t a = s.front();
  const std::uint32_t b = s[s.size() / 2];
  const std::uint32_t c = s.back();
  const std::uint32_t pivot = std::max(std::min(a, b), std::min(std::max(a, b), c));
  const auto less = std::partition(s.begin(), s.end(), [=](std::uint32_t v) { return v < pivot; });
  const auto equal = std::partition(less, s.end(), [=](std::uint32_t v) { return v == pivot; });
  weft::wait_group both;
  both.go([=] { sort(std::span(s.begin(), less), at_once); });
  sort(std::span(equal, s.end()), at_once);
  both.wait();
}

}  // namespace

int main(int argc, char** argv) {
  const int n = programs::size_or(argc, argv, 1, 200'000);
  const int at_once = programs::size_or(argc, argv, 2, 64);
  weft::fast_rand r(2026);
  std::vector<std::uint32_t> v(static_cast<std::size_t>(n));
  for (auto& x : v) x = r.below(static_cast<std::uint32_t>(n));
  auto expected = v;
  std::sort(expected.begin(), expected.end());
  weft::run([&] { sort(v, static_cast<std::size_t>(at_once)); });
  return programs::verdict(v == expected, std::to_string(n) + " numbers");
}
