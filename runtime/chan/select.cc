// SPDX-License-Identifier: MIT
//
// The attempt of a select:
//   1. poll the cases in random order: the first that can take place does;
//   2. with an otherwise: were all of them not ready at one moment? Their words are unchanged since they were looked at, so yes: at the
//      moment between. Else poll again;
//   3. put a node into each channel's list, in the same order; a channel that has become ready meanwhile sends us back to 1;
//   4. park: registering -> waiting, by the commit. Somebody who met a node of ours before that has said `again`: back to 1;
//   5. woken: take the nodes of the other cases back.

#include "select.h"

#include <memory>
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
  if (r->ticket % ticket_range == 0) r->ticket = next_ticket_range.fetch_add(1, relaxed) * ticket_range;
  return r->ticket++ & ((std::uint64_t{1} << 44) - 1);
}

class attempt {
 public:
  attempt(select_op* ops, std::size_t n) : ops_(ops), n_(n) {
    if (n > few) many_.reset(new std::uint16_t[n]);
    order_ = n > few ? many_.get() : few_;
    for (std::size_t i = 0; i < n; ++i) order_[i] = static_cast<std::uint16_t>(i);
    M* m = self();
    if (!m) thread_rand_ = fast_rand(static_cast<std::uint64_t>(os::now_ns()) ^ reinterpret_cast<std::uint64_t>(this));
  }

  void shuffle() {
    M* m = self();
    fast_rand& rand = m ? m->rand : thread_rand_;
    for (std::size_t i = n_; i > 1; --i) std::swap(order_[i - 1], order_[rand.below(static_cast<std::uint32_t>(i))]);
  }

  // Steps 1 and 2. no_case: nothing was ready.
  std::size_t poll(bool one_moment, bool* closed) {
    for (;;) {
      std::size_t asked = 0;
      for (std::size_t k = 0; k < n_; ++k) {
        select_op& op = ops_[order_[k]];
        if (!op.chan) continue;
        ++asked;
        chan_result r =
            op.send ? send_slow(op.chan, op.slot, false, &op.seen) : receive_slow(op.chan, op.slot, false, &op.seen);
        if (r == chan_result::would_block) continue;
        *closed = r == chan_result::closed;
        return order_[k];
      }
      if (!one_moment || asked < 2 || unchanged()) return no_case;
    }
  }

  // Steps 3 to 5. no_case: try again.
  std::size_t wait(bool* closed) {
    caller me;
    atomic<std::uint64_t>& word = me.m ? me.m->curg->select : me.smr->select;
    thread_waiter& thread = me.smr->select_waiter;
    waiter* who = me.m ? static_cast<waiter*>(me.m->curg) : &thread;
    std::uint64_t ticket = new_ticket(me.smr);
    word.store(sel::make(ticket, sel::registering), relaxed);  // relaxed: published by the nodes
    bool registered = true;
    for (std::size_t k = 0; k < n_ && registered; ++k) {
      select_op& op = ops_[order_[k]];
      op.node = nullptr;
      op.other = nullptr;
      if (op.chan) registered = enlist(me, op, order_[k], who, word, ticket);
    }
    parked how = parked::no;
    if (registered) {
      std::uint64_t from = sel::make(ticket, sel::registering);
      std::uint64_t to = sel::make(ticket, sel::waiting);
      if (me.m) {
        how = park_slow(me.m, word, from, to, wait_reason::select,
                        nullptr);  // SELECT release: saved, slots in place
      } else {
        thread.woken.store(0, relaxed);
        if (word.compare_exchange_strong(from, to, acq_rel, acquire)) {
          block_thread(thread);
          how = finish_park(&thread);
        }
      }
    }
    std::uint64_t won = word.load(acquire);
    word.store(sel::idle, relaxed);  // relaxed: claims fail on either
    caller now;
    for (std::size_t k = 0; k < n_; ++k) {
      select_op& op = ops_[order_[k]];
      if (!op.chan) continue;
      if (op.node) {
        if (op.node->other_slot) op.chan->both.fetch_sub(1, release);
        withdraw(op.chan, now, op.node);
        op.node = nullptr;
      }
    }
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
    M* m = self();
    fast_rand& rand = m ? m->rand : thread_rand_;
    if (times > 6) return weft::yield();
    for (std::uint32_t i = rand.below(1U << times); i > 0; --i) cpu_relax();
  }

 private:
  static constexpr std::size_t few = 16;

  bool unchanged() const {
    for (std::size_t i = 0; i < n_; ++i)
      if (ops_[i].chan && ops_[i].chan->word.load(acquire) != ops_[i].seen) return false;
    return true;
  }

