// SPDX-License-Identifier: MIT
//
// The operations of a chan<T> as the compiler knows T: how values move between goroutines and through a ring, and the frequent moves of the channel's
// word, inlined into each program. What they do not take on is chan_core.cc's, which is compiled once for all T; what programs see is chan.h.

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

#include "../sched/deadline.h"
#include "chan_core.h"
#include "try_result.h"

namespace weft::rt {

[[noreturn]] WEFT_API void throw_send_on_closed();
[[noreturn]] WEFT_API void throw_bad_capacity(std::size_t capacity);

inline constexpr std::size_t max_capacity = std::size_t{1} << 28;

template <class T>
struct ring_slot {
  atomic<std::uint32_t> turn;
  alignas(T) std::byte room[sizeof(T)];
};

template <class T>
struct typed_chan {
  static_assert(std::is_object_v<T> && !std::is_const_v<T>, "weft::chan<T>: T must be a non-const object type");
  static_assert(
      std::is_nothrow_move_constructible_v<T>,
      "weft::chan<T>: T must be nothrow-move-constructible, as a value that cannot be moved would be lost between two "
      "goroutines");
  static_assert(std::is_nothrow_destructible_v<T>, "weft::chan<T>: T's destructor must not throw");

  using slot = ring_slot<T>;

  // The ring lies behind the channel (new_chan).
  static constexpr std::size_t ring_at = ring_offset(alignof(slot));
  static slot& at(chan_core& c, std::uint32_t position) {
    return reinterpret_cast<slot*>(reinterpret_cast<std::byte*>(&c) + ring_at)[position & c.ring_mask];
  }
  static const slot& at(const chan_core& c, std::uint32_t position) { return at(const_cast<chan_core&>(c), position); }
  static const atomic<std::uint32_t>& turn_of(const chan_core& c, std::uint32_t position) {
    return at(c, position).turn;
  }

  static void hand_over(void* to, void* from) {
    os::plain_write(to);
    os::plain_write(from);
    static_cast<std::optional<T>*>(to)->emplace(std::move(*static_cast<T*>(from)));
  }
  [[gnu::always_inline]] static bool wait_for(atomic<std::uint32_t>& turn, std::uint32_t wanted) {
    bool waited = false;
    for (; !word::same_position(turn.load(acquire), wanted); waited = true) wait_turn(turn, wanted);
    return waited;
  }
  // True: the caller may be on another M now, as T's move may have done something of its own; so are those of ring_put and ring_take, which
  // may have to wait for the slot.
  static constexpr bool moves_away = !std::is_trivially_move_constructible_v<T>;
  // The slot of a position that is the caller's, its turn seen by an acquire.
  [[gnu::always_inline]] static void fill(slot& s, std::uint32_t position, void* from) {
    os::plain_write(s.room);
    os::plain_write(from);
    new (s.room) T(std::move(*static_cast<T*>(from)));
    s.turn.store(position + 1, release);  // RING-FULL release -> acquire by who empties it. Carries the value.
  }
  [[gnu::always_inline]] static void empty(const chan_core& c, slot& s, std::uint32_t position, void* to) {
    os::plain_write(s.room);
    os::plain_write(to);
    T* v = std::launder(reinterpret_cast<T*>(s.room));
    static_cast<std::optional<T>*>(to)->emplace(std::move(*v));
    v->~T();
    s.turn.store(position + c.ring_mask + 1, release);  // RING-FREE release -> acquire by who fills it, a lap later
  }
  static bool ring_put(chan_core& c, std::uint32_t position, void* from) {
    slot& s = at(c, position);
    // RING-FREE acquire <- empty: the slot has been emptied. Weaker, we could write under its reader.
    const bool waited = wait_for(s.turn, position);
    fill(s, position, from);
    return waited || moves_away;
  }
  static bool ring_take(chan_core& c, std::uint32_t position, void* to) {
    slot& s = at(c, position);
    const bool waited = wait_for(s.turn, position + 1);  // RING-FULL acquire <- fill.
    empty(c, s, position, to);
    return waited || moves_away;
  }
  static void destroy(chan_core* c) {
    if (word::is_list(c->word.load(relaxed))) drop_list(c);  // relaxed: as below
    if constexpr (!std::is_trivially_destructible_v<T>) {
      std::uint64_t w = c->word.load(relaxed);  // relaxed: the last handle; ordered by refs
      for (std::uint32_t i = 0, n = c->capacity != 0 ? word::count_of(w) : 0; i < n; ++i)
        std::launder(reinterpret_cast<T*>(at(*c, word::head_of(w) + i).room))->~T();
    }
    delete_chan(c);
  }

