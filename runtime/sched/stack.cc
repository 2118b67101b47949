// SPDX-License-Identifier: MIT
#include "stack.h"

#include <algorithm>
#include <bit>
#include <exception>
#include <system_error>

#include "../base/check.h"

#if WEFT_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace weft {
namespace {

using word = std::uint64_t;
constexpr std::size_t word_bits = 64;

// Chunks of huge slots are this long at least.
constexpr std::size_t least_slots = 4;

// Intervals a chunk must have been all clean before it is renewed: a burst that comes back soon finds its guards made.
constexpr unsigned idle_intervals = 2;

constexpr std::size_t trim_words = limits::stack_trim_batch / word_bits;
static_assert(limits::stack_trim_batch % word_bits == 0 && trim_words > 0);

// Set of slots of a chunk, by index, with its size and a lower bound of its least member.
class slot_set {
 public:
  explicit slot_set(std::size_t slots) : words_(new word[(slots + word_bits - 1) / word_bits]()) {}

  std::size_t size() const noexcept { return size_; }
  bool has(std::size_t i) const noexcept { return (words_[i / word_bits] >> (i % word_bits) & 1) != 0; }
  void add(std::size_t i) noexcept { add_word(i / word_bits, word{1} << (i % word_bits)); }

  // The least member; there must be one.
  std::size_t take_first() noexcept {
    while (words_[from_] == 0) ++from_;
    word& w = words_[from_];
    const auto bit = static_cast<std::size_t>(std::countr_zero(w));
    w &= w - 1;
    --size_;
    return from_ * word_bits + bit;
  }

  word get_word(std::size_t at) const noexcept { return words_[at]; }
  void add_word(std::size_t at, word bits) noexcept {
    words_[at] |= bits;
    size_ += static_cast<std::size_t>(std::popcount(bits));
    if (bits != 0) from_ = std::min(from_, at);
  }
  void remove_word(std::size_t at, word bits) noexcept {
    words_[at] &= ~bits;
    size_ -= static_cast<std::size_t>(std::popcount(bits));
  }

 private:
  std::unique_ptr<word[]> words_;
  std::size_t size_ = 0;
  std::size_t from_ = 0;
};

}  // namespace

// Geometry is fixed when the chunk is published (CHUNK-PUBLISH); the rest is under lock_.
struct stack_pool::chunk {
  chunk(unsigned in_class, std::size_t n) : size_class(in_class), page(os::page_size()), slots(n), dirty(n), clean(n) {
    bytes = slots * stride();
    base = static_cast<char*>(os::reserve(bytes, page));
  }
  ~chunk() { os::release(base, bytes); }
  chunk(const chunk&) = delete;
  chunk& operator=(const chunk&) = delete;

  std::size_t usable() const noexcept { return class_size(size_class); }
  std::size_t stride() const noexcept { return usable() + page; }
  char* guard(std::size_t i) const noexcept { return base + i * stride(); }
  bool contains(const char* p) const noexcept { return p >= base && p < base + bytes; }
  std::size_t index_of(const char* p) const noexcept { return static_cast<std::size_t>(p - base) / stride(); }
  stack_slot slot(std::size_t i) const noexcept {
    char* const lo = guard(i) + page;
    return {.lo = lo, .top = lo + usable() - i % colours * cache_line};
  }
  char* top_page(std::size_t i) const noexcept { return guard(i) + usable(); }

  const unsigned size_class;
  const std::size_t page;
  const std::size_t slots;
  std::size_t bytes;
  char* base;
  chunk* next = nullptr;  // in all_

  std::size_t age = 0;      // its index in by_age
  std::size_t guarded = 0;  // slots below this index are not raw (also under grow_lock_)
  slot_set dirty, clean;
  std::unique_ptr<page_state[]> pages;  // by slot, where there is a keeper
  unsigned idle = 0;                    // intervals it has been all clean
};

stack_pool::~stack_pool() {
  chunk* k = all_.load(relaxed);  // nobody else is left
  while (k != nullptr) {
    chunk* const next = k->next;
    delete k;
    k = next;
  }
}

