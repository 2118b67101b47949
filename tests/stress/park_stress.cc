// SPDX-License-Identifier: MIT
//
// park and ready without a channel in between: an event of one word. A wakeup that is lost leaves everybody asleep, which the run
// reports as a deadlock; one that is doubled breaks the count.
#include "runtime/sched/park.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "runtime/sched/self.h"
#include "tests/support/world.h"

namespace weft::rt {
namespace {

using weft_test::announce_seed;
using weft_test::scaled;

// Set once per wait; one waiter at a time.
class event {
 public:
  void set() {
    std::uint64_t v = word_.load(acquire);
    for (;;) {
      if (v == is_set) FAIL() << "set twice";
      if (v == 0) {
        if (word_.compare_exchange_weak(v, is_set, acq_rel, acquire)) return;
      } else if (word_.compare_exchange_weak(v, 0, acq_rel, acquire)) {
        ready(self(), reinterpret_cast<waiter*>(v));
        cooperate(self());
        return;
      }
    }
  }
  void wait() {
    thread_waiter thread;
    for (;;) {
      M* m = self();
      std::uint64_t v = word_.load(acquire);
      if (v == is_set) {
        if (word_.compare_exchange_strong(v, 0, acq_rel, acquire)) return;
      } else if (m) {
        if (park(m, word_, v, reinterpret_cast<std::uint64_t>(static_cast<waiter*>(m->curg)), wait_reason::semaphore) !=
            parked::no)
          return;
      } else if (word_.compare_exchange_strong(v, reinterpret_cast<std::uint64_t>(static_cast<waiter*>(&thread)),
                                               acq_rel, acquire)) {
        block_thread(thread);
        return;
      }
    }
  }

 private:
  static constexpr std::uint64_t is_set = 1;
  alignas(64) atomic<std::uint64_t> word_{0};
};

WEFT_ON_PROCS(park_stress);

// Rings of goroutines that hand a token on; some are bound to a P, some are ordinary threads.
void rings(int rings, int members, int hops, int threads_per_ring, bool bound, std::uint64_t seed) {
  struct ring {
    std::vector<std::unique_ptr<event>> at;
    std::atomic<int> hops{0};
    int check = 0;  // plain: the token protects it
  };
  std::vector<std::unique_ptr<ring>> all;
  for (int i = 0; i < rings; ++i) {
    all.push_back(std::make_unique<ring>());
    for (int k = 0; k < members; ++k) all.back()->at.push_back(std::make_unique<event>());
  }
  const auto member = [members, hops](ring& r, int k) {
    for (;;) {
      r.at[static_cast<std::size_t>(k)]->wait();
      const int n = r.check++;
      ASSERT_EQ(n, r.hops.load(std::memory_order_relaxed));
      r.hops.store(n + 1, std::memory_order_relaxed);
      r.at[static_cast<std::size_t>((k + 1) % members)]->set();
      if (n + members >= hops) return;  // the last lap: whoever comes next ends as well
    }
  };
  fast_rand rand(seed);
  std::vector<std::thread> threads;
  {
    wait_group w;
    for (auto& r : all)
      for (int k = 0; k < members; ++k) {
        if (k < threads_per_ring) {
          threads.emplace_back([&, k, ring = r.get()] { member(*ring, k); });
          continue;
        }
        w.add();
        const int home = bound ? static_cast<int>(rand.below(16)) : -1;
        go({.home = home}, [&, k, ring = r.get()] {
          member(*ring, k);
          w.done();
        });
      }
    for (auto& r : all) r->at[0]->set();
    w.wait();
  }
  // A thread's last hop may come after that of the last goroutine; goroutines would keep the M from joining.
  for (auto& t : threads) t.join();
  for (auto& r : all) EXPECT_EQ(r->hops, std::max(hops, members));
}

TEST_P(park_stress, rings_of_goroutines) {
  announce_seed();
  run([] {
    rings(1, 2, scaled(200'000), 0, false, weft_test::seed());
    rings(8, 5, scaled(40'000), 0, false, weft_test::seed());
    rings(100, 3, scaled(2'000), 0, false, weft_test::seed());
  });
}

TEST_P(park_stress, rings_of_goroutines_bound_to_ps) {
  announce_seed();
  run([] {
    rings(1, 2, scaled(20'000), 0, true, weft_test::seed());
    rings(8, 5, scaled(4'000), 0, true, weft_test::seed());
    rings(50, 3, scaled(500), 0, true, weft_test::seed());
  });
}

TEST_P(park_stress, rings_with_ordinary_threads_in_them) {
  announce_seed();
  run([] {
    rings(1, 2, scaled(5'000), 1, false, weft_test::seed());
    rings(2, 4, scaled(4'000), 2, false, weft_test::seed());
    rings(2, 4, scaled(4'000), 1, true, weft_test::seed());
  });
}

TEST_P(park_stress, a_wakeup_from_outside_is_never_lost_while_ms_go_to_sleep) {
  // Two ordinary threads, each in a dialogue with a goroutine of its own; the Ms fall asleep and are woken all the time, and the
  // two threads' wakeups meet in wake_p.
  announce_seed();
  const int n = scaled(20'000);
  struct dialogue {
    event ask, answer;
  };
  dialogue d[3];
  std::vector<std::thread> threads;
  for (auto& one : d)
    threads.emplace_back([&one, n] {
      for (int i = 0; i < n; ++i) {
        one.ask.set();
        one.answer.wait();
      }
    });
  run([&] {
    wait_group w;
    for (auto& one : d)
      w.go([&one, n] {
        for (int i = 0; i < n; ++i) {
          one.ask.wait();
          one.answer.set();
        }
      });
    w.wait();
  });
  for (auto& t : threads) t.join();
}

}  // namespace
}  // namespace weft::rt
