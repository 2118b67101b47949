// SPDX-License-Identifier: MIT
//
// What a channel is, whatever it carries: the word (word.h), the hint to the end of the list of waiters (wait_list.h), the ring.
// chan.h inlines the frequent moves; all others are here, out of line, and reach the values through elem_ops.
//
// Ring. Position p lies in slot p modulo the ring's size (a power of two, at least the capacity and two). Who moved the word past a position
// owns the slot for that position; `turn` says whether the slot is ready for it:
//     turn == p        free, for the sender of position p
//     turn == p + 1    full, for the receiver of position p; it leaves p + size
// modulo 2^30, as positions are: a turn's two highest bits mean nothing.
//
// Progress. Every move of the word is lock-free: a move that fails means that another operation took effect, or, for a bounded number of times, that
// the word's bias was given or taken back (sched/biased.h). A thread
// stopped at any instruction holds up only
//   * its partner: a sender stopped between its move and the filling of its slot (or of the waiter's) holds up the one receiver
//     that owns that position; a receiver stopped while it carries a parked sender's value into the ring, the receiver of that value;
//     who has claimed a waiting select, or taken a waiter, and not readied it yet, that one;
//   * in a ring, those who come to the same slot: from the move that gives it position p until it has stored `turn`, the other side of
//     p, then sender and receiver of p + size, of p + 2 * size, ... each wait for it. So every lap of the ring takes two more with it,
//     and where all go round again and again the whole channel soon stands. (Rejected so far: a ring of indices, SCQ, in which a
//     stopped thread costs a slot and no more: two more locked instructions per element.)
// Everybody else's operations complete. Such a wait spins a little, then yields; the first part of it (limits::chan_patience) is spent before the
// position is claimed, so that the wait of one does not become the wait of those behind it (backoff, in chan_core.cc). That is the channel. Below it
// are two locks, each held for some dozens of instructions, once in many operations: that of the nodes' memory (quiesce.h; likewise of the seats'), and
// the scheduler's, where a goroutine is readied from outside of its runtime or a P's ring overflows: a thread stopped there, or on its way to
// wake an M, holds up goroutines of that runtime that wait to be run. And where goroutines fight over a channel (sched/gather.h) one of them may first
// be taken to another P; then that P's thread, if stopped, holds it up with all that is queued there, until an idle P comes for it.
// tests/stress/stopped_thread_stress.cc stops a thread after each instruction, and looks.
//
// Edges
//   name          release side                       acquire side                    carries                          model test
//   COMMIT        park's commit (arch/switch.h)      who takes the waiter            the waiter, saved; its slot      chan_small, meet*
//   WORD          who puts a node, a seat, or        who goes by it                  the node, the seat; what was     chan_small, close_*;
//                 closed there                                                       done before the close            go_chan.close_*
//   MOVE          send and receive by the ring       a select's poll: two words read what came before, in other       go_select, otherwise_*
//                                                    one after the other             channels
//   RING-FULL     fill                               ring_take, receive_from_ring    the value                        chan_small, buffer*
//   RING-FREE     empty                              ring_put, send_to_ring          the slot has been emptied        chan_large, ring_goes_round
//   REFS          a handle ends                      the last one, which ends the    all that was done through the    chan_end.*
//                                                    channel                         other handles
//   LIST-*        see wait_list.h
//
// A partner takes a lone waiter away by an exchange that acquires, and passes nothing on: what it gives the waiter goes by ready. (That
// the waiter of a lone word can be another time's, of the same goroutine, is why the exchange must acquire, whatever was loaded before. A
// seated one's cannot: there the load acquires.) These are the orders of a compare-and-swap; a section acquires and releases, whatever is asked.

#pragma once

#include <cstddef>
#include <cstdint>

#include "../sched/biased.h"
#include "../sched/gather.h"
#include "../sched/park.h"
#include "../sched/stamp.h"
#include "word.h"

