// SPDX-License-Identifier: MIT

#include "chan_core.h"

#include <algorithm>
#include <new>
#include <utility>

#include "../os/thread.h"
#include "../sched/block_cache.h"
#include "../sched/deque.h"
#include "../sched/go.h"
#include "wait_list.h"

namespace weft::rt {

namespace {

using word::kind;

// True: the caller may be on another M now.
bool pause_after(std::uint32_t times) {
  if (times < limits::chan_spins) {
    for (std::uint32_t i = 0; i < limits::chan_spin_first << times; ++i) cpu_relax();
    return false;
  }
  M* m = self();
  const bool others = m && (m->p->runnext.load(relaxed) || runq::own_size(m->p) != 0 ||
                            deque::own_size(m->p) != 0);  // relaxed: a guess
  weft::yield();  // alone, too: the world may have to be stopped before who is waited for can run
  // A goroutine alone on its P, or with none but such as wait, would spin out its thread's time slice, milliseconds.
  if (!others || times % 16 == 0) os::yield_thread();
  return true;
}

// Between two tries of one operation: others have moved the word, or have not come to the end of a move. Who lost stays away for a
// while, longer each time, and who won goes on, with the word's line in its cache, for as many operations: four senders and four receivers
// on two CPUs, capacity 128: 14 ns an element instead of 95; eight and eight, unbuffered: 20 instead of 70. It comes back with the line asked for to be
// written: read first and then made its own, it would lose it in between, once more. (Four and four, capacity 128 and 1: 16.6, 25.4 -> 14.8, 20.7 ns.
// Pauses four times as long: another tenth less, but one sender and one receiver on a P each, capacity 8, 100 to 150 ns instead of 60 to 90. Pauses as
// long as the word goes on moving: 60 ns instead of 15, for the look at it disturbs those who work.)
class backoff {
 public:
  backoff(chan_core& c, caller& me, bool tried) : c_(c), me_(me), tried_(tried && me.m) {}
  void pause() {
    if (std::exchange(at_once_, false)) return;
    if (!std::exchange(early_, false)) {
      if (me_.m && gather(me_.m, c_.word, c_.fights, true)) return look_round();
      (void)pause_after(std::min(times_++, limits::chan_spins - 1));
      prefetch_write(&c_.word);
      if (me_.m) gather_look(me_.m, c_.word);
    } else if (pause_after(waits_++)) {
      look_round();
    }
  }
  // w has another P's bias, and the caller's goroutine has been taken to where the channel is used (sched/gather.h).
  bool gathered(std::uint64_t w) {
    if (!is_elsewhere(me_.m, c_, w) || !gather(me_.m, c_.word, c_.fights, false)) return false;
    look_round();
    at_once();
    return true;
  }
  // Nobody was faster: the caller itself has moved the word, out of its way. (A pause then: select over two unbuffered channels 23.5 ns instead of 19.9.)
  void at_once() {
    tried_ = false;
    at_once_ = true;
  }
  // The caller can do what it has tried in vain where it was inlined: so it has lost already, and pauses first, once.
  bool lost_already() { return std::exchange(tried_, false); }
  // The slot of `position` is not ready, and whoever owes it may still be waited for, without a claim to it. Those who wait with one can only
  // go on in the order of their claims, each when the kernel has come to run it: a queue that never dissolves. (16 Ps on two CPUs,
  // capacity 1, four and four: 1,800 ns an element; so 75.) Not for ever: then it is claimed, and the next ones pass by.
  bool too_early(const chan_core& c, std::uint32_t position, std::uint32_t wanted) {
    // relaxed: a hint. Who claims the position looks again, and acquires.
    early_ = waits_ < limits::chan_patience && !word::same_position(c.ops->turn_of(c, position).load(relaxed), wanted);
    return early_;
  }

 private:
  void look_round() {
    me_.m = self();
    me_.smr = smr_of_thread();
  }

