// SPDX-License-Identifier: MIT
//
// Every row of chan.h's table, with 1, 2, 4 and 16 Ps and with every capacity that has an edge. The cases of Go's own tests
// (runtime/chan_test.go, test/chan/*.go) are restated at the end; those that need select come with select.
#include "runtime/chan/chan.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "runtime/chan/wait_list.h"
#include "tests/support/world.h"

namespace weft {
namespace {

using rt::word::kind_of;
using weft_test::eventually;

constexpr std::size_t capacities[] = {0, 1, 2, 3, 7, 128};

// How many wait on c. For moments when nobody leaves: then every node of the list stays where it is.
template <class C>
int waiters(const C& c) {
  const std::uint64_t w = c.core()->word.load(acquire);
  switch (kind_of(w)) {
    case rt::word::receiver:
    case rt::word::sender:
    case rt::word::select_receiver:
    case rt::word::select_sender:
      return 1;
    case rt::word::receivers:
    case rt::word::senders: {
      int n = 0;
      for (rt::wait_node* node = rt::word::node_of(w); node != nullptr;) {
        const std::uint64_t next = node->next.load(acquire);
        if (!rt::link::marked(next)) ++n;
        node = rt::link::node(next);
      }
      return n;
    }
    default:
      return 0;
  }
}

template <class C>
void await_waiters(const C& c, int n) {
  ASSERT_TRUE(eventually([&] { return waiters(c) == n; })) << waiters(c) << " wait, not " << n;
}

// Counts its instances: what was sent must be destroyed exactly once.
struct counted {
  static inline std::atomic<int> alive{0};
  int value;
  explicit counted(int v) noexcept : value(v) { ++alive; }
  counted(const counted& o) noexcept : value(o.value) { ++alive; }
  counted(counted&& o) noexcept : value(std::exchange(o.value, -1)) { ++alive; }
  counted& operator=(const counted&) = default;
  counted& operator=(counted&&) = default;
  ~counted() { --alive; }
};

struct no_default {
  explicit no_default(int v) noexcept : value(v) {}
  int value;
};

struct large {
  std::array<std::uint64_t, 32> words;
  static large of(std::uint64_t v) {
    large l{};
    l.words.fill(v);
    return l;
  }
  bool is(std::uint64_t v) const {
    for (const auto w : words)
      if (w != v) return false;
    return true;
  }
};
static_assert(sizeof(large) == 256);

struct alignas(128) aligned {
  std::uint64_t value;
};

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

TEST_P(chan_semantics, the_two_faces_lead_to_the_same_channel) {
  run([] {
    auto c = make_chan<int>(2);
    send_chan<int> s = c;
    recv_chan<int> r = c;
    EXPECT_EQ(s, r);
    EXPECT_EQ(c, s);
    EXPECT_NE(c, make_chan<int>(2));
    EXPECT_NE(s, recv_chan<int>{});
    s.send(1);
    EXPECT_TRUE(s.try_send(2));
    EXPECT_EQ(s.len(), 2u);
    EXPECT_EQ(r.cap(), 2u);
    EXPECT_EQ(r.recv(), 1);
    EXPECT_EQ(r.try_recv().value(), 2);
    s.send(3);
    s.close();
    for (int v : r) EXPECT_EQ(v, 3);
  });
}

template <class C>
concept can_send = requires(const C& c) {
  c.send(1);
};
template <class C>
concept can_try_send = requires(const C& c) {
  c.try_send(1);
};
template <class C>
concept can_close = requires(const C& c) {
  c.close();
};
template <class C>
concept can_recv = requires(const C& c) {
  c.recv();
};
template <class C>
concept can_range = requires(const C& c) {
  c.begin() == c.end();
};

// Go's test/chan/perm.go: what the compiler must refuse.
static_assert(can_send<chan<int>> && can_recv<chan<int>> && can_close<chan<int>> && can_range<chan<int>>);
static_assert(can_send<send_chan<int>> && can_try_send<send_chan<int>> && can_close<send_chan<int>>);
static_assert(!can_recv<send_chan<int>> && !can_range<send_chan<int>>);
static_assert(can_recv<recv_chan<int>> && can_range<recv_chan<int>>);
static_assert(!can_send<recv_chan<int>> && !can_try_send<recv_chan<int>> && !can_close<recv_chan<int>>);
static_assert(std::is_convertible_v<chan<int>, send_chan<int>> && std::is_convertible_v<chan<int>, recv_chan<int>>);
static_assert(!std::is_convertible_v<send_chan<int>, chan<int>> && !std::is_convertible_v<recv_chan<int>, chan<int>>);
static_assert(!std::is_convertible_v<send_chan<int>, recv_chan<int>>);
static_assert(!std::is_convertible_v<chan<int>, send_chan<long>>);
static_assert(std::is_nothrow_copy_constructible_v<chan<int>> && std::is_nothrow_move_constructible_v<chan<int>>);

// Both ways a value can take (straight, through the ring), in both orders of arrival.
template <class T, class Make, class Check>
void passes(Make make, Check check) {
  for (const std::size_t capacity : capacities) {
    auto c = make_chan<T>(capacity);
    go([c, make] {
      for (int i = 0; i < 500; ++i) c.send(make(i));
      c.close();
    });
    int n = 0;
    while (auto v = c.recv()) {
      ASSERT_TRUE(check(*v, n)) << n << ", capacity " << capacity;
      if (++n % 7 == 0) yield();  // lets the sender get ahead, and wait
    }
    EXPECT_EQ(n, 500);
  }
}

TEST_P(chan_semantics, values_of_every_kind_pass) {
  run([] {
    passes<std::unique_ptr<int>>([](int i) { return std::make_unique<int>(i); },
                                 [](auto& v, int i) { return v && *v == i; });
    passes<no_default>([](int i) { return no_default(i); }, [](auto& v, int i) { return v.value == i; });
    passes<large>([](int i) { return large::of(static_cast<std::uint64_t>(i)); },
                  [](auto& v, int i) { return v.is(static_cast<std::uint64_t>(i)); });
    passes<std::string>([](int i) { return std::string(static_cast<std::size_t>(i % 60), 'a'); },
                        [](auto& v, int i) { return v == std::string(static_cast<std::size_t>(i % 60), 'a'); });
    passes<aligned>([](int i) { return aligned{static_cast<std::uint64_t>(i)}; },
                    [](auto& v, int i) {
                      return reinterpret_cast<std::uintptr_t>(&v) % 128 == 0 &&
                             v.value == static_cast<std::uint64_t>(i);
                    });
    struct empty {};
    passes<empty>([](int) { return empty{}; }, [](auto&, int) { return true; });
    passes<chan<int>>(
        [](int i) {
          auto c = make_chan<int>(1);
          c.send(i);
          return c;
        },
        [](auto& v, int i) { return v.recv() == i; });
  });
}

TEST_P(chan_semantics, every_value_is_destroyed_exactly_once) {
  ASSERT_EQ(counted::alive, 0);
  run([] {
    for (const std::size_t capacity : capacities) {
      auto c = make_chan<counted>(capacity);
      wait_group all;
      for (int p = 0; p < 4; ++p)
        all.go([c] {
          for (int i = 0; i < 200; ++i) c.send(counted(i));
          for (int i = 0; i < 50; ++i) (void)c.try_send(counted(i));
        });
      wait_group receivers;
      for (int r = 0; r < 2; ++r)
        receivers.go([c] {
          while (auto v = c.recv()) {
            EXPECT_GE(v->value, 0);
            if (auto t = c.try_recv()) {
              EXPECT_GE(t->value, 0);
            }
          }
        });
      all.wait();
      c.close();
      receivers.wait();
      // Senders that are refused.
      auto full = make_chan<counted>(capacity);
      for (std::size_t i = 0; i < capacity; ++i) full.send(counted(1));
      for (int i = 0; i < 3; ++i) {
        all.go([full] { EXPECT_THROW(full.send(counted(2)), closed_channel); });
        await_waiters(full, i + 1);
      }
      full.close();
      all.wait();
      EXPECT_THROW((void)full.try_send(counted(3)), closed_channel);
    }  // with values left: the last handle destroys them
  });
  EXPECT_EQ(counted::alive, 0);
}

TEST_P(chan_semantics, the_last_handle_destroys_what_is_left_wherever_it_dies) {
  run([] {
    for (const std::size_t capacity : {1u, 2u, 3u, 7u, 128u}) {
      for (const bool closed : {false, true}) {
        auto c = make_chan<counted>(capacity);
        // Somewhere in the ring, not at its start.
        for (int i = 0; i < 5; ++i) {
          c.send(counted(i));
          (void)c.recv();
        }
        for (std::size_t i = 0; i < capacity; ++i) c.send(counted(1));
        if (closed) c.close();
        EXPECT_EQ(counted::alive, static_cast<int>(capacity));
        wait_group g;
        g.go([d = std::move(c)] { yield(); });
        g.wait();
        EXPECT_TRUE(eventually([] { return counted::alive == 0; }));
      }
    }
  });
}

TEST_P(chan_semantics, ring_positions_wrap) {
  // A channel's positions count modulo 2^30. This one starts a few short of that.
  run([] {
    using core = rt::typed_chan<int>;
    constexpr auto mask = static_cast<std::uint32_t>(rt::word::position_mask);
    for (const std::size_t capacity : {1u, 2u, 3u, 7u, 128u}) {
      for (const std::uint32_t before : {0u, 1u, 2u, 5u, 130u}) {
        auto c = make_chan<int>(capacity);
        const std::uint32_t base = mask - before;
        rt::chan_core& k = *c.core();
        k.word.store(rt::word::ring(rt::word::open, base, 0), relaxed);
        for (std::uint32_t i = 0; i <= k.ring_mask; ++i)
          core::at(k, base + i).turn.store(core::masked(base + i), relaxed);
        int sent = 0;
        int received = 0;
        for (int round = 0; round < 40; ++round) {  // full, with three that wait, and empty
          for (std::size_t i = 0; i < capacity; ++i) c.send(sent++);
          for (int i = 0; i < round % 4; ++i) {
            go([c, v = sent++] { c.send(v); });
            await_waiters(c, i + 1);
          }
          EXPECT_EQ(c.len(), capacity);
          while (received < sent) ASSERT_EQ(c.recv(), received++) << "capacity " << capacity << ", before " << before;
          EXPECT_TRUE(c.try_recv().is_empty());
        }
        for (std::size_t i = 0; i < capacity; ++i) c.send(sent++);
        c.close();
        for (int v : c) ASSERT_EQ(v, received++);
        EXPECT_EQ(received, sent);
      }
    }
  });
}

TEST(chan, a_capacity_past_the_limit_is_a_length_error) {
  EXPECT_THROW(make_chan<int>((std::size_t{1} << 28) + 1), std::length_error);
  EXPECT_THROW(make_chan<int>(~std::size_t{0}), std::length_error);
}

TEST(chan, works_on_ordinary_threads_alone) {
  for (const std::size_t capacity : capacities) {
    auto c = make_chan<int>(capacity);
    const int n = weft_test::scaled(2'000);
    std::thread sender([c, n] {
      for (int i = 0; i < n; ++i) c.send(i);
      c.close();
    });
    int expected = 0;
    for (int v : c) ASSERT_EQ(v, expected++);
    EXPECT_EQ(expected, n);
    sender.join();
    EXPECT_THROW(c.send(1), closed_channel);
  }
}

TEST(chan, many_ordinary_threads_wait_in_line_and_close_sends_them_home) {
  for (const std::size_t capacity : capacities) {
    auto c = make_chan<int>(capacity);
    std::vector<std::thread> all;
    std::array<int, 6> got{};
    for (int i = 0; i < 6; ++i) {
      all.emplace_back([c, &got, i] { got[static_cast<std::size_t>(i)] = c.recv().value_or(-1); });
      await_waiters(c, i + 1);
    }
    for (int i = 0; i < 4; ++i) c.send(i);
    c.close();
    for (auto& t : all) t.join();
    for (int i = 0; i < 6; ++i) EXPECT_EQ(got[static_cast<std::size_t>(i)], i < 4 ? i : -1) << capacity;
  }
}

TEST_P(chan_semantics, ordinary_threads_send_to_goroutines) {
  for (const std::size_t capacity : capacities) {
    auto c = make_chan<int>(capacity);
    const int n = weft_test::scaled(1'000);
    std::vector<std::thread> senders;
    for (int t = 0; t < 3; ++t)
      senders.emplace_back([c, n] {
        for (int i = 0; i < n; ++i) c.send(i);
      });
    const long long sum = run([c, n] {
      std::atomic<long long> total{0};
      wait_group all;
      for (int g = 0; g < 3; ++g)
        all.go([c, n, &total] {
          for (int i = 0; i < n; ++i) total += c.recv().value();
        });
      all.wait();
      return total.load();
    });
    for (auto& t : senders) t.join();
    EXPECT_EQ(sum, 3LL * n * (n - 1) / 2);
  }
}

TEST_P(chan_semantics, goroutines_send_to_ordinary_threads) {
  for (const std::size_t capacity : capacities) {
    auto c = make_chan<int>(capacity);
    const int n = weft_test::scaled(1'000);
    std::atomic<long long> sum{0};
    std::vector<std::thread> receivers;
    for (int t = 0; t < 3; ++t)
      receivers.emplace_back([c, &sum] {
        for (int v : c) sum += v;
      });
    run([c, n] {
      wait_group all;
      for (int g = 0; g < 3; ++g)
        all.go([c, n] {
          for (int i = 0; i < n; ++i) c.send(i);
        });
      all.wait();
      c.close();
    });
    for (auto& t : receivers) t.join();
    EXPECT_EQ(sum, 3LL * n * (n - 1) / 2);
  }
}

TEST_P(chan_semantics, two_runtimes_share_a_channel) {
  for (const std::size_t capacity : capacities) {
    auto there = make_chan<int>(capacity);
    auto back = make_chan<int>(capacity);
    const int n = weft_test::scaled(500);
    std::thread other([&, p = procs()] {
      weft::run(weft_test::on(p), [there, back] {
        wait_group all;
        for (int g = 0; g < 3; ++g)
          all.go([there, back] {
            for (int v : there) back.send(v + 1);
          });
        all.wait();
        back.close();
      });
    });
    run([there, back, n] {
      go([there, n] {
        for (int i = 0; i < n; ++i) there.send(i);
        there.close();
      });
      long long sum = 0;
      for (int v : back) sum += v;
      EXPECT_EQ(sum, static_cast<long long>(n) * (n + 1) / 2);
    });
    other.join();
  }
}

TEST_P(chan_semantics, a_value_may_itself_use_channels_while_it_is_moved) {
  // A move constructor that parks: the runtime must not hold on to the M it had before.
  struct busy {
    chan<int> log;
    explicit busy(chan<int> l) noexcept : log(std::move(l)) {}
    busy(busy&& o) noexcept : log(o.log) {
      yield();
      (void)log.try_send(1);
      yield();
    }
    busy(const busy&) = delete;
    busy& operator=(const busy&) = delete;
    busy& operator=(busy&&) = delete;
    ~busy() { yield(); }
  };
  run([] {
    auto log = make_chan<int>(64);
    for (const std::size_t capacity : {0u, 1u, 3u}) {
      auto c = make_chan<busy>(capacity);
      wait_group all;
      for (int g = 0; g < 4; ++g) {
        all.go([c, log] {
          for (int i = 0; i < 100; ++i) c.send(busy(log));
        });
        all.go([c, log] {
          for (int i = 0; i < 100; ++i) {
            EXPECT_TRUE(c.recv().has_value());
            (void)log.try_recv();
          }
        });
      }
      all.wait();
    }
  });
}

// Go's runtime/chan_test.go ---------------------------------------------------------------------------------------------

TEST_P(chan_semantics, go_TestChan) {
  run([] {
    constexpr int n = 200;
    for (const std::size_t capacity : capacities) {
      {  // receive from an empty channel blocks
        auto c = make_chan<int>(capacity);
        auto first = std::make_shared<std::atomic<bool>>(false);
        auto second = std::make_shared<std::atomic<bool>>(false);
        wait_group both;
        both.go([=] {
          (void)c.recv();
          *first = true;
        });
        both.go([=] {
          (void)c.recv();
          *second = true;
        });
        await_waiters(c, 2);
        EXPECT_FALSE(*first || *second);
        EXPECT_TRUE(c.try_send(0));
        EXPECT_TRUE(c.try_send(0));
        both.wait();
      }
      {  // send to a full channel blocks
        auto c = make_chan<int>(capacity);
        for (std::size_t i = 0; i < capacity; ++i) c.send(static_cast<int>(i));
        auto sent = std::make_shared<std::atomic<bool>>(false);
        wait_group done;
        done.go([=] {
          c.send(0);
          *sent = true;
        });
        await_waiters(c, 1);
        EXPECT_FALSE(*sent);
        EXPECT_TRUE(c.try_recv().has_value());
        done.wait();
        EXPECT_TRUE(*sent);
      }
      {  // after close: what is left, then nothing
        auto c = make_chan<int>(capacity);
        for (std::size_t i = 0; i < capacity; ++i) c.send(static_cast<int>(i));
        c.close();
        for (std::size_t i = 0; i < capacity; ++i) EXPECT_EQ(c.recv(), static_cast<int>(i));
        EXPECT_EQ(c.recv(), std::nullopt);
      }
      {  // close unblocks a receiver
        auto c = make_chan<int>(capacity);
        auto done = make_chan<bool>();
        go([=] { done.send(c.recv() == std::nullopt); });
        await_waiters(c, 1);
        c.close();
        EXPECT_EQ(done.recv(), true);
      }
      {  // n values, in order
        auto c = make_chan<int>(capacity);
        go([=] {
          for (int i = 0; i < n; ++i) c.send(i);
        });
        for (int i = 0; i < n; ++i) ASSERT_EQ(c.recv(), i);
      }
      {  // four senders, four receivers: every value L times, and each receiver sees each sender's in order
        constexpr int senders = 4;
        auto c = make_chan<int>(capacity);
        auto done = make_chan<std::vector<int>>();
        for (int p = 0; p < senders; ++p)
          go([=] {
            for (int i = 0; i < n; ++i) c.send(i);
          });
        for (int p = 0; p < senders; ++p)
          go([=] {
            std::vector<int> got(n);
            for (int i = 0; i < n; ++i) ++got[static_cast<std::size_t>(c.recv().value())];
            done.send(std::move(got));
          });
        std::vector<int> total(n);
        for (int p = 0; p < senders; ++p) {
          const auto got = done.recv().value();
          for (std::size_t i = 0; i < n; ++i) total[i] += got[i];
        }
        for (const int t : total) EXPECT_EQ(t, senders);
      }
      {  // len and cap
        auto c = make_chan<int>(capacity * 2);
        EXPECT_EQ(c.len(), 0u);
        EXPECT_EQ(c.cap(), capacity * 2);
        for (std::size_t i = 0; i < capacity; ++i) c.send(static_cast<int>(i));
        EXPECT_EQ(c.len(), capacity);
      }
    }
  });
}

TEST_P(chan_semantics, go_TestNonblockRecvRace) {
  // A value is there all the time until it is taken: a try_recv beside close and recv finds it, or "closed", never "empty".
  run([] {
    for (int i = 0; i < weft_test::scaled(2'000); ++i) {
      auto c = make_chan<int>(1);
      c.send(1);
      wait_group g;
      g.go([c] { EXPECT_FALSE(c.try_recv().is_empty()); });
      c.close();
      (void)c.recv();
      g.wait();
    }
  });
}

TEST_P(chan_semantics, go_TestMultiConsumer) {
  run([] {
    constexpr int workers = 23;
    constexpr int primes[] = {2, 3, 7, 11, 13, 17, 19, 23, 27, 31};
    const int n = weft_test::scaled(27'180);
    auto q = make_chan<int>(workers * 3);
    auto r = make_chan<int>(workers * 3);
    wait_group wg;
    for (int i = 0; i < workers; ++i)
      wg.go([=, w = i] {
        for (int v : q) {
          if (primes[static_cast<std::size_t>(w) % std::size(primes)] == v) yield();  // mess with the fifo-ish nature
          r.send(v);
        }
      });
    auto expect = std::make_shared<std::atomic<long long>>(0);
    wait_group feeder;
    feeder.go([=, &wg] {
      for (int i = 0; i < n; ++i) {
        const int v = primes[static_cast<std::size_t>(i) % std::size(primes)];
        *expect += v;
        q.send(v);
      }
      q.close();
      wg.wait();
      r.close();
    });
    long long sum = 0;
    int count = 0;
    for (int v : r) {
      ++count;
      sum += v;
    }
    feeder.wait();
    EXPECT_EQ(count, n);
    EXPECT_EQ(sum, *expect);
  });
}

TEST_P(chan_semantics, go_TestChanSendBarrier) {
  // A value's contents are there when it is received, straight or through the buffer.
  run([] {
    auto c = make_chan<std::unique_ptr<std::string>>(2);
    wait_group all;
    for (int g = 0; g < 8; ++g)
      all.go([c] {
        for (int i = 0; i < 300; ++i) {
          c.send(std::make_unique<std::string>("hello " + std::to_string(i)));
          EXPECT_EQ((**c.recv()).substr(0, 6), "hello ");
        }
      });
    all.wait();
  });
}

// Go's test/chan/ -------------------------------------------------------------------------------------------------------

TEST_P(chan_semantics, go_fifo) {
  run([] {
    auto c = make_chan<int>(10);  // AsynchFifo
    for (int i = 0; i < 10; ++i) c.send(i);
    for (int i = 0; i < 10; ++i) EXPECT_EQ(c.recv(), i);
    // SynchFifo: a chain in which each waits for the one before it.
    auto ch = make_chan<int>();
    chan<int> in = make_chan<int>();
    const chan<int> start = in;
    for (int i = 0; i < 10; ++i) {
      auto out = make_chan<int>();
      go([ch, i, in, out] {
        (void)in.recv();
        EXPECT_EQ(ch.recv(), i);
        out.send(1);
      });
      in = out;
    }
    start.send(0);
    for (int i = 0; i < 10; ++i) ch.send(i);
    (void)in.recv();
  });
}

TEST_P(chan_semantics, go_goroutines) {
  // A daisy chain of 10,000.
  run([] {
    const int n = weft_test::scaled(10'000);
    const auto leftmost = make_chan<int>();
    auto right = leftmost;
    auto left = leftmost;
    for (int i = 0; i < n; ++i) {
      right = make_chan<int>();
      go([left, right] { left.send(right.recv().value() + 1); });
      left = right;
    }
    go([right] { right.send(0); });
    EXPECT_EQ(leftmost.recv(), n);
  });
}

TEST_P(chan_semantics, go_nonblock) {
  run([] {
    for (const std::size_t capacity : {0u, 10u}) {
      auto c = make_chan<std::string>(capacity);
      EXPECT_TRUE(c.try_recv().is_empty());
      auto sync = make_chan<bool>();
      go([=] {
        c.send("hello");
        sync.send(true);
      });
      EXPECT_TRUE(eventually([&] {
        auto v = c.try_recv();
        if (v) {
          EXPECT_EQ(*v, "hello");
        }
        return v.has_value();
      }));
      (void)sync.recv();
      EXPECT_TRUE(c.try_recv().is_empty());
      go([=] {
        EXPECT_EQ(c.recv(), "world");
        sync.send(true);
      });
      if (capacity == 0) await_waiters(c, 1);
      EXPECT_TRUE(c.try_send("world"));
      (void)sync.recv();
      if (capacity != 0) {
        for (std::size_t i = 0; i < capacity; ++i) EXPECT_TRUE(c.try_send("x"));
      }
      EXPECT_FALSE(c.try_send("x"));
    }
  });
}

TEST_P(chan_semantics, go_sieve) {
  run([] {
    auto numbers = make_chan<int>();
    go([numbers] {
      try {
        for (int i = 2;; ++i) numbers.send(i);
      } catch (const closed_channel&) {
      }
    });
    std::vector<int> primes;
    std::vector<chan<int>> stages{numbers};
    for (int i = 0; i < 60; ++i) {
      auto in = stages.back();
      const int prime = in.recv().value();
      primes.push_back(prime);
      auto out = make_chan<int>();
      go([=] {
        try {
          for (int v : in)
            if (v % prime != 0) out.send(v);
        } catch (const closed_channel&) {
        }
      });
      stages.push_back(out);
    }
    EXPECT_EQ(primes.back(), 281);
    for (auto& s : stages) s.close();
  });
}

TEST_P(chan_semantics, go_zerosize) {
  struct empty {};
  run([] {
    (void)make_chan<empty>();
    auto c = make_chan<empty>(1);
    c.send({});
    EXPECT_TRUE(c.recv().has_value());
  });
}

}  // namespace
}  // namespace weft
