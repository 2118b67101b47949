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
// A thread stopped inside a select holds up nobody but a partner, as chan_core.h says of channel operations: its words and nodes are taken out
// by whoever meets them, and if it has been claimed already, the one partner that claimed it has all that it needs. Tested there, too.
//
// Throws what memory for a node may (std::bad_alloc), before anything has happened.
//
// May be called from ordinary threads, where it blocks the thread. Cost: see bench/README.md.
//
// How: wait_list.h (nodes, claims), select.cc (the attempt). Sources: Go select.go (poll order, pass structure); the registering rule is
// Reppy's and Panangaden's (Concurrent ML's select on a shared-memory machine needs either locks or such a phase).

#pragma once

#include <array>
#include <bit>
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

// The channel of a case: an lvalue's is borrowed, as the handle stays with the caller; a temporary's is held.
class borrowed_chan {
 public:
  explicit borrowed_chan(const chan_base& c) : core_(c.core()) {}
  chan_core* core() const { return core_; }

 private:
  chan_core* core_;
};

inline chan_handle share(chan_core* core) {
  if (core) core->refs.fetch_add(1, relaxed);  // relaxed: who shares holds one already
  return chan_handle(core);
}

struct nothing {
  void operator()(auto&&...) const {}
};

template <class T, class F, class Chan>
struct recv_case {
  static constexpr bool is_otherwise = false;
  using slot = std::optional<T>;  // what select_ops needs beside the case
  Chan chan;
  F handler;

  select_op op(slot& v) { return {.chan = chan.core(), .slot = &v, .send = false}; }
  void run(slot& v, bool /*closed*/) { std::invoke(std::move(handler), std::move(v)); }
  recv_case<T, F, chan_handle> held() && { return {share(chan.core()), std::move(handler)}; }

  [[gnu::always_inline]] static stands look(const chan_core& c, std::uint64_t w) { return receive_stands(c, w); }
  // Takes place, handler and all, if it is ready by w. False: it is not any more.
  [[gnu::always_inline]] bool take(M* m, std::uint64_t w) {
    std::optional<T> v;
    if (!typed_chan<T>::receive_ready(m, chan.core(), w, &v)) [[unlikely]]
      return false;
    std::invoke(std::move(handler), std::move(v));
    return true;
  }
};

template <class T, class F, class Chan>
struct send_case {
  static constexpr bool is_otherwise = false;
  using slot = nothing;
  Chan chan;
  T value;
  F handler;

  select_op op(slot& /*none*/) { return {.chan = chan.core(), .slot = std::addressof(value), .send = true}; }
  void run(slot& /*none*/, bool closed) {
    if (closed) throw_send_on_closed();
    std::invoke(std::move(handler));
  }
  send_case<T, F, chan_handle> held() && { return {share(chan.core()), std::move(value), std::move(handler)}; }

  [[gnu::always_inline]] static stands look(const chan_core& c, std::uint64_t w) { return send_stands(c, w); }
  [[gnu::always_inline]] bool take(M* m, std::uint64_t w) {
    if (!typed_chan<T>::send_ready(m, chan.core(), w, std::addressof(value))) [[unlikely]]
      return false;
    std::invoke(std::move(handler));
    return true;
  }
};

template <class F>
struct otherwise_case {
  static constexpr bool is_otherwise = true;
  using slot = nothing;
  F handler;

  select_op op(slot& /*none*/) { return {}; }
  void run(slot& /*none*/, bool /*closed*/) { std::invoke(std::move(handler)); }
  [[gnu::always_inline]] bool take(M* /*m*/, std::uint64_t /*w*/) { return false; }
};

template <class C>
concept channel_face = requires(const C& c) {
  typename C::value_type;
  { c.core() } -> std::same_as<chan_core*>;
};

template <class C>
using case_chan = std::conditional_t<std::is_lvalue_reference_v<C>, borrowed_chan, chan_handle>;

template <class C>
case_chan<C> chan_of(const std::remove_reference_t<C>& c) {
  if constexpr (std::is_lvalue_reference_v<C>)
    return borrowed_chan(c);
  else
    return share(c.core());
}

inline constexpr std::size_t undecided = no_case - 1;

// What the inlined poll has seen.
template <std::size_t N>
struct polled {
  std::array<std::uint64_t, N> words{};
  unsigned ready = 0;  // a bit per case
  bool open = true;    // no word but open ones, which never come twice
  bool simple = true;
  bool same = true;
};

