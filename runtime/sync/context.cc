// SPDX-License-Identifier: MIT
//
// The tree of contexts.
//
//   I1  A child counts its parent; a parent lists its children without counting them. A child leaves the list, under the parent's lock, before
//       it is freed, so what is listed is there; but its count may be zero, and then it is not to be revived: try_share.
//   I2  `code` goes from none to its value once, under lk, and the children that are listed at that moment are cancelled by whoever did it.
//       Who comes to the list later sees `code`, and cancels itself.
//   I3  No lock is held while anything is closed, called or freed. Locks are not nested.
//   I4  A pending deadline counts nothing. Who frees a node stops its timer, and waits for its fire(), unless fire() has taken `armed` away:
//       it holds a count itself then, and may well be the one who frees.

#include "context.h"

#include <stdexcept>

#include "../base/lock.h"
#include "../os/clock.h"
#include "../sched/timer.h"

namespace weft {

namespace rt {

namespace {

struct on_stop {
  cancel_node* n;
  void operator()() const noexcept;
};

}  // namespace

struct cancel_node final : context_node, timer {
  explicit cancel_node(context_node* p, chan<std::monostate> d = make_chan<std::monostate>())
      : context_node(p), done(std::move(d)) {
    above = cancels;
    cancels = this;
    if (above) deadline = above->deadline;
    count_parent();
  }
  ~cancel_node() override;

  cancel_node* above = nullptr;  // alive: `parent` counts it
  chan<std::monostate> done;
  std::int64_t deadline = no_deadline;  // for good
  // The timer is pending, or on its way to fire(). relaxed: a token for one; what it is about goes by lk, the timer's home and refs.
  atomic<bool> armed{false};
  atomic<int> code{0};  // written under lk: 0 or an errc

