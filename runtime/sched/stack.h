// SPDX-License-Identifier: MIT
//
// The stack pool: where goroutines' stacks, and the Gs on top of them, come from and go back to.
//
// One pool per runtime. Each P keeps a few free slots of its own (not here); it fetches and returns them in batches,
// so the pool's lock is taken once per batch.
//
//   chunk   one reservation of address space, all slots alike        slot (here 64 KiB usable on 4 KiB pages)
//   +-------+--------+-------+--------+-- - - --+                     end   +---------------------+
//   | guard | slot 0 | guard | slot 1 |         |                           | colour: 0..23 lines |
//   +-------+--------+-------+--------+-- - - --+                     top   +---------------------+  <- handed out
//   base                                                                    | G (the caller's)    |
//   \_____ stride ___/                                                      | frames, growing down|
//                                                                     lo    +---------------------+
//   classes: usable 16 KiB, 32 KiB, ... 1 GiB                               | guard, one page     |
//   stride = usable + one page                                              +---------------------+
//
// Invariants
//   I1  A slot is in exactly one state:     raw --(guards, in batches)--> clean --> used --> dirty --(trim)--> clean
//                                            ^                            |  |        ^       ^ |
//                                            +------(renew, whole chunks)-+  |        +-------|-+
//                                                                            +-----(warm)-----+
//       raw: never guarded. clean: guarded, free, no memory behind it. dirty: free, its pages still there.
//   I2  What is handed out has its guard. If a guard cannot be had, nothing is handed out, and the caller hears why.
//   I3  Type-stable: from its first use until the pool is destroyed a slot is mapped, readable and writable, with `top`
//       at the same address. A reader that comes late through a stale G pointer finds an old G, a new G, or zeros; it
//       never faults. A late write only costs a page.
//   I4  So whatever tells an old G from a new one (the ticket) must not be counted in the G: memory that went back to
//       the kernel restarts at zero, and a count kept there would meet its own past. Count it in the P, or for the
//       runtime.
//
// Why so
//   Power of two plus a page: were the stride 16 pages, the hot top pages of all stacks would differ only in high
//   address bits, and share a sixteenth of the TLB's sets. 17 is odd, and so is every class's number of pages:
//   consecutive slots visit every set.
//   Colours: within a page the L1 set is the page offset, and 17 pages move it not at all. So slot i ends (i mod 24)
//   cache lines early: the hot lines of many stacks spread over the sets (of the L2 as well), and G plus a shallow
//   stack still share one 4 KiB page under the worst colour, which leaves them worst_top_page bytes. (All 64 colours
//   would be more even, and cost half of the parked goroutines a second page.) A slot keeps its colour, since the G
//   must keep its address.
//   Guards below, lazily: a program with three goroutines must not pay for a thousand guards at its start; a spawning
//   storm must not pay for a system call each.
//   Dirty slots first, of the oldest chunk: the memory in use stays dense, and young chunks empty out after a peak.
//   State outside of the slots: a free list threaded through them would bring back every page that trim() gave away.
//
// Giving back. The least number of dirty slots during an interval was needed by nobody in it: that many go back at its
// end. A steady load keeps its stacks, a peak is back after two intervals of silence. Chunks with nothing but clean
// slots for two intervals more are renewed: page tables, and with mprotect guards the mappings, return to the system too.
//
// Edges
//   name            release side        acquire side      carries                         model test
//   CHUNK-PUBLISH   add_chunk           chunk_at          base, size, class, page states  world.a_fault_*
// All else is under the two locks; grow_lock_ is taken before lock_.
//
// Not here: what is on a stack (goroutine.cc), caches of Ps (schedule.cc), the report of an overflow (fault.cc).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "../base/annotations.h"
#include "../base/env.h"
#include "../base/lock.h"
#include "../os/atomic.h"
#include "../os/cpu.h"
#include "../os/limits.h"
#include "../os/mem.h"

