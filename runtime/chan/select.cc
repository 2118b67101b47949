// SPDX-License-Identifier: MIT
//
// The attempt of a select:
//   1. poll: look at every case's word, choose one at random among those that may be ready, try it, until one took place or none is left;
//   2. with an otherwise: were all of them not ready at one moment? Their words, looked at twice within one reader section, are the same
//      both times, and none of them can come back in between: so at any moment between the two rounds. Else poll again;
//   3. register with each channel: by a lone word, or by a node in its list. A channel that has become ready meanwhile sends us back to 1;
//   4. park: registering -> waiting, by the commit. Somebody who met us before that has said `again`: back to 1;
//   5. woken: take back what stands in the other channels.
//
// No word comes back (2): open ones carry positions or stamps; a lone select's, and a seated waiter's, its ticket; a list's the address of a node,
// which is not reused while we are in a section. What can come back is the lone plain waiter of an unbuffered channel: the goroutine gets its
// value, returns, and waits again. So where the snapshot meets one of our own direction (rare: a competitor) it first makes it a list of one node.
//
// Edges
//   name        release side                        acquire side                      carries                               test
//   SELECT      park's commit (or the thread's)     claim_waiter, claim_lone          the select saved, its slots, its seat go_select.*
//   SELECT-WON  the claim, then ready               wait, once it goes on             which case, its value                 go_select.*
//   WORD        enlist's move to a lone word, or    every load of the word            the seat; the node and all in it      go_select.*
//               to a list of its node
//   LIST-APPEND enlist on last->next                walk, take_first, take_both       the node and all in it                select.losers_*
//   BOTH        both += 1, before the node is seen  meet_or_join, before it appends;  that a node of either kind stands     none: by LIST-APPEND
//                                                   list_node                         there, or is about to

#include "select.h"

#include <new>
#include <stdexcept>

#include "../os/clock.h"
#include "../sched/go.h"
#include "wait_list.h"

namespace weft::rt {

namespace {

// relaxed: uniqueness is all that is asked. 2^44 tickets, then they repeat: a stale node would have to meet its very ticket again.
atomic<std::uint64_t> next_ticket_range{1};
constexpr std::uint64_t ticket_range = 1 << 12;

std::uint64_t new_ticket(smr_record* r) {
  if (r->ticket % ticket_range == 0)
    r->ticket =
        next_ticket_range.fetch_add(1, relaxed) * ticket_range;  // relaxed: only to be different from all others
  return r->ticket++ & ((std::uint64_t{1} << 44) - 1);
}

enum class look { not_ready, ready, maybe };

// What the word of a case says. `maybe`: a select that goes both ways may stand in that list.
look look_at(const chan_core& c, std::uint64_t w, bool send, bool any_both) {
  switch (word::kind_of(w)) {
    case word::closed:
      return look::ready;
    case word::open:
      return c.capacity != 0 && (send ? word::count_of(w) < c.capacity : word::count_of(w) != 0) ? look::ready
                                                                                                 : look::not_ready;
    case word::receiver:
    case word::select_receiver:
      return send ? look::ready : look::not_ready;
    case word::sender:
    case word::select_sender:
      return send ? look::not_ready : look::ready;
    case word::receivers:
      return send || (w & word::closing) ? look::ready : any_both ? look::maybe : look::not_ready;
    case word::senders:
      return !send || (w & word::closing) ? look::ready : any_both ? look::maybe : look::not_ready;
  }
  return look::ready;
}

using word::kind8;

class attempt {
 public:
  attempt(select_op* ops, std::size_t n) : ops_(ops), n_(n) {
    if (!self())
      thread_rand_ = fast_rand(static_cast<std::uint64_t>(os::now_ns()) ^ reinterpret_cast<std::uint64_t>(this));
  }

