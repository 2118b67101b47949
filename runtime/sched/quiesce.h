// SPDX-License-Identifier: MIT
//
// When may a node that was unlinked from a lock-free list be used again? Once nobody can still be reading it.
//
// Readers bracket each operation that follows links (a *section*); whoever unlinks a node retires it; it is reused when every
// section that could have met it has ended. Sections are short, never span a park (the park's commit ends the section,
// arch/switch.h), and belong to a thread, not to a goroutine. So a goroutine that computes for a second holds nothing up, an idle
// P is quiet by nature, and an ordinary thread takes part like any other.
//
//   I1  A section that starts while the global epoch is e keeps it at e or e + 1 until it ends.
//   I2  A node retired at epoch e is reused at epoch e + 3 or later. Two would do for nodes that only links lead to. But the tail
//       hint of a wait list (chan/wait_list.h) may be set to a node by a section that is older than the node's retirement:
//       that section clears it before it ends (by e + 1), those that read it in between started by e + 1 and end by e + 2.
//
//   SMR-PIN        reader: enter                       reclaimer: try_advance
//                  S1 record.pin = epoch               R1 (nodes unlinked)
//                  S2 full fence                       R2 full fence
//                  S3 read links                       R3 read every record's pin
//   Forbidden: R3 misses the pin and S3 reads a link from before R1.
//
// Edges
//   name         release side                  acquire side                     carries                                      model test
//   SMR-PIN      smr_leave                     try_advance, R3                  what the section read; and as drawn above    quiesce
//   SMR-EPOCH    try_advance                   collect                          the ends of the sections that it saw         quiesce
//   SMR-RECORDS  smr_enter_thread: a new one   who walks the records            the record                                   quiesce
//   SMR-USED     smr_leave_thread              smr_enter_thread, _leave_thread  the record's lists                           quiesce
//
// Progress: enter and leave are wait-free. Reclaiming is lock-free for the rest of the world: a thread stopped inside a section
// stops the reuse of nodes, for everybody, until it goes on; operations then get fresh memory, and go on. But memory is handed out in
// batches under a lock: a thread stopped right there, once in some dozens of nodes, holds up whoever runs out of nodes meanwhile.
//
// The records are the process's, not a runtime's: a channel may be shared by runtimes and ordinary threads. They are few (one per
// thread at a time, reused), and the nodes return to the kernel when a record is given back.
//
// Sources: Fraser, "Practical lock-freedom" (epochs); crossbeam-epoch. Rejected: quiescence of Ps between goroutines (free, but a
// goroutine that computes stops all reuse); membarrier instead of S2 (8 us and an interruption of the other core each time).

#pragma once

#include <cstddef>
#include <cstdint>

#include "park.h"

namespace weft::rt {

// Base of what is retired. Readers of the node never look at this field, so it may be written while they still read.
struct alignas(64) smr_node {
  plain<smr_node*> next_retired = nullptr;
};

inline constexpr std::size_t smr_node_bytes = 64;  // all nodes are of one size: a wait_list node

struct select_seat;  // chan/wait_list.h

struct alignas(64) smr_record {  // never freed, so what stale nodes point at may be here
  atomic<std::uint32_t> pin{0};  // 0: outside; else epoch * 2 + 1, modulo 2^32
  atomic<bool> used{false};
  smr_record* next = nullptr;       // all records, for good
  atomic<std::uint64_t> select{0};  // an ordinary thread's select, as G::select
  thread_waiter select_waiter;
  // Owner.
  std::uint64_t ticket = 0;      // of selects, chan/select.cc
  select_seat* seats = nullptr;  // free ones; they stay with the record
  std::size_t nseats = 0;
  std::uint64_t stamp = 0;   // an ordinary thread's unique numbers, chan/word.h
  smr_node* free = nullptr;  // ready for use
  std::size_t nfree = 0;
  smr_node* open = nullptr;  // retired, not yet stamped
  std::size_t nopen = 0;
  smr_node* sealed[4] = {};  // stamped with an epoch, by epoch modulo 4
  std::uint32_t sealed_at[4] = {};
};

// The record of the calling thread from now on; takes a used one over, or makes one. Throws std::bad_alloc.
smr_record* smr_enter_thread();
// Gives it back. What it had retired goes to whoever takes the record over.
void smr_leave_thread(smr_record* r) noexcept;
// The calling thread's, whether it carries an M or is an ordinary one.
smr_record* smr_of_thread();

// A section. Not nested.
void smr_enter(smr_record* r) noexcept;
inline void smr_leave(smr_record* r) noexcept { r->pin.store(0, release); }

// The lock of the memory that records fetch nodes from, a batch at a time: for tests that look whether a stopped thread holds it.
const void* smr_memory_lock() noexcept;

// A raw node. Throws std::bad_alloc.
void* smr_alloc(smr_record* r);
// A node that was never published.
void smr_free(smr_record* r, smr_node* node) noexcept;
// A node that was unlinked, inside a section.
void smr_retire(smr_record* r, smr_node* node) noexcept;

}  // namespace weft::rt
