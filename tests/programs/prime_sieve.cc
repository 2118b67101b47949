// SPDX-License-Identifier: MIT
//
// The sieve of Hoare, McIlroy and Kernighan: a chain of goroutines, one per prime found, each of which lets pass what its prime does
// not divide. All channels are unbuffered: every number is a rendezvous at each station.
//
//   prime_sieve [primes]
#include <vector>

#include "program.h"

namespace {

using weft::chan;
using weft::select;

// Numbers from 2 on, until nobody wants them any more.
void generate(const chan<int>& out, const chan<int>& done) {
  bool on = true;
  for (int n = 2; on; ++n) select(weft::on_send(out, n), weft::on_recv(done, [&](auto) { on = false; }));
}

void filter(const chan<int>& in, const chan<int>& out, const chan<int>& done, int prime) {
  bool on = true;
  const auto end = [&](auto) { on = false; };
  while (on) {
    int n = 0;
    select(weft::on_recv(in, [&](std::optional<int> v) { n = v.value_or(0); }), weft::on_recv(done, end));
    if (on && n % prime != 0) select(weft::on_send(out, n), weft::on_recv(done, end));
  }
}

std::vector<int> sieve(int count) {
  auto done = weft::make_chan<int>();
  auto in = weft::make_chan<int>();
  std::vector<int> primes;
  weft::go(generate, in, done);
  for (int i = 0; i < count; ++i) {
    const int prime = in.recv().value();
    primes.push_back(prime);
    auto out = weft::make_chan<int>();
    weft::go(filter, in, out, done, prime);
    in = out;
  }
  done.close();
  return primes;
}

bool is_prime(int n) {
  for (int d = 2; d * d <= n; ++d)
    if (n % d == 0) return false;
  return n > 1;
}

}  // namespace

int main(int argc, char** argv) {
  const int count = programs::size_or(argc, argv, 1, 100);
  const auto primes = weft::run([&] { return sieve(count); });
  bool right = static_cast<int>(primes.size()) == count;
  int n = 1;
  for (const int p : primes) {  // all of them, in order, and nothing else
    do ++n;
    while (!is_prime(n));
    right = right && n == p;
  }
  return programs::verdict(right, "prime number " + std::to_string(count) + " is " + std::to_string(primes.back()));
}
