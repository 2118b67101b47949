// SPDX-License-Identifier: MIT
//
// mutex and those who wait in the parking lot, on ordinary threads. What a mutex guards is plain.

#include "model.h"
#include "runtime/weft/weft.h"

namespace weft {
namespace {

using weft_test::check_all;
using weft_test::check_some;

// MUTEX, MUTEX-TURN, LOT-WAKE: every turn is seen by the next, and nobody sleeps for ever beside a free mutex.
void take_turns(int threads, int turns) {
  mutex m;
  plain<int> count{0};
  auto work = [&] {
    for (int i = 0; i < turns; ++i) {
      m.lock();
      count = count + 1;
      m.unlock();
    }
  };
  std::unique_ptr<sim::thread> others[3];
  for (int t = 1; t < threads; ++t) others[t - 1] = std::make_unique<sim::thread>(work);
  work();
  for (auto& t : others)
    if (t) t->join();
  sim::require(count == threads * turns, "a turn is lost");
}
TEST(mutex, two_threads) {
  check_all([] { take_turns(2, 1); }, {.schedules = 300'000, .preemptions = 2, .stale = 2, .cpus = 1});
  check_some([] { take_turns(2, 2); }, 100'000, {.cpus = 1});
}
TEST(mutex, two_threads_spinning_first) {
  check_some([] { take_turns(2, 2); }, 100'000);
}
TEST(mutex, three_threads) {
  check_some([] { take_turns(3, 2); }, 100'000, {.cpus = 1});
}
TEST(mutex, without_membarrier) {
  check_some([] { take_turns(2, 2); }, 100'000, {.cpus = 1, .asymmetric = false});
}

// Goes back to fast, and is contended again.
TEST(mutex, from_slow_to_fast_and_back) {
  check_some([] { take_turns(2, 5); }, 100'000, {.cpus = 1});
}

TEST(mutex, destroyed_by_the_last) {
  check_some(
      [] {
        auto m = std::make_unique<mutex>();
        plain<int> data{0};
        m->lock();
        sim::thread t([&] {
          m->lock();
          sim::require(data == 1, "what was done under the mutex is missed");
          m->unlock();
          m.reset();
        });
        data = 1;
        m->unlock();
        t.join();
      },
      100'000, {.cpus = 1});
}

TEST(mutex, with_a_deadline) {
  check_some(
      [] {
        mutex m;
        plain<int> count{0};
        int got = 0;
        auto work = [&] {
          if (!m.try_lock_for(std::chrono::microseconds(1))) return;
          count = count + 1;
          ++got;
          m.unlock();
        };
        sim::thread a(work);
        sim::thread b(work);
        m.lock();
        count = count + 1;
        ++got;
        m.unlock();
        a.join();
        b.join();
        sim::require(count == got, "a turn is lost");
        sim::require(m.try_lock(), "nobody has it");
        m.unlock();
      },
      100'000, {.cpus = 1});
}

TEST(semaphore, hands_over) {
  check_some(
      [] {
        semaphore s(0);
        plain<int> data{0};
        sim::thread a([&] {
          data = 1;
          s.release(2);
        });
        sim::thread b([&] {
          s.acquire();
          sim::require(data == 1, "what was done before the release is missed");
        });
        s.acquire();
        sim::require(data == 1, "what was done before the release is missed");
        a.join();
        b.join();
      },
      100'000);
}

TEST(condition_variable, no_notification_is_lost) {
  check_some(
      [] {
        mutex m;
        condition_variable cv;
        plain<int> ready{0};
        sim::thread a([&] {
          m.lock();
          ready = 1;
          m.unlock();
          cv.notify_one();
        });
        std::unique_lock<mutex> hold(m);
        while (ready == 0) cv.wait(hold);
        hold.unlock();
        a.join();
      },
      100'000, {.cpus = 1});
}

TEST(wait_group, sees_all_that_was_done) {
  check_some(
      [] {
        wait_group wg;
        plain<int> data[2];
        wg.add(2);
        auto work = [&](int i) {
          data[i] = 1;
          wg.done();
        };
        sim::thread a([&] { work(0); });
        sim::thread b([&] { work(1); });
        wg.wait();
        sim::require(data[0] == 1 && data[1] == 1, "done, but not to be seen");
        a.join();
        b.join();
      },
      100'000);
}

TEST(shared_mutex, readers_and_a_writer) {
  check_some(
      [] {
        shared_mutex m;
        plain<int> data{0};
        auto write = [&] {
          m.lock();
          data = data + 1;
          m.unlock();
        };
        auto read = [&] {
          m.lock_shared();
          sim::require(data <= 2, "?");
          m.unlock_shared();
        };
        sim::thread a(write);
        sim::thread b(read);
        write();
        read();
        a.join();
        b.join();
        sim::require(data == 2, "a turn is lost");
      },
      100'000, {.cpus = 1});
}

TEST(latch, lets_all_through) {
  check_some(
      [] {
        latch l(2);
        plain<int> data[2];
        auto work = [&](int i) {
          data[i] = 1;
          l.count_down();
        };
        sim::thread a([&] { work(0); });
        sim::thread b([&] { work(1); });
        l.wait();
        sim::require(data[0] == 1 && data[1] == 1, "counted, but not to be seen");
        a.join();
        b.join();
      },
      100'000);
}

}  // namespace
}  // namespace weft
