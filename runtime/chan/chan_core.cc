// SPDX-License-Identifier: MIT

#include "chan_core.h"

#include <new>

#include "../os/thread.h"
#include "../sched/go.h"
#include "wait_list.h"

namespace weft::rt {

namespace {

using word::kind;

// Who calls: a goroutine or an ordinary thread. Stale after a park, and after anything that may yield: moving a value does (the
// ring's slot may have to be waited for, a T may have ideas of its own), so self() is asked again behind it.
struct caller {
  M* m = self();
  smr_record* smr = smr_of_thread();
  thread_waiter thread;

  waiter* who() { return m ? static_cast<waiter*>(m->curg) : &thread; }
};

std::uint64_t stamp_of(caller& me) {
  if (me.m) return next_stamp(me.m->p);
  if (static_cast<std::uint32_t>(++me.smr->stamp) == 0) me.smr->stamp = new_stamp_range();
  return me.smr->stamp;
}

struct section {
  smr_record* r;
  explicit section(smr_record* record) : r(record) { smr_enter(r); }
  ~section() { smr_leave(r); }
  section(const section&) = delete;
  section& operator=(const section&) = delete;
};

wait_node* make_node(caller& me, waiter* who, kind k, std::uint32_t position) {
  auto* n = new (smr_alloc(me.smr)) wait_node;
  n->who = who;
  n->kind = k;
  n->position.store(position, relaxed);  // relaxed: published with the node
  return n;
}

// Position of the ring's head, with senders waiting.
std::uint32_t position_of(std::uint64_t w, const wait_node* n) {
  std::uint32_t near = n->position.load(relaxed);  // relaxed: any recent value will do
  auto off = static_cast<std::int16_t>(static_cast<std::uint16_t>(word::low_position_of(w) - near));
  return (near + static_cast<std::uint32_t>(off)) & static_cast<std::uint32_t>(word::position_mask);
}

// The list's head is marked: moves the word on. Anyone may, one succeeds. In a section.
void unlink(chan_core* c, caller& me, std::uint64_t w, wait_node* n, std::uint64_t marked_link) {
  kind k = word::kind_of(w);
  std::uint64_t closing = w & word::closing;
  wait_node* next = link::node(marked_link);
  std::uint32_t head = 0;
  if (c->capacity != 0) {
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
  // WORD. A failure means that somebody else moved it on.
  if (!c->word.compare_exchange_strong(w, desired, acq_rel, relaxed)) return;
  if (c->tail.load(seq_cst) == n) {  // B2
    wait_node* hint = n;
    c->tail.compare_exchange_strong(hint, nullptr, seq_cst, relaxed);
  }
  smr_retire(me.smr, n);
}

// Takes the head's waiter out of the list, or null when others were faster; `w` was read in this section.
waiter* take_first(chan_core* c, caller& me, std::uint64_t w, std::uint64_t mark) {
  wait_node* n = word::node_of(w);
  std::uint64_t next = n->next.load(acquire);  // LIST-APPEND acquire <- commit
  if (link::marked(next)) {
    unlink(c, me, w, n, next);
    return nullptr;
  }
  // LIST-MARK, B1. A failure means that a waiter was appended or that another taker was faster.
  if (!n->next.compare_exchange_strong(next, next | mark, seq_cst, acquire)) return nullptr;
  waiter* who = n->who;
  unlink(c, me, w, n, next | mark);
  return who;
}

// A step of a close that somebody began.
void help_close(chan_core* c, caller& me, std::uint64_t w) {
  if (waiter* who = take_first(c, me, w, link::dead)) {
    who->result = outcome::closed;
    ready(me.m, who);
  }
}

// The last node of the list whose head is in `w`, or null: look again. In a section.
wait_node* find_last(chan_core* c, std::uint64_t w) {
  wait_node* head = word::node_of(w);
  wait_node* hint = c->tail.load(acquire);
  wait_node* n = hint && hint->kind == head->kind ? hint : head;
  for (int steps = 0;; ++steps) {
    std::uint64_t next = n->next.load(acquire);  // LIST-APPEND acquire <- commit
    if (link::marked(next)) {
      if (n == head) return nullptr;
      if (n == hint) c->tail.compare_exchange_strong(hint, nullptr, seq_cst, relaxed);
      hint = nullptr;
      n = head;
      continue;
    }
    if (next == 0) {
      if (steps > 4) {
        c->tail.exchange(n, seq_cst);               // A1
        if (link::marked(n->next.load(seq_cst))) {  // A2
          wait_node* mine = n;
          c->tail.compare_exchange_strong(mine, nullptr, seq_cst, relaxed);
        }
      }
      return n;
    }
    n = link::node(next);
  }
}

// Publishes the caller by *where: expected -> desired and waits for its partner; `no` when *where held something else. Ends the section,
// when in one, if it published.
parked wait_at(caller& me, atomic<std::uint64_t>& where, std::uint64_t expected, std::uint64_t desired, wait_reason why,
               bool in_section) {
  if (me.m) return park_slow(me.m, where.raw(), expected, desired, why, in_section ? me.smr->pin.raw() : nullptr);
  me.thread.woken.store(0, relaxed);
  // COMMIT, for a thread: nothing to save, the waiter and its slot are carried.
  if (!where.compare_exchange_strong(expected, desired, acq_rel, acquire)) return parked::no;
  if (in_section) smr_leave(me.smr);
  block_thread(me.thread);
  return finish_park(&me.thread);
}

// An operation that came to nothing is a cooperative point like any other: a loop of them must not starve whoever could change
// that.
chan_result gave_way(chan_result r) {
  cooperate(self());
  return r;
}

chan_result result_of(parked how) { return how == parked::done ? chan_result::done : chan_result::closed; }

// Appends the caller to the list in `w`. Unless `no`, it waited, and the section is over.
parked wait_in_list(chan_core* c, caller& me, std::uint64_t w, waiter* who, wait_reason why) {
  wait_node* last = find_last(c, w);
  if (!last) {
    wait_node* head = word::node_of(w);
    std::uint64_t next = head->next.load(acquire);
    if (link::marked(next)) unlink(c, me, w, head, next);
    return parked::no;
  }
  wait_node* n = make_node(me, who, word::kind_of(w), last->position.load(relaxed));
  parked how = wait_at(me, last->next, 0, link::to(n), why, true);
  if (how == parked::no) smr_free(me.smr, n);
  return how;
}

// Starts a list: the caller alone (a ring), or behind the lone waiter that the word names.
parked wait_first(chan_core* c, caller& me, std::uint64_t w, kind k, waiter* who, wait_reason why) {
  std::uint32_t head = 0;
  waiter* before = nullptr;
  if (word::kind_of(w) == word::open)
    head = word::head_of(w);
  else
    before = word::waiter_of(w);
  wait_node* mine = make_node(me, who, k, head);
  wait_node* first = mine;
  if (before) {
    first = make_node(me, before, k, head);
    first->next.store(link::to(mine), relaxed);  // relaxed: published by the commit
  }
  parked how = wait_at(me, c->word, w, word::list(k, first, k == word::senders ? head : 0), why, false);
  if (how != parked::no) return how;
  if (before) smr_free(me.smr, first);
  smr_free(me.smr, mine);
  return how;
}

}  // namespace

chan_result send_slow(chan_core* c, void* from, bool may_block) {
  if (!c) {
    if (!may_block) return gave_way(chan_result::would_block);
    block_forever(wait_reason::chan_send_nil);
  }
  caller me;
  for (;;) {
    std::uint64_t w = c->word.load(acquire);  // WORD acquire
    switch (word::kind_of(w)) {
      case word::closed:
        return gave_way(chan_result::closed);
      case word::open: {
        std::uint32_t count = word::count_of(w);
        if (c->capacity != 0 && count < c->capacity) {
          std::uint32_t head = word::head_of(w);
          // WORD: position head + count is ours. A failure means that another operation took effect.
          if (!c->word.compare_exchange_weak(w, word::ring(word::open, head, count + 1), acq_rel, relaxed)) continue;
          c->ops->ring_put(*c, head + count, from);
          cooperate(self());
          return chan_result::done;
        }
        if (!may_block) return gave_way(chan_result::would_block);
        waiter* who = me.who();
        who->slot = from;
        parked how = c->capacity == 0
                         ? wait_at(me, c->word, w, word::lone(word::sender, who), wait_reason::chan_send, false)
                         : wait_first(c, me, w, word::senders, who, wait_reason::chan_send);
        if (how != parked::no) return result_of(how);
        continue;
      }
      case word::receiver: {
        // WORD, and COMMIT acquire <- its park: the waiter is ours, with its slot.
        if (!c->word.compare_exchange_strong(w, word::stamped(word::open, stamp_of(me)), acq_rel, relaxed)) continue;
        waiter* r = word::waiter_of(w);
        c->ops->hand_over(r->slot, from);
        ready(self(), r);
        cooperate(self());
        return chan_result::done;
      }
      case word::sender: {
        if (!may_block) return gave_way(chan_result::would_block);
        waiter* who = me.who();
        who->slot = from;
        if (parked how = wait_first(c, me, w, word::senders, who, wait_reason::chan_send); how != parked::no)
          return result_of(how);
        continue;
      }
      case word::receivers: {
        waiter* r = nullptr;
        {
          section in(me.smr);
          w = c->word.load(acquire);
          if (word::kind_of(w) != word::receivers) continue;
          if (w & word::closing)
            help_close(c, me, w);
          else
            r = take_first(c, me, w, link::taken);
        }
        if (!r) continue;
        c->ops->hand_over(r->slot, from);
        ready(self(), r);
        cooperate(self());
        return chan_result::done;
      }
      case word::senders: {
        if (!may_block && !(w & word::closing)) return gave_way(chan_result::would_block);
        waiter* who = me.who();
        who->slot = from;
        smr_enter(me.smr);
        w = c->word.load(acquire);
        if (word::kind_of(w) == word::senders) {
          if (w & word::closing)
            help_close(c, me, w);
          else if (!may_block) {
            smr_leave(me.smr);
            return gave_way(chan_result::would_block);
          } else if (parked how = wait_in_list(c, me, w, who, wait_reason::chan_send); how != parked::no)
            return result_of(how);
        }
        smr_leave(me.smr);
        continue;
      }
    }
  }
}

chan_result receive_slow(chan_core* c, void* to, bool may_block) {
  if (!c) {
    if (!may_block) return gave_way(chan_result::would_block);
    block_forever(wait_reason::chan_receive_nil);
  }
  caller me;
  for (;;) {
    std::uint64_t w = c->word.load(acquire);  // WORD acquire
    switch (word::kind_of(w)) {
      case word::closed:
      case word::open: {
        bool closed = word::kind_of(w) == word::closed;
        if (c->capacity != 0 && word::count_of(w) != 0) {
          std::uint32_t head = word::head_of(w);
          // WORD: position head is ours.
          if (!c->word.compare_exchange_weak(w, word::ring(word::kind_of(w), head + 1, word::count_of(w) - 1), acq_rel,
                                             relaxed))
            continue;
          c->ops->ring_take(*c, head, to);
          cooperate(self());
          return chan_result::done;
        }
        if (closed) return gave_way(chan_result::closed);
        if (!may_block) return gave_way(chan_result::would_block);
        waiter* who = me.who();
        who->slot = to;
        parked how = c->capacity == 0
                         ? wait_at(me, c->word, w, word::lone(word::receiver, who), wait_reason::chan_receive, false)
                         : wait_first(c, me, w, word::receivers, who, wait_reason::chan_receive);
        if (how != parked::no) return result_of(how);
        continue;
      }
      case word::sender: {
        // WORD, and COMMIT acquire <- its park.
        if (!c->word.compare_exchange_strong(w, word::stamped(word::open, stamp_of(me)), acq_rel, relaxed)) continue;
        waiter* s = word::waiter_of(w);
        c->ops->hand_over(to, s->slot);
        ready(self(), s);
        cooperate(self());
        return chan_result::done;
      }
      case word::receiver: {
        if (!may_block) return gave_way(chan_result::would_block);
        waiter* who = me.who();
        who->slot = to;
        if (parked how = wait_first(c, me, w, word::receivers, who, wait_reason::chan_receive); how != parked::no)
          return result_of(how);
        continue;
      }
      case word::senders: {
        waiter* s = nullptr;
        std::uint32_t head = 0;
        {
          section in(me.smr);
          w = c->word.load(acquire);
          if (word::kind_of(w) != word::senders) continue;
          if (w & word::closing) {
            help_close(c, me, w);
          } else {
            head = position_of(w, word::node_of(w));
            s = take_first(c, me, w, link::taken);
          }
        }
        if (!s) continue;
        if (c->capacity == 0) {
          c->ops->hand_over(to, s->slot);
        } else {
          // The oldest value goes out, the sender's comes in a full ring behind it.
          c->ops->ring_take(*c, head, to);
          c->ops->ring_put(*c, head + c->capacity, s->slot);
        }
        ready(self(), s);
        cooperate(self());
        return chan_result::done;
      }
      case word::receivers: {
        if (!may_block && !(w & word::closing)) return gave_way(chan_result::would_block);
        waiter* who = me.who();
        who->slot = to;
        smr_enter(me.smr);
        w = c->word.load(acquire);
        if (word::kind_of(w) == word::receivers) {
          if (w & word::closing)
            help_close(c, me, w);
          else if (!may_block) {
            smr_leave(me.smr);
            return gave_way(chan_result::would_block);
          } else if (parked how = wait_in_list(c, me, w, who, wait_reason::chan_receive); how != parked::no)
            return result_of(how);
        }
        smr_leave(me.smr);
        continue;
      }
    }
  }
}

bool close_chan(chan_core* c) {
  caller me;
  for (;;) {
    std::uint64_t w = c->word.load(acquire);  // WORD acquire
    switch (word::kind_of(w)) {
      case word::closed:
        return false;
      case word::open: {
        std::uint64_t closed = (w & ~word::kind_mask) | word::closed;
        if (c->word.compare_exchange_strong(w, closed, acq_rel, relaxed)) return true;
        continue;
      }
      case word::receiver:
      case word::sender: {
        if (!c->word.compare_exchange_strong(w, word::stamped(word::closed, stamp_of(me)), acq_rel, relaxed)) continue;
        waiter* who = word::waiter_of(w);
        who->result = outcome::closed;
        ready(me.m, who);
        return true;
      }
      case word::receivers:
      case word::senders: {
        if (w & word::closing) return false;  // somebody else's close: this one comes second
        if (!c->word.compare_exchange_strong(w, w | word::closing, acq_rel, relaxed)) continue;
        // Ours. Helpers or not, it is over only when every waiter has been taken.
        for (;;) {
          section in(me.smr);
          w = c->word.load(acquire);
          if (!(w & word::closing) || word::kind_of(w) < word::receivers) return true;
          help_close(c, me, w);
        }
      }
    }
  }
}

std::size_t chan_len(const chan_core& c) {
  std::uint64_t w = c.word.load(relaxed);  // relaxed: a snapshot
  switch (word::kind_of(w)) {
    case word::open:
    case word::closed:
      return c.capacity == 0 ? 0 : word::count_of(w);
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
  for (;;) park_slow(m, &m->always, 0, 0, why, nullptr);
}

void wait_turn(atomic<std::uint32_t>& turn, std::uint32_t wanted) {
  for (int i = 0; turn.load(relaxed) != wanted; ++i) {  // relaxed: the caller loads it again, with acquire
    if (i < 100)
      cpu_relax();
    else {
      weft::yield();
      // Whoever owes the turn may be a thread that the kernel has taken off this very core: a goroutine alone on its P would spin
      // out its thread's time slice, milliseconds, at every turn.
      if (turn.load(relaxed) != wanted) os::yield_thread();
    }
  }
}

}  // namespace weft::rt
