// SPDX-License-Identifier: MIT
//
// Skynet: a goroutine starts ten, each of which starts ten, down to the leaves; a leaf sends its number up, all others the sum of
// what they received.
//
//   skynet [leaves]       a power of ten
#include "program.h"

namespace {

void sky(const weft::chan<long long>& up, long long number, long long size) {
  if (size == 1) return up.send(number);
  auto down = weft::make_chan<long long>();
  for (long long i = 0; i < 10; ++i) weft::go(sky, down, number + i * (size / 10), size / 10);
  long long sum = 0;
  for (int i = 0; i < 10; ++i) sum += down.recv().value();
  up.send(sum);
}

}  // namespace

int main(int argc, char** argv) {
  const long long leaves = programs::size_or(argc, argv, 1, 10'000);
  for (long long n = leaves; n > 1; n /= 10)
    if (n % 10 != 0) return programs::verdict(false, "the leaves must be a power of ten");
  const long long sum = weft::run([&] {
    auto c = weft::make_chan<long long>();
    weft::go(sky, c, 0, leaves);
    return c.recv().value();
  });
  return programs::verdict(sum == leaves * (leaves - 1) / 2, "the sum is " + std::to_string(sum));
}
