// SPDX-License-Identifier: MIT
//
// What a goroutine takes along when it parks and moves to another thread: errno, exceptions, its home.
#include <gtest/gtest.h>

#include <cerrno>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

#include "runtime/sched/g_m_p.h"
#include "runtime/sched/self.h"
#include "tests/support/world.h"

namespace weft {
namespace {

WEFT_ON_PROCS(goroutine);

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
        std::exception_ptr e;
        try {
          throw tagged(i);
        } catch (...) {
          e = std::current_exception();
        }
        // Not from inside the catch block: its end would let go of the exception beside the receiver, and ThreadSanitizer does not see
        // the reference count of libstdc++ (it is not compiled with it).
        c.send(std::move(e));
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

}  // namespace
}  // namespace weft
