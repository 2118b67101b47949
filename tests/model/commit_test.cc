// SPDX-License-Identifier: MIT
//
// The commit of a park (arch/switch.h): built once for the real machine, where the compare-and-swap is in the assembly of the switch, and
// once for the simulated one, where it is composed (sched/switch.cc). Both give the same answers.

#include <gtest/gtest.h>

#include <exception>

#include "runtime/sched/park.h"
#include "runtime/weft/weft.h"

#if defined(WEFT_SIM)
#include "runtime/os/sim/explore.h"
#endif

namespace weft {
namespace {

struct answer {
  rt::parked how;
  std::uint64_t word;
  std::uint32_t done;
  int error;
  bool others_ran;
};

// Parks on a word that holds `holds`, expecting 5, with or without somebody to go on; somebody later readies who parked.
answer park_once(std::uint64_t holds, bool direct, bool closed) {
  answer a{};
  weft::run({.procs = 1}, [&] {
    atomic<std::uint64_t> word{holds};
    atomic<std::uint32_t> done{1};
    bool ran = false;
    rt::M* m = rt::self();
    rt::G* me = m->curg;
    weft::go([&, me] {
      ran = true;
      if (word.load(acquire) != 9) return;
      if (closed) me->result = rt::outcome::closed;
      rt::ready(rt::self(), me);
    });
    errno = 77;
    m = rt::self();
    // Inlined, for which there must be a runnext; or the slow half, with the word of a reader section.
    a.how = direct ? rt::park(m, word, 5, 9, rt::wait_reason::sleep)
                   : rt::park_slow(m, word, 5, 9, rt::wait_reason::sleep, &done);
    a.error = errno;
    a.word = word.load(relaxed);
    a.done = done.load(relaxed);
    a.others_ran = ran;
    weft::yield();
  });
  return a;
}

// Whose the word's bias is when the park begins.
enum class bias { nobodys, ours, anothers };

// The same by a biased word (sched/biased.h), which holds 80 or something else, for 144.
answer park_once(bool same, bool direct, bias whose) {
  answer a{};
  weft::run({.procs = 1}, [&] {
    rt::biased_word word(same ? 80 : 96);
    bool ran = false;
    rt::M* m = rt::self();
    rt::G* me = m->curg;
    if (whose != bias::nobodys) rt::bias_to(m, word);
    rt::P other;
    if (whose == bias::anothers) word.at.guard.store(rt::guard_of(&other), relaxed);
    weft::go([&, me] {
      ran = true;
      if ((word.load(acquire) & ~rt::bias_flag) == 144) rt::ready(rt::self(), me);
    });
    m = rt::self();
    const std::uint64_t expected = 80 | (word.load(relaxed) & rt::bias_flag);
    a.how = direct ? rt::park(m, word, expected, 144, rt::wait_reason::sleep)
                   : rt::park_slow(m, word, expected, 144, rt::wait_reason::sleep);
    a.word = word.load(relaxed) & ~rt::bias_flag;
    a.others_ran = ran;
    EXPECT_EQ((word.load(relaxed) & rt::bias_flag) != 0, whose == bias::ours && os::sections);
    weft::yield();
  });
  return a;
}

void check_biased() {
  for (bool direct : {false, true})
    for (bias whose : {bias::nobodys, bias::ours, bias::anothers}) {
      // Taken back by the slow half; the inlined one leaves it at that.
      if (whose == bias::anothers && (direct || !os::sections)) continue;
      answer yes = park_once(true, direct, whose);
      EXPECT_EQ(yes.how, rt::parked::done);
      EXPECT_EQ(yes.word, 144U);
      EXPECT_TRUE(yes.others_ran);
      if (whose == bias::anothers) continue;
      answer no = park_once(false, direct, whose);
      EXPECT_EQ(no.how, rt::parked::no);
      EXPECT_EQ(no.word, 96U);
      EXPECT_FALSE(no.others_ran);
    }
}

int handled() {
  try {
    throw;
  } catch (int i) {
    return i;
  }
}

// Who would park, and who would go on instead, are both in a catch block; and the commit fails.
void check_lost_among_exceptions(bool direct) {
  weft::run({.procs = 1}, [&] {
    const auto c = weft::make_chan<int>();
    bool over = false;
    weft::go([&] {
      try {
        throw 1;
      } catch (int) {
        (void)c.recv();
        EXPECT_EQ(handled(), 1);
      }
      EXPECT_EQ(std::current_exception(), nullptr);
      over = true;
    });
    weft::yield();
    try {
      throw 2;
    } catch (int) {
      c.send(0);  // the other one goes on next, with its exception
      atomic<std::uint64_t> word{6};
      rt::M* m = rt::self();
      EXPECT_EQ(direct ? rt::park(m, word, 5, 9, rt::wait_reason::sleep)
                       : rt::park_slow(m, word, 5, 9, rt::wait_reason::sleep, nullptr),
                rt::parked::no);
      EXPECT_EQ(handled(), 2);
      EXPECT_FALSE(over);
      weft::yield();
      EXPECT_TRUE(over);
      EXPECT_EQ(handled(), 2);
    }
    EXPECT_EQ(std::current_exception(), nullptr);
  });
}

void check_all() {
  check_biased();
  for (bool direct : {false, true}) check_lost_among_exceptions(direct);
  for (bool direct : {false, true})
    for (bool closed : {false, true}) {
      answer yes = park_once(5, direct, closed);
      EXPECT_EQ(yes.how, closed ? rt::parked::closed : rt::parked::done);
      EXPECT_EQ(yes.word, 9U);
      EXPECT_EQ(yes.done, direct ? 1U : 0U);
      EXPECT_EQ(yes.error, 77);
      EXPECT_TRUE(yes.others_ran);
      answer no = park_once(6, direct, closed);
      EXPECT_EQ(no.how, rt::parked::no);
      EXPECT_EQ(no.word, 6U);
      EXPECT_EQ(no.done, 1U);
      EXPECT_EQ(no.error, 77);
      EXPECT_FALSE(no.others_ran);
    }
}

TEST(commit, composed_and_assembly_give_the_same_answers) {
#if defined(WEFT_SIM)
  EXPECT_EQ(WEFT_COMPOSED_SWITCH, 1);
  sim::report r = sim::explore({.schedules = 50, .max_steps = 200'000}, [] { check_all(); });
  EXPECT_FALSE(r.failed) << r.message;
#else
  check_all();
#endif
}

}  // namespace
}  // namespace weft
