// SPDX-License-Identifier: MIT
//
// once: does one thing once, however many ask.
//
//   ours                        Go's sync.Once           std::once_flag, std::call_once
//   o.do_once(f, args...)       o.Do(f)                  call_once(o, f, args...)
//   o(f, args...)               -                        -
//   f throws                    the caller gets it, and the next one tries again: std's; Go's counts a panic as done
//   f asks the same once        waits for ever: a deadlock, all three
//
// std's rule for exceptions, because an exception says here that nothing came of it: whoever comes next would find a thing that is not
// there. A Go panic usually ends the program, so there the question hardly arises.
//
// When do_once returns, f has returned, whoever called it. Others park meanwhile. Done, it costs a load; every call is a cooperative point.
//
// Edges
//   name      release side                acquire side      carries             test
//   ONCE      do_slow, after f            do_once           what f did          once.*

#pragma once

#include <functional>
#include <mutex>
#include <utility>

#include "mutex.h"

namespace weft {

class once {
 public:
  constexpr once() noexcept = default;
  once(const once&) = delete;
  once& operator=(const once&) = delete;
  ~once() = default;

  template <class F, class... Args>
  void do_once(F&& f, Args&&... args) {
    if (!done_.load(acquire)) [[unlikely]] {  // ONCE acquire
      std::lock_guard hold(busy_);
      if (done_.load(relaxed)) return;  // relaxed: written under busy_
      std::invoke(std::forward<F>(f), std::forward<Args>(args)...);
      done_.store(true, release);  // ONCE release
      return;
    }
    rt::cooperate(rt::self());
  }
  template <class F, class... Args>
  void operator()(F&& f, Args&&... args) {
    do_once(std::forward<F>(f), std::forward<Args>(args)...);
  }

 private:
  mutex busy_;
  atomic<bool> done_{false};
};

}  // namespace weft
