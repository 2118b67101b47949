// SPDX-License-Identifier: MIT
//
// condition_variable: waits, with a lock given up meanwhile, until somebody says that it may be worth looking again.
//
//   ours                            Go's sync.Cond        std::condition_variable(_any)
//   wait(lock), wait(lock, pred)    Wait()                wait(lock), wait(lock, pred)
//   wait_for, wait_until            -                     the same
//   ... (lock, stop_token, ..pred)  -                     condition_variable_any: wait, wait_for, wait_until
//   notify_one()                    Signal()              notify_one()
//   notify_all()                    Broadcast()           notify_all()
//   lock                            any Lockable          L, a Locker; unique_lock<mutex>, _any: any BasicLockable
//   spurious wakeups                none, as Go; allowed. A stop wakes whom it was asked of, and nobody else
//   who is woken                    FIFO                  FIFO; unspecified
//   destroy                         once all who wait have been notified, though they, and notify, may not have returned; -; yes
//
// wait puts its caller into the queue before it unlocks, so a notification after a change under the same lock is never lost. A
// notified waiter does not get the lock handed: it locks as anybody. Every call is a cooperative point. An ordinary thread is blocked.
// Progress: notifying nobody is wait-free; else the lot's lock is taken (parking_lot.h).
//
// Edges
//   name        release side           acquire side     carries                                              test
//   CV-COUNT    wait, by the lock      notify           that somebody waits                                  condition_variable.*
//   (woken: LOT-WAKE)

#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>

#include "mutex.h"
#include "parking_lot.h"

namespace weft {

class WEFT_API condition_variable {
 public:
  condition_variable() noexcept = default;
  condition_variable(const condition_variable&) = delete;
  condition_variable& operator=(const condition_variable&) = delete;
  ~condition_variable() = default;

  void notify_one();
  void notify_all();

  // `l` is locked; Lock is std::unique_lock<weft::mutex> or anything with lock() and unlock().
  template <class Lock>
  void wait(Lock& l) {
    wait_locked(l, os::no_deadline);
  }
  template <class Lock, class Pred>
  void wait(Lock& l, Pred pred) {
    while (!pred()) wait(l);
  }

  template <class Lock, class Clock, class Duration>
  std::cv_status wait_until(Lock& l, const std::chrono::time_point<Clock, Duration>& t) {
    bool notified = rt::until(t, [&](std::int64_t deadline) { return wait_locked(l, deadline); });
    return notified ? std::cv_status::no_timeout : std::cv_status::timeout;
  }
  template <class Lock, class Clock, class Duration, class Pred>
  bool wait_until(Lock& l, const std::chrono::time_point<Clock, Duration>& t, Pred pred) {
    while (!pred())
      if (wait_until(l, t) == std::cv_status::timeout) return pred();
    return true;
  }

  template <class Lock, class Rep, class Period>
  std::cv_status wait_for(Lock& l, const std::chrono::duration<Rep, Period>& d) {
    return wait_locked(l, rt::deadline_after(d)) ? std::cv_status::no_timeout : std::cv_status::timeout;
  }
  template <class Lock, class Rep, class Period, class Pred>
  bool wait_for(Lock& l, const std::chrono::duration<Rep, Period>& d, Pred pred) {
    std::int64_t deadline = rt::deadline_after(d);
    while (!pred())
      if (!wait_locked(l, deadline)) return pred();
    return true;
  }

  // With a stop token: until pred() holds, a stop is requested or the time has come. What pred() says at the end.
  template <class Lock, class Pred>
  bool wait(Lock& l, std::stop_token stop, Pred pred) {
    while (!stop.stop_requested()) {
      if (pred()) return true;
      wait_locked(l, os::no_deadline, &stop);
    }
    return pred();
  }
  template <class Lock, class Clock, class Duration, class Pred>
  bool wait_until(Lock& l, std::stop_token stop, const std::chrono::time_point<Clock, Duration>& t, Pred pred) {
    while (!stop.stop_requested()) {
      if (pred()) return true;
      const bool woken =
          rt::until(t, [&](std::int64_t deadline) { return wait_locked(l, deadline, &stop) || stop.stop_requested(); });
      if (!woken) break;
    }
    return pred();
  }
  template <class Lock, class Rep, class Period, class Pred>
  bool wait_for(Lock& l, std::stop_token stop, const std::chrono::duration<Rep, Period>& d, Pred pred) {
    const std::int64_t deadline = rt::deadline_after(d);
    while (!stop.stop_requested()) {
      if (pred()) return true;
      if (!wait_locked(l, deadline, &stop)) break;
    }
    return pred();
  }

 private:
  // Queued from its making until it is woken, or its end.
  class WEFT_API queued {
   public:
    explicit queued(condition_variable& cv);
    queued(const queued&) = delete;
    queued& operator=(const queued&) = delete;
    ~queued();
    bool block(std::int64_t deadline);  // false: timed out, or given up
    void give_up() noexcept;            // from anywhere, until block has returned

   private:
    rt::wait_entry e_;
    bool over_ = false;
  };

  template <class Lock>
  bool wait_locked(Lock& l, std::int64_t deadline, const std::stop_token* stop = nullptr) {
    struct stopper {
      queued* q;
      void operator()() const noexcept { q->give_up(); }
    };
    struct relock {
      Lock& l;
      ~relock() noexcept { l.lock(); }  // as std: when the lock cannot be had back, the program ends
    };
    queued q(*this);
    l.unlock();
    relock after{l};
    // Once queued, so that a stop finds it; asked for before that, it runs right here. Its end waits for a stopper under way.
    std::optional<std::stop_callback<stopper>> watch;
    if (stop) watch.emplace(*stop, stopper{&q});
    return q.block(deadline);
  }

  static bool withdraw(rt::wait_entry& e);

  atomic<std::uint32_t> waiting_{0};  // how many are queued; written under the lot's lock
};

// std has two types, as its own waits on std::mutex only.
using condition_variable_any = condition_variable;

}  // namespace weft
