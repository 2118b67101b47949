// SPDX-License-Identifier: MIT
//
// Progress: one thread is stopped for good before its n-th point, for every n; do the others complete? Where they do not, the window is
// listed here, with the operation's own words about it.

#include <map>
#include <set>
#include <string>

#include "model.h"
#include "runtime/sched/deque.h"
#include "runtime/sched/runq.h"
#include "runtime/weft/weft.h"
#include "tests/support/bare_p.h"

namespace weft {
namespace {

using sim::plan;
using sim::report;
using sim::strategy;

// Thread 1 is the one that is stopped. Returns the places before which it may not be stopped.
std::set<std::string> windows(const std::function<void()>& body, plan p = {}) {
  std::set<std::string> found;
  p.expect_failure = true;
  p.shrink = false;
  p.stop_thread = 1;
  p.schedules = static_cast<std::uint64_t>(weft_test::scaled(300));
  p.max_steps = 5'000;
  std::uint32_t stops = 0;
  std::uint64_t schedules = 0;
  for (std::uint32_t at = 0;; ++at) {
    p.stop_at = at;
    bool reached = false;
    for (strategy how : {strategy::pct, strategy::random}) {
      p.how = how;
      report r = sim::explore(p, body);
      schedules += r.schedules;
      if (r.stop_points >= at) reached = true;
      if (r.failed && !r.stopped_at.empty()) {
        found.insert(r.stopped_at);
        reached = true;
      }
    }
    if (!reached || at > 400) break;
    stops = at;
  }
  std::printf("  stopped before each of %u points, %llu schedules; others held up at %zu places\n", stops,
              static_cast<unsigned long long>(schedules), found.size());
  for (const std::string& w : found) std::printf("    %s\n", w.c_str());
  return found;
}

// What a thief may do to another's P.
void rob(rt::P* victim) {
  auto mine = weft_test::bare_p();
  rt::runq::steal_into(nullptr, mine.get(), victim);
  rt::steal_runnext(victim);
}

TEST(progress, run_queue_owner_stopped) {
  auto w = windows([] {
    using namespace rt;
    auto p = weft_test::bare_p();
    weft_test::numbered_gs gs(4);
    for (std::size_t i = 0; i < 3; ++i) runq::put(p.get(), gs[i]);
    sim::thread owner([&] {
      runq::get(nullptr, p.get());
      runq::put(p.get(), gs[3]);
      put_runnext(p.get(), gs[0]);
      take_runnext(p.get());
    });
    sim::thread thief([&] { rob(p.get()); });
    thief.join();
    owner.join();
  });
  EXPECT_TRUE(w.empty());
}

TEST(progress, run_queue_thief_stopped) {
  auto w = windows([] {
    using namespace rt;
    auto p = weft_test::bare_p();
    weft_test::numbered_gs gs(5);
    for (std::size_t i = 0; i < 3; ++i) runq::put(p.get(), gs[i]);
    sim::thread thief([&] { rob(p.get()); });
    for (std::size_t i = 3; i < 5; ++i) {
      runq::get(nullptr, p.get());
      runq::put(p.get(), gs[i]);
      put_runnext(p.get(), gs[0]);
      take_runnext(p.get());
    }
    while (runq::get(nullptr, p.get())) {
    }
    thief.join();
  });
  EXPECT_TRUE(w.empty());
}

TEST(progress, deque_owner_stopped) {
  auto w = windows([] {
    using namespace rt;
    auto p = weft_test::bare_p();
    weft_test::numbered_gs gs(5);
    for (std::size_t i = 0; i < 3; ++i) deque::push(p.get(), gs[i]);
    deque::publish(p.get());
    sim::thread owner([&] {
      deque::pop(p.get());
      deque::push(p.get(), gs[3]);
      g_list some;
      deque::take_oldest(p.get(), 2, some);
      deque::push(p.get(), gs[4]);
      deque::pop(p.get());
      deque::pop(p.get());
    });
    auto steal = [&] {
      auto mine = weft_test::bare_p();
      deque::steal_into(mine.get(), p.get());
      deque::ask(p.get());
      deque::force(p.get());
      deque::steal_into(mine.get(), p.get());
    };
    sim::thread thief(steal);
    sim::thread another(steal);
    thief.join();
    another.join();
    owner.join();
  });
  EXPECT_TRUE(w.empty());
}

TEST(progress, deque_thief_stopped) {
  auto w = windows([] {
    using namespace rt;
    auto p = weft_test::bare_p();
    weft_test::numbered_gs gs(7);
    for (std::size_t i = 0; i < 4; ++i) deque::push(p.get(), gs[i]);
    deque::publish(p.get());
    auto steal = [&] {
      auto mine = weft_test::bare_p();
      deque::steal_into(mine.get(), p.get());
      deque::force(p.get());
      deque::steal_into(mine.get(), p.get());
    };
    sim::thread thief(steal);
    sim::thread another(steal);
    for (std::size_t i = 4; i < 6; ++i) {
      deque::pop(p.get());
      deque::push(p.get(), gs[i]);
    }
    g_list some;
    deque::take_oldest(p.get(), 2, some);
    sim::require(deque::push(p.get(), gs[6]), "refused, with room for it");
    while (deque::pop(p.get())) {
    }
    another.join();
    thief.join();
  });
  EXPECT_TRUE(w.empty());
}

// A third and a fourth thread meet on the channel, whatever the first does: chan_core.h, "Progress".
void others_meet(std::size_t capacity, const std::function<void(const chan<int>&)>& stopped_one) {
  auto c = make_chan<int>(capacity);
  sim::thread first([&] { stopped_one(c); });
  auto try_all = [&] {
    // try-operations never wait, so whoever does not come back from them is held up.
    for (int i = 0; i < 2; ++i) {
      c.try_send(1);
      c.try_recv();
    }
  };
  sim::thread second(try_all);
  sim::thread third(try_all);
  second.join();
  third.join();
  if (!first.join()) return;
}

TEST(progress, channel_try_operations) {
  EXPECT_TRUE(windows([] {
                others_meet(0, [](const chan<int>& c) {
                  c.try_send(5);
                  c.try_recv();
                });
              }).empty());
}

// The windows that chan_core.h documents: a sender between its move and the filling of its slot, a receiver between its move and the
// emptying of its slot, hold up those who need that very slot.
TEST(progress, channel_buffer) {
  for (const std::string& w : windows([] {
         others_meet(2, [](const chan<int>& c) {
           c.try_send(5);
           c.try_recv();
         });
       }))
    // In ring_put and ring_take, or in wait_turn and its pause, which are inside of those.
    EXPECT_TRUE(w.find("chan/typed_chan.h") != std::string::npos || w.find("chan/chan_core.cc") != std::string::npos ||
                w.find("sim/thread.cc") != std::string::npos)
        << w;
}

TEST(progress, channel_close) {
  EXPECT_TRUE(windows([] {
                auto c = make_chan<int>();
                sim::thread closer([&] { c.close(); });
                sim::thread second([&] {
                  try {
                    c.try_send(1);
                  } catch (const closed_channel&) {
                  }
                  c.try_recv();
                });
                second.join();
                closer.join();
              }).empty());
}

TEST(progress, wake_of_a_thread) {
  EXPECT_TRUE(windows([] {
                rt::thread_waiter w;
                sim::thread stopped([&] { rt::ready(rt::self(), &w); });
                rt::thread_waiter v;
                sim::thread waker([&] { rt::ready(rt::self(), &v); });
                rt::block_thread(v);
                waker.join();
                stopped.join();
              }).empty());
}

}  // namespace
}  // namespace weft
