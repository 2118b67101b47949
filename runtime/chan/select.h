// SPDX-License-Identifier: MIT
//
// select: waits for the first of several channel operations that can take place.
//
//   std::size_t i = weft::select(
//       weft::on_recv(c, [](std::optional<int> v) { ... }),      // empty: closed and drained
//       weft::on_send(d, value, [] { ... }),
//       weft::otherwise([] { ... }));                             // optional: then it does not wait
//
// Returns the index of the case that took place; its handler has run. Handlers run after the operation took effect, when nothing of the
// select is left behind, so they may park, select and throw.
//
//   ours                                        Go's
//   among ready cases the choice is uniform     the same
//   a nil channel's case is never ready         the same
//   no cases, or nil ones only, no otherwise    blocks for ever; the same
//   send case on a closed channel               throws closed_channel; panics
//   value of a send case                        evaluated once, moved from only if the case is chosen
//   otherwise judges one moment                 the same: no case was ready at some one point of time during the call
//   the same channel several times, both ways   allowed; a select never meets itself
//   number of cases                             1 to 65,535, the same
//
// The list of cases may also be made at run time: std::vector<select_case> of on_recv and on_send.
//
// Progress. Polling and completing are lock-free as channel operations are (chan_core.h); so is a select that meets plain operations. Two
// selects that meet each other while both still register knock each other out and start anew: obstruction-free, with random pauses.
// A thread stopped inside a select holds up nobody: its nodes are taken out by whoever meets them, and if it has been claimed already,
// the one partner that claimed it has all that it needs.
//
// May be called from ordinary threads, where it blocks the thread. Cost: see bench/README.md.
//
// How: wait_list.h (nodes, claims), select.cc (the attempt). Sources: Go select.go (poll order, pass structure); the registering rule is
// Reppy's and Panangaden's (Concurrent ML's select on a shared-memory machine needs either locks or such a phase).

#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "chan.h"

namespace weft {

namespace rt {

struct wait_node;

// One case, whatever it carries.
struct select_op {
  chan_core* chan = nullptr;  // null: never ready
  void* slot = nullptr;       // send: T*; receive: std::optional<T>*
  bool send = false;
  // select's
  wait_node* node = nullptr;
  std::uint64_t lone = 0;  // the channel's word while we stand there alone
  std::uint64_t seen = 0;
  std::uint64_t both_seen = 0;
  bool tried = false;
  select_op* other = nullptr;  // in the node of another case, which waits in this channel the other way round
};

inline constexpr std::size_t no_case = ~std::size_t{0};

// The index of the case that took place, or no_case (otherwise). *closed: it did so because the channel is closed.
WEFT_API std::size_t select_ops(select_op* ops, std::size_t n, bool otherwise, bool* closed);
[[noreturn]] WEFT_API void throw_too_many_cases();

template <class T, class F>
struct recv_case {
  static constexpr bool is_otherwise = false;
  chan_handle handle;
  F handler;
  std::optional<T> value;

  select_op op() { return {.chan = handle.core(), .slot = &value, .send = false}; }
  void run(bool /*closed*/) { std::invoke(std::move(handler), std::move(value)); }
};

template <class T, class F>
struct send_case {
  static constexpr bool is_otherwise = false;
  chan_handle handle;
  T value;
  F handler;

