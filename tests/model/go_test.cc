// SPDX-License-Identifier: MIT
//
// Channels and select among goroutines: the moves that are inlined (chan.h, select.h), the park's commit, the lone words of selects. What a
// sender, a receiver or a closer did before is plain, and read by whom the channel says may read it.

#include <array>

#include "model.h"
#include "runtime/weft/weft.h"

namespace weft {
namespace {

using weft_test::check_some;

constexpr sim::plan whole{.max_steps = 100'000};

// A goroutine each, bound to a P each or free to move, on as many Ps.
void among(bool bound, std::initializer_list<std::function<void()>> bodies) {
  weft::run({.procs = static_cast<int>(bodies.size())}, [&] {
    int home = static_cast<int>(bodies.size()) - 1;
    for (const auto& b : bodies) {
      if (bound)
        weft::go({.home = home--}, [&b] { b(); });
      else
        weft::go([&b] { b(); });
    }
  });
}

void both_ways(const std::function<void(bool bound)>& body, int schedules = 100'000) {
  for (bool bound : {true, false}) check_some([&] { body(bound); }, schedules, whole);
}

// A value that says what its sender had done: `done[v]`, plain.
struct ledger {
  plain<int> done[8];
  std::array<int, 8> seen{};
  int n = 0;

  int mark(int v) {
    done[v] = v + 1;
    return v;
  }
  void take(std::optional<int> v) {
    sim::require(v.has_value(), "nothing, though nobody closed");
    sim::require(done[*v] == *v + 1, "received, but not what was done before the send");
    sim::require(++seen[static_cast<std::size_t>(*v)] == 1, "received twice");
    ++n;
  }
};

void exchange(bool bound, std::size_t capacity, int senders, int each, int receivers) {
  auto c = make_chan<int>(capacity);
  ledger all;
  auto send = [&](int s) {
    for (int i = 0; i < each; ++i) c.send(all.mark(s * each + i));
  };
  int share = senders * each / receivers;
  auto receive = [&] {
    for (int i = 0; i < share; ++i) all.take(c.recv());
  };
  if (senders == 1 && receivers == 1)
    among(bound, {[&] { send(0); }, receive});
  else if (receivers == 1)
    among(bound, {[&] { send(0); }, [&] { send(1); }, receive});
  else
    among(bound, {[&] { send(0); }, receive, receive});
  sim::require(all.n == senders * each, "a value is lost");
}
TEST(go_chan, unbuffered) {
  both_ways([](bool b) { exchange(b, 0, 1, 2, 1); });
}
TEST(go_chan, unbuffered_two_senders) {
  both_ways([](bool b) { exchange(b, 0, 2, 2, 1); });
}
TEST(go_chan, unbuffered_two_receivers) {
  both_ways([](bool b) { exchange(b, 0, 1, 4, 2); });
}
TEST(go_chan, buffered) {
  both_ways([](bool b) { exchange(b, 1, 1, 4, 1); });
}
TEST(go_chan, buffered_two_senders) {
  both_ways([](bool b) { exchange(b, 1, 2, 2, 1); });
}
TEST(go_chan, buffered_two_receivers) {
  both_ways([](bool b) { exchange(b, 2, 1, 4, 2); });
}

// What is found missing comes later. Two that each do one thing, and then look for the other's by an operation that does not wait: one of them finds
// it. (Or a wakeup is lost: a value is put into a queue, and a signal found up already; it is being taken down by one who then finds the queue
// empty.) `biased`: each channel is its mover's P's (sched/biased.h), and its move a plain store.
void one_finds(const std::function<void(chan<int>&)>& prepare, const std::function<void(chan<int>&)>& act,
               const std::function<bool(chan<int>&)>& found) {
  for (bool biased : {false, true})
    both_ways(
        [&](bool bound) {
          auto a = make_chan<int>(1);
          auto b = make_chan<int>(1);
          for (auto* c : {&a, &b}) prepare(*c);
          std::array<bool, 2> saw{};
          const auto body = [&](int i, chan<int>& mine, chan<int>& others) {
            if (biased) rt::bias_to(rt::self(), mine.core()->word);
            act(mine);
            saw[static_cast<std::size_t>(i)] = found(others);
          };
          among(bound, {[&] { body(0, a, b); }, [&] { body(1, b, a); }});
          sim::require(saw[0] || saw[1], "each found that the other had not come yet");
        },
        20'000);
}
TEST(go_chan, one_of_two_finds_the_others_value) {
  one_finds([](chan<int>&) {}, [](chan<int>& c) { c.send(1); }, [](chan<int>& c) { return c.try_recv().has_value(); });
}
TEST(go_chan, one_of_two_finds_the_others_room) {
  one_finds([](chan<int>& c) { c.try_send(1); }, [](chan<int>& c) { c.recv(); },
            [](chan<int>& c) { return c.try_send(2); });
}
TEST(go_chan, one_of_two_finds_the_other_closed) {
  one_finds([](chan<int>&) {}, [](chan<int>& c) { c.close(); }, [](chan<int>& c) { return c.try_recv().is_closed(); });
}

// An unbuffered send returns when the receiver has come: what that one did before is to be seen.
TEST(go_chan, receive_comes_before_the_send_returns) {
  both_ways([](bool bound) {
    auto c = make_chan<int>();
    plain<int> here{0};
    among(bound, {[&] {
                    c.send(1);
                    sim::require(here == 1, "sent, but not what the receiver did before");
                  },
                  [&] {
                    here = 1;
                    c.recv();
                  }});
  });
}

TEST(go_chan, close_is_seen_with_what_came_before) {
  for (std::size_t capacity : {std::size_t{0}, std::size_t{1}})
    both_ways([capacity](bool bound) {
      auto c = make_chan<int>(capacity);
      plain<int> before{0};
      auto receive = [&] {
        while (c.recv()) {
        }
        sim::require(before == 1, "closed, but not what was done before");
      };
      among(bound, {receive, receive, [&] {
                      before = 1;
                      c.close();
                    }});
    });
}

// select. Two senders, one that takes from either: it stands alone in both words, over and over (seats, tickets).
void take_from_either(bool bound, std::size_t capacity) {
  auto a = make_chan<int>(capacity);
  auto b = make_chan<int>(capacity);
  ledger all;
  among(bound, {[&] {
                  a.send(all.mark(0));
                  a.send(all.mark(1));
                },
                [&] { b.send(all.mark(2)); },
                [&] {
                  for (int i = 0; i < 3; ++i)
                    weft::select(on_recv(a, [&](std::optional<int> v) { all.take(v); }),
                                 on_recv(b, [&](std::optional<int> v) { all.take(v); }));
                }});
  sim::require(all.n == 3, "a value is lost");
}
TEST(go_select, takes_from_either) {
  both_ways([](bool b) { take_from_either(b, 0); });
}
TEST(go_select, takes_from_either_buffered) {
  both_ways([](bool b) { take_from_either(b, 1); });
}

void give_to_either(bool bound, std::size_t capacity) {
  auto a = make_chan<int>(capacity);
  auto b = make_chan<int>(capacity);
  ledger all;
  int left = 3;
  auto give = [&] {
    for (int i = 0; i < 3; ++i) {
      int v = all.mark(i);
      weft::select(on_send(a, v, [&] { --left; }), on_send(b, v, [&] { --left; }));
    }
    a.close();
    b.close();
  };
  auto take = [&](const chan<int>& c) {
    while (std::optional<int> v = c.recv()) all.take(v);
  };
  among(bound, {[&] { take(a); }, [&] { take(b); }, give});
  sim::require(all.n == 3 && left == 0, "a value is lost");
}
TEST(go_select, gives_to_either) {
  both_ways([](bool b) { give_to_either(b, 0); });
}
TEST(go_select, gives_to_either_buffered) {
  both_ways([](bool b) { give_to_either(b, 1); });
}

// Selects that stand alone meet each other's words.
TEST(go_select, meets_select) {
  both_ways([](bool bound) {
    auto a = make_chan<int>();
    auto b = make_chan<int>();
    ledger all;
    auto take = [&] {
      weft::select(on_recv(a, [&](std::optional<int> v) { all.take(v); }),
                   on_recv(b, [&](std::optional<int> v) { all.take(v); }));
    };
    among(bound, {[&] {
                    for (int i = 0; i < 2; ++i) {
                      int v = all.mark(i);
                      weft::select(on_send(b, v, [] {}), on_send(a, v, [] {}));
                    }
                  },
                  take, take});
    sim::require(all.n == 2, "a value is lost");
  });
}

// A plain receiver comes where a select stands alone, which makes a list of the two; whoever wins, the select withdraws.
TEST(go_select, is_joined_in_a_list) {
  both_ways([](bool bound) {
    auto a = make_chan<int>();
    auto b = make_chan<int>();
    ledger all;
    among(bound, {[&] {
                    weft::select(on_recv(a, [&](std::optional<int> v) { all.take(v); }),
                                 on_recv(b, [&](std::optional<int> v) { all.take(v); }));
                    // What it left behind is in nobody's way.
                    if (std::optional<int> v = b.recv()) all.take(v);
                  },
                  [&] { all.take(a.recv()); },
                  [&] {
                    a.send(all.mark(0));
                    int v = all.mark(1);
                    int w = all.mark(2);
                    // Two of three take the rest: one from a or b, one from b.
                    bool to_a = false;
                    weft::select(on_send(a, v, [&] { to_a = true; }), on_send(b, v, [] {}));
                    if (to_a)
                      b.send(w);
                    else
                      weft::select(on_send(a, w, [] {}), on_send(b, w, [] {}));
                    b.close();
                    a.close();
                  }});
  });
}

TEST(go_select, close_wakes) {
  both_ways([](bool bound) {
    auto a = make_chan<int>();
    auto b = make_chan<int>();
    plain<int> before{0};
    auto wait = [&] {
      bool ended = false;
      weft::select(on_recv(a, [](std::optional<int>) {}), on_recv(b, [&](std::optional<int> v) { ended = !v; }));
      sim::require(ended && before == 1, "closed, but not what was done before");
    };
    among(bound, {wait, wait, [&] {
                    before = 1;
                    b.close();
                  }});
  });
}

// A poll judges one moment: a token moves about, and at each moment one channel has it. The inlined poll, and the one behind it.
TEST(go_select, otherwise_judges_one_moment) {
  both_ways([](bool bound) {
    auto a = make_chan<int>(1);
    auto b = make_chan<int>(1);
    a.try_send(0);
    among(bound, {[&] {
                    b.send(0);
                    a.recv();
                    a.send(0);
                    b.recv();
                  },
                  [&] {
                    bool none = false;
                    weft::select(on_recv(a, [&](std::optional<int>) { a.send(0); }),
                                 on_recv(b, [&](std::optional<int>) { b.send(0); }), otherwise([&] { none = true; }));
                    sim::require(!none, "neither was ready, but one always is");
                  }});
  });
}

// As go_chan.one_of_two_finds..., by a select: inlined, of two cases, and of a list.
TEST(go_select, one_of_two_finds_the_others_value) {
  const auto put = [](chan<int>& c) { c.send(1); };
  const auto nothing = [](chan<int>&) {};
  one_finds(nothing, put, [](chan<int>& c) {
    bool none = false;
    weft::select(on_recv(c), otherwise([&] { none = true; }));
    return !none;
  });
  one_finds(nothing, put, [](chan<int>& c) {
    auto never = make_chan<int>(1);
    bool none = false;
    weft::select(on_recv(c), on_recv(never), otherwise([&] { none = true; }));
    return !none;
  });
  one_finds(nothing, put, [](chan<int>& c) {
    std::vector<select_case> cases;
    cases.emplace_back(on_recv(c));
    return weft::select(cases, otherwise()) == 0;
  });
}
TEST(go_select, one_of_two_finds_the_others_room) {
  one_finds([](chan<int>& c) { c.try_send(1); }, [](chan<int>& c) { c.recv(); },
            [](chan<int>& c) {
              bool none = false;
              weft::select(on_send(c, 2), otherwise([&] { none = true; }));
              return !none;
            });
}

// The same with room instead of values.
TEST(go_select, otherwise_judges_one_moment_of_room) {
  both_ways([](bool bound) {
    auto a = make_chan<int>(1);
    auto b = make_chan<int>(1);
    b.try_send(0);
    among(bound, {[&] {
                    b.recv();
                    a.send(0);
                    a.recv();
                    b.send(0);
                  },
                  [&] {
                    bool none = false;
                    int v = 7;
                    weft::select(on_send(a, v, [&] { a.recv(); }), on_send(b, v, [&] { b.recv(); }),
                                 otherwise([&] { none = true; }));
                    sim::require(!none, "neither had room, but one always has");
                  }});
  });
}

// Polls that find somebody waiting alone.
TEST(go_select, polls_meet_who_waits) {
  both_ways([](bool bound) {
    auto a = make_chan<int>();
    auto b = make_chan<int>();
    ledger all;
    bool over = false;
    auto poll = [&](const std::function<bool()>& once) {
      while (!once()) {
        weft::yield();
        sim::spin();
      }
    };
    among(bound, {[&] {
                    a.send(all.mark(0));
                    all.take(b.recv());
                  },
                  [&] {
                    int v = all.mark(1);
                    bool sent = false;
                    bool got = false;
                    poll([&] {
                      if (!got)
                        weft::select(on_recv(a,
                                             [&](std::optional<int> w) {
                                               all.take(w);
                                               got = true;
                                             }),
                                     on_send(b, v, [&] { sent = true; }), otherwise([] {}));
                      else if (!sent)
                        weft::select(on_send(b, v, [&] { sent = true; }), otherwise([] {}));
                      return got && sent;
                    });
                    over = true;
                  }});
    sim::require(over && all.n == 2, "a value is lost");
  });
}

}  // namespace
}  // namespace weft
