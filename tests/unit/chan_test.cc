// SPDX-License-Identifier: MIT
//
// Every row of chan.h's table, with 1, 2, 4 and 16 Ps and with every capacity that has an edge. What is sent: chan_values_test.cc; ordinary
// threads: chan_threads_test.cc; the cases of Go's own tests: chan_go_test.cc; with select: select_test.cc.
#include "runtime/chan/chan.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/channels.h"
#include "tests/support/world.h"

namespace weft {
namespace {

using weft_test::await_waiters;
using weft_test::capacities;
using weft_test::waiters;

WEFT_ON_PROCS(chan_semantics);

TEST_P(chan_semantics, a_receiver_that_waits_gets_the_value) {
  run([] {
    auto c = make_chan<int>();
    go([c] {
      await_waiters(c, 1);
      c.send(42);
    });
    EXPECT_EQ(c.recv(), 42);
  });
}

TEST_P(chan_semantics, a_sender_that_waits_gives_the_value) {
  run([] {
    auto c = make_chan<int>();
    go([c] { c.send(42); });
    await_waiters(c, 1);
    EXPECT_EQ(c.recv(), 42);
  });
}

TEST_P(chan_semantics, values_come_in_the_order_in_which_they_were_sent) {
  run([] {
    for (const std::size_t capacity : capacities) {
      auto c = make_chan<int>(capacity);
      const int n = weft_test::scaled(2'000);
      go([c, n] {
        for (int i = 0; i < n; ++i) c.send(i);
        c.close();
      });
      int expected = 0;
      while (auto v = c.recv()) ASSERT_EQ(*v, expected++) << "capacity " << capacity;
      EXPECT_EQ(expected, n);
    }
  });
}

TEST_P(chan_semantics, waiting_receivers_are_served_in_the_order_in_which_they_came) {
  run([] {
    for (const std::size_t capacity : capacities) {
      for (const int n : {1, 2, 3, 20}) {
        auto c = make_chan<int>(capacity);
        auto got = std::make_shared<std::vector<int>>(static_cast<std::size_t>(n), -1);
        wait_group all;
        for (int i = 0; i < n; ++i) {
          all.go([c, got, i] { (*got)[static_cast<std::size_t>(i)] = c.recv().value(); });
          await_waiters(c, i + 1);
        }
        for (int i = 0; i < n; ++i) c.send(i);
        all.wait();
        for (int i = 0; i < n; ++i) EXPECT_EQ((*got)[static_cast<std::size_t>(i)], i) << capacity << ' ' << n;
        EXPECT_EQ(waiters(c), 0);
        EXPECT_EQ(c.len(), 0u);
      }
    }
  });
}

TEST_P(chan_semantics, waiting_senders_are_served_in_the_order_in_which_they_came) {
  run([] {
    for (const std::size_t capacity : capacities) {
      for (const int n : {1, 2, 3, 20}) {
        auto c = make_chan<int>(capacity);
        const int full = static_cast<int>(capacity);
        for (int i = 0; i < full; ++i) c.send(i);
        for (int i = 0; i < n; ++i) {
          go([c, v = full + i] { c.send(v); });
          await_waiters(c, i + 1);
        }
        EXPECT_EQ(c.len(), capacity);
        for (int i = 0; i < full + n; ++i) EXPECT_EQ(c.recv(), i) << capacity << ' ' << n;
        EXPECT_EQ(waiters(c), 0);
        EXPECT_EQ(c.len(), 0u);
      }
    }
  });
}

TEST_P(chan_semantics, waiters_come_and_go_and_the_order_holds_across_each_change_of_form) {
  // One waiter is a word, two are a list, and the list empties again: in rounds on the same channel.
  run([] {
    for (const std::size_t capacity : capacities) {
      auto c = make_chan<int>(capacity);
      int sent = 0;
      int received = 0;
      for (std::size_t i = 0; i < capacity; ++i) c.send(sent++);
      for (const int n : {1, 2, 1, 5, 1, 1, 3}) {
        for (int i = 0; i < n; ++i) {
          go([c, v = sent++] { c.send(v); });
          await_waiters(c, i + 1);
        }
        for (int i = 0; i < n; ++i) ASSERT_EQ(c.recv(), received++) << capacity;
      }
      while (c.len() != 0) ASSERT_EQ(c.recv(), received++);
      EXPECT_EQ(received, sent);
      // Emptied, the same channel with receivers.
      for (const int n : {1, 2, 1, 5, 1}) {
        wait_group all;
        std::vector<int> got(static_cast<std::size_t>(n), -1);
        for (int i = 0; i < n; ++i) {
          all.go([c, &got, i] { got[static_cast<std::size_t>(i)] = c.recv().value(); });
          await_waiters(c, i + 1);
        }
        for (int i = 0; i < n; ++i) c.send(i);
        all.wait();
        for (int i = 0; i < n; ++i) ASSERT_EQ(got[static_cast<std::size_t>(i)], i) << capacity;
      }
    }
  });
}

TEST_P(chan_semantics, a_newcomer_does_not_pass_a_waiting_sender) {
  run([] {
    for (const std::size_t capacity : capacities) {
      auto c = make_chan<int>(capacity);
      const int full = static_cast<int>(capacity);
      for (int i = 0; i < full; ++i) c.send(i);
      for (int i = 0; i < 3; ++i) {
        go([c, v = full + i] { c.send(v); });
        await_waiters(c, i + 1);
      }
      for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(c.recv(), i);
        if (i < 2) {
          EXPECT_FALSE(c.try_send(99)) << "capacity " << capacity << ": a sender waits before us";
        }
      }
      for (int i = 3; i < full + 3; ++i) EXPECT_EQ(c.recv(), i);
    }
  });
}

TEST_P(chan_semantics, try_operations_tell_full_empty_and_closed_apart) {
  run([] {
    for (const std::size_t capacity : capacities) {
      auto c = make_chan<int>(capacity);
      EXPECT_TRUE(c.try_recv().is_empty());
      for (std::size_t i = 0; i < capacity; ++i) EXPECT_TRUE(c.try_send(static_cast<int>(i)));
      EXPECT_FALSE(c.try_send(99));
      EXPECT_EQ(c.len(), capacity);
      if (capacity > 1) {
        const auto r = c.try_recv();
        EXPECT_TRUE(r.has_value());
        EXPECT_TRUE(static_cast<bool>(r));
        EXPECT_EQ(r.status(), try_result<int>::state::value);
        EXPECT_EQ(*r, 0);
        EXPECT_EQ(r.value(), 0);
      }
      c.close();
      for (std::size_t i = capacity > 1 ? 1 : 0; i < capacity; ++i)
        EXPECT_EQ(c.try_recv().value(), static_cast<int>(i));
      const auto r = c.try_recv();
      EXPECT_TRUE(r.is_closed());
      EXPECT_FALSE(r.has_value());
      EXPECT_FALSE(r.is_empty());
      EXPECT_THROW((void)r.value(), std::bad_optional_access);
    }
  });
}

TEST_P(chan_semantics, try_send_meets_a_waiting_receiver_and_try_recv_a_waiting_sender) {
  run([] {
    for (const int n : {1, 2, 5}) {
      auto c = make_chan<int>();
      auto out = make_chan<int>(8);
      for (int i = 0; i < n; ++i) {
        go([c, out] { out.send(c.recv().value()); });
        await_waiters(c, i + 1);
      }
      for (int i = 0; i < n; ++i) EXPECT_TRUE(c.try_send(i));
      EXPECT_FALSE(c.try_send(99));
      int sum = 0;
      for (int i = 0; i < n; ++i) sum += out.recv().value();
      EXPECT_EQ(sum, n * (n - 1) / 2);
      for (int i = 0; i < n; ++i) {
        go([c, i] { c.send(i); });
        await_waiters(c, i + 1);
      }
      for (int i = 0; i < n; ++i) EXPECT_EQ(c.try_recv().value(), i);
      EXPECT_TRUE(c.try_recv().is_empty());
    }
  });
}

TEST_P(chan_semantics, close_wakes_waiting_receivers_with_nothing) {
  run([] {
    for (const std::size_t capacity : capacities) {
      for (const int n : {1, 2, 3, 20}) {
        auto c = make_chan<int>(capacity);
        wait_group all;
        for (int i = 0; i < n; ++i) {
          all.go([c] { EXPECT_EQ(c.recv(), std::nullopt); });
          await_waiters(c, i + 1);
        }
        c.close();
        all.wait();
        EXPECT_EQ(c.recv(), std::nullopt);
        EXPECT_THROW(c.close(), closed_channel);
      }
    }
  });
}

TEST_P(chan_semantics, close_throws_in_waiting_senders_who_keep_their_values) {
  run([] {
    for (const std::size_t capacity : capacities) {
      for (const int n : {1, 2, 3, 20}) {
        auto c = make_chan<std::unique_ptr<int>>(capacity);
        const int full = static_cast<int>(capacity);
        for (int i = 0; i < full; ++i) c.send(std::make_unique<int>(i));
        wait_group all;
        for (int i = 0; i < n; ++i) {
          all.go([c, i] {
            auto v = std::make_unique<int>(100 + i);
            EXPECT_THROW(c.send_from(v), closed_channel);
            ASSERT_NE(v, nullptr);
            EXPECT_EQ(*v, 100 + i);
          });
          await_waiters(c, i + 1);
        }
        c.close();
        all.wait();
        // What was in the buffer is still to be had; what the senders held is not.
        EXPECT_EQ(c.len(), capacity);
        for (int i = 0; i < full; ++i) EXPECT_EQ(**c.recv(), i);
        EXPECT_EQ(c.recv(), std::nullopt);
      }
    }
  });
}

TEST_P(chan_semantics, values_left_after_close_are_received) {
  run([] {
    for (const std::size_t capacity : capacities) {
      for (std::size_t left = 0; left <= capacity; left += capacity > 8 ? 16 : 1) {
        auto c = make_chan<std::string>(capacity);
        for (std::size_t i = 0; i < left; ++i) c.send("value " + std::to_string(i));
        c.close();
        EXPECT_EQ(c.len(), left);
        for (std::size_t i = 0; i < left; ++i) {
          const std::string v = i % 2 == 0 ? c.recv().value() : c.try_recv().value();
          EXPECT_EQ(v, "value " + std::to_string(i));
        }
        EXPECT_EQ(c.recv(), std::nullopt);
        EXPECT_TRUE(c.try_recv().is_closed());
      }
    }
  });
}

TEST_P(chan_semantics, send_on_closed_and_close_of_closed_throw_and_say_so) {
  run([] {
    for (const std::size_t capacity : capacities) {
      auto c = make_chan<std::string>(capacity);
      c.close();
      std::string v = "kept";
      for (int way = 0; way < 4; ++way) {
        try {
          switch (way) {
            case 0:
              c.send(v);
              break;
            case 1:
              c.send_from(v);
              break;
            case 2:
              (void)c.try_send(std::move(v));
              break;  // NOLINT(bugprone-use-after-move): it promises not to
            case 3:
              (void)c.try_send_from(v);
              break;
          }
          ADD_FAILURE() << "did not throw, way " << way;
        } catch (const closed_channel& e) {
          EXPECT_STREQ(e.what(), "weft: send on closed channel");
        }
        EXPECT_EQ(v, "kept");
      }
      try {
        c.close();
        ADD_FAILURE() << "did not throw";
      } catch (const closed_channel& e) {
        EXPECT_STREQ(e.what(), "weft: close of closed channel");
      }
    }
  });
}

TEST_P(chan_semantics, the_nil_channel_never_communicates) {
  run([] {
    chan<int> c;
    EXPECT_FALSE(c);
    EXPECT_EQ(c.len(), 0u);
    EXPECT_EQ(c.cap(), 0u);
    EXPECT_FALSE(c.try_send(1));
    EXPECT_TRUE(c.try_recv().is_empty());
    try {
      c.close();
      ADD_FAILURE() << "did not throw";
    } catch (const closed_channel& e) {
      EXPECT_STREQ(e.what(), "weft: close of nil channel");
    }
    EXPECT_EQ(c, chan<int>{});
    EXPECT_EQ(send_chan<int>{}, c);
    EXPECT_THROW(send_chan<int>{}.close(), closed_channel);
    EXPECT_TRUE(recv_chan<int>{}.try_recv().is_empty());
  });
}

TEST_P(chan_semantics, a_failed_try_send_leaves_its_value_alone) {
  run([] {
    for (const std::size_t capacity : capacities) {
      auto c = make_chan<std::unique_ptr<int>>(capacity);
      for (std::size_t i = 0; i < capacity; ++i) EXPECT_TRUE(c.try_send(std::make_unique<int>(1)));
      auto v = std::make_unique<int>(7);
      EXPECT_FALSE(c.try_send(std::move(v)));  // NOLINT(bugprone-use-after-move): it promises not to
      ASSERT_NE(v, nullptr);
      EXPECT_EQ(*v, 7);
      chan<std::unique_ptr<int>> nil;
      EXPECT_FALSE(nil.try_send(std::move(v)));
      ASSERT_NE(v, nullptr);
    }
  });
}

TEST_P(chan_semantics, len_and_cap_count_what_is_in_the_buffer) {
  run([] {
    for (const std::size_t capacity : capacities) {
      auto c = make_chan<char>(capacity);
      EXPECT_EQ(c.cap(), capacity);
      for (std::size_t i = 0; i < capacity; ++i) {
        EXPECT_EQ(c.len(), i);
        c.send('x');
      }
      EXPECT_EQ(c.len(), capacity);
      for (std::size_t i = capacity; i > 0; --i) {
        EXPECT_EQ(c.len(), i);
        (void)c.recv();
      }
      EXPECT_EQ(c.len(), 0u);
      // Those who wait are not counted.
      go([c] { (void)c.recv(); });
      await_waiters(c, 1);
      EXPECT_EQ(c.len(), 0u);
      c.send('y');
      for (std::size_t i = 0; i < capacity; ++i) c.send('x');
      go([c] { c.send('z'); });
      await_waiters(c, 1);
      EXPECT_EQ(c.len(), capacity);
      for (std::size_t i = 0; i <= capacity; ++i) (void)c.recv();
    }
  });
}

// At p = 1 whoever asks in a loop gives the others a turn.
TEST_P(chan_semantics, a_loop_that_asks_for_len_cap_or_goroutines_starves_nobody) {
  run([] {
    const auto until_somebody_ran = [](auto ask) {
      std::atomic<bool> ran{false};
      wait_group done;
      done.go([&ran] { ran = true; });
      const auto end = std::chrono::steady_clock::now() + weft_test::patience;
      while (!ran && std::chrono::steady_clock::now() < end) ask();
      EXPECT_TRUE(ran);
      done.wait();
    };
    auto c = make_chan<int>(1);
    until_somebody_ran([&c] { (void)c.len(); });
    until_somebody_ran([&c] { (void)c.cap(); });
    until_somebody_ran([] { (void)num_goroutines(); });
    // lock alone: a mutex each time.
    std::vector<mutex> many(10'000);
    std::size_t i = 0;
    until_somebody_ran([&] { many[i++ % many.size()].try_lock(); });
  });
}

TEST_P(chan_semantics, a_range_for_receives_until_closed_and_drained) {
  run([] {
    for (const std::size_t capacity : capacities) {
      auto c = make_chan<std::unique_ptr<int>>(capacity);
      go([c] {
        for (int i = 0; i < 300; ++i) c.send(std::make_unique<int>(i));
        c.close();
      });
      int n = 0;
      for (std::unique_ptr<int> v : c) ASSERT_EQ(*v, n++);
      EXPECT_EQ(n, 300);
      for (auto&& v : c) ADD_FAILURE() << *v;
      n = 0;
      for (int v : recv_chan<int>([] {  // the loop keeps a channel that nobody else holds
             auto t = make_chan<int>(4);
             for (int i = 0; i < 4; ++i) t.send(i);
             t.close();
             return t;
           }()))
        EXPECT_EQ(v, n++);
      EXPECT_EQ(n, 4);
    }
  });
}

TEST(chan, a_capacity_past_the_limit_is_a_length_error) {
  EXPECT_THROW(make_chan<int>((std::size_t{1} << 28) + 1), std::length_error);
  EXPECT_THROW(make_chan<int>(~std::size_t{0}), std::length_error);
}

}  // namespace
}  // namespace weft