unsigned stack_pool::class_of(std::size_t bytes) noexcept {
  WEFT_CHECK(bytes <= max_stack_size, "stack_pool::class_of: larger than the largest class");
  // A slot is whole pages, which may be larger than the smallest class (64 KiB on some AArch64).
  const std::size_t need = std::max({bytes, min_stack_size, os::page_size()});
  return static_cast<unsigned>(std::bit_width(need - 1) - std::bit_width(min_stack_size - 1));
}

std::size_t stack_pool::alloc_batch(unsigned size_class, stack_slot* out, std::size_t n) {
  WEFT_CHECK(n > 0 && size_class < classes, "stack_pool::alloc_batch: nothing asked for, or of no class");
  {
    const lock_scope hold(lock_);
    if (const std::size_t got = take_free(classes_[size_class], out, n)) return got;
  }
  // Guards are made outside of lock_, so that slots can be returned and fetched meanwhile.
  const lock_scope growing(grow_lock_);
  {
    // Whoever held grow_lock_ before us has likely left some.
    const lock_scope hold(lock_);
    if (const std::size_t got = take_free(classes_[size_class], out, n)) return got;
  }
  return take_grown(size_class, out, n, wanted::any);
}

std::size_t stack_pool::take_grown(unsigned size_class, stack_slot* out, std::size_t n, wanted which) {
  chunk& k = chunk_to_grow(size_class);
  const std::size_t first = k.guarded;
  const std::size_t batch = std::clamp(first, limits::stack_guard_batch_min, limits::stack_guard_batch_max);
  const std::size_t made = std::min(batch, k.slots - first);
  os::install_guards(k.guard(first), k.stride(), made, k.page);

  const lock_scope hold(lock_);
  size_class_state& c = classes_[size_class];
  k.guarded = first + made;
  for (std::size_t i = first; i < k.guarded; ++i) k.clean.add(i);
  c.clean += made;
  c.clean_from = std::min(c.clean_from, k.age);
  return take_free(c, out, n, which);
}

// Dirty ones first (no page fault), then clean ones (no system call), each from the oldest chunk that has some.
std::size_t stack_pool::take_free(size_class_state& c, stack_slot* out, std::size_t n, wanted which) noexcept {
  std::size_t got = 0;
  const auto take = [&](slot_set chunk::*set, std::size_t& total, std::size_t& from) {
    while (got < n && total > 0) {
      chunk& k = *c.by_age[from];
      if ((k.*set).size() == 0) {
        ++from;
        continue;
      }
      const std::size_t i = (k.*set).take_first();
      out[got] = k.slot(i);
      out[got].cold = set == &chunk::clean && (k.age != 0 || i >= limits::stack_populate_from);
#if WEFT_ASAN
      // Frames that a goroutine's end left behind poisoned.
      __asan_unpoison_memory_region(out[got].lo, k.usable());
#endif
      k.idle = 0;
      --total;
      ++got;
    }
  };
  if (which == wanted::any) {
    take(&chunk::dirty, c.dirty, c.dirty_from);
    c.dirty_low = std::min(c.dirty_low, c.dirty);
  }
  take(&chunk::clean, c.clean, c.clean_from);
  return got;
}

// A chunk with raw slots: the oldest that has some, else a new one.
stack_pool::chunk& stack_pool::chunk_to_grow(unsigned size_class) {
  {
    const lock_scope hold(lock_);
    for (chunk* const k : classes_[size_class].by_age)
      if (k->guarded < k->slots) return *k;
  }
  return add_chunk(size_class);
}