  chan_core& c_;
  caller& me_;
  std::uint32_t times_ = 0;
  std::uint32_t waits_ = 0;
  bool early_ = false;
  bool at_once_ = false;
  bool tried_;
};

parked block_until_ready(caller& me) {
  block_thread(me.thread);
  return finish_park(&me.thread);
}

// Publishes the caller by *where: expected -> desired and waits for its partner; `no` when *where held something else. Ends the section,
// when in one, if it published.
parked wait_at(caller& me, atomic<std::uint64_t>& where, std::uint64_t expected, std::uint64_t desired,
               wait_reason why) {
  if (me.m) return park_slow(me.m, where, expected, desired, why, &me.smr->pin);
  me.thread.woken.store(0, relaxed);
  // COMMIT release, for a thread: nothing to save, the waiter and its slot are carried, and its node.
  if (!where.compare_exchange_strong(expected, desired, release, relaxed)) return parked::no;
  smr_leave(me.smr);
  return block_until_ready(me);
}

// Likewise by the channel's word, in no section.
parked wait_at(caller& me, biased_word& word, std::uint64_t expected, std::uint64_t desired, wait_reason why) {
  if (me.m) return park_slow(me.m, word, expected, desired, why);
  me.thread.woken.store(0, relaxed);
  if (!move(nullptr, word, expected, desired, release)) return parked::no;  // COMMIT release, as above
  return block_until_ready(me);
}

// An operation that came to nothing is a cooperative point like any other: a loop of them must not starve whoever could change
// that.
chan_result gave_way(chan_result r) {
  cooperate(self());
  return r;
}

// By w there is nothing to do for who would not wait.
chan_result nothing(std::uint64_t w, std::uint64_t* seen) {
  if (seen) *seen = w;
  return gave_way(chan_result::would_block);
}

// The value goes from sender to receiver, one of whom has waited, and goes on.
chan_result met(const chan_core* c, void* to, void* from, waiter* who) {
  c->ops->hand_over(to, from);
  ready(self(), who);
  cooperate(self());
  return chan_result::done;
}

chan_result result_of(parked how) { return how == parked::done ? chan_result::done : chan_result::closed; }

// An operation that meets those who wait to do the same: takes one of them who would go the other way as well (a select), or joins them.
struct in_line {
  enum { again, met, nothing, waited } what;
  partner who = {};
  parked how = parked::no;  // waited
};

in_line meet_or_join(chan_core* c, caller& me, kind k, void* slot, bool may_block, wait_reason why, std::uint64_t& w) {
  // relaxed: BOTH, see take_both.
  if (!may_block && !(w & word::closing) && !any_both(c->both.load(relaxed))) return {in_line::nothing};
  waiter* who = me.who();
  who->slot = slot;
  section in(me.smr);
  w = c->word.load(acquire);  // WORD acquire; now its nodes stay
  if (word::kind_of(w) != k) return {in_line::again};
  if (w & word::closing) {
    help_close(c, me, w);
    return {in_line::again};
  }
  // The last node that take_both looks at, or null, when it sees that there is no need. Who goes both ways may come to stand in the list
  // behind that, counted already when take_both looked: so we join right behind `end`, or look again.
  wait_node* end = nullptr;
  if (partner p = take_both(c, me, w, end); p.who) return {in_line::met, p};
  if (!may_block) return {in_line::nothing};
  wait_node* last = find_last(c, me, w);
  // relaxed: BOTH, see take_both.
  if (!last || (end ? last != end : any_both(c->both.load(relaxed)))) return {in_line::again};
  draft_node mine(me, make_node(me, who, k, last->position.load(relaxed)));  // relaxed: see wait_node::position
  parked how = wait_at(me, last->next, 0, link::to(mine.get()), why);
  if (how == parked::no) return {in_line::again};
  mine.keep();
  in.ended();
  return {in_line::waited, {}, how};
}

// Starts a list: the caller alone (a ring, and no seat is left), or behind the lone waiter, or select, that the word names.
parked wait_first(chan_core* c, caller& me, std::uint64_t w, kind k, waiter* who, wait_reason why) {
  bool before = word::kind_of(w) != word::open;
  std::uint32_t head = 0;
  if (c->capacity != 0) head = before ? position_of_lone(w) : word::head_of(w);
  draft_node mine(me, make_node(me, who, k, head));
  draft_node lone(me, before ? node_of_lone(me, w, k) : nullptr);
  if (before) lone.get()->next.store(link::to(mine.get()), relaxed);  // relaxed: published by the commit
  wait_node* first = before ? lone.get() : mine.get();
  parked how = wait_at(me, c->word, w, word::list(k, first, k == word::senders ? head : 0), why);
  if (how != parked::no) {
    mine.keep();
    lone.keep();
  }
  return how;
}

// The word of a plain waiter at a ring's end, alone.
std::uint64_t sit_down(select_seat* seat, waiter* who, std::uint64_t w, bool send) {
  seat->who.store(who, relaxed);  // relaxed, both: published by COMMIT
  seat->position.store(word::head_of(w), relaxed);
  return word::lone_seated(send ? word::sender : word::receiver, seat->number, seat->ticket.load(relaxed));
}

// Likewise, for whoever calls: from a seat, or, when none is left, as the first of a list.
parked wait_seated(chan_core* c, caller& me, std::uint64_t w, bool send, waiter* who) {
  const wait_reason why = send ? wait_reason::chan_send : wait_reason::chan_receive;
  select_seat* seat = take_seat(me.smr);
  if (!seat) return wait_first(c, me, w, send ? word::senders : word::receivers, who, why);
  const parked how = wait_at(me, c->word, w, sit_down(seat, who, w, send), why);
  leave_seat(how == parked::no ? me.smr : smr_of_thread(), seat);
  return how;
}

// A sender that waited has been taken, with the ring's head, if there is a ring: then the oldest value goes out, and the sender's comes in behind.
void receive_from_waiting(chan_core* c, std::uint32_t head, void* to, void* slot) {
  if (c->capacity == 0) return c->ops->hand_over(to, slot);
  c->ops->ring_take(*c, head, to);
  c->ops->ring_put(*c, head + c->capacity, slot);
}

// To a power of two. (A channel made and dropped: 10 ns; 14.5 with divisions, of which a compiler cannot know that.)
constexpr std::size_t round_up(std::size_t n, std::size_t power) { return (n + power - 1) & ~(power - 1); }

}  // namespace

bool move_elsewhere(M* m, chan_core& c, std::uint64_t expected, std::uint64_t desired) noexcept {
  if (is_elsewhere(m, c, expected)) return false;
  return move_biased(m, c.word, expected, desired);
}

parked park_elsewhere(M* m, chan_core& c, std::uint64_t expected, std::uint64_t desired, wait_reason why) {
  if (is_elsewhere(m, c, expected)) return parked::no;
  return park_slow(m, c.word, expected, desired, why);
}

lone_seat take_lone_seat(M* m, std::uint64_t w, bool send) {
  select_seat* seat = take_seat(m->smr);
  if (!seat) [[unlikely]]
    return {nullptr, 0};
  m->curg->result = outcome::seated;
  return {seat, sit_down(seat, m->curg, w, send)};
}

void leave_lone_seat(select_seat* s) noexcept {
  M* m = self();
  m->curg->result = outcome::done;
  leave_seat(m->smr, s);
}

seated_waiter look_at_seat(std::uint64_t w) {
  const select_seat& seat = seat_of(w);
  return {seat.who.load(relaxed), seat.position.load(relaxed)};  // relaxed: WORD, the caller's acquire
}

chan_result send_slow(chan_core* c, void* from, bool may_block, bool tried, std::uint64_t* seen) {
  if (!c) {
    if (!may_block) return gave_way(chan_result::would_block);
    block_forever(wait_reason::chan_send_nil);
  }
  caller me;
  for (backoff again(*c, me, tried);; again.pause()) {
    // WORD acquire: the seat of a lone select. SETTLED, for who may say that there is no room.
    std::uint64_t w = may_block ? c->word.load(acquire) : load_settled(me.m, c->word);
    if (again.gathered(w)) continue;
    switch (word::kind_of(w)) {
      case word::closed:
        return gave_way(chan_result::closed);
      case word::open: {
        std::uint32_t count = word::count_of(w);
        if (c->capacity != 0 && count < c->capacity) {
          std::uint32_t head = word::head_of(w);
          if (again.too_early(*c, head + count, head + count)) continue;
          if (again.lost_already()) continue;
          // Position head + count is ours. MOVE release -> a select's poll; SETTLED. A failure means that another operation took effect.
          if (!move(me.m, c->word, w, word::one_more(w), seq_cst)) continue;
          c->ops->ring_put(*c, head + count, from);
          cooperate(self());
          return chan_result::done;
        }
        if (!may_block) return nothing(w, seen);
        waiter* who = me.who();
        who->slot = from;
        parked how = c->capacity == 0 ? wait_at(me, c->word, w, word::lone(word::sender, who), wait_reason::chan_send)
                                      : wait_seated(c, me, w, true, who);
        if (how != parked::no) return result_of(how);
        continue;
      }
      case word::receiver: {
        if (again.lost_already()) continue;
        // WORD, and COMMIT acquire <- its park: the waiter is ours, with its slot.
        if (!move(me.m, c->word, w, without_lone(*c, me, w, false), acquire)) continue;
        waiter* r = who_is_lone(w);
        return met(c, r->slot, from, r);
      }
      case word::select_sender:
      case word::sender: {
        if (!may_block) return nothing(w, seen);
        waiter* who = me.who();
        who->slot = from;
        if (parked how = wait_first(c, me, w, word::senders, who, wait_reason::chan_send); how != parked::no)
          return result_of(how);
        continue;
      }
      case word::select_receiver: {
        partner r = claim_lone(w);
        // relaxed: the claim has carried all there is. A failure: somebody else has moved it on, for the same reason.
        const bool moved_on = move(me.m, c->word, w, word::stamped(word::open, stamp_of(me)), relaxed);
        if (!r.who) {
          if (moved_on) again.at_once();
          continue;
        }
        return met(c, r.slot, from, r.who);
      }
      case word::receivers: {
        partner r;
        {
          section in(me.smr);
          w = c->word.load(acquire);
          if (word::kind_of(w) != word::receivers) continue;
          if (w & word::closing)
            help_close(c, me, w);
          else
            r = take_first(c, me, w, link::taken);
        }
        if (!r.who) continue;
        return met(c, r.slot, from, r.who);
      }
      case word::senders: {
        in_line line = meet_or_join(c, me, word::senders, from, may_block, wait_reason::chan_send, w);
        if (line.what == in_line::again) continue;
        if (line.what == in_line::nothing) return nothing(w, seen);
        if (line.what == in_line::waited) return result_of(line.how);
        return met(c, line.who.slot, from, line.who.who);
      }
    }
  }
}

chan_result receive_slow(chan_core* c, void* to, bool may_block, bool tried, std::uint64_t* seen) {
  if (!c) {
    if (!may_block) return gave_way(chan_result::would_block);
    block_forever(wait_reason::chan_receive_nil);
  }
  caller me;
  for (backoff again(*c, me, tried);; again.pause()) {
    // WORD acquire: the seat of a lone select; what came before a close. SETTLED, as in send_slow.
    std::uint64_t w = may_block ? c->word.load(acquire) : load_settled(me.m, c->word);
    if (again.gathered(w)) continue;
    switch (word::kind_of(w)) {
      case word::closed:
      case word::open: {
        bool closed = word::kind_of(w) == word::closed;
        if (c->capacity != 0 && word::count_of(w) != 0) {
          std::uint32_t head = word::head_of(w);
          if (again.too_early(*c, head, head + 1)) continue;
          if (again.lost_already()) continue;
          // Position head is ours. MOVE release -> a select's poll; SETTLED.
          if (!move(me.m, c->word, w, word::one_less(w), seq_cst)) continue;
          c->ops->ring_take(*c, head, to);
          cooperate(self());
          return chan_result::done;
        }
        if (closed) return gave_way(chan_result::closed);
        if (!may_block) return nothing(w, seen);
        waiter* who = me.who();
        who->slot = to;
        parked how = c->capacity == 0
                         ? wait_at(me, c->word, w, word::lone(word::receiver, who), wait_reason::chan_receive)
                         : wait_seated(c, me, w, false, who);
        if (how != parked::no) return result_of(how);
        continue;
      }
      case word::sender: {
        const std::uint32_t head = c->capacity == 0 ? 0 : position_of_lone(w);
        if (c->capacity != 0 && again.too_early(*c, head, head + 1)) continue;
        if (again.lost_already()) continue;
        // WORD, and COMMIT acquire <- its park.
        if (!move(me.m, c->word, w, without_lone(*c, me, w, false), acquire)) continue;
        waiter* s = who_is_lone(w);
        receive_from_waiting(c, head, to, s->slot);
        ready(self(), s);
        cooperate(self());
        return chan_result::done;
      }
      case word::select_receiver:
      case word::receiver: {
        if (!may_block) return nothing(w, seen);
        waiter* who = me.who();
        who->slot = to;
        if (parked how = wait_first(c, me, w, word::receivers, who, wait_reason::chan_receive); how != parked::no)
          return result_of(how);
        continue;
      }
      case word::select_sender: {
        partner s = claim_lone(w);
        const bool moved_on = move(me.m, c->word, w, word::stamped(word::open, stamp_of(me)), relaxed);  // as in send
        if (!s.who) {
          if (moved_on) again.at_once();
          continue;
        }
        return met(c, to, s.slot, s.who);
      }
      case word::senders: {
        partner s;
        std::uint32_t head = 0;
        {
          section in(me.smr);
          w = c->word.load(acquire);
          if (word::kind_of(w) != word::senders) continue;
          if (w & word::closing) {
            help_close(c, me, w);
          } else {
            head = position_of(w, word::node_of(w));
            if (c->capacity != 0 && again.too_early(*c, head, head + 1)) continue;
            s = take_first(c, me, w, link::taken);
          }
        }
        if (!s.who) continue;
        receive_from_waiting(c, head, to, s.slot);
        ready(self(), s.who);
        cooperate(self());
        return chan_result::done;
      }
      case word::receivers: {
        in_line line = meet_or_join(c, me, word::receivers, to, may_block, wait_reason::chan_receive, w);
        if (line.what == in_line::again) continue;
        if (line.what == in_line::nothing) return nothing(w, seen);
        if (line.what == in_line::waited) return result_of(line.how);
        return met(c, to, line.who.slot, line.who.who);
      }
    }
  }
}

chan_core* new_chan(const elem_ops& ops, std::size_t slots, std::size_t slot_bytes, std::size_t slot_alignment) {
  const std::size_t alignment = std::max(alignof(chan_core), slot_alignment);
  const std::size_t core = ring_offset(slot_alignment);
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(slots, slot_bytes, &bytes) || __builtin_add_overflow(bytes, core + alignment, &bytes))
    throw std::bad_alloc();
  const sized_block room = allocate_block(bytes);
  const auto at = round_up(reinterpret_cast<std::uintptr_t>(room.memory), alignment);
  auto* c = new (reinterpret_cast<void*>(at)) chan_core;
  c->memory = room.memory;
  c->granules = room.granules;
  c->ops = &ops;
  if (slots != 0) c->ring_mask = static_cast<std::uint32_t>(slots - 1);
  return c;
}

