// SPDX-License-Identifier: MIT
//
// The idle protocol of weft::run (sched/spin.cc, sysmon.cc): what is readied anywhere does not wait beside a P that idles.

#include "runtime/sched/park.h"
#include "runtime/sched/world.h"
#include "whole_runtime.h"

namespace weft {
namespace {

using weft_test::check_some;
using weft_test::compute_until;
using weft_test::in_time;
using weft_test::no_watchdog;
using weft_test::whole;

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

// As many Ps run as there are CPUs: the third, which is idle, has none. Nobody is woken at once for what is readied then, but for what still waits when
// its P has stood still for a while: deque, ring and runnext, behind one that computes.
TEST(idle, nothing_waits_for_long_behind_who_stands_still_where_no_cpu_is_to_spare) {
  for (int cpus : {1, 2}) {
    sim::plan few = in_time;
    few.cpus = cpus;
    check_some(
        [cpus] {
          atomic<int> ran{0};
          atomic<int> over{0};
          weft::run({.procs = 3}, [&, cpus] {
            auto count = [&] { ran.fetch_add(1, acq_rel); };
            if (cpus == 2) weft::go({.home = 1}, [&] { compute_until(over, 1); });
            weft::yield();
            for (int i = 0; i < 3; ++i) weft::go(count);
            const std::int64_t until = os::now_ns() + limits::overlooked_ns;
            compute_until(ran, 3);
            sim::require(os::now_ns() < until, "sysmon came by chance only");
            over.store(1, release);
          });
        },
        25'000, few);
  }
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

// SUBMIT-IDLE by `go`: two that have not run yet lie in the deque, below one that computes and its runnext. (Started by two, so that nobody
// has started so many that it gives way to them: limits::spawn_storm.)
TEST(idle, a_filled_deque_is_seen_at_once) {
  for (int procs : {2, 3})
    check_some(
        [procs] {
          atomic<int> ran{0};
          weft::run({.procs = procs}, [&] {
            auto count = [&] { ran.fetch_add(1, acq_rel); };
            weft::go(count);
            weft::go([&, count] {
              for (int i = 0; i < 2; ++i) weft::go(count);
              compute_until(ran, 2);
            });
          });
          sim::require(ran.load(relaxed) == 3, "a goroutine is lost");
        },
        100'000, no_watchdog);
}

// Who spins has the next stacks' pages brought in, while the one who starts goroutines waits for those of its own: in some schedule at least.
TEST(idle, a_spinner_warms_stacks) {
  bool warmed = false;
  check_some(
      [&warmed] {
        weft::run({.procs = 2}, [&warmed] {
          auto gate = weft::make_chan<int>();
          for (int i = 0; i < 12; ++i) {
            weft::go([gate] { (void)gate.recv(); });
            // None has ended, and no P has had so many that it would give some back.
            if (rt::self()->s->stacks.stats().dirty != 0) warmed = true;
          }
          gate.close();
        });
      },
      100'000, whole);
  EXPECT_TRUE(warmed);
}

// The only P has no spinner beside it: sysmon does it, if there is a CPU.
TEST(idle, sysmon_warms_the_stacks_of_a_single_p) {
  for (int cpus : {1, 2}) {
    bool warmed = false;
    sim::plan some = whole;
    some.cpus = cpus;
    check_some(
        [&warmed] {
          weft::run({.procs = 1}, [&warmed] {
            auto gate = weft::make_chan<int>();
            for (int i = 0; i < 12; ++i) {
              weft::go([gate] { (void)gate.recv(); });
              if (rt::self()->s->stacks.stats().dirty != 0) warmed = true;
            }
            gate.close();
          });
        },
        10'000, some);
    EXPECT_EQ(warmed, cpus == 2);
  }
}

// One lies there: that is left to sysmon, as in the ring.
TEST(idle, one_in_the_deque_does_not_wait_behind_who_computes) {
  check_some(
      [] {
        atomic<int> ran{0};
        weft::run({.procs = 2}, [&] {
          auto count = [&] { ran.fetch_add(1, acq_rel); };
          weft::go(count);
          weft::go([&] { compute_until(ran, 1); });
        });
      },
      100'000, whole);
}

// The same where the last theft was not worth it, so that nobody is called and thieves may find the P barred: that is left to sysmon as well.
TEST(idle, what_is_barred_does_not_wait_behind_who_computes) {
  for (int procs : {2, 3})
    check_some(
        [procs] {
          atomic<int> ran{0};
          weft::run({.procs = procs}, [&] {
            auto count = [&] { ran.fetch_add(1, acq_rel); };
            rt::self()->p->more->thefts.judge(1, 0, 0, os::now_ns());
            for (int i = 0; i < 4; ++i) weft::go(count);
            compute_until(ran, 4);
          });
        },
        50'000, whole);
}

// SUBMIT-IDLE by `ready`: three who waited are readied, and two of them lie in the ring, behind one that computes.
TEST(idle, a_filled_ring_is_seen_at_once) {
  check_some(
      [] {
        atomic<int> ran{0};
        weft::run({.procs = 2}, [&] {
          auto c = make_chan<int>();
          for (int i = 0; i < 3; ++i)
            weft::go([&, c] {
              c.recv();
              ran.fetch_add(1, acq_rel);
            });
          weft::sleep_for(std::chrono::milliseconds(1));  // until all wait
          rt::M* m = rt::self();
          rt::hold_switches(m);  // else it might go on elsewhere, and have readied one of them here and two there
          for (int i = 0; i < 3; ++i) c.send(i);
          rt::allow_switches(m);
          // Else somebody has seen them already; it may have been sysmon, which takes the first, awake from the sleep above, and leaves one.
          if (rt::runq::own_size(m->p) == 2) compute_until(ran, 2);
        });
      },
      100'000, no_watchdog);
}

// Goroutines that have not run yet lie in the deque, from where an idle P must come for them.
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

// The P that has gone to sleep has a goroutine of its own, and so has one before it, which is busy.
TEST(idle, an_inbox_is_seen_beside_another) {
  check_some(
      [] {
        atomic<int> ran{0};
        auto c = make_chan<int>();
        sim::thread t([&] { c.send(1); });
        weft::run({.procs = 2}, [&] {
          weft::go({.home = 0}, [&] { compute_until(ran, 1); });
          weft::go({.home = 1}, [&, c] {
            weft::go({.home = 0}, [&] { ran.fetch_add(1, acq_rel); });
            c.recv();
            ran.fetch_add(1, acq_rel);
          });
        });
        t.join();
        sim::require(ran.load(relaxed) == 2, "a goroutine is lost");
      },
      100'000, no_watchdog);
}

// Without sections: a receive that meets bias after bias spends its budget and gives way, behind a goroutine that computes, where only the
// watchdog would find it.
constexpr sim::plan no_bias{.clock_stands = true, .max_steps = 50'000, .sections = false};

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
      100'000, no_bias);
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
      100'000, no_bias);
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
            until = os::now_ns() + limits::overlooked_ns;
            compute_until(ran, 1);
            sim::require(os::now_ns() < until, "sysmon came by chance only");
          });
        },
        34'000, in_time);  // in each, 100,000 together: these are the longest
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
            until = os::now_ns() + limits::overlooked_ns;
            compute_until(ran, 1);
            sim::require(os::now_ns() < until, "sysmon came by chance only");
          });
        },
        34'000, in_time);  // in each, 100,000 together: these are the longest
}

}  // namespace
}  // namespace weft
