// SPDX-License-Identifier: MIT
//
// Biased words (sched/biased.h) on the real machine: who gets a bias, who takes it back, and that the kernel aborts who is halfway.
#include "runtime/sched/biased.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "runtime/chan/chan_core.h"
#include "tests/support/world.h"

namespace weft {
namespace {

constexpr std::uint64_t one = 16;  // above kind and flag

std::uint64_t count(const rt::biased_word& w) { return (w.load(acquire) & ~rt::bias_flag) / one; }

void add(rt::biased_word& w, std::uint64_t times) {
  for (std::uint64_t i = 0; i < times;) {
    const std::uint64_t v = w.load(relaxed);
    if (rt::move(rt::self(), w, v, v + one, relaxed)) ++i;
  }
}

bool is_ours(const rt::biased_word& w) { return w.at.guard.load(relaxed) == rt::guard_of(rt::self()->p); }

// How many moves it takes until w is the caller's P's.
std::uint64_t moves_to_bias(rt::biased_word& w) {
  std::uint64_t n = 0;
  for (; !is_ours(w); ++n) add(w, 1);
  return n;
}

TEST(biased, who_moves_it_often_gets_it_and_who_lost_it_later_next_time) {
  if (!os::sections) GTEST_SKIP() << "no restartable sections here";
  run({.procs = 1}, [] {
    rt::biased_word w(0);
    add(w, 100);
    EXPECT_EQ(w.at.guard.load(relaxed), 0U) << "too early: a channel for one request would pay for it";
    const std::uint64_t first = 100 + moves_to_bias(w);
    EXPECT_TRUE(w.load(relaxed) & rt::bias_flag);
    EXPECT_GE(first, (limits::bias_streak - 1) * static_cast<std::uint64_t>(limits::bias_every));
    std::thread([&] { add(w, 1); }).join();  // takes it back
    EXPECT_EQ(w.at.guard.load(relaxed), 0U);
    EXPECT_FALSE(w.load(relaxed) & rt::bias_flag);
    const std::uint64_t second = moves_to_bias(w);
    EXPECT_GT(second, first * 3 / 2);
    EXPECT_EQ(count(w), first + 1 + second);
  });
}

TEST(biased, a_channel_of_two_goroutines_on_a_p_gets_it) {
  constexpr int n = 100'000;
  if (!os::sections) GTEST_SKIP() << "no restartable sections here";
  for (std::size_t capacity : {0U, 1U, 8U})
    run({.procs = 1}, [&] {
      auto c = make_chan<int>(capacity);
      go([=] {
        for (int i = 0; i < n; ++i) c.send(i % 10);
        c.close();
      });
      std::int64_t sum = 0;
      bool ever = false;
      for (int v : c) {
        sum += v;
        ever |= is_ours(c.core()->word);
      }
      EXPECT_TRUE(ever) << "capacity " << capacity;
      EXPECT_EQ(sum, n / 10 * 45);
      EXPECT_FALSE(c.recv().has_value());
    });
}

// Two runtimes' goroutines in turn: none of the two Ps ever sees it often in a row. Each sees a multiple of the other's moves in between.
TEST(biased, one_that_two_ps_use_in_turn_gets_none) {
  rt::biased_word w(0);
  atomic<std::uint64_t> turn{0};
  const auto side = [&](std::uint64_t which) {
    run({.procs = 1}, [&] {
      for (std::uint64_t i = which; i < 400; i += 2) {
        while (turn.load(acquire) != i) os::yield_thread();
        add(w, 2 * static_cast<std::uint64_t>(limits::bias_every));
        EXPECT_EQ(w.at.guard.load(relaxed), 0U);
        turn.store(i + 1, release);
      }
    });
  };
  std::thread other(side, 1);
  side(0);
  other.join();
  EXPECT_EQ(count(w), 400 * 2 * static_cast<std::uint64_t>(limits::bias_every));
}

// A fork inherits what is registered with the kernel; the child's only thread gives, uses and takes biases.
TEST(biased, in_a_forked_child) {
  if (!os::sections) GTEST_SKIP() << "no restartable sections here";
  rt::biased_word w(0);
  run({.procs = 1}, [&] { rt::bias_to(rt::self(), w); });
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    add(w, 1);  // takes it back
    run({.procs = 2}, [&] {
      rt::bias_to(rt::self(), w);
      if (!is_ours(w)) _exit(2);
      add(w, 10);
    });
    _exit(count(w) == 11 ? 0 : 3);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

// Who outlives the runtime whose P had the bias.
TEST(biased, outlives_the_p_that_had_it) {
  rt::biased_word w(0);
  for (int i = 0; i < 20; ++i) {
    run({.procs = 1}, [&] {
      rt::bias_to(rt::self(), w);
      add(w, 3);
    });
    if (i % 2 == 0) add(w, 1);
  }
  EXPECT_EQ(count(w), 70U);
}

// A library that is closed takes its descriptors along, so no slot may go on naming one.
TEST(biased, no_slot_names_a_section_that_is_over) {
  if (!os::sections) GTEST_SKIP() << "no restartable sections here";
  run({.procs = 1}, [] {
    rt::biased_word w(0);
    rt::bias_to(rt::self(), w);
    const volatile std::uint64_t& slot = *rt::self()->section;
    add(w, 1);
    EXPECT_EQ(slot, 0U);
    EXPECT_FALSE(rt::move(rt::self(), w, 5 * one | rt::bias_flag, 0, relaxed));
    EXPECT_EQ(slot, 0U) << "another value";
    w.at.guard.store(64, relaxed);  // the address of no P
    EXPECT_TRUE(rt::move(rt::self(), w, w.load(relaxed), 0, relaxed));
    EXPECT_EQ(slot, 0U) << "another's";
    rt::bias_to(rt::self(), w);
    go([] {});
    EXPECT_EQ(rt::park(rt::self(), w, 5 * one | rt::bias_flag, 0, rt::wait_reason::sleep), rt::parked::no);
    EXPECT_EQ(slot, 0U) << "a park";
    EXPECT_EQ(rt::park_slow(rt::self(), w, 5 * one | rt::bias_flag, 0, rt::wait_reason::sleep), rt::parked::no);
    EXPECT_EQ(slot, 0U) << "its slow half";
  });
}

TEST(biased, forbidden_is_for_good) {
  run({.procs = 1}, [] {
    rt::biased_word w(0);
    rt::bias_to(rt::self(), w);
    add(w, 5);
    rt::forbid_bias(rt::self(), w);
    add(w, 5);
    rt::bias_to(rt::self(), w);
    EXPECT_FALSE(is_ours(w));
    add(w, 5);
    EXPECT_EQ(w.load(relaxed), 15 * one);
  });
}

}  // namespace
}  // namespace weft
