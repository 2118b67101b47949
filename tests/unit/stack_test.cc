// SPDX-License-Identifier: MIT
#include "runtime/sched/stack.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "runtime/base/rand.h"

namespace weft {
namespace {

constexpr std::size_t KiB = 1024;

// Can the kernel read there? No signal needed to find out.
bool readable(const void* p) {
  return ::syscall(SYS_rt_sigprocmask, SIG_BLOCK, p, nullptr, std::size_t{8}) == 0 || errno != EFAULT;
}

// Is there memory behind the page of p?
bool resident(char* p) {
  unsigned char in_core = 0;
  const std::size_t page = os::page_size();
  char* const start = p - reinterpret_cast<std::uintptr_t>(p) % page;
  return ::mincore(start, page, &in_core) == 0 && (in_core & 1) != 0;
}

std::vector<stack_slot> take(stack_pool& pool, unsigned size_class, std::size_t n) {
  std::vector<stack_slot> slots(n);
  for (std::size_t got = 0; got < n;)
    got += pool.alloc_batch(size_class, slots.data() + got, std::min<std::size_t>(n - got, 32));
  return slots;
}

void give(stack_pool& pool, unsigned size_class, const std::vector<stack_slot>& slots) {
  pool.free_batch(size_class, slots.data(), slots.size());
}

void touch(const std::vector<stack_slot>& slots) {
  for (const auto& s : slots) s.top[-1] = 1;
}

// Runs f in a child; its exit status, or -1 if it did not exit by itself.
template <class F>
int in_child(F f) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(f());
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::size_t mappings() {
  std::ifstream maps("/proc/self/maps");
  return static_cast<std::size_t>(std::count(std::istreambuf_iterator<char>(maps), {}, '\n'));
}

class stack_kinds : public ::testing::TestWithParam<os::guard_kind> {
 protected:
  void SetUp() override {
    if (GetParam() == os::guard_kind::light && os::probe_guard_kind() != os::guard_kind::light)
      GTEST_SKIP() << "this kernel has no light guards";
    os::force_guard_kind(GetParam());
  }
  void TearDown() override { os::force_guard_kind(std::nullopt); }
};

INSTANTIATE_TEST_SUITE_P(both_kinds, stack_kinds, ::testing::Values(os::guard_kind::light, os::guard_kind::mprotect),
                         [](const auto& info) { return info.param == os::guard_kind::light ? "light" : "mprotect"; });

TEST(stack_class, sizes_round_up_to_powers_of_two) {
  if (os::page_size() > 16 * KiB) GTEST_SKIP() << "the smallest class is a page here";
  const struct {
    std::size_t bytes, usable;
  } cases[] = {{1, 16 * KiB},
               {16 * KiB, 16 * KiB},
               {16 * KiB + 1, 32 * KiB},
               {64 * KiB, 64 * KiB},
               {65 * KiB, 128 * KiB},
               {max_stack_size - 1, max_stack_size},
               {max_stack_size, max_stack_size}};
  for (const auto& c : cases) EXPECT_EQ(stack_pool::class_size(stack_pool::class_of(c.bytes)), c.usable) << c.bytes;
}

TEST_P(stack_kinds, every_slot_is_usable_guarded_and_apart_from_the_others) {
  stack_pool pool;
  for (std::size_t bytes : {16 * KiB, 64 * KiB, 1024 * KiB}) {
    const unsigned c = stack_pool::class_of(bytes);
    auto slots = take(pool, c, 200);
    for (const auto& s : slots) {
      EXPECT_FALSE(readable(s.lo - 1));
      EXPECT_FALSE(readable(s.lo - os::page_size()));
      EXPECT_TRUE(readable(s.lo));
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(s.top) % cache_line, 0u);
      EXPECT_LE(s.top, s.lo + bytes);
      s.lo[0] = 1;
      s.top[-1] = 1;
    }
    std::sort(slots.begin(), slots.end(), [](auto& a, auto& b) { return a.lo < b.lo; });
    for (std::size_t i = 1; i < slots.size(); ++i) EXPECT_GE(slots[i].lo, slots[i - 1].lo + bytes + os::page_size());
    give(pool, c, slots);
  }
}

TEST(stack_pool, the_largest_class_works) {
  stack_pool pool;
  const unsigned c = stack_pool::class_of(max_stack_size);
  const auto slots = take(pool, c, 2);
  touch(slots);
  slots[0].lo[0] = 1;
  give(pool, c, slots);
}

TEST(stack_pool, every_class_strides_an_odd_number_of_pages) {
  stack_pool pool;
  for (unsigned c = stack_pool::class_of(1); c < 10; ++c) {
    const auto slots = take(pool, c, 2);
    const auto pages = static_cast<std::size_t>(slots[1].lo - slots[0].lo) / os::page_size();
    if (stack_pool::class_size(c) > os::page_size()) {
      EXPECT_EQ(pages % 2, 1u);
    }
    give(pool, c, slots);
  }
}

TEST(stack_pool, colours_spread_evenly_and_leave_room_for_g_and_a_shallow_stack_in_the_top_page) {
  stack_pool pool;
  const unsigned c = stack_pool::class_of(64 * KiB);
  const auto slots = take(pool, c, 960);
  std::size_t count[stack_pool::colours] = {};
  for (const auto& s : slots) {
    const auto colour = static_cast<std::size_t>(s.lo + 64 * KiB - s.top) / cache_line;
    ASSERT_LT(colour, stack_pool::colours);
    ++count[colour];
    EXPECT_GE(4096 - colour * cache_line, 512u + 1536u);
  }
  for (const auto n : count) EXPECT_EQ(n, 960 / stack_pool::colours);
  give(pool, c, slots);
}

TEST(stack_pool, returned_slots_come_first_with_what_was_in_them) {
  stack_pool pool;
  const unsigned c = stack_pool::class_of(64 * KiB);
  auto slots = take(pool, c, 40);
  for (const auto& s : slots) s.top[-1] = 77;
  const std::vector<stack_slot> some(slots.begin() + 5, slots.begin() + 15);
  give(pool, c, some);
  const auto next = take(pool, c, 10);
  for (std::size_t i = 0; i < 10; ++i) {
    EXPECT_EQ(next[i].lo, some[i].lo);
    EXPECT_EQ(next[i].top, some[i].top);
    EXPECT_EQ(next[i].top[-1], 77);
  }
}

TEST_P(stack_kinds, what_was_warmed_comes_first_with_its_page_and_its_guard) {
  stack_pool pool;
  const auto first = take(pool, 2, 1);
  const std::size_t clean = pool.stats().clean;
  ASSERT_GT(clean, 3u);
  EXPECT_EQ(pool.warm(2, 3), 3u);
  EXPECT_EQ(pool.stats().dirty, 3u);
  EXPECT_EQ(pool.stats().clean, clean - 3);
  EXPECT_EQ(pool.stats().used, 1u);
  const auto warm = take(pool, 2, 3);
  for (const auto& s : warm) {
    EXPECT_FALSE(s.cold);
    EXPECT_TRUE(resident(s.top - 1));
    EXPECT_FALSE(resident(s.lo));
    EXPECT_FALSE(readable(s.lo - 1));
    EXPECT_EQ(std::count(s.top - stack_pool::worst_top_page, s.top, 0), stack_pool::worst_top_page);
  }
  const auto other = take(pool, 2, 1);
  EXPECT_FALSE(resident(other[0].top - 1));
  give(pool, 2, first);
  give(pool, 2, warm);
  give(pool, 2, other);
}

TEST(stack_pool, what_is_warmed_is_guarded_first_and_goes_back_when_nobody_wants_it) {
  stack_pool pool;
  std::size_t warmed = 0;
  while (warmed < 200) {
    const std::size_t n = pool.warm(2, 1'000'000);
    ASSERT_GT(n, 0u);
    ASSERT_LE(n, os::populate_max);
    warmed += n;
  }
  EXPECT_EQ(pool.stats().dirty, warmed);
  EXPECT_EQ(pool.stats().used, 0u);
  for (int i = 0; i < 2; ++i) (void)pool.trim();
  EXPECT_EQ(pool.stats().dirty, 0u);
  const auto all = take(pool, 2, warmed);
  for (const auto& s : all) {
    EXPECT_FALSE(readable(s.lo - 1));
    EXPECT_FALSE(resident(s.top - 1));
  }
  give(pool, 2, all);
}

TEST(stack_pool, memory_in_use_stays_dense_after_random_traffic) {
  stack_pool pool;
  const unsigned c = stack_pool::class_of(16 * KiB);
  fast_rand r(1);
  std::vector<stack_slot> live;
  std::set<char*> ever;
  for (int round = 0; round < 2'000; ++round) {
    if (live.size() < 300) {
      for (const auto& s : take(pool, c, 1 + r.below(40))) {
        live.push_back(s);
        ever.insert(s.lo);
      }
    } else {
      for (std::uint32_t k = 1 + r.below(200); k > 0; --k) {
        std::swap(live[r.below(static_cast<std::uint32_t>(live.size()))], live.back());
        pool.free_batch(c, &live.back(), 1);
        live.pop_back();
      }
    }
  }
  // Never more than the peak of 300 + 40 and one batch of guards.
  EXPECT_LE(ever.size(), 340u + 64u);
  EXPECT_EQ(pool.stats().used, live.size());
}

TEST_P(stack_kinds, an_idle_pool_gives_all_its_memory_back_in_two_intervals_and_keeps_the_guards) {
  stack_pool pool;
  const unsigned c = stack_pool::class_of(64 * KiB);
  const auto slots = take(pool, c, 1000);
  for (const auto& s : slots) {
    s.top[-1] = 1;
    s.lo[0] = 1;
  }
  EXPECT_EQ(pool.stats().used, 1000u);
  give(pool, c, slots);
  EXPECT_EQ(pool.stats().dirty, 1000u);
  EXPECT_EQ(pool.trim().slots, 0u);  // they were in use during this interval
  const trim_result second = pool.trim();
  EXPECT_EQ(second.slots, 1000u);
  EXPECT_TRUE(second.again);  // the chunk may yet be renewed
  EXPECT_EQ(pool.stats().dirty, 0u);
  EXPECT_EQ(pool.stats().resident_bytes, 0u);
  for (const auto& s : slots) {
    EXPECT_FALSE(resident(s.top - 1));
    EXPECT_FALSE(resident(s.lo));
    EXPECT_FALSE(readable(s.lo - 1));
  }
  const auto again = take(pool, c, 1000);
  for (const auto& s : again) {
    EXPECT_EQ(s.top[-1], 0);
    EXPECT_FALSE(readable(s.lo - 1));
  }
  give(pool, c, again);
}

TEST_P(stack_kinds, a_chunk_idle_for_longer_is_renewed_and_guarded_anew) {
  stack_pool pool;
  const unsigned c = stack_pool::class_of(64 * KiB);
  const std::size_t before = mappings();
  const auto slots = take(pool, c, 2000);
  touch(slots);
  give(pool, c, slots);
  int calls = 0;
  while (pool.trim().again) ASSERT_LT(++calls, 8);
  EXPECT_EQ(pool.stats().clean, 0u);
  EXPECT_LE(mappings(), before + 100);  // 2,000 PROT_NONE guards were 4,000; a sanitizer makes some of its own
  for (const auto& s : slots) {
    EXPECT_TRUE(readable(s.lo - 1));  // raw
    EXPECT_EQ(s.top[-1], 0);          // type-stable all the while
  }
  const auto again = take(pool, c, 2000);
  for (const auto& s : again) {
    EXPECT_FALSE(readable(s.lo - 1));
    EXPECT_EQ(s.top[-1], 0);
  }
  give(pool, c, again);
}

TEST(stack_pool, a_steady_load_keeps_its_stacks_and_only_the_surplus_goes) {
  stack_pool pool;
  const unsigned c = stack_pool::class_of(64 * KiB);
  give(pool, c, take(pool, c, 500));
  (void)pool.trim();
  // The least that was dirty in this interval is 300.
  give(pool, c, take(pool, c, 200));
  EXPECT_EQ(pool.trim().slots, 300u);
  EXPECT_EQ(pool.stats().dirty, 200u);
  give(pool, c, take(pool, c, 200));
  EXPECT_EQ(pool.trim().slots, 0u);
  EXPECT_EQ(pool.stats().dirty, 200u);
}

TEST(stack_pool, trimming_holes_spares_the_slots_in_use) {
  stack_pool pool;
  const unsigned c = stack_pool::class_of(16 * KiB);
  const auto slots = take(pool, c, 1500);
  touch(slots);
  std::vector<stack_slot> back, kept;
  fast_rand r(3);
  for (const auto& s : slots) (r.below(2) == 0 ? back : kept).push_back(s);
  give(pool, c, back);
  (void)pool.trim();
  EXPECT_EQ(pool.trim().slots, back.size());
  for (const auto& s : kept) EXPECT_EQ(s.top[-1], 1);
  for (const auto& s : back) EXPECT_FALSE(resident(s.top - 1));
  give(pool, c, kept);
}

TEST(stack_pool, an_untouched_pool_has_nothing_to_trim) {
  stack_pool pool;
  const trim_result r = pool.trim();
  EXPECT_EQ(r.slots, 0u);
  EXPECT_FALSE(r.again);
  EXPECT_EQ(pool.stats().reserved_bytes, 0u);
}

TEST(stack_pool, find_names_the_slot_of_an_address_and_whether_it_is_the_guard) {
  stack_pool pool;
  const unsigned c = stack_pool::class_of(64 * KiB), d = stack_pool::class_of(16 * KiB);
  auto slots = take(pool, c, 100);
  const auto small = take(pool, d, 10);
  stack_hit hit;
  for (const auto& s : slots) {
    ASSERT_TRUE(pool.find(s.lo - 1, hit));
    EXPECT_TRUE(hit.in_guard);
    EXPECT_EQ(hit.lo, s.lo);
    EXPECT_EQ(hit.top, s.top);
    EXPECT_EQ(hit.size, 64 * KiB);
    ASSERT_TRUE(pool.find(s.lo - os::page_size(), hit));
    EXPECT_TRUE(hit.in_guard);
    EXPECT_EQ(hit.lo, s.lo);
    ASSERT_TRUE(pool.find(s.lo, hit));
    EXPECT_FALSE(hit.in_guard);
    ASSERT_TRUE(pool.find(s.lo + 64 * KiB - 1, hit));
    EXPECT_EQ(hit.lo, s.lo);
    EXPECT_FALSE(hit.in_guard);
  }
  ASSERT_TRUE(pool.find(small[3].lo - 1, hit));
  EXPECT_EQ(hit.size, 16 * KiB);
  int local = 0;
  EXPECT_FALSE(pool.find(&local, hit));
  EXPECT_FALSE(pool.find(nullptr, hit));
  give(pool, c, slots);
  give(pool, d, small);
}

TEST(stack_pool, destruction_unmaps_everything) {
  char* lo;
  {
    stack_pool pool;
    const auto slots = take(pool, 2, 3000);
    touch(slots);
    lo = slots[0].lo;
    give(pool, 2, slots);
  }
  EXPECT_FALSE(readable(lo));
}

TEST(stack_pool, many_threads_take_and_give_while_one_warms_and_trims) {
  stack_pool pool;
  atomic<int> running{4};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      fast_rand r(static_cast<std::uint64_t>(t));
      std::vector<stack_slot> mine[3];
      for (int round = 0; round < 400; ++round) {
        const unsigned c = 2 + r.below(3);
        auto& v = mine[c - 2];
        if (v.size() < 100) {
          for (const auto& s : take(pool, c, 1 + r.below(32))) {
            // Nobody else writes here: what is written stays.
            std::memcpy(s.top - 8, &s.lo, 8);
            v.push_back(s);
          }
        } else {
          for (const auto& s : v) {
            char* p;
            std::memcpy(&p, s.top - 8, 8);
            ASSERT_EQ(p, s.lo);
          }
          give(pool, c, v);
          v.clear();
        }
      }
      for (unsigned c = 2; c < 5; ++c) give(pool, c, mine[c - 2]);
      running.fetch_sub(1, relaxed);
    });
  while (running.load(relaxed) != 0) {
    (void)pool.trim();
    for (unsigned c = 2; c < 5; ++c) (void)pool.warm(c, 8);
    stack_hit hit;
    (void)pool.find(&pool, hit);
  }
  for (auto& t : threads) t.join();
  for (int i = 0; i < 2; ++i) (void)pool.trim();
  const stack_stats s = pool.stats();
  EXPECT_EQ(s.used, 0u);
  EXPECT_EQ(s.dirty, 0u);
}

