// SPDX-License-Identifier: MIT
//
// Timers under weft::run (sched/timer.h): fired once, in time, whoever comes by; stopped or fired, never both.

#include "runtime/sched/timer.h"
#include "whole_runtime.h"

namespace weft {
namespace {

using weft_test::check_some;
using weft_test::compute_until;
using weft_test::whole;

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

// SYSMON-TIMERS: who kept the time has risen for an earlier sleeper, which computes. The second is woken when it is overdue, and not when sysmon
// happens to look at its longest.
TEST(timers, fire_beside_a_sleeper_that_woke_and_computes) {
  sim::plan in_time = whole;
  in_time.early = false;               // nobody is slow, so that the time that passes tells who came
  for (const int later : {1, 90'000})  // with the first one's rise, and when sysmon has gone to sleep
    check_some(
        [later] {
          atomic<int> ran{0};
          weft::run({.procs = 2}, [&] {
            const std::int64_t first = os::now_ns() + 100'000;
            const std::int64_t due = first + later;
            weft::go([&, due] {
              weft::sleep_until_ns(due);
              sim::require(os::now_ns() < due + limits::overlooked_ns / 2, "sysmon came by chance only");
              ran.store(1, release);
            });
            weft::sleep_until_ns(first);
            compute_until(ran, 1);
          });
        },
        50'000, in_time);
}

// Several are due together: some are fetched ahead, some stolen, by an idle P, a few at a time; some put between them meanwhile, by who sleeps
// again; and who goes to sleep may go straight to the next. Each wakes as often as it sleeps, and not early.
TEST(timers, many_sleep) {
  check_some(
      [] {
        atomic<int> woken{0};
        weft::run({.procs = 2}, [&] {
          for (int k = 0; k < 4; ++k)
            weft::go([&woken, k] {
              for (int i = 0; i < 2; ++i) {
                const std::int64_t due = os::now_ns() + 1'000 + 100 * (k % 3);
                weft::sleep_until_ns(due);
                sim::require(os::now_ns() >= due, "woken too early");
                woken.fetch_add(1, acq_rel);
              }
            });
          weft::yield();
          compute_until(woken, 4);
        });
        sim::require(woken.load(acquire) == 8, "a sleeper is lost, or was woken twice");
      },
      20'000, whole);
}

// Who goes to sleep finds a sleeper that is due, and what a thief has taken from runnext still lying there: the due one is not put on top of it.
TEST(timers, one_is_due_beside_a_stolen_runnext) {
  check_some(
      [] {
        atomic<int> ran{0};
        atomic<int> woken{0};
        weft::run({.procs = 2}, [&] {
          auto c = make_chan<int>();
          weft::go([&, c] {
            c.recv();
            ran.store(1, release);
            compute_until(woken, 1);  // so that nobody else comes for the sleeper
          });
          const std::int64_t due = os::now_ns() + 200'000;
          weft::go([&, due] {
            weft::sleep_until_ns(due);
            woken.store(1, release);
          });
          weft::yield();
          c.send(1);
          compute_until(ran, 1);  // sysmon has taken it
          while (os::now_ns() < due) sim::spin();
          weft::sleep_for(std::chrono::nanoseconds(100));
        });
      },
      20'000, whole);
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

// SYSMON-TIMERS
struct in_time_timer : rt::timer {
  std::int64_t due = 0;
  atomic<int> fired{0};

  in_time_timer() {
    fire = [](rt::timer* x) {
      auto* it = static_cast<in_time_timer*>(x);
      sim::require(os::now_ns() < it->due + limits::overlooked_ns / 2, "sysmon came by chance only");
      it->fired.store(1, release);
    };
  }

  void start(std::int64_t after) {
    due = os::now_ns() + after;
    rt::start_timer(*this, due);
  }
};

// Started while sysmon has long been asleep; the keeper that is to see to it rises earlier, for one that computes. `by_other`: on another P, at the
// very moment of that rise.
void started_while_sysmon_sleeps(bool by_other) {
  in_time_timer t;
  // Where all only wait for others, time passes in one leap, to the next that somebody sleeps for; and who waits looks again when somebody has
  // stored something.
  atomic<int> ticks{0};
  sim::thread clock([&] {
    while (t.fired.load(relaxed) == 0) {
      os::sleep_ns(50'000);
      ticks.fetch_add(1, relaxed);
    }
  });
  weft::run({.procs = 3}, [&] {
    const std::int64_t asleep = os::now_ns() + 1'000'000;
    atomic<std::int64_t> rise{INT64_MAX};
    if (by_other)
      weft::go({.home = 1}, [&] {
        while (os::now_ns() < rise.load(relaxed)) sim::spin();
        t.start(300'000);
        compute_until(t.fired, 1);
      });
    while (os::now_ns() < asleep) sim::spin();
    rise.store(os::now_ns() + 100'000, relaxed);
    if (!by_other) t.start(300'000);
    weft::sleep_until_ns(rise.load(relaxed));
    compute_until(t.fired, 1);
  });
  clock.join();
}

TEST(timers, started_while_sysmon_sleeps) {
  for (const bool by_other : {false, true})
    check_some([by_other] { started_while_sysmon_sleeps(by_other); }, 50'000, {.early = false, .max_steps = 200'000});
}

// Started by one that goes on computing, as the keeper rises for one that will compute as well, and sysmon looks.
TEST(timers, started_as_the_keeper_rises_and_sysmon_looks) {
  for (const int before : {0, 200})  // sysmon's look
    check_some(
        [before] {
          in_time_timer t;
          weft::run({.procs = 3}, [&] {
            const std::int64_t rise = os::now_ns() + 1'000'000;
            weft::go({.home = 1}, [&, rise, before] {
              while (os::now_ns() < rise + before / 2) sim::spin();
              t.start(200'000);
              compute_until(t.fired, 1);
            });
            // For this one sysmon will look when it is overdue.
            weft::go([rise, before] { weft::sleep_until_ns(rise - before - limits::timer_patience_ns); });
            weft::sleep_until_ns(rise);
            compute_until(t.fired, 1);
          });
        },
        50'000, {.stale_in_a_row = 4, .early = false, .max_steps = 200'000});
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

}  // namespace
}  // namespace weft
