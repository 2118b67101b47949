// SPDX-License-Identifier: MIT
//
// A pipeline with cancellation, after "Go Concurrency Patterns: Pipelines and cancellation": numbers are squared by several stages at
// once and merged; the reader has enough before all have come, closes `done`, and every stage ends.
//
//   pipeline [numbers] [squarers]
#include <vector>

#include "program.h"

namespace {

using weft::chan;

template <class T>
bool send_or_stop(const chan<T>& to, T v, const chan<int>& done) {
  return weft::select(weft::on_send(to, std::move(v)), weft::on_recv(done)) == 0;
}

chan<long long> count_to(int n, const chan<int>& done) {
  auto out = weft::make_chan<long long>();
  weft::go([=] {
    for (long long i = 1; i <= n && send_or_stop(out, i, done); ++i) {
    }
    out.close();
  });
  return out;
}

chan<long long> square(const chan<long long>& in, const chan<int>& done) {
  auto out = weft::make_chan<long long>(4);
  weft::go([=] {
    for (long long v : in)
      if (!send_or_stop(out, v * v, done)) break;
    out.close();
  });
  return out;
}

chan<long long> merge(const std::vector<chan<long long>>& all, const chan<int>& done) {
  auto out = weft::make_chan<long long>();
  weft::go([=] {
    weft::wait_group w;
    for (const auto& c : all)
      w.go([&out, &done, c] {
        for (long long v : c)
          if (!send_or_stop(out, v, done)) return;
      });
    w.wait();
    out.close();
  });
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  const int n = programs::size_or(argc, argv, 1, 5'000);
  const int squarers = programs::size_or(argc, argv, 2, 4);
  bool right = true;
  weft::run([&] {
    for (const int wanted : {n, n / 2, 1}) {
      auto done = weft::make_chan<int>();
      auto numbers = count_to(n, done);
      std::vector<chan<long long>> squares;
      for (int i = 0; i < squarers; ++i) squares.push_back(square(numbers, done));
      auto all = merge(squares, done);
      long long sum = 0;
      int had = 0;
      while (had < wanted) {
        auto v = all.recv();
        if (!v) break;
        sum += *v;
        ++had;
      }
      right = right && had == wanted;
      if (wanted == n) {
        const long long m = n;
        right = right && sum == m * (m + 1) * (2 * m + 1) / 6 && !all.recv();
      }
      done.close();
      // Nobody is left behind; a stage that ends may be a moment late.
      while (weft::num_goroutines() > 1) weft::yield();
    }
  });
  return programs::verdict(right, std::to_string(n) + " numbers through " + std::to_string(squarers) + " squarers");
}