  select_op op() { return {.chan = handle.core(), .slot = std::addressof(value), .send = true}; }
  void run(bool closed) {
    if (closed) throw_send_on_closed();
    std::invoke(std::move(handler));
  }
};

template <class F>
struct otherwise_case {
  static constexpr bool is_otherwise = true;
  F handler;
  void run(bool /*closed*/) { std::invoke(std::move(handler)); }
};

template <class C>
concept channel_face = requires(const C& c) {
  typename C::value_type;
  { c.core() } -> std::same_as<chan_core*>;
};

struct nothing {
  void operator()(auto&&...) const {}
};

inline chan_handle share(const chan_base& c) {
  chan_core* core = c.core();
  if (core) core->refs.fetch_add(1, relaxed);  // relaxed: who shares holds one already
  return chan_handle(core);
}

}  // namespace rt

// A case that receives from c (a chan or recv_chan) and calls handler(std::optional<T>).
template <rt::channel_face C, class F = rt::nothing>
requires std::invocable<std::decay_t<F>, std::optional<typename C::value_type>>
auto on_recv(const C& c, F&& handler = {}) {
  return rt::recv_case<typename C::value_type, std::decay_t<F>>{rt::share(c), std::forward<F>(handler), std::nullopt};
}

// A case that sends `value` to c (a chan or send_chan) and calls handler().
template <rt::channel_face C, class V, class F = rt::nothing>
requires std::invocable<std::decay_t<F>> && std::constructible_from<typename C::value_type, V>
auto on_send(const C& c, V&& value, F&& handler = {}) {
  using T = typename C::value_type;
  return rt::send_case<T, std::decay_t<F>>{rt::share(c), T(std::forward<V>(value)), std::forward<F>(handler)};
}

// What to do when no case is ready; last.
template <class F = rt::nothing>
requires std::invocable<std::decay_t<F>>
auto otherwise(F&& handler = {}) { return rt::otherwise_case<std::decay_t<F>>{std::forward<F>(handler)}; }

// Static form: no allocation, handlers inlined.
template <class... Cases>
requires(requires { std::decay_t<Cases>::is_otherwise; } && ...) std::size_t select(Cases&&... cases) {
  constexpr std::size_t n = sizeof...(Cases);
  constexpr std::size_t otherwises = (std::size_t{std::decay_t<Cases>::is_otherwise} + ... + 0);
  static_assert(otherwises <= 1, "weft::select: more than one otherwise");
  if constexpr (n == 0) {
    rt::select_ops(nullptr, 0, false, nullptr);
    return 0;
  } else {
    constexpr std::array<bool, n> flags{std::decay_t<Cases>::is_otherwise...};
    static_assert(otherwises == 0 || flags[n - 1], "weft::select: otherwise comes last");
    std::array<rt::select_op, n> ops{[](auto& c) {
      if constexpr (std::decay_t<decltype(c)>::is_otherwise)
        return rt::select_op{};
      else
        return c.op();
    }(cases)...};
    bool closed = false;
    std::size_t which = rt::select_ops(ops.data(), n - otherwises, otherwises != 0, &closed);
    if (which == rt::no_case) which = n - 1;
    std::size_t i = 0;
    ((i++ == which ? cases.run(closed) : void()), ...);
    return which;
  }
}

// A case for a list made at run time; made from what on_recv and on_send return. Move-only. Used up by the select that it wins.
class select_case {
 public:
  template <class C>
  requires(!std::same_as<std::decay_t<C>, select_case>) && requires(std::decay_t<C>& c) {
    { c.op() } -> std::same_as<rt::select_op>;
  }
  select_case(C&& c)  // NOLINT(google-explicit-constructor): so that a braced list of cases is a list of select_case
      : case_(new holder<std::decay_t<C>>(std::forward<C>(c))) {}

 private:
  friend std::size_t select(std::vector<select_case>& cases);
  template <class F>
  friend std::size_t select(std::vector<select_case>& cases, rt::otherwise_case<F> what);

  struct any_case {
    virtual ~any_case() = default;
    virtual rt::select_op op() = 0;
    virtual void run(bool closed) = 0;
  };
  template <class C>
  struct holder final : any_case {
    explicit holder(C c) : held(std::move(c)) {}
    rt::select_op op() override { return held.op(); }
    void run(bool closed) override { held.run(closed); }
    C held;
  };
  static std::size_t choose(std::vector<select_case>& cases, bool otherwise) {
    if (cases.size() >= (std::size_t{1} << 16)) rt::throw_too_many_cases();
    std::vector<rt::select_op> ops;
    ops.reserve(cases.size());
    for (auto& c : cases) ops.push_back(c.case_->op());
    bool closed = false;
    std::size_t which = rt::select_ops(ops.data(), ops.size(), otherwise, &closed);
    if (which != rt::no_case) cases[which].case_->run(closed);
    return which;
  }

  std::unique_ptr<any_case> case_;
};

// Run-time form. The case that took place has been used up: its handler moved from, and for a send its value.
inline std::size_t select(std::vector<select_case>& cases) { return select_case::choose(cases, false); }
inline std::size_t select(std::vector<select_case>&& cases) { return select(cases); }

// ... with an otherwise, which has the index cases.size().
template <class F>
std::size_t select(std::vector<select_case>& cases, rt::otherwise_case<F> what) {
  std::size_t which = select_case::choose(cases, true);
  if (which != rt::no_case) return which;
  what.run(false);
  return cases.size();
}

}  // namespace weft
