// SPDX-License-Identifier: MIT
//
// A goroutine's life: how it is started and named, what it takes along when it parks and moves, and whose turn it is.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <exception>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/sched/g_m_p.h"
#include "runtime/sched/self.h"
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

// Whose turn -------------------------------------------------------------------------------------------------------------

TEST_P(goroutine, yield_takes_turns) {
  // Bound to one P, so that they must.
  run([] {
    constexpr int n = 5;
    constexpr int rounds = 2'000;
    std::vector<int> count(n);
    int started = 0;  // plain: all of them run on one P
    int widest = 0;
    wait_group w;
    for (int i = 0; i < n; ++i) {
      w.add();
      go({.home = 0}, [&, i] {
        const auto me = static_cast<std::size_t>(i);
        ++started;
        while (started < n) yield();
        for (int r = 0; r < rounds; ++r) {
          ++count[me];
          if (r < rounds / 2)
            for (const int c : count) widest = std::max(widest, count[me] - c);
          yield();
        }
        w.done();
      });
    }
    w.wait();
    // Strict turns would be 1. Every 61st pick serves others first, and the P may lose a turn to goroutines that are not ours;
    // a thousand would mean that one was left out.
    EXPECT_LT(widest, 100);
  });
}

// One goroutine does op() over and over until another one on the same P has had its turn. The others of the P get theirs only
// if op gives way.
template <class Op>
void gives_way(const char* what, Op op) {
  std::atomic<bool> stop{false};
  wait_group w;
  w.add(2);
  go({.name = what, .home = 0},
     [&] {  // the name is for the debugger of a hang: SCOPED_TRACE keeps to a thread, not to a goroutine
       while (!stop) op();
       w.done();
     });
  go({.home = 0}, [&] {
    for (int i = 0; i < 3; ++i) yield();
    stop = true;
    w.done();
  });
  w.wait();
}

TEST_P(goroutine, no_loop_of_cooperative_calls_starves_the_others) {
  run([] {
    gives_way("yield", [] { yield(); });
    auto one = make_chan<int>(1);
    gives_way("buffered send and receive", [one] {
      one.send(1);
      (void)one.recv();
    });
    auto full = make_chan<int>(1);
    full.send(1);
    gives_way("try_send on a full channel", [full] { EXPECT_FALSE(full.try_send(1)); });
    auto empty = make_chan<int>(1);
    gives_way("try_recv on an empty channel", [empty] { EXPECT_TRUE(empty.try_recv().is_empty()); });
    auto nobody = make_chan<int>();
    gives_way("try_send with no receiver", [nobody] { EXPECT_FALSE(nobody.try_send(1)); });
    gives_way("try_recv with no sender", [nobody] { EXPECT_TRUE(nobody.try_recv().is_empty()); });
    gives_way("try_send and try_recv that succeed", [one] {
      EXPECT_TRUE(one.try_send(1));
      EXPECT_TRUE(one.try_recv());
    });
    chan<int> nil;
    gives_way("try_recv on nil", [nil] { EXPECT_TRUE(nil.try_recv().is_empty()); });
    gives_way("try_send on nil", [nil] { EXPECT_FALSE(nil.try_send(1)); });
    auto closed = make_chan<int>();
    closed.close();
    gives_way("recv on a closed channel", [closed] { EXPECT_EQ(closed.recv(), std::nullopt); });
    gives_way("try_recv on a closed channel", [closed] { EXPECT_TRUE(closed.try_recv().is_closed()); });
    gives_way("send on a closed channel", [closed] { EXPECT_THROW(closed.send(1), closed_channel); });
    gives_way("make and close", [] { make_chan<int>().close(); });
    wait_group idle;
    gives_way("wait_group", [&idle] {
      idle.add();
      idle.done();
      idle.wait();
    });
    gives_way("wait on a finished wait_group", [&idle] { idle.wait(); });
    gives_way("go", [] { go({.home = 0}, [] {}); });
  });
}

TEST_P(goroutine, a_pair_that_readies_each_other_does_not_starve_the_rest) {
  run([] {
    auto ping = make_chan<int>();
    auto pong = make_chan<int>();
    std::atomic<bool> stop{false};
    wait_group w;
    w.add(3);
    go({.home = 0}, [&] {
      while (!stop) {
        ping.send(1);
        (void)pong.recv();
      }
      ping.close();
      w.done();
    });
    go({.home = 0}, [&] {
      for ([[maybe_unused]] int v : ping) pong.send(1);
      w.done();
    });
    go({.home = 0}, [&] {
      for (int i = 0; i < 100; ++i) yield();
      stop = true;
      w.done();
    });
    w.wait();
  });
}

