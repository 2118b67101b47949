// SPDX-License-Identifier: MIT

#include "wait_list.h"

#include <memory>
#include <new>

#include "../base/lock.h"
#include "select.h"

namespace weft::rt {

using word::kind;

std::uint64_t stamp_of(caller& me) {
  if (me.m) return next_stamp(me.m->p);
  return next_stamp(me.smr->stamp);
}

wait_node* make_node(caller& me, waiter* who, kind k, std::uint32_t position) {
  auto* n = new (smr_alloc(me.smr)) wait_node;
  n->who = who;
  n->kind = static_cast<word::kind8>(k);
  n->position.store(position, relaxed);  // relaxed: published with the node
  return n;
}

wait_node* node_of_lone(caller& me, std::uint64_t w, kind k) {
  kind lone = word::kind_of(w);
  if (lone == word::receiver || lone == word::sender)
    return make_node(me, who_is_lone(w), k, word::is_seated(w) ? position_of_lone(w) : 0);
  select_seat& s = seat_of(w);
  // relaxed: if the seat is another select's by now, w has gone, and the node will not be published
  wait_node* n = make_node(me, s.who.load(relaxed), k, 0);
  n->select = &s.word;
  n->ticket = sel::make(word::ticket_of(w), sel::fired, word::case_of(w));
  n->holders.store(1, relaxed);  // relaxed: published with the node
  return n;
}

namespace {

runtime_lock seats_lock;
select_seat* free_seats = nullptr;  // seats_lock, as below
std::size_t seats_made = 0;

}  // namespace

constinit atomic<select_seat*> seat_chunks[word::max_seats / chunk_seats];

void fetch_seats(smr_record* r) noexcept {
  lock_scope hold(seats_lock);
  while (r->nseats < seat_batch) {
    select_seat* s = free_seats;
    if (s) {
      free_seats = s->next;
    } else {
      if (seats_made == word::max_seats) return;
      atomic<select_seat*>& chunk = seat_chunks[seats_made / chunk_seats];
      if (seats_made % chunk_seats == 0) {
        auto* made = new (std::nothrow) select_seat[chunk_seats];
        if (!made) return;
        chunk.store(made, relaxed);  // relaxed: published by the words that name its seats
      }
      s = &chunk.load(relaxed)[seats_made % chunk_seats];  // relaxed: seats_lock
      s->number = seats_made++;
    }
    s->next = r->seats;
    r->seats = s;
    ++r->nseats;
  }
}

const void* seats_memory_lock() noexcept { return &seats_lock; }

void return_seats(smr_record* r) noexcept {
  lock_scope hold(seats_lock);
  while (r->nseats > seat_batch) {
    select_seat* gone = r->seats;
    r->seats = gone->next;
    --r->nseats;
    gone->next = free_seats;
    free_seats = gone;
  }
}

// relaxed, both: by WORD acquire, or COMMIT; if the seat is another waiter's by now, w has gone, and what is made of this comes to nothing
waiter* who_is_lone(std::uint64_t w) { return word::is_seated(w) ? seat_of(w).who.load(relaxed) : word::waiter_of(w); }
std::uint32_t position_of_lone(std::uint64_t w) { return seat_of(w).position.load(relaxed); }

std::uint64_t without_lone(const chan_core& c, caller& me, std::uint64_t w, bool close) {
  const kind rest = close ? word::closed : word::open;
  if (!word::is_seated(w)) return word::stamped(rest, stamp_of(me));
  const std::uint32_t head = position_of_lone(w);
  if (word::kind_of(w) == word::receiver) return word::ring(rest, head, 0);
  return word::ring(rest, close ? head : head + 1, c.capacity);
}

partner claim_lone(std::uint64_t w) {
  select_seat& seat = seat_of(w);
  std::uint64_t ticket = word::ticket_of(w);
  std::uint64_t s = seat.word.load(relaxed);  // relaxed: the exchanges decide
  while (sel::ticket_of(s) == ticket) {
    if (sel::phase_of(s) == sel::waiting) {
      // SELECT acquire <- its commit: saved, its slots in place. A failure means that another case was faster.
      if (!seat.word.compare_exchange_strong(s, sel::make(ticket, sel::met, word::case_of(w)), acquire, relaxed))
        continue;
      return {seat.who.load(relaxed), seat.ops.load(relaxed)[word::case_of(w)].slot};  // relaxed: SELECT
    }
    if (sel::phase_of(s) != sel::registering) break;
    // relaxed: what it is to find it finds by exchanges.
    if (seat.word.compare_exchange_strong(s, sel::make(ticket, sel::again), relaxed, relaxed)) break;
  }
  return {};
}

void* slot_of(const wait_node* n) {
  if (!n->select) return n->who->slot;
  if (n->slot) return n->slot;
  const auto* seat = static_cast<const select_seat*>(static_cast<const void*>(n->select));  // its first member
  return seat->ops.load(relaxed)[sel::case_of(n->ticket)].slot;  // relaxed: SELECT, the caller's claim
}

// Position of the ring's head, with senders waiting.
std::uint32_t position_of(std::uint64_t w, const wait_node* n) {
  std::uint32_t near = n->position.load(relaxed);  // relaxed: any recent value will do
  auto off = static_cast<std::int16_t>(static_cast<std::uint16_t>(word::low_position_of(w) - near));
  return (near + static_cast<std::uint32_t>(off)) & static_cast<std::uint32_t>(word::position_mask);
}

namespace {

// `n` was unlinked by us.
void retire(chan_core* c, caller& me, wait_node* n) {
  if (c->tail.load(seq_cst) == n) {  // B2
    wait_node* hint = n;
    c->tail.compare_exchange_strong(hint, nullptr, relaxed, relaxed);
  }
  // relaxed: both holders let go within a section, so the node's reuse waits for both.
  if (n->select && n->holders.fetch_sub(1, relaxed) != 1) return;
  smr_retire(me.smr, n);
}

enum class claim_result { ours, not_any_more };

// May the waiter of `n` be taken? A plain one may; a select if it waits, or has been claimed for this very case (I7).
claim_result claim_waiter(wait_node* n) {
  if (!n->select) return claim_result::ours;
  std::uint64_t ticket = sel::ticket_of(n->ticket);
  std::uint64_t s = n->select->load(relaxed);  // relaxed: what decides acquires
  for (;;) {
    if (sel::ticket_of(s) != ticket) return claim_result::not_any_more;
    switch (sel::phase_of(s)) {
      case sel::waiting:
        // SELECT acquire <- its commit: saved, its slots in place. A failure means that another case was faster.
        if (n->select->compare_exchange_strong(s, n->ticket, acquire, relaxed)) return claim_result::ours;
        continue;
      case sel::registering:
        if (n->select->compare_exchange_strong(s, sel::make(ticket, sel::again), relaxed, relaxed))
          return claim_result::not_any_more;
        continue;
      case sel::fired:
        // SELECT acquire, by way of who claimed it.
        return n->select->load(acquire) == n->ticket ? claim_result::ours : claim_result::not_any_more;
      default:
        return claim_result::not_any_more;
    }
  }
}

}  // namespace

// The list's head is marked: moves the word on. Anyone may, one succeeds. In a section.
void unlink(chan_core* c, caller& me, std::uint64_t w, wait_node* n, std::uint64_t marked_link) {
  kind k = word::kind_of(w);
  std::uint64_t closing = w & word::closing;
  wait_node* next = link::node(marked_link);
  std::uint32_t head = 0;
  if (c->capacity != 0) {
    // relaxed: exact, receivers wait where the word left them
    head = k == word::senders ? position_of(w, n) : n->position.load(relaxed);
    // A sender that was taken has put its value into the ring behind the one that went out.
    if (k == word::senders && (marked_link & link::taken))
      head = (head + 1) & static_cast<std::uint32_t>(word::position_mask);
  }
  std::uint64_t desired;
  if (next) {
    if (c->capacity != 0) next->position.store(head, relaxed);  // relaxed: see wait_node::position
    desired = word::list(k, next, k == word::senders ? head : 0, closing);
  } else {
    kind rest = closing ? word::closed : word::open;
    desired = c->capacity == 0 ? word::stamped(rest, stamp_of(me))
                               : word::ring(rest, head, k == word::senders ? c->capacity : 0);
  }
  // WORD release: the next node. A failure means that somebody else moved it on.
  if (!move(me.m, c->word, w, desired, release)) return;
  retire(c, me, n);
}

partner take_first(chan_core* c, caller& me, std::uint64_t w, std::uint64_t mark) {
  wait_node* n = word::node_of(w);
  std::uint64_t next = n->next.load(acquire);  // LIST-APPEND acquire <- commit
  if (link::marked(next)) {
    unlink(c, me, w, n, next);
    return {};
  }
  bool ours = claim_waiter(n) == claim_result::ours;
  if (!ours) mark = link::dead;
  // LIST-MARK, B1. A failure means that a waiter was appended or that another taker was faster; a claim stays, for whoever comes next.
  if (!n->next.compare_exchange_strong(next, next | mark, seq_cst, relaxed)) return {};
  partner found;
  if (ours) found = {n->who, slot_of(n)};
  unlink(c, me, w, n, next | mark);
  return found;
}

void help_close(chan_core* c, caller& me, std::uint64_t w) {
  if (waiter* who = take_first(c, me, w, link::dead).who) {
    who->result = who->result | outcome::closed;
    ready(me.m, who);
  }
}

namespace {

// Walks from `n`, which is in the list, to its end, and unlinks the dead nodes behind it. Null: the walk was overtaken.
wait_node* walk(chan_core* c, caller& me, wait_node* n, std::size_t& live) {
  for (live = 1;; ++live) {
    std::uint64_t next;
    for (;;) {
      next = n->next.load(acquire);  // LIST-APPEND acquire <- commit
      if (link::marked(next)) return nullptr;
      if (next == 0) return n;
      wait_node* after = link::node(next);
      std::uint64_t link_of_after = after->next.load(acquire);  // LIST-MARK, LIST-APPEND acquire
      if (!link::marked(link_of_after)) break;
      std::uint64_t past = link_of_after & ~link::marks;
      // Unlinks `after`. release: whoever walks here sees the rest as we do. A failure: n was marked, or somebody else was faster.
      if (n->next.compare_exchange_strong(next, past, release, relaxed)) retire(c, me, after);
    }
    n = link::node(next);
  }
}

}  // namespace

wait_node* find_last(chan_core* c, caller& me, std::uint64_t w) {
  wait_node* head = word::node_of(w);
  wait_node* hint = c->tail.load(acquire);  // LIST-HINT acquire <- A1: the node, as who set it saw it
  std::size_t steps = 0;
  wait_node* last = nullptr;
  if (hint && hint->kind == head->kind) {
    last = walk(c, me, hint, steps);
    // A hint into another list, or gone. Compared by who set it: nobody else's is cleared.
    if (!last) c->tail.compare_exchange_strong(hint, nullptr, relaxed, relaxed);
  }
  if (!last) {
    std::uint64_t next = head->next.load(acquire);  // LIST-APPEND acquire
    if (link::marked(next)) {
      unlink(c, me, w, head, next);
      return nullptr;
    }
    last = walk(c, me, head, steps);
  }
  if (last && steps > limits::list_hint_steps) {
    c->tail.exchange(last, seq_cst);               // A1
    if (link::marked(last->next.load(seq_cst))) {  // A2
      wait_node* mine = last;
      c->tail.compare_exchange_strong(mine, nullptr, relaxed, relaxed);
    }
  }
  return last;
}

partner take_both(chan_core* c, caller& me, std::uint64_t w, wait_node*& end) {
  end = nullptr;
  // relaxed: BOTH. Who joins the list behind such a select has read its node, or a later one, and so sees the count.
  if (!any_both(c->both.load(relaxed))) return {};
  wait_node* n = word::node_of(w);
  while (n) {
    std::uint64_t next = n->next.load(acquire);  // LIST-APPEND acquire
    if (n->other_slot && n->who != me.who()) {
      std::uint64_t ticket = sel::ticket_of(n->ticket);
      std::uint64_t s = n->select->load(relaxed);
      while (sel::ticket_of(s) == ticket) {
        if (sel::phase_of(s) == sel::registering) {
          n->select->compare_exchange_strong(s, sel::make(ticket, sel::again), relaxed, relaxed);
        } else if (sel::phase_of(s) != sel::waiting) {
          break;
        } else if (n->select->compare_exchange_strong(s, sel::make(ticket, sel::met, n->other_case), acquire,
                                                      relaxed)) {
          return {n->who, n->other_slot};  // SELECT acquire: ours, and ours alone: this claim is for no node
        }
      }
    }
    end = n;
    n = link::node(next);
  }
  return {};
}

namespace {

void leave_list(chan_core* c, caller& me, wait_node* n) {
  std::uint64_t next = n->next.load(relaxed);  // relaxed: the marks are all that counts here
  // LIST-MARK, B1. Who takes it out at this moment marks it too.
  while (!link::marked(next) && !n->next.compare_exchange_weak(next, next | link::dead, seq_cst, relaxed)) {
  }
  std::uint64_t w = c->word.load(acquire);  // WORD acquire
  if (!word::is_list(w)) return;
  wait_node* head = word::node_of(w);
  // LIST-MARK acquire: it was marked, so it is final (I3)
  if (head == n) return unlink(c, me, w, n, n->next.load(acquire));
  // Inside the list. Now and then somebody walks all of it; what was found alive then pays for the next walk.
  if (c->dead.fetch_add(1, relaxed) + 1 < c->sweep_at.load(relaxed)) return;  // relaxed: a statistic
  c->dead.store(0, relaxed);                                                  // relaxed: a statistic, as sweep_at
  std::uint64_t first = head->next.load(acquire);                             // LIST-APPEND, LIST-MARK acquire
  if (link::marked(first)) return unlink(c, me, w, head, first);
  std::size_t live = 0;
  walk(c, me, head, live);
  c->sweep_at.store(static_cast<std::uint32_t>(live) + limits::list_sweep_at, relaxed);
}

}  // namespace

void withdraw_lone(chan_core* c, caller& me, std::uint64_t w) {
  std::uint64_t now = c->word.load(relaxed);
  while (word::same(now, w)) {
    // relaxed: carries nothing. A failure: somebody has moved it on, perhaps into a list; or its bias has changed, and no more.
    if (move(me.m, c->word, now, word::stamped(word::open, stamp_of(me)), relaxed)) return;
    now = c->word.load(relaxed);
  }
  if (!word::is_list(now)) return;
  section in(me.smr);
  now = c->word.load(acquire);  // WORD acquire; now its nodes stay
  if (!word::is_list(now)) return;
  // A node of ours was first when its list was made, so it is first as long as it is there.
  wait_node* head = word::node_of(now);
  if (head->select == &seat_of(w).word && sel::ticket_of(head->ticket) == word::ticket_of(w) && head->slot == nullptr)
    leave_list(c, me, head);
}

void withdraw(chan_core* c, caller& me, wait_node* n) {
  section in(me.smr);
  if (!link::marked(n->next.load(relaxed))) leave_list(c, me, n);    // relaxed: as in leave_list
  if (n->holders.fetch_sub(1, relaxed) == 1) smr_retire(me.smr, n);  // relaxed: see retire
}

}  // namespace weft::rt
