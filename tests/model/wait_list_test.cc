// SPDX-License-Identifier: MIT
//
// The list of a channel's waiters by itself (chan/wait_list.h): it stands there ready made, and threads walk it, append, take from it, withdraw.
// LIST-HINT: when the list is gone no hint is left. LIST-APPEND: who comes to a node finds it made.

#include "runtime/chan/wait_list.h"
#include "model.h"
#include "runtime/weft/weft.h"

namespace weft::rt {
namespace {

using weft_test::check_all;
using weft_test::check_some;

// A list of n receivers on an unbuffered channel. Those of selects have won elsewhere already, so that they may be withdrawn at any time.
struct ready_made {
  chan<int> c = make_chan<int>();
  chan_core* core = c.core();
  thread_waiter who[4];
  atomic<std::uint64_t> words[4];
  wait_node* nodes[4] = {};

  ready_made(std::size_t n, bool selects) {
    caller me;
    for (std::size_t i = 0; i < n; ++i) {
      nodes[i] = make(me, i, selects);
      if (i > 0) nodes[i - 1]->next.store(link::to(nodes[i]), relaxed);
    }
    core->word.store(word::list(word::receivers, nodes[0], 0), release);
  }
  wait_node* make(caller& me, std::size_t i, bool select) {
    wait_node* n = make_node(me, &who[i], word::receivers, 0);
    if (select) {
      words[i].store(sel::make(7, sel::idle), relaxed);
      n->select = &words[i];
      n->ticket = sel::make(7, sel::fired, 0);
    }
    return n;
  }
  void walk_to_the_end() {
    caller me;
    section in(me.smr);
    std::uint64_t w = core->word.load(acquire);
    if (word::is_list(w)) find_last(core, me, w);
  }
  void take_all() {
    for (;;) {
      caller me;
      section in(me.smr);
      std::uint64_t w = core->word.load(acquire);
      if (!word::is_list(w)) return;
      take_first(core, me, w, link::taken);
    }
  }
  void give_up(std::size_t i) {
    caller me;
    withdraw(core, me, nodes[i]);
  }
  void append(std::size_t i) {
    caller me;
    section in(me.smr);
    wait_node* n = make(me, i, false);
    for (;;) {
      std::uint64_t w = core->word.load(acquire);
      if (!word::is_list(w)) break;
      wait_node* last = find_last(core, me, w);
      std::uint64_t none = 0;
      if (last && last->next.compare_exchange_strong(none, link::to(n), release, relaxed)) return;
    }
    smr_free(me.smr, n);
  }
  void no_hint_is_left() {
    sim::require(!word::is_list(core->word.load(relaxed)), "the list is not gone");
    sim::require(core->tail.load(relaxed) == nullptr, "the hint leads to a node that is gone");
  }
};

TEST(wait_list, no_hint_to_a_node_that_was_taken) {
  auto body = [] {
    ready_made l(3, false);
    sim::thread a([&] { l.take_all(); });
    l.walk_to_the_end();
    a.join();
    l.no_hint_is_left();
  };
  check_all(body, {.schedules = 2'000'000, .preemptions = 2, .stale = 1});
  check_some(body, 100'000);
}

TEST(wait_list, no_hint_to_a_node_that_was_withdrawn) {
  auto body = [] {
    ready_made l(3, true);
    sim::thread a([&] {
      for (std::size_t i = 0; i < 3; ++i) l.give_up(i);
      l.take_all();
    });
    l.walk_to_the_end();
    a.join();
    l.no_hint_is_left();
  };
  check_all(body, {.schedules = 2'000'000, .preemptions = 2, .stale = 1});
  check_some(body, 100'000);
}

// A node is appended behind one that dies, and walked to by who has seen neither.
TEST(wait_list, walked_while_it_changes) {
  check_some(
      [] {
        ready_made l(3, true);
        sim::thread a([&] { l.append(3); });
        sim::thread b([&] {
          l.give_up(2);
          l.walk_to_the_end();
        });
        sim::thread d([&] { l.walk_to_the_end(); });
        l.give_up(1);
        a.join();
        b.join();
        d.join();
        l.give_up(0);
        l.take_all();
        l.no_hint_is_left();
      },
      100'000);
}

}  // namespace
}  // namespace weft::rt
