// SPDX-License-Identifier: MIT
//
// A goroutine's life: how it is started, named and ended. Whose turn it is: goroutine_turns_test.cc; what it takes along when it parks and
// moves: goroutine_moves_test.cc.
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>

#include "tests/support/world.h"

namespace weft {
namespace {

using weft_test::eventually;

WEFT_ON_PROCS(goroutine);

TEST_P(goroutine, go_runs_its_function_with_copies_of_its_arguments) {
  run([] {
    auto out = make_chan<std::string>();
    std::string a = "a";
    go([out](std::string s, int n, std::unique_ptr<int> p) { out.send(s + std::to_string(n) + std::to_string(*p)); }, a,
       2, std::make_unique<int>(3));
    a = "changed";
    EXPECT_EQ(out.recv(), "a23");
    struct adder {
      int n;
      void add(chan<std::string> c, int m) const { c.send(std::to_string(n + m)); }
    };
    go(&adder::add, adder{3}, out, 4);
    EXPECT_EQ(out.recv(), "7");
    int here = 0;
    wait_group w;
    w.go([](int& r) { r = 5; }, std::ref(here));
    w.wait();
    EXPECT_EQ(here, 5);
  });
}

TEST_P(goroutine, its_closure_is_destroyed_when_it_ends) {
  run([] {
    auto alive = std::make_shared<int>(1);
    for (int i = 0; i < 100; ++i) go([alive] { yield(); });
    EXPECT_TRUE(eventually([&] { return alive.use_count() == 1; }));
  });
}

TEST_P(goroutine, an_exception_from_copying_an_argument_leaves_go_and_starts_nothing) {
  struct throws {
    throws() = default;
    throws(const throws&) { throw std::runtime_error("no copy"); }
  };
  run([] {
    const auto before = num_goroutines();
    const throws t;
    for (int i = 0; i < 300; ++i) EXPECT_THROW(go([](const throws&) {}, t), std::runtime_error);
    EXPECT_EQ(num_goroutines(), before);
    for (int i = 0; i < 300; ++i)
      EXPECT_THROW(go(
                       {.stack_size = 32 << 10}, [](const throws&) {}, t),
                   std::runtime_error);
    EXPECT_EQ(num_goroutines(), before);
  });
}

TEST_P(goroutine, ids_never_repeat) {
  std::set<std::uint64_t> ids;
  EXPECT_EQ(this_goroutine::id(), 0u);
  for (int round = 0; round < 3; ++round) {
    run([&ids] {
      auto out = make_chan<std::uint64_t>(16);
      for (int i = 0; i < 1'000; ++i)
        go([out] {
          const auto id = this_goroutine::id();
          yield();
          EXPECT_EQ(id, this_goroutine::id());
          out.send(id);
        });
      for (int i = 0; i < 1'000; ++i) {
        const auto id = out.recv().value();
        EXPECT_NE(id, 0u);
        EXPECT_TRUE(ids.insert(id).second) << id;
      }
    });
  }
}

TEST_P(goroutine, names_are_kept_up_to_47_bytes_and_are_its_own) {
  run([] {
    EXPECT_EQ(this_goroutine::name(), "main");
    wait_group w;
    w.add(4);
    {
      std::string name = "worker";
      go({.name = name}, [&w] {
        for (int i = 0; i < 10; ++i) yield();
        EXPECT_EQ(this_goroutine::name(), "worker");
        w.done();
      });
      name = "gone..";
    }
    go({.name = std::string(47, 'x')}, [&w] {
      EXPECT_EQ(this_goroutine::name(), std::string(47, 'x'));
      w.done();
    });
    go({.name = std::string(300, 'y')}, [&w] {
      EXPECT_EQ(this_goroutine::name(), std::string(47, 'y'));
      w.done();
    });
    go([&w] {
      EXPECT_EQ(this_goroutine::name(), "");
      w.done();
    });
    w.wait();
  });
  EXPECT_EQ(this_goroutine::name(), "");
}

// Writes all the way down.
WEFT_NOINLINE std::size_t touch_stack(std::size_t bytes) {
  auto* room = static_cast<volatile char*>(__builtin_alloca(bytes));
  for (std::size_t i = 0; i < bytes; i += 512) room[i] = 1;
  return static_cast<std::size_t>(room[0]);
}

TEST_P(goroutine, its_own_stack_size_is_there_to_the_last_pages) {
  run([] {
    for (const std::size_t size : {16u << 10, 20u << 10, 64u << 10, 100u << 10, 1u << 20, 32u << 20}) {
      wait_group w;
      for (int i = 0; i < 3; ++i) {
        w.add();
        go({.stack_size = size}, [&w, size] {
          // 10 KiB for the frames above (G, closure, sanitizers' red zones).
          EXPECT_EQ(touch_stack(size - (10u << 10)), 1u);
          yield();
          EXPECT_EQ(touch_stack(size - (10u << 10)), 1u);
          w.done();
        });
      }
      w.wait();
    }
  });
}

TEST_P(goroutine, bad_options_throw_and_say_which) {
  run([] {
    const auto before = num_goroutines();
    const auto nothing = [] {};
    EXPECT_THROW(go({.stack_size = 1}, nothing), std::invalid_argument);
    EXPECT_THROW(go({.stack_size = (16 << 10) - 1}, nothing), std::invalid_argument);
    EXPECT_THROW(go({.stack_size = (std::size_t{1} << 30) + 1}, nothing), std::invalid_argument);
    EXPECT_THROW(go({.home = -2}, nothing), std::invalid_argument);
    EXPECT_THROW(go({.home = 1024}, nothing), std::invalid_argument);
    try {
      go({.home = 4711}, nothing);
      ADD_FAILURE();
    } catch (const std::invalid_argument& e) {
      EXPECT_NE(std::string(e.what()).find("4711"), std::string::npos) << e.what();
    }
    EXPECT_EQ(num_goroutines(), before);
  });
}

TEST_P(goroutine, a_closure_that_leaves_no_room_on_the_stack_is_a_length_error) {
  run([] {
    struct big {
      char bytes[60 << 10];
    };
    const auto before = num_goroutines();
    auto b = std::make_unique<big>();
    // Twice, and then one that fits: the slot was given back.
    for (int i = 0; i < 2; ++i)
      EXPECT_THROW(go(
                       {.stack_size = 64 << 10}, [](const big&) {}, *b),
                   std::length_error);
    EXPECT_EQ(num_goroutines(), before);
    auto done = make_chan<int>();
    go(
        {.stack_size = 256 << 10}, [done](const big& x) { done.send(x.bytes[100]); }, *b);
    EXPECT_EQ(done.recv(), 0);
  });
}

TEST_P(goroutine, an_over_aligned_closure_lies_right) {
  struct alignas(256) wide {
    int v = 7;
  };
  run([] {
    wait_group w;
    for (const char* name : {"", "n", "a longer name"}) {
      w.add();
      go(
          {.name = name},
          [&w](const wide& x) {
            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&x) % 256, 0u);
            EXPECT_EQ(x.v, 7);
            w.done();
          },
          wide{});
    }
    w.wait();
  });
}

TEST(go, go_outside_of_a_run_is_a_logic_error) {
  EXPECT_THROW(go([] {}), std::logic_error);
  EXPECT_THROW(go({.name = "x"}, [] {}), std::logic_error);
}

}  // namespace
}  // namespace weft
