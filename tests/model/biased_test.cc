// SPDX-License-Identifier: MIT
//
// Biased words (sched/biased.h): no move is lost, whoever has the bias meanwhile; and what is written before a move is read behind the next.

#include <gmock/gmock.h>

#include <array>

#include "late_flag.h"
#include "model.h"
#include "runtime/sched/biased.h"
#include "runtime/weft/weft.h"
#include "tests/support/bare_p.h"

namespace weft::rt {
namespace {

using weft_test::check_all;
using weft_test::check_some;
using weft_test::held_p;

constexpr std::uint64_t one = 16;  // above kind and flag

// By a section that looks at the word, or by one that does not.
bool move_by(bool blind, M* m, biased_word& w, std::uint64_t expected, std::uint64_t desired, std::memory_order ok) {
  return blind ? move<flag::any, seen::just_now>(m, w, expected, desired, ok) : move(m, w, expected, desired, ok);
}

void add(M* m, biased_word& w, int times, std::memory_order ok = relaxed) {
  for (int i = 0; i < times;) {
    const std::uint64_t v = w.load(relaxed);
    if (move_by(i % 2 == 0, m, w, v, v + one, ok)) ++i;
  }
}

std::uint64_t count(const biased_word& w) { return (w.load(acquire) & ~bias_flag) / one; }

// BIAS. The owner moves, an ordinary thread takes the bias back.
TEST(biased, taken_back_by_a_thread) {
  const auto body = [](int each) {
    biased_word w(0);
    held_p a;
    sim::thread owner([&] {
      bias_to(a.m(), w);
      add(a.m(), w, each);
    });
    sim::thread other([&] { add(nullptr, w, each); });
    owner.join();
    other.join();
    sim::require(count(w) == 2 * static_cast<std::uint64_t>(each), "a move was lost");
  };
  check_all([&] { body(1); }, {.preemptions = 3, .stale = 1, .spurious = 0});
  check_some([&] { body(3); }, 100'000);
}

// Two Ps that both want it, and take it from each other.
TEST(biased, two_owners) {
  const auto body = [](int each) {
    biased_word w(0);
    std::array<held_p, 2> p;
    const auto use = [&](M* m) {
      for (int i = 0; i < each; ++i) {
        bias_to(m, w);
        add(m, w, 1);
      }
    };
    sim::thread other([&] { use(p[1].m()); });
    use(p[0].m());
    other.join();
    sim::require(count(w) == 2 * static_cast<std::uint64_t>(each), "a move was lost");
  };
  check_all([&] { body(1); }, {.preemptions = 3, .stale = 1, .spurious = 0});
  check_some([&] { body(2); }, 100'000);
}

// Biases by the moves themselves, three at it, one of them no goroutine; and sections aborted for no reason, until some give up on them.
TEST(biased, given_taken_and_forbidden) {
  check_some(
      [] {
        biased_word w(0);
        std::array<held_p, 2> p;
        sim::thread second([&] { add(p[1].m(), w, 3); });
        sim::thread third([&] { add(nullptr, w, 2); });
        add(p[0].m(), w, 3);
        second.join();
        third.join();
        sim::require(count(w) == 8, "a move was lost");
      },
      100'000, {.spurious = 4});
}

// I5 is looked after: a section that overwrites what its owner has not read last is a failure.
TEST(biased, a_section_that_overwrites_another_word_is_found) {
  const sim::report r = sim::explore({.schedules = 10, .shrink = false, .expect_failure = true}, [] {
    biased_word w(0);
    held_p a;
    bias_to(a.m(), w);
    const std::uint64_t v = w.load(relaxed);
    add(a.m(), w, 1);
    (void)move<flag::same, seen::just_now>(a.m(), w, v, v + one, relaxed);
  });
  EXPECT_TRUE(r.failed);
  EXPECT_THAT(r.message, testing::HasSubstr("overwrote"));
}

// A P goes from one M to another with all its biases.
TEST(biased, goes_with_its_p) {
  check_some(
      [] {
        biased_word w(0);
        held_p a;
        M second;
        sim::thread other([&] { add(nullptr, w, 2); });
        bias_to(a.m(), w);
        add(a.m(), w, 2);
        atomic<bool> handed{false};
        sim::thread next([&] {
          while (!handed.load(acquire)) sim::spin();
          second.p = a.m()->p;
          add(&second, w, 2);
        });
        handed.store(true, release);
        next.join();
        other.join();
        sim::require(count(w) == 6, "a move was lost");
      },
      100'000);
}

// The word as a lock: what is done under it is known to the next one, with the bias or without.
TEST(biased, orders_what_it_guards) {
  const auto body = [](int each, bool blind) {
    biased_word w(0);
    std::array<held_p, 2> p;
    plain<int> guarded{0};
    const auto use = [&](M* m, bool bias) {
      for (int i = 0; i < each; ++i) {
        if (bias) bias_to(m, w);
        for (;;) {
          const std::uint64_t v = w.load(relaxed);
          if ((v & ~bias_flag) == 0 && move_by(blind, m, w, v, one, acquire)) break;
          sim::spin();
        }
        guarded = guarded + 1;
        for (;;) {
          const std::uint64_t v = w.load(relaxed);
          if (move_by(blind, m, w, v, 0, release)) break;
        }
      }
    };
    sim::thread second([&] { use(p[1].m(), true); });
    sim::thread third([&] { use(nullptr, false); });
    use(p[0].m(), true);
    second.join();
    third.join();
    sim::require(guarded == 3 * each, "two were in at once");
  };
  for (const bool blind : {false, true}) {
    check_some([&] { body(1, blind); }, 100'000);
    check_some([&] { body(2, blind); }, 50'000);
  }
}

TEST(biased, a_flag_that_comes_late) { check_some(weft_test::late_flag, 100'000); }

// Not in vain: in some runs a channel of two goroutines gets a bias, and in some another P takes it back.
TEST(biased, channels_of_goroutines_have_it_and_lose_it) {
  int had = 0;
  int lost = 0;
  check_some(
      [&] {
        weft::run({.procs = 2}, [&] {
          auto c = make_chan<int>(1);
          const auto& w = c.core()->word;
          weft::go([=] {
            for (int i = 0; i < 4; ++i) c.send(i);
            c.close();
          });
          int sum = 0;
          bool biased = false;
          for (int v : c) {
            sum += v;
            biased |= w.at.guard.load(relaxed) != 0;
          }
          sim::require(sum == 6, "a value was lost");
          had += biased ? 1 : 0;
          lost += (w.history.load(relaxed) & 0xff) != 0 ? 1 : 0;
        });
      },
      20'000, {.max_steps = 200'000});
  EXPECT_GT(had, 0);
  EXPECT_GT(lost, 0);
}

// Without sections nobody gets a bias, and all is as it was.
TEST(biased, not_where_there_are_no_sections) {
  check_some(
      [] {
        biased_word w(0);
        held_p a;
        bias_to(a.m(), w);
        sim::thread other([&] { add(nullptr, w, 2); });
        add(a.m(), w, 4);
        other.join();
        sim::require(w.load(acquire) == 6 * one, "a flag, or a move was lost");
        sim::require(w.at.guard.load(relaxed) == 0, "a bias");
      },
      10'000, {.sections = false});
}

// Stopped anywhere in a bias_to, or in a move, on the way to give, use or take back a bias: the others complete their moves.
TEST(biased, nobody_waits_for_who_is_stopped) {
  sim::plan p;
  p.stop_thread = 1;
  p.max_steps = 3'000;
  p.shrink = false;
  std::uint32_t at = 0;
  for (;; ++at) {
    p.stop_at = at;
    bool reached = false;
    for (sim::strategy how : {sim::strategy::pct, sim::strategy::random}) {
      p.how = how;
      p.schedules = static_cast<std::uint64_t>(weft_test::scaled(2'000));
      const sim::report r = sim::explore(p, [] {
        biased_word w(0);
        std::array<held_p, 3> who;
        sim::thread stopped([&] {
          for (int i = 0; i < 2; ++i) {
            bias_to(who[0].m(), w);
            add(who[0].m(), w, 2);
          }
        });
        sim::thread other([&] {
          bias_to(who[1].m(), w);
          add(who[1].m(), w, 3);
        });
        add(nullptr, w, 2);
        bias_to(who[2].m(), w);
        add(who[2].m(), w, 1);
        other.join();
        if (stopped.join()) sim::require(count(w) == 10, "a move was lost");
        sim::require(count(w) >= 6, "a move was lost");
      });
      ASSERT_FALSE(r.failed) << r.message;
      if (r.stop_points >= at) reached = true;
    }
    if (!reached) break;
  }
  std::printf("  stopped before each of %u points\n", at);
  EXPECT_GT(at, 20U);
}

}  // namespace
}  // namespace weft::rt
