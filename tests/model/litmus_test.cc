// SPDX-License-Identifier: MIT
//
// The checker, checked: the litmus tests of the literature. For each program: results that C++20 forbids are never seen, results that it
// allows are all seen, weak ones included; but for load buffering, whose weak result the model (RC11) leaves out.

#include <array>
#include <memory>

#include "model.h"
#include "runtime/os/atomic.h"

namespace weft {
namespace {

using sim::explore;
using sim::report;
using sim::strategy;

// These are small enough to be seen in full, always.
report check_all(const std::function<void()>& body) { return weft_test::check_all(body, {.schedules = 2'000'000'000}); }

// Results of up to four small numbers, by all schedules.
class outcomes {
 public:
  void add(int a, int b = 0, int c = 0, int d = 0) { seen_[index(a, b, c, d)] = true; }
  bool has(int a, int b = 0, int c = 0, int d = 0) const { return seen_[index(a, b, c, d)]; }

 private:
  static std::size_t index(int a, int b, int c, int d) {
    return static_cast<std::size_t>(a | b << 2 | c << 4 | d << 6);
  }
  std::array<bool, 256> seen_{};
};

// Store buffering: x = 1; r0 = y  ||  y = 1; r1 = x.
template <class F>
outcomes store_buffering(std::memory_order store, std::memory_order load, F fence_between) {
  outcomes o;
  auto r = check_all([&] {
    atomic<int> x{0}, y{0};
    int r0 = 0, r1 = 0;
    sim::thread a([&] {
      x.store(1, store);
      fence_between(0);
      r0 = y.load(load);
    });
    sim::thread b([&] {
      y.store(1, store);
      fence_between(1);
      r1 = x.load(load);
    });
    a.join();
    b.join();
    o.add(r0, r1);
  });
  EXPECT_TRUE(r.complete);
  EXPECT_TRUE(o.has(0, 1) && o.has(1, 0) && o.has(1, 1));
  return o;
}

TEST(litmus, store_buffering_relaxed_both_may_miss) {
  EXPECT_TRUE(store_buffering(relaxed, relaxed, [](int) {}).has(0, 0));
}
TEST(litmus, store_buffering_release_acquire_both_may_miss) {
  EXPECT_TRUE(store_buffering(release, acquire, [](int) {}).has(0, 0));
}
TEST(litmus, store_buffering_seq_cst_one_sees) {
  EXPECT_FALSE(store_buffering(seq_cst, seq_cst, [](int) {}).has(0, 0));
}
TEST(litmus, store_buffering_with_fences_one_sees) {
  EXPECT_FALSE(store_buffering(relaxed, relaxed, [](int) { os::fence_full(); }).has(0, 0));
}
TEST(litmus, store_buffering_with_one_fence_both_may_miss) {
  EXPECT_TRUE(store_buffering(relaxed, relaxed, [](int t) {
                if (t == 0) os::fence_full();
              }).has(0, 0));
}
TEST(litmus, store_buffering_asymmetric_one_sees) {
  EXPECT_FALSE(
      store_buffering(relaxed, relaxed, [](int t) { t == 0 ? os::fence_light() : os::fence_heavy(); }).has(0, 0));
}
TEST(litmus, store_buffering_with_two_light_fences_both_may_miss) {
  EXPECT_TRUE(store_buffering(relaxed, relaxed, [](int) { os::fence_light(); }).has(0, 0));
}

// An exchange is not a fence: r0 = the old x, then y may still be missed (AArch64 does it).
TEST(litmus, store_buffering_with_seq_cst_exchange_and_fence_both_may_miss) {
  outcomes o;
  check_all([&] {
    atomic<int> x{0}, y{0};
    int r0 = 0, r1 = 0;
    sim::thread a([&] {
      x.exchange(1, seq_cst);
      r0 = y.load(acquire);
    });
    sim::thread b([&] {
      y.store(1, release);
      os::fence_full();
      r1 = x.load(acquire);
    });
    a.join();
    b.join();
    o.add(r0, r1);
  });
  EXPECT_TRUE(o.has(0, 0));
}

// Message passing: x = 1; f = 1  ||  r0 = f; r1 = x.
outcomes message_passing(std::memory_order store, std::memory_order load, bool fences = false) {
  outcomes o;
  auto r = check_all([&] {
    atomic<int> x{0}, f{0};
    int r0 = 0, r1 = 0;
    sim::thread a([&] {
      x.store(1, relaxed);
      if (fences) sim::fence_release();
      f.store(1, store);
    });
    sim::thread b([&] {
      r0 = f.load(load);
      if (fences) sim::fence_acquire();
      r1 = x.load(relaxed);
    });
    a.join();
    b.join();
    o.add(r0, r1);
  });
  EXPECT_TRUE(r.complete);
  EXPECT_TRUE(o.has(0, 0) && o.has(0, 1) && o.has(1, 1));
  return o;
}

TEST(litmus, message_passing_relaxed_may_miss) { EXPECT_TRUE(message_passing(relaxed, relaxed).has(1, 0)); }
TEST(litmus, message_passing_release_only_may_miss) { EXPECT_TRUE(message_passing(release, relaxed).has(1, 0)); }
TEST(litmus, message_passing_acquire_only_may_miss) { EXPECT_TRUE(message_passing(relaxed, acquire).has(1, 0)); }
TEST(litmus, message_passing_release_acquire_arrives) { EXPECT_FALSE(message_passing(release, acquire).has(1, 0)); }
TEST(litmus, message_passing_by_fences_arrives) { EXPECT_FALSE(message_passing(relaxed, relaxed, true).has(1, 0)); }

// Load buffering: r0 = y; x = 1  ||  r1 = x; y = 1. C++ allows 1 1 for relaxed; the model does not go there. With a value made of
// nothing it may not.
TEST(litmus, load_buffering_makes_nothing_of_thin_air) {
  outcomes o;
  check_all([&] {
    atomic<int> x{0}, y{0};
    int r0 = 0, r1 = 0;
    sim::thread a([&] {
      r0 = y.load(relaxed);
      x.store(1, relaxed);
    });
    sim::thread b([&] {
      r1 = x.load(relaxed);
      y.store(r1, relaxed);
    });
    a.join();
    b.join();
    o.add(r0, r1);
  });
  EXPECT_TRUE(o.has(0, 0) && o.has(0, 1));
  outcomes air;
  check_all([&] {
    atomic<int> x{0}, y{0};
    int r0 = 0, r1 = 0;
    sim::thread a([&] { x.store(r0 = y.load(relaxed), relaxed); });
    sim::thread b([&] { y.store(r1 = x.load(relaxed), relaxed); });
    a.join();
    b.join();
    air.add(r0, r1);
  });
  EXPECT_TRUE(air.has(0, 0));
  EXPECT_FALSE(air.has(1, 1) || air.has(1, 0) || air.has(0, 1));
}

// Independent reads of independent writes: may two readers see two writes in different orders?
outcomes iriw(std::memory_order store, std::memory_order load, bool fences = false) {
  outcomes o;
  auto r = check_all([&] {
    atomic<int> x{0}, y{0};
    int r0 = 0, r1 = 0, r2 = 0, r3 = 0;
    sim::thread a([&] { x.store(1, store); });
    sim::thread b([&] { y.store(1, store); });
    sim::thread c([&] {
      r0 = x.load(load);
      if (fences) os::fence_full();
      r1 = y.load(load);
    });
    sim::thread d([&] {
      r2 = y.load(load);
      if (fences) os::fence_full();
      r3 = x.load(load);
    });
    a.join();
    b.join();
    c.join();
    d.join();
    o.add(r0, r1, r2, r3);
  });
  EXPECT_TRUE(r.complete);
  EXPECT_TRUE(o.has(1, 1, 1, 1) && o.has(0, 0, 0, 0) && o.has(1, 0, 1, 1));
  return o;
}

TEST(litmus, iriw_relaxed_readers_may_disagree) { EXPECT_TRUE(iriw(relaxed, relaxed).has(1, 0, 1, 0)); }
TEST(litmus, iriw_acquire_readers_may_disagree) { EXPECT_TRUE(iriw(release, acquire).has(1, 0, 1, 0)); }
TEST(litmus, iriw_seq_cst_readers_agree) { EXPECT_FALSE(iriw(seq_cst, seq_cst).has(1, 0, 1, 0)); }
TEST(litmus, iriw_with_fences_readers_agree) { EXPECT_FALSE(iriw(relaxed, relaxed, true).has(1, 0, 1, 0)); }

// 2+2W: x = 1; y = 2  ||  y = 1; x = 2. May both end as 1?
outcomes two_plus_two_writes(std::memory_order order, bool fences = false) {
  outcomes o;
  auto r = check_all([&] {
    atomic<int> x{0}, y{0};
    sim::thread a([&] {
      x.store(1, order);
      if (fences) os::fence_full();
      y.store(2, order);
    });
    sim::thread b([&] {
      y.store(1, order);
      if (fences) os::fence_full();
      x.store(2, order);
    });
    a.join();
    b.join();
    o.add(x.load(relaxed), y.load(relaxed));
  });
  EXPECT_TRUE(r.complete);
  EXPECT_TRUE(o.has(1, 2) && o.has(2, 1) && o.has(2, 2));
  return o;
}

TEST(litmus, two_plus_two_writes_relaxed_may_cross) { EXPECT_TRUE(two_plus_two_writes(relaxed).has(1, 1)); }
TEST(litmus, two_plus_two_writes_release_may_cross) { EXPECT_TRUE(two_plus_two_writes(release).has(1, 1)); }
TEST(litmus, two_plus_two_writes_seq_cst_do_not_cross) { EXPECT_FALSE(two_plus_two_writes(seq_cst).has(1, 1)); }
TEST(litmus, two_plus_two_writes_with_fences_do_not_cross) {
  EXPECT_FALSE(two_plus_two_writes(relaxed, true).has(1, 1));
}

// Coherence. Two reads of one location do not go back; nor does a read behind one's own write, or a write behind what was read.
TEST(litmus, coherence_of_two_reads) {
  outcomes o;
  check_all([&] {
    atomic<int> x{0};
    int r0 = 0, r1 = 0;
    sim::thread a([&] {
      x.store(1, relaxed);
      x.store(2, relaxed);
    });
    sim::thread b([&] {
      r0 = x.load(relaxed);
      r1 = x.load(relaxed);
    });
    a.join();
    b.join();
    o.add(r0, r1);
  });
  for (int first = 0; first < 3; ++first)
    for (int second = 0; second < 3; ++second) EXPECT_EQ(o.has(first, second), second >= first) << first << second;
}

TEST(litmus, coherence_of_reads_by_different_threads) {  // CoRR across threads: two readers do not see two orders
  outcomes o;
  check_all([&] {
    atomic<int> x{0};
    int r0 = 0, r1 = 0, r2 = 0, r3 = 0;
    sim::thread a([&] { x.store(1, relaxed); });
    sim::thread b([&] { x.store(2, relaxed); });
    sim::thread c([&] {
      r0 = x.load(relaxed);
      r1 = x.load(relaxed);
    });
    sim::thread d([&] {
      r2 = x.load(relaxed);
      r3 = x.load(relaxed);
    });
    a.join();
    b.join();
    c.join();
    d.join();
    o.add(r0, r1, r2, r3);
  });
  EXPECT_FALSE(o.has(1, 2, 2, 1));
  EXPECT_TRUE(o.has(1, 2, 1, 2) && o.has(2, 1, 2, 1));
}

TEST(litmus, coherence_of_read_and_write) {
  outcomes o;
  check_all([&] {
    atomic<int> x{0};
    int r0 = 0, r1 = 0;
    sim::thread a([&] { x.store(1, relaxed); });
    sim::thread b([&] {
      r0 = x.load(relaxed);
      x.store(2, relaxed);
      r1 = x.load(relaxed);
    });
    a.join();
    b.join();
    o.add(r0, r1, x.load(relaxed));
  });
  EXPECT_FALSE(o.has(1, 2, 1));  // 1 was read before 2 was written
  EXPECT_FALSE(o.has(0, 0, 0) || o.has(0, 0, 1) || o.has(0, 0, 2));
  EXPECT_TRUE(o.has(0, 2, 2) && o.has(0, 2, 1) && o.has(0, 1, 1));
}

// Release sequences: a read-modify-write by another thread passes the release on; a plain store by another does not.
outcomes release_sequence(bool by_rmw) {
  outcomes o;
  check_all([&] {
    atomic<int> x{0}, f{0};
    int r0 = 0, r1 = 0;
    sim::thread a([&] {
      x.store(1, relaxed);
      f.store(1, release);
    });
    sim::thread b([&] {
      int one = 1;
      if (by_rmw)
        f.compare_exchange_strong(one, 2, relaxed, relaxed);
      else if (f.load(relaxed) == 1)
        f.store(2, relaxed);
    });
    sim::thread c([&] {
      r0 = f.load(acquire);
      r1 = x.load(relaxed);
    });
    a.join();
    b.join();
    c.join();
    o.add(r0, r1);
  });
  EXPECT_TRUE(o.has(2, 1));
  return o;
}

TEST(litmus, release_sequence_goes_on_through_rmw) { EXPECT_FALSE(release_sequence(true).has(2, 0)); }
TEST(litmus, release_sequence_ends_at_a_store) { EXPECT_TRUE(release_sequence(false).has(2, 0)); }

TEST(litmus, rmws_are_atomic) {
  outcomes o;
  check_all([&] {
    atomic<int> x{0};
    sim::thread a([&] { x.fetch_add(1, relaxed); });
    sim::thread b([&] { x.fetch_add(1, relaxed); });
    sim::thread c([&] {
      int seen = x.load(relaxed);
      while (!x.compare_exchange_weak(seen, seen + 1, relaxed, relaxed)) {
      }
    });
    a.join();
    b.join();
    c.join();
    o.add(x.load(relaxed));
  });
  EXPECT_TRUE(o.has(3));
  EXPECT_FALSE(o.has(1) || o.has(2));
}

TEST(litmus, strong_exchange_fails_only_on_another_value) {
  bool failed = false;
  check_all([&] {
    atomic<int> x{0};
    sim::thread a([&] {
      int zero = 0;
      if (!x.compare_exchange_strong(zero, 1, relaxed, relaxed)) failed = true;
    });
    a.join();
  });
  EXPECT_FALSE(failed);
}

TEST(litmus, weak_exchange_fails_for_no_reason) {
  bool failed = false;
  check_all([&] {
    atomic<int> x{0};
    int zero = 0;
    if (!x.compare_exchange_weak(zero, 1, relaxed, relaxed)) failed = true;
  });
  EXPECT_TRUE(failed);
}

// Of two that each want a lock by exchange, one gets it; what it guards is handed on by release and acquire.
TEST(litmus, race_on_plain_data_is_found_unless_ordered) {
  for (std::memory_order order : {release, relaxed}) {
    report r = explore({.how = strategy::exhaustive, .schedules = 100'000, .expect_failure = true}, [&] {
      atomic<int> f{0};
      plain<int> data{0};
      sim::thread a([&] {
        data = 1;
        f.store(1, order);
      });
      sim::thread b([&] {
        if (f.load(acquire) == 1) sim::require(data == 1, "old data");
      });
      a.join();
      b.join();
    });
    EXPECT_EQ(r.failed, order == relaxed);
    if (r.failed) {
      EXPECT_NE(r.message.find("data race"), std::string::npos) << r.message;
    }
  }
}

TEST(litmus, use_after_the_end_is_found) {
  report r = explore({.how = strategy::exhaustive, .schedules = 100'000, .expect_failure = true}, [&] {
    auto x = std::make_unique<atomic<int>>(0);
    atomic<int>* p = x.get();
    sim::thread a([&] { p->store(1, relaxed); });
    x.reset();
    a.join();
  });
  EXPECT_TRUE(r.failed);
}

TEST(litmus, deadlock_is_found) {
  report r = explore({.how = strategy::exhaustive, .schedules = 100'000, .expect_failure = true}, [&] {
    atomic<int> a{0}, b{0};
    auto lock = [](atomic<int>& l) {
      while (l.exchange(1, acquire) != 0) sim::spin();
    };
    sim::thread t([&] {
      lock(a);
      lock(b);
      b.store(0, release);
      a.store(0, release);
    });
    lock(b);
    lock(a);
    a.store(0, release);
    b.store(0, release);
    t.join();
  });
  EXPECT_TRUE(r.failed);
  EXPECT_NE(r.message.find("livelock"), std::string::npos) << r.message;
}

// Dekker with a lost fence, by each of the strategies.
TEST(litmus, every_strategy_finds_a_missing_fence) {
  for (strategy how : {strategy::random, strategy::pct, strategy::exhaustive}) {
    report r = explore({.how = how, .schedules = 10'000, .expect_failure = true}, [] {
      atomic<int> x{0}, y{0};
      int inside = 0;
      sim::thread a([&] {
        x.store(1, relaxed);
        os::fence_full();
        if (y.load(relaxed) == 0) ++inside;
      });
      y.store(1, relaxed);
      if (x.load(relaxed) == 0) ++inside;
      a.join();
      sim::require(inside < 2, "both are inside");
    });
    EXPECT_TRUE(r.failed);
    EXPECT_LE(r.deviations, 3);
    EXPECT_NE(r.trace.find("litmus_test.cc"), std::string::npos);
  }
}

}  // namespace
}  // namespace weft
