// SPDX-License-Identifier: MIT
#include "runtime/sched/gather.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>

#include <weft/weft.h>

#include "runtime/sched/biased.h"
#include "runtime/sched/park.h"
#include "runtime/sched/world.h"
#include "tests/support/world.h"

namespace weft::rt {
namespace {

P* p_here() { return self()->p; }
P* p_number(int id) { return proc(self()->s, id); }

// The current M has done nothing but calls, or not a single one, since it last paused, whatever the clock says.
void look_dense(bool dense) {
  M::parts& mine = *self()->more;
  mine.dense_on = p_here();
  mine.dense_calls = p_here()->rounds.load(relaxed) * static_cast<std::uint32_t>(limits::slice);
  mine.dense_ns = dense ? std::numeric_limits<std::int64_t>::max() / 2 : 0;
}

struct fought_over {
  biased_word w{0};
  gathering at;

  bool lose(bool dense) {
    look_dense(dense);
    return gather(self(), w, at, true);
  }
  bool come_to_bias(bool dense) {
    look_dense(dense);
    return gather(self(), w, at, false);
  }
  // However long the test is held up, no time passes since then.
  void stop_the_clock() { at.since_ns.store(std::numeric_limits<std::int64_t>::max() / 2, relaxed); }

  // The caller's P becomes the home, by as many fights as it takes.
  int fight() {
    int n = 0;
    for (; !at.any() && n < 10'000; ++n) {
      EXPECT_FALSE(lose(true));
      stop_the_clock();
    }
    return n;
  }
};

// The other P has nothing to do.
void on_two(const std::function<void()>& body) { weft::run(weft_test::on(2), body); }

// As gather.cc names it.
std::uint64_t name_of(const P* p) { return guard_of(p) << 16 | static_cast<std::uint64_t>(p->id); }

// A home on the P that the caller is not on.
void make_home_elsewhere(fought_over& f) { f.at.home.store(name_of(p_number(1 - p_here()->id)), relaxed); }

TEST(gather, fights_make_a_home_where_the_last_one_was_and_give_it_the_bias) {
  on_two([] {
    fought_over f;
    EXPECT_EQ(f.fight(), limits::gather_fights);
    EXPECT_TRUE(f.at.any());
    if (os::sections) {
      EXPECT_EQ(f.w.at.guard.load(relaxed), guard_of(p_here()));
    }
    const P* before = p_here();
    EXPECT_FALSE(f.lose(true)) << "it is at home";
    EXPECT_EQ(p_here(), before);
  });
}

TEST(gather, losses_that_are_no_fights_count_against_them) {
  on_two([] {
    fought_over f;
    for (int i = 0; i < 10 * limits::gather_fights; ++i) {
      EXPECT_FALSE(f.lose(true));
      for (int k = 0; k < limits::gather_per_fight; ++k) EXPECT_FALSE(f.lose(false));
    }
    EXPECT_FALSE(f.at.any());
  });
}

TEST(gather, fights_that_are_far_apart_make_no_home) {
  on_two([] {
    fought_over f;
    for (int i = 0; i < 3 * limits::gather_fights; ++i) {
      EXPECT_FALSE(f.lose(true));
      f.at.since_ns.store(os::now_ns() - limits::gather_fights_ns - 1, relaxed);
    }
    EXPECT_FALSE(f.at.any());
  });
}

TEST(gather, who_fights_elsewhere_goes_home) {
  on_two([] {
    fought_over f;
    make_home_elsewhere(f);
    const P* before = p_here();
    EXPECT_FALSE(f.lose(false)) << "it has other work to do";
    EXPECT_EQ(p_here(), before);
    // It is there afterwards, unless that P's thread has not run for so long that sysmon has brought it back.
    const auto goes = [&](bool lost) {
      make_home_elsewhere(f);
      const P* here = p_here();
      EXPECT_TRUE(lost ? f.lose(true) : f.come_to_bias(true));
      return p_here() != here;
    };
    EXPECT_TRUE(weft_test::eventually([&] { return goes(true); }));
    EXPECT_TRUE(weft_test::eventually([&] { return goes(false); }));
  });
}

TEST(gather, who_is_bound_or_may_not_switch_stays) {
  on_two([] {
    fought_over f;
    make_home_elsewhere(f);
    M* m = self();
    hold_switches(m);
    EXPECT_FALSE(f.lose(true));
    allow_switches(m);
    weft::wait_group all;
    all.add(1);
    weft::go({.home = p_here()->id}, [&] {
      const P* before = p_here();
      EXPECT_FALSE(f.lose(true));
      EXPECT_EQ(p_here(), before);
      all.done();
    });
    all.wait();
  });
}

TEST(gather, a_home_is_dissolved_by_visits_that_are_not_dense_and_then_not_soon_again) {
  on_two([] {
    fought_over f;
    const auto dissolve = [&] {
      make_home_elsewhere(f);
      f.stop_the_clock();
      int visits = 0;
      for (; f.at.any() && visits < 10'000; ++visits) EXPECT_FALSE(f.come_to_bias(false));
      return visits;
    };
    for (int i = 0; i < limits::gather_doublings + 2; ++i) {
      const std::int64_t before = os::now_ns();
      EXPECT_EQ(dissolve(), limits::gather_sparse);
      EXPECT_EQ(f.at.broken.load(relaxed), std::min(i + 1, limits::gather_doublings));
      EXPECT_GE(f.at.not_before_ns.load(relaxed) - before,
                limits::gather_again_ns << std::min(i, limits::gather_doublings));
      f.at.not_before_ns.store(std::numeric_limits<std::int64_t>::max(), relaxed);  // that time does not pass
      EXPECT_FALSE(f.lose(true));
      EXPECT_EQ(f.at.score.load(relaxed), 0) << "counted too soon";
    }
    // One that has lasted is no bad sign.
    make_home_elsewhere(f);
    f.at.since_ns.store(os::now_ns() - limits::gather_lasts_ns, relaxed);
    while (f.at.any()) EXPECT_FALSE(f.come_to_bias(false));
    EXPECT_EQ(f.at.broken.load(relaxed), 1);
  });
}

TEST(gather, visits_that_are_dense_count_for_the_home) {
  on_two([] {
    fought_over f;
    for (int i = 0; i < 4 * limits::gather_sparse; ++i) {
      make_home_elsewhere(f);
      EXPECT_FALSE(f.come_to_bias(false));
      EXPECT_TRUE(f.come_to_bias(true));
    }
    EXPECT_TRUE(f.at.any());
    EXPECT_LE(f.at.score.load(relaxed), 1);
  });
}

TEST(gather, another_runs_p_or_one_that_is_not_in_use_is_no_home) {
  fought_over f;
  on_two([&] {
    f.at.home.store(name_of(p_number(1)), relaxed);
    weft::set_procs(1);
    EXPECT_FALSE(f.lose(true));
    weft::set_procs(2);
    P another;
    f.at.home.store(guard_of(&another) << 16 | 1, relaxed);
    EXPECT_FALSE(f.lose(true));
    f.at.home.store(guard_of(&another) << 16 | 1000, relaxed);
    EXPECT_FALSE(f.lose(true));
    EXPECT_EQ(f.at.score.load(relaxed), 2) << "not counted as visits";
  });
}

// What a thief does with one that it took from where all is dense.
TEST(gather, who_was_stolen_goes_back_and_bars_the_ring_or_takes_the_home_along) {
  on_two([] {
    fought_over f;
    make_home_elsewhere(f);
    const auto steal = [&] {
      P* home = p_number(1 - p_here()->id);
      home->more->looked_dense.store(true, relaxed);
      home->more->ring_thefts.lift();
      self()->more->robbed_ring = home;
      self()->more->went_home = false;
      return home;
    };
    f.stop_the_clock();
    const P* home = steal();
    EXPECT_TRUE(f.come_to_bias(false));
    EXPECT_TRUE(home->more->ring_thefts.in_doubt());
    make_home_elsewhere(f);
    f.at.since_ns.store(os::now_ns() - limits::gather_move_ns, relaxed);
    const P* here = p_here();
    home = steal();
    EXPECT_FALSE(f.come_to_bias(false));
    EXPECT_EQ(p_here(), here);
    EXPECT_FALSE(home->more->ring_thefts.in_doubt());
    EXPECT_EQ(f.at.home.load(relaxed) & 0xffff, static_cast<std::uint64_t>(here->id));
    EXPECT_EQ(f.at.moves.load(relaxed), 1);
  });
}

TEST(gather, a_thief_looks_how_dense_the_robbed_p_has_been) {
  on_two([] {
    P* from = p_number(1);
    from->more->looked_ns.store(1'000, relaxed);
    const std::uint32_t slice = limits::slice;
    const std::uint32_t calls =
        from->rounds.load(relaxed) * slice + slice - static_cast<std::uint32_t>(from->budget.load(relaxed));
    from->more->looked_calls.store(calls - 1'000, relaxed);
    const std::int64_t dense = 1'000 * limits::gather_dense_min_ns;
    self()->more->line_ns = 0;
    gather_stolen(self(), from, 1'000 + dense);
    EXPECT_TRUE(from->more->looked_dense.load(relaxed));
    gather_stolen(self(), from, 1'000 + dense + limits::gather_trial_ns);
    EXPECT_TRUE(from->more->looked_dense.load(relaxed)) << "judged by too short a time";
    gather_stolen(self(), from, 1'000 + dense + limits::gather_trial_ns + 1);
    EXPECT_FALSE(from->more->looked_dense.load(relaxed));
  });
}

TEST(gather, a_line_is_measured_and_bounded) {
  on_two([] {
    const biased_word w(0);
    M* m = self();
    m->more->line_ns = 1'000'000;
    for (int i = 0; i < 1'000; ++i) gather_look(m, w);
    EXPECT_GE(m->more->line_ns, 0);
    EXPECT_LE(m->more->line_ns, limits::gather_dense_max_ns);
    EXPECT_EQ(m->more->dense_on, p_here());
  });
}

// Four and four on one channel, of which each value arrives once; and whoever has waited for it is let go, wherever it has been moved.
TEST(gather, a_channel_that_is_fought_over_loses_nothing) {
  const int n = weft_test::scaled(20'000);
  for (const std::size_t capacity : {0U, 1U, 8U, 128U}) {
    std::atomic<std::int64_t> sum{0};
    weft::run(weft_test::on(4), [&] {
      const auto c = weft::make_chan<std::int64_t>(capacity);
      weft::wait_group senders, receivers;
      for (int i = 0; i < 4; ++i) {
        senders.go([&] {
          for (int k = 1; k <= n; ++k) c.send(k);
        });
        receivers.go([&] {
          std::int64_t mine = 0;
          for (const std::int64_t v : c) mine += v;
          sum += mine;
        });
      }
      senders.wait();
      c.close();
      receivers.wait();
    });
    EXPECT_EQ(sum.load(), std::int64_t{4} * n * (n + 1) / 2);
  }
}

}  // namespace
}  // namespace weft::rt
