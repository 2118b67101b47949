// SPDX-License-Identifier: MIT
//
// One owner, several thieves, who are robbed in turn: every item that was pushed is taken, by one of them, once, and with what was written
// to it.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "runtime/base/rand.h"
#include "runtime/sched/deque.h"
#include "tests/support/bare_p.h"
#include "tests/support/every_item_once.h"
#include "tests/support/world.h"

namespace weft::rt {
namespace {

using weft_test::bare_p;
using weft_test::every_item_once;

struct load {
  int thieves;            // from the owner
  int thieves_of_thief;   // from the first of those
  std::uint32_t deepest;  // the owner lets it come to so many
  std::uint32_t start;
};

void run_load(load l, int n, std::uint64_t seed) {
  std::vector<std::unique_ptr<P>> ps;
  for (int i = 0; i < 1 + l.thieves + l.thieves_of_thief; ++i) ps.push_back(bare_p());
  P* p = ps[0].get();
  p->deque_head.store(l.start, relaxed);
  p->deque_tail.store(l.start, relaxed);
  p->deque_split.store(l.start, relaxed);
  every_item_once items(n);
  std::atomic<bool> over{false};
  std::atomic<long> stolen{0};
  std::vector<std::thread> thieves;
  auto steal = [&](P* mine, P* from) {
    long count = 0;
    for (int in_vain = 0; !over;) {
      G* g = deque::steal_into(mine, from);
      if (g == nullptr) {
        // Answered by the owner mostly, who does nothing else; opened now and then.
        if (++in_vain % 64 == 0)
          deque::force(from);
        else
          deque::ask(from);
        cpu_relax();
        continue;
      }
      for (; g != nullptr; g = deque::pop(mine)) {
        items.take(g);
        ++count;
      }
    }
    stolen += count;
  };
  for (int t = 1; t <= l.thieves; ++t) thieves.emplace_back(steal, ps[static_cast<std::size_t>(t)].get(), p);
  for (int t = 0; t < l.thieves_of_thief; ++t)
    thieves.emplace_back(steal, ps[static_cast<std::size_t>(1 + l.thieves + t)].get(), ps[1].get());
  fast_rand r(seed);
  g_list batch;
  for (int next = 0; next < n;) {
    const auto how_many = 1 + r.below(l.deepest);
    switch (r.below(8)) {
      case 0:
      case 1:
      case 2:
        for (std::uint32_t k = 0; k < how_many && next < n && deque::push(p, items.make(next)); ++k) ++next;
        break;
      case 3:
      case 4:
        for (std::uint32_t k = 0; k < how_many; ++k)
          if (G* g = deque::pop(p)) items.take(g);
        break;
      case 5:  // the last one, again and again
        for (std::uint32_t k = 0; k < how_many && next < n && deque::push(p, items.make(next)); ++k) {
          ++next;
          while (G* g = deque::pop(p)) items.take(g);
        }
        break;
      case 6:  // as when the deque is full, or its P goes
        deque::take_oldest(p, how_many, batch);
        while (G* g = batch.pop_front()) items.take(g);
        deque::publish(p);
        break;
      default:
        for (auto k = r.below(100); k > 0; --k) cpu_relax();
    }
  }
  while (G* g = deque::pop(p)) items.take(g);
  over = true;
  for (auto& t : thieves) t.join();
  for (auto& other : ps)
    while (G* g = deque::pop(other.get())) items.take(g);
  items.check();
  std::printf("%d items, %ld stolen\n", n, stolen.load());
}

TEST(deque_stress, every_item_once) {
  weft_test::announce_seed();
  std::uint64_t seed = weft_test::seed();
  for (int round = 0; round < weft_test::scaled(10); ++round)
    for (const load l : {load{1, 0, 3, 0}, load{1, 0, 300, 0xffff'ff00}, load{2, 0, 2, 0}, load{3, 0, 10, 0xffff'ff00},
                         load{2, 1, 600, 0}})
      run_load(l, 40'000, seed++);
}

// The last one, and nothing else: all of the time owner and thief are after the same slot.
TEST(deque_stress, a_thief_that_never_rests) {
  weft_test::announce_seed();
  constexpr int n = 100'000;
  for (int round = 0; round < weft_test::scaled(20); ++round) {
    auto owned = bare_p();
    P* p = owned.get();
    every_item_once items(n);
    std::atomic<bool> over{false};
    long stolen = 0;
    std::thread thief([&] {
      for (int looks = 0; !over;) {
        if (G* g = deque::take(p)) {
          items.take(g);
          ++stolen;
        } else if (++looks % 16 == 0) {
          deque::force(p);
        } else {
          deque::ask(p);
        }
      }
    });
    for (int i = 0; i < n; ++i) {
      ASSERT_TRUE(deque::push(p, items.make(i)));
      if (i % 3 == 0) continue;  // two lie there now and then: then the thief comes to the last one by its own exchange
      while (G* g = deque::pop(p)) items.take(g);
    }
    while (G* g = deque::pop(p)) items.take(g);
    over = true;
    thief.join();
    items.check();
    std::printf("%d items, %ld stolen\n", n, stolen);
  }
}

}  // namespace
}  // namespace weft::rt