  static constexpr elem_ops ops{hand_over, turn_of, ring_put, ring_take, destroy};

  static chan_core* make(std::size_t capacity) {
    if (capacity > max_capacity) throw_bad_capacity(capacity);
    // In a ring of one, "full for position p" and "free for position p + 1" would be the same turn. More than the capacity, where
    // slots are small: then the slot for a position was emptied long ago, and a receiver that is late holds up nobody.
    std::size_t size = 0;
    if (capacity != 0) {
      size = 2;
      while (size < limits::ring_slots && 2 * size * sizeof(slot) <= limits::ring_bytes) size *= 2;
      while (size < capacity) size *= 2;
    }
    chan_core* c = new_chan(ops, size, sizeof(slot), alignof(slot));
    auto* slots = reinterpret_cast<std::byte*>(c) + ring_at;
    for (std::size_t i = 0; i < size; ++i)
      (new (slots + i * sizeof(slot)) slot)->turn.store(static_cast<std::uint32_t>(i), relaxed);
    c->capacity = static_cast<std::uint32_t>(capacity);
    return c;
  }

  // The frequent moves, inline; the table is in word.h. The first four: by w, read just now. False: w is stale.
  // To a lone receiver.
  [[gnu::always_inline]] static bool send_to_lone(M* m, chan_core* c, std::uint64_t w, T* from) {
    P* p = m->p;
    const std::uint64_t open = word::stamped(word::open, next_stamp(p));
    // COMMIT acquire <- the receiver's park: it is ours, with its slot. Not release: see chan_core.h, Edges.
    if (!move_word(m, *c, w, open, acquire)) [[unlikely]]
      return false;
    waiter* r = word::waiter_of(w);
    hand_over(r->slot, from);
    if constexpr (moves_away) p = self()->p;
    ready(p, r);
    cooperate(p);
    return true;
  }

  // From a lone sender.
  [[gnu::always_inline]] static bool receive_from_lone(M* m, chan_core* c, std::uint64_t w, std::optional<T>* to) {
    P* p = m->p;
    const std::uint64_t open = word::stamped(word::open, next_stamp(p));
    if (!move_word(m, *c, w, open, acquire)) [[unlikely]]  // COMMIT acquire
      return false;
    waiter* s = word::waiter_of(w);
    hand_over(to, s->slot);
    if constexpr (moves_away) p = self()->p;
    ready(p, s);
    cooperate(p);
    return true;
  }

  // To a receiver that waits alone at an empty ring. Not inline, as the next one: half as much again in each program's send and receive.
  WEFT_NOINLINE static bool send_to_seated(M* m, chan_core* c, std::uint64_t w, T* from) {
    // WORD, COMMIT acquire <- the receiver's park: the seat; and the waiter, with its slot, when w, which never comes twice, is still there then
    if (c->word.load(acquire) != w) [[unlikely]]
      return false;
    const seated_waiter r = look_at_seat(w);
    // relaxed: w was acquired. Nothing becomes ready or not by it that was not before, so a select's poll need not know what we did before it.
    if (!move_word(m, *c, w, word::ring(word::open, r.position, 0), relaxed)) [[unlikely]]
      return false;
    hand_over(r.who->slot, from);
    if constexpr (moves_away) m = self();
    ready(m, r.who);
    cooperate(m);
    return true;
  }

  // From a full ring, at which a sender waits alone: the oldest value goes out, the sender's comes in behind.
  WEFT_NOINLINE static bool receive_past_seated(M* m, chan_core* c, std::uint64_t w, std::optional<T>* to) {
    if (c->word.load(acquire) != w) [[unlikely]]  // WORD, COMMIT acquire, as in send_to_seated
      return false;
    const seated_waiter s = look_at_seat(w);
    if (!word::same_position(turn_of(*c, s.position).load(relaxed), s.position + 1)) [[unlikely]]  // relaxed: a hint
      return false;
    // relaxed: as in send_to_seated
    if (!move_word(m, *c, w, word::ring(word::open, s.position + 1, c->capacity), relaxed)) [[unlikely]]
      return false;
    const bool moved = ring_take(*c, s.position, to);
    if (ring_put(*c, s.position + c->capacity, s.who->slot) || moved) [[unlikely]]
      m = self();
    ready(m, s.who);
    cooperate(m);
    return true;
  }

