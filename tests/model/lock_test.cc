// SPDX-License-Identifier: MIT
//
// The Ms' own blocking (base/lock.h): runtime_lock and note; and threads that wait as goroutines do (sched/park.h).

#include "runtime/base/lock.h"
#include "model.h"
#include "runtime/sched/park.h"

namespace weft {
namespace {

using weft_test::check_all;
using weft_test::check_some;

// LOCK
void count_under_lock(int threads) {
  runtime_lock lk;
  plain<int> count{0};
  auto add = [&] {
    lk.lock();
    count = count + 1;
    lk.unlock();
  };
  sim::thread a(add);
  if (threads > 2) {
    sim::thread b(add);
    add();
    b.join();
  } else {
    add();
  }
  a.join();
  sim::require(count == threads, "a turn is lost");
}
TEST(lock, runtime_lock) {
  check_all([] { count_under_lock(2); }, {.preemptions = 3});
  check_some([] { count_under_lock(3); }, 100'000);
}

// The lock may go as soon as it is free.
TEST(lock, runtime_lock_destroyed_by_the_next) {
  auto body = [] {
    auto lk = std::make_unique<runtime_lock>();
    plain<int> data{0};
    lk->lock();
    sim::thread a([&] {
      lk->lock();
      sim::require(data == 1, "what was done under the lock is missed");
      lk->unlock();
      lk.reset();
    });
    data = 1;
    lk->unlock();
    a.join();
  };
  check_all(body, {.preemptions = 3});
  check_some(body, 100'000);
}

// NOTE-WAKE
TEST(note, wake) {
  auto body = [] {
    auto n = std::make_unique<note>();
    plain<int> data{0};
    sim::thread waker([&] {
      data = 1;
      n->wake();
    });
    n->sleep();
    sim::require(data == 1, "woken without what was written before");
    n.reset();
    waker.join();
  };
  check_all(body);
}

TEST(note, wake_or_deadline) {
  auto body = [] {
    note n;
    plain<int> data{0};
    sim::thread waker([&] {
      data = 1;
      n.wake();
    });
    if (n.sleep_until(os::now_ns() + 1000)) sim::require(data == 1, "woken without what was written before");
    waker.join();
  };
  check_all(body);
  check_some(body, 100'000);
}

TEST(note, used_again) {
  auto body = [] {
    note n;
    runtime_lock lk;
    int wanted = 0;  // lk
    sim::thread waker([&] {
      for (int i = 0; i < 2;) {
        lk.lock();
        bool go = wanted > i;
        lk.unlock();
        if (!go) {
          sim::spin();
          continue;
        }
        ++i;
        n.wake();
      }
    });
    for (int i = 0; i < 2; ++i) {
      n.clear();
      lk.lock();
      ++wanted;
      lk.unlock();
      n.sleep();
    }
    waker.join();
  };
  check_some(body, 100'000);
}

// FATAL-DUMP: a process that dies walks what was there when its dump was set. Each run ends here as it should: with the last words.
plain<int> tables{0};
void walk() { sim::require(tables == 1, "the dump walks what is not there yet"); }
TEST(fatal, dump) {
  auto body = [] {
    sim::thread a([] {
      tables = 1;
      set_fatal_dump(walk);
    });
    sim::thread b([] {
      if (dump_fn before = set_fatal_dump(nullptr)) before();
    });
    fatal("on purpose");
  };
  int n = weft_test::scaled(30'000);
  for (int seed = 1; seed <= n; ++seed) {
    sim::report r = sim::explore({.how = sim::strategy::random,
                                  .seed = static_cast<std::uint64_t>(seed),
                                  .schedules = 1,
                                  .shrink = false,
                                  .expect_failure = true},
                                 body);
    ASSERT_NE(r.message.find("on purpose"), std::string::npos) << r.message;
  }
}

// THREAD
TEST(park, thread_waiter) {
  auto body = [] {
    plain<int> data{0};
    rt::thread_waiter w;
    sim::thread waker([&] {
      data = 1;
      rt::ready(rt::self(), &w);
    });
    rt::block_thread(w);
    sim::require(data == 1, "woken without what the partner wrote");
    waker.join();
  };
  check_all(body);
}

}  // namespace
}  // namespace weft
