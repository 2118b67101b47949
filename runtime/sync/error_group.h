// SPDX-License-Identifier: MIT
//
// error_group: goroutines that work at one thing; the first error cancels the rest.
//
//   ours                        Go's errgroup.Group              std's
//   error_group g(parent)       g, ctx := WithContext(parent)    -
//   g.ctx()                     ctx
//   g.go(f)                     g.Go(f)                          std::async
//   g.try_go(f) -> bool         g.TryGo(f)
//   g.set_limit(n)              g.SetLimit(n); < 0: none         (0: none)
//   g.wait()                    err := g.Wait()                  future::get: rethrows
//   an error                    an exception that leaves f       f returns non-nil
//   destructor                  cancels, and waits               -; ~std::jthread
//
// The first exception that leaves an f cancels ctx() with that exception as its cause, and wait rethrows it once all have ended; later ones
// are dropped. wait cancels ctx() in any case when all is over, as Go's does. Afterwards nothing more may be started (std::logic_error).
//
// Who may call: go and try_go goroutines, also the group's own (with a limit: a go of the group's own that waits for a place may wait for
// ever); wait one goroutine or thread. set_limit before the first go.

#pragma once

#include <exception>
#include <functional>
#include <stdexcept>
#include <utility>
#include <variant>

#include "context.h"
#include "wait_group.h"

namespace weft {

class error_group {
 public:
  explicit error_group(const context& parent = context::background()) : scope_(with_cancel_cause(parent)) {}
  error_group(const error_group&) = delete;
  error_group& operator=(const error_group&) = delete;
  ~error_group() {
    scope_.cancel();
    running_.wait();
  }

  const context& ctx() const noexcept { return scope_.ctx; }

  // At most n at a time; 0: any number.
  void set_limit(std::size_t n) { places_ = n == 0 ? chan<std::monostate>() : make_chan<std::monostate>(n); }

  // Runs f() as a goroutine; parks until there is a place for it. Throws as weft::go.
  template <class F>
  requires std::invocable<std::decay_t<F>>
  void go(F&& f) {
    check_open();
    if (places_) places_.send({});
    launch(std::forward<F>(f));
  }

  // False: there is no place at the moment, and f was not touched.
  template <class F>
  requires std::invocable<std::decay_t<F>>
  bool try_go(F&& f) {
    check_open();
    if (places_ && !places_.try_send(std::monostate{})) return false;
    launch(std::forward<F>(f));
    return true;
  }

  // Until all have ended. Rethrows the first exception.
  void wait() {
    running_.wait();
    over_.store(true, relaxed);  // relaxed: for misuse by whoever waited
    scope_.cancel();
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void check_open() const {
    if (over_.load(relaxed)) throw std::logic_error("weft::error_group: go after wait");
  }

  template <class F>
  void launch(F&& f) {
    try {
      running_.go([this, fn = std::decay_t<F>(std::forward<F>(f))]() mutable {
        try {
          auto mine = std::move(fn);  // gone when wait returns
          std::invoke(std::move(mine));
        } catch (...) {
          fail(std::current_exception());
        }
        if (places_) places_.try_recv();
      });
    } catch (...) {
      if (places_) places_.try_recv();
      throw;
    }
  }

  void fail(const std::exception_ptr& why) noexcept {
    if (failed_.exchange(true, relaxed)) return;  // relaxed: error_ is read after running_.wait
    error_ = why;
    scope_.cancel(why);
  }

  cause_context scope_;
  wait_group running_;
  chan<std::monostate> places_;
  atomic<bool> failed_{false};
  atomic<bool> over_{false};
  std::exception_ptr error_;
};

}  // namespace weft