  runtime_lock lk;
  std::exception_ptr why;                    // lk; for good once code is set
  cancel_node* children = nullptr;           // lk
  cancel_node* next = nullptr;               // above->lk
  cancel_node** link = nullptr;              // above->lk: what points at us; null: not listed
  cancel_node* next_work = nullptr;          // whoever cancels
  std::stop_source stops{std::nostopstate};  // lk
  std::optional<std::stop_callback<on_stop>> token;
};

namespace {

// False: its count is zero, and it is about to go.
bool try_share(context_node* n) noexcept {
  std::uint64_t refs = n->refs.load(relaxed);  // relaxed: as a shared_ptr's count; who lists n keeps its memory
  while (refs != 0)
    // relaxed: what the share leads to comes by the lock
    if (n->refs.compare_exchange_weak(refs, refs + 1, relaxed, relaxed)) return true;
  return false;
}

// The list is above's, whose lock is held.
void unlist(cancel_node* n) noexcept {
  if (!n->link) return;
  *n->link = n->next;
  if (n->next) n->next->link = n->link;
  n->link = nullptr;
  n->next = nullptr;
}

// Marks n, and returns its children, counted, in front of `work`.
cancel_node* cancel_one(cancel_node* n, int code, const std::exception_ptr& why, cancel_node* work) noexcept {
  std::stop_source stops{std::nostopstate};
  {
    lock_scope hold(n->lk);
    if (n->code.load(relaxed) != 0) return work;  // relaxed: lk
    n->why = why;
    n->code.store(code, release);  // CONTEXT-ERR release -> acquire in err(), cause(): `why`
    stops = n->stops;
    while (cancel_node* child = n->children) {
      unlist(child);
      if (!try_share(child)) continue;
      child->next_work = work;
      work = child;
    }
  }
  close_chan(n->done.core());
  if (n->armed.exchange(false, relaxed)) stop_timer(*n);
  stops.request_stop();
  return work;
}

void cancel_tree(cancel_node* n, int code, const std::exception_ptr& why) noexcept {
  cancel_node* work = cancel_one(n, code, why, nullptr);
  while (work) {
    cancel_node* child = work;
    work = cancel_one(child, code, why, child->next_work);
    drop_context(child);
  }
}

// Under its parent from now on.
void enlist(cancel_node* n) noexcept {
  cancel_node* up = n->above;
  if (!up) return;
  int code;
  std::exception_ptr why;
  {
    lock_scope hold(up->lk);
    code = up->code.load(relaxed);  // relaxed: lk
    if (code == 0) {
      n->next = up->children;
      if (n->next) n->next->link = &n->next;
      n->link = &up->children;
      up->children = n;
      return;
    }
    why = up->why;
  }
  cancel_tree(n, code, why);
}

void fire_deadline(timer* t) noexcept {
  auto* n = static_cast<cancel_node*>(t);
  if (!try_share(n)) return;  // ~cancel_node waits for us
  if (n->armed.exchange(false, relaxed)) cancel_tree(n, static_cast<int>(std::errc::timed_out), nullptr);
  drop_context(n);  // the last touch
}

// relaxed: TIMER-FIRED carries it to who stops the timer
void drop_deadline(timer* t) { static_cast<cancel_node*>(t)->armed.store(false, relaxed); }

void on_stop::operator()() const noexcept {
  if (!try_share(n)) return;  // ~cancel_node waits for us
  cancel_tree(n, static_cast<int>(std::errc::operation_canceled), nullptr);
  drop_context(n);
}

}  // namespace

context_node::context_node(context_node* p) noexcept : parent(p) {
  if (p) cancels = p->cancels;
}

// drop_context goes on with the parent.
context_node::~context_node() = default;

const void* context_node::find(const std::type_info& /*key_type*/, const void* /*key*/,
                               const std::type_info& /*value_type*/) const {
  return nullptr;
}

cancel_node::~cancel_node() {
  if (above) {
    lock_scope hold(above->lk);
    unlist(this);
  }
  if (armed.exchange(false, relaxed)) stop_timer(*this);
}

void drop_context(context_node* n) noexcept {
  // A loop: a chain of a million contexts goes without recursion. acq_rel: the last one out sees all that the others did.
  while (n && n->refs.fetch_sub(1, acq_rel) == 1) {
    context_node* up = n->parent;
    delete n;
    n = up;
  }
}

void cancel_context(cancel_node* n, const std::exception_ptr& cause) noexcept {
  cancel_tree(n, static_cast<int>(std::errc::operation_canceled), cause);
}

context_node* make_cancel_node(context_node* parent) {
  auto* n = new cancel_node(parent);
  enlist(n);
  return n;
}

context_node* make_deadline_node(context_node* parent, std::int64_t when_ns) {
  M* m = self();
  if (!m || !m->curg) throw std::logic_error("weft::with_deadline, with_timeout called outside of weft::run");
  context made(new cancel_node(parent));
  auto* n = static_cast<cancel_node*>(made.node());
  if (when_ns < n->deadline) {
    n->deadline = when_ns;
    if (when_ns > os::now_ns()) {
      n->fire = fire_deadline;
      n->drop = drop_deadline;
      n->armed.store(true, relaxed);  // relaxed: published by the timer heap's lock
      try {
        start_timer(*n, when_ns);
      } catch (...) {
        n->armed.store(false, relaxed);  // relaxed: nobody else knows it yet
        throw;
      }
    } else {
      cancel_tree(n, static_cast<int>(std::errc::timed_out), nullptr);
    }
  }
  enlist(n);
  return made.release();
}

context_node* make_stop_node(context_node* parent, std::stop_token token) {
  auto* n = new cancel_node(parent);
  enlist(n);
  n->token.emplace(std::move(token), on_stop{n});
  return n;
}

}  // namespace rt

recv_chan<std::monostate> context::done() const noexcept {
  return node_ && node_->cancels ? recv_chan<std::monostate>(node_->cancels->done) : recv_chan<std::monostate>();
}

std::error_code context::err() const noexcept {
  int code = node_ && node_->cancels ? node_->cancels->code.load(acquire) : 0;  // CONTEXT-ERR
  return code != 0 ? std::make_error_code(static_cast<std::errc>(code)) : std::error_code();
}

std::exception_ptr context::cause() const {
  std::error_code code = err();
  if (!code) return nullptr;
  if (node_->cancels->why) return node_->cancels->why;
  return std::make_exception_ptr(std::system_error(code, "weft::context"));
}

std::optional<steady_time> context::deadline() const noexcept {
  if (!node_ || !node_->cancels || node_->cancels->deadline == rt::no_deadline) return std::nullopt;
  return steady_time(std::chrono::nanoseconds(node_->cancels->deadline));
}

std::stop_token context::stop_token() const {
  if (!node_ || !node_->cancels) return {};
  rt::cancel_node* n = node_->cancels;
  std::stop_source fresh;
  std::stop_token token;
  bool stopped;
  {
    lock_scope hold(n->lk);
    if (!n->stops.stop_possible()) n->stops = fresh;
    token = n->stops.get_token();
    stopped = n->code.load(relaxed) != 0;  // relaxed: lk
    fresh = n->stops;
  }
  if (stopped) fresh.request_stop();
  return token;
}

}  // namespace weft
