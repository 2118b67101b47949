// SPDX-License-Identifier: MIT
//
// barrier: a group that goes on together, phase by phase.
//
//   ours                               Go's     std::barrier
//   barrier(n, completion = {})        -        the same
//   arrive(n = 1) -> arrival_token     -        the same
//   wait(token)                        -        the same
//   arrive_and_wait(), arrive_and_drop -        the same
//   more arrive than are expected      throws std::logic_error, and changes nothing; undefined
//   who is woken                       in the order of their waits; unspecified
//
// `completion` is called once per phase, by the last one to arrive, before anybody is woken; it must not throw, it may park. Every call is a
// cooperative point. Progress: blocking by nature; all of it is under the lot's lock (parking_lot.h), the completion is not.
//
// Edges: what was done before arrive is seen by the completion and after wait, through the lot's lock (LOT) and LOT-WAKE.

#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

#include "parking_lot.h"

namespace weft {

namespace rt {

class WEFT_API barrier_core {
 public:
  explicit barrier_core(std::int64_t n);  // throws std::invalid_argument below zero
  // Takes n off what the phase still expects, and `drop` off what the next ones do. Its phase; `last`: it is complete, and the
  // caller must call open().
  std::uint64_t arrive(std::int64_t n, std::int64_t drop, bool& last);
  void open();
  void wait(std::uint64_t phase);

 private:
  // Lot's lock.
  std::int64_t expected_;
  std::int64_t missing_;
  std::uint64_t phase_ = 0;
};

struct no_completion {
  void operator()() const noexcept {}
};

}  // namespace rt

template <class Completion = rt::no_completion>
class barrier {
  static_assert(std::is_nothrow_invocable_v<Completion&>, "weft::barrier: the completion must be noexcept, as std's");

 public:
  class arrival_token {
    friend class barrier;
    explicit arrival_token(std::uint64_t p) : phase_(p) {}
    std::uint64_t phase_;
  };

  explicit barrier(std::int64_t n, Completion f = Completion()) : core_(n), completion_(std::move(f)) {}
  barrier(const barrier&) = delete;
  barrier& operator=(const barrier&) = delete;
  ~barrier() = default;

  [[nodiscard]] arrival_token arrive(std::int64_t n = 1) { return arrival_token(arrive(n, 0)); }
  void wait(arrival_token&& t) { core_.wait(t.phase_); }
  void arrive_and_wait() { wait(arrive()); }
  void arrive_and_drop() { arrive(1, 1); }

 private:
  std::uint64_t arrive(std::int64_t n, std::int64_t drop) {
    bool last = false;
    std::uint64_t phase = core_.arrive(n, drop, last);
    if (last) {
      completion_();
      core_.open();
    }
    rt::cooperate(rt::self());
    return phase;
  }

  rt::barrier_core core_;
  [[no_unique_address]] Completion completion_;
};

}  // namespace weft
