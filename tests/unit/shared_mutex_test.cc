// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <shared_mutex>
#include <thread>

#include "tests/support/crowd.h"
#include "tests/support/emulated.h"
#include "tests/support/world.h"

namespace weft {
namespace {

using namespace std::chrono_literals;
using weft_test::eventually;
using weft_test::scaled;

WEFT_ON_PROCS(shared_mutex_test);

TEST_P(shared_mutex_test, readers_are_side_by_side_and_a_writer_is_alone) {
  const int per = scaled(2'000);
  run([per] {
    shared_mutex m;
    std::atomic<int> readers{0}, writers{0};
    long long written = 0;
    weft_test::in_goroutines(6, [&](int k) {
      for (int i = 0; i < per; ++i) {
        if ((i + k) % 3 == 0) {
          std::unique_lock hold(m);
          EXPECT_EQ(writers.fetch_add(1), 0);
          EXPECT_EQ(readers.load(), 0);
          ++written;
          if (i % 16 == 0) yield();
          writers.fetch_sub(1);
        } else {
          std::shared_lock hold(m);
          readers.fetch_add(1);
          EXPECT_EQ(writers.load(), 0);
          if (i % 16 == 0) yield();
          readers.fetch_sub(1);
        }
      }
    });
    EXPECT_GT(written, 0);
  });
}

TEST_P(shared_mutex_test, two_readers_meet_inside) {
  run([] {
    shared_mutex m;
    auto c = make_chan<int>();
    wait_group done;
    done.go([&] {
      std::shared_lock hold(m);
      c.send(1);
    });
    done.go([&] {
      std::shared_lock hold(m);
      c.recv();
    });
    done.wait();
  });
}

TEST_P(shared_mutex_test, a_writer_that_waits_keeps_new_readers_out_and_gets_its_turn) {
  run([] {
    shared_mutex m;
    weft_test::gets_its_turn(
        [&] {
          std::shared_lock hold(m);
          yield();
        },
        [&] {
          std::unique_lock hold(m);
          yield();
        });

    m.lock_shared();
    std::atomic<bool> written{false};
    go([&] {
      std::unique_lock hold(m);
      written = true;
    });
    ASSERT_TRUE(eventually([&] {  // until the writer waits
      if (!m.try_lock_shared()) return true;
      m.unlock_shared();
      return false;
    }));
    EXPECT_FALSE(written);
    m.unlock_shared();
    ASSERT_TRUE(eventually([&] { return written.load(); }));
    m.lock();
    m.unlock();
  });
}

TEST_P(shared_mutex_test, readers_get_their_turn_among_writers) {
  run([] {
    shared_mutex m;
    weft_test::gets_its_turn(
        [&] {
          std::unique_lock hold(m);
          yield();
        },
        [&] {
          std::shared_lock hold(m);
          yield();
        });
  });
}

TEST_P(shared_mutex_test, tries_take_only_what_is_free) {
  run([] {
    shared_mutex m;
    EXPECT_TRUE(m.try_lock_shared());
    EXPECT_TRUE(m.try_lock_shared());
    EXPECT_FALSE(m.try_lock());
    m.unlock_shared();
    m.unlock_shared();
    EXPECT_TRUE(m.try_lock());
    EXPECT_FALSE(m.try_lock_shared());
    EXPECT_FALSE(m.try_lock());
    m.unlock();
  });
}

TEST_P(shared_mutex_test, a_writer_that_gives_up_lets_the_readers_behind_it_in) {
  run([] {
    shared_mutex m;
    m.lock_shared();
    wait_group done;
    done.go([&] { EXPECT_FALSE(m.try_lock_for(5ms)); });
    done.go([&] {
      yield();
      m.lock_shared();  // behind the writer, or before it
      m.unlock_shared();
    });
    done.wait();
    EXPECT_FALSE(m.try_lock_for(1ms));
    EXPECT_TRUE(m.try_lock_shared_for(1ms));
    m.unlock_shared();
    m.unlock_shared();
    m.lock();
    EXPECT_FALSE(m.try_lock_shared_for(1ms));
    EXPECT_FALSE(m.try_lock_shared_until(std::chrono::steady_clock::now() + 1ms));
    EXPECT_FALSE(m.try_lock_until(std::chrono::system_clock::now() + 1ms));
    m.unlock();
  });
}

TEST_P(shared_mutex_test, goroutines_and_threads_share_it) {
  const int per = scaled(2'000);
  shared_mutex m;
  long long count = 0;
  run([&] {
    weft_test::in_goroutines_and_threads([&] {
      for (int i = 0; i < per; ++i) {
        if (i % 2 != 0) {
          std::unique_lock hold(m);
          ++count;
        } else {
          std::shared_lock hold(m);
          EXPECT_GE(count, 0);
        }
      }
    });
  });
  EXPECT_EQ(count, static_cast<long long>(weft_test::crowd) * (per / 2));
}

TEST(shared_mutex_death_test, unlocking_what_is_not_locked_so_is_fatal) {
  if (!weft_test::emulator()) GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        shared_mutex m;
        m.unlock();
      },
      "unlock of unlocked shared_mutex");
  EXPECT_DEATH(
      {
        shared_mutex m;
        m.unlock_shared();
      },
      "unlock_shared of unlocked shared_mutex|unlock of unlocked shared_mutex");
  EXPECT_DEATH(
      {
        shared_mutex m;
        m.lock_shared();
        m.unlock();
      },
      "unlock of unlocked shared_mutex");
}

}  // namespace
}  // namespace weft