TEST(stack_pool, little_address_space_gives_smaller_chunks_and_in_the_end_an_error) {
  if (WEFT_ASAN || WEFT_TSAN) GTEST_SKIP() << "sanitizer runtimes do not work in so little address space";
  EXPECT_EQ(in_child([] {
              std::vector<stack_slot> slots;
              slots.reserve(10'000);
              // What the process has already, and less than one chunk more.
              std::size_t pages = 0;
              std::ifstream("/proc/self/statm") >> pages;
              const std::size_t limit = pages * os::page_size() + (50 << 20);
              rlimit low{.rlim_cur = limit, .rlim_max = limit};
              ::setrlimit(RLIMIT_AS, &low);
              stack_pool pool;
              try {
                for (;;) {
                  stack_slot s;
                  (void)pool.alloc_batch(2, &s, 1);
                  s.top[-1] = 1;
                  slots.push_back(s);
                }
              } catch (const std::system_error& e) {
                if (e.code() != std::errc::not_enough_memory) return 2;
              }
              // Nearly all of it was used...
              if (slots.size() < 600) return 3;
              // ...nothing is left to be warmed, which is no error to who has nothing else to do...
              if (pool.warm(2, 8) != 0) return 5;
              // ...and the pool goes on with what comes back.
              stack_slot s = slots.back();
              pool.free_batch(2, &s, 1);
              return pool.alloc_batch(2, &s, 1) == 1 ? 0 : 4;
            }),
            0);
}

TEST(stack_pool, past_the_mapping_budget_mprotect_guards_are_an_error_and_never_silence) {
  if (WEFT_ASAN || WEFT_TSAN) GTEST_SKIP() << "sanitizer runtimes need mappings of their own at the limit";
  std::ifstream file("/proc/sys/vm/max_map_count");
  std::size_t budget = 0;
  if (!(file >> budget) || budget > 200'000) GTEST_SKIP() << "vm.max_map_count is unknown or large";
  EXPECT_EQ(in_child([budget] {
              os::force_guard_kind(os::guard_kind::mprotect);
              std::vector<stack_slot> slots;
              slots.reserve(budget);
              stack_pool pool;
              try {
                while (slots.size() < budget) {
                  stack_slot batch[32];
                  const std::size_t n = pool.alloc_batch(0, batch, 32);
                  slots.insert(slots.end(), batch, batch + n);
                }
                return 1;
              } catch (const std::system_error& e) {
                if (e.code() != std::errc::not_enough_memory) return 2;
                if (std::string(e.what()).find("vm.max_map_count") == std::string::npos) return 3;
              }
              if (slots.size() < budget / 2 - 300) return 4;
              for (const auto& s : slots)
                if (readable(s.lo - 1)) return 5;
              // What was rolled back is left to the others: a mapping that cannot merge with a neighbour.
              void* const p = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
              if (p == MAP_FAILED) return 6;
              pool.free_batch(0, slots.data(), 1);
              stack_slot s;
              return pool.alloc_batch(0, &s, 1) == 1 ? 0 : 7;
            }),
            0);
}

TEST(stack_pool, a_hundred_thousand_light_guards_cost_a_handful_of_mappings) {
  if (os::probe_guard_kind() != os::guard_kind::light) GTEST_SKIP() << "this kernel has no light guards";
  stack_pool pool;
  const std::size_t before = mappings();
  const auto slots = take(pool, 2, 100'000);
  for (std::size_t i = 0; i < slots.size(); i += 997) EXPECT_FALSE(readable(slots[i].lo - 1));
  EXPECT_LE(mappings(), before + 100);
  give(pool, 2, slots);
}

TEST(stack_pool, misuse_is_named) {
  stack_pool pool, other;
  stack_slot s;
  (void)pool.alloc_batch(2, &s, 1);
  EXPECT_DEATH(other.free_batch(2, &s, 1), "free_batch: a slot of another pool or class");
  EXPECT_DEATH(pool.free_batch(3, &s, 1), "free_batch: a slot of another pool or class");
  stack_slot moved{.lo = s.lo, .top = s.top - 64};
  EXPECT_DEATH(pool.free_batch(2, &moved, 1), "free_batch: not a slot that was handed out");
  pool.free_batch(2, &s, 1);
  EXPECT_DEATH(pool.free_batch(2, &s, 1), "free_batch: a slot freed twice");
}

}  // namespace
}  // namespace weft
