// SPDX-License-Identifier: MIT
#include "runtime/base/lock.h"
#include "tests/support/emulated.h"

#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace weft {
namespace {

TEST(runtime_lock, excludes_and_publishes) {
  runtime_lock lock;
  long counter = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int k = 0; k < 50'000; ++k) {
        const lock_scope hold(lock);
        ++counter;
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(counter, 200'000);
}

TEST(runtime_lock, a_holder_that_takes_its_time_puts_the_others_to_sleep_and_wakes_them_all) {
  runtime_lock lock;
  int inside = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] {
      for (int k = 0; k < 5; ++k) {
        const lock_scope hold(lock);
        ++inside;
        os::sleep_ns(300'000);
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(inside, 40);
}

TEST(runtime_lock, works_with_the_standard_guards) {
  runtime_lock a, b;
  {
    const std::scoped_lock both(a, b);
    EXPECT_FALSE(a.try_lock());
  }
  const std::lock_guard<runtime_lock> one(a);
  if (b.try_lock())
    b.unlock();
  else
    ADD_FAILURE() << "both were unlocked";
}

TEST(note, a_wake_before_the_sleep_is_not_lost) {
  note n;
  EXPECT_FALSE(n.is_woken());
  n.wake();
  n.wake();
  EXPECT_TRUE(n.is_woken());
  n.sleep();
  n.clear();
  EXPECT_FALSE(n.sleep_until(os::now_ns() + 1'000'000));
}

TEST(note, a_deadline_leaves_it_clear_for_the_next_round) {
  note n;
  const std::int64_t deadline = os::now_ns() + 2'000'000;
  EXPECT_FALSE(n.sleep_until(deadline));
  EXPECT_GE(os::now_ns(), deadline);
  EXPECT_FALSE(n.is_woken());
  n.wake();
  EXPECT_TRUE(n.sleep_until(os::now_ns()));
}

TEST(note, hands_over_what_was_written_before_the_wake) {
  for (int round = 0; round < 2'000; ++round) {
    note n;
    int payload = 0;
    std::thread waker([&] {
      payload = round + 1;
      n.wake();
    });
    n.sleep();
    EXPECT_EQ(payload, round + 1);
    waker.join();
  }
}

TEST(note, every_wake_that_races_a_deadline_is_either_seen_or_left_in_the_note) {
  int seen = 0, left = 0;
  for (int round = 0; round < 2'000; ++round) {
    note n;
    std::thread waker([&] {
      for (int spin = 0; spin < round % 50; ++spin) cpu_relax();
      n.wake();
    });
    const bool woken = n.sleep_until(os::now_ns() + 20'000 + round % 7 * 10'000);
    waker.join();
    if (woken)
      ++seen;
    else
      ++left;
    EXPECT_TRUE(n.is_woken());
  }
  EXPECT_EQ(seen + left, 2'000);
}

TEST(check, fatal_says_one_line_and_aborts) {
  EXPECT_DEATH(fatal("p %d has %s", 3, "no m"), "^weft: fatal: p 3 has no m\n");
}

TEST(check, a_failed_check_names_the_invariant_and_the_place) {
  const int tail = 3, head = 4;
  EXPECT_DEATH(WEFT_CHECK(tail >= head, "runq::put: tail behind head"),
               "weft: fatal: runq::put: tail behind head \\(.*lock_test.cc:[0-9]+: tail >= head\\)");
  WEFT_CHECK(head >= tail, "holds");
}

TEST(check, the_dump_runs_after_the_message_and_not_again_inside_itself) {
  EXPECT_DEATH(
      {
        set_fatal_dump([] {
          write_stderr("dump\n");
          fatal("inside");
        });
        fatal("outside");
      },
      "^weft: fatal: outside\ndump\nweft: fatal: inside\n" WEFT_ABORTED);
}

TEST(check, a_message_beyond_the_buffer_is_cut_and_still_ends_its_line) {
  const std::string text(3000, 'x');
  EXPECT_DEATH(fatal("%s", text.c_str()), "^weft: fatal: x{1000,1010}\n" WEFT_ABORTED);
}

TEST(check, a_debug_check_is_not_evaluated_unless_asked_for) {
  int evaluated = 0;
  WEFT_DCHECK(++evaluated > 0, "counts");
#if defined(WEFT_CHECKS) && WEFT_CHECKS
  EXPECT_EQ(evaluated, 1);
#else
  EXPECT_EQ(evaluated, 0);
#endif
}

}  // namespace
}  // namespace weft
