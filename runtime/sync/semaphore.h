// SPDX-License-Identifier: MIT
//
// semaphore: a number of permits.
//
//   ours                       Go's x/sync/semaphore       std::counting_semaphore
//   semaphore(n)               NewWeighted(n)              counting_semaphore(n)
//   acquire(n = 1)             Acquire(ctx, n)             acquire(), one at a time
//   try_acquire(n = 1)         TryAcquire(n)               try_acquire(), may fail spuriously; ours does not
//   try_acquire_for / _until   Acquire with a deadline     try_acquire_for / _until
//   release(n = 1)             Release(n)                  release(n)
//   who comes next             FIFO                        FIFO; unspecified
//   more released than taken   allowed, up to max()        panic; allowed, up to max()
//   destroy                    once nobody waits, though the release that let the last one go may not have returned; -; yes
//
// FIFO: acquire and try_acquire stand behind, or fail before, whoever waits, so a request for many is not starved by requests for few. A request for
// more than there will ever be blocks all behind it.
//
// Word: permits * 2 + (somebody waits). While somebody waits it changes under the lot's lock only; else by one compare-and-swap. Every call is
// a cooperative point. Progress: without waiters lock-free; with them it takes the lot's lock (parking_lot.h).
//
// Edges
//   name        release side         acquire side                    carries                               test
//   PERMIT      release              acquire, try_acquire            what was done before the release      semaphore.*
//   (handed over: LOT-WAKE)

#pragma once

#include <chrono>
#include <cstdint>

#include "parking_lot.h"

namespace weft {

class WEFT_API semaphore {
 public:
  // Throws std::invalid_argument below zero and above max().
  explicit semaphore(std::int64_t permits = 0);
  semaphore(const semaphore&) = delete;
  semaphore& operator=(const semaphore&) = delete;
  ~semaphore() = default;

  static constexpr std::int64_t max() noexcept { return INT64_MAX / 2; }

  // All throw std::invalid_argument for n < 0; 0 is granted at once unless somebody waits.
  void acquire(std::int64_t n = 1) {
    if (!take(n)) [[unlikely]]
      wait(n, os::no_deadline);
    rt::cooperate(rt::self());
  }
  bool try_acquire(std::int64_t n = 1) {
    bool got = take(n);
    rt::cooperate(rt::self());
    return got;
  }
  // Throws std::overflow_error, and changes nothing, when there would be more than max().
  void release(std::int64_t n = 1);

  // As mutex's try_lock_for, try_lock_until.
  template <class Rep, class Period>
  bool try_acquire_for(const std::chrono::duration<Rep, Period>& d, std::int64_t n = 1) {
    return take(n) || wait(n, rt::deadline_after(d));
  }
  template <class Clock, class Duration>
  bool try_acquire_until(const std::chrono::time_point<Clock, Duration>& t, std::int64_t n = 1) {
    return take(n) || rt::until(t, [this, n](std::int64_t deadline) { return wait(n, deadline); });
  }

 private:
  static constexpr std::uint64_t waited_for = 1;

  bool take(std::int64_t n) {
    if (n < 0) [[unlikely]]
      bad_number();
    std::uint64_t w = word_.load(relaxed);
    while (!(w & waited_for) && (w >> 1) >= static_cast<std::uint64_t>(n))
      // PERMIT acquire <- release.
      if (word_.compare_exchange_weak(w, w - 2 * static_cast<std::uint64_t>(n), weft::acquire, relaxed)) return true;
    return false;
  }
  [[noreturn]] static void bad_number();
  bool wait(std::int64_t n, std::int64_t deadline);
  void grant(rt::lot& l, std::uint64_t permits, rt::woken_list& out);
  static bool withdraw(rt::wait_entry& e);

  atomic<std::uint64_t> word_;
};

}  // namespace weft
