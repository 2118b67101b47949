// SPDX-License-Identifier: MIT
//
// context: who has to stop, by when, and why; passed down from caller to callee.
//
//   ours                                           Go's context                 std's
//   context::background()                          Background()                 std::stop_token{}
//   auto [ctx, cancel] = with_cancel(parent)       WithCancel                   std::stop_source
//   with_timeout(parent, d), with_deadline(.., t)  WithTimeout, WithDeadline    -
//   with_cancel_cause(parent)                      WithCancelCause              -
//   with_value(parent, key, v)                     WithValue                    -
//   with_stop_token(parent, token)                 -                            a context from a stop_token
//   ctx.done() -> recv_chan<std::monostate>        Done(); nil for background   stop_callback
//   ctx.err() -> std::error_code                   Err()                        stop_requested()
//   ctx.cause() -> std::exception_ptr              Cause(ctx)                   -
//   ctx.deadline() -> optional<time_point>         Deadline()                   -
//   ctx.value<V>(key) -> const V*                  Value(key).(V)               -
//   ctx.stop_token()                               -                            get_token()
//   ~cancel_handle cancels                         defer cancel()               ~std::jthread requests a stop
//
// A context is a shared handle: copied freely, thread-safe, immutable but for being cancelled once. Cancelling reaches all descendants, and
// nobody else; a child never outlives its parent's cancellation. done() is closed then, and never carries a value:
//
//   weft::select(weft::on_recv(work, [&](auto v) { ... }), weft::on_recv(ctx.done(), [&](auto) { ... }));
//
// err() is empty, std::errc::operation_canceled, or std::errc::timed_out; done() is closed after err() is set.
//
// The cancel handle is move-only, and cancels when it is destroyed, as Go programs do by `defer cancel()`: what is bound to a scope ends
// with it. release() gives that up. Calling it again does nothing. A child that is dropped leaves its parent at once; a deadline's timer
// goes with the last handle or with the cancellation. Nothing leaks either way, and no deadline holds up weft::run.
//
// stop_token's callbacks run where the context is cancelled; that may be, for a deadline, the scheduler's own stack. They may send without
// waiting, close, cancel and make others runnable; they must not park, and, as std says, not throw.
//
// Who may call: anyone, also ordinary threads; but with_timeout and with_deadline only goroutines (std::logic_error elsewhere).
// Making a context may throw std::bad_alloc. Cancelling neither parks nor throws, and takes time proportional to the descendants.

#pragma once

#include <chrono>
#include <concepts>
#include <exception>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>

#include "../chan/timer_chan.h"

namespace weft {

class context;

namespace rt {

struct cancel_node;

// A context's body. Counted by its handles and its children.
struct WEFT_API context_node {
  // The parent is not counted yet: a derived constructor may throw, and a destructor does not drop.
  explicit context_node(context_node* parent) noexcept;
  context_node(const context_node&) = delete;
  context_node& operator=(const context_node&) = delete;
  virtual ~context_node();

  // The value under that key, if this node has it: `key` and the answer are of the types named.
  virtual const void* find(const std::type_info& key_type, const void* key, const std::type_info& value_type) const;
  // Last thing in a constructor; the caller holds a count of the parent.
  void count_parent() noexcept {
    if (parent) parent->refs.fetch_add(1, relaxed);  // relaxed: the caller holds one
  }

  atomic<std::uint64_t> refs{1};
  context_node* const parent;      // counted
  cancel_node* cancels = nullptr;  // the nearest that can be cancelled: itself or above
};

WEFT_API void drop_context(context_node* n) noexcept;
WEFT_API void cancel_context(cancel_node* n, const std::exception_ptr& cause) noexcept;
WEFT_API context_node* make_cancel_node(context_node* parent);
WEFT_API context_node* make_deadline_node(context_node* parent, std::int64_t when_ns);
WEFT_API context_node* make_stop_node(context_node* parent, std::stop_token token);

template <class K, class V>
struct value_node final : context_node {
  value_node(context_node* p, K k, V v) : context_node(p), key(std::move(k)), value(std::move(v)) { count_parent(); }
  const void* find(const std::type_info& kt, const void* k, const std::type_info& vt) const override {
    return kt == typeid(K) && vt == typeid(V) && *static_cast<const K*>(k) == key ? &value : nullptr;
  }
  const K key;
  const V value;
};

// Text is compared as text.
template <class K>
using context_key =
    std::conditional_t<std::is_convertible_v<const std::decay_t<K>&, std::string_view>, std::string, std::decay_t<K>>;

}  // namespace rt

class WEFT_API context {
 public:
  context() noexcept = default;  // background
  static context background() noexcept { return {}; }
  context(const context& o) noexcept : node_(o.node_) {
    if (node_) node_->refs.fetch_add(1, relaxed);  // relaxed: who copies holds one already
  }
  context(context&& o) noexcept : node_(std::exchange(o.node_, nullptr)) {}
  context& operator=(context o) noexcept {
    std::swap(node_, o.node_);
    return *this;
  }
  ~context() { rt::drop_context(node_); }

