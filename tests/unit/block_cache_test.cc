// SPDX-License-Identifier: MIT
//
// The small blocks that a P keeps: which one comes back, how many stay, and that all of them end with it.
#include "runtime/sched/block_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <thread>
#include <vector>

#include "tests/support/world.h"

namespace {

std::atomic<std::int64_t> live{0};  // blocks from operator new that have not been deleted

}  // namespace

// Not inlined: GCC would see free() of what it knows to be operator new's, and warn.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  void* const memory = std::malloc(std::max<std::size_t>(bytes, 1));
  if (!memory) throw std::bad_alloc();
  live.fetch_add(1, std::memory_order_relaxed);
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  if (memory) live.fetch_sub(1, std::memory_order_relaxed);
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }

namespace weft {
namespace {

using rt::allocate_block;
using rt::block_cache;
using rt::free_block;
using rt::sized_block;

constexpr std::size_t largest = block_cache::classes * block_cache::granule;
constexpr std::uint32_t kept = limits::blocks_kept;

class blocks : public ::testing::Test {
 protected:
  void SetUp() override {
    if constexpr (block_cache::classes == 0) GTEST_SKIP() << "a build with AddressSanitizer keeps none";
  }
};

TEST_F(blocks, the_last_one_given_is_the_first_one_taken) {
  block_cache cache;
  EXPECT_EQ(cache.take(1), nullptr);
  std::vector<void*> given;
  for (std::uint32_t i = 0; i < kept; ++i) {
    given.push_back(::operator new(block_cache::granule));
    ASSERT_TRUE(cache.give(1, given.back()));
  }
  void* const one_more = ::operator new(block_cache::granule);
  EXPECT_FALSE(cache.give(1, one_more));
  ::operator delete(one_more);
  EXPECT_EQ(cache.take(2), nullptr) << "another size";
  for (; !given.empty(); given.pop_back()) {
    EXPECT_EQ(cache.take(1), given.back());
    ::operator delete(given.back());
  }
  EXPECT_EQ(cache.take(1), nullptr);
}

TEST_F(blocks, each_size_has_a_list_of_its_own_and_all_end_with_the_cache) {
  const std::int64_t before = live.load();
  {
    block_cache cache;
    std::vector<void*> given(block_cache::classes + 1);
    for (std::size_t n = 1; n <= block_cache::classes; ++n) {
      given[n] = ::operator new(n* block_cache::granule);
      ASSERT_TRUE(cache.give(n, given[n]));
    }
    for (std::size_t n = 1; n <= block_cache::classes; ++n) {
      EXPECT_EQ(cache.take(n), given[n]);
      ASSERT_TRUE(cache.give(n, given[n]));
    }
  }
  EXPECT_EQ(live.load(), before);
}

TEST_F(blocks, a_goroutine_gets_the_block_that_it_gave_last) {
  run([] {
    for (std::size_t bytes = 1; bytes <= largest; bytes += 13) {
      const sized_block first = allocate_block(bytes);
      EXPECT_GE(first.granules * block_cache::granule, bytes);
      EXPECT_LT((first.granules - 1) * block_cache::granule, bytes);
      std::fill_n(static_cast<unsigned char*>(first.memory), bytes, 0xa5);
      free_block(first);
      const sized_block second = allocate_block(bytes);
      EXPECT_EQ(second.memory, first.memory);
      free_block(second);
    }
    const sized_block large = allocate_block(largest + 1);
    EXPECT_EQ(large.granules, 0U);
    free_block(large);
  });
}

TEST_F(blocks, threads_give_back_what_a_goroutine_took_and_the_other_way_round) {
  const std::int64_t before = live.load();
  {
    sized_block from_goroutine{};
    const sized_block from_thread = allocate_block(100);
    run([&] {
      from_goroutine = allocate_block(100);
      free_block(from_thread);
    });
    free_block(from_goroutine);
  }
  EXPECT_EQ(live.load(), before);
}

TEST_F(blocks, a_retired_p_keeps_none) {
  run({.procs = 2}, [] {
    wait_group done;
    done.add(1);
    go({.home = 1}, [&done] {
      std::vector<sized_block> taken;
      for (std::size_t n = 1; n <= block_cache::classes; ++n)
        for (std::uint32_t i = 0; i < kept; ++i) taken.push_back(allocate_block(n * block_cache::granule));
      for (const sized_block& b : taken) free_block(b);
      done.done();
    });
    done.wait();
    const std::int64_t before = live.load();
    set_procs(1);
    EXPECT_LE(live.load(), before - static_cast<std::int64_t>(block_cache::classes * kept));
  });
}

// Channels made on one P and ended on others, more of them than a cache keeps, Ps retired in between.
TEST(blocks_of_channels, nothing_is_left_of_a_run) {
  const auto once = [] {
    run({.procs = 4}, [] {
      for (int round = 0; round < 3; ++round) {
        set_procs(round % 2 == 0 ? 4 : 1);
        wait_group done;
        for (int i = 0; i < 4; ++i) {
          done.go([] {
            std::vector<chan<std::int64_t>> made;
            for (std::uint32_t k = 0; k < 3 * kept; ++k) made.push_back(make_chan<std::int64_t>(k % 5));
            wait_group ended;
            for (auto& c : made) ended.go([c = std::move(c)] {});
            ended.wait();
          });
        }
        done.wait();
      }
    });
  };
  once();  // what is made once for the process
  const std::int64_t before = live.load();
  for (int i = 0; i < 5; ++i) once();
  // The process's own pools may grow by a slab; a channel left behind would be hundreds.
  EXPECT_LT(live.load() - before, 3 * static_cast<std::int64_t>(kept));
}

}  // namespace
}  // namespace weft