TEST_P(goroutine, the_global_queue_is_served_while_the_ring_is_busy) {
  // More goroutines than a ring holds go to the global queue; those that yield all the time fill the ring.
  run([] {
    std::atomic<bool> stop{false};
    std::atomic<int> started{0};
    wait_group w;
    const int n = 400;  // 256 fit
    for (int i = 0; i < n; ++i)
      w.go([&] {
        ++started;
        while (!stop) yield();
      });
    EXPECT_TRUE(eventually([&] { return started == n; }));
    stop = true;
    w.wait();
  });
}

TEST_P(goroutine, a_runnext_behind_a_goroutine_that_computes_runs_on_another_p) {
  run([p = procs()] {
    if (p == 1) return;  // there is no other
    std::atomic<bool> ran{false};
    go([&] { ran = true; });
    const auto end = std::chrono::steady_clock::now() + weft_test::patience;
    while (!ran && std::chrono::steady_clock::now() < end) {  // computes: no call of the runtime
    }
    EXPECT_TRUE(ran);
    // The same for one that a channel operation readied, again and again.
    auto c = make_chan<int>();
    std::atomic<int> got{0};
    wait_group w;
    w.go([&got, c] {
      for ([[maybe_unused]] int v : c) ++got;
    });
    for (int i = 1; i <= 20 && !::testing::Test::HasFailure(); ++i) {
      c.send(i);
      while (got < i && std::chrono::steady_clock::now() < end) {
      }
      EXPECT_EQ(got, i);
    }
    c.close();
    w.wait();
  });
}

// Two are readied by one that computes: the first of them lies in the ring then, where nobody was woken for it. And one lies there while
// the other computes.
TEST_P(goroutine, two_readied_by_a_goroutine_that_computes_both_run_on_another_p) {
  run([p = procs()] {
    if (p == 1) return;  // there is no other
    const auto end = std::chrono::steady_clock::now() + weft_test::patience;
    auto a = make_chan<int>();
    auto b = make_chan<int>();
    std::atomic<int> got{0};
    wait_group w;
    for (const auto& c : {a, b})
      w.go([&got, c] {
        for ([[maybe_unused]] int v : c) ++got;
      });
    for (int i = 1; i <= 20 && !::testing::Test::HasFailure(); ++i) {
      a.send(i);
      b.send(i);
      while (got < 2 * i && std::chrono::steady_clock::now() < end) {  // computes: no call of the runtime
      }
      EXPECT_EQ(got, 2 * i);
    }
    a.close();
    b.close();
    w.wait();

    std::atomic<bool> ran{false};
    auto c = make_chan<int>();
    auto d = make_chan<int>();
    w.go([&ran, c] {
      (void)c.recv();
      ran = true;
    });
    w.go([&ran, d, end] {
      (void)d.recv();
      while (!ran && std::chrono::steady_clock::now() < end) {
      }
      EXPECT_TRUE(ran);
    });
    sleep_for(std::chrono::milliseconds(1));
    c.send(1);
    d.send(1);
    w.wait();
  });
}

// What moves with a goroutine ----------------------------------------------------------------------------------------------

TEST_P(goroutine, home_keeps_a_goroutine_on_its_p) {
  run([] {
    const int n = weft::procs();
    wait_group w;
    for (int i = 0; i < 4 * n; ++i) {
      w.add();
      go({.home = i}, [&w, want = i % n] {
        auto c = make_chan<int>();
        for (int r = 0; r < 50; ++r) {
          EXPECT_EQ(rt::self()->p->id, want);
          yield();
          EXPECT_EQ(rt::self()->p->id, want);
          go([c] { c.send(1); });
          (void)c.recv();
          EXPECT_EQ(rt::self()->p->id, want);
        }
        w.done();
      });
    }
    w.wait();
  });
}

// noinline, and the asm keeps it from being folded: see go.h on errno.
WEFT_NOINLINE int read_errno() {
  asm volatile("");
  return errno;
}
WEFT_NOINLINE void write_errno(int v) {
  asm volatile("");
  errno = v;
}

TEST_P(goroutine, errno_survives_parks_and_migration) {
  errno = 77;
  run([] {
    EXPECT_EQ(read_errno(), 0);
    wait_group w;
    auto c = make_chan<int>();
    for (int i = 0; i < 64; ++i) {
      w.go([c, i] {
        EXPECT_EQ(read_errno(), 0);
        for (int r = 0; r < 100; ++r) {
          const int mine = 1 + i * 100 + r;
          write_errno(mine);
          if (i % 2 == 0)
            c.send(r);
          else
            (void)c.recv();
          EXPECT_EQ(read_errno(), mine);
          yield();
          EXPECT_EQ(read_errno(), mine);
        }
      });
    }
    w.wait();
  });
  EXPECT_EQ(errno, 77);
}

