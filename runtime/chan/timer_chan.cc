// SPDX-License-Identifier: MIT
//
// A timed channel: chan_core and timer in one object.
//
//   I1  `active` (under lk): the timer is in a heap, or on its way to fire(). Only what finds it set under lk sends or starts again.
//   I2  One-shot: fire() clears it before it sends. So who finds it clear knows that no fire() touches the object any more but for
//       the unlock, which is by address.
//   I3  stop and reset hold `turn` throughout, over stop_timer's wait for a fire() under way; fire() does not take it.
//   I4  A pending timer holds no reference. Who drops the last handle stops the timer, and waits for its fire(), before the object goes.
//
// Nobody is parked or yields under a lock: hold_switches.

#include "timer_chan.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "../base/check.h"
#include "../base/lock.h"
#include "../os/clock.h"
#include "../sched/go.h"
#include "../sched/timer.h"
#include "select.h"

namespace weft::rt {

namespace {

using traits = typed_chan<steady_time>;

struct core_and_ring : chan_core {
  alignas(chan_core) traits::slot slots[2];
};

struct timed_core final : core_and_ring, rt::timer {
  runtime_lock turn;  // before lk
  runtime_lock lk;
  bool active = false;      // lk
  std::int64_t when = 0;    // lk
  std::int64_t period = 0;  // lk; 0: once
};

class still {
 public:
  explicit still(M* m) noexcept : m_(m) { hold_switches(m); }
  ~still() { allow_switches(m_); }
  still(const still&) = delete;
  still& operator=(const still&) = delete;

 private:
  M* m_;
};

// noexcept: a ticker for whose next tick there is no memory ends the process.
void fire_timed(rt::timer* t) noexcept {
  auto* c = static_cast<timed_core*>(t);
  lock_scope hold(c->lk);
  if (!c->active) return;
  const std::int64_t now = os::now_ns();
  steady_time value{std::chrono::nanoseconds(now)};
  c->active = c->period != 0;
  send_slow(c, &value, false);  // full: the tick is dropped
  if (!c->active) return;
  const std::int64_t late = std::max<std::int64_t>(now - c->when, 0);
  std::int64_t step = 0;
  if (__builtin_mul_overflow(c->period, 1 + late / c->period, &step) || __builtin_add_overflow(c->when, step, &c->when))
    c->when = timer_heap::never;
  start_timer(*t, c->when);
}

void drop_timed(rt::timer* t) {
  auto* c = static_cast<timed_core*>(t);
  lock_scope hold(c->lk);
  c->active = false;
}

// Under turn. True: it was pending, or its value was not received.
bool halt(timed_core* c) noexcept {
  bool was;
  bool drained = false;
  {
    lock_scope hold(c->lk);
    was = std::exchange(c->active, false);
    std::optional<steady_time> stale;
    drained = receive_slow(c, &stale, false) == chan_result::done;
  }
  if (was) stop_timer(*c);  // false: fire() has been and gone, and found it inactive
  return was || drained;
}

// Under turn, halted.
void arm(timed_core* c, std::int64_t when, std::int64_t period) {
  lock_scope hold(c->lk);
  c->when = when;
  c->period = period;
  start_timer(*c, when);
  c->active = true;  // fire() waits for lk
}

void destroy_timed(chan_core* core) {
  auto* c = static_cast<timed_core*>(core);
  {
    still s(self());
    halt(c);
  }
  delete c;
}

constexpr elem_ops timed_ops{traits::hand_over, traits::turn_of, traits::ring_put, traits::ring_take, destroy_timed};

void only_goroutines(const char* what) {
  M* m = self();
  if (!m || !m->curg) throw std::logic_error(std::string(what) + " called outside of weft::run");
}

}  // namespace

chan_core* make_timed_chan(std::int64_t when_ns, std::int64_t period_ns) {
  only_goroutines("weft::after, timer, ticker");
  auto c = std::make_unique<timed_core>();
  c->chan_core::ops = &timed_ops;
  c->slots[0].turn.store(0, relaxed);
  c->slots[1].turn.store(1, relaxed);
  c->ring_mask = 1;
  WEFT_CHECK(&traits::at(*c, 0) == c->slots, "the ring of a timer's channel does not lie where channels have theirs");
  c->capacity = 1;
  c->fire = fire_timed;
  c->drop = drop_timed;
  still s(self());
  arm(c.get(), when_ns, period_ns);
  return c.release();
}

bool stop_timed_chan(chan_core* core) noexcept {
  auto* c = static_cast<timed_core*>(core);
  still s(self());
  lock_scope hold(c->turn);
  return halt(c);
}

bool reset_timed_chan(chan_core* core, std::int64_t when_ns, std::int64_t period_ns) {
  only_goroutines("weft::timer::reset, ticker::reset");
  auto* c = static_cast<timed_core*>(core);
  if (!c) throw std::logic_error("weft: reset of a timer that was moved from");
  still s(self());
  lock_scope hold(c->turn);
  bool was = halt(c);
  arm(c, when_ns, period_ns);
  return was;
}

std::int64_t checked_period(std::int64_t ns) {
  if (ns <= 0) throw std::invalid_argument("weft::ticker: a period must be above zero");
  return ns;
}

namespace {

// A select over the channel and a timer.
chan_result op_until(select_op op, std::int64_t when_ns) {
  auto once = [&op] { return op.send ? send_slow(op.chan, op.slot, false) : receive_slow(op.chan, op.slot, false); };
  if (op.chan)
    if (chan_result r = once(); r != chan_result::would_block) return r;
  if (when_ns <= os::now_ns()) return chan_result::would_block;
  M* m = self();
  if (!m) {
    // An ordinary thread has no timers: it looks, at longer and longer intervals, up to a millisecond.
    for (std::int64_t pause = 1'000;; pause = std::min<std::int64_t>(2 * pause, 1'000'000)) {
      os::sleep_ns(std::min(pause, when_ns - os::now_ns()));
      if (op.chan)
        if (chan_result r = once(); r != chan_result::would_block) return r;
      if (when_ns <= os::now_ns()) return chan_result::would_block;
    }
  }
  chan_handle timeout(make_timed_chan(when_ns, 0));
  std::optional<steady_time> at;
  select_op ops[2] = {op, {.chan = timeout.core(), .slot = &at, .send = false}};
  bool closed = false;
  if (select_ops(ops, 2, false, &closed) == 1) return chan_result::would_block;
  return closed ? chan_result::closed : chan_result::done;
}

}  // namespace

chan_result send_until(chan_core* c, void* from, std::int64_t when_ns) {
  return op_until({.chan = c, .slot = from, .send = true}, when_ns);
}

chan_result receive_until(chan_core* c, void* to, std::int64_t when_ns) {
  return op_until({.chan = c, .slot = to, .send = false}, when_ns);
}

}  // namespace weft::rt
