// SPDX-License-Identifier: MIT

#include "quiesce.h"

#include <new>

#include "../os/thread_data.h"
#include "self.h"

namespace weft::rt {

namespace {

atomic<std::uint32_t> epoch{0};
atomic<smr_record*> all_records{nullptr};

constexpr std::size_t seal_every = 64;
constexpr std::size_t keep_free = 512;

void* fresh() { return ::operator new (smr_node_bytes, std::align_val_t{64}); }
void drop(void* node) { ::operator delete (node, std::align_val_t{64}); }

// Moves the epoch on if every section has been seen to start at it.
void try_advance() {
  os::fence_full();  // R2
  std::uint32_t e = epoch.load(relaxed);
  // R3. acquire: SMR-PIN, with the release of smr_leave: what a section read, it read before we reuse it.
  for (smr_record* r = all_records.load(acquire); r; r = r->next) {
    std::uint32_t pin = r->pin.load(acquire);
    if (pin != 0 && pin != (e << 1 | 1)) return;
  }
  // A failure means that somebody else moved it. release: carries the R3 reads of this thread to whoever reuses by it.
  epoch.compare_exchange_strong(e, e + 1, acq_rel, relaxed);
}

// Bins whose epoch is old enough: ready for use.
void collect(smr_record* r) {
  std::uint32_t e = epoch.load(acquire);
  for (int b = 0; b < 4; ++b) {
    if (!r->sealed[b] || static_cast<std::int32_t>(e - r->sealed_at[b]) < 3) continue;  // I2
    while (smr_node* n = r->sealed[b]) {
      r->sealed[b] = n->next_retired;
      if (r->nfree < keep_free) {
        n->next_retired = r->free;
        r->free = n;
        ++r->nfree;
      } else {
        drop(n);
      }
    }
  }
}

void leave_thread_of(void* r) { smr_leave_thread(static_cast<smr_record*>(r)); }

}  // namespace

smr_record* smr_enter_thread() {
  for (smr_record* r = all_records.load(acquire); r; r = r->next) {
    bool unused = false;
    if (r->used.compare_exchange_strong(unused, true, acquire, relaxed)) return r;
  }
  auto* r = new smr_record;
  r->used.store(true, relaxed);
  smr_record* head = all_records.load(relaxed);
  do {
    r->next = head;
  } while (!all_records.compare_exchange_weak(head, r, release, relaxed));
  return r;
}

void smr_leave_thread(smr_record* r) noexcept {
  // Three quiet steps and everything may go; what a section elsewhere holds back stays for the record's next owner.
  for (int i = 0; i < 3; ++i) try_advance();
  collect(r);
  while (smr_node* n = r->free) {
    r->free = n->next_retired;
    drop(n);
  }
  r->nfree = 0;
  r->used.store(false, release);  // release -> acquire in smr_enter_thread: the lists
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
  std::uint32_t e = epoch.load(relaxed);
  r->pin.exchange(e << 1 | 1, seq_cst);  // S1, S2
}

void* smr_alloc(smr_record* r) {
  if (smr_node* n = r->free) {
    r->free = n->next_retired;
    --r->nfree;
    return n;
  }
  return fresh();
}

void smr_free(smr_record* r, smr_node* n) noexcept {
  n->next_retired = r->free;
  r->free = n;
  ++r->nfree;
}

void smr_retire(smr_record* r, smr_node* n) noexcept {
  n->next_retired = r->open;
  r->open = n;
  if (++r->nopen < seal_every) return;
  // Sealing: after the fence the epoch read is no older than any that a section which saw these nodes linked was bound to.
  os::fence_full();
  std::uint32_t e = epoch.load(relaxed);
  auto b = e % 4;
  if (r->sealed[b] && r->sealed_at[b] != e) collect(r);  // four epochs old: it is ready
  smr_node* last = r->open;
  while (last->next_retired) last = last->next_retired;
  last->next_retired = r->sealed[b];
  r->sealed[b] = r->open;
  r->sealed_at[b] = e;
  r->open = nullptr;
  r->nopen = 0;
  try_advance();
  collect(r);
}

}  // namespace weft::rt
