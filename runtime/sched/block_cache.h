// SPDX-License-Identifier: MIT
//
// Small blocks of memory that a P keeps for the next who wants one of that size: the magazines of Bonwick and Adams ("Magazines and Vmem",
// USENIX 2001), a last-in first-out list for each size, without a depot behind them: what a P has no room for goes to operator delete, and what it has not
// got comes from operator new. A goroutine that makes a channel for its result and ends it takes the same lines of cache again and again, by some
// fifty instructions instead of the 160 of malloc and free.
//
// Not in builds with AddressSanitizer, which would not see a use after the end.

#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

#include "../os/cpu.h"
#include "../os/limits.h"

namespace weft::rt {

// A P's. Its owner only, or with the world stopped.
class block_cache {
 public:
  static constexpr std::size_t granule = 64;
  static constexpr std::size_t classes = WEFT_ASAN ? 0 : 8;  // of 1, 2, ... granules

  block_cache() = default;
  block_cache(const block_cache&) = delete;
  block_cache& operator=(const block_cache&) = delete;
  ~block_cache() { drop(); }

  // Null: there is none.
  [[gnu::always_inline]] void* take(std::size_t granules) noexcept {
    list& of = lists_[granules - 1];
    block* const b = of.first;
    if (b) {
      of.first = b->next;
      --of.count;
    }
    return b;
  }
  // False: there are enough.
  [[gnu::always_inline]] bool give(std::size_t granules, void* memory) noexcept {
    list& of = lists_[granules - 1];
    if (of.count == limits::blocks_kept) return false;
    of.first = new (memory) block{of.first};
    ++of.count;
    return true;
  }
  void drop() noexcept;

 private:
  struct block {
    block* next;
  };
  struct list {
    block* first = nullptr;
    std::uint32_t count = 0;
  };
  list lists_[classes + 1];  // one more, never used: C++ has no empty array
};

// At least `bytes`, aligned as operator new does it, from the current P's cache where that has one. `granules` is what free_block wants to be told. Any
// thread. Throws std::bad_alloc. Constant time, or operator new's.
struct sized_block {
  void* memory;
  std::uint32_t granules;  // 0: of no class
};
sized_block allocate_block(std::size_t bytes);
void free_block(sized_block b) noexcept;

}  // namespace weft::rt