  // Closed once the context is cancelled; nil, so never ready, for background.
  recv_chan<std::monostate> done() const noexcept;
  // Empty as long as it is not cancelled. Wait-free.
  std::error_code err() const noexcept;
  // Null as long as it is not cancelled; then what was given to cancel here or above, else std::system_error(err()).
  std::exception_ptr cause() const;
  std::optional<steady_time> deadline() const noexcept;
  // The nearest value under an equal key of the same type, if it is a V. Lives as long as this handle.
  template <class V, class K>
  const V* value(const K& key) const {
    const rt::context_key<K> k(key);
    for (const rt::context_node* n = node_; n; n = n->parent)
      if (const void* v = n->find(typeid(rt::context_key<K>), &k, typeid(V))) return static_cast<const V*>(v);
    return nullptr;
  }
  // Stops when the context is cancelled. For background one that never does.
  std::stop_token stop_token() const;

  friend bool operator==(const context& a, const context& b) noexcept { return a.node_ == b.node_; }

  explicit context(rt::context_node* n) noexcept : node_(n) {}                    // the runtime's
  rt::context_node* node() const noexcept { return node_; }                       // the runtime's
  rt::context_node* release() noexcept { return std::exchange(node_, nullptr); }  // the runtime's

 private:
  rt::context_node* node_ = nullptr;
};

// Cancels its context: when called, and when destroyed.
class WEFT_API cancel_handle {
 public:
  explicit cancel_handle(context c) noexcept : ctx_(std::move(c)) {}
  cancel_handle(cancel_handle&&) noexcept = default;
  cancel_handle& operator=(cancel_handle&& o) noexcept {
    if (this != &o) {
      (*this)();
      ctx_ = std::move(o.ctx_);
    }
    return *this;
  }
  ~cancel_handle() { (*this)(); }

  void operator()() const noexcept { cancel(nullptr); }
  // From now on only a call through another handle, the parent, or the deadline cancels.
  void release() noexcept { ctx_ = context(); }

 protected:
  void cancel(const std::exception_ptr& cause) const noexcept {
    if (ctx_.node()) rt::cancel_context(ctx_.node()->cancels, cause);
  }

 private:
  context ctx_;
};

// The same, with a reason for cause().
class WEFT_API cancel_cause_handle : public cancel_handle {
 public:
  using cancel_handle::cancel_handle;
  using cancel_handle::operator();
  void operator()(const std::exception_ptr& why) const noexcept { cancel(why); }
  void operator()(std::error_code why) const { cancel(std::make_exception_ptr(std::system_error(why))); }
};

struct cancelable_context {
  context ctx;
  cancel_handle cancel;
};
struct cause_context {
  context ctx;
  cancel_cause_handle cancel;
};

[[nodiscard]] inline cancelable_context with_cancel(const context& parent) {
  context c(rt::make_cancel_node(parent.node()));
  return {c, cancel_handle(c)};
}

[[nodiscard]] inline cause_context with_cancel_cause(const context& parent) {
  context c(rt::make_cancel_node(parent.node()));
  return {c, cancel_cause_handle(c)};
}

// err() is timed_out when d has passed. A parent's earlier deadline holds.
template <class Rep, class Period>
[[nodiscard]] cancelable_context with_timeout(const context& parent, const std::chrono::duration<Rep, Period>& d) {
  context c(rt::make_deadline_node(parent.node(), rt::deadline_after(d)));
  return {c, cancel_handle(c)};
}

// Another clock than steady_clock is looked at once, now.
template <class Clock, class Duration>
[[nodiscard]] cancelable_context with_deadline(const context& parent,
                                               const std::chrono::time_point<Clock, Duration>& t) {
  context c(rt::make_deadline_node(parent.node(), rt::deadline_at(t)));
  return {c, cancel_handle(c)};
}

// Keys are compared by ==, among keys of one type; what converts to std::string_view is kept and compared as text. Use a type of your own for
// keys that must not meet other people's. v is copied or moved in, and must be asked for as the type that it has (decayed).
template <class K, class V>
requires std::equality_comparable<rt::context_key<K>>
[[nodiscard]] context with_value(const context& parent, K&& key, V&& v) {
  return context(new rt::value_node<rt::context_key<K>, std::decay_t<V>>(
      parent.node(), rt::context_key<K>(std::forward<K>(key)), std::forward<V>(v)));
}

// Cancelled when `token` is asked to stop, or with the parent.
[[nodiscard]] inline context with_stop_token(const context& parent, std::stop_token token) {
  return context(rt::make_stop_node(parent.node(), std::move(token)));
}

}  // namespace weft