void delete_chan(chan_core* c) noexcept {
  const sized_block room{c->memory, c->granules};
  c->~chan_core();
  free_block(room);
}

bool close_chan(chan_core* c) {
  caller me;
  for (;;) {
    std::uint64_t w = c->word.load(relaxed);  // relaxed: each move acquires what it needs
    switch (word::kind_of(w)) {
      case word::closed:
        return false;
      case word::open: {
        std::uint64_t closed = (w & ~word::kind_mask) | word::closed;
        // WORD release, here and below: what came before the close, for whoever finds the channel closed. SETTLED as well.
        if (move(me.m, c->word, w, closed, seq_cst)) return true;
        continue;
      }
      case word::receiver:
      case word::sender: {
        if (word::is_seated(w) && c->word.load(acquire) != w) continue;  // WORD acquire: the seat
        // And COMMIT acquire, the waiter is ours.
        if (!move(me.m, c->word, w, without_lone(*c, me, w, true), seq_cst)) continue;
        waiter* who = who_is_lone(w);
        who->result = who->result | outcome::closed;
        ready(me.m, who);
        return true;
      }
      case word::select_receiver:
      case word::select_sender: {
        // Closed first: a select that still registers will find it so. And WORD acquire: the seat, which the word names.
        if (!move(me.m, c->word, w, word::stamped(word::closed, stamp_of(me)), seq_cst)) continue;
        if (waiter* who = claim_lone(w).who) {
          who->result = who->result | outcome::closed;
          ready(me.m, who);
        }
        return true;
      }
      case word::receivers:
      case word::senders: {
        if (w & word::closing) return false;  // somebody else's close: this one comes second
        if (!move(me.m, c->word, w, w | word::closing, seq_cst)) continue;
        // Ours. Helpers or not, it is over only when every waiter has been taken.
        for (;;) {
          section in(me.smr);
          w = c->word.load(acquire);
          if (!word::is_list(w) || !(w & word::closing)) return true;
          help_close(c, me, w);
        }
      }
    }
  }
}

