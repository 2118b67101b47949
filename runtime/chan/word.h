// SPDX-License-Identifier: MIT
//
// The state of a channel is one word; every operation takes effect by one move of it (sched/biased.h: a compare-and-swap, or what comes to the
// same), or by one compare-and-swap on the link of the last waiter in the list that it names. This file is the encoding and the table of legal moves.
//
//   kind       bits                                     meaning
//   open       head:30 count:30 .   .                   nobody waits; `count` values in the ring from position `head`
//   closed     head:30 count:30 .                       as open, but closed: the values may still be received
//   receiver   waiter                                   one receiver waits, it is at this address. Unbuffered
//   sender     waiter                                   one sender waits. Unbuffered
//   receiver   1:4 seat:16 ticket:40                    one receiver waits, and the ring is empty; the seat says who, and the head. Buffered
//   sender     the same                                 one sender waits, and the ring is full. Buffered
//   receivers  node (bits 6-47), closing (bit 4)        receivers wait in a list (wait_list.h), node is its head; the ring is empty
//   senders    node (bits 6-47), closing (bit 4),       senders wait in a list; the ring is full (or there is none)
//              head modulo 2^16 (bits 48-63)
//   select_receiver, select_sender                      one select waits, which would receive, or send. Unbuffered only.
//              case:4 seat:16 ticket:40                 Never repeats: seats are numbered, and count their tickets (wait_list.h)
//
// Kind is bits 0 to 2, bit 3 the bias flag (sched/biased.h): how the word may be moved, and of no meaning otherwise. What is drawn without bits
// stands above these four.
//
// In an unbuffered channel there are no positions: there the 60 bits of open hold a stamp that never repeats (P id and a count), so
// that a word that was seen twice was that word all the time.
//
// Moves (c: capacity, U: unbuffered)
//   from        operation     to                                what happens
//   open        send          open(count+1)                     count < c: value into the ring
//   open        receive       open(head+1, count-1)             count > 0: value out of the ring
//   open        send          sender                            count = c: parks, published by this very move
//   open        receive       receiver                          count = 0: the same
//   receiver    send          open                              the value goes to the waiter, who is readied
//   sender      receive       open                              the same, the other way round; c > 0: open(head+1, c), takes the oldest
//                                                               value, and moves the sender's into the ring
//   receiver    receive       receivers (both in the list)      parks; likewise sender
//   receivers   receive       - (append to the list)            parks; likewise senders
//   receivers   send          receivers(next) / open            the head's: its link is marked first; likewise senders (U)
//   senders     receive       senders(next, head+1) / open      c > 0: takes the oldest value, and moves the sender's into the ring
//   open        close         closed
//   receiver    close         closed                            the waiter is readied, with outcome::closed; likewise sender
//   receivers   close         receivers|closing                 from here on every operation first helps: takes the waiters one by one
//                                                               and readies them with outcome::closed, until the list is empty and
//                                                               the word is closed. Likewise senders
//   closed      receive       closed(head+1, count-1)           count > 0
// A select's lone word goes the ways of receiver and sender, with two differences: its partner first claims the select, and then moves the
// word on, which anybody may do who finds that select claimed, withdrawn or still registering; and the select itself takes the word
// back, to open, once it has won elsewhere.
// All else is an error: close or send on closed throws, receive on closed and empty gives nothing.
//
// Why the lone waiter has a form of its own: it is the ping-pong and the request/reply. Two moves per meeting
// instead of three, and no node, hence no section. For the lone waiter of an unbuffered channel ABA is harmless: the word says all there is to
// know, "this goroutine waits here", and says it truly. Where the ring's position must survive the wait, a partner reads it before its
// exchange, and must know by that that it was the right one: so there it is in a seat, whose tickets make words that never repeat. Without a
// seat (all 65,536 are taken) a node carries the position. (Capacity 1, one and one, p = 1: 12 ns an element.)
//
// Rejected: counters and cells (Koval, Alistarh, Elizarov, PPoPP 2023): an unbuffered meeting costs four locked instructions, a
// failed try-operation burns a cell, and a select that lost leaves one; a Michael-Scott dual queue alone: four as well; a ring
// with a separate list of waiters (two words): between the two a newcomer passes a waiter, or a wakeup is lost.

#pragma once

#include <cstdint>

#include "../sched/biased.h"