  // Steps 1 and 2. no_case: nothing was ready.
  std::size_t poll(bool one_moment, bool* closed) {
    for (;;) {
      for (std::size_t i = 0; i < n_; ++i) ops_[i].tried = false;
      std::size_t asked = 0;
      for (;;) {
        std::size_t which = any_ready(one_moment, asked);
        if (which == no_case) break;
        select_op& op = ops_[which];
        op.both_seen = op.chan->both.load(relaxed);  // relaxed: BOTH
        chan_result r = op.send ? send_slow(op.chan, op.slot, false, false, &op.seen)
                                : receive_slow(op.chan, op.slot, false, false, &op.seen);
        if (r != chan_result::would_block) {
          *closed = r == chan_result::closed;
          return which;
        }
        op.tried = true;
      }
      if (!one_moment) return no_case;
      if (asked < 2 || not_ready_at_one_moment()) {
        cooperate(self());
        return no_case;
      }
    }
  }

  // Steps 3 to 5. no_case: try again.
  std::size_t wait(bool* closed) {
    caller me;
    thread_waiter& thread = me.smr->select_waiter;
    who_ = me.m ? static_cast<waiter*>(me.m->curg) : &thread;
    seat_ = take_seat(me.smr);
    std::uint64_t ticket;
    if (seat_) {
      ticket = seat_->ticket.load(relaxed);
      word_ = &seat_->word;
      seat_->who.store(who_, relaxed);  // relaxed, both: published by our words and nodes, and again by SELECT
      seat_->ops.store(ops_, relaxed);
    } else {
      ticket = new_ticket(me.smr);
      word_ = me.m ? &me.m->curg->select : &me.smr->select;
    }
    word_->store(sel::make(ticket, sel::registering), relaxed);  // relaxed: published by the words and nodes
    parked how = parked::no;
    try {
      if (enlist_all(me, ticket)) {
        std::uint64_t from = sel::make(ticket, sel::registering);
        std::uint64_t to = sel::make(ticket, sel::waiting);
        if (me.m) {
          how = park(me.m, *word_, from, to, wait_reason::select);  // SELECT release: saved, slots in place
        } else {
          thread.woken.store(0, relaxed);                                    // relaxed: published by SELECT
          if (word_->compare_exchange_strong(from, to, release, relaxed)) {  // SELECT release
            block_thread(thread);
            how = finish_park(&thread);
          }
        }
      }
    } catch (...) {  // no memory for a node
      withdraw_all();
      throw;
    }
    std::uint64_t won = withdraw_all();
    if (how == parked::no) return no_case;
    *closed = how == parked::closed;
    return sel::case_of(won);
  }

  bool hopeless() const {
    for (std::size_t i = 0; i < n_; ++i)
      if (ops_[i].chan) return false;
    return true;
  }

  // Two selects that keep knocking each other out: a random pause, longer each time.
  void back_off(std::uint32_t times) {
    if (times > 6) return weft::yield();
    for (std::uint32_t i = random().below(1U << times); i > 0; --i) cpu_relax();
  }

 private:
  // One of the cases that may be ready and have not been tried as they stand, each as likely as the other (a reservoir of one).
  std::size_t any_ready(bool settled, std::size_t& asked) {
    M* m = self();
    std::size_t found = no_case;
    std::uint32_t ready = 0;
    asked = 0;
    for (std::size_t i = 0; i < n_; ++i) {
      select_op& op = ops_[i];
      if (!op.chan) continue;
      ++asked;
      std::uint64_t both = op.chan->both.load(relaxed);
      // relaxed, both: hints; the try looks for itself. SETTLED, where nothing to be found is an answer.
      std::uint64_t w = settled ? load_settled(m, op.chan->word) : op.chan->word.load(relaxed);
      if (op.tried && word::same(w, op.seen) && both == op.both_seen) continue;
      if (look_at(*op.chan, w, op.send, any_both(both)) == look::not_ready) continue;
      if (++ready == 1 || random().below(ready) == 0) found = i;
    }
    return found;
  }

