// SPDX-License-Identifier: MIT
//
// chan<T>: Go's channels.
//
//   operation           weft                                   Go                              where it parks
//   send                c.send(v)                              c <- v                          buffer full / no receiver
//   receive             c.recv() -> std::optional<T>           v, ok := <-c                    buffer empty / no sender
//   without waiting     c.try_send(v), c.try_recv()            select with default             never
//   with a deadline     c.send_for(v, d), c.recv_for(d)        select with time.After         until d has passed
//   close               c.close()                              close(c)                        never
//   length, capacity    c.len(), c.cap()                       len(c), cap(c)                  never
//   all values          for (T v : c)                          for v := range c                as receive
//   nil channel         chan<T>{}                              var c chan T                    for ever; close throws
//   one direction       send_chan<T>, recv_chan<T>             chan<- T, <-chan T
//   send on closed      throws closed_channel                  panics
//   close of closed     throws closed_channel                  panics
//   receive on closed   what is in the buffer, then empty      the same, then zero values
//
// A chan<T> is a shared handle, copied like Go's; the channel lives as long as a handle. Operations are const members, so a handle
// captured by value in a lambda works. A handle itself may be used by several goroutines at once as long as none assigns to it.
//
// Values are received in the order in which they were sent; waiting senders and receivers are served in the order in which they came.
// All happens as if one operation came after another, also in several channels, and also where one finds nothing: of two goroutines that each send
// to a channel, and then try to receive from the other's, one succeeds. (len says how it was, and no more.)
// A value goes from the sender's object to the receiver's in one move when one of them waited, in two through the buffer.
// T must be nothrow-move-constructible; it need be neither copyable nor default-constructible. When send throws
// closed_channel, or try_send returns false, `v` has not been moved from.
//
// Every operation is lock-free (what a stopped thread can and cannot hold up: chan_core.h) and a cooperative point. All may also be
// called from ordinary threads, where a blocking one blocks the thread; none is async-signal-safe.
// Cost on one P: a rendezvous is one switch and two moves of the channel's word, a buffered operation is one move: a locked instruction, or, once
// a P has been the only one to use the channel for some ten thousand of them, none (sched/biased.h). Whoever then comes from another P, or
// from a thread, pays 1 to 50 us, once. Goroutines that use a channel from several Ps, and do next to nothing else, are brought together on one of them
// (sched/gather.h).

#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include "../sched/deadline.h"
#include "chan_core.h"
#include "chan_handle.h"
#include "try_result.h"
#include "typed_chan.h"

namespace weft {

// Thrown by send on a closed channel, by close of a closed or nil one. what() says which.
class WEFT_API closed_channel : public std::logic_error {
 public:
  using std::logic_error::logic_error;
  ~closed_channel() override;
};

namespace rt {

WEFT_API void close_or_throw(chan_core* c);

// What all three faces of a channel have.
class chan_base {
 public:
  // Values in the buffer; a snapshot, stale at once. 0 for nil. Wait-free, but for a yield now and then: a cooperative point, as cap is.
  std::size_t len() const noexcept {
    cooperate(self());
    return handle_.core() ? chan_len(*handle_.core()) : 0;
  }
  // 0: unbuffered, or nil.
  std::size_t cap() const noexcept {
    cooperate(self());
    return handle_.core() ? handle_.core()->capacity : 0;
  }
  // False: nil.
  explicit operator bool() const noexcept { return handle_.core() != nullptr; }
  // The same channel?
  friend bool operator==(const chan_base& a, const chan_base& b) noexcept {
    return a.handle_.core() == b.handle_.core();
  }

  rt::chan_core* core() const noexcept { return handle_.core(); }

 protected:
  chan_base() noexcept = default;
  explicit chan_base(chan_handle h) noexcept : handle_(std::move(h)) {}
  chan_handle handle_;
};

// for (T v : c): receives until the channel is closed and drained. A value is received where the iterator is compared with the end, as in Go's range at
// the head of the loop: there is one such place in a loop, and so the receive is inlined into it. (A ++ that received was called by begin as well, and
// stood in a function of its own, whose return was mispredicted behind each switch.) Who does not compare is served all the same.
template <class T>
class chan_iterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = T;
  using difference_type = std::ptrdiff_t;
  using pointer = T*;
  using reference = T&&;

  explicit chan_iterator(chan_handle h) noexcept : handle_(std::move(h)) {}  // the runtime's
  // An input iterator hands each value out once: moved.
  T&& operator*() const {
    if (!value_) [[unlikely]]
      value_ = received(handle_.core());
    return *std::move(value_);
  }
  chan_iterator& operator++() {
    if (!value_) [[unlikely]]
      (void)received(handle_.core());
    value_.reset();
    return *this;
  }
  void operator++(int) { ++*this; }
  [[gnu::always_inline]] friend bool operator==(const chan_iterator& i, std::default_sentinel_t) {
    if (i.value_) return false;
    if (!typed_chan<T>::receive(i.handle_.core(), &i.value_)) return true;
    if (!i.value_) __builtin_unreachable();
    return false;
  }

 private:
  WEFT_NOINLINE static std::optional<T> received(chan_core* c) {
    std::optional<T> v;
    typed_chan<T>::receive(c, &v);
    return v;
  }

