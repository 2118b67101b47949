// SPDX-License-Identifier: MIT
//
// weft::run from its start to its end: set_procs, bound goroutines, faults, exceptions, and what is built on it.

#include "whole_runtime.h"

namespace weft {
namespace {

using weft_test::check_some;
using weft_test::compute_until;
using weft_test::whole;

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
