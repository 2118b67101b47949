// SPDX-License-Identifier: MIT
//
// The locks under many shapes of load: goroutines and ordinary threads, holders that yield, waits that time out, objects that go with their
// last user. What each run checks: exclusion, that no wake is lost (everybody comes home), and that nobody is left in a lot afterwards.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <new>
#include <shared_mutex>
#include <string>
#include <thread>
#include <vector>

#include "runtime/sync/parking_lot.h"
#include "tests/support/world.h"

namespace weft {
namespace {

using weft_test::announce_seed;
using weft_test::scaled;
using weft_test::seed;

class sync_stress : public weft_test::on_procs {
 protected:
  void SetUp() override {
    on_procs::SetUp();
    announce_seed();
  }
  void TearDown() override {
    for (std::size_t i = 0; i < rt::num_lots; ++i) {
      EXPECT_EQ(rt::lot_of(reinterpret_cast<void*>(i * 8)).heads, nullptr);
      EXPECT_EQ(rt::unsettled_mutexes[i].load(acquire), 0u);
    }
    on_procs::TearDown();
  }
};
INSTANTIATE_TEST_SUITE_P(procs, sync_stress, ::testing::Values(1, 2, 4, 16),
                         [](const auto& info) { return std::to_string(info.param); });

fast_rand rand_of(int who) { return fast_rand(seed() * 1'000 + static_cast<std::uint64_t>(who)); }

std::chrono::nanoseconds some_time(fast_rand& r) { return std::chrono::nanoseconds(r.below(60'000)); }

void dawdle(fast_rand& r) {
  switch (r.below(16)) {
    case 0:
      return yield();
    case 1:
      for (std::uint32_t i = r.below(2'000); i > 0; --i) cpu_relax();
      return;
    case 2:
      if (r.below(32) == 0) sleep_for(std::chrono::microseconds(r.below(1'500)));
      return;
    default:
      return;
  }
}

// `goroutines` of body(who, rand), and two threads of the same.
template <class F>
void crowd(int goroutines, F body) {
  std::thread a([&] {
    fast_rand r = rand_of(1'000);
    body(r);
  });
  std::thread b([&] {
    fast_rand r = rand_of(1'001);
    body(r);
  });
  wait_group done;
  for (int k = 0; k < goroutines; ++k)
    done.go([&body, k] {
      fast_rand r = rand_of(k);
      body(r);
    });
  done.wait();
  a.join();
  b.join();
}

// One mutex: lock, try, timed try, by all.
TEST_P(sync_stress, mutex_of_many_minds) {
  const int per = scaled(3'000);
  run([per] {
    mutex m;
    int inside = 0;
    long long count = 0;
    std::atomic<long long> got{0};
    crowd(12, [&](fast_rand& r) {
      for (int i = 0; i < per; ++i) {
        bool have = true;
        switch (r.below(4)) {
          case 0:
            have = m.try_lock();
            break;
          case 1:
            have = m.try_lock_for(some_time(r));
            break;
          default:
            m.lock();
        }
        if (!have) continue;
        EXPECT_EQ(++inside, 1);
        if (r.below(8) == 0) dawdle(r);
        EXPECT_EQ(inside--, 1);
        ++count;
        m.unlock();
        got.fetch_add(1);
        dawdle(r);
      }
    });
    EXPECT_EQ(count, got.load());
  });
}

// Many mutexes that live for a moment: each turns from fast to slow under its first tenure, and its memory is reused at once, as a mutex or
// as a semaphore. Neighbours share lots with them.
TEST_P(sync_stress, short_lived_mutexes) {
  struct shared {
    alignas(8) mutex m;
    int users;
    long long count = 0;
  };
  const int rounds = scaled(30'000);
  run([rounds] {
    for (int round = 0; round < rounds; ++round) {
      fast_rand dice = rand_of(round);
      const int users = 2 + static_cast<int>(dice.below(4));
      auto* s = new shared{.m = {}, .users = users};
      const auto use = [s](fast_rand r) {
        for (int i = 0; i < 3; ++i) {
          if (r.below(4) != 0 || !s->m.try_lock_for(some_time(r))) s->m.lock();
          ++s->count;
          if (r.below(2) == 0) yield();
          s->m.unlock();
        }
        s->m.lock();
        const bool last = --s->users == 0;
        const long long count = s->count;
        s->m.unlock();
        if (last) {
          EXPECT_EQ(count % 3, 0);
          delete s;
        }
      };
      wait_group done;
      for (int k = 0; k < users; ++k) done.go([use, k, round] { use(rand_of(round * 16 + k)); });
      semaphore other(0);
      done.go([&other] { other.release(); });
      other.acquire();
      done.wait();
    }
  });
}

// Fast and slow in turn on many mutexes at once, by threads that run side by side.
TEST_P(sync_stress, mutexes_that_turn) {
  const int rounds = scaled(400);
  run([rounds] {
    std::vector<mutex> ms(64);
    std::vector<long long> counts(64, 0);
    std::atomic<long long> total{0};
    crowd(4, [&](fast_rand& r) {
      for (int i = 0; i < rounds; ++i) {
        const std::size_t k = r.below(64);
        const int n = r.below(4) == 0 ? 20'000 : 200;  // the former is enough quiet to be fast again
        for (int j = 0; j < n; ++j) {
          std::lock_guard hold(ms[k]);
          ++counts[k];
        }
        total.fetch_add(n);
      }
    });
    long long sum = 0;
    for (const long long c : counts) sum += c;
    EXPECT_EQ(sum, total.load());
  });
}

// MUTEX-TURN: an unlock whose store hangs in the store buffer, behind stores that miss, while its look at the count has gone ahead; and one
// who comes to wait just then. Without N3, or without N4, the waiter sleeps for ever, as nobody else touches its mutex. The distance
// between the two threads' steps changes from round to round.
TEST(sync_stress_threads, an_unlock_whose_store_is_late) {
  if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "the two threads must run side by side";
  const int rounds = scaled(200'000);
  struct alignas(64) cell {
    mutex m;
  };
  std::vector<cell> cells(1024);
  constexpr std::size_t lines = 1 << 20;
  auto cold = std::make_unique<char[]>(lines * 64);
  std::atomic<int> turn{0};
  std::atomic<int> locked{0};
  std::thread holder([&] {
    fast_rand r = rand_of(0);
    for (int i = 1; i <= rounds; ++i) {
      mutex& m = cells[static_cast<std::size_t>(i) % cells.size()].m;
      for (int now = 0; now != i; cpu_relax())
        if (now = turn.load(std::memory_order_acquire); now < 0) return;
      m.lock();
      locked.store(i, std::memory_order_release);
      for (std::uint32_t k = r.below(40); k > 0; --k) cold[r.below(lines) * std::size_t{64}] = 1;
      m.unlock();
    }
  });
  fast_rand r = rand_of(1);
  int lost = 0;
  // On a machine with other work the two hardly ever run side by side, and every round costs them a time slice.
  const auto enough = std::chrono::steady_clock::now() + std::chrono::milliseconds(scaled(8'000));
  for (int i = 1; i <= rounds && lost == 0 && std::chrono::steady_clock::now() < enough; ++i) {
    // A mutex that has been waited for stays slow for a while: each round has a fresh one.
    mutex& m = *new (&cells[static_cast<std::size_t>(i) % cells.size()].m) mutex;
    turn.store(i, std::memory_order_release);
    while (locked.load(std::memory_order_acquire) != i) cpu_relax();
    for (std::uint32_t k = r.below(30); k > 0; --k) asm volatile("" ::: "memory");
    if (m.try_lock_for(weft_test::patience))
      m.unlock();
    else
      ++lost;
  }
  EXPECT_EQ(lost, 0);
  turn.store(-1, std::memory_order_release);  // a holder that has done all its rounds is past looking
  holder.join();
}

TEST_P(sync_stress, shared_mutex_of_many_minds) {
  const int per = scaled(3'000);
  run([per] {
    shared_mutex m;
    std::atomic<int> readers{0};
    int writers = 0;
    crowd(12, [&](fast_rand& r) {
      for (int i = 0; i < per; ++i) {
        const bool alone = r.below(3) == 0;
        bool have = true;
        switch (r.below(4)) {
          case 0:
            have = alone ? m.try_lock() : m.try_lock_shared();
            break;
          case 1:
            have = alone ? m.try_lock_for(some_time(r)) : m.try_lock_shared_for(some_time(r));
            break;
          default:
            alone ? m.lock() : m.lock_shared();
        }
        if (!have) continue;
        if (alone) {
          EXPECT_EQ(++writers, 1);
          EXPECT_EQ(readers.load(), 0);
          if (r.below(8) == 0) dawdle(r);
          EXPECT_EQ(writers--, 1);
          m.unlock();
        } else {
          readers.fetch_add(1);
          EXPECT_EQ(writers, 0);
          if (r.below(8) == 0) dawdle(r);
          readers.fetch_sub(1);
          m.unlock_shared();
        }
        dawdle(r);
      }
    });
    EXPECT_TRUE(m.try_lock());
    m.unlock();
  });
}

TEST_P(sync_stress, semaphore_of_many_wants) {
  static constexpr int permits = 5;
  const int per = scaled(3'000);
  run([per] {
    semaphore s(permits);
    std::atomic<int> out{0};
    crowd(12, [&](fast_rand& r) {
      for (int i = 0; i < per; ++i) {
        const int n = 1 + static_cast<int>(r.below(permits));
        bool have = true;
        switch (r.below(4)) {
          case 0:
            have = s.try_acquire(n);
            break;
          case 1:
            have = s.try_acquire_for(some_time(r), n);
            break;
          default:
            s.acquire(n);
        }
        if (!have) continue;
        EXPECT_LE(out.fetch_add(n) + n, permits);
        dawdle(r);
        out.fetch_sub(n);
        s.release(n);
      }
    });
    EXPECT_TRUE(s.try_acquire(permits));
  });
}

// Tokens handed round through a queue with two conditions, some of the waits timed.
TEST_P(sync_stress, condition_variables) {
  const int per = scaled(2'000);
  run([per] {
    mutex m;
    condition_variable not_empty, not_full;
    int queued = 0;
    std::atomic<long long> put{0}, taken{0};
    std::atomic<int> ticket{0};
    crowd(12, [&](fast_rand& r) {
      const bool puts = ticket.fetch_add(1) % 2 == 0;  // seven put, seven take
      for (int i = 0; i < per; ++i) {
        std::unique_lock l(m);
        condition_variable& mine = puts ? not_full : not_empty;
        const auto may = [&] { return puts ? queued < 3 : queued > 0; };
        if (r.below(2) == 0) {
          mine.wait(l, may);
        } else {
          while (!mine.wait_for(l, some_time(r), may)) {
          }
        }
        queued += puts ? 1 : -1;
        (puts ? put : taken).fetch_add(1);
        condition_variable& other = puts ? not_empty : not_full;
        if (r.below(8) == 0)
          other.notify_all();
        else
          other.notify_one();
        l.unlock();
        dawdle(r);
      }
    });
    EXPECT_EQ(queued, 0);
    EXPECT_EQ(put.load(), taken.load());
  });
}

}  // namespace
}  // namespace weft
