// SPDX-License-Identifier: MIT
//
// select on ordinary threads: each value goes to one taker, nobody is forgotten, and a poll judges one moment.

#include <array>

#include "model.h"
#include "runtime/weft/weft.h"

namespace weft {
namespace {

using weft_test::check_all;
using weft_test::check_some;

// Counts what was received, by value.
class received {
 public:
  void add(std::optional<int> v) {
    sim::require(v.has_value(), "nothing, though nobody closed");
    sim::require(++count_[static_cast<std::size_t>(*v)] == 1, "received twice");
    ++n_;
  }
  void all(int n) const { sim::require(n_ == n, "a value is lost"); }

 private:
  std::array<int, 16> count_{};
  int n_ = 0;
};

void two_channels(std::size_t capacity) {
  auto a = make_chan<int>(capacity);
  auto b = make_chan<int>(capacity);
  received got;
  sim::thread sa([&] { a.send(1); });
  sim::thread sb([&] { b.send(2); });
  for (int i = 0; i < 2; ++i)
    weft::select(on_recv(a, [&](std::optional<int> v) { got.add(v); }),
                 on_recv(b, [&](std::optional<int> v) { got.add(v); }));
  sa.join();
  sb.join();
  got.all(2);
}
TEST(select, two_unbuffered) {
  check_all([] { two_channels(0); }, {.schedules = 100'000, .preemptions = 2, .stale = 1});
  check_some([] { two_channels(0); }, 100'000);
}
TEST(select, two_buffered) {
  check_some([] { two_channels(1); }, 100'000);
}

// A meeting of selects: one sends on either, the other receives from either.
TEST(select, meets_select) {
  check_some(
      [] {
        auto a = make_chan<int>();
        auto b = make_chan<int>();
        received got;
        sim::thread s([&] {
          for (int i = 0; i < 2; ++i) {
            int v = i;
            weft::select(on_send(a, v, [] {}), on_send(b, v, [] {}));
          }
        });
        for (int i = 0; i < 2; ++i)
          weft::select(on_recv(b, [&](std::optional<int> v) { got.add(v); }),
                       on_recv(a, [&](std::optional<int> v) { got.add(v); }));
        s.join();
        got.all(2);
      },
      100'000);
}

// BOTH: each would send to as well as receive from the same channel; they meet each other, and never themselves.
TEST(select, both_directions) {
  check_some(
      [] {
        auto c = make_chan<int>();
        int sent = 0;
        received got;
        auto either = [&](int mine) {
          weft::select(on_send(c, mine, [&] { ++sent; }), on_recv(c, [&](std::optional<int> v) {
                         sim::require(*v != mine, "it met itself");
                         got.add(v);
                       }));
        };
        sim::thread t([&] { either(1); });
        either(2);
        t.join();
        sim::require(sent == 1, "one sends");
        got.all(1);
      },
      100'000);
}
TEST(select, both_directions_of_three_and_a_sender) {
  check_some(
      [] {
        auto c = make_chan<int>();
        int sent = 0;
        received got;
        auto either = [&](int mine) {
          weft::select(on_send(c, mine, [&] { ++sent; }), on_recv(c, [&](std::optional<int> v) { got.add(v); }));
        };
        sim::thread t([&] { either(1); });
        sim::thread u([&] { either(2); });
        sim::thread s([&] {
          c.send(3);
          ++sent;
        });
        either(4);
        t.join();
        u.join();
        s.join();
        sim::require(sent == 2, "two send");
        got.all(2);
      },
      100'000);
}

// Losing cases: nodes left in a channel's list do no harm to those who come later.
TEST(select, losers_are_withdrawn) {
  check_some(
      [] {
        auto a = make_chan<int>();
        auto b = make_chan<int>();
        received got;
        sim::thread s([&] {
          a.send(1);
          b.send(2);
          a.send(3);
        });
        auto take = [&] {
          weft::select(on_recv(a, [&](std::optional<int> v) { got.add(v); }),
                       on_recv(b, [&](std::optional<int> v) { got.add(v); }));
        };
        sim::thread t(take);
        take();
        take();
        s.join();
        t.join();
        got.all(3);
      },
      100'000);
}

// Close ends a waiting select.
TEST(select, close_wakes) {
  auto body = [] {
    auto a = make_chan<int>();
    auto b = make_chan<int>(1);
    sim::thread t([&] { b.close(); });
    bool ended = false;
    weft::select(on_recv(a, [](std::optional<int>) {}), on_recv(b, [&](std::optional<int> v) { ended = !v; }));
    sim::require(ended, "a closed channel is ready");
    t.join();
  };
  check_all(body, {.schedules = 100'000, .preemptions = 2, .stale = 2});
  check_some(body, 100'000);
}

// Nodes die inside of a list, among others that stay, and more join it meanwhile.
TEST(select, losers_inside_of_a_list) {
  check_some(
      [] {
        auto a = make_chan<int>();
        auto b = make_chan<int>();
        received got;
        auto take = [&] {
          weft::select(on_recv(b, [&](std::optional<int> v) { got.add(v); }),
                       on_recv(a, [&](std::optional<int> v) { got.add(v); }));
        };
        sim::thread r([&] { got.add(a.recv()); });
        sim::thread s([&] {
          take();
          take();
        });
        sim::thread t(take);
        sim::thread u([&] { got.add(a.recv()); });
        for (int i = 0; i < 5; ++i) {
          int v = i;
          weft::select(on_send(a, v, [] {}), on_send(b, v, [] {}));
        }
        r.join();
        s.join();
        t.join();
        u.join();
        got.all(5);
        for (const auto& c : {a, b})  // a list may be left, of dead nodes
          sim::require(rt::word::is_list(c.core()->word.load(relaxed)) || c.core()->tail.load(relaxed) == nullptr,
                       "a hint leads to a node that is gone");
      },
      100'000);
}

// The same in a buffered channel, where every select has a node.
TEST(select, losers_inside_of_a_buffers_list) {
  check_some(
      [] {
        auto a = make_chan<int>(1);
        auto b = make_chan<int>(1);
        received got;
        auto take = [&] {
          weft::select(on_recv(b, [&](std::optional<int> v) { got.add(v); }),
                       on_recv(a, [&](std::optional<int> v) { got.add(v); }));
        };
        sim::thread r(take);
        sim::thread s([&] {
          take();
          take();
        });
        sim::thread t(take);
        for (int i = 0; i < 3; ++i) b.send(i);
        a.send(3);
        r.join();
        s.join();
        t.join();
        got.all(4);
      },
      100'000);
}

// A select stands alone, a receiver joins it, a third comes; it wins elsewhere.
TEST(select, withdraws_from_a_list_that_others_made) {
  check_some(
      [] {
        auto a = make_chan<int>();
        auto b = make_chan<int>();
        received got;
        sim::thread s([&] {
          weft::select(on_recv(a, [&](std::optional<int> v) { got.add(v); }),
                       on_recv(b, [&](std::optional<int> v) { got.add(v); }));
        });
        sim::thread r([&] { got.add(a.recv()); });
        sim::thread u([&] { got.add(a.recv()); });
        sim::thread x([&] { a.send(0); });
        // Whoever of the three takes b's or a's: two more are wanted.
        bool to_b = false;
        int v = 1;
        weft::select(on_send(b, v, [&] { to_b = true; }), on_send(a, v, [] {}));
        a.send(2);
        s.join();
        r.join();
        u.join();
        x.join();
        (void)to_b;
        got.all(3);
      },
      100'000);
}

// A poll finds a competitor alone in an unbuffered channel, and makes him a list of one, so as to judge one moment.
TEST(select, otherwise_beside_a_competitor) {
  check_some(
      [] {
        auto a = make_chan<int>();
        auto b = make_chan<int>();
        received got;
        sim::thread r([&] { got.add(a.recv()); });
        sim::thread x([&] { a.send(1); });
        for (int i = 0; i < 2; ++i)
          weft::select(on_recv(a, [&](std::optional<int> v) { a.send(*v); }), on_recv(b, [](std::optional<int>) {}),
                       otherwise([] {}));
        r.join();
        x.join();
        got.all(1);
      },
      100'000);
}

// The same with room as the token.
TEST(select, otherwise_judges_one_moment_of_room) {
  check_some(
      [] {
        auto a = make_chan<int>(1);
        auto b = make_chan<int>(1);
        b.send(0);
        sim::thread mover([&] {
          b.recv();
          a.send(0);
          a.recv();
          b.send(0);
        });
        bool none = false;
        int v = 7;
        weft::select(on_send(a, v, [&] { a.recv(); }), on_send(b, v, [&] { b.recv(); }),
                     otherwise([&] { none = true; }));
        sim::require(!none, "neither had room, but one always has");
        mover.join();
      },
      100'000);
}

// A poll of several cases judges one moment: a token moves from channel to channel, and at each moment one has it.
TEST(select, otherwise_judges_one_moment) {
  auto body = [](int rounds) {
    auto a = make_chan<int>(1);
    auto b = make_chan<int>(1);
    a.send(0);
    sim::thread mover([&] {
      for (int i = 0; i < rounds; ++i) {
        b.send(0);
        a.recv();
        a.send(0);
        b.recv();
      }
    });
    bool none = false;
    // The mover misses what is taken: it is given back.
    weft::select(on_recv(a, [&](std::optional<int>) { a.send(0); }), on_recv(b, [&](std::optional<int>) { b.send(0); }),
                 otherwise([&] { none = true; }));
    sim::require(!none, "neither was ready, but one always is");
    mover.join();
  };
  check_some([&] { body(1); }, 100'000);
  check_some([&] { body(2); }, 100'000);  // what the first look knows of the one round says nothing of the next
}

}  // namespace
}  // namespace weft