namespace weft::rt {

struct wait_node;

namespace word {

enum kind : std::uint64_t {
  open = 0,
  closed = 1,
  receiver = 2,
  sender = 3,
  receivers = 4,
  senders = 5,
  select_receiver = 6,
  select_sender = 7
};

using kind8 = std::uint8_t;  // a kind, where room is short

inline constexpr std::uint64_t kind_mask = 7;
inline constexpr std::uint64_t closing = 16;
inline constexpr std::uint64_t seated = 16;  // of receiver and sender
inline constexpr std::uint64_t pointer_mask = 0x0000'ffff'ffff'ffc0;
inline constexpr int position_bits = 30;
inline constexpr std::uint64_t position_mask = (std::uint64_t{1} << position_bits) - 1;
inline constexpr int head_shift = 34;

// But for the bias flag, the same word?
constexpr bool same(std::uint64_t a, std::uint64_t b) { return ((a ^ b) & ~bias_flag) == 0; }
constexpr kind kind_of(std::uint64_t w) { return static_cast<kind>(w & kind_mask); }
constexpr bool is_list(std::uint64_t w) { return (w & kind_mask) == receivers || (w & kind_mask) == senders; }

// open, closed
constexpr std::uint32_t count_of(std::uint64_t w) { return static_cast<std::uint32_t>(w >> 4 & position_mask); }
constexpr std::uint32_t head_of(std::uint64_t w) { return static_cast<std::uint32_t>(w >> head_shift); }
// Of a ring's slot and a position: their two highest bits mean nothing.
constexpr bool same_position(std::uint32_t a, std::uint32_t b) { return (a - b) << (32 - position_bits) == 0; }
constexpr std::uint64_t ring(kind k, std::uint32_t head, std::uint32_t count) {
  return (head & position_mask) << head_shift | std::uint64_t{count} << 4 | k;
}
// One value more, one less: ring(k, head, count + 1) and ring(k, head + 1, count - 1), in one addition. This stands between the load of the
// word and the compare-and-swap, and the next operation's load waits for that.
constexpr std::uint64_t one_more(std::uint64_t w) { return w + (std::uint64_t{1} << 4); }
constexpr std::uint64_t one_less(std::uint64_t w) {
  return w + ((std::uint64_t{1} << head_shift) - (std::uint64_t{1} << 4));
}
constexpr std::uint64_t stamped(kind k, std::uint64_t stamp) { return stamp | k; }

// receiver, sender
inline waiter* waiter_of(std::uint64_t w) { return reinterpret_cast<waiter*>(w & pointer_mask); }
inline std::uint64_t lone(kind k, waiter* w) { return reinterpret_cast<std::uint64_t>(w) | k; }

// receivers, senders
inline wait_node* node_of(std::uint64_t w) { return reinterpret_cast<wait_node*>(w & pointer_mask); }
constexpr std::uint32_t low_position_of(std::uint64_t w) { return static_cast<std::uint32_t>(w >> 48); }
inline std::uint64_t list(kind k, wait_node* n, std::uint32_t position, std::uint64_t closing_bit = 0) {
  return reinterpret_cast<std::uint64_t>(n) | std::uint64_t{position & 0xffff} << 48 | closing_bit | k;
}

// select_receiver, select_sender
inline constexpr std::uint64_t max_seats = 1 << 16;
inline constexpr std::size_t max_lone_case = 15;
inline constexpr std::uint64_t ticket_mask = (std::uint64_t{1} << 40) - 1;
constexpr std::size_t case_of(std::uint64_t w) { return w >> 4 & 15; }
constexpr std::size_t seat_of(std::uint64_t w) { return w >> 8 & (max_seats - 1); }
constexpr std::uint64_t ticket_of(std::uint64_t w) { return w >> 24; }
constexpr std::uint64_t lone_select(kind k, std::size_t which, std::size_t seat, std::uint64_t ticket) {
  return ticket << 24 | std::uint64_t{seat} << 8 | std::uint64_t{which} << 4 | k;
}
// receiver, sender: in a buffered channel, and in an unbuffered one
constexpr bool is_seated(std::uint64_t w) { return (w & seated) != 0; }
constexpr bool is_direct(std::uint64_t w, kind k) { return (w & (kind_mask | seated)) == k; }
constexpr std::uint64_t lone_seated(kind k, std::size_t seat, std::uint64_t ticket) {
  return lone_select(k, 1, seat, ticket);
}
static_assert(is_seated(lone_seated(sender, 5, 7)) && seat_of(lone_seated(sender, 5, 7)) == 5 &&
              ticket_of(lone_seated(sender, 5, 7)) == 7);
static_assert(one_more(ring(closed, 5, 7)) == ring(closed, 5, 8) && one_less(ring(open, 5, 7)) == ring(open, 6, 6));
static_assert(one_less(ring(open, position_mask, 1)) == ring(open, 0, 0));

}  // namespace word
}  // namespace weft::rt
