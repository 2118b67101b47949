// SPDX-License-Identifier: MIT
//
// Unwinding on a goroutine's stack: by backtrace(), by the C++ runtime, by gdb; it ends at weft_first_frame.
#include <execinfo.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>
#include <unwind.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/support/world.h"

extern "C" void weft_first_frame();

namespace weft {
namespace {

// What `frames` call deep() with, `depth` of them on the stack, none of them inlined or folded into its neighbour.
template <class F>
WEFT_NOINLINE int deep(int depth, F& f) {
  if (depth == 0) {
    f();
    return 0;
  }
  const int below = deep(depth - 1, f);
  asm volatile("");
  return below + 1;
}

struct walk {
  std::vector<std::uintptr_t> pcs;
  static _Unwind_Reason_Code step(_Unwind_Context* c, void* arg) {
    auto& pcs = static_cast<walk*>(arg)->pcs;
    if (pcs.size() > 1'000) return _URC_END_OF_STACK;  // runs in circles
    pcs.push_back(_Unwind_GetIP(c));
    return _URC_NO_REASON;
  }
};

bool in_first_frame(std::uintptr_t pc) {
  const auto start = reinterpret_cast<std::uintptr_t>(&weft_first_frame);
  return pc >= start && pc <= start + 64;
}

WEFT_ON_PROCS(unwind);

TEST_P(unwind, backtrace_ends_at_the_first_frame) {
  run([] {
    wait_group w;
    for (const int depth : {0, 1, 5, 20})
      w.go([depth] {
        std::array<void*, 200> frames{};
        int n = 0;
        const auto look = [&] { n = ::backtrace(frames.data(), static_cast<int>(frames.size())); };
        EXPECT_EQ(deep(depth, look), depth);
        ASSERT_GT(n, depth);
        ASSERT_LT(n, depth + 40);
        // Nothing behind the first frame. backtrace() gives return addresses, and a null one at the end at most.
        while (n > 0 && frames[static_cast<std::size_t>(n - 1)] == nullptr) --n;
        EXPECT_TRUE(in_first_frame(reinterpret_cast<std::uintptr_t>(frames[static_cast<std::size_t>(n - 1)])));
        for (int i = 0; i + 1 < n; ++i)
          EXPECT_FALSE(in_first_frame(reinterpret_cast<std::uintptr_t>(frames[static_cast<std::size_t>(i)])));
        // After a park the same.
        yield();
        const int before = n;
        EXPECT_EQ(deep(depth, look), depth);
        EXPECT_LE(n, before + 1);
      });
    w.wait();
  });
}

TEST_P(unwind, unwind_backtrace_counts_one_frame_per_call) {
  run([] {
    std::array<std::size_t, 2> count{};
    for (std::size_t k = 0; k < 2; ++k) {
      const int depth = k == 0 ? 10 : 30;
      walk w;
      const auto look = [&] { _Unwind_Backtrace(walk::step, &w); };
      deep(depth, look);
      count[k] = w.pcs.size();
      ASSERT_FALSE(w.pcs.empty());
      // Whether the unwinder reports the end by a null pc or not at all is its own business.
      while (!w.pcs.empty() && w.pcs.back() == 0) w.pcs.pop_back();
      EXPECT_TRUE(in_first_frame(w.pcs.back()));
    }
    EXPECT_EQ(count[1] - count[0], 20u);
  });
}

struct counted {
  static inline std::atomic<int> alive{0};
  counted() { ++alive; }
  counted(const counted&) = delete;
  counted& operator=(const counted&) = delete;
  ~counted() { --alive; }
};

WEFT_NOINLINE int throw_from(int depth) {
  const counted c;
  if (depth == 0) throw std::runtime_error("from below");
  const int r = throw_from(depth - 1);
  asm volatile("");
  return r + 1;
}

TEST_P(unwind, exceptions_cross_many_frames_and_destroy_what_they_pass) {
  run([] {
    wait_group w;
    for (int i = 0; i < 50; ++i)
      w.go([i] {
        for (int k = 0; k < 5; ++k) {
          try {
            (void)throw_from(i % 20);
            ADD_FAILURE();
          } catch (const std::runtime_error& e) {
            EXPECT_STREQ(e.what(), "from below");
            yield();
          }
        }
      });
    w.wait();
    EXPECT_EQ(counted::alive, 0);
  });
}

WEFT_NOINLINE void catch_yield_rethrow(int depth) {
  try {
    if (depth == 0) throw std::runtime_error("travels");
    catch_yield_rethrow(depth - 1);
  } catch (...) {
    const counted c;
    yield();
    throw;
  }
}

TEST_P(unwind, an_exception_that_is_caught_and_rethrown_in_every_frame_with_yields_between) {
  run([] {
    wait_group w;
    for (int i = 0; i < 50; ++i)
      w.go([i] {
        try {
          catch_yield_rethrow(i % 15);
          ADD_FAILURE();
        } catch (const std::runtime_error& e) {
          EXPECT_STREQ(e.what(), "travels");
        }
        EXPECT_EQ(std::uncaught_exceptions(), 0);
      });
    w.wait();
    EXPECT_EQ(counted::alive, 0);
  });
}

TEST_P(unwind, a_channel_operation_throws_through_its_inlined_switch) {
  // The exception is thrown after a park whose registers the compiler spilled; the landing pads must find them.
  run([] {
    for (int i = 0; i < 200; ++i) {
      auto c = make_chan<int>();
      go([c] {
        for (int k = 0; k < 3; ++k) yield();
        c.close();
      });
      int live = i;
      const counted guard;
      try {
        c.send(live);
        ADD_FAILURE();
      } catch (const closed_channel&) {
        EXPECT_EQ(live, i);
      }
    }
  });
  EXPECT_EQ(counted::alive, 0);
}

TEST(gdb, stops_at_the_first_frame_of_a_goroutine) {
  if (std::system("gdb --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "no gdb here";
  if (WEFT_ASAN || WEFT_TSAN) GTEST_SKIP() << "the sanitizer wants its own way of starting a program";
  if (std::getenv("QEMU_LD_PREFIX") != nullptr) GTEST_SKIP() << "gdb does not see into qemu-user";
#if !defined(__x86_64__)
  GTEST_SKIP() << "gdb of this machine is not run on another's programs here";
#endif
  char self[4096];
  const ssize_t n = ::readlink("/proc/self/exe", self, sizeof self - 1);
  ASSERT_GT(n, 0);
  self[n] = 0;
  const std::string command =
      std::string("gdb -nx -batch -ex 'set breakpoint pending on' -ex 'set debuginfod enabled off' ") +
      "-ex 'break weft_test_breakpoint' -ex run -ex 'bt' -ex kill --args " + self +
      " --gtest_filter='DISABLED_stops*' --gtest_also_run_disabled_tests 2>&1";
  std::FILE* out = ::popen(command.c_str(), "r");
  ASSERT_NE(out, nullptr);
  std::string text;
  char line[1024];
  while (std::fgets(line, sizeof line, out) != nullptr) text += line;
  ::pclose(out);
  if (text.find("ptrace: Operation not permitted") != std::string::npos) GTEST_SKIP() << "gdb may not trace here";
  const auto bt = text.find("#0 ");
  ASSERT_NE(bt, std::string::npos) << text;
  const auto first = text.find("weft_first_frame", bt);
  ASSERT_NE(first, std::string::npos) << text;
  EXPECT_EQ(text.find("\n#", first), std::string::npos) << "frames behind the first one:\n" << text.substr(bt);
  EXPECT_EQ(text.find("corrupt", bt), std::string::npos) << text.substr(bt);
}

}  // namespace
}  // namespace weft

extern "C" [[gnu::noinline]] void weft_test_breakpoint() { asm volatile(""); }

// What gdb runs.
TEST(DISABLED_stops, at_a_breakpoint_in_a_goroutine) {
  weft::run({.procs = 2}, [] {
    auto c = weft::make_chan<int>();
    weft::go([c] {
      const auto stop = [] { weft_test_breakpoint(); };
      c.send(weft::deep(5, stop));
    });
    (void)c.recv();
  });
}
