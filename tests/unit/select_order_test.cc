// SPDX-License-Identifier: MIT
//
// Whom a select meets: never itself, others in their order; and what an otherwise promises about one moment.
#include "runtime/chan/select.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <optional>

#include "tests/support/channels.h"
#include "tests/support/world.h"

namespace weft {
namespace {

using weft_test::await_waiters;
using weft_test::scaled;
using weft_test::waiters;

WEFT_ON_PROCS(select_semantics);

// The same channel several times -----------------------------------------------------------------------------------------------

TEST_P(select_semantics, a_select_never_meets_itself) {
  run([] {
    auto c = make_chan<int>();
    auto done = make_chan<int>();
    EXPECT_EQ(select(on_send(c, 1, [] { ADD_FAILURE(); }), on_recv(c, [](auto) { ADD_FAILURE(); }), otherwise()), 2u);
    for (const bool recv_first : {true, false}) {
      go([=] {
        await_waiters(done, 1);
        for (int i = 0; i < 50; ++i) yield();
        done.send(1);
      });
      if (recv_first)
        EXPECT_EQ(select(on_recv(c), on_send(c, 1), on_recv(c), on_recv(done)), 3u);
      else
        EXPECT_EQ(select(on_recv(done), on_send(c, 1), on_send(c, 1), on_recv(c)), 0u);
      EXPECT_EQ(waiters(c), 0);
    }
  });
}

TEST_P(select_semantics, both_ways_on_one_channel_meets_whoever_comes) {
  run([] {
    auto c = make_chan<int>();
    for (int round = 0; round < scaled(200); ++round) {
      const bool we_send = round % 2 == 0;
      wait_group w;
      if (round % 4 < 2) {  // the other waits first
        w.go([=] {
          if (we_send)
            EXPECT_EQ(c.recv(), round);
          else
            c.send(round);
        });
        await_waiters(c, 1);
      } else {
        w.go([=] {
          await_waiters(c, 1);
          if (we_send)
            EXPECT_EQ(c.recv(), round);
          else
            c.send(round);
        });
      }
      ASSERT_EQ(select(on_recv(c, [&](auto v) { EXPECT_EQ(v, round); }), on_send(c, round)), we_send ? 1u : 0u);
      w.wait();
    }
  });
}

TEST_P(select_semantics, two_selects_both_ways_on_one_channel_meet_each_other) {
  run([] {
    auto c = make_chan<int>();
    const int rounds = scaled(2'000);
    std::array<std::array<int, 2>, 2> count{};
    wait_group w;
    for (int g = 0; g < 2; ++g)
      w.go([&, g] {
        auto& mine = count[static_cast<std::size_t>(g)];
        for (int i = 0; i < rounds; ++i)
          ++mine[select(on_send(c, g), on_recv(c, [&](auto v) { EXPECT_EQ(v, 1 - g); }))];
      });
    w.wait();
    EXPECT_EQ(count[0][0], count[1][1]);
    EXPECT_EQ(count[0][1], count[1][0]);
  });
}

TEST_P(select_semantics, both_ways_on_one_buffered_channel) {
  run([] {
    auto c = make_chan<int>(2);
    EXPECT_EQ(select(on_recv(c), on_send(c, 1)), 1u);  // empty
    EXPECT_EQ(select(on_send(c, 2), on_send(c, 2)) < 2, true);
    EXPECT_EQ(select(on_recv(c, [](auto v) { EXPECT_EQ(v, 1); }), on_send(c, 3)), 0u);  // full
    std::array<int, 2> count{};
    for (int i = 0; i < 1'000; ++i) {
      ++count[select(on_send(c, 5), on_recv(c))];
      ASSERT_LE(c.len(), 2u);
    }
    EXPECT_GT(count[0], 0);
    EXPECT_GT(count[1], 0);
  });
}

TEST_P(select_semantics, the_same_case_several_times) {
  run([] {
    auto c = make_chan<int>();
    const int n = scaled(500);
    go([=] {
      for (int i = 0; i < n; ++i) select(on_send(c, i), on_send(c, i), on_send(c, i));
      c.close();
    });
    int expected = 0;
    for (bool open = true; open;) {
      const auto take = [&](std::optional<int> v) {
        if (v)
          EXPECT_EQ(*v, expected++);
        else
          open = false;
      };
      select(on_recv(c, take), on_recv(c, take), on_recv(c, take));
    }
    EXPECT_EQ(expected, n);
    EXPECT_EQ(waiters(c), 0);
  });
}

// Otherwise judges one moment ---------------------------------------------------------------------------------------------------

// A token wanders between two channels of capacity one, and is put into the next before it is taken out of the last: at each moment
// at least one of them can be received from. A poll that looks at them one after the other, and does not look again, misses it.
TEST_P(select_semantics, otherwise_is_not_fooled_by_a_token_that_wanders) {
  run([] {
    auto a = make_chan<int>(1);
    auto b = make_chan<int>(1);
    const int rounds = scaled(3'000);
    std::atomic<int> round{0};
    std::atomic<int> judged{0};
    wait_group w;
    w.go([&] {
      for (int i = 1; i <= rounds; ++i) {
        while (a.try_recv()) {
        }
        while (b.try_recv()) {
        }
        a.send(1);
        round = i;
        while (judged != i) {
          b.try_send(1);
          a.try_recv();
          a.try_send(1);
          b.try_recv();
        }
      }
    });
    for (int i = 1; i <= rounds; ++i) {
      while (round != i) yield();
      for (int k = i % 8; k > 0; --k) cpu_relax();
      const auto which =
          i % 2 == 0 ? select(on_recv(a), on_recv(b), otherwise()) : select(on_recv(b), on_recv(a), otherwise());
      EXPECT_NE(which, 2u) << "round " << i;
      judged = i;
    }
    w.wait();
  });
}

// The same for sends: at each moment one of the two has room.
TEST_P(select_semantics, otherwise_is_not_fooled_by_room_that_wanders) {
  run([] {
    auto a = make_chan<int>(1);
    auto b = make_chan<int>(1);
    auto c = make_chan<int>();  // never ready
    const int rounds = scaled(3'000);
    std::atomic<int> round{0};
    std::atomic<int> judged{0};
    wait_group w;
    w.go([&] {
      for (int i = 1; i <= rounds; ++i) {
        a.try_recv();
        b.try_send(1);
        round = i;
        while (judged != i) {
          b.try_recv();
          a.try_send(1);
          a.try_recv();
          b.try_send(1);
        }
      }
    });
    for (int i = 1; i <= rounds; ++i) {
      while (round != i) yield();
      EXPECT_NE(select(on_send(a, 1), on_recv(c), on_send(b, 1), otherwise()), 3u) << "round " << i;
      judged = i;
    }
    w.wait();
  });
}

// Go: TestNonblockSelectRace, and with close TestNonblockSelectRace2.
TEST_P(select_semantics, otherwise_sees_what_becomes_ready_before_the_last_goes) {
  run([] {
    const int rounds = scaled(3'000);
    for (int i = 0; i < rounds; ++i) {
      auto a = make_chan<int>(1);
      auto b = make_chan<int>(1);
      auto verdict = make_chan<bool>(1);
      a.send(1);
      go([=] { verdict.send(select(on_recv(a), on_recv(b), otherwise()) != 2); });
      if (i % 2 == 0)
        b.send(1);
      else
        b.close();
      select(on_recv(a), otherwise());
      ASSERT_EQ(verdict.recv(), true) << "round " << i;
    }
  });
}

// A select that waits on both is ready on both until the moment that takes it from both.
TEST_P(select_semantics, otherwise_finds_a_select_that_waits_on_either) {
  run([] {
    auto a = make_chan<int>();
    auto b = make_chan<int>();
    const int rounds = scaled(1'000);
    for (int i = 0; i < rounds; ++i) {
      wait_group w;
      for (int k = 0; k < 2; ++k) w.go([&] { select(on_send(a, 1), on_send(b, 1)); });
      await_waiters(a, 2);
      await_waiters(b, 2);
      w.go([&] { EXPECT_NE(select(on_recv(a), on_recv(b), otherwise()), 2u) << "round " << i; });
      EXPECT_NE(select(on_recv(b), on_recv(a), otherwise()), 2u) << "round " << i;
      w.wait();
    }
  });
}

// Values keep their order ---------------------------------------------------------------------------------------------------------

TEST_P(select_semantics, values_of_one_sender_keep_their_order_through_selects_and_plain_operations) {
  run([] {
    for (const std::size_t capacity : {0u, 1u, 5u}) {
      auto c = make_chan<int>(capacity);
      auto never = make_chan<int>();
      const int n = scaled(2'000);
      go([=] {
        for (int i = 0; i < n; ++i) {
          if (i % 3 == 0)
            c.send(i);
          else
            select(on_recv(never), on_send(c, i));
        }
        c.close();
      });
      int expected = 0;
      for (bool on = true; on; yield()) {
        std::optional<int> v;
        if (expected % 2 == 0)
          v = c.recv();
        else
          select(on_recv(c, [&](auto got) { v = got; }), on_recv(never));
        if (v)
          ASSERT_EQ(*v, expected++);
        else
          on = false;
      }
      EXPECT_EQ(expected, n);
    }
  });
}

TEST_P(select_semantics, waiting_selects_and_plain_receivers_are_served_in_the_order_in_which_they_came) {
  run([] {
    for (const std::size_t capacity : {0u, 2u}) {
      auto c = make_chan<int>(capacity);
      auto never = make_chan<int>();
      constexpr int n = 12;
      std::array<int, n> got{};
      wait_group w;
      for (int i = 0; i < n; ++i) {
        w.go([&, i] {
          auto& mine = got[static_cast<std::size_t>(i)];
          if (i % 3 == 1)
            mine = *c.recv();
          else
            select(on_recv(never), on_recv(c, [&](auto v) { mine = *v; }));
        });
        await_waiters(c, i + 1);
        if (i % 3 != 1) await_waiters(never, i - (i + 1) / 3 + 1);
      }
      for (int i = 0; i < n; ++i) c.send(i);
      w.wait();
      if (capacity != 0) c.close();
      EXPECT_TRUE(std::is_sorted(got.begin(), got.end())) << ::testing::PrintToString(got);
    }
  });
}

}  // namespace
}  // namespace weft
