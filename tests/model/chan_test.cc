// SPDX-License-Identifier: MIT
//
// Channels, in all small shapes: a few operations by a few threads, and what they returned is explained by an order of them
// (history.h). The threads are ordinary ones, which wait in the kernel: that leaves the scheduler out, and all of the channel in.
// The same shapes among goroutines are in world_test.cc.

#include <array>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "history.h"
#include "runtime/weft/weft.h"

namespace weft {
namespace {

using weft_test::check_all;
using weft_test::check_some;
using weft_test::history;
using weft_test::op;
using weft_test::result;

void send(history& h, const chan<int>& c, int v) {
  int i = h.begin(op::send, v);
  try {
    c.send(v);
    h.end(i, result::done);
  } catch (const closed_channel&) {
    h.end(i, result::closed);
  }
}
// The value; closed; or nothing.
constexpr int closed_value = -1;
int receive(history& h, const chan<int>& c) {
  int i = h.begin(op::receive);
  std::optional<int> v = c.recv();
  h.end(i, v ? result::done : result::closed, v.value_or(0));
  return v.value_or(closed_value);
}
void try_send(history& h, const chan<int>& c, int v) {
  int i = h.begin(op::try_send, v);
  try {
    h.end(i, c.try_send(v) ? result::done : result::not_now);
  } catch (const closed_channel&) {
    h.end(i, result::closed);
  }
}
int try_receive(history& h, const chan<int>& c) {
  int i = h.begin(op::try_receive);
  auto r = c.try_recv();
  if (r.has_value()) {
    h.end(i, result::done, *r);
    return *r;
  }
  h.end(i, r.is_closed() ? result::closed : result::not_now);
  return r.is_closed() ? closed_value : 0;
}
// What was received brings what its sender had done; that the channel is closed, what its closer had.
void came_before(const plain<int> (&before)[5][4], int closer, int got) {
  if (got == closed_value) {
    if (closer >= 0 && closer < 5) sim::require(before[closer][3] == 1, "closed, but not what came before");
  } else if (got != 0) {
    sim::require(before[got / 10 - 1][got % 10] == 1, "received, but not what came before");
  }
}
void close(history& h, const chan<int>& c) {
  int i = h.begin(op::close);
  try {
    c.close();
    h.end(i, result::done);
  } catch (const closed_channel&) {
    h.end(i, result::closed);
  }
}

// A shape: what each of up to four threads does, a letter an operation: s send, r receive, S and R without waiting, c close.
struct shape {
  const char* name;
  int capacity;
  const char* does[5];
};

void run(const shape& s) {
  auto c = make_chan<int>(static_cast<std::size_t>(s.capacity));
  history h(s.capacity);
  // What a thread does before its operation: of the only one that closes, before that; of each that sends, before its value.
  plain<int> before[5][4];
  int closer = -1;
  for (int t = 0; t < 5; ++t)
    for (const char* p = s.does[t]; p && *p; ++p)
      if (*p == 'c') closer = closer < 0 ? t : 5;
  auto work = [&](int t) {
    int k = 0;
    for (const char* p = s.does[t]; p && *p; ++p) {
      switch (*p) {
        case 's':
          before[t][k] = 1;
          send(h, c, 10 * (t + 1) + k++);
          break;
        case 'r':
          came_before(before, closer, receive(h, c));
          break;
        case 'S':
          before[t][k] = 1;
          try_send(h, c, 10 * (t + 1) + k++);
          break;
        case 'R':
          came_before(before, closer, try_receive(h, c));
          break;
        default:
          if (closer == t) before[t][3] = 1;
          close(h, c);
          break;
      }
    }
  };
  std::unique_ptr<sim::thread> threads[5];
  for (int t = 0; t < 5; ++t)
    if (s.does[t]) threads[t] = std::make_unique<sim::thread>([&work, t] { work(t); });
  for (auto& t : threads)
    if (t) t->join();
  sim::require(c.core()->tail.load(relaxed) == nullptr, "the hint leads to a node that is gone");
  sim::require(h.explained(), "no order of the operations explains what they returned");
}

// Exhaustive, up to the bound on preemptions.
constexpr shape small[] = {
    {"meet", 0, {"s", "r"}},
    {"meet_twice", 0, {"ss", "rr"}},
    {"two_senders", 0, {"s", "s", "rr"}},
    {"two_receivers", 0, {"ss", "r", "r"}},
    {"try_send_meets", 0, {"S", "R"}},
    {"close_wakes_receiver", 0, {"r", "c"}},
    {"close_wakes_sender", 0, {"s", "c"}},
    {"close_twice", 0, {"c", "c", "r"}},
    {"close_among_receivers", 0, {"r", "r", "c"}},
    {"close_among_senders", 0, {"s", "s", "c"}},
    {"buffer", 1, {"s", "r"}},
    {"buffer_full", 1, {"ss", "rr"}},
    {"buffer_two_senders", 1, {"s", "s", "rr"}},
    {"buffer_try", 1, {"SS", "RR"}},
    {"buffer_close", 1, {"sc", "rr"}},
    {"buffer_close_among_senders", 1, {"ss", "c"}},
    {"buffer_close_among_receivers", 1, {"r", "r", "c"}},
    {"buffer_of_two", 2, {"sss", "rrr"}},
};

// By random walk and PCT.
constexpr shape large[] = {
    {"three_pairs", 0, {"ss", "s", "rr", "r"}},
    {"receivers_queue", 0, {"r", "r", "r", "sss"}},
    {"senders_queue", 0, {"s", "s", "s", "rrr"}},
    {"tries", 0, {"S", "R", "RS", "c"}},
    {"tries_among_waiters", 0, {"sS", "rR", "SR", "c"}},
    {"close_among_all", 0, {"s", "r", "r", "c"}},
    {"buffer_three_senders", 1, {"s", "s", "s", "rrr"}},
    {"buffer_three_receivers", 1, {"r", "r", "r", "sss"}},
    {"buffer_round", 2, {"ss", "ss", "rr", "rr"}},
    {"buffer_of_two_close", 2, {"ss", "s", "rrr", "c"}},
    {"buffer_tries", 1, {"SS", "SR", "RR", "c"}},
    {"buffer_tries_among_waiters", 1, {"sS", "rR", "sr", "c"}},
    {"ring_goes_round", 1, {"sss", "sss", "rrr", "rrr"}},
    {"close_is_helped", 0, {"r", "r", "r", "c", "S"}},
    {"senders_close_is_helped", 0, {"s", "s", "s", "c", "R"}},
    {"long_queue", 0, {"r", "r", "r", "r", "ssss"}},
};

std::string name_of(const ::testing::TestParamInfo<shape>& i) { return i.param.name; }
void PrintTo(const shape& s, std::ostream* o) { *o << s.name; }  // NOLINT(readability-identifier-naming): GoogleTest's

class chan_small : public ::testing::TestWithParam<shape> {};
TEST_P(chan_small, is_linearizable) {
  check_all([] { run(GetParam()); }, {.schedules = 100'000, .preemptions = 2, .stale = 2});
  check_some([] { run(GetParam()); }, 100'000);
}
INSTANTIATE_TEST_SUITE_P(chan, chan_small, ::testing::ValuesIn(small), name_of);

class chan_large : public ::testing::TestWithParam<shape> {};
TEST_P(chan_large, is_linearizable) {
  check_some([] { run(GetParam()); }, 100'000);
}
INSTANTIATE_TEST_SUITE_P(chan, chan_large, ::testing::ValuesIn(large), name_of);

// SETTLED (sched/biased.h), on ordinary threads: two that each do one thing, and then look for the other's. (Goroutines: go_test.cc.)
void one_finds(bool full, const std::function<void(const chan<int>&)>& act,
               const std::function<bool(const chan<int>&)>& found) {
  const std::array<chan<int>, 2> c{make_chan<int>(1), make_chan<int>(1)};
  if (full)
    for (const auto& one : c) one.try_send(1);
  std::array<bool, 2> saw{};
  const auto body = [&](std::size_t i) {
    act(c[i]);
    saw[i] = found(c[1 - i]);
  };
  sim::thread other([&] { body(1); });
  body(0);
  other.join();
  sim::require(saw[0] || saw[1], "each found that the other had not come yet");
}
constexpr sim::plan few{.schedules = 100'000, .preemptions = 2, .stale = 2};
TEST(chan_tries, one_of_two_finds_the_others_value) {
  check_all(
      [] {
        one_finds(
            false, [](const auto& c) { c.send(1); }, [](const auto& c) { return !!c.try_recv(); });
      },
      few);
}
TEST(chan_tries, one_of_two_finds_the_others_room) {
  check_all(
      [] {
        one_finds(
            true, [](const auto& c) { c.recv(); }, [](const auto& c) { return c.try_send(2); });
      },
      few);
}

// The same where each closes its channel, and somebody waits there: alone, in a list of two, or in a select.
void one_finds_closed(int waiters, bool selects) {
  const std::array<chan<int>, 2> c{make_chan<int>(), make_chan<int>()};
  const auto never = make_chan<int>();
  std::array<bool, 2> saw{};
  const auto body = [&](std::size_t i) {
    c[i].close();
    saw[i] = c[1 - i].try_recv().is_closed();
  };
  const auto wait = [&](std::size_t i) {
    if (selects)
      weft::select(on_recv(c[i]), on_recv(never));
    else
      c[i].recv();
  };
  std::vector<std::unique_ptr<sim::thread>> all;
  for (std::size_t i : {0U, 1U})
    for (int k = 0; k < waiters; ++k) all.push_back(std::make_unique<sim::thread>([&wait, i] { wait(i); }));
  all.push_back(std::make_unique<sim::thread>([&] { body(1); }));
  body(0);
  for (auto& t : all) t->join();
  sim::require(saw[0] || saw[1], "each found that the other had not come yet");
}
TEST(chan_tries, one_of_two_finds_the_other_closed_where_one_waits) {
  check_some([] { one_finds_closed(1, false); }, 30'000);
}
TEST(chan_tries, one_of_two_finds_the_other_closed_where_two_wait) {
  check_some([] { one_finds_closed(2, false); }, 30'000);
}
TEST(chan_tries, one_of_two_finds_the_other_closed_where_a_select_waits) {
  check_some([] { one_finds_closed(1, true); }, 30'000);
}

// REFS: whoever's handle is the last ends the channel, and what is left in it: after all that the others did.
struct left_behind {
  plain<int>* written;
  explicit left_behind(plain<int>* w) : written(w) {}
  left_behind(left_behind&& o) noexcept : written(std::exchange(o.written, nullptr)) {}
  left_behind& operator=(left_behind&&) = delete;
  ~left_behind() {
    if (written) sim::require(*written == 1, "what was left behind ends before its time");
  }
};
TEST(chan_end, the_last_handle_comes_after_all_others) {
  check_all([] {
    plain<int> written{0};
    auto c = make_chan<left_behind>(1);
    sim::thread other([&written, mine = c]() mutable {
      mine.send(left_behind(&written));
      written = 1;
      mine = {};
    });
    c = {};
    other.join();
  });
}

}  // namespace
}  // namespace weft
