// SPDX-License-Identifier: MIT
#include "pack.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <new>
#include <utility>

namespace weft::rt {

namespace {

constexpr std::size_t word_bits = 64;
constexpr std::size_t batch = 64;
constexpr std::size_t neighbours = 32;
constexpr std::uint8_t heat_max = 15;
constexpr std::size_t near = 2048;   // pages
constexpr unsigned char wanted = 2;  // beside mincore's bit
constexpr std::size_t thread_stack = 64 << 10;
constexpr std::size_t worth_trimming = 1 << 20;  // bytes

// How many pages behind `first` that one is.
std::size_t page_of(const void* page, const void* first) {
  return static_cast<std::size_t>(static_cast<const char*>(page) - static_cast<const char*>(first)) / os::page_size();
}

}  // namespace

// A page's words that are not zero, in order, behind a bit for each of its words.
struct stack_packer::block {
  block* next;  // in garbage_
  std::size_t bytes;

  std::uint64_t* bits() { return reinterpret_cast<std::uint64_t*>(this + 1); }
};

stack_packer::stack_packer(stack_pool& stacks, std::int64_t after_ns)
    : stacks_(stacks),
      after_ns_(after_ns),
      words_(os::page_size() / sizeof(std::uint64_t)),
      seen_(new std::uint64_t[words_]()),
      unpacked_(new std::uint64_t[words_]()),
      zeros_(new std::uint64_t[words_]()) {
  keeper_.start(
      "weft-keeper", [](void* self) { static_cast<stack_packer*>(self)->run_keeper(); }, this, thread_stack);
  try {
    packer_.start(
        "weft-packer", [](void* self) { static_cast<stack_packer*>(self)->run_packer(); }, this, thread_stack);
  } catch (...) {
    faults_.interrupt();
    keeper_.join();
    throw;
  }
}

stack_packer::~stack_packer() {
  over_.store(true, relaxed);  // relaxed: carried by the note
  stop_.wake();
  packer_.join();
  faults_.interrupt();
  keeper_.join();
  // What is packed still is nobody's any more.
  stack_pool::place at;
  void* pages[batch];
  while (const std::size_t n = stacks_.next_top(at, stack_pool::slots::all, pages, batch))
    for (std::size_t i = 0; i < n; ++i)
      if (const page_state* state = stacks_.state_of(pages[i])) std::free(state->block);
  free_garbage();
}

void stack_packer::watch(void* base, std::size_t bytes) { faults_.watch(base, bytes); }

void stack_packer::bring(void* const* pages, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) faults_.place(pages[i], zeros_.get());
}

void stack_packer::discarded(page_state& state) noexcept {
  const lock_scope hold(lock_);
  if (state.is == page_state::how::packed) drop(state);  // of one that is long dead
  state.is = page_state::how::plain;
  state.heat = 0;
}

pack_stats stack_packer::stats() const noexcept {
  return {.pages = pages_.load(relaxed), .bytes = bytes_.load(relaxed)};
}

void stack_packer::run_keeper() noexcept {
  os::page_fault told[batch];
  while (const std::size_t n = faults_.wait(told, batch)) {
    for (std::size_t i = 0; i < n; ++i) {
      const auto [page, written] = told[i];
      const lock_scope hold(lock_);
      page_state* state = stacks_.state_of(page);
      if (state && state->is == page_state::how::packed) {
        unpack(*state, page);
        unpack_around(page);
      } else if (written) {
        if (state && state->is == page_state::how::write_protected)
          state->heat = static_cast<std::uint8_t>(std::min<unsigned>(2U * state->heat + 1U, heat_max));
        if (state) state->is = page_state::how::plain;
        faults_.unprotect(page);
      } else {
        // It was discarded meanwhile, or never was: then its protection has gone with it.
        if (state) state->is = page_state::how::plain;
        faults_.place(page, zeros_.get());
      }
    }
  }
}

// Those that were started together are woken together, mostly: when two in a row that come back are close to each other, so are their neighbours.
void stack_packer::unpack_around(void* page) noexcept {
  void* around[neighbours];
  const std::size_t n = stacks_.tops_around(page, around, neighbours);
  const bool close = last_first_ == around[0] || last_end_ == around[0];
  last_first_ = around[0];
  last_end_ =
      static_cast<char*>(around[n - 1]) + (n > 1 ? static_cast<char*>(around[1]) - static_cast<char*>(around[0]) : 0);
  for (std::size_t i = 0; i < n && close; ++i)
    if (page_state* state = stacks_.state_of(around[i]); state->is == page_state::how::packed)
      unpack(*state, around[i]);
}

void stack_packer::unpack(page_state& state, void* page) noexcept {
  block* b = static_cast<block*>(state.block);
  const std::uint64_t* from = b->bits() + words_ / word_bits;
  for (std::size_t i = 0; i < words_; ++i)
    unpacked_[i] = (b->bits()[i / word_bits] >> (i % word_bits) & 1) != 0 ? *from++ : 0;
  state.is = page_state::how::plain;
  state.heat = 0;
  faults_.place(page, unpacked_.get());
  drop(state);
}

void stack_packer::drop(page_state& state) noexcept {
  block* b = static_cast<block*>(std::exchange(state.block, nullptr));
  pages_.store(pages_.load(relaxed) - 1, relaxed);
  bytes_.store(bytes_.load(relaxed) - b->bytes, relaxed);
  b->next = garbage_;
  garbage_ = b;
}

