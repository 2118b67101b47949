// SPDX-License-Identifier: MIT
//
// Every row of select.h's table, with 1, 2, 4 and 16 Ps. Go's own cases (runtime/chan_test.go, test/chan/select*.go) are restated among these
// and in select_forms_test.cc (how a select is written, and who calls it), select_order_test.cc (whom it meets, and in what order),
// select_fairness_test.cc (what it chooses, and what it costs in memory). Random mixes of many goroutines: tests/stress/select_stress.cc.
#include "runtime/chan/select.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/channels.h"
#include "tests/support/world.h"

namespace weft {
namespace {

using weft_test::await_waiters;
using weft_test::scaled;
using weft_test::waiters;

struct oops : std::runtime_error {
  using std::runtime_error::runtime_error;
};

WEFT_ON_PROCS(select_semantics);

// One case that is ready ------------------------------------------------------------------------------------------------------

TEST_P(select_semantics, receives_from_a_buffer) {
  run([] {
    auto c = make_chan<int>(2);
    auto never = make_chan<int>();
    c.send(7);
    int got = 0;
    EXPECT_EQ(select(on_recv(never), on_recv(c, [&](std::optional<int> v) { got = v.value(); })), 1u);
    EXPECT_EQ(got, 7);
    EXPECT_EQ(c.len(), 0u);
    EXPECT_EQ(waiters(never), 0);
  });
}

TEST_P(select_semantics, sends_into_a_buffer) {
  run([] {
    auto c = make_chan<int>(1);
    auto never = make_chan<int>();
    bool sent = false;
    EXPECT_EQ(select(on_send(c, 7, [&] { sent = true; }), on_send(never, 8)), 0u);
    EXPECT_TRUE(sent);
    EXPECT_EQ(c.recv(), 7);
  });
}

TEST_P(select_semantics, receives_from_a_sender_that_waits) {
  run([] {
    for (const std::size_t capacity : {0u, 1u, 3u}) {
      auto c = make_chan<int>(capacity);
      auto never = make_chan<int>();
      for (int i = 0; i < static_cast<int>(capacity); ++i) c.send(i);
      go([c, v = static_cast<int>(capacity)] { c.send(v); });
      await_waiters(c, 1);
      for (int i = 0; i <= static_cast<int>(capacity); ++i) {
        EXPECT_EQ(select(on_recv(c, [&](auto v) { EXPECT_EQ(v, i); }), on_recv(never)), 0u);
      }
      EXPECT_EQ(c.len(), 0u);
    }
  });
}

TEST_P(select_semantics, sends_to_a_receiver_that_waits) {
  run([] {
    for (const std::size_t capacity : {0u, 1u, 3u}) {
      auto c = make_chan<int>(capacity);
      auto never = make_chan<int>();
      wait_group w;
      w.go([c] { EXPECT_EQ(c.recv(), 7); });
      await_waiters(c, 1);
      EXPECT_EQ(select(on_recv(never), on_send(c, 7), otherwise()), 1u);
      w.wait();
      EXPECT_EQ(c.len(), 0u);
    }
  });
}

TEST_P(select_semantics, receives_what_is_left_and_then_nothing_from_a_closed_channel) {
  run([] {
    auto c = make_chan<int>(2);
    c.send(1);
    c.close();
    std::vector<std::optional<int>> got;
    for (int i = 0; i < 3; ++i)
      EXPECT_EQ(select(on_recv(chan<int>{}), on_recv(c, [&](auto v) { got.push_back(v); })), 1u);
    EXPECT_EQ(got, (std::vector<std::optional<int>>{1, std::nullopt, std::nullopt}));
  });
}

TEST_P(select_semantics, a_send_case_on_a_closed_channel_throws_and_its_handler_does_not_run) {
  run([] {
    for (const std::size_t capacity : {0u, 2u}) {
      auto c = make_chan<int>(capacity);
      auto never = make_chan<int>();
      c.close();
      EXPECT_THROW(select(on_send(c, 1, [] { ADD_FAILURE(); })), closed_channel);
      EXPECT_THROW(select(on_recv(never), on_send(c, 1, [] { ADD_FAILURE(); })), closed_channel);
      EXPECT_THROW(select(on_send(c, 1, [] { ADD_FAILURE(); }), otherwise([] { ADD_FAILURE(); })), closed_channel);
      std::vector<select_case> list;
      list.emplace_back(on_send(c, 1, [] { ADD_FAILURE(); }));
      EXPECT_THROW(select(list), closed_channel);
    }
  });
}

TEST_P(select_semantics, directional_channels_are_channels) {
  run([] {
    auto c = make_chan<std::string>(1);
    const send_chan<std::string> s = c;
    const recv_chan<std::string> r = c;
    EXPECT_EQ(select(on_send(s, "hello")), 0u);
    EXPECT_EQ(select(on_recv(r, [](std::optional<std::string> v) { EXPECT_EQ(v, "hello"); })), 0u);
  });
}

TEST_P(select_semantics, otherwise_runs_when_nothing_is_ready_and_only_then) {
  run([] {
    auto a = make_chan<int>();
    auto b = make_chan<int>(1);
    bool took = false;
    EXPECT_EQ(select(on_recv(a), on_recv(b), on_send(a, 1), otherwise([&] { took = true; })), 3u);
    EXPECT_TRUE(took);
    EXPECT_EQ(select(otherwise()), 0u);
    EXPECT_EQ(select(on_recv(chan<int>{}), on_send(chan<int>{}, 1), otherwise()), 2u);
    b.send(1);
    EXPECT_EQ(select(on_recv(a), on_send(b, 2), otherwise()), 2u);  // full
    EXPECT_EQ(select(on_recv(a), on_recv(b), otherwise([] { ADD_FAILURE(); })), 1u);
    std::vector<select_case> list;
    EXPECT_EQ(select(list, otherwise()), 0u);
    list.emplace_back(on_recv(a));
    list.emplace_back(on_recv(b));
    took = false;
    EXPECT_EQ(select(list, otherwise([&] { took = true; })), 2u);
    EXPECT_TRUE(took);
    b.send(3);
    EXPECT_EQ(select(list, otherwise([] { ADD_FAILURE(); })), 1u);
    EXPECT_EQ(waiters(a), 0);
  });
}

// Cases that have to wait -----------------------------------------------------------------------------------------------------

TEST_P(select_semantics, waits_until_a_receive_is_ready) {
  run([] {
    for (const std::size_t capacity : {0u, 1u, 7u}) {
      auto a = make_chan<int>(capacity);
      auto b = make_chan<int>(capacity);
      for (int round = 0; round < 4; ++round) {
        auto from = round % 2 == 0 ? a : b;
        go([=] {
          await_waiters(a, 1);
          await_waiters(b, 1);
          from.send(round);
        });
        std::optional<int> got;
        const auto keep = [&](std::optional<int> v) { got = v; };
        EXPECT_EQ(select(on_recv(a, keep), on_recv(chan<int>{}, keep), on_recv(b, keep)), round % 2 == 0 ? 0u : 2u);
        EXPECT_EQ(got, round);
        EXPECT_EQ(waiters(a), 0);
        EXPECT_EQ(waiters(b), 0);
      }
    }
  });
}

TEST_P(select_semantics, waits_until_a_send_is_ready) {
  run([] {
    for (const std::size_t capacity : {0u, 1u, 7u}) {
      auto a = make_chan<int>(capacity);
      auto b = make_chan<int>(capacity);
      for (std::size_t i = 0; i < capacity; ++i) {
        a.send(-1);
        b.send(-1);
      }
      for (int round = 0; round < 4; ++round) {
        auto into = round % 2 == 0 ? a : b;
        wait_group w;
        w.go([&] {
          await_waiters(a, 1);
          await_waiters(b, 1);
          EXPECT_EQ(into.recv(), into.cap() == 0 ? round : -1);
        });
        EXPECT_EQ(select(on_send(a, round), on_send(b, round)), round % 2 == 0 ? 0u : 1u);
        w.wait();
        EXPECT_EQ(waiters(a), 0);
        EXPECT_EQ(waiters(b), 0);
        if (capacity != 0) {  // its value is last in line
          EXPECT_EQ(into.len(), capacity);
          for (std::size_t i = 0; i + 1 < capacity; ++i) EXPECT_EQ(into.recv(), -1);
          EXPECT_EQ(into.recv(), round);
          for (std::size_t i = 0; i < capacity; ++i) into.send(-1);
        }
      }
    }
  });
}

TEST_P(select_semantics, close_wakes_a_select_that_receives) {
  run([] {
    for (const std::size_t capacity : {0u, 1u}) {
      auto a = make_chan<int>(capacity);
      auto b = make_chan<int>(capacity);
      go([=] {
        await_waiters(b, 1);
        b.close();
      });
      EXPECT_EQ(select(on_recv(a, [](auto) { ADD_FAILURE(); }), on_recv(b, [](auto v) { EXPECT_FALSE(v); })), 1u);
      EXPECT_EQ(waiters(a), 0);
    }
  });
}

TEST_P(select_semantics, close_wakes_a_select_that_sends_and_it_throws) {
  run([] {
    for (const std::size_t capacity : {0u, 1u}) {
      auto a = make_chan<int>(capacity);
      auto b = make_chan<std::unique_ptr<int>>(capacity);
      if (capacity != 0) {
        a.send(0);
        b.send(nullptr);
      }
      go([=] {
        await_waiters(b, 1);
        b.close();
      });
      auto sending = on_send(b, std::make_unique<int>(5), [] { ADD_FAILURE(); });
      EXPECT_THROW(select(on_send(a, 1, [] { ADD_FAILURE(); }), sending), closed_channel);
      ASSERT_TRUE(sending.value);  // not moved from
      EXPECT_EQ(*sending.value, 5);
      EXPECT_EQ(waiters(a), 0);
    }
  });
}

TEST_P(select_semantics, close_wakes_every_select_that_waits) {
  run([] {
    const int n = scaled(300);
    auto done = make_chan<int>();
    auto quiet = make_chan<int>();
    auto full = make_chan<int>();
    std::atomic<int> home{0};
    wait_group w;
    for (int i = 0; i < n; ++i)
      w.go([&, i] {
        const bool first = i % 2 == 0;
        if (first)
          EXPECT_EQ(select(on_recv(done, [](auto v) { EXPECT_FALSE(v); }), on_recv(quiet)), 0u);
        else
          EXPECT_EQ(select(on_recv(quiet), on_recv(done, [](auto v) { EXPECT_FALSE(v); })), 1u);
        ++home;
      });
    await_waiters(done, n);
    done.close();
    w.wait();
    EXPECT_EQ(home, n);
    EXPECT_EQ(waiters(quiet), 0);
  });
}

// Values ----------------------------------------------------------------------------------------------------------------------

TEST_P(select_semantics, a_value_is_moved_from_only_if_its_case_is_chosen) {
  run([] {
    auto room = make_chan<std::unique_ptr<int>>(1);
    auto none = make_chan<std::unique_ptr<int>>();
    auto chosen = on_send(room, std::make_unique<int>(1));
    auto other = on_send(none, std::make_unique<int>(2));
    auto nil = on_send(chan<std::unique_ptr<int>>{}, std::make_unique<int>(3));
    EXPECT_EQ(select(other, chosen, nil), 1u);
    EXPECT_FALSE(chosen.value);
    ASSERT_TRUE(other.value);
    EXPECT_EQ(*other.value, 2);
    ASSERT_TRUE(nil.value);
    EXPECT_EQ(**room.recv(), 1);

    // The same when it waited.
    auto late = make_chan<std::unique_ptr<int>>();
    wait_group w;
    w.go([&] {
      await_waiters(late, 1);
      await_waiters(none, 1);
      EXPECT_EQ(**late.recv(), 4);
    });
    auto sending = on_send(late, std::make_unique<int>(4));
    EXPECT_EQ(select(other, sending), 1u);
    w.wait();
    EXPECT_FALSE(sending.value);
    ASSERT_TRUE(other.value);

    room.close();
    auto refused = on_send(room, std::make_unique<int>(5));
    EXPECT_THROW(select(other, refused), closed_channel);
    ASSERT_TRUE(refused.value);
    ASSERT_TRUE(other.value);
    EXPECT_EQ(select(other, otherwise()), 1u);
    ASSERT_TRUE(other.value);
  });
}

TEST_P(select_semantics, values_of_any_movable_type) {
  struct no_default {
    explicit no_default(int v) noexcept : value(v) {}
    int value;
  };
  struct large {
    std::array<int, 64> all;
  };
  run([] {
    auto a = make_chan<no_default>();
    auto b = make_chan<large>();
    auto c = make_chan<std::string>();
    go([=] {
      for (int i = 0; i < 30; ++i) {
        large l;
        l.all.fill(i);
        select(on_send(a, no_default(i)), on_send(b, l),
               on_send(c, "a string too long for the small ones, " + std::to_string(i)));
      }
    });
    for (int i = 0; i < 30; ++i)
      select(on_recv(a, [&](auto v) { EXPECT_EQ(v->value, i); }),
             on_recv(b,
                     [&](auto v) {
                       EXPECT_TRUE(std::all_of(v->all.begin(), v->all.end(), [&](int x) { return x == i; }));
                     }),
             on_recv(c, [&](auto v) {
               EXPECT_EQ(v.value(), "a string too long for the small ones, " + std::to_string(i));
             }));
  });
}

// Handlers --------------------------------------------------------------------------------------------------------------------

TEST_P(select_semantics, handlers_may_park_and_select_again) {
  run([] {
    auto a = make_chan<int>();
    auto b = make_chan<int>();
    go([=] {
      a.send(1);
      for (int i = 2; i < 6; ++i) b.send(i);
    });
    std::vector<int> got;
    EXPECT_EQ(select(on_recv(a,
                             [&](auto v) {
                               got.push_back(*v);
                               got.push_back(*b.recv());
                               yield();
                               EXPECT_EQ(select(on_recv(a),
                                                on_recv(b,
                                                        [&](auto u) {
                                                          got.push_back(*u);
                                                          EXPECT_EQ(
                                                              select(on_recv(b, [&](auto t) { got.push_back(*t); })),
                                                              0u);
                                                        })),
                                         1u);
                             }),
                     on_recv(b, [](auto) { ADD_FAILURE(); })),
              0u);
    EXPECT_EQ(b.recv(), 5);
    EXPECT_EQ(got, (std::vector<int>{1, 2, 3, 4}));
  });
}

TEST_P(select_semantics, what_a_handler_throws_comes_out_of_select_and_the_operation_has_happened) {
  run([] {
    auto a = make_chan<int>(1);
    auto b = make_chan<int>();
    EXPECT_THROW(select(on_send(a, 1, [] { throw oops("sent"); }), on_recv(b)), oops);
    EXPECT_EQ(a.len(), 1u);
    EXPECT_THROW(select(on_recv(a, [](auto) { throw oops("got"); }), on_recv(b)), oops);
    EXPECT_EQ(a.len(), 0u);
    EXPECT_THROW(select(on_recv(a), otherwise([] { throw oops("neither"); })), oops);
    // After a wait.
    go([=] {
      await_waiters(b, 1);
      b.send(2);
    });
    EXPECT_THROW(select(on_recv(a), on_recv(b, [](auto) { throw oops("late"); })), oops);
    EXPECT_EQ(waiters(a), 0);
    EXPECT_EQ(waiters(b), 0);
    try {
      throw oops("outer");
    } catch (const oops& e) {
      go([=] { b.send(3); });
      select(on_recv(a), on_recv(b));
      EXPECT_STREQ(e.what(), "outer");
    }
  });
}

TEST_P(select_semantics, a_handler_may_be_left_out_be_a_function_and_own_things) {
  run([] {
    auto c = make_chan<int>(4);
    c.send(1);
    auto owner = std::make_unique<int>(40);
    int sum = 0;
    EXPECT_EQ(select(on_recv(c, [&sum, o = std::move(owner)](std::optional<int> v) { sum = *o + *v; })), 0u);
    EXPECT_EQ(sum, 41);
    EXPECT_EQ(select(on_send(c, 2)), 0u);
    EXPECT_EQ(select(on_recv(c)), 0u);
  });
}

}  // namespace
}  // namespace weft