stack_pool::chunk& stack_pool::add_chunk(unsigned size_class) {
  const std::size_t stride = class_size(size_class) + os::page_size();
  std::size_t slots;
  {
    const lock_scope hold(lock_);
    size_class_state& c = classes_[size_class];
    slots = c.next_slots != 0 ? c.next_slots : std::max(limits::stack_chunk_min / stride, least_slots);
    // Room now, so that nothing can fail once the chunk exists.
    c.by_age.reserve(c.by_age.size() + 1);
    c.by_address.reserve(c.by_address.size() + 1);
  }
  std::unique_ptr<chunk> made;
  while (made == nullptr) {
    try {
      made = std::make_unique<chunk>(size_class, slots);
    } catch (const std::system_error&) {
      // Little address space left (RLIMIT_AS, strict overcommit): smaller chunks, down to a single slot.
      if (slots == 1) throw;
      slots /= 2;
    }
  }
  if (keeper_ != nullptr) {
    made->pages = std::make_unique<page_state[]>(made->slots);
    keeper_->watch(made->base, made->bytes);
  }
  chunk& k = *made.release();
  const lock_scope hold(lock_);
  size_class_state& c = classes_[size_class];
  c.next_slots = std::min(2 * slots, std::max(limits::stack_chunk_max / stride, least_slots));
  k.age = c.by_age.size();
  c.by_age.push_back(&k);
  c.by_address.insert(std::ranges::upper_bound(c.by_address, k.base, {}, &chunk::base), &k);
  k.next = all_.load(relaxed);  // written only here, under lock_
  os::plain_write(&k.base);
  // CHUNK-PUBLISH release -> acquire in chunk_at. Carries the chunk's geometry; relaxed would let a fault handler on
  // another thread divide by a stride that is not there yet.
  all_.store(&k, release);
  return k;
}

stack_pool::chunk* stack_pool::chunk_of(const size_class_state& c, const char* p) const noexcept {
  const auto after =
      std::ranges::upper_bound(c.by_address, p, {}, [](const chunk* k) -> const char* { return k->base; });
  if (after == c.by_address.begin()) return nullptr;
  chunk* const k = *(after - 1);
  return k->contains(p) ? k : nullptr;
}

void stack_pool::free_batch(unsigned size_class, const stack_slot* slots, std::size_t n) noexcept {
  WEFT_CHECK(size_class < classes, "stack_pool::free_batch: no such class");
  const lock_scope hold(lock_);
  size_class_state& c = classes_[size_class];
  chunk* k = nullptr;
  for (std::size_t s = 0; s < n; ++s) {
    if (k == nullptr || !k->contains(slots[s].lo)) k = chunk_of(c, slots[s].lo);
    WEFT_CHECK(k != nullptr, "stack_pool::free_batch: a slot of another pool or class");
    const std::size_t i = k->index_of(slots[s].lo);
    WEFT_CHECK(i < k->guarded && k->slot(i).lo == slots[s].lo && k->slot(i).top == slots[s].top,
               "stack_pool::free_batch: not a slot that was handed out");
    WEFT_CHECK(!k->dirty.has(i) && !k->clean.has(i), "stack_pool::free_batch: a slot freed twice");
    k->dirty.add(i);
    c.dirty_from = std::min(c.dirty_from, k->age);
  }
  c.dirty += n;
}

void stack_pool::bring_pages(const stack_slot* slots, std::size_t n) noexcept {
  void* pages[os::populate_max];
  std::size_t cold = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (!slots[i].cold) continue;
    const auto last = reinterpret_cast<std::uintptr_t>(slots[i].top) - 1;
    pages[cold++] = reinterpret_cast<void*>(last & ~(os::page_size() - 1));
  }
  if (cold == 0) return;
  if (keeper_ != nullptr)
    keeper_->bring(pages, cold);
  else
    os::populate(pages, cold);
}

std::size_t stack_pool::take_to_warm(unsigned size_class, stack_slot* out, std::size_t n) noexcept {
  {
    const lock_scope hold(lock_);
    if (const std::size_t got = take_free(classes_[size_class], out, n, wanted::clean)) return got;
  }
  if (!grow_lock_.try_lock()) return 0;  // somebody makes guards: soon there will be some
  std::size_t got = 0;
  try {
    got = take_grown(size_class, out, n, wanted::clean);
  } catch (const std::exception&) {
    // Address space, guards or memory are exhausted: that is told to who needs a stack.
  }
  grow_lock_.unlock();
  return got;
}

std::size_t stack_pool::warm(unsigned size_class, std::size_t n) noexcept {
  stack_slot got[os::populate_max];
  n = take_to_warm(size_class, got, std::min(n, os::populate_max));
  bring_pages(got, n);
  // And touched, by a zero among zeros, where frames will lie: in a virtual machine the first touch may cost more than the page.
  for (std::size_t i = 0; i < n; ++i) *static_cast<volatile char*>(got[i].top - worst_top_page) = 0;
  free_batch(size_class, got, n);
  return n;
}

