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
//   largest count        4,194,303; throws        2^31 - 1; ptrdiff_t
//
// add from zero must happen before the wait that is to see it, as in Go. Reusable: after a wait returned, add starts a new round.
// wait parks the goroutine; on an ordinary thread it blocks the thread. add and done may be called from anywhere.
//
// How. One word: the count, and the stack of those who wait. The count reaches zero and the stack is taken by the same
// compare-and-swap, which is the last touch of whoever does it: so the object may be destroyed as soon as any wait returns, and an
// add that comes right behind starts from a clean word.
//
//   bits 6-47   the waiter on top of the stack, or none     bits 0-5, 48-63   the count
//
// Rejected: count and stack in words of their own. Between the two, an add from zero beside another's done() finds the stack closed for
// good, or opens it only for the late closer to close it again; then wait returns with the count above zero.
//
// Edges
//   name        release side              acquire side             carries                                test
//   WG-DONE     done                      wait                     what was done before done()            wait_group.*
//   WG-WAIT     wait's commit             the last done            the waiter, saved                      go_sync.wait_group
// Progress: add and done are lock-free; wait is, until it parks.

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

  // n may be negative. Throws std::logic_error, and changes nothing, when the count would fall below zero or rise above 4,194,303.
  void add(std::int64_t n = 1);
  void done() {
    // Not the last one, nor one in 64: their low bits of the count are not zero afterwards. Then one from the word is one from the count.
    std::uint64_t before = word_.load(relaxed);  // relaxed: a look, the exchange decides
    // WG-DONE release. Not acquire: who is not the last wakes nobody, and the last one acquires from all exchanges before its own.
    if ((before & 63) > 1 && word_.compare_exchange_strong(before, before - 1, release, relaxed)) [[likely]]
      return rt::cooperate(rt::self());
    add(-1);
  }
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
  atomic<std::uint64_t> word_{0};
};

}  // namespace weft