namespace weft {

struct stack_slot {
  char* lo;   // lowest usable byte, right above the guard
  char* top;  // the caller's part ends here; a multiple of cache_line
  bool cold =
      false;  // out of alloc_batch: no memory behind it, and neither the first few of its class: os::populate pays
};

// What find() knows about an address.
struct stack_hit {
  char* lo;
  char* top;
  std::size_t size;  // usable bytes of the class
  bool in_guard;     // below lo: an overflow of this slot
};

struct stack_stats {
  std::size_t used = 0;            // handed out, the caches of Ps included
  std::size_t dirty = 0;           // free, memory still behind them
  std::size_t clean = 0;           // free, guarded, no memory
  std::size_t chunks = 0;          // reservations
  std::size_t reserved_bytes = 0;  // address space
  std::size_t resident_bytes = 0;  // an estimate from below: one page for each used or dirty slot
  os::guard_kind guards = os::guard_kind::none;
};

// What pack.cc knows of the page that holds the top of a slot.
struct page_state {
  enum class how : std::uint8_t { plain, write_protected, packed };

  void* block = nullptr;    // packed: what was there
  std::uint32_t since = 0;  // write_protected: in which pass it became that
  how is = how::plain;
  std::uint8_t heat = 0;  // passes to leave it alone
};

// Answers the page faults of a pool's chunks (pack.h).
class page_keeper {
 public:
  virtual void watch(
      void* base,
      std::size_t bytes) = 0;  // from now on, and again after its pages were renewed; throws std::system_error
  // By trim(), on a thread's own stack: that page, which nobody uses, is gone.
  virtual void discarded(page_state& state) noexcept = 0;
  virtual void bring(void* const* pages, std::size_t n) noexcept = 0;  // zeros, where there is no page

 protected:
  ~page_keeper() = default;
};

struct trim_result {
  std::size_t slots;  // given back by this call
  bool again;         // something is left that a call one interval later may give back; false: no need to call
};

class stack_pool {
 public:
  static constexpr unsigned classes = 17;
  static constexpr std::size_t colours = 24;
  // What is left in a top page of 4 KiB by the worst colour.
  static constexpr std::size_t worst_top_page = 4096 - (colours - 1) * cache_line;
  static_assert(worst_top_page >= 512 + 1536, "a G and a shallow stack fit");

  stack_pool() = default;
  // Unmaps everything. No slot may be in use by anybody, not even by a late reader (I3 ends here).
  ~stack_pool();
  stack_pool(const stack_pool&) = delete;
  stack_pool& operator=(const stack_pool&) = delete;

  // The class whose slots have at least `bytes` usable ones (min_stack_size..max_stack_size), and that number.
  static unsigned class_of(std::size_t bytes) noexcept;
  static constexpr std::size_t class_size(unsigned size_class) noexcept { return min_stack_size << size_class; }

  // Hands out between 1 and n slots; fewer than n when that is what is at hand, so that a call is one look, no search.
  // Their bytes are what the last user left, or zeros. Throws std::system_error when there is not a single one:
  // address space (ENOMEM, see os::reserve) or guards (see os::install_guards) exhausted, or std::bad_alloc;
  // the pool is as before then, and goes on with what is returned to it.
  std::size_t alloc_batch(unsigned size_class, stack_slot* out, std::size_t n);

  // Brings in the top pages of those of n slots (at most os::populate_max), fresh out of alloc_batch, that are cold.
  void bring_pages(const stack_slot* slots, std::size_t n) noexcept;

  // For who has nothing else to do: makes up to n (at most os::populate_max) clean slots dirty, with their top pages there, so that the next
  // alloc_batch need not wait for the kernel to bring them. Makes guards where none is clean. How many it were: 0 where somebody else
  // makes guards, or none can be had.
  std::size_t warm(unsigned size_class, std::size_t n) noexcept;

  // Takes slots back, in any order, from whichever P. They must come from this class of this pool.
  void free_batch(unsigned size_class, const stack_slot* slots, std::size_t n) noexcept;

  // Ends an interval (about 100 ms; see "Giving back"). The locks are not held during the system calls. For one
  // thread at a time. Slots that Ps hoard in their caches count as used: have them returned first.
  trim_result trim() noexcept;