template <std::size_t I, bool Otherwise, class Case, std::size_t N>
[[gnu::always_inline]] inline void poll_case(M* m, const Case& c, polled<N>& p) {
  if constexpr (!Case::is_otherwise) {
    const chan_core* k = c.chan.core();
    if (!k) [[unlikely]]
      return;
    const std::uint64_t w = k->word.load(Otherwise ? seq_cst : acquire);  // MOVE acquire; SETTLED
    p.words[I] = w;
    if (word::kind_of(w) != word::open) p.open = false;
    const stands how = Case::look(*k, w);
    if (how == stands::ready) p.ready |= 1U << I;
    if (how == stands::complicated) p.simple = false;
    if (Otherwise && how == stands::idle && !is_settled(m, k->word, w)) p.simple = false;
  }
}

template <std::size_t I, class Case, std::size_t N>
[[gnu::always_inline]] inline void poll_case_again(const Case& c, polled<N>& p) {
  if constexpr (!Case::is_otherwise)
    if (const chan_core* k = c.chan.core(); k && k->word.load(relaxed) != p.words[I])  // relaxed: as in select.cc, 2
      p.same = false;
}

template <class Case>
[[gnu::always_inline]] inline void pass(Case& c) {
  if constexpr (Case::is_otherwise) std::invoke(std::move(c.handler));
}

// The poll, inlined: one load per channel when nothing is there, one locked instruction when something is. The index of the case that took
// place, its handler run; the otherwise's, if there is one and none was ready at one moment; or undecided, and nothing has happened.
// The choice is uniform as select_ops' is: whatever is ready here can be taken here, or all is left to select_ops. Between two it is so by
// pairs (fast_rand::coin): of two in a row one goes either way. (A select of two that are ready and the send for it, capacity 128, p = 1, least of seven in turn: 14.4 -> 12.8 ns.)
// Case by case with constant indices: what the poll has seen stays in registers (a loop, or a lambda that is not inlined, keeps it in
// memory: 4.1 ns for a try in vain instead of 1.7).
template <bool Otherwise, std::size_t... I, class... Cases>
[[gnu::always_inline]] inline std::size_t select_inlined(std::index_sequence<I...> /*of cases*/, Cases&... cases) {
  constexpr std::size_t n = sizeof...(Cases);
  M* m = self();
  if (!m) [[unlikely]]
    return undecided;
  polled<n> p;
  (poll_case<I, Otherwise>(m, cases, p), ...);
  if (!p.simple) [[unlikely]]
    return undecided;
  if (p.ready == 0) {
    if (!Otherwise || !p.open) return undecided;
    if constexpr (n > 2) {  // of two cases one is the otherwise
      (poll_case_again<I>(cases, p), ...);
      if (!p.same) return undecided;
    }
    cooperate(m);
    (pass(cases), ...);
    return n - 1;
  }
  unsigned ready = p.ready;
  if ((ready & (ready - 1)) != 0) {
    // No loop and no branch on the random number, each of which would be mispredicted; one on the case is enough. No popcount, either: a
    // call, where the target's instruction set has none.
    if constexpr (n - Otherwise == 2) {
      ready = 1U << m->rand.coin();
    } else {
      const std::uint32_t skip = m->rand.below(((ready >> I & 1) + ...));
      ((ready = I < skip ? ready & (ready - 1) : ready), ...);
    }
  }
  const auto which = static_cast<unsigned>(std::countr_zero(ready));
  return ((which == I && cases.take(m, p.words[I])) || ...) ? which : undecided;
}

// What the inlined poll leaves. A call of its own, so that its table of cases is no part of the frame of those who do not need it.
template <bool Otherwise, class... Cases>
[[gnu::noinline]] std::size_t select_out_of_line(Cases... cases) {
  constexpr std::size_t n = sizeof...(Cases);
  std::tuple<typename std::remove_reference_t<Cases>::slot...> slots;
  return std::apply(
      [&](auto&... slot) {
        std::array<select_op, n> ops{cases.op(slot)...};
        bool closed = false;
        std::size_t which = select_ops(ops.data(), n - Otherwise, Otherwise, &closed);
        if (which == no_case) which = n - 1;
        std::size_t i = 0;
        ((i++ == which ? cases.run(slot, closed) : void()), ...);
        return which;
      },
      slots);
}

// In registers, if it fits: a case that is passed by reference is written to memory in each select, also where nothing is passed, and
// the locked instruction to come waits for that.
template <class Case>  // as deduced for Case&&: a reference is a case that the caller keeps, with its handler's state
using passed =
    std::conditional_t<!std::is_reference_v<Case> && std::is_trivially_copyable_v<Case> && sizeof(Case) <= 16, Case,
                       std::remove_reference_t<Case>&>;

