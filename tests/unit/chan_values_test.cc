// SPDX-License-Identifier: MIT
//
// What is sent, and by which face of the channel: values of every kind arrive, and are destroyed once, wherever they end.
#include "runtime/chan/chan.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "tests/support/channels.h"
#include "tests/support/world.h"

namespace weft {
namespace {

using weft_test::await_waiters;
using weft_test::capacities;
using weft_test::eventually;

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
        for (std::uint32_t i = 0; i <= k.ring_mask; ++i) core::at(k, base + i).turn.store(base + i, relaxed);
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

// A value is received where the iterator is compared, or, if it is not, where the value is needed.
TEST_P(chan_semantics, an_iterator_receives_when_it_is_asked) {
  run([] {
    auto c = make_chan<int>(8);
    for (int i = 0; i < 8; ++i) c.send(i);
    auto it = c.begin();
    EXPECT_EQ(c.len(), 8u);
    EXPECT_FALSE(it == c.end());
    EXPECT_FALSE(it == c.end());
    EXPECT_EQ(c.len(), 7u);
    EXPECT_EQ(*it, 0);
    EXPECT_EQ(*it, 0);
    ++it;
    EXPECT_EQ(c.len(), 7u);
    EXPECT_EQ(*it, 1);  // not compared
    EXPECT_EQ(c.len(), 6u);
    ++it;
    ++it;  // neither compared nor read: 2 is gone
    EXPECT_EQ(c.len(), 5u);
    EXPECT_EQ(*it, 3);
    it++;
    c.close();
    int sum = 0;
    for (; it != c.end(); ++it) sum += *it;
    EXPECT_EQ(sum, 4 + 5 + 6 + 7);
    EXPECT_TRUE(it == c.end());
    const auto closed = c.begin();
    EXPECT_TRUE(closed == c.end());
  });
}

TEST_P(chan_semantics, an_iterator_over_values_that_can_only_be_moved) {
  run([] {
    auto c = make_chan<std::unique_ptr<int>>();
    go([c] {
      for (int i = 0; i < 10; ++i) c.send(std::make_unique<int>(i));
      c.close();
    });
    int next = 0;
    for (auto&& v : c) EXPECT_EQ(*std::unique_ptr<int>(std::move(v)), next++);
    EXPECT_EQ(next, 10);
  });
}

// Who waits at a ring's end, and finds the channel closed, waits as well as ever afterwards.
TEST_P(chan_semantics, a_close_finds_who_waits_at_a_rings_end) {
  run([] {
    for (const bool two : {false, true}) {
      auto c = make_chan<int>(1);
      auto plain = make_chan<int>();
      wait_group ended;
      for (int k = 0; k < (two ? 2 : 1); ++k)
        ended.go([c, plain] {
          for (int i = 0; i < 3; ++i) {
            EXPECT_FALSE(c.recv());
            EXPECT_TRUE(plain.recv().has_value());  // as done, and not as closed
          }
        });
      await_waiters(c, two ? 2 : 1);
      c.close();
      for (int i = 0; i < 3; ++i)
        for (int k = 0; k < (two ? 2 : 1); ++k) plain.send(i);
      ended.wait();

      auto full = make_chan<int>(1);
      full.send(0);
      for (int k = 0; k < (two ? 2 : 1); ++k)
        ended.go([full, plain] {
          EXPECT_THROW(full.send(1), closed_channel);
          plain.send(1);
        });
      await_waiters(full, two ? 2 : 1);
      full.close();
      for (int k = 0; k < (two ? 2 : 1); ++k) EXPECT_EQ(*plain.recv(), 1);
      ended.wait();
      EXPECT_EQ(*full.recv(), 0);
      EXPECT_FALSE(full.recv());
    }
  });
}

}  // namespace
}  // namespace weft