  // Into a ring that has room.
  [[gnu::always_inline]] static bool send_to_ring(M* m, chan_core* c, std::uint64_t w, T* from) {
    const std::uint32_t position = word::head_of(w) + word::count_of(w);
    slot& s = at(*c, position);
    // RING-FREE acquire <- empty. If the move finds w still there, the position is ours, and has been free for us alone since this look; not yet
    // free: chan_core.cc, too_early.
    if (!word::same_position(s.turn.load(acquire), position)) [[unlikely]]
      return false;
    // The position is ours. MOVE release -> a select's poll. SETTLED (sched/biased.h): seq_cst.
    P* p = m->p;
    if (!move_word<flag::same>(m, *c, w, word::one_more(w), seq_cst)) [[unlikely]]
      return false;
    fill(s, position, from);
    if constexpr (moves_away) p = self()->p;
    cooperate(p);
    return true;
  }

  // Out of one that is not empty.
  [[gnu::always_inline]] static bool receive_from_ring(M* m, chan_core* c, std::uint64_t w, std::optional<T>* to) {
    const std::uint32_t position = word::head_of(w);
    slot& s = at(*c, position);
    // RING-FULL acquire <- fill, as in send_to_ring
    if (!word::same_position(s.turn.load(acquire), position + 1)) [[unlikely]]
      return false;
    // The position is ours. MOVE release -> a select's poll; SETTLED.
    P* p = m->p;
    if (!move_word<flag::same>(m, *c, w, word::one_less(w), seq_cst)) [[unlikely]]
      return false;
    empty(*c, s, position, to);
    if constexpr (moves_away) p = self()->p;
    cooperate(p);
    return true;
  }

  // Waits as the only one, by `lone`; in a ring's channel with that seat, which is left behind. `no`: has not waited.
  [[gnu::always_inline]] static parked wait_alone(M* m, chan_core* c, std::uint64_t w, std::uint64_t lone,
                                                  select_seat* const& seat, void* slot, wait_reason why) {
    m->curg->slot = slot;
    const parked how = park_by_word(m, *c, w, lone, why);
    if (how == parked::done) [[likely]]
      return how;
    // Who has waited does not touch the channel again: it may be gone.
    if (how >= parked::rose || (how == parked::no && c->capacity != 0)) leave_lone_seat(seat);
    if (how == parked::rose) return parked::done;
    return how == parked::rose_closed ? parked::closed : how;
  }

  // True: sent. False: closed.
  [[gnu::always_inline]] static bool send(chan_core* c, T* from) {
    M* m = self();
    if (c && m) [[likely]] {
      const std::uint64_t w = c->word.load(relaxed);  // relaxed: who takes something by it acquires
      std::uint64_t lone = 0;
      select_seat* seat;
      asm("" : "=m"(seat));  // looked at where it has been set; for all that the compiler knows, everywhere
      if (c->capacity == 0) {
        if (word::kind_of(w) == word::receiver) {
          if (send_to_lone(m, c, w, from)) [[likely]]
            return true;
        } else if (word::kind_of(w) == word::open) {
          lone = word::lone(word::sender, m->curg);
        }
      } else if (word::kind_of(w) == word::open) {
        if (word::count_of(w) < c->capacity) {
          if (send_to_ring(m, c, w, from)) [[likely]]
            return true;
        } else {
          const lone_seat at = take_lone_seat(m, w, true);
          seat = at.seat;
          lone = at.lone;
        }
      } else if (word::kind_of(w) == word::receiver) {
        if (send_to_seated(m, c, w, from)) [[likely]]
          return true;
      }
      if (lone != 0) [[likely]] {
        const parked how = wait_alone(m, c, w, lone, seat, from, wait_reason::chan_send);
        if (how != parked::no) [[likely]]
          return how == parked::done;
      }
    }
    return send_slow(c, from, true, true) == chan_result::done;
  }

  // True: `to` has a value. False: closed and drained.
  [[gnu::always_inline]] static bool receive(chan_core* c, std::optional<T>* to) {
    M* m = self();
    if (c && m) [[likely]] {
      const std::uint64_t w = c->word.load(relaxed);  // relaxed: who takes something by it acquires
      std::uint64_t lone = 0;
      select_seat* seat;
      asm("" : "=m"(seat));  // looked at where it has been set; for all that the compiler knows, everywhere
      if (c->capacity == 0) {
        if (word::kind_of(w) == word::sender) {
          if (receive_from_lone(m, c, w, to)) [[likely]]
            return true;
        } else if (word::kind_of(w) == word::open) {
          lone = word::lone(word::receiver, m->curg);
        }
      } else if (word::kind_of(w) == word::open) {
        if (word::count_of(w) != 0) {
          if (receive_from_ring(m, c, w, to)) [[likely]]
            return true;
        } else {
          const lone_seat at = take_lone_seat(m, w, false);
          seat = at.seat;
          lone = at.lone;
        }
      } else if (word::kind_of(w) == word::sender) {
        if (receive_past_seated(m, c, w, to)) [[likely]]
          return true;
      }
      if (lone != 0) [[likely]] {
        const parked how = wait_alone(m, c, w, lone, seat, to, wait_reason::chan_receive);
        if (how != parked::no) [[likely]]
          return how == parked::done;
      }
    }
    return receive_slow(c, to, true, true) == chan_result::done;
  }

