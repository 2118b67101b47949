// SPDX-License-Identifier: MIT
//
//   boost_context switch 1 N        two fibers of Boost.Context resume each other; an op is one switch, no scheduler

#include <boost/context/fiber.hpp>

#include "../peer.h"

int main(int argc, char** argv) {
  namespace ctx = boost::context;
  const peer::arguments a = peer::parse(argc, argv);
  if (a.name != "switch" || a.procs != 1)
    peer::fail(2, "Boost.Context switches stacks and nothing else: switch, P is 1");
  std::int64_t resumed = 0;
  ctx::fiber other([&resumed](ctx::fiber&& back) {
    for (;;) {
      ++resumed;
      back = std::move(back).resume();
    }
    return std::move(back);
  });
  const peer::stopwatch watch;
  for (std::int64_t i = 0; i < a.n; ++i) other = std::move(other).resume();
  const double ns = watch.ns();
  peer::check(resumed == a.n);
  peer::print_per_op(ns, 2 * a.n);
}
