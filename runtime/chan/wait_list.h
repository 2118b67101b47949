// SPDX-License-Identifier: MIT
//
// The list of a channel's waiters, oldest first: a lock-free singly linked list whose head is the channel's word.
//
//     word --> node --> node --> node --> null
//                ^ head                ^ last: waiters append here, by the commit of their park
//
//   I1  All nodes of a list wait for the same thing: to send, or to receive.
//   I2  Who marks a node's link owns its waiter. `taken`: a partner met it. `dead`: it was withdrawn (by close, or its select has won
//       elsewhere).
//   I3  A marked link never changes again. So nothing is ever appended to a node that left the list, or is about to.
//   I4  A marked head is unlinked by whoever sees it (moves the word on); who succeeds retires the node (sched/quiesce.h).
//   I5  A list is never empty: with the last node's link marked, the word moves on to open or closed, and the next waiter starts
//       another list.
//
// Dead nodes. A select that has won withdraws its other nodes: marks them, and unlinks what is first. Inside the list they are unlinked
// by whoever walks over them: an appender, who starts at the hint, so that a list whose end keeps dying stays short; and, when many
// have died since the last time, a sweep of the whole list, which the number of live nodes it found pays for.
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
//   LIST-APPEND   the commit on last->next      walk, take               the node, its waiter, saved    chan_large, *_queue
//   LIST-MARK     take                          walk, unlink             -, the order of marks          chan_large, close_*
//
// Sources: Harris, "A pragmatic implementation of non-blocking linked-lists" (marks); Michael and Scott (helping); Scherer, Lea,
// Scott, "Scalable Synchronous Queues" (waiters as nodes of either kind).

#pragma once

#include <utility>

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

// The word of a select that waits, or is about to: ticket (44 bits), case (16), phase (4). A ticket is used for one attempt, so a node that
// was left behind does not speak for a later one. The word lives in type-stable memory: a claim that comes late fails on the ticket.
//
//   registering --its own commit--> waiting --a partner: cas--> fired, and which case; or met, and which case
//       \--a partner: cas--> again
//
//   I6  Only `waiting` can be claimed. A select that still registers cannot be, since it might be about to claim another one itself:
//       with both free to do so, one meeting would need two words to change at once. Who meets its node takes the node out and says
//       `again`: the select looks at everything anew, and finds whom it missed.
//   I7  `fired` is a claim for a node, by its case; anybody who sees it may finish it. Who marks that node `taken` is the partner. `met` is a
//       claim for a lone word, or by the other case of a node: who made it is the partner.
//
// Where the word is. A waiting select has a *seat*, one of 65,536, taken for the attempt; its number, its count of tickets and the case make
// a channel's lone word (word.h) that never comes twice, so whoever reads one late can do no harm. When a second waiter comes to that
// channel it makes a node for the lone select as well, which the select, when it withdraws, finds at the head of the list, or not at all.
// Without a seat (all are taken, or more than 16 cases) the word is the goroutine's or the thread's own, and there are nodes only.
// A plain waiter that stands alone at a ring's end has one too, for the ring's position (word.h); its `word` and `ops` mean nothing then.
namespace sel {
enum phase : std::uint64_t { idle = 0, registering = 1, waiting = 2, again = 3, fired = 4, met = 5 };
inline constexpr int case_shift = 4;
inline constexpr int ticket_shift = 20;
inline constexpr std::size_t max_cases = 1 << 16;
constexpr std::uint64_t make(std::uint64_t ticket, phase p, std::size_t which = 0) {
  return ticket << ticket_shift | std::uint64_t{which} << case_shift | p;
}
constexpr phase phase_of(std::uint64_t s) { return static_cast<phase>(s & 15); }
constexpr std::size_t case_of(std::uint64_t s) { return s >> case_shift & 0xffff; }
constexpr std::uint64_t ticket_of(std::uint64_t s) { return s >> ticket_shift; }
}  // namespace sel

struct select_op;

// Type-stable: never freed, so a stale word may name it.
struct alignas(64) select_seat {
  atomic<std::uint64_t> word{0};
  // The owner's, before the seat is published. Read before it is known whether they are still meant: hence atomic, and relaxed.
  atomic<waiter*> who{nullptr};
  atomic<select_op*> ops{nullptr};    // a select's
  atomic<std::uint32_t> position{0};  // a plain waiter's, on a buffered channel: the ring's head
  atomic<std::uint64_t> ticket{0};    // owner; relaxed. Atomic for the sake of a test that stops it (planted)
  std::size_t number = 0;             // for good
  select_seat* next = nullptr;
};

struct wait_node : smr_node {
  atomic<std::uint64_t> next{0};  // link: node and marks
  plain<waiter*> who = nullptr;   // before publishing, as all below but position
  plain<void*> slot = nullptr;    // a select's: of this case; null: its seat knows. Otherwise the waiter has it
  plain<atomic<std::uint64_t>*> select = nullptr;  // a select's word; null: no select
  plain<std::uint64_t> ticket = 0;  // make(ticket, fired, case): what the word holds when this case has won
  // Ring position of the channel's head when this node is first in the list. Exact for receivers (positions stand still while they
  // wait). For senders within 2^15 of it, the word has the low bits: each taker sets it for the next node, and one that comes late
  // is off by a few.
  atomic<std::uint32_t> position{0};
  plain<word::kind8> kind = 0;  // word::receivers or word::senders
  // A select's: the list, and the select, if it made the node, until it has withdrawn. The last one retires it.
  atomic<std::uint8_t> holders{2};
  // A select that would both send to and receive from this channel can stand in one list only. Here is its other case, for whoever comes
  // to stand in the same list, and could have met it.
  plain<std::uint16_t> other_case = 0;
  plain<void*> other_slot = nullptr;  // null: no such case
};
static_assert(sizeof(wait_node) == smr_node_bytes);

