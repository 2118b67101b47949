// SPDX-License-Identifier: MIT
//
// The whole runtime on the simulated machine: weft::run with several virtual Ms, from its start to its end.

#include "model.h"
#include "runtime/weft/weft.h"

namespace weft {
namespace {

using weft_test::check_some;

constexpr sim::plan whole{.max_steps = 200'000};

TEST(world, ping_pong) {
  for (int procs : {1, 2})
    check_some(
        [procs] {
          int got = 0;
          weft::run({.procs = procs}, [&] {
            auto ping = make_chan<int>();
            auto pong = make_chan<int>();
            weft::go([=] {
              for (int i = 0; i < 2; ++i) pong.send(*ping.recv() + 1);
            });
            for (int i = 0; i < 2; ++i) {
              ping.send(i);
              got += *pong.recv();
            }
          });
          sim::require(got == 3, "a value is lost");
        },
        1000, whole);
}

}  // namespace
}  // namespace weft