// A select of no list, in its caller.
template <bool Otherwise, class... Cases>
[[gnu::always_inline]] inline std::size_t select_here(Cases&&... cases) {
  constexpr std::size_t n = sizeof...(Cases);
  if constexpr (n <= 8) {
    const std::size_t which = select_inlined<Otherwise>(std::make_index_sequence<n>{}, cases...);
    if (which != undecided) [[likely]]
      return which;
  }
  return select_out_of_line<Otherwise, passed<Cases>...>(cases...);
}
// ... wherever the compiler will.
template <bool Otherwise, class... Cases>
std::size_t select_anywhere(Cases&&... cases) {
  return select_here<Otherwise, Cases...>(std::forward<Cases>(cases)...);
}

}  // namespace rt

// A case that receives from c (a chan or recv_chan) and calls handler(std::optional<T>).
// Lifetime. Written inside the select's call, nothing can go wrong. A case that is stored refers to c's channel without holding it, unless c was a
// temporary: it must not outlive the handle c, and c must be assigned nothing until the select is over. Then the channel would be gone, and
// the select would touch freed memory. What is to be kept is a select_case, made while c lives: it holds its channel.
template <class C, class F = rt::nothing>
requires rt::channel_face<std::remove_cvref_t<C>> &&
    std::invocable<std::decay_t<F>, std::optional<typename std::remove_cvref_t<C>::value_type>>
auto on_recv(C&& c, F&& handler = {}) {
  using T = typename std::remove_cvref_t<C>::value_type;
  return rt::recv_case<T, std::decay_t<F>, rt::case_chan<C>>{rt::chan_of<C>(c), std::forward<F>(handler)};
}

// A case that sends `value` to c (a chan or send_chan) and calls handler(). c as above.
template <class C, class V, class F = rt::nothing>
requires rt::channel_face<std::remove_cvref_t<C>> && std::invocable<std::decay_t<F>> &&
    std::constructible_from<typename std::remove_cvref_t<C>::value_type, V>
auto on_send(C&& c, V&& value, F&& handler = {}) {
  using T = typename std::remove_cvref_t<C>::value_type;
  return rt::send_case<T, std::decay_t<F>, rt::case_chan<C>>{rt::chan_of<C>(c), T(std::forward<V>(value)),
                                                             std::forward<F>(handler)};
}

// What to do when no case is ready; last.
template <class F = rt::nothing>
requires std::invocable<std::decay_t<F>>
auto otherwise(F&& handler = {}) { return rt::otherwise_case<std::decay_t<F>>{std::forward<F>(handler)}; }

// Static form: no allocation, handlers inlined.
template <class... Cases>
requires(requires { std::decay_t<Cases>::is_otherwise; } && ...) [[gnu::always_inline]] inline std::size_t
    select(Cases&&... cases) {
  constexpr std::size_t n = sizeof...(Cases);
  constexpr std::size_t otherwises = (std::size_t{std::decay_t<Cases>::is_otherwise} + ... + 0);
  static_assert(otherwises <= 1, "weft::select: more than one otherwise");
  if constexpr (n == 0) {
    rt::select_ops(nullptr, 0, false, nullptr);
    return 0;
  } else {
    constexpr std::array<bool, n> flags{std::decay_t<Cases>::is_otherwise...};
    static_assert(otherwises == 0 || flags[n - 1], "weft::select: otherwise comes last");
    constexpr bool can_pass = otherwises != 0;
    // A try stands in its caller: a frame for what it seldom needs would be most of its cost (in vain, one case, p = 1: 1.9 -> 0.8 ns).
    if constexpr (can_pass && n <= 3)
      return rt::select_here<can_pass, Cases...>(std::forward<Cases>(cases)...);
    else
      return rt::select_anywhere<can_pass, Cases...>(std::forward<Cases>(cases)...);
  }
}

// A case for a list made at run time; made from what on_recv and on_send return, holds its channel. Move-only. Used up by the select that it wins.
class select_case {
 public:
  template <class C>
  requires(!std::same_as<std::decay_t<C>, select_case>) && requires(std::decay_t<C>& c) { std::move(c).held(); }
  // NOLINTNEXTLINE(google-explicit-constructor,bugprone-forwarding-reference-overload): a braced list of cases is a list of select_case
  select_case(C&& c) : case_(hold(std::decay_t<C>(std::forward<C>(c)).held())) {}

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
    rt::select_op op() override { return held.op(value); }
    void run(bool closed) override { held.run(value, closed); }
    C held;
    typename C::slot value;
  };
  template <class C>
  static any_case* hold(C c) {
    return new holder<C>(std::move(c));
  }
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
  rt::nothing none;
  what.run(none, false);
  return cases.size();
}

}  // namespace weft