  // Step 2. False: look again.
  bool not_ready_at_one_moment() {
    caller me;
    section in(me.smr);
    for (std::size_t i = 0; i < n_; ++i) {
      select_op& op = ops_[i];
      if (!op.chan) continue;
      op.both_seen = op.chan->both.load(relaxed);
      // MOVE, WORD acquire: whose last move we see, of him we know what he did to the other channels before it.
      op.seen = op.chan->word.load(acquire);
      if (word::is_direct(op.seen, op.send ? word::sender : word::receiver)) {
        kind8 k = op.send ? word::senders : word::receivers;
        draft_node n(me, node_of_lone(me, op.seen, static_cast<word::kind>(k)));
        std::uint64_t list = word::list(static_cast<word::kind>(k), n.get(), 0);
        // WORD, LIST-APPEND release. A failure means that the moment has passed.
        if (!move(me.m, op.chan->word, op.seen, list, release)) return false;
        n.keep();
        op.seen = list;
      }
      switch (look_at(*op.chan, op.seen, op.send, any_both(op.both_seen))) {
        case look::ready:
          return false;
        case look::maybe:
          if (foreign_both(me, op.seen)) return false;
          break;
        case look::not_ready:
          break;
      }
    }
    for (std::size_t i = 0; i < n_; ++i) {
      const select_op& op = ops_[i];
      // relaxed: what the first round knows of, this one does not miss.
      if (op.chan && (!word::same(op.chan->word.load(relaxed), op.seen) || op.chan->both.load(relaxed) != op.both_seen))
        return false;
    }
    return true;
  }

  fast_rand& random() {
    M* m = self();
    return m ? m->rand : thread_rand_;
  }

  bool enlist_all(caller& me, std::uint64_t ticket) {
    for (std::size_t i = 0; i < n_; ++i) {
      ops_[i].node = nullptr;
      ops_[i].lone = 0;
      ops_[i].other = nullptr;
    }
    for (std::size_t i = 0; i < n_; ++i)
      if (ops_[i].chan && !enlist(me, ops_[i], i, ticket)) return false;
    return true;
  }

  // Step 5. What our word held at the end.
  std::uint64_t withdraw_all() {
    // relaxed: SELECT-WON. Who claimed us, or saw us claimed, has readied us since; or our own commit has just failed on what it says.
    std::uint64_t won = word_->load(relaxed);
    word_->store(won & ~std::uint64_t{15}, relaxed);  // idle. relaxed: claims fail on either
    caller now;
    for (std::size_t i = 0; i < n_; ++i) {
      select_op& op = ops_[i];
      if (op.lone != 0) {
        withdraw_lone(op.chan, now, op.lone);
      } else if (op.chan && op.node) {
        if (op.node->other_slot) op.chan->both.fetch_sub(1, relaxed);  // relaxed: nobody is to be met by it any more
        withdraw(op.chan, now, op.node);
        op.node = nullptr;
      }
    }
    if (seat_) leave_seat(now.smr, seat_);
    return won;
  }

  // Stands by a lone word, or by a node, for `op`. False: the channel is ready, or we were told to look again.
  bool enlist(caller& me, select_op& op, std::size_t index, std::uint64_t ticket) {
    chan_core* c = op.chan;
    kind8 mine = static_cast<kind8>(op.send ? word::senders : word::receivers);
    select_op* opposite = nullptr;
    if (c->capacity == 0) {
      // Do we stand in this channel's other list already? Then this case goes into that node, which names this channel's opposite case: one
      // is as good as another.
      for (std::size_t i = 0; i < n_; ++i) {
        if (ops_[i].chan != c || ops_[i].send == op.send) continue;
        opposite = &ops_[i];
        if (opposite->node) return true;
      }
      std::uint64_t w = c->word.load(relaxed);  // relaxed: nothing is read on the strength of it
      if (seat_ && !opposite && index <= word::max_lone_case && word::kind_of(w) == word::open) {
        std::uint64_t lone =
            word::lone_select(op.send ? word::select_sender : word::select_receiver, index, seat_->number, ticket);
        // WORD release: the seat. A failure means that somebody else has come.
        if (move(me.m, c->word, w, lone, release)) {
          op.lone = lone;
          return true;
        }
      }
    }
    draft_node draft(me, make_node(me, who_, static_cast<word::kind>(mine), 0));
    wait_node* n = draft.get();
    n->slot = op.slot;
    n->select = word_;
    n->ticket = sel::make(ticket, sel::fired, index);
    if (opposite) {
      n->other_slot = opposite->slot;
      n->other_case = static_cast<std::uint16_t>(opposite - ops_);
      c->both.fetch_add(one_both, relaxed);  // BOTH. relaxed: before the node is seen, which carries it
    }
    if (list_node(me, op, n, mine, opposite)) {  // throws only without an opposite: nothing is counted then
      op.node = draft.keep();
      return true;
    }
    if (opposite) c->both.fetch_sub(1, relaxed);  // relaxed: the node was never seen
    return false;
  }