struct tagged : std::runtime_error {
  explicit tagged(int t) : std::runtime_error("tag " + std::to_string(t)), tag(t) {}
  int tag;
};

TEST_P(goroutine, yield_inside_a_catch_block_then_rethrow) {
  run([] {
    wait_group w;
    auto c = make_chan<int>(3);
    for (int i = 0; i < 300; ++i) {
      w.go([c, i] {
        for (int round = 0; round < 5; ++round) {
          const int mine = i * 10 + round;
          EXPECT_EQ(std::uncaught_exceptions(), 0);
          EXPECT_EQ(std::current_exception(), nullptr);
          try {
            try {
              throw tagged(mine);
            } catch (...) {
              yield();
              c.send(1);
              (void)c.recv();
              EXPECT_EQ(std::uncaught_exceptions(), 0);
              EXPECT_NE(std::current_exception(), nullptr);
              try {  // one inside the other
                throw tagged(-mine);
              } catch (const tagged& inner) {
                yield();
                EXPECT_EQ(inner.tag, -mine);
              }
              yield();
              throw;
            }
            ADD_FAILURE() << "not rethrown";
          } catch (const tagged& e) {
            yield();
            EXPECT_EQ(e.tag, mine);
            EXPECT_EQ(std::string(e.what()), "tag " + std::to_string(mine));
          }
          EXPECT_EQ(std::uncaught_exceptions(), 0);
          EXPECT_EQ(std::current_exception(), nullptr);
        }
      });
    }
    w.wait();
  });
}

TEST_P(goroutine, parking_while_an_exception_unwinds) {
  // A destructor that parks: the count of uncaught exceptions is this goroutine's.
  struct parks {
    chan<int> c;
    explicit parks(chan<int> ch) : c(std::move(ch)) {}
    parks(const parks&) = delete;
    parks& operator=(const parks&) = delete;
    ~parks() {
      EXPECT_EQ(std::uncaught_exceptions(), 1);
      yield();
      c.send(1);
      (void)c.recv();
      EXPECT_EQ(std::uncaught_exceptions(), 1);
    }
  };
  run([] {
    auto c = make_chan<int>(2);
    wait_group w;
    for (int i = 0; i < 200; ++i)
      w.go([c, i] {
        yield();
        EXPECT_EQ(std::uncaught_exceptions(), 0);
        try {
          parks p(c);
          throw tagged(i);
        } catch (const tagged& e) {
          EXPECT_EQ(e.tag, i);
        }
        EXPECT_EQ(std::uncaught_exceptions(), 0);
      });
    w.wait();
  });
}

TEST_P(goroutine, an_exception_travels_between_goroutines_as_exception_ptr) {
  run([] {
    auto c = make_chan<std::exception_ptr>();
    for (int i = 0; i < 100; ++i)
      go([c, i] {
        try {
          throw tagged(i);
        } catch (...) {
          c.send(std::current_exception());
        }
      });
    int sum = 0;
    for (int i = 0; i < 100; ++i) {
      try {
        std::rethrow_exception(c.recv().value());
      } catch (const tagged& e) {
        yield();
        sum += e.tag;
      }
    }
    EXPECT_EQ(sum, 4950);
  });
}

TEST_P(goroutine, run_inside_a_catch_block_keeps_the_callers_exception) {
  try {
    throw tagged(1);
  } catch (...) {
    run([] {
      EXPECT_EQ(std::current_exception(), nullptr);
      EXPECT_EQ(std::uncaught_exceptions(), 0);
      try {
        throw tagged(2);
      } catch (const tagged& e) {
        yield();
        EXPECT_EQ(e.tag, 2);
      }
    });
    try {
      throw;
    } catch (const tagged& e) {
      EXPECT_EQ(e.tag, 1);
    }
  }
}

TEST_P(goroutine, the_current_m_is_asked_anew_after_each_park) {
  // os::self() under inlining and loops: what it says must fit the thread that says it.
  run([] {
    wait_group w;
    auto c = make_chan<int>();
    for (int i = 0; i < 50; ++i)
      w.go([c, i] {
        rt::G* const me = rt::self()->curg;
        for (int r = 0; r < 200; ++r) {
          if (i % 2 == 0)
            c.send(r);
          else
            (void)c.recv();
          EXPECT_EQ(rt::self()->curg, me);
          EXPECT_EQ(rt::self()->p->s, me->s);
        }
      });
    w.wait();
  });
}

TEST(go, go_outside_of_a_run_is_a_logic_error) {
  EXPECT_THROW(go([] {}), std::logic_error);
  EXPECT_THROW(go({.name = "x"}, [] {}), std::logic_error);
}

}  // namespace
}  // namespace weft
