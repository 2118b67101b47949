// SPDX-License-Identifier: MIT
//
// latch: opens once it has been counted down. For one use; wait_group can be used again.
//
//   ours                   Go's           std::latch
//   latch(n)               -              latch(n)
//   count_down(n = 1)      -              count_down(n)
//   try_wait()             -              try_wait(), may fail spuriously; ours does not
//   wait()                 -              wait()
//   arrive_and_wait(n = 1) -              arrive_and_wait(n)
//   below zero             throws std::logic_error, and changes nothing; undefined
//   destroy                as soon as any wait has returned
//
// Word: count * 2 + (somebody waits). Every call is a cooperative point. Progress: count_down is lock-free but for waking (parking_lot.h).
//
// Edges
//   name       release side     acquire side        carries                              test
//   LATCH      count_down       wait, try_wait      what was done before count_down      latch.*

#pragma once

#include <cstdint>

#include "parking_lot.h"

namespace weft {

class WEFT_API latch {
 public:
  // Throws std::invalid_argument below zero and above max().
  explicit latch(std::int64_t n);
  latch(const latch&) = delete;
  latch& operator=(const latch&) = delete;
  ~latch() = default;

  static constexpr std::int64_t max() noexcept { return INT64_MAX / 2; }

  void count_down(std::int64_t n = 1);
  bool try_wait() const {
    rt::cooperate(rt::self());
    return word_.load(acquire) >> 1 == 0;  // LATCH acquire
  }
  void wait() const;
  void arrive_and_wait(std::int64_t n = 1) {
    count_down(n);
    wait();
  }

 private:
  static constexpr std::uint64_t waited_for = 1;
  mutable atomic<std::uint64_t> word_;
};

}  // namespace weft