  // Puts a node for `op` into its channel's list. False: the channel is ready, or we were told to look again.
  bool enlist(caller& me, select_op& op, std::size_t index, waiter* who, atomic<std::uint64_t>& word,
              std::uint64_t ticket) {
    chan_core* c = op.chan;
    kind8 mine = static_cast<kind8>(op.send ? word::senders : word::receivers);
    // Do we stand in this channel's other list already? Then this case goes into that node.
    if (c->capacity == 0) {
      for (std::size_t i = 0; i < n_; ++i) {
        select_op& before = ops_[i];
        if (&before == &op || before.chan != c || before.send == op.send || !before.node) continue;
        op.other = &before;
      }
    }
    select_op* opposite = nullptr;
    for (std::size_t i = 0; i < n_ && c->capacity == 0; ++i)
      if (ops_[i].chan == c && ops_[i].send != op.send) opposite = &ops_[i];
    if (op.other)
      return true;  // the node that stands there names this channel's opposite case: one is as good as another

    wait_node* n = make_node(me, who, static_cast<word::kind>(mine), 0);
    n->slot = op.slot;
    n->select = &word;
    n->ticket = sel::make(ticket, sel::fired, index);
    if (opposite) {
      n->other_slot = opposite->slot;
      n->other_case = static_cast<std::uint16_t>(opposite - ops_);
      c->both.fetch_add(1, seq_cst);  // BOTH: before the node is seen
    }
    section in(me.smr);
    for (;;) {
      if (sel::phase_of(word.load(relaxed)) != sel::registering) break;  // relaxed: a hint, the commit decides
      std::uint64_t w = c->word.load(acquire);
      auto k = word::kind_of(w);
      if (k == word::open) {
        bool ready = c->capacity != 0 && (op.send ? word::count_of(w) < c->capacity : word::count_of(w) != 0);
        if (ready) break;
        std::uint32_t head = c->capacity != 0 ? word::head_of(w) : 0;
        n->position.store(head, relaxed);
        // WORD, LIST-APPEND release
        if (!c->word.compare_exchange_strong(w, word::list(static_cast<word::kind>(mine), n, op.send ? head : 0),
                                             acq_rel, relaxed))
          continue;
        op.node = n;
        return true;
      }
      if (k == (op.send ? word::sender : word::receiver)) {
        if (opposite) break;  // our partner, by the other case
        wait_node* first = make_node(me, word::waiter_of(w), static_cast<word::kind>(mine), 0);
        first->next.store(link::to(n), relaxed);
        if (!c->word.compare_exchange_strong(w, word::list(static_cast<word::kind>(mine), first, 0), acq_rel,
                                             relaxed)) {
          smr_free(me.smr, first);
          continue;
        }
        op.node = n;
        return true;
      }
      if (k != mine || (w & word::closing))
        break;  // a partner, a close, or another select's node: the poll deals with it
      wait_node* last = find_last(c, me, w);
      if (!last) continue;
      // Somebody stands here who is also our partner, or (opposite) we come to stand where others are: the poll has looked, but before
      // this node could be seen. A look behind it is needed.
      if (c->both.load(acquire) > (opposite ? 1U : 0U)) {
        if (foreign_both(me, w)) break;
      }
      if (opposite && foreign_any(me, w)) break;
      n->position.store(last->position.load(relaxed), relaxed);
      std::uint64_t none = 0;
      if (!last->next.compare_exchange_strong(none, link::to(n), acq_rel, relaxed)) continue;  // LIST-APPEND release
      op.node = n;
      return true;
    }
    if (opposite) c->both.fetch_sub(1, release);
    smr_free(me.smr, n);
    return false;
  }

  // Is there a live node of somebody else's that has the opposite case as well?
  static bool foreign_both(caller& me, std::uint64_t w) {
    for (wait_node* n = word::node_of(w); n;) {
      std::uint64_t next = n->next.load(acquire);
      if (!link::marked(next) && n->other_slot && n->who != me.who() && lives(n)) return true;
      n = link::node(next);
    }
    return false;
  }

  // A select that could go either way meets a list of those who wait to go one way: it is their partner by its other case.
  bool foreign_any(caller& me, std::uint64_t w) const {
    for (wait_node* n = word::node_of(w); n;) {
      std::uint64_t next = n->next.load(acquire);
      if (!link::marked(next) && !is_ours(me, n) && lives(n)) return true;
      n = link::node(next);
    }
    return false;
  }

  static bool is_ours(caller& me, const wait_node* n) {
    return n->select && n->select == (me.m ? &me.m->curg->select : &me.smr->select);
  }

  static bool lives(const wait_node* n) {
    if (!n->select) return true;
    std::uint64_t s = n->select->load(acquire);
    return sel::ticket_of(s) == sel::ticket_of(n->ticket) &&
           (sel::phase_of(s) == sel::waiting || sel::phase_of(s) == sel::registering);
  }

  using kind8 = word::kind8;

  select_op* ops_;
  std::size_t n_;
  std::uint16_t few_[few];
  std::unique_ptr<std::uint16_t[]> many_;
  std::uint16_t* order_;
  fast_rand thread_rand_{0};
};

}  // namespace

void throw_too_many_cases() { throw std::length_error("weft::select: more than 65,535 cases"); }

std::size_t select_ops(select_op* ops, std::size_t n, bool otherwise, bool* closed) {
  attempt a(ops, n);
  if (a.hopeless()) {
    if (otherwise) return no_case;
    block_forever(wait_reason::select_empty);
  }
  a.shuffle();
  for (std::uint32_t times = 0;; ++times) {
    std::size_t which = a.poll(otherwise, closed);
    if (which != no_case || otherwise) return which;
    which = a.wait(closed);
    if (which != no_case) return which;
    a.back_off(times);
  }
}

}  // namespace weft::rt
