// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>

#include "tests/support/world.h"

namespace weft {
namespace {

using weft_test::scaled;

WEFT_ON_PROCS(once_test);

TEST_P(once_test, is_done_once_and_all_wait_until_it_is) {
  run([] {
    for (int round = 0; round < scaled(500); ++round) {
      once o;
      int value = 0;
      wait_group done;
      for (int k = 0; k < 8; ++k) done.go([&] {
        o.do_once([&](int by) {
          yield();
          value += by;
        }, 7);
        EXPECT_EQ(value, 7);
      });
      done.wait();
      o([&] { ++value; });
      EXPECT_EQ(value, 7);
    }
  });
}

TEST_P(once_test, who_throws_gets_the_exception_and_the_next_one_tries_again) {
  run([] {
    once o;
    int tries = 0, failures = 0;
    mutex m;
    wait_group done;
    for (int k = 0; k < 8; ++k) done.go([&] {
      try {
        o.do_once([&] {
          yield();
          if (++tries < 4) throw std::runtime_error("not yet");
        });
      } catch (const std::runtime_error&) {
        std::lock_guard hold(m);
        ++failures;
      }
    });
    done.wait();
    EXPECT_EQ(tries, 4);
    EXPECT_EQ(failures, 3);
  });
}

TEST_P(once_test, threads_may_ask_too) {
  run([] {
    once o;
    int value = 0;
    std::thread t([&] { o([&] { ++value; }); });
    o([&] { ++value; });
    t.join();
    EXPECT_EQ(value, 1);
  });
}

}  // namespace
}  // namespace weft
