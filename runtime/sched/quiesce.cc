// SPDX-License-Identifier: MIT

#include "quiesce.h"

#include <new>
#include <system_error>

#include "../base/lock.h"
#include "../os/mem.h"
#include "../os/thread_data.h"
#include "self.h"

namespace weft::rt {

namespace {

atomic<std::uint32_t> epoch{0};
atomic<smr_record*> all_records{nullptr};

// Nodes come from slabs, so that a million waiters take 64 bytes each and that all of it goes back to the kernel afterwards: an
// allocator with headers takes three times that, and keeps it. A slab is unmapped when its last node comes back.
constexpr std::size_t slab_bytes = limits::smr_slab_bytes;
constexpr std::size_t slab_nodes = slab_bytes / smr_node_bytes - 1;  // the first one's place is the header's

struct slab {
  smr_node* free = nullptr;
  std::size_t nfree = 0;
  std::size_t untouched = slab_nodes;  // behind the nodes handed out so far: never used, no memory behind them yet
  slab* next = nullptr;                // in `partial`
  slab* prev = nullptr;
};
static_assert(sizeof(slab) <= smr_node_bytes);

runtime_lock slabs_lock;
slab* partial = nullptr;  // slabs with something to hand out

void unlist(slab* s) {
  (s->prev ? s->prev->next : partial) = s->next;
  if (s->next) s->next->prev = s->prev;
}

void list(slab* s) {
  s->prev = nullptr;
  s->next = partial;
  if (partial) partial->prev = s;
  partial = s;
}

slab* slab_of(void* node) {
  return reinterpret_cast<slab*>(reinterpret_cast<std::uintptr_t>(node) & ~(slab_bytes - 1));
}

// Some nodes for a record's free list. Throws std::bad_alloc.
void refill(smr_record* r) {
  lock_scope hold(slabs_lock);
  if (!partial) {
    try {
      list(new (os::reserve(slab_bytes, slab_bytes)) slab);
    } catch (const std::system_error&) {
      throw std::bad_alloc();
    }
  }
  slab* s = partial;
  for (std::size_t i = 0; i < limits::smr_batch && (s->nfree != 0 || s->untouched != 0); ++i) {
    smr_node* n;
    if (s->nfree != 0) {
      n = s->free;
      s->free = n->next_retired;
      --s->nfree;
    } else {
      n = new (reinterpret_cast<char*>(s) + (slab_nodes - --s->untouched) * smr_node_bytes) smr_node;
    }
    n->next_retired = r->free;
    r->free = n;
    ++r->nfree;
  }
  if (s->nfree == 0 && s->untouched == 0) unlist(s);
}

// All but `keep` of a record's free nodes, back to their slabs.
void give_back(smr_record* r, std::size_t keep) {
  if (r->nfree <= keep) return;
  lock_scope hold(slabs_lock);
  for (; r->nfree > keep; --r->nfree) {
    smr_node* n = r->free;
    r->free = n->next_retired;
    slab* s = slab_of(n);
    if (s->nfree == 0 && s->untouched == 0) list(s);
    n->next_retired = s->free;
    s->free = n;
    if (++s->nfree + s->untouched == slab_nodes) {
      unlist(s);
      os::release(s, slab_bytes);
    }
  }
}

// Moves the epoch on if every section has been seen to start at it.
void try_advance() {
  os::fence_full();                       // R2
  std::uint32_t e = epoch.load(relaxed);  // relaxed: after the fence no older than I1 asks; the exchange decides
  // R3. acquire: SMR-PIN, with the release of smr_leave: what a section read, it read before we reuse it.
  for (smr_record* r = all_records.load(acquire); r; r = r->next) {
    std::uint32_t pin = r->pin.load(acquire);  // SMR-PIN, R3
    if (pin != 0 && pin != (e << 1 | 1)) return;
  }
  // A failure means that somebody else moved it. release: carries the R3 reads of this thread to whoever reuses by it; those of who moved
  // it before go along, as all moves are exchanges.
  epoch.compare_exchange_strong(e, e + 1, release, relaxed);
}

// Bins whose epoch is old enough: ready for use.
void collect(smr_record* r) {
  std::uint32_t e = epoch.load(acquire);  // SMR-EPOCH acquire <- try_advance: the ends of the sections that it saw
  for (int b = 0; b < 4; ++b) {
    if (!r->sealed[b] || static_cast<std::int32_t>(e - r->sealed_at[b]) < 3) continue;  // I2
    while (smr_node* n = r->sealed[b]) {
      r->sealed[b] = n->next_retired;
      n->next_retired = r->free;
      r->free = n;
      ++r->nfree;
    }
  }
  if (r->nfree > 2 * limits::smr_keep_free) give_back(r, limits::smr_keep_free);
}

// Stamps what was retired. After the fence the epoch read is no older than any that a section which saw these nodes linked was
// bound to.
void seal(smr_record* r) {
  if (!r->open) return;
  os::fence_full();
  std::uint32_t e = epoch.load(relaxed);  // relaxed: after the fence
  auto b = e % 4;
  if (r->sealed[b] && r->sealed_at[b] != e) collect(r);  // four epochs old: it is ready
  smr_node* last = r->open;
  while (last->next_retired) last = last->next_retired;
  last->next_retired = r->sealed[b];
  r->sealed[b] = r->open;
  r->sealed_at[b] = e;
  r->open = nullptr;
  r->nopen = 0;
}

void leave_thread_of(void* r) { smr_leave_thread(static_cast<smr_record*>(r)); }

}  // namespace

const void* smr_memory_lock() noexcept { return &slabs_lock; }

smr_record* smr_enter_thread() {
  for (smr_record* r = all_records.load(acquire); r; r = r->next) {  // SMR-RECORDS acquire
    bool unused = false;
    // SMR-USED acquire <- smr_leave_thread
    if (r->used.compare_exchange_strong(unused, true, acquire, relaxed)) {
      os::plain_write(&r->nfree);
      return r;
    }
  }
  auto* r = new smr_record;
  r->used.store(true, relaxed);  // relaxed, both: published by SMR-RECORDS
  smr_record* head = all_records.load(relaxed);
  do {
    r->next = head;
  } while (!all_records.compare_exchange_weak(head, r, release, relaxed));  // SMR-RECORDS release
  return r;
}

void smr_leave_thread(smr_record* r) noexcept {
  seal(r);
  // Three quiet steps and everything may go, here and in the records that were given back before while a section held theirs;
  // what a section holds back now stays for the record's next owner.
  for (int i = 0; i < 3; ++i) try_advance();
  for (smr_record* other = all_records.load(acquire); other; other = other->next) {  // SMR-RECORDS acquire
    bool unused = false;
    bool mine = other == r;
    // SMR-USED acquire
    if (!mine && !other->used.compare_exchange_strong(unused, true, acquire, relaxed)) continue;
    os::plain_write(&other->nfree);
    collect(other);
    give_back(other, 0);
    if (!mine) other->used.store(false, release);  // SMR-USED release
  }
  os::plain_write(&r->nfree);
  r->used.store(false, release);  // SMR-USED release -> acquire in smr_enter_thread, and above
}

smr_record* smr_of_thread() {
  if (M* m = self()) return m->smr;
  static os::thread_data data(leave_thread_of);
  auto* r = static_cast<smr_record*>(data.get());
  if (!r) {
    r = smr_enter_thread();
    data.set(r);
  }
  return r;
}

void smr_enter(smr_record* r) noexcept {
  std::uint32_t e = epoch.load(relaxed);  // relaxed: an older one only holds up more (I1)
  // Not an exchange: seq_cst or not, that orders nothing but itself before the loads that follow (on AArch64 they may overtake its
  // store). On x86-64 the two cost the same.
  r->pin.store(e << 1 | 1, relaxed);  // S1
  os::fence_full();                   // S2
}

void* smr_alloc(smr_record* r) {
  if (!r->free) refill(r);
  smr_node* n = r->free;
  r->free = n->next_retired;
  --r->nfree;
  return n;
}

void smr_free(smr_record* r, smr_node* n) noexcept {
  n->next_retired = r->free;
  r->free = n;
  ++r->nfree;
}

void smr_retire(smr_record* r, smr_node* n) noexcept {
  n->next_retired = r->open;
  r->open = n;
  if (++r->nopen < limits::smr_seal_every) return;
  seal(r);
  try_advance();
  collect(r);
}

}  // namespace weft::rt
