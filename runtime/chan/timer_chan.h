// SPDX-License-Identifier: MIT
//
// after, timer, ticker: points of time as channels, by the rules of Go 1.23.
//
//   ours                            Go                               what it does
//   after(d)                        time.After(d)                    one value, when d has passed
//   timer t(d); t.chan()            t := time.NewTimer(d); t.C       the same, and it can be stopped and set anew
//   t.stop() -> bool                t.Stop()                         true: it was pending, or nobody had received its value yet
//   t.reset(d) -> bool              t.Reset(d)                       starts anew, also when it had fired; the result as stop()
//   ticker k(d); k.chan()           k := time.NewTicker(d); k.C      a value every d
//   k.stop(), k.reset(d)            k.Stop(), k.Reset(d)
//   destructor                      -                                stops; channels that were handed out stay silent, open
//   d <= 0                          fires at once; ticker panics     fires at once; ticker throws std::invalid_argument
//   c.recv_for(d), c.send_for(v, d) select with time.After(d)        chan.h
//
// The value is the time at which it was sent. No stale values: once stop or reset has returned, nothing of an earlier setting will be
// received. A slow receiver misses ticks, one waits for it at most: the channel holds one value (Go says cap 0, and behaves as if it
// held one). A channel of a timer is never closed.
//
// Never early. A pending timer does not hold up weft::run: when all goroutines have ended, so has the run, and the timer is stopped.
// Memory: a channel of after(d) that nobody holds any more takes its timer along; a loop that selects on after(1h) holds one at a time.
//
// Who may call: making and reset only goroutines (std::logic_error elsewhere), stop and the destructor anyone. timer and ticker are handles to
// be moved, not copied, of which one thing at a time is asked unless it is stop or reset: these may meet, and take effect one after the other.
// All may throw std::bad_alloc, but stop and destructors.

#pragma once

#include <chrono>
#include <cstdint>

#include "../sched/deadline.h"
#include "chan.h"

namespace weft {

using steady_time = std::chrono::steady_clock::time_point;

namespace rt {

// What timer, ticker and after share: a channel with a timer in it. One count for both: that of the channel's handles.
WEFT_API chan_core* make_timed_chan(std::int64_t when_ns, std::int64_t period_ns);
WEFT_API bool stop_timed_chan(chan_core* c) noexcept;
WEFT_API bool reset_timed_chan(chan_core* c, std::int64_t when_ns, std::int64_t period_ns);
WEFT_API std::int64_t checked_period(std::int64_t ns);  // throws std::invalid_argument

// A timed channel that stops when its owner goes.
class timed_chan {
 public:
  timed_chan(std::int64_t when_ns, std::int64_t period_ns) : chan_(chan_handle(make_timed_chan(when_ns, period_ns))) {}
  timed_chan(timed_chan&&) noexcept = default;
  timed_chan& operator=(timed_chan&& o) noexcept {
    if (this != &o) {
      stop();
      chan_ = std::move(o.chan_);
    }
    return *this;
  }
  ~timed_chan() { stop(); }

  bool stop() noexcept { return chan_ && stop_timed_chan(chan_.core()); }
  const recv_chan<steady_time>& face() const noexcept { return chan_; }

 private:
  recv_chan<steady_time> chan_;
};

}  // namespace rt

// A channel that will have one value, when d has passed.
template <class Rep, class Period>
recv_chan<steady_time> after(const std::chrono::duration<Rep, Period>& d) {
  return recv_chan<steady_time>(rt::chan_handle(rt::make_timed_chan(rt::deadline_after(d), 0)));
}

class timer {
 public:
  template <class Rep, class Period>
  explicit timer(const std::chrono::duration<Rep, Period>& d) : c_(rt::deadline_after(d), 0) {}

  // The same channel throughout; empty handle after a move.
  const recv_chan<steady_time>& chan() const noexcept { return c_.face(); }
  // True: it was pending, or its value was still in the channel, and will not be received.
  bool stop() noexcept { return c_.stop(); }
  // Fires when d has passed from now. The result as that of stop.
  template <class Rep, class Period>
  bool reset(const std::chrono::duration<Rep, Period>& d) {
    return rt::reset_timed_chan(c_.face().core(), rt::deadline_after(d), 0);
  }

 private:
  rt::timed_chan c_;
};

class ticker {
 public:
  template <class Rep, class Period>
  explicit ticker(const std::chrono::duration<Rep, Period>& d)
      : c_(rt::deadline_after(d), rt::checked_period(rt::ns_of(d))) {}

  const recv_chan<steady_time>& chan() const noexcept { return c_.face(); }
  void stop() noexcept { c_.stop(); }
  // The next tick comes when d has passed from now. Throws std::invalid_argument unless d > 0; it goes on as it was then.
  template <class Rep, class Period>
  void reset(const std::chrono::duration<Rep, Period>& d) {
    const std::int64_t period = rt::checked_period(rt::ns_of(d));
    rt::reset_timed_chan(c_.face().core(), rt::deadline_after(d), period);
  }

 private:
  rt::timed_chan c_;
};

}  // namespace weft