trim_result stack_pool::trim() noexcept {
  const lock_scope discarding(discards_);
  trim_result result{.slots = 0, .again = false};
  for (unsigned size_class = 0; size_class < classes; ++size_class) {
    size_class_state* state;
    std::size_t quota, chunks;
    {
      const lock_scope hold(lock_);
      state = &classes_[size_class];
      quota = std::min(state->dirty_low, state->dirty);
      chunks = state->by_age.size();
    }
    size_class_state& c = *state;
    // The youngest first: allocation fills the oldest, so the gap between them empties whole chunks.
    for (std::size_t age = chunks; age-- > 0;) {
      chunk* k;
      {
        const lock_scope hold(lock_);
        k = c.by_age[age];
      }
      const std::size_t gone = trim_chunk(c, *k, quota);
      quota -= gone;
      result.slots += gone;
      if (renew_if_idle(c, *k)) result.again = true;
    }
    const lock_scope hold(lock_);
    c.dirty_low = c.dirty;
    if (c.dirty != 0) result.again = true;
  }
  return result;
}

// Gives back up to `quota` dirty slots of k, those with the highest index first; how many it were.
std::size_t stack_pool::trim_chunk(size_class_state& c, chunk& k, std::size_t quota) noexcept {
  std::size_t gone = 0;
  std::size_t end = (k.slots + word_bits - 1) / word_bits;
  while (gone < quota && end > 0) {
    // A window of some words, so that neighbours in different words are still one run. While their bits are here, in no
    // set, the slots are nobody's to hand out.
    const std::size_t begin = end > trim_words ? end - trim_words : 0;
    word window[trim_words] = {};
    std::size_t picked = 0;
    {
      const lock_scope hold(lock_);
      if (k.dirty.size() == 0) break;
      for (std::size_t w = end; w-- > begin;) {
        word bits = k.dirty.get_word(w);
        while (static_cast<std::size_t>(std::popcount(bits)) > quota - gone - picked) bits &= bits - 1;
        window[w - begin] = bits;
        k.dirty.remove_word(w, bits);
        picked += static_cast<std::size_t>(std::popcount(bits));
      }
      c.dirty -= picked;
    }
    const auto in_window = [&](std::size_t i) {
      return i < trim_words * word_bits && (window[i / word_bits] >> (i % word_bits) & 1) != 0;
    };
    for (std::size_t i = 0; picked != 0 && i < trim_words * word_bits; ++i) {
      if (!in_window(i)) continue;
      std::size_t last = i;
      while (in_window(last + 1)) ++last;
      char* const from = k.slot(begin * word_bits + i).lo;
      char* const to = k.slot(begin * word_bits + last).lo + k.usable();
      // Over the guards in between, which stay. A refusal (mlocked memory) is nothing we could mend: the slots are as
      // good as clean, since asking again every interval would not change it.
      (void)os::discard(from, static_cast<std::size_t>(to - from));
      if (keeper_ != nullptr)
        for (; i <= last; ++i) keeper_->discarded(k.pages[begin * word_bits + i]);
      i = last;
    }
    if (picked != 0) {
      const lock_scope hold(lock_);
      for (std::size_t w = begin; w < end; ++w) k.clean.add_word(w, window[w - begin]);
      c.clean += picked;
      c.clean_from = std::min(c.clean_from, k.age);
    }
    gone += picked;
    end = begin;
  }
  return gone;
}

// Makes an all-clean chunk raw again once it has been so for long enough. True: it is on the way there.
bool stack_pool::renew_if_idle(size_class_state& c, chunk& k) noexcept {
  // Renewal takes the guards, so nobody may be laying some. If somebody is, the pool is not idle: another time.
  if (!grow_lock_.try_lock()) return true;
  bool waiting = false;
  bool renew = false;
  const std::size_t guarded = k.guarded;
  {
    const lock_scope hold(lock_);
    if (guarded != 0 && k.clean.size() == guarded) {
      waiting = ++k.idle <= idle_intervals;
      renew = !waiting;
    }
    if (renew) {
      // Off the market while it is being done.
      for (std::size_t w = 0; w * word_bits < guarded; ++w) k.clean.remove_word(w, k.clean.get_word(w));
      c.clean -= guarded;
    }
  }
  if (renew) {
    const bool done = renew_chunk(k);
    const lock_scope hold(lock_);
    k.idle = 0;
    if (done) {
      k.guarded = 0;
    } else {
      for (std::size_t i = 0; i < guarded; ++i) k.clean.add(i);
      c.clean += guarded;
      c.clean_from = std::min(c.clean_from, k.age);
    }
  }
  grow_lock_.unlock();
  return waiting;
}

