// SPDX-License-Identifier: MIT
//
// A P's heap of timers by itself, against a sorted one: timers and sleepers, pushed, taken, looked ahead for, stolen, removed.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <set>

#include "runtime/sched/timer.h"
#include "tests/support/scale.h"

namespace weft {
namespace {

using weft_test::scaled;

TEST(timer_heap, order_is_that_of_the_times) {
  std::deque<rt::timer> timers(300);
  std::deque<rt::G> sleepers(300);
  for (std::uint64_t seed = 1; seed <= static_cast<std::uint64_t>(scaled(200)); ++seed) {
    fast_rand r(seed);
    rt::timer_heap heap;
    std::multimap<std::int64_t, std::uint64_t> expected;
    std::set<rt::timer*> pending;
    std::size_t next_sleeper = 0;
    std::size_t next_timer = 0;
    std::int64_t now = 0;
    const auto take = [&](std::uint64_t what, std::int64_t when) {
      const auto [from, to] = expected.equal_range(when);
      const auto at = std::find_if(from, to, [&](const auto& e) { return e.second == what; });
      ASSERT_NE(at, to) << "not there, or not at " << when;
      expected.erase(at);
    };
    for (int i = 0; i < 2'000; ++i) {
      const auto when = now + static_cast<std::int64_t>(r.below(1'000));
      switch (r.below(6)) {
        case 0:
          if (next_sleeper == sleepers.size()) break;
          expected.emplace(when, reinterpret_cast<std::uint64_t>(&sleepers[next_sleeper]) | 1);
          heap.push({when, reinterpret_cast<std::uint64_t>(&sleepers[next_sleeper++]) | 1});
          break;
        case 1:
          if (next_timer == timers.size()) break;
          expected.emplace(when, reinterpret_cast<std::uint64_t>(&timers[next_timer]));
          heap.push({when, reinterpret_cast<std::uint64_t>(&timers[next_timer])});
          pending.insert(&timers[next_timer++]);
          break;
        case 2:
          heap.look_ahead(now + static_cast<std::int64_t>(r.below(500)));
          break;
        case 3:
          now += static_cast<std::int64_t>(r.below(20));
          while (heap.earliest() && heap.earliest()->when <= now) {
            const rt::timer_heap::entry e = *heap.earliest();
            ASSERT_EQ(e.when, expected.begin()->first);
            take(e.what, e.when);
            if (rt::G* g = heap.pop_sleeper(now)) {
              ASSERT_EQ(reinterpret_cast<std::uint64_t>(g) | 1, e.what);
            } else {
              pending.erase(reinterpret_cast<rt::timer*>(e.what));
              heap.pop();
            }
          }
          ASSERT_EQ(heap.pop_sleeper(now), nullptr) << "none is due";
          break;
        case 4:
          if (pending.empty()) break;
          {
            rt::timer* t = *pending.begin();
            const auto& e = heap.entries[t->index];
            ASSERT_EQ(e.what, reinterpret_cast<std::uint64_t>(t)) << "a timer knows where it is";
            take(e.what, e.when);
            heap.remove(t->index);
            pending.erase(t);
          }
          break;
        case 5:
          // What somebody has stolen elsewhere: due before all that is here.
          if (heap.earliest() && heap.earliest()->when <= now) break;
          if (next_sleeper + 2 > sleepers.size() || heap.soon_end - heap.soon_at > limits::timers_soon) break;
          {
            std::array<rt::timer_heap::entry, 2> stolen;
            for (auto& e : stolen) {
              e = {now, reinterpret_cast<std::uint64_t>(&sleepers[next_sleeper++]) | 1};
              expected.emplace(e.when, e.what);
            }
            heap.put_first(stolen.data(), 2);
          }
          break;
        default:
          break;
      }
      ASSERT_EQ(heap.pending.load(relaxed), expected.size());
      heap.look_again();
      ASSERT_EQ(heap.first.load(relaxed), expected.empty() ? rt::timer_heap::never : expected.begin()->first);
    }
  }
}

}  // namespace
}  // namespace weft