  // Puts n into the channel's list of its kind. False: as enlist.
  bool list_node(caller& me, const select_op& op, wait_node* n, kind8 mine, const select_op* opposite) {
    chan_core* c = op.chan;
    section in(me.smr);
    for (;;) {
      if (sel::phase_of(word_->load(relaxed)) != sel::registering) return false;  // relaxed: a hint, the commit decides
      std::uint64_t w = c->word.load(acquire);                                    // WORD acquire
      auto k = word::kind_of(w);
      if (k == word::open) {
        bool ready = c->capacity != 0 && (op.send ? word::count_of(w) < c->capacity : word::count_of(w) != 0);
        if (ready) return false;
        std::uint32_t head = c->capacity != 0 ? word::head_of(w) : 0;
        n->position.store(head, relaxed);  // relaxed: published with the node
        std::uint64_t list = word::list(static_cast<word::kind>(mine), n, op.send ? head : 0);
        // WORD, LIST-APPEND release: n, with its position
        if (move(me.m, c->word, w, list, release)) return true;
        continue;
      }
      if (k == (op.send ? word::sender : word::receiver) ||
          k == (op.send ? word::select_sender : word::select_receiver)) {
        if (opposite) return false;  // our partner, by the other case
        draft_node first(me, node_of_lone(me, w, static_cast<word::kind>(mine)));
        first.get()->next.store(link::to(n), relaxed);  // relaxed: published with the node
        const std::uint32_t head = c->capacity == 0 ? 0 : position_of_lone(w);
        n->position.store(head, relaxed);  // relaxed: published with the node
        std::uint64_t list = word::list(static_cast<word::kind>(mine), first.get(), op.send ? head : 0);
        if (!move(me.m, c->word, w, list, release)) continue;  // WORD, LIST-APPEND release
        first.keep();
        return true;
      }
      // A partner, a close, or another select's node: the poll deals with it.
      if (k != mine || (w & word::closing)) return false;
      wait_node* last = find_last(c, me, w);
      if (!last) continue;
      // Somebody stands here who is also our partner, or (opposite) we come to stand where others are: the poll has looked, but before
      // this node could be seen. A look behind it is needed.
      std::uint64_t both =
          c->both.load(relaxed);  // relaxed: BOTH, by LIST-APPEND: last was published after it was counted
      if (static_cast<std::uint32_t>(both) > (opposite ? 1U : 0U) && foreign_both(me, w)) return false;
      if (opposite && foreign_any(w)) return false;
      n->position.store(last->position.load(relaxed), relaxed);  // relaxed: see wait_node::position
      std::uint64_t none = 0;
      if (last->next.compare_exchange_strong(none, link::to(n), release, relaxed)) return true;  // LIST-APPEND release
    }
  }

  // Is there a live node of somebody else's that has the opposite case as well?
  static bool foreign_both(caller& me, std::uint64_t w) {
    for (wait_node* n = word::node_of(w); n;) {
      std::uint64_t next = n->next.load(acquire);  // LIST-APPEND acquire
      if (!link::marked(next) && n->other_slot && n->who != me.who() && lives(n)) return true;
      n = link::node(next);
    }
    return false;
  }

  // A select that could go either way meets a list of those who wait to go one way: it is their partner by its other case.
  bool foreign_any(std::uint64_t w) const {
    for (wait_node* n = word::node_of(w); n;) {
      std::uint64_t next = n->next.load(acquire);  // LIST-APPEND acquire
      if (!link::marked(next) && n->select != word_ && lives(n)) return true;
      n = link::node(next);
    }
    return false;
  }

  static bool lives(const wait_node* n) {
    if (!n->select) return true;
    // relaxed: the node was seen, so its ticket is; a state that is too old makes us look once more, and no more.
    std::uint64_t s = n->select->load(relaxed);
    return sel::ticket_of(s) == sel::ticket_of(n->ticket) &&
           (sel::phase_of(s) == sel::waiting || sel::phase_of(s) == sel::registering);
  }