// Who calls: a goroutine or an ordinary thread. Stale after a park, and after anything that may yield: moving a value does (the
// ring's slot may have to be waited for, a T may have ideas of its own), so self() is asked again behind it.
struct caller {
  M* m = self();
  smr_record* smr = smr_of_thread();
  thread_waiter thread;

  waiter* who() { return m ? static_cast<waiter*>(m->curg) : &thread; }
};

struct section {
  smr_record* r;
  explicit section(smr_record* record) : r(record) { smr_enter(r); }
  ~section() {
    if (r) smr_leave(r);
  }
  void ended() { r = nullptr; }  // by the commit of a park
  section(const section&) = delete;
  section& operator=(const section&) = delete;
};

// A waiter that was taken out of a list, with the place of its value; nobody when others were faster.
struct partner {
  waiter* who = nullptr;
  void* slot = nullptr;
};

std::uint64_t stamp_of(caller& me);

// A node for a plain waiter. Throws std::bad_alloc.
wait_node* make_node(caller& me, waiter* who, word::kind k, std::uint32_t position);

// A node for whom the lone word `w` names, plain or select, in a list of kind k. To be published by a move of the word from w, or not at all.
wait_node* node_of_lone(caller& me, std::uint64_t w, word::kind k);

// As smr_memory_lock, for seats.
const void* seats_memory_lock() noexcept;
inline constexpr std::size_t seat_batch = limits::select_seat_batch;
inline constexpr std::size_t chunk_seats = limits::select_seats;
extern atomic<select_seat*> seat_chunks[word::max_seats / chunk_seats];

inline select_seat& seat_of(std::uint64_t w) {
  const std::size_t number = word::seat_of(w);
  return seat_chunks[number / chunk_seats].load(relaxed)[number % chunk_seats];  // relaxed: before the word
}

void fetch_seats(smr_record* r) noexcept;
void return_seats(smr_record* r) noexcept;

// Null: none left.
inline select_seat* take_seat(smr_record* r) {
  if (!r->seats) [[unlikely]]
    fetch_seats(r);
  select_seat* s = r->seats;
  if (!s) [[unlikely]]
    return nullptr;
  r->seats = s->next;
  --r->nseats;
  s->ticket.store((s->ticket.load(relaxed) + 1) & word::ticket_mask, relaxed);  // relaxed: the owner's
  return s;
}

inline void leave_seat(smr_record* r, select_seat* s) noexcept {
  s->next = r->seats;
  r->seats = s;
  if (++r->nseats > 2 * seat_batch) [[unlikely]]
    return_seats(r);
}

// Whom the lone word w names, receiver or sender. Of a seated one: if nobody has moved the word on.
waiter* who_is_lone(std::uint64_t w);
// The ring's head, with a seated one waiting: right, if an exchange finds w still there.
std::uint32_t position_of_lone(std::uint64_t w);
// What the channel becomes when the lone waiter of w has been taken (and a sender's value goes into the ring), or the channel closes over it.
std::uint64_t without_lone(const chan_core& c, caller& me, std::uint64_t w, bool close);

// The select that the lone word w names, claimed, with the slot of its case; or nobody, and then w may be taken away.
partner claim_lone(std::uint64_t w);

// Of n's waiter, which is the caller's.
void* slot_of(const wait_node* n);

// Position of the ring's head, with senders waiting and `n` the first of them in `w`.
std::uint32_t position_of(std::uint64_t w, const wait_node* n);

// A node that nobody else has seen. It goes back, unless kept: also when there is no memory for a second one.
class draft_node {
 public:
  draft_node(caller& me, wait_node* n) : r_(me.smr), n_(n) {}
  ~draft_node() {
    if (n_) smr_free(r_, n_);
  }
  draft_node(const draft_node&) = delete;
  draft_node& operator=(const draft_node&) = delete;
  wait_node* get() const { return n_; }
  wait_node* keep() { return std::exchange(n_, nullptr); }

 private:
  smr_record* r_;
  wait_node* n_;
};

// All below: in a section, with `w` read in it.

// The list's head is marked: moves the word on. Anyone may, one succeeds.
void unlink(chan_core* c, caller& me, std::uint64_t w, wait_node* n, std::uint64_t marked_link);

// Takes the head's waiter out of the list. Nobody: look at the word again; there was progress.
partner take_first(chan_core* c, caller& me, std::uint64_t w, std::uint64_t mark);

// A step of a close that somebody began.
void help_close(chan_core* c, caller& me, std::uint64_t w);

// The last node of the list, dead ones on the way taken out; or null: look at the word again.
wait_node* find_last(chan_core* c, caller& me, std::uint64_t w);

// Before a waiter of kind `k` joins the list in `w`: somebody in it who waits for the very opposite as well, claimed; or nobody.
partner take_both(chan_core* c, caller& me, std::uint64_t w, wait_node*& end);

// A select that won, or gives up, takes back its lone word w, or the node that somebody made of it. Its own section, if it needs one.
void withdraw_lone(chan_core* c, caller& me, std::uint64_t w);

// A select lets go of a node: of one that has not won (it leaves the list, or will soon), and of the one that has. Its own section.
void withdraw(chan_core* c, caller& me, wait_node* n);

}  // namespace weft::rt
