// SPDX-License-Identifier: MIT
//
// Memory of a run. It comes from arenas at fixed addresses, so that a run sees the same addresses each time (some decisions of the
// runtime hang on them: a parking lot is found by hashing one), nothing is used twice within a run, and all is gone at its end,
// also after a run that was broken off in the middle.

#include <sys/mman.h>

#include <cstdlib>
#include <new>

#include "machine.h"

namespace weft::sim {

namespace {

constexpr std::uintptr_t base = 0x2000'0000'0000;
constexpr std::size_t heap_bytes = std::size_t{4} << 30;
constexpr std::size_t pages_bytes = std::size_t{16} << 30;
constexpr std::uintptr_t heap_base = base;
constexpr std::uintptr_t pages_base = heap_base + heap_bytes;
constexpr std::uintptr_t stacks_base = pages_base + pages_bytes;
constexpr std::size_t stacks_bytes = max_threads * (thread_stack_bytes + 4096);

// Outside of what is put back between runs: see explore.cc.
struct arena_state {
  std::uintptr_t heap = heap_base;
  std::uintptr_t pages = pages_base;
};

arena_state& state() {
  // At the start of the heap's own room, which no run is given.
  return *reinterpret_cast<arena_state*>(heap_base);
}
constexpr std::uintptr_t first_heap = heap_base + 4096;

bool map_all() {
  void* p = ::mmap(reinterpret_cast<void*>(base), heap_bytes + pages_bytes + stacks_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  if (p != reinterpret_cast<void*>(base)) std::abort();
  (void)::madvise(p, heap_bytes + pages_bytes + stacks_bytes, MADV_NOHUGEPAGE);
  for (int i = 0; i < max_threads; ++i)  // a guard below each stack
    (void)::mprotect(reinterpret_cast<void*>(stacks_base + static_cast<std::size_t>(i) * (thread_stack_bytes + 4096)),
                     4096, PROT_NONE);
  state().heap = first_heap;
  state().pages = pages_base;
  return true;
}

bool in_arena(const void* p) noexcept {
  auto a = reinterpret_cast<std::uintptr_t>(p);
  return a >= heap_base && a < pages_base;
}

}  // namespace

void* arena_reserve(std::size_t bytes, std::size_t align) {
  std::uintptr_t at = (state().pages + align - 1) & ~(align - 1);
  if (at + bytes > stacks_base) the_machine->fail("the simulation has run out of address space");
  state().pages = at + bytes;
  return reinterpret_cast<void*>(at);
}

void arena_reset() noexcept {
  static const bool mapped = map_all();
  (void)mapped;
  arena_state& s = state();
  if (s.pages != pages_base) (void)::madvise(reinterpret_cast<void*>(pages_base), s.pages - pages_base, MADV_DONTNEED);
  s.heap = first_heap;
  s.pages = pages_base;
}

char* thread_stack(int id) {
  return reinterpret_cast<char*>(stacks_base + 4096 + static_cast<std::size_t>(id) * (thread_stack_bytes + 4096));
}

namespace {

void* allocate(std::size_t bytes, std::size_t align) {
  if (inside) {
    arena_state& s = state();
    std::uintptr_t at = (s.heap + align - 1) & ~(align - 1);
    s.heap = at + (bytes != 0 ? bytes : 1);
    if (s.heap > pages_base) throw std::bad_alloc();
    return reinterpret_cast<void*>(at);
  }
  void* p = align > alignof(std::max_align_t) ? std::aligned_alloc(align, (bytes + align - 1) & ~(align - 1))
                                              : std::malloc(bytes != 0 ? bytes : 1);
  if (!p) throw std::bad_alloc();
  return p;
}

void release(void* p) noexcept {
  if (!in_arena(p)) std::free(p);
}

}  // namespace

}  // namespace weft::sim

void* operator new(std::size_t n) { return weft::sim::allocate(n, alignof(std::max_align_t)); }
void* operator new[](std::size_t n) { return weft::sim::allocate(n, alignof(std::max_align_t)); }
void* operator new(std::size_t n, std::align_val_t a) { return weft::sim::allocate(n, static_cast<std::size_t>(a)); }
void* operator new[](std::size_t n, std::align_val_t a) { return weft::sim::allocate(n, static_cast<std::size_t>(a)); }
void operator delete(void* p) noexcept { weft::sim::release(p); }
void operator delete[](void* p) noexcept { weft::sim::release(p); }
void operator delete(void* p, std::size_t) noexcept { weft::sim::release(p); }
void operator delete[](void* p, std::size_t) noexcept { weft::sim::release(p); }
void operator delete(void* p, std::align_val_t) noexcept { weft::sim::release(p); }
void operator delete[](void* p, std::align_val_t) noexcept { weft::sim::release(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { weft::sim::release(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { weft::sim::release(p); }
