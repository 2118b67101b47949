// SPDX-License-Identifier: MIT
//
// The whole runtime on the simulated machine: weft::run with several virtual Ms, from its start to its end. A goroutine that nobody
// runs shows as a livelock (somebody spins for it) or as the runtime's own report of a deadlock.

#include "model.h"
#include "runtime/sched/timer.h"
#include "runtime/weft/weft.h"

namespace weft {
namespace {

using weft_test::check_some;

constexpr sim::plan whole{.max_steps = 200'000};

// Computes until it is told to stop: no call of the runtime, so what waits behind it must be taken by others.
void compute_until(atomic<int>& flag, int wanted) {
  while (flag.load(acquire) < wanted) sim::spin();
}

TEST(world, starts_and_ends) {
  for (int procs : {1, 2, 3}) check_some([procs] { weft::run({.procs = procs}, [] {}); }, 100'000, whole);
}

TEST(world, ping_pong) {
  for (int procs : {1, 2})
    check_some(
        [procs] {
          plain<int> got{0};
          weft::run({.procs = procs}, [&] {
            auto ping = make_chan<int>();
            auto pong = make_chan<int>();
            weft::go([=] {
              for (int i = 0; i < 2; ++i) pong.send(*ping.recv() + 1);
            });
            for (int i = 0; i < 2; ++i) {
              ping.send(i);
              got = got + *pong.recv();
            }
          });
          sim::require(got == 3, "a value is lost");
        },
        100'000, whole);
}

// SUBMIT-IDLE: two goroutines behind one that computes; the ring's is stolen by a P that was idle. With `procs` 2 the runnext is
// left to sysmon: RUNNEXT, RUNNEXT-CLAIM, SYSMON-NAG.
TEST(idle, ring_and_runnext_do_not_wait_behind_who_computes) {
  for (int procs : {2, 3})
    check_some(
        [procs] {
          atomic<int> ran{0};
          weft::run({.procs = procs}, [&] {
            for (int i = 0; i < 2; ++i) weft::go([&] { ran.fetch_add(1, acq_rel); });
            compute_until(ran, 2);
          });
        },
        100'000, whole);
}

TEST(idle, a_runnext_does_not_wait_behind_who_computes) {
  check_some(
      [] {
        atomic<int> ran{0};
        weft::run({.procs = 2}, [&] {
          weft::go([&] { ran.fetch_add(1, acq_rel); });
          compute_until(ran, 1);
        });
      },
      100'000, whole);
}

// The same after everybody has been idle for a while.
TEST(idle, woken_from_deep_sleep) {
  check_some(
      [] {
        atomic<int> ran{0};
        weft::run({.procs = 2}, [&] {
          weft::sleep_for(std::chrono::milliseconds(1));
          for (int i = 0; i < 2; ++i) weft::go([&] { ran.fetch_add(1, acq_rel); });
          compute_until(ran, 2);
        });
      },
      100'000, whole);
}

// INBOX: a goroutine bound to a P.
TEST(idle, inbox) {
  check_some(
      [] {
        atomic<int> ran{0};
        weft::run({.procs = 2}, [&] {
          for (int home : {0, 1})
            weft::go({.home = home}, [&] {
              ran.fetch_add(1, acq_rel);
              weft::yield();
              ran.fetch_add(1, acq_rel);
            });
        });
        sim::require(ran.load(relaxed) == 4, "a goroutine is lost");
      },
      100'000, whole);
}

// The same protocol without the watchdog, which would mend a lost wakeup two ticks later: time stands still.
constexpr sim::plan no_watchdog{.clock_stands = true, .max_steps = 50'000};

// Of four goroutines three lie in the ring, where an idle P must come for them.
TEST(idle, a_full_ring_is_seen_at_once) {
  check_some(
      [] {
        atomic<int> ran{0};
        weft::run({.procs = 2}, [&] {
          for (int i = 0; i < 4; ++i) weft::go([&] { ran.fetch_add(1, acq_rel); });
          compute_until(ran, 2);
        });
      },
      100'000, no_watchdog);
}

// Again, while the P that took them the first time stops to look for more. (In each round the last one readied stays in runnext, and one more
// than that in the ring wakes somebody, once.)
TEST(idle, a_ring_that_fills_again_is_seen_at_once) {
  check_some(
      [] {
        atomic<int> ran{0};
        weft::run({.procs = 2}, [&] {
          for (int i = 0; i < 3; ++i) weft::go([&] { ran.fetch_add(1, acq_rel); });
          compute_until(ran, 2);
          for (int i = 0; i < 2; ++i) weft::go([&] { ran.fetch_add(1, acq_rel); });
          compute_until(ran, 4);
        });
      },
      100'000, no_watchdog);
}

// Bound goroutines: again, while the P that the first one ran on goes to sleep.
TEST(idle, an_inbox_is_seen_at_once) {
  check_some(
      [] {
        atomic<int> ran{0};
        weft::run({.procs = 2}, [&] {
          weft::go({.home = 0}, [&] {
            for (int i = 1; i <= 2; ++i) {
              weft::go({.home = 1}, [&] { ran.fetch_add(1, acq_rel); });
              compute_until(ran, i);
            }
          });
        });
      },
      100'000, no_watchdog);
}

TEST(idle, what_comes_from_outside_is_seen_at_once) {
  check_some(
      [] {
        atomic<int> ran{0};
        auto c = make_chan<int>();
        sim::thread t([&] { c.send(1); });
        weft::run({.procs = 2}, [&] {
          weft::go([&, c] {
            c.recv();
            ran.fetch_add(1, acq_rel);
          });
          weft::yield();
          compute_until(ran, 1);
        });
        t.join();
      },
      100'000, no_watchdog);
}

// The same beside a spinner that has found other work just then: it is no spinner any more, and there is one P more.
TEST(idle, what_comes_from_outside_is_not_left_to_a_spinner_that_stops) {
  check_some(
      [] {
        atomic<int> ran{0};
        auto c = make_chan<int>();
        sim::thread t([&] { c.send(1); });
        weft::run({.procs = 3}, [&] {
          weft::go([&, c] {
            c.recv();
            ran.fetch_add(1, acq_rel);
          });
          weft::yield();
          for (int i = 0; i < 2; ++i) weft::go([&] { compute_until(ran, 1); });
          compute_until(ran, 1);
        });
        t.join();
      },
      100'000, no_watchdog);
}

// ready from a thread that is not the runtime's, while all is idle.
TEST(idle, readied_from_outside) {
  check_some(
      [] {
        auto c = make_chan<int>();
        int got = 0;
        atomic<int> over{0};
        sim::thread t([&] {
          c.send(7);
          compute_until(over, 1);  // lives longer than the run, which must know by itself that this one is out of it
        });
        weft::run({.procs = 2}, [&] { got = *c.recv(); });
        over.store(1, release);
        t.join();
        sim::require(got == 7, "a value is lost");
      },
      100'000, whole);
}

TEST(world, many_to_one) {
  for (int procs : {2, 3})
    check_some(
        [procs] {
          int sum = 0;
          weft::run({.procs = procs}, [&] {
            auto c = make_chan<int>(1);
            for (int i = 1; i <= 3; ++i) weft::go([c, i] { c.send(i); });
            for (int i = 0; i < 3; ++i) sum += *c.recv();
          });
          sim::require(sum == 6, "a value is lost");
        },
        100'000, whole);
}

TEST(world, overflow_into_the_global_queue) {
  check_some(
      [] {
        int ran = 0;
        weft::run({.procs = 1}, [&] {
          for (int i = 0; i < 8; ++i) weft::go([&] { ++ran; });
          weft::yield();
        });
        sim::require(ran == 8, "a goroutine is lost");
        atomic<int> more{0};
        weft::run({.procs = 2}, [&] {
          for (int i = 0; i < 8; ++i) weft::go([&] { more.fetch_add(1, relaxed); });
        });
        sim::require(more.load(relaxed) == 8, "a goroutine is lost");
      },
      100'000, whole);
}

TEST(world, yield_takes_turns) {
  check_some(
      [] {
        plain<int> turns[2];
        weft::run({.procs = 2}, [&] {
          for (int k = 0; k < 2; ++k)
            weft::go([&, k] {
              for (int i = 0; i < 3; ++i) {
                turns[k] = turns[k] + 1;
                weft::yield();
              }
            });
        });
        sim::require(turns[0] == 3 && turns[1] == 3, "a turn is lost");
      },
      100'000, whole);
}

TEST(world, set_procs_under_load) {
  check_some(
      [] {
        atomic<int> done{0};
        weft::run({.procs = 2}, [&] {
          for (int k = 0; k < 3; ++k)
            weft::go([&] {
              for (int i = 0; i < 2; ++i) weft::yield();
              done.fetch_add(1, relaxed);
            });
          weft::set_procs(3);
          weft::yield();
          weft::set_procs(1);
        });
        sim::require(done.load(relaxed) == 3, "a goroutine is lost");
      },
      100'000, whole);
}

TEST(world, set_procs_by_two) {
  check_some(
      [] {
        weft::run({.procs = 2}, [] {
          weft::go([] { weft::set_procs(1); });
          weft::set_procs(3);
        });
      },
      100'000, whole);
}

// ALLP: goroutines run on Ps that have just been made, and threads without a P look at them.
TEST(world, set_procs_grows_while_others_look) {
  check_some(
      [] {
        atomic<int> done{0};
        weft::run({.procs = 2}, [&] {
          weft::go({.home = 1}, [&] {
            weft::sleep_for(std::chrono::nanoseconds(100));
            done.fetch_add(1, relaxed);
          });
          weft::set_procs(4);
          for (int k = 0; k < 2; ++k)
            weft::go([&] {
              weft::yield();
              done.fetch_add(1, relaxed);
            });
        });
        sim::require(done.load(relaxed) == 3, "a goroutine is lost");
      },
      100'000, whole);
}

// SHRINK: a goroutine bound to a P is readied from outside while that P is retired.
TEST(world, shrink_while_a_bound_goroutine_is_readied_from_outside) {
  check_some(
      [] {
        auto c = make_chan<int>();
        plain<int> data{0};
        plain<int> got{0};
        sim::thread t([&] {
          data = 1;
          c.send(7);
        });
        weft::run({.procs = 2}, [&] {
          weft::go({.home = 1}, [&] {
            got = *c.recv();
            sim::require(data == 1, "received, but not what came before");
          });
          weft::yield();
          weft::set_procs(1);
        });
        t.join();
        sim::require(got == 7, "a value is lost");
      },
      100'000, {.clock_stands = true, .max_steps = 50'000});
}
TEST(world, shrink_while_bound_goroutines_ready_each_other) {
  check_some(
      [] {
        auto c = make_chan<int>();
        plain<int> got{0};
        weft::run({.procs = 3}, [&] {
          weft::go({.home = 2}, [&] { c.send(1); });
          weft::go({.home = 1}, [&] { got = *c.recv(); });
          weft::yield();
          weft::set_procs(1);
        });
        sim::require(got == 1, "a value is lost");
      },
      100'000, whole);
}

// Who readies the second goroutine of a retired P finds the first one in its inbox as well, and takes both to another.
TEST(world, two_bound_goroutines_of_a_retired_p_are_readied_from_outside) {
  check_some(
      [] {
        auto a = make_chan<int>();
        auto b = make_chan<int>();
        plain<int> got_a{0};
        plain<int> got_b{0};
        atomic<int> shrunk{0};
        sim::thread x([&] {
          compute_until(shrunk, 1);
          a.send(1);
        });
        sim::thread y([&] {
          compute_until(shrunk, 1);
          b.send(2);
        });
        weft::run({.procs = 2}, [&] {
          weft::go({.home = 1}, [&] {
            weft::go({.home = 1}, [&] { got_b = *b.recv(); });
            got_a = *a.recv();
          });
          weft::yield();
          weft::set_procs(1);
          shrunk.store(1, release);
        });
        x.join();
        y.join();
        sim::require(got_a == 1 && got_b == 2, "a value is lost");
      },
      100'000, {.clock_stands = true, .max_steps = 50'000});
}
// The P to be retired has work, so that its own M drains it, with what has just come by the inbox.
TEST(world, shrink_while_a_busy_p_is_sent_a_goroutine) {
  check_some(
      [] {
        auto c = make_chan<int>();
        plain<int> got{0};
        atomic<int> there{0};
        weft::run({.procs = 2}, [&] {
          weft::go({.home = 1}, [&] {
            weft::go({.home = 1}, [&] {
              there.store(1, release);
              compute_until(there, 2);
            });
            got = *c.recv();
          });
          weft::go({.home = 0}, [&] {
            compute_until(there, 1);
            bool sent = c.try_send(1);  // not when the receiver has not got so far as to wait
            there.store(2, relaxed);
            weft::set_procs(1);
            if (!sent) c.send(1);
          });
        });
        sim::require(got == 1, "a value is lost");
      },
      100'000, whole);
}

TEST(world, two_change_procs_at_once) {
  check_some(
      [] {
        weft::run({.procs = 3}, [] {
          weft::go({.home = 1}, [] { weft::set_procs(2); });
          weft::go({.home = 2}, [] { weft::set_procs(1); });
          weft::set_procs(4);
        });
      },
      100'000, whole);
}

// No thread is to be had for a P: the others do its work.
TEST(world, no_more_threads) {
  check_some(
      [] {
        atomic<int> ran{0};
        weft::run({.procs = 3}, [&] {
          for (int i = 0; i < 4; ++i)
            weft::go([&] {
              weft::yield();
              ran.fetch_add(1, relaxed);
            });
        });
        sim::require(ran.load(relaxed) == 4, "a goroutine is lost");
      },
      100'000, {.max_steps = 200'000, .threads = 3});
}

// Never fewer than there are.
TEST(world, counts_goroutines) {
  check_some(
      [] {
        weft::run({.procs = 2}, [] {
          atomic<int> over{0};
          wait_group both;
          both.add(2);
          weft::go({.home = 1}, [&] {
            for (int i = 0; i < 2; ++i) {
              weft::go([] {});
              weft::yield();
            }
            compute_until(over, 1);
            both.done();
          });
          weft::go({.home = 0}, [&] {
            // main, this one, and the other
            for (int i = 0; i < 3; ++i) sim::require(weft::num_goroutines() >= 3, "fewer than there are");
            over.store(1, release);
            both.done();
          });
          both.wait();
        });
      },
      100'000, whole);
}

// POOL, CHUNK-PUBLISH: a thread faults, while others start and end runs and make stacks.
TEST(world, a_fault_is_looked_up) {
  check_some(
      [] {
        atomic<int> over{0};
        sim::thread t([&] {
          int here = 0;
          for (int i = 0; i < 3; ++i) {
            sim::require(!sim::fault_at(&here), "not a guard");
            sim::spin();
          }
          over.store(1, release);
        });
        weft::run({.procs = 1}, [&] {
          weft::go([] {});
          weft::go({.stack_size = 256 << 10}, [] {});
          compute_until(over, 1);
        });
        t.join();
      },
      100'000, whole);
}

// SYSMON-IDLE: every P is busy for so long that sysmon goes to sleep. Then one idles, and a runnext waits on the other.
TEST(idle, sysmon_is_told_of_an_idle_p) {
  for (int ticks : {7, 8, 9})
    check_some(
        [ticks] {
          atomic<int> over{0};
          atomic<int> ran{0};
          weft::run({.procs = 2}, [&] {
            weft::go({.home = 1}, [&] { compute_until(over, 1); });
            std::int64_t until = os::now_ns() + ticks * 40'000;
            while (os::now_ns() < until) sim::spin();
            over.store(1, release);
            weft::go([&] { ran.store(1, release); });
            compute_until(ran, 1);
          });
        },
        34'000, whole);  // in each, 100,000 together: these are the longest
}

// SYSMON-NAG: a P is idle, and nobody puts anything anywhere, for so long that sysmon goes to sleep; as it does, a goroutine is readied.
TEST(idle, sysmon_is_told_of_a_runnext) {
  for (int ticks : {7, 8, 9})
    check_some(
        [ticks] {
          atomic<int> ran{0};
          weft::run({.procs = 2}, [&] {
            std::int64_t until = os::now_ns() + ticks * 40'000;
            while (os::now_ns() < until) sim::spin();
            weft::go([&] { ran.store(1, release); });
            compute_until(ran, 1);
          });
        },
        34'000, whole);  // in each, 100,000 together: these are the longest
}

TEST(timers, sleep) {
  check_some(
      [] {
        int order = 0;
        weft::run({.procs = 2}, [&] {
          for (int k = 2; k > 0; --k)
            weft::go([&, k] {
              std::int64_t from = os::now_ns();
              weft::sleep_for(std::chrono::microseconds(k));
              sim::require(os::now_ns() - from >= 1000 * k, "woken too early");
              ++order;
            });
        });
        sim::require(order == 2, "a sleeper is lost");
      },
      100'000, whole);
}

// TIMER-KEEPER: a sleeper behind one that computes is woken by another P.
TEST(timers, fire_while_a_goroutine_computes) {
  check_some(
      [] {
        atomic<int> ran{0};
        weft::run({.procs = 2}, [&] {
          weft::go([&] {
            weft::sleep_for(std::chrono::microseconds(2));
            ran.fetch_add(1, acq_rel);
          });
          weft::yield();
          compute_until(ran, 1);
        });
      },
      100'000, whole);
}

TEST(timers, stop_or_fire) {
  check_some(
      [] {
        weft::run({.procs = 2}, [] {
          weft::timer t(std::chrono::nanoseconds(300));
          weft::go([] { weft::yield(); });
          weft::yield();
          bool stopped = t.stop();
          if (stopped) sim::require(!t.chan().try_recv().has_value(), "a stopped timer has sent");
        });
      },
      100'000, whole);
}

TEST(timers, pending_at_the_end_of_the_run) {
  check_some(
      [] {
        auto c = weft::run({.procs = 2}, [] {
          weft::go([] { weft::sleep_for(std::chrono::nanoseconds(200)); });
          return weft::after(std::chrono::microseconds(1));
        });
      },
      100'000, whole);
}

// TIMER-TAKEN, TIMER-FIRED, on the heap itself: who stops a timer and is told that it has fired may do with it what he likes; one who
// stopped it before that knows that it will not.
struct told_timer : rt::timer {
  plain<int> state{0};  // 1: fired, 2: dropped
  atomic<int> made{0};
};
void stopped_by_another(std::int64_t in_ns, int procs, bool outside) {
  auto t = std::make_unique<told_timer>();
  t->fire = [](rt::timer* x) { static_cast<told_timer*>(x)->state = 1; };
  t->drop = [](rt::timer* x) { static_cast<told_timer*>(x)->state = 2; };
  auto stop = [&] {
    while (t->made.load(acquire) == 0) sim::spin();
    bool stopped = rt::stop_timer(*t);
    int state = t->state;
    sim::require(stopped == (state == 0), "stopped, and fired or dropped as well; or neither");
    t.reset();
  };
  std::unique_ptr<sim::thread> other;
  if (outside) other = std::make_unique<sim::thread>(stop);
  weft::run({.procs = procs}, [&] {
    if (!outside) weft::go({.home = procs - 1}, stop);
    rt::start_timer(*t, os::now_ns() + in_ns);
    t->made.store(1, release);
    if (!outside) {
      for (int i = 0; i < 3; ++i) weft::yield();
    }
  });
  if (other) other->join();
}
TEST(timers, stopped_as_it_fires) {
  check_some([] { stopped_by_another(600, 2, false); }, 100'000, whole);
  check_some([] { stopped_by_another(600, 2, true); }, 100'000, whole);
}
TEST(timers, stopped_as_it_is_dropped) {
  check_some([] { stopped_by_another(1'000'000'000, 1, true); }, 100'000, whole);
}

// The heap's entries go from P to P: several timers, of which some are stopped and some fire, whoever comes by.
TEST(timers, several_on_one_heap) {
  check_some(
      [] {
        std::array<told_timer, 4> ts;
        for (auto& t : ts) t.fire = [](rt::timer* x) { static_cast<told_timer*>(x)->state = 1; };
        weft::run({.procs = 2}, [&] {
          std::int64_t now = os::now_ns();
          for (std::size_t i = 0; i < ts.size(); ++i)
            rt::start_timer(ts[i], now + 500 + 100 * static_cast<std::int64_t>((7 * i) % 4));
          weft::go({.home = 1}, [&] {
            for (std::size_t i = 0; i < 2; ++i) {
              bool stopped = rt::stop_timer(ts[2 * i]);
              int state = ts[2 * i].state;
              sim::require(stopped == (state == 0), "stopped, and fired as well; or neither");
            }
          });
          weft::sleep_for(std::chrono::microseconds(2));
          for (std::size_t i : {std::size_t{1}, std::size_t{3}}) {
            rt::stop_timer(ts[i]);
            sim::require(ts[i].state == 1, "it has not fired in time");
          }
        });
      },
      100'000, whole);
}

// Two Ms fire one after the other, and who waits for the first sees that the second is on: it has to see the first's end in it.
TEST(timers, two_fired_by_two) {
  check_some(
      [] {
        std::array<told_timer, 2> ts;
        for (auto& t : ts) t.fire = [](rt::timer* x) { static_cast<told_timer*>(x)->state = 1; };
        sim::thread outside([&] {
          while (ts[0].made.load(acquire) == 0) sim::spin();
          bool stopped = rt::stop_timer(ts[0]);
          int state = ts[0].state;
          sim::require(stopped == (state == 0), "stopped, and fired as well; or neither");
          rt::stop_timer(ts[1]);
          ts[0].made.store(0, release);
        });
        weft::run({.procs = 2}, [&] {
          std::int64_t now = os::now_ns();
          rt::start_timer(ts[0], now + 100);
          rt::start_timer(ts[1], now + 101);
          ts[0].made.store(1, release);
          while (ts[0].made.load(acquire) == 1) {
            weft::yield();
            sim::spin();
          }
        });
        outside.join();
      },
      100'000, whole);
}

// A ticker's owner resets and stops it, as it ticks.
TEST(timers, reset_as_it_ticks) {
  check_some(
      [] {
        weft::run({.procs = 2}, [] {
          weft::ticker t(std::chrono::nanoseconds(300));
          wait_group over;
          over.go([&] { t.chan().try_recv(); });
          weft::yield();
          t.reset(std::chrono::nanoseconds(200));
          t.chan().recv();
          over.wait();
          t.stop();
          sim::require(!t.chan().try_recv().has_value(), "a stopped ticker ticks");
        });
      },
      100'000, whole);
}

// TIMER-KEEPER, the other way round: everybody goes to sleep as a timer is started. No deadline passes while anybody has something to do, so that who
// comes late has slept.
TEST(timers, started_as_others_go_to_sleep) {
  check_some(
      [] {
        atomic<std::int64_t> ran{0};
        weft::run({.procs = 2}, [&] {
          weft::go({.home = 1}, [&] { weft::sleep_for(std::chrono::milliseconds(1)); });
          weft::go([&] {
            weft::sleep_for(std::chrono::microseconds(3));
            ran.store(os::now_ns(), relaxed);
          });
          weft::yield();
          std::int64_t now = os::now_ns();
          while (ran.load(relaxed) == 0) sim::spin();
          sim::require(ran.load(relaxed) < now + 500'000, "half a millisecond late");
        });
      },
      100'000, {.early = false, .max_steps = 200'000});
}

// The same, with nothing else going on: the keeper, back from a timer that it fired, goes to sleep for the far one as the near one is
// started. Who starts it may believe that it still sleeps for the first.
TEST(timers, started_as_the_keeper_goes_to_sleep) {
  struct timed : rt::timer {
    atomic<std::int64_t> fired{0};
  };
  check_some(
      [] {
        timed soon;
        timed near;
        timed far;
        for (timed* t : {&soon, &near, &far})
          t->fire = [](rt::timer* x) { static_cast<timed*>(x)->fired.store(os::now_ns(), relaxed); };
        weft::run({.procs = 2}, [&] {
          std::int64_t now = os::now_ns();
          rt::start_timer(far, now + 1'000'000);
          rt::start_timer(soon, now + 1'000);
          while (soon.fired.load(relaxed) == 0) sim::spin();
          now = os::now_ns();
          rt::start_timer(near, now + 3'000);
          while (near.fired.load(relaxed) == 0) sim::spin();
          sim::require(near.fired.load(relaxed) < now + 500'000, "half a millisecond late");
          rt::stop_timer(far);
        });
      },
      100'000, {.early = false, .max_steps = 200'000});
}

// A timer outlives its run's end in the hands of an ordinary thread, which stops it as the run drops it.
TEST(timers, stopped_from_outside_as_the_run_ends) {
  check_some(
      [] {
        std::unique_ptr<weft::timer> t;
        atomic<int> made{0};
        sim::thread outside([&] {
          while (made.load(acquire) == 0) sim::spin();
          t->stop();
        });
        weft::run({.procs = 2}, [&] {
          t = std::make_unique<weft::timer>(std::chrono::seconds(1));
          made.store(1, release);
        });
        outside.join();
      },
      100'000, whole);
}

TEST(world, select_among_goroutines) {
  check_some(
      [] {
        int sum = 0;
        weft::run({.procs = 2}, [&] {
          auto a = make_chan<int>();
          auto b = make_chan<int>();
          weft::go([=] { a.send(1); });
          weft::go([=] { b.send(2); });
          for (int i = 0; i < 2; ++i)
            weft::select(on_recv(a, [&](std::optional<int> v) { sum += *v; }),
                         on_recv(b, [&](std::optional<int> v) { sum += *v; }));
        });
        sim::require(sum == 3, "a value is lost");
      },
      100'000, whole);
}

TEST(world, mutex_among_goroutines) {
  check_some(
      [] {
        mutex m;
        plain<int> count{0};
        weft::run({.procs = 2}, [&] {
          for (int k = 0; k < 3; ++k)
            weft::go([&] {
              m.lock();
              count = count + 1;
              m.unlock();
            });
        });
        sim::require(count == 3, "a turn is lost");
      },
      100'000, whole);
}

TEST(world, exceptions_and_errno_stay_with_the_goroutine) {
  check_some(
      [] {
        int caught = 0;
        weft::run({.procs = 2}, [&] {
          auto c = make_chan<int>(2);
          for (int k = 0; k < 2; ++k)
            weft::go([c, k] {
              errno = 100 + k;
              try {
                throw k;
              } catch (int v) {
                weft::yield();
                sim::require(std::current_exception() != nullptr && v == k, "another goroutine's exception");
                sim::require(errno == 100 + k, "another goroutine's errno");
              }
              c.send(k);
            });
          for (int k = 0; k < 2; ++k) caught += 1 + 0 * *c.recv();
        });
        sim::require(caught == 2, "a goroutine is lost");
      },
      100'000, whole);
}

}  // namespace
}  // namespace weft