void stack_packer::run_packer() noexcept {
  // Twice in the time after which a page is packed: one that is written to just after a pass is protected by the next.
  const std::int64_t every_ns = std::max<std::int64_t>(after_ns_ / 2, 1);
  while (!over_.load(relaxed)) {
    if (stop_.sleep_until(os::now_ns() + every_ns)) return;
    pass();
  }
}

void stack_packer::pass() noexcept {
  ++pass_;
  stack_pool::place at;
  void* pages[batch];
  while (!over_.load(relaxed)) {
    const std::size_t n = stacks_.next_top(at, stack_pool::slots::used, pages, batch);
    if (n == 0) break;
    const lock_scope stay(stacks_.discards());
    for (std::size_t i = 0; i < n;) i += look_at(pages + i, n - i);
  }
  free_garbage();
}

// Looks at the first of n pages with tops, and at those behind it that are near. How many it were.
std::size_t stack_packer::look_at(void* const* pages, std::size_t n) noexcept {
  const auto at = [&](std::size_t k) { return page_of(pages[k], pages[0]); };
  unsigned char there[near];
  std::size_t end = 1;
  while (end < n && pages[end] > pages[0] && at(end) < near) ++end;
  if (!os::page_faults::present(pages[0], at(end - 1) + 1, there)) {
    end = 1;  // another chunk's, with a hole between
    if (!os::page_faults::present(pages[0], 1, there)) return 1;
  }

  page_state* cold[batch];  // to be packed, or null
  {
    const lock_scope hold(lock_);
    for (std::size_t k = 0; k < end; ++k) {
      cold[k] = nullptr;
      page_state* state = stacks_.state_of(pages[k]);
      if (!state || (there[at(k)] & 1) == 0) continue;
      if (state->is == page_state::how::write_protected && pass_ - state->since >= 2) cold[k] = state;
      if (state->is != page_state::how::plain) continue;
      if (state->heat != 0)
        --state->heat;
      else
        there[at(k)] |= wanted;
    }
    protect(pages, end, there);
  }
  for (std::size_t k = 0; k < end; ++k)
    if (cold[k] && !pack(pages[k], *cold[k])) break;
  return end;
}

// Those of the pages that are wanted, by as few calls as can be, as each takes some microseconds of the other CPUs as well: pages that are there, and
// not wanted, do not lie in between.
void stack_packer::protect(void* const* pages, std::size_t n, const unsigned char* there) noexcept {
  const auto at = [&](std::size_t k) { return page_of(pages[k], pages[0]); };
  for (std::size_t k = 0, end; k < n; k = end) {
    end = k + 1;
    if ((there[at(k)] & wanted) == 0) continue;
    const auto others = [&](std::size_t from, std::size_t to) {
      return std::any_of(there + from, there + to, [](unsigned char t) { return (t & 1) != 0; });
    };
    while (end < n && (there[at(end)] & wanted) != 0 && !others(at(end - 1) + 1, at(end))) ++end;
    if (!faults_.protect(pages[k], at(end - 1) - at(k) + 1)) continue;
    for (std::size_t i = k; i < end; ++i) {
      page_state* state = stacks_.state_of(pages[i]);
      state->is = page_state::how::write_protected;
      state->since = pass_;
    }
  }
}

bool stack_packer::pack(void* page, page_state& state) noexcept {
  // Not under lock_: who holds malloc's lock may wait for the keeper.
  if (!faults_.read(page, seen_.get())) return true;
  const std::size_t some = words_ - static_cast<std::size_t>(std::count(seen_.get(), seen_.get() + words_, 0U));
  const std::size_t bytes = sizeof(block) + (words_ / word_bits + some) * sizeof(std::uint64_t);
  if (bytes > os::page_size() / 2) {  // not worth it
    const lock_scope hold(lock_);
    if (state.is != page_state::how::write_protected) return true;
    state.is = page_state::how::plain;
    state.heat = heat_max;
    faults_.unprotect(page);
    return true;
  }
  auto* b = static_cast<block*>(std::malloc(bytes));
  if (!b) return false;
  b->bytes = bytes;
  std::uint64_t* to = b->bits() + words_ / word_bits;
  for (std::size_t i = 0; i < words_; ++i) {
    std::uint64_t& bits = b->bits()[i / word_bits];
    if (i % word_bits == 0) bits = 0;
    if (seen_[i] == 0) continue;
    bits |= std::uint64_t{1} << (i % word_bits);
    *to++ = seen_[i];
  }
  {
    const lock_scope hold(lock_);
    if (state.is == page_state::how::write_protected && os::discard(page, os::page_size())) {
      state.is = page_state::how::packed;
      state.block = b;
      pages_.store(pages_.load(relaxed) + 1, relaxed);
      bytes_.store(bytes_.load(relaxed) + bytes, relaxed);
      return true;
    }
  }
  std::free(b);
  return true;
}

void stack_packer::free_garbage() noexcept {
  block* b;
  {
    const lock_scope hold(lock_);
    b = std::exchange(garbage_, nullptr);
  }
  if (!b) {
    if (freed_ >= worth_trimming) os::trim_heap();
    freed_ = freed_ >= worth_trimming ? 0 : freed_;
    return;
  }
  while (b) {
    freed_ += b->bytes;
    std::free(std::exchange(b, b->next));
  }
}

}  // namespace weft::rt
