// SPDX-License-Identifier: MIT
//
// wait_group: waits for a number of things to be done.
//
//   ours                 Go's sync.WaitGroup      std's
//   add(n)               Add(n)                   std::latch is counted down only
//   done()               Done()                   count_down()
//   wait()               Wait()                   wait()
//   go(f)                Go(f) (1.25)             -
//   count below zero     throws std::logic_error  panic; undefined
//   destroy after wait   yes, at once             -; yes
//
// add from zero must happen before the wait that is to see it, as in Go. Reusable: after a wait returned, add starts a new round.
// wait parks the goroutine; on an ordinary thread it blocks the thread. add and done may be called from anywhere.
//
// How. `count_` is the number; `waiters_` a stack of those who wait, or `none` when the count is zero and whoever brought it there
// is done with this object. wait returns at once only on `none`, and a waiter is readied only after the exchange that puts `none`
// there: that exchange is the last touch, so the object may be destroyed as soon as any wait returns.
//
// Edges
//   name        release side              acquire side             carries                                test
//   WG-DONE     done (count), and its     wait                     what was done before done()            wait_group_test
//               exchange of waiters_
//   WG-WAIT     wait's commit             done's exchange          the waiter, saved                      wait_group_test
// Progress: add and done are wait-free but for the readying; wait is lock-free until it parks.

#pragma once

#include <cstdint>
#include <utility>

#include "../sched/go.h"

namespace weft {

class WEFT_API wait_group {
 public:
  wait_group() noexcept = default;
  wait_group(const wait_group&) = delete;
  wait_group& operator=(const wait_group&) = delete;
  ~wait_group() = default;

  // n may be negative. Throws std::logic_error, and changes nothing, when the count would fall below zero.
  void add(std::int64_t n = 1);
  void done() { add(-1); }
  // Until the count is zero.
  void wait();

  // add(1), and done() when f(args...) has returned.
  template <class F, class... Args>
  requires std::invocable<std::decay_t<F>, std::decay_t<Args>...>
  void go(F&& f, Args&&... args) {
    add(1);
    try {
      weft::go(
          [this](auto&& fn, auto&&... as) {
            std::invoke(std::move(fn), std::move(as)...);  // NOLINT(bugprone-move-forwarding-reference): ours
            done();
          },
          std::forward<F>(f), std::forward<Args>(args)...);
    } catch (...) {
      done();
      throw;
    }
  }

 private:
  static constexpr std::uint64_t none = 1;

  atomic<std::int64_t> count_{0};
  atomic<std::uint64_t> waiters_{none};
};

}  // namespace weft