void drop_list(chan_core* c) noexcept {
  caller me;
  section in(me.smr);
  for (;;) {
    // relaxed, both: the last handle; ordered by refs
    std::uint64_t w = c->word.load(relaxed);
    if (!word::is_list(w)) return;
    wait_node* n = word::node_of(w);
    std::uint64_t next = n->next.load(relaxed);
    // All are dead: who waits, waits on a handle. One that is not is left to its fate, without its node.
    unlink(c, me, w, n, link::marked(next) ? next : next | link::dead);
  }
}

std::size_t chan_len(const chan_core& c) {
  std::uint64_t w = c.word.load(relaxed);  // relaxed: a snapshot
  switch (word::kind_of(w)) {
    case word::open:
    case word::closed:
      return c.capacity == 0 ? 0 : word::count_of(w);
    case word::sender:
    case word::senders:
      return c.capacity;
    default:
      return 0;
  }
}

void block_forever(wait_reason why) {
  M* m = self();
  if (!m) {
    thread_waiter w;
    for (;;) block_thread(w);
  }
  for (;;) park_slow(m, m->always, 0, 0, why, nullptr);
}

void wait_turn(atomic<std::uint32_t>& turn, std::uint32_t wanted) {
  // Who owes the turn is a few instructions away from it on another core, or has been taken off its core in between, or is a goroutine
  // that waits for a turn itself, perhaps on this very P.
  for (std::uint32_t i = 0; !word::same_position(turn.load(relaxed), wanted); ++i)
    (void)pause_after(i);  // relaxed: the caller loads it again, with acquire
}

}  // namespace weft::rt
