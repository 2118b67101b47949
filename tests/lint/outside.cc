// SPDX-License-Identifier: MIT
//
// The first program of a user who has nothing but the installed library. See install.sh.

#include <weft/weft.h>

#include <cstdio>

int main() {
  int sum = 0;
  weft::run([&] {
    auto numbers = weft::make_chan<int>();
    weft::go([numbers] {
      for (int i = 1; i <= 10; ++i) numbers.send(i);
      numbers.close();
    });
    for (int n : numbers) sum += n;
  });
  std::printf("%d\n", sum);
  return sum == 55 ? 0 : 1;
}