namespace weft::rt {

struct chan_core;

// The typed moves. `to` is the receiver's std::optional<T>*, `from` the sender's T*.
struct elem_ops {
  void (*hand_over)(void* to, void* from);  // sender's value straight to the receiver
  const atomic<std::uint32_t>& (*turn_of)(const chan_core& c, std::uint32_t position);
  // True: the caller may be on another M now.
  bool (*ring_put)(chan_core& c, std::uint32_t position, void* from);
  bool (*ring_take)(chan_core& c, std::uint32_t position, void* to);
  void (*destroy)(chan_core* c);  // what is left in the ring, and the channel
};

struct alignas(64) chan_core {
  biased_word word{word::open};      // sched/biased.h
  atomic<wait_node*> tail{nullptr};  // a hint: see wait_list.h
  atomic<std::uint32_t> dead{0};     // withdrawn inside the list since the last sweep; a statistic
  atomic<std::uint32_t> sweep_at{limits::list_sweep_at};
  // Selects under way that would send to as well as receive from this channel: low half; how many there have ever been: high half.
  atomic<std::uint64_t> both{0};
  std::uint32_t capacity = 0;  // for good, as all below
  std::uint32_t ring_mask = 0;
  alignas(64) atomic<std::uint64_t> refs{1};
  const elem_ops* ops = nullptr;
  void* memory = nullptr;      // where this object and its ring lie; null: not new_chan's
  std::uint32_t granules = 0;  // with `memory`: block_cache.h
  gathering fights;
};

static_assert(offsetof(chan_core, refs) == 64 && sizeof(chan_core) == 128);  // what an operation touches is one line

// Where the ring lies behind a channel, by the alignment of its slots.
constexpr std::size_t ring_offset(std::size_t alignment) {
  return (sizeof(chan_core) + alignment - 1) & ~(alignment - 1);
}

// Channel and ring, raw slots, in one piece of memory: a small one's from the P's cache, another's from operator new. Not by its form with an
// alignment, which costs a thousand instructions in glibc 2.36. Throws std::bad_alloc.
WEFT_API chan_core* new_chan(const elem_ops& ops, std::size_t slots, std::size_t slot_bytes,
                             std::size_t slot_alignment);
WEFT_API void delete_chan(chan_core* c) noexcept;

enum class chan_result : std::uint8_t { done, closed, would_block };

inline constexpr std::uint64_t one_both = std::uint64_t{1} << 32 | 1;
constexpr bool any_both(std::uint64_t both) { return static_cast<std::uint32_t>(both) != 0; }

// How a channel stands for who would not wait, by its word: what is inlined, and what is left to send_slow, receive_slow and select_ops.
enum class stands : std::uint8_t { idle, ready, complicated };

template <word::kind Ready, word::kind Idle, word::kind IdleToo>
[[gnu::always_inline]] inline stands stands_by_kind(std::uint64_t w) {
  const unsigned bit = 1U << word::kind_of(w);  // no switch: a table of jumps is mispredicted
  if (bit == 1U << Ready) return stands::ready;
  return bit & (1U << Idle | 1U << IdleToo) ? stands::idle : stands::complicated;
}
[[gnu::always_inline]] inline stands send_stands(const chan_core& c, std::uint64_t w) {
  if (word::kind_of(w) == word::open)
    return c.capacity != 0 && word::count_of(w) < c.capacity ? stands::ready : stands::idle;
  return stands_by_kind<word::receiver, word::sender, word::select_sender>(w);
}
[[gnu::always_inline]] inline stands receive_stands(const chan_core& c, std::uint64_t w) {
  if (word::kind_of(w) == word::open) return c.capacity != 0 && word::count_of(w) != 0 ? stands::ready : stands::idle;
  return stands_by_kind<word::sender, word::receiver, word::select_receiver>(w);
}

// By w the channel has another P's bias, and those who use it are gathered there (sched/gather.h). `m` may be null.
inline bool is_elsewhere(const M* m, const chan_core& c, std::uint64_t w) {
  return m && (w & bias_flag) && c.word.at.guard.load(relaxed) != guard_of(m->p) && c.fights.any();  // relaxed: a hint
}

// move_word's other half. False: look again, out of line: the word held something else, or the goroutine is to go elsewhere first.
WEFT_API bool move_elsewhere(M* m, chan_core& c, std::uint64_t expected, std::uint64_t desired) noexcept;

// The channel's word: sched/biased.h's move, for the inlined moves, which have just read `expected`.
template <flag Flag = flag::any>
[[gnu::always_inline]] inline bool move_word(M* m, chan_core& c, std::uint64_t expected, std::uint64_t desired,
                                             std::memory_order ok, os::call_site s = os::call_site::here()) noexcept {
  const moved how = move_if_mine<Flag, seen::just_now>(m, c.word, expected, desired, ok, s);
  if (how == moved::ask) [[unlikely]]
    return move_elsewhere(m, c, expected, desired);
  return how == moved::yes;
}

// Likewise of park.
WEFT_API parked park_elsewhere(M* m, chan_core& c, std::uint64_t expected, std::uint64_t desired, wait_reason why);
[[gnu::always_inline]] inline parked park_by_word(M* m, chan_core& c, std::uint64_t expected, std::uint64_t desired,
                                                  wait_reason why) {
  parked how;
  if (park_at_once(m, c.word, expected, desired, why, how)) [[likely]]
    return how;
  return park_elsewhere(m, c, expected, desired, why);
}

// `tried`: the caller, if it is a goroutine, has just tried what is inlined, in vain. would_block leaves in *seen, if given, the word by which there was
// nothing to do.
WEFT_API chan_result send_slow(chan_core* c, void* from, bool may_block, bool tried = false,
                               std::uint64_t* seen = nullptr);
WEFT_API chan_result receive_slow(chan_core* c, void* to, bool may_block, bool tried = false,
                                  std::uint64_t* seen = nullptr);
// With a deadline (timer_chan.cc): would_block is its passing.
WEFT_API chan_result send_until(chan_core* c, void* from, std::int64_t when_ns);
WEFT_API chan_result receive_until(chan_core* c, void* to, std::int64_t when_ns);
struct select_seat;  // wait_list.h
// A seat for the current goroutine of m, which is to wait alone at a ring's end: w is open, and full (send) or empty. `lone` is the word to wait
// by; no seat: none is left. Taken and left out of line, and the park in between inlined: a return behind a switch is mispredicted (capacity 1: 12 ns
// an element, where it stood in a function of its own 18.5). While it has one the goroutine's result says `seated`: so who waits at an unbuffered
// channel need not ask whether it had a seat.
struct lone_seat {
  select_seat* seat = nullptr;
  std::uint64_t lone = 0;
};
WEFT_API lone_seat take_lone_seat(M* m, std::uint64_t w, bool send);
WEFT_API void leave_lone_seat(select_seat* s) noexcept;
// Whom the seated lone word w names, and the ring's head: both right, if an exchange then finds w still there. w was read by an acquire.
struct seated_waiter {
  waiter* who;
  std::uint32_t position;
};
WEFT_API seated_waiter look_at_seat(std::uint64_t w);
// False: it was closed already.
WEFT_API bool close_chan(chan_core* c);
// A value, and for good: a nil channel never readies anybody.
[[noreturn]] WEFT_API void block_forever(wait_reason why);
// A slot is not ready yet: its last user is between move and turn.
WEFT_API void wait_turn(atomic<std::uint32_t>& turn, std::uint32_t wanted);
// The last handle is gone: takes out what selects left in the list. Then the word is open, and says what is in the ring.
WEFT_API void drop_list(chan_core* c) noexcept;
WEFT_API std::size_t chan_len(const chan_core& c);

}  // namespace weft::rt
