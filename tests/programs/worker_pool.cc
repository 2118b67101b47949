// SPDX-License-Identifier: MIT
//
// A worker pool: jobs through one channel, results through another, failures through a third; a job that fails is given out again.
//
//   worker_pool [jobs] [workers]
#include <stdexcept>
#include <vector>

#include "program.h"

namespace {

struct job {
  int number;
  int attempt;
};
struct result {
  int number;
  std::uint64_t value;
};

// Collatz: steps to one. Fails at first for every seventh.
std::uint64_t work(const job& j) {
  if (j.number % 7 == 3 && j.attempt == 0) throw std::runtime_error("a bad day");
  std::uint64_t steps = 0;
  for (auto n = static_cast<std::uint64_t>(j.number) + 1; n != 1; ++steps) n = n % 2 == 0 ? n / 2 : 3 * n + 1;
  return steps;
}

}  // namespace

int main(int argc, char** argv) {
  const int n = programs::size_or(argc, argv, 1, 5'000);
  const int workers = programs::size_or(argc, argv, 2, 8);
  bool right = true;
  int retried = 0;
  weft::run([&] {
    auto jobs = weft::make_chan<job>(16);
    auto results = weft::make_chan<result>();
    auto failures = weft::make_chan<job>();
    weft::wait_group pool;
    for (int i = 0; i < workers; ++i)
      pool.go([=] {
        for (const job& j : jobs) {
          std::optional<result> r;
          try {
            r = result{j.number, work(j)};
          } catch (const std::runtime_error&) {
            failures.send(j);  // parks inside the handler
          }
          if (r) results.send(*r);
        }
      });
    std::vector<job> to_do;
    for (int i = n - 1; i >= 0; --i) to_do.push_back({i, 0});
    std::vector<int> seen(static_cast<std::size_t>(n));
    for (int left = n; left > 0;) {
      // The giver must never be stuck on a full queue while workers are stuck on him.
      weft::select(weft::on_send(to_do.empty() ? weft::chan<job>{} : jobs, to_do.empty() ? job{} : to_do.back(),
                                 [&] { to_do.pop_back(); }),
                   weft::on_recv(results,
                                 [&](std::optional<result> r) {
                                   if (!r) return;
                                   ++seen[static_cast<std::size_t>(r->number)];
                                   right = right && r->value == work({r->number, 1});
                                   --left;
                                 }),
                   weft::on_recv(failures, [&](std::optional<job> j) {
                     if (!j) return;
                     ++retried;
                     to_do.push_back({j->number, j->attempt + 1});
                   }));
    }
    jobs.close();
    pool.wait();
    for (const int s : seen) right = right && s == 1;
  });
  right = right && retried == (n + 3) / 7;
  return programs::verdict(right, std::to_string(n) + " jobs, " + std::to_string(retried) + " of them twice");
}
