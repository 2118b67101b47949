// SPDX-License-Identifier: MIT
//
// Goroutines that gather (sched/gather.h): whoever is on its way to another P is run there, or elsewhere when that P does not come to it, and
// what thieves are kept from is not forgotten.

#include "runtime/sched/gather.h"

#include "runtime/sched/biased.h"
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

rt::P* p_of_run(int id) { return rt::proc(rt::self()->s, id); }

// Gives way meanwhile: it may stand on the very P that it waits for.
void until(atomic<int>& flag, int wanted) {
  while (flag.load(acquire) < wanted) {
    sim::spin();
    weft::yield();
  }
}

// A goroutine computes on P 1, until somebody is there.
struct computing {
  atomic<int> computes{0};
  atomic<int> there{0};

  void begin() {
    weft::go({.home = 1}, [this] {
      computes.store(1, release);
      compute_until(there, 1);
    });
    until(computes, 1);
  }
  void end() { there.store(1, release); }
};

// SYSMON-NAG, INBOX: the P that it goes to computes until it has been there. With three Ps another idles all the time, with two our own does, from then on.
TEST(gather, who_goes_where_one_computes_is_run_elsewhere) {
  for (int procs : {2, 3})
    check_some(
        [procs] {
          computing other;
          weft::run({.procs = procs}, [&] {
            other.begin();
            rt::go_to(rt::self(), p_of_run(1));
            other.end();
          });
        },
        50'000, whole);
}

// Between two that are bound to that P, one of whom computes.
TEST(gather, it_leaves_behind_who_is_bound) {
  check_some(
      [] {
        computing other;
        int ran = 0;
        weft::run({.procs = 2}, [&] {
          other.begin();
          weft::go({.home = 1}, [&] { sim::require(rt::self()->p == p_of_run(1), "it is bound to another P"), ++ran; });
          rt::go_to(rt::self(), p_of_run(1));
          other.end();
        });
        sim::require(ran == 1, "a goroutine is lost");
      },
      50'000, whole);
}

// SUBMIT-IDLE: the P that it goes to idles, or is about to, and the watchdog is not there to mend it.
TEST(gather, an_idle_p_is_woken_for_it) {
  check_some(
      [] {
        plain<int> written{0};
        weft::run({.procs = 2}, [&] {
          written = 1;
          rt::go_to(rt::self(), p_of_run(1));
          written = written + 1;
          rt::go_to(rt::self(), p_of_run(0));
          written = written + 1;
        });
        sim::require(written == 3, "a goroutine is lost");
      },
      100'000, no_watchdog);
}

// SHRINK: the P that it goes to is retired.
TEST(gather, who_goes_to_a_p_that_is_retired_goes_on) {
  check_some(
      [] {
        atomic<int> there{0};
        weft::run({.procs = 2}, [&] {
          rt::P* other = p_of_run(1);
          weft::go([&there, other] {
            rt::go_to(rt::self(), other);
            there.store(1, relaxed);
          });
          weft::go([] { weft::set_procs(1); });
        });
        sim::require(there.load(relaxed) == 1, "a goroutine is lost");
      },
      100'000, whole);
}

// SYSMON-NAG: a P is idle, and nothing is put anywhere for so long that sysmon goes to sleep; then a goroutine goes to one that computes.
TEST(gather, sysmon_is_told_of_who_goes_where_one_computes) {
  for (int ticks : {7, 8, 9})
    check_some(
        [ticks] {
          computing other;
          weft::run({.procs = 3}, [&] {
            other.begin();
            const std::int64_t asleep = os::now_ns() + ticks * 40'000;
            while (os::now_ns() < asleep) sim::spin();
            const std::int64_t late = os::now_ns() + limits::overlooked_ns;
            rt::go_to(rt::self(), p_of_run(1));
            sim::require(os::now_ns() < late, "sysmon came by chance only");
            other.end();
          });
        },
        34'000, in_time);
}

// Three who waited are readied into a ring that thieves are kept from, for so long, and wait behind one that computes until they have run. When that
// began.
std::int64_t ready_behind_a_bar(std::int64_t bar_ns) {
  atomic<int> ran{0};
  auto c = make_chan<int>();
  for (int i = 0; i < 3; ++i)
    weft::go([&, c] {
      c.recv();
      ran.fetch_add(1, acq_rel);
    });
  weft::sleep_for(std::chrono::milliseconds(1));  // until all wait
  rt::M* m = rt::self();
  rt::hold_switches(m);
  const std::int64_t now = os::now_ns();
  m->p->more->ring_thefts.extend(now, bar_ns, bar_ns);
  for (int i = 0; i < 3; ++i) c.send(i);
  rt::allow_switches(m);
  compute_until(ran, 3);
  return now;
}

// Who was stolen from it went back: that is left to sysmon, beside an idle P.
TEST(gather, what_lies_in_a_barred_ring_does_not_wait_behind_who_computes) {
  for (int procs : {2, 3})
    check_some([procs] { weft::run({.procs = procs}, [] { (void)ready_behind_a_bar(limits::stay_away_first_ns); }); },
               50'000, whole);
}

// However long it is barred: who has waited for a tick is not left to it.
TEST(gather, a_long_bar_is_lifted_for_who_waits) {
  check_some(
      [] {
        weft::run({.procs = 2}, [] {
          const std::int64_t began = ready_behind_a_bar(1'000'000'000);
          sim::require(os::now_ns() < began + limits::overlooked_ns, "left to the bar");
        });
      },
      50'000, in_time);
}

// One move of w from v, wherever the caller's goroutine may be taken for it, as a channel's slow half does it (chan_core.cc).
void add(rt::biased_word& w, rt::gathering& at, bool& went) {
  for (;;) {
    rt::M* m = rt::self();
    const rt::P* before = m->p;
    const std::uint64_t v = w.load(relaxed);
    const bool elsewhere = (v & rt::bias_flag) && w.at.guard.load(relaxed) != rt::guard_of(m->p) && at.any();
    const bool moved = !(elsewhere && rt::gather(m, w, at, false)) && rt::move(rt::self(), w, v, v + 16, acq_rel);
    if (moved) return;
    if (!rt::gather(rt::self(), w, at, true)) rt::gather_look(rt::self(), w);
    went = went || rt::self()->p != before;
  }
}

// BIAS, and all of the above at once: nothing is lost that is done by who comes and goes. That somebody goes is seen in some schedule at least.
TEST(gather, a_word_that_is_fought_over_counts_right) {
  bool home = false;
  bool went = false;
  for (int procs : {2, 3})
    check_some(
        [&, procs] {
          rt::biased_word w(0);
          rt::gathering at;
          weft::run({.procs = procs}, [&] {
            weft::wait_group all;
            for (int i = 0; i < 3; ++i)
              all.go([&] {
                for (int k = 0; k < 3; ++k) add(w, at, went);
              });
            all.wait();
          });
          home = home || at.any();
          sim::require((w.load(relaxed) & ~rt::bias_flag) == std::uint64_t{9 * 16}, "a move is lost");
        },
        30'000, whole);
  EXPECT_TRUE(home);
  EXPECT_TRUE(went);
}

// Channels and a select that are fought over: all that is sent arrives, once.
void fight(std::size_t capacity) {
  atomic<int> sum{0};
  weft::run({.procs = 2}, [&] {
    auto c = make_chan<int>(capacity);
    auto d = make_chan<int>(capacity);
    weft::wait_group all;
    for (int i = 0; i < 2; ++i) {
      all.go([=] {
        for (int k = 1; k <= 2; ++k) c.send(k);
      });
      all.go([=, &sum] {
        for (int k = 1; k <= 2; ++k) sum.fetch_add(*c.recv(), relaxed);
      });
    }
    all.go([=] {
      for (int k = 1; k <= 2; ++k) d.send(10 * k);
    });
    all.go([=, &sum] {
      for (int k = 1; k <= 2; ++k)
        weft::select(weft::on_recv(d, [&](std::optional<int> v) { sum.fetch_add(*v, relaxed); }),
                     weft::on_recv(recv_chan<int>{}, [](std::optional<int>) {}));
    });
    all.wait();
  });
  sim::require(sum.load(relaxed) == 6 + 30, "a value is lost");
}

TEST(gather, channels_that_are_fought_over_lose_nothing) {
  for (std::size_t capacity : {0U, 1U, 2U}) check_some([capacity] { fight(capacity); }, 20'000, whole);
}

}  // namespace
}  // namespace weft