  // For a select's poll: w says that a lone receiver waits or that there is room; that a lone sender waits or that there is a value.
  [[gnu::always_inline]] static bool send_ready(M* m, chan_core* c, std::uint64_t w, T* from) {
    if (word::kind_of(w) == word::open) return send_to_ring(m, c, w, from);
    return word::is_seated(w) ? send_to_seated(m, c, w, from) : send_to_lone(m, c, w, from);
  }
  [[gnu::always_inline]] static bool receive_ready(M* m, chan_core* c, std::uint64_t w, std::optional<T>* to) {
    if (word::kind_of(w) == word::open) return receive_from_ring(m, c, w, to);
    return word::is_seated(w) ? receive_past_seated(m, c, w, to) : receive_from_lone(m, c, w, to);
  }

  // In its caller, as a try's select is.
  [[gnu::always_inline]] static bool try_send(chan_core* c, T* from) {
    if (M* m = self(); m && c) [[likely]] {
      const std::uint64_t w = c->word.load(seq_cst);  // WORD acquire, as in send_slow; SETTLED
      const stands how = send_stands(*c, w);
      if (how == stands::ready) {
        if (send_ready(m, c, w, from)) [[likely]]
          return true;
      } else if (how == stands::idle && is_settled(m, c->word, w)) {
        cooperate(m);
        return false;
      }
    }
    return try_send_slow(c, from);
  }
  WEFT_NOINLINE static bool try_send_slow(chan_core* c, T* from) {
    const chan_result r = send_slow(c, from, false);
    if (r == chan_result::closed) throw_send_on_closed();
    return r == chan_result::done;
  }
  // What receive_slow, or receive_until, left in v.
  static try_result<T> result_of(chan_result r, std::optional<T>&& v) {
    if (r == chan_result::done) return try_result<T>(std::move(v));
    return try_result<T>(r == chan_result::closed ? try_result<T>::state::closed : try_result<T>::state::empty);
  }
  [[gnu::always_inline]] static try_result<T> try_receive(chan_core* c) {
    if (M* m = self(); m && c) [[likely]] {
      const std::uint64_t w = c->word.load(seq_cst);  // WORD acquire, as in receive_slow; SETTLED
      const stands how = receive_stands(*c, w);
      if (how == stands::ready) {
        std::optional<T> v;
        if (receive_ready(m, c, w, &v)) [[likely]]
          return try_result<T>(std::move(v));
      } else if (how == stands::idle && is_settled(m, c->word, w)) {
        cooperate(m);
        return try_result<T>(try_result<T>::state::empty);
      }
    }
    return try_receive_slow(c);
  }
  WEFT_NOINLINE static try_result<T> try_receive_slow(chan_core* c) {
    std::optional<T> v;
    const chan_result r = receive_slow(c, &v, false);
    return result_of(r, std::move(v));
  }

  // Again while the deadline has passed on steady_clock but not on the clock that was asked for.
  template <class Clock, class Duration>
  static bool send_by(chan_core* c, T* from, const std::chrono::time_point<Clock, Duration>& t) {
    for (;;) {
      chan_result r = send_until(c, from, deadline_at(t));
      if (r == chan_result::done) return true;
      if (r == chan_result::closed) throw_send_on_closed();
      if (std::is_same_v<Clock, std::chrono::steady_clock> || Clock::now() >= t) return false;
    }
  }
  static try_result<T> receive_by_ns(chan_core* c, std::int64_t when_ns) {
    std::optional<T> v;
    chan_result r = receive_until(c, &v, when_ns);
    return result_of(r, std::move(v));
  }
  template <class Clock, class Duration>
  static try_result<T> receive_by(chan_core* c, const std::chrono::time_point<Clock, Duration>& t) {
    for (;;) {
      try_result<T> r = receive_by_ns(c, deadline_at(t));
      if (!r.is_empty() || std::is_same_v<Clock, std::chrono::steady_clock> || Clock::now() >= t) return r;
    }
  }
  template <class Rep, class Period>
  static bool send_within(chan_core* c, T* from, const std::chrono::duration<Rep, Period>& d) {
    chan_result r = send_until(c, from, deadline_after(d));
    if (r == chan_result::closed) throw_send_on_closed();
    return r == chan_result::done;
  }
};

}  // namespace weft::rt