bool stack_pool::renew_chunk(chunk& k) const noexcept {
  if (!os::renew(k.base, k.bytes)) return false;
  if (keeper_ == nullptr) return true;
  try {
    keeper_->watch(k.base, k.bytes);
  } catch (const std::system_error&) {
    // Short of memory. Then the kernel answers this chunk's faults; and nothing in it can be protected, so nothing is packed.
  }
  return true;
}

stack_stats stack_pool::stats() noexcept {
  stack_stats s;
  s.guards = os::probe_guard_kind();
  const lock_scope hold(lock_);
  for (const size_class_state& c : classes_) {
    s.dirty += c.dirty;
    s.clean += c.clean;
    s.chunks += c.by_age.size();
    for (const chunk* const k : c.by_age) {
      s.reserved_bytes += k->bytes;
      s.used += k->guarded - k->dirty.size() - k->clean.size();
    }
  }
  s.resident_bytes = (s.used + s.dirty) * os::page_size();
  return s;
}

const stack_pool::chunk* stack_pool::chunk_at(const char* p) const noexcept {
  // CHUNK-PUBLISH acquire <- add_chunk.
  for (const chunk* k = all_.load(acquire); k != nullptr; k = k->next) {
    os::plain_read(&k->base);
    if (k->contains(p)) return k;
  }
  return nullptr;
}

bool stack_pool::find(const void* addr, stack_hit& hit) const noexcept {
  const char* const p = static_cast<const char*>(addr);
  const chunk* const k = chunk_at(p);
  if (k == nullptr) return false;
  const stack_slot s = k->slot(k->index_of(p));
  hit = {.lo = s.lo, .top = s.top, .size = k->usable(), .in_guard = p < s.lo};
  return true;
}

page_state* stack_pool::state_of(const void* page) const noexcept {
  const char* const p = static_cast<const char*>(page);
  const chunk* const k = chunk_at(p);
  if (k == nullptr || !k->pages) return nullptr;
  const std::size_t i = k->index_of(p);
  return k->top_page(i) == p ? &k->pages[i] : nullptr;
}

std::size_t stack_pool::tops_around(const void* page, void** pages, std::size_t n) const noexcept {
  const char* const p = static_cast<const char*>(page);
  const chunk* const k = chunk_at(p);
  if (k == nullptr) return 0;
  const std::size_t first = k->index_of(p) & ~(n - 1);
  n = std::min(n, k->slots - first);
  for (std::size_t i = 0; i < n; ++i) pages[i] = k->top_page(first + i);
  return n;
}

std::size_t stack_pool::next_top(place& at, slots which, void** pages, std::size_t n) noexcept {
  const lock_scope hold(lock_);
  std::size_t got = 0;
  for (; at.size_class < classes; ++at.size_class, at.age = 0) {
    const size_class_state& c = classes_[at.size_class];
    for (; at.age < c.by_age.size(); ++at.age, at.slot = 0) {
      const chunk& k = *c.by_age[at.age];
      for (; at.slot < k.guarded; ++at.slot) {
        if (got == n) return got;
        if (which == slots::all || (!k.dirty.has(at.slot) && !k.clean.has(at.slot))) pages[got++] = k.top_page(at.slot);
      }
    }
  }
  return got;
}

void stack_pool::for_each_used(void (*visit)(char* top, void* arg), void* arg) {
  lock_scope hold(lock_);
  for (const chunk* k = all_.load(relaxed); k != nullptr; k = k->next)
    for (std::size_t i = 0; i < k->guarded; ++i)
      if (!k->dirty.has(i) && !k->clean.has(i)) visit(k->slot(i).top, arg);
}

}  // namespace weft
