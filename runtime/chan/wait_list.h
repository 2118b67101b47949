// SPDX-License-Identifier: MIT
//
// The list of a channel's waiters, oldest first: a lock-free singly linked list whose head is the channel's word.
//
//     word --> node --> node --> node --> null
//                ^ head                ^ last: waiters append here, by the commit of their park
//
//   I1  All nodes of a list wait for the same thing: to send, or to receive.
//   I2  Who marks a node's link owns its waiter. `taken`: a partner met it. `dead`: it was withdrawn (close).
//   I3  A marked link never changes again. So nothing is ever appended to a node that left the list, or is about to.
//   I4  A marked head is unlinked by whoever sees it (moves the word on); who succeeds retires the node (sched/quiesce.h).
//   I5  A list is never empty: with the last node's link marked, the word moves on to open or closed, and the next waiter starts
//       another list.
//
// Taking the first waiter is two compare-and-swaps (mark, then unlink, the second by anyone); appending is one.
//
// The hint. chan_core::tail points somewhere into the list, so that appending needs not walk all of it: an appender walks on from
// there, and moves the hint if it had far to go. The hint may be stale. A node that is not marked is in the list (I3), and the last one
// is found from there; a marked one sends the appender back to the head. That a retired node is not reused while the hint leads to
// it: whoever sets the hint to a node checks *afterwards* that it is not marked, else clears it; who retires a node clears the hint
// *after* marking it.
//
//   LIST-HINT     appender                      who retires
//                 A1 tail = n (xchg)            B1 mark n's link
//                 A2 n marked? clear tail       B2 tail == n? clear tail
//   Forbidden: A2 sees no mark and B2 not the hint. Both are locked instructions on x86-64 and seq_cst in C++.
//   In the time from A1 to A2 others may read the hint and keep n for the length of their section: quiesce.h's third epoch.
//
// Edges
//   name          release side                  acquire side             carries                        model test
//   LIST-APPEND   the commit on last->next      walk, take               the node, its waiter, saved    chan_list
//   LIST-MARK     take                          walk, unlink             -, the order of marks          chan_list
//
// Sources: Harris, "A pragmatic implementation of non-blocking linked-lists" (marks); Michael and Scott (helping); Scherer, Lea,
// Scott, "Scalable Synchronous Queues" (waiters as nodes of either kind).

#pragma once

#include "../sched/quiesce.h"
#include "chan_core.h"

namespace weft::rt {

namespace link {
inline constexpr std::uint64_t taken = 1;
inline constexpr std::uint64_t dead = 2;
inline constexpr std::uint64_t marks = 3;
constexpr bool marked(std::uint64_t l) { return (l & marks) != 0; }
inline wait_node* node(std::uint64_t l) { return reinterpret_cast<wait_node*>(l & ~marks); }
inline std::uint64_t to(wait_node* n) { return reinterpret_cast<std::uint64_t>(n); }
}  // namespace link

struct wait_node : smr_node {
  atomic<std::uint64_t> next{0};      // link: node and marks
  waiter* who = nullptr;              // before publishing
  word::kind kind = word::receivers;  // before publishing
  // Ring position of the channel's head when this node is first in the list. Exact for receivers (positions stand still while they
  // wait). For senders within 2^15 of it, the word has the low bits: each taker sets it for the next node, and one that comes late
  // is off by a few.
  atomic<std::uint32_t> position{0};
};
static_assert(sizeof(wait_node) == smr_node_bytes);

}  // namespace weft::rt
