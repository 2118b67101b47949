// SPDX-License-Identifier: MIT
#include "runtime/sched/quiesce.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <new>
#include <set>
#include <thread>
#include <vector>

#include "runtime/base/rand.h"
#include "tests/support/world.h"

namespace weft::rt {
namespace {

smr_node* fresh(smr_record* r) { return new (smr_alloc(r)) smr_node; }

// A record for the length of a scope.
struct record {
  smr_record* r = smr_enter_thread();
  record() = default;
  record(const record&) = delete;
  record& operator=(const record&) = delete;
  ~record() { smr_leave_thread(r); }
};

// Retires n nodes and says which.
std::set<void*> retire(smr_record* r, int n) {
  std::vector<smr_node*> nodes;
  for (int i = 0; i < n; ++i) nodes.push_back(fresh(r));
  std::set<void*> which;
  for (smr_node* node : nodes) {
    smr_enter(r);
    smr_retire(r, node);
    smr_leave(r);
    which.insert(node);
  }
  return which;
}

TEST(quiesce, nodes_are_lines_of_their_own) {
  const record me;
  std::set<void*> seen;
  std::vector<smr_node*> all;
  for (int i = 0; i < 1'000; ++i) {
    smr_node* n = fresh(me.r);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(n) % 64, 0u);
    EXPECT_TRUE(seen.insert(n).second);
    all.push_back(n);
  }
  for (smr_node* n : all) smr_free(me.r, n);
}

TEST(quiesce, a_node_that_was_never_published_is_used_again_at_once) {
  const record me;
  smr_node* n = fresh(me.r);
  smr_free(me.r, n);
  smr_node* again = fresh(me.r);
  EXPECT_EQ(again, n);
  smr_free(me.r, again);
}

TEST(quiesce, retired_nodes_come_back_when_nobody_reads) {
  const record me;
  const auto before = retire(me.r, 200);
  (void)retire(me.r, 600);  // drives the epoch
  std::vector<smr_node*> taken;
  bool met = false;
  for (int i = 0; i < 2'000 && !met; ++i) {
    taken.push_back(fresh(me.r));
    met = before.count(taken.back()) != 0;
  }
  EXPECT_TRUE(met);
  for (smr_node* n : taken) smr_free(me.r, n);
}

TEST(quiesce, no_node_comes_back_while_a_section_that_may_have_met_it_lasts) {
  const record me;
  const record reader;
  for (int round = 0; round < 20; ++round) {
    smr_enter(reader.r);
    const auto retired = retire(me.r, 200);
    std::vector<smr_node*> taken;
    for (int i = 0; i < 3'000; ++i) {
      taken.push_back(fresh(me.r));
      ASSERT_EQ(retired.count(taken.back()), 0u) << "reused under a reader";
    }
    for (smr_node* n : taken) smr_free(me.r, n);
    smr_leave(reader.r);
  }
}

TEST(quiesce, a_section_later_than_the_retirement_holds_nothing_up_for_ever) {
  const record me;
  const record reader;
  const auto retired = retire(me.r, 100);
  bool met = false;
  std::vector<smr_node*> taken;
  for (int i = 0; i < 50 && !met; ++i) {
    smr_enter(reader.r);
    smr_leave(reader.r);
    (void)retire(me.r, 128);
    for (int k = 0; k < 300 && !met; ++k) {
      taken.push_back(fresh(me.r));
      met = retired.count(taken.back()) != 0;
    }
  }
  EXPECT_TRUE(met);
  for (smr_node* n : taken) smr_free(me.r, n);
}

TEST(quiesce, records_are_used_again) {
  std::set<smr_record*> seen;
  for (int i = 0; i < 100; ++i) {
    const record me;
    seen.insert(me.r);
    (void)retire(me.r, 10);
  }
  EXPECT_LE(seen.size(), 2u);
}

TEST(quiesce, a_thread_that_ends_gives_its_record_back) {
  smr_record* theirs = nullptr;
  std::thread([&] {
    theirs = smr_of_thread();
    EXPECT_EQ(smr_of_thread(), theirs);
    EXPECT_TRUE(theirs->used.load(acquire));
  }).join();
  EXPECT_FALSE(theirs->used.load(acquire));
}

// Readers follow a pointer to a node that holds a key twice; writers replace it and retire the old one; who takes a node that is
// given out again writes another key. A reader that sees two different halves met a node that came back too soon.
TEST(quiesce, readers_never_meet_a_node_in_its_next_life) {
  weft_test::announce_seed();
  struct node : smr_node {
    atomic<std::uint64_t> a{0};
    atomic<std::uint64_t> b{0};
  };
  static_assert(sizeof(node) <= smr_node_bytes);
  constexpr int places = 4;
  atomic<node*> shared[places];
  {
    const record me;
    for (auto& s : shared) s.store(new (smr_alloc(me.r)) node, relaxed);
  }
  std::atomic<bool> stop{false};
  std::atomic<long long> torn{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t)
    threads.emplace_back([&, t] {
      const record me;
      fast_rand r(weft_test::seed() + static_cast<std::uint64_t>(t));
      while (!stop) {
        smr_enter(me.r);
        node* n = shared[r.below(places)].load(acquire);
        const std::uint64_t a = n->a.load(relaxed);
        for (auto k = r.below(20); k > 0; --k) cpu_relax();
        if (n->b.load(relaxed) != a) ++torn;
        smr_leave(me.r);
      }
    });
  for (int t = 0; t < 2; ++t)
    threads.emplace_back([&, t] {
      const record me;
      fast_rand r(weft_test::seed() + 100 + static_cast<std::uint64_t>(t));
      for (int i = 0; i < weft_test::scaled(100'000); ++i) {
        node* n = new (smr_alloc(me.r)) node;
        const std::uint64_t key = r.next();
        n->a.store(key, relaxed);
        n->b.store(key, relaxed);
        smr_enter(me.r);
        node* old = shared[r.below(places)].exchange(n, acq_rel);
        smr_retire(me.r, old);
        smr_leave(me.r);
      }
    });
  threads[2].join();
  threads[3].join();
  stop = true;
  threads[0].join();
  threads[1].join();
  EXPECT_EQ(torn, 0);
  const record me;
  for (auto& s : shared) smr_free(me.r, s.load(relaxed));
}

TEST(quiesce, traffic_of_waiters_does_not_pile_up_nodes) {
  // Lists of waiters come and go for a long time: what is kept is bounded by what was in use at once.
  weft::run(weft_test::on(2), [] {
    auto c = make_chan<int>();
    for (int round = 0; round < weft_test::scaled(500); ++round) {
      for (int i = 0; i < 20; ++i) go([c, i] { c.send(i); });
      for (int i = 0; i < 20; ++i) (void)c.recv();
    }
    const smr_record* r = smr_of_thread();
    EXPECT_LE(r->nfree, 10'000u);
    EXPECT_LE(r->nopen, 10'000u);
  });
}

}  // namespace
}  // namespace weft::rt