  stack_stats stats() noexcept;

  // Before the first slot is handed out; null: the kernel answers page faults.
  void set_keeper(page_keeper* k) noexcept { keeper_ = k; }
  // Of the page that holds the top of a slot; null: not such a page, or no keeper. As find().
  page_state* state_of(const void* page) const noexcept;
  // Those of the n slots, a power of two, among which that one is. How many: less at a chunk's end. As find().
  std::size_t tops_around(const void* page, void** pages, std::size_t n) const noexcept;
  // Where a walk over slots is.
  struct place {
    std::size_t size_class = 0;
    std::size_t age = 0;
    std::size_t slot = 0;
  };
  enum class slots { used, all };  // all: that have ever been used
  // The pages with the tops of the next ones, up to n. 0: that was all.
  std::size_t next_top(place& at, slots which, void** pages, std::size_t n) noexcept;
  // Held by trim() while it discards: what is there stays there for who has it.
  runtime_lock& discards() noexcept { return discards_; }

  // Which slot is `addr` in, its guard included? False: none of this pool's. Async-signal-safe, takes no lock; the pool
  // must not be destroyed meanwhile.
  bool find(const void* addr, stack_hit& hit) const noexcept;

  // Calls visit(top, arg) for every slot that is in use, the caches of Ps and what trim() has in hand
  // included (their Gs are dead, or zeros). For reports: takes the lock.
  void for_each_used(void (*visit)(char* top, void* arg), void* arg);

 private:
  struct chunk;

  // Guarded by lock_.
  struct size_class_state {
    std::vector<chunk*> by_age;      // allocation looks at the oldest first
    std::vector<chunk*> by_address;  // free_batch searches
    std::size_t dirty = 0;           // slots in that state, over all chunks
    std::size_t clean = 0;
    std::size_t dirty_low = 0;   // the least `dirty` was in this interval
    std::size_t dirty_from = 0;  // by_age index below which no chunk has dirty slots; so for clean
    std::size_t clean_from = 0;
    std::size_t next_slots = 0;  // how many slots the next chunk shall have; 0: none made yet
  };

  enum class wanted { any, clean };
  std::size_t take_free(size_class_state& c, stack_slot* out, std::size_t n, wanted which = wanted::any) noexcept
      WEFT_REQUIRES(lock_);
  std::size_t take_grown(unsigned size_class, stack_slot* out, std::size_t n, wanted which) WEFT_REQUIRES(grow_lock_)
      WEFT_EXCLUDES(lock_);
  std::size_t take_to_warm(unsigned size_class, stack_slot* out, std::size_t n) noexcept
      WEFT_EXCLUDES(lock_, grow_lock_);
  chunk& chunk_to_grow(unsigned size_class) WEFT_REQUIRES(grow_lock_);
  chunk& add_chunk(unsigned size_class) WEFT_REQUIRES(grow_lock_);
  chunk* chunk_of(const size_class_state& c, const char* p) const noexcept WEFT_REQUIRES(lock_);
  const chunk* chunk_at(const char* p) const noexcept;  // without a lock; null: in none
  std::size_t trim_chunk(size_class_state& c, chunk& k, std::size_t quota) noexcept WEFT_EXCLUDES(lock_);
  bool renew_if_idle(size_class_state& c, chunk& k) noexcept WEFT_EXCLUDES(lock_, grow_lock_);
  bool renew_chunk(chunk& k) const noexcept;

  runtime_lock discards_;  // before the others
  page_keeper* keeper_ = nullptr;
  // One grower at a time, and not beside a renewal: protects `guarded` of the chunks together with lock_ (either is
  // enough to read it, both are held to write it).
  runtime_lock grow_lock_;
  runtime_lock lock_;
  std::array<size_class_state, classes> classes_ WEFT_GUARDED_BY(lock_);
  // Every chunk there is, the newest first; only ever grows.
  atomic<chunk*> all_{nullptr};
};

static_assert(min_stack_size << (stack_pool::classes - 1) == max_stack_size);

}  // namespace weft
