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

// try_wait alone tells that all has been done.
TEST(latch, tried_until_it_opens) {
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
        sim::thread c([&] {
          l.wait();
          sim::require(data[0] == 1 && data[1] == 1, "counted, but not to be seen");
        });
        while (!l.try_wait()) sim::spin();
        sim::require(data[0] == 1 && data[1] == 1, "counted, but not to be seen");
        a.join();
        b.join();
        c.join();
      },
      100'000);
}

TEST(once, who_comes_second_sees_it_done) {
  check_some(
      [] {
        once o;
        plain<int> made{0};
        auto use = [&] {
          o([&] { made = made + 1; });
          sim::require(made == 1, "not once");
        };
        sim::thread a(use);
        sim::thread b(use);
        use();
        use();
        a.join();
        b.join();
      },
      100'000, {.cpus = 1});
}

// Who waits gives up as the other unlocks.
TEST(shared_mutex, with_a_deadline) {
  check_some(
      [] {
        shared_mutex m;
        plain<int> data{0};
        auto write = [&] {
          if (!m.try_lock_for(std::chrono::microseconds(1))) return;
          data = data + 1;
          m.unlock();
        };
        auto read = [&] {
          if (!m.try_lock_shared_for(std::chrono::microseconds(1))) return;
          sim::require(data <= 3, "?");
          m.unlock_shared();
        };
        sim::thread a(write);
        sim::thread b(read);
        m.lock();
        data = data + 1;
        m.unlock();
        m.lock_shared();
        sim::require(data <= 3, "?");
        m.unlock_shared();
        write();
        a.join();
        b.join();
        sim::require(m.try_lock(), "nobody has it");
        m.unlock();
      },
      100'000, {.cpus = 1});
}

TEST(semaphore, many_at_a_time) {
  check_some(
      [] {
        semaphore s(1);
        plain<int> data{0};
        sim::thread a([&] {
          s.acquire();
          data = data + 1;
          s.release();
        });
        sim::thread b([&] {
          if (!s.try_acquire_for(std::chrono::microseconds(1))) return;
          data = data + 1;
          s.release();
        });
        s.acquire();
        data = data + 1;
        s.release();
        a.join();
        b.join();
      },
      100'000);
}

// Among goroutines: the lot's wakes meet commits that have been made, and such as fail.
constexpr sim::plan whole{.max_steps = 100'000};

TEST(go_sync, mutex) {
  for (bool bound : {true, false})
    check_some(
        [bound] {
          mutex m;
          plain<int> count{0};
          weft::run({.procs = 2}, [&] {
            for (int k = 0; k < 2; ++k) {
              auto work = [&] {
                for (int i = 0; i < 3; ++i) {
                  m.lock();
                  count = count + 1;
                  m.unlock();
                }
              };
              if (bound)
                weft::go({.home = k}, work);
              else
                weft::go(work);
            }
          });
          sim::require(count == 6, "a turn is lost");
        },
        100'000, whole);
}

TEST(go_sync, semaphore) {
  check_some(
      [] {
        semaphore s(0);
        plain<int> data{0};
        weft::run({.procs = 3}, [&] {
          for (int k = 0; k < 2; ++k)
            weft::go({.home = k}, [&] {
              s.acquire();
              sim::require(data == 1, "what was done before the release is missed");
            });
          weft::go({.home = 2}, [&] {
            data = 1;
            s.release(2);
          });
        });
      },
      100'000, whole);
}

TEST(go_sync, wait_group) {
  check_some(
      [] {
        wait_group wg;
        plain<int> data[2];
        wg.add(2);
        weft::run({.procs = 3}, [&] {
          for (int k = 0; k < 2; ++k)
            weft::go({.home = k}, [&, k] {
              data[k] = 1;
              wg.done();
            });
          weft::go({.home = 2}, [&] {
            wg.wait();
            sim::require(data[0] == 1 && data[1] == 1, "done, but not to be seen");
          });
        });
      },
      100'000, whole);
}

// context: who finds it cancelled finds the cause; the deadline fires as the last handle goes.
TEST(context, cancelled_with_its_cause) {
  check_some(
      [] {
        plain<int> before{0};
        auto [parent, cancel] = with_cancel_cause(context::background());
        auto [child, cancel_child] = with_cancel(parent);
        sim::thread a([&, c = child]() mutable {
          while (!c.err()) sim::spin();
          sim::require(before == 1, "cancelled, but not what came before");
          c = {};
        });
        sim::thread b([&, c = parent] {
          c.done().recv();
          sim::require(c.err() && before == 1, "cancelled, but not what came before");
        });
        before = 1;
        cancel(std::make_exception_ptr(1));
        child = {};
        a.join();
        b.join();
      },
      100'000);
}

struct told {
  explicit told(plain<int>* w) : where(w) {}
  told(told&& o) noexcept : where(std::exchange(o.where, nullptr)) {}
  told(const told&) = delete;
  told& operator=(const told&) = delete;
  ~told() {
    if (where) *where = *where + 1;
  }
  plain<int>* where;
};

// The last handle frees the node, and sees all that was done with it.
TEST(context, freed_by_the_last) {
  check_some(
      [] {
        plain<int> freed{0};
        plain<int> used[2];
        {
          context c = with_value(context::background(), 1, std::make_shared<told>(&freed));
          auto use = [&](int i, context mine) {
            used[i] = 1;
            mine = {};
          };
          sim::thread a([&, c] { use(0, c); });
          sim::thread b([&, c] { use(1, c); });
          c = {};
          a.join();
          b.join();
        }
        sim::require(freed == 1, "not freed");
      },
      100'000);
}

TEST(context, deadline_or_cancel) {
  check_some(
      [] {
        weft::run({.procs = 2}, [] {
          auto c = with_timeout(context::background(), std::chrono::nanoseconds(500));
          wait_group over;
          over.add(1);
          weft::go({.home = 1}, [&] {
            c.cancel();
            over.done();
          });
          c.ctx.done().recv();
          sim::require(static_cast<bool>(c.ctx.err()), "done, and no error");
          over.wait();
        });
      },
      100'000, whole);
}

}  // namespace
}  // namespace weft