  chan_handle handle_;              // for (T v : make()) keeps its channel
  mutable std::optional<T> value_;  // empty: not received yet, or there are no more
};

// What may be done by who sends. Base: the face without it, so that a chan<T> has both in one line of bases, and one handle.
template <class T, class Base>
class can_send : public Base {
 public:
  using value_type = T;

  // Parks until a receiver has the value or it is in the buffer. Throws closed_channel, also when the channel is closed
  // while it waits; v keeps its value then.
  [[gnu::always_inline]] void send(T v) const { send_from(v); }
  // The same, moving from the caller's object; which keeps its value when this throws.
  [[gnu::always_inline]] void send_from(T& v) const {
    if (!typed_chan<T>::send(this->core(), std::addressof(v))) [[unlikely]]
      throw_send_on_closed();
  }

  // Sends if that needs no waiting. False: buffer full, no receiver waiting, or nil; v keeps its value. Throws closed_channel.
  [[gnu::always_inline]] bool try_send(T&& v) const { return try_send_from(v); }
  [[gnu::always_inline]] bool try_send(const T& v) const requires std::copy_constructible<T> {
    T copy(v);
    return try_send_from(copy);
  }
  [[gnu::always_inline]] bool try_send_from(T& v) const {
    return typed_chan<T>::try_send(this->core(), std::addressof(v));
  }

  // Parks until sent or the time has come: then false, and v keeps its value. A value that can be sent at once is, whatever the
  // time. Throws closed_channel.
  template <class Rep, class Period>
  bool send_for(T&& v, const std::chrono::duration<Rep, Period>& d) const {
    return typed_chan<T>::send_within(this->core(), std::addressof(v), d);
  }
  template <class Rep, class Period>
  bool send_for(const T& v, const std::chrono::duration<Rep, Period>& d) const requires std::copy_constructible<T> {
    return send_for(T(v), d);
  }
  template <class Clock, class Duration>
  bool send_until(T&& v, const std::chrono::time_point<Clock, Duration>& t) const {
    return typed_chan<T>::send_by(this->core(), std::addressof(v), t);
  }
  template <class Clock, class Duration>
  bool send_until(const T& v,
                  const std::chrono::time_point<Clock, Duration>& t) const requires std::copy_constructible<T> {
    return send_until(T(v), t);
  }

  // No more values: parked and later receivers get what is left, then nothing; parked senders throw. Lock-free.
  // Throws closed_channel when closed already, or nil.
  void close() const { close_or_throw(this->core()); }

 protected:
  using Base::Base;
};

// What may be done by who receives.
template <class T, class Base>
class can_receive : public Base {
 public:
  using value_type = T;
  using iterator = chan_iterator<T>;

  // Parks until there is a value. Empty once the channel is closed and drained.
  [[gnu::always_inline]] std::optional<T> recv() const {
    std::optional<T> v;
    typed_chan<T>::receive(this->core(), &v);
    return v;
  }

  // Receives if that needs no waiting.
  [[gnu::always_inline]] try_result<T> try_recv() const { return typed_chan<T>::try_receive(this->core()); }

  // Parks until there is a value, the channel is closed and drained, or the time has come: then is_empty(). On an ordinary thread
  // it polls, at least every millisecond.
  template <class Rep, class Period>
  try_result<T> recv_for(const std::chrono::duration<Rep, Period>& d) const {
    return typed_chan<T>::receive_by_ns(this->core(), deadline_after(d));
  }
  template <class Clock, class Duration>
  try_result<T> recv_until(const std::chrono::time_point<Clock, Duration>& t) const {
    return typed_chan<T>::receive_by(this->core(), t);
  }

  iterator begin() const { return iterator(this->handle_); }
  std::default_sentinel_t end() const { return {}; }

 protected:
  using Base::Base;
};

}  // namespace rt

template <class T>
class chan;

// The sending face of a channel.
template <class T>
class send_chan : public rt::can_send<T, rt::chan_base> {
 public:
  send_chan() noexcept = default;  // nil

 private:
  friend class chan<T>;
  explicit send_chan(rt::chan_handle h) noexcept : send_chan::can_send(std::move(h)) {}
};

// The receiving face of a channel.
template <class T>
class recv_chan : public rt::can_receive<T, rt::chan_base> {
 public:
  recv_chan() noexcept = default;                                                           // nil
  explicit recv_chan(rt::chan_handle h) noexcept : recv_chan::can_receive(std::move(h)) {}  // the runtime's
};

template <class T>
class chan : public rt::can_receive<T, rt::can_send<T, rt::chan_base>> {
 public:
  chan() noexcept = default;  // nil

  // Its two faces: handles to the same channel.
  // NOLINTNEXTLINE(google-explicit-constructor): as Go converts
  operator send_chan<T>() const { return send_chan<T>(this->handle_); }
  operator recv_chan<T>() const { return recv_chan<T>(this->handle_); }  // NOLINT(google-explicit-constructor)

 private:
  template <class U>
  friend chan<U> make_chan(std::size_t capacity);
  explicit chan(rt::chan_handle h) noexcept : chan::can_receive(std::move(h)) {}
};

// A channel that holds `capacity` values; 0: sender and receiver meet. Throws std::length_error above 2^28, std::bad_alloc.
template <class T>
chan<T> make_chan(std::size_t capacity = 0) {
  return chan<T>(rt::chan_handle(rt::typed_chan<T>::make(capacity)));
}

}  // namespace weft
