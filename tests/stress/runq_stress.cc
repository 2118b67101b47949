// SPDX-License-Identifier: MIT
//
// One owner, several thieves: every item that was put is taken, by one of them, once, and with what was written to it.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "runtime/base/rand.h"
#include "runtime/sched/runq.h"
#include "tests/support/bare_p.h"
#include "tests/support/every_item_once.h"
#include "tests/support/world.h"

namespace weft::rt {
namespace {

using weft_test::bare_p;
using weft_test::every_item_once;

struct load {
  int ring_thieves;
  int runnext_thieves;
  std::uint32_t start;
};

void run_load(load l, int n, std::uint64_t seed) {
  const weft_test::held_p owner;
  P* p = owner.p();
  p->runq_head.store(runq::head::at(l.start), relaxed);
  p->runq_tail.store(l.start, relaxed);
  every_item_once items(n);
  std::atomic<bool> over{false};
  std::atomic<long> stolen{0};
  std::atomic<long> runnext_stolen{0};
  std::vector<std::thread> thieves;
  for (int t = 0; t < l.ring_thieves; ++t)
    thieves.emplace_back([&] {
      auto mine = bare_p();
      while (!over) {
        G* g = runq::steal_into(nullptr, mine.get(), p);
        if (g == nullptr) {
          cpu_relax();
          continue;
        }
        items.take(g);
        ++stolen;
        while ((g = runq::get(nullptr, mine.get())) != nullptr) {
          items.take(g);
          ++stolen;
        }
      }
    });
  for (int t = 0; t < l.runnext_thieves; ++t)
    thieves.emplace_back([&] {
      while (!over) {
        if (G* g = steal_runnext(p)) {
          items.take(g);
          ++runnext_stolen;
        } else {
          cpu_relax();
        }
      }
    });
  fast_rand r(seed);
  for (int next = 0; next < n;) {
    const auto how_many = 1 + r.below(10);
    switch (r.below(6)) {
      case 0:
      case 1:
        for (std::uint32_t k = 0; k < how_many && next < n; ++k) {
          if (runq::put(p, items.make(next)))
            ++next;
          else
            break;
        }
        break;
      case 2:
        for (std::uint32_t k = 0; k < how_many; ++k)
          if (G* g = runq::get(owner.m(), p)) items.take(g);
        break;
      case 3:  // as ready does when runnext is taken: the one before goes to the ring
      case 4: {
        G* old = take_runnext(p);
        put_runnext(p, items.make(next++));
        if (old != nullptr && !runq::put(p, old)) items.take(old);
        for (auto k = r.below(50); k > 0; --k) cpu_relax();
        break;
      }
      default:
        if (G* g = take_runnext(p)) items.take(g);
        if (r.below(16) == 0) bias_to(owner.m(), p->runq_head);  // until the next thief
    }
  }
  if (G* g = take_runnext(p)) items.take(g);
  while (G* g = runq::get(owner.m(), p)) items.take(g);
  over = true;
  for (auto& t : thieves) t.join();
  while (G* g = runq::get(owner.m(), p)) items.take(g);
  items.check();
  std::printf("%d items, %ld stolen from the ring, %ld from runnext\n", n, stolen.load(), runnext_stolen.load());
}

TEST(runq_stress, every_item_once) {
  weft_test::announce_seed();
  std::uint64_t seed = weft_test::seed();
  for (int round = 0; round < weft_test::scaled(10); ++round)
    for (const load l : {load{1, 0, 0}, load{0, 1, 0}, load{2, 1, 0xffff'ff00}, load{3, 2, 0}, load{0, 3, 0}})
      run_load(l, 40'000, seed++);
}

TEST(runq_stress, a_runnext_thief_that_never_rests) {
  // The owner does what a ping-pong does, put and take and nothing else: no locked instruction on its side.
  weft_test::announce_seed();
  constexpr int n = 100'000;
  for (int round = 0; round < weft_test::scaled(20); ++round) {
    auto owner = bare_p();
    P* p = owner.get();
    every_item_once items(n);
    std::atomic<bool> over{false};
    std::atomic<long> stolen{0};
    std::thread thief([&] {
      while (!over)
        if (G* g = steal_runnext(p)) {
          items.take(g);
          ++stolen;
        }
    });
    long missed = 0;
    for (int i = 0; i < n; ++i) {
      put_runnext(p, items.make(i));
      if (G* g = take_runnext(p)) missed += items.take(g) != i;
    }
    over = true;
    thief.join();
    EXPECT_EQ(missed, 0);
    items.check();
    std::printf("%d items, %ld stolen\n", n, stolen.load());
  }
}

}  // namespace
}  // namespace weft::rt
