// SPDX-License-Identifier: MIT
//
// goroutine_local: a fresh value in each goroutine, destroyed at its end, wherever the goroutine runs meanwhile.
#include "runtime/sync/goroutine_local.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/world.h"

namespace weft {
namespace {

struct counted {
  static inline std::atomic<int> alive{0};
  static inline std::atomic<int> made{0};
  counted() {
    ++alive;
    ++made;
  }
  counted(const counted&) = delete;
  ~counted() { --alive; }
  int value = 0;
};

WEFT_ON_PROCS(locals);

TEST_P(locals, each_goroutine_has_a_fresh_value_of_its_own) {
  goroutine_local<counted> x;
  goroutine_local<std::string> text([] { return std::string("fresh"); });
  run([&] {
    wait_group done;
    for (int i = 0; i < 200; ++i)
      done.go([&, i] {
        EXPECT_EQ(x.get().value, 0);
        EXPECT_EQ(text.get(), "fresh");
        counted* mine = &x.get();
        mine->value = i;
        *text += std::to_string(i);
        for (int r = 0; r < 20; ++r) {
          yield();
          EXPECT_EQ(&x.get(), mine);
          EXPECT_EQ(x->value, i);
        }
        EXPECT_EQ(text.get(), "fresh" + std::to_string(i));
      });
    done.wait();
  });
  EXPECT_EQ(counted::alive, 0);
}

TEST_P(locals, destructors_run_on_the_goroutine_may_park_and_use_other_locals) {
  struct parks {
    goroutine_local<counted>* other = nullptr;
    std::atomic<int>* ended = nullptr;
    ~parks() {
      if (!ended) return;
      EXPECT_NE(this_goroutine::id(), 0U);
      yield();
      other->get().value = 1;
      ++*ended;
    }
  };
  goroutine_local<counted> other;
  goroutine_local<parks> x;
  std::atomic<int> ended{0};
  run([&] {
    for (int i = 0; i < 50; ++i)
      go([&] {
        x.get().other = &other;
        x.get().ended = &ended;
      });
  });
  EXPECT_EQ(ended, 50);
  EXPECT_EQ(counted::alive, 0);
}

TEST_P(locals, goroutines_that_reuse_a_stack_start_afresh) {
  goroutine_local<int> x;
  run([&] {
    for (int i = 0; i < 500; ++i) {
      wait_group done;
      done.go([&] {
        EXPECT_EQ(x.get(), 0);
        x.get() = i + 1;
      });
      done.wait();
    }
  });
}

TEST_P(locals, an_ordinary_thread_has_its_own) {
  goroutine_local<counted> x;
  std::thread([&] {
    x.get().value = 3;
    EXPECT_EQ(x.get().value, 3);
    std::thread([&] { EXPECT_EQ(x.get().value, 0); }).join();
  }).join();
  EXPECT_EQ(counted::alive, 0);
}

}  // namespace
}  // namespace weft