  select_op* ops_;
  std::size_t n_;
  select_seat* seat_ = nullptr;
  atomic<std::uint64_t>* word_ = nullptr;  // of this attempt
  waiter* who_ = nullptr;
  fast_rand thread_rand_{0};
};

// Steps 3 to 5 for the plainest of selects: a goroutine's, a few cases, each on an unbuffered channel where nobody waits. no_case: not so, or
// not any more. And where the channels' users are gathered the goroutine goes first (sched/gather.h).
std::size_t wait_alone(select_op* ops, std::size_t n, bool* closed) {
  M* m = self();
  if (!m || n > word::max_lone_case + 1) return no_case;
  for (std::size_t i = 0; i < n; ++i) {
    chan_core* c = ops[i].chan;
    ops[i].lone = 0;
    if (!c) continue;
    ops[i].seen = c->word.load(relaxed);  // relaxed: nothing is read on the strength of it
    if (is_elsewhere(m, *c, ops[i].seen) && gather(m, c->word, c->fights, false)) [[unlikely]]
      return no_case;
    if (c->capacity != 0 || word::kind_of(ops[i].seen) != word::open) return no_case;
  }
  select_seat* seat = take_seat(m->smr);
  if (!seat) return no_case;
  const std::uint64_t ticket = seat->ticket.load(relaxed);
  seat->who.store(m->curg, relaxed);  // relaxed, all three: as in attempt::wait
  seat->ops.store(ops, relaxed);
  seat->word.store(sel::make(ticket, sel::registering), relaxed);
  bool registered = true;
  for (std::size_t i = 0; i < n; ++i) {
    chan_core* c = ops[i].chan;
    if (!c) continue;
    const std::uint64_t lone =
        word::lone_select(ops[i].send ? word::select_sender : word::select_receiver, i, seat->number, ticket);
    // WORD release: the seat. A failure means that somebody else has come; or we ourselves, by another case.
    if (!move(m, c->word, ops[i].seen, lone, release)) {
      registered = false;
      break;
    }
    ops[i].lone = lone;
  }
  parked how = parked::no;
  if (registered)  // SELECT release: saved, slots in place
    how =
        park(m, seat->word, sel::make(ticket, sel::registering), sel::make(ticket, sel::waiting), wait_reason::select);
  const std::uint64_t won = seat->word.load(relaxed);       // relaxed: SELECT-WON, as in withdraw_all
  seat->word.store(sel::make(ticket, sel::idle), relaxed);  // relaxed: claims fail on either
  m = self();
  for (std::size_t i = 0; i < n; ++i) {
    if (ops[i].lone == 0) continue;
    chan_core* c = ops[i].chan;
    std::uint64_t w = c->word.load(relaxed);  // relaxed: what is ours has not changed; the rest is withdraw_lone's
    const bool ours = word::same(w, ops[i].lone);
    if (ours && move(m, c->word, w, word::stamped(word::open, next_stamp(m->p)), relaxed)) continue;  // carries nothing
    if (ours || word::is_list(w)) {
      caller me;
      withdraw_lone(c, me, ops[i].lone);
    }
  }
  leave_seat(m->smr, seat);
  if (how == parked::no) return no_case;
  *closed = how == parked::closed;
  return sel::case_of(won);
}

}  // namespace

void throw_too_many_cases() { throw std::length_error("weft::select: more than 65,535 cases"); }

std::size_t select_ops(select_op* ops, std::size_t n, bool otherwise, bool* closed) {
  if (!otherwise && n != 0) {
    std::size_t which = wait_alone(ops, n, closed);
    if (which != no_case) return which;
  }
  attempt a(ops, n);
  if (a.hopeless()) {
    if (otherwise) return no_case;
    block_forever(wait_reason::select_empty);
  }
  for (std::uint32_t times = 0;; ++times) {
    std::size_t which = a.poll(otherwise, closed);
    if (which != no_case || otherwise) return which;
    which = a.wait(closed);
    if (which != no_case) return which;
    a.back_off(times);
  }
}

}  // namespace weft::rt
