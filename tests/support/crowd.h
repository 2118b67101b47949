// SPDX-License-Identifier: MIT
//
// The same body, many times at once.
#pragma once

#include <atomic>
#include <thread>
#include <type_traits>

#include "runtime/weft/weft.h"

namespace weft_test {

// In n goroutines, as body(k) or body(). Until all are over.
template <class F>
void in_goroutines(int n, F body) {
  weft::wait_group done;
  for (int k = 0; k < n; ++k)
    if constexpr (std::is_invocable_v<F&, int>)
      done.go([&body, k] { body(k); });
    else
      done.go([&body] { body(); });
  done.wait();
}

// In four goroutines and two ordinary threads. For a goroutine to call; its own thread waits at the end.
inline constexpr int crowd = 6;
template <class F>
void in_goroutines_and_threads(F body) {
  std::thread a(body), b(body);
  in_goroutines(crowd - 2, body);
  a.join();
  b.join();
}

// rare() gets its turn twenty times while four goroutines do busy() over and over.
template <class Busy, class Rare>
void gets_its_turn(Busy busy, Rare rare) {
  std::atomic<bool> stop{false};
  weft::wait_group done;
  for (int k = 0; k < 4; ++k)
    done.go([&] {
      while (!stop) busy();
    });
  for (int i = 0; i < 20; ++i) rare();
  stop = true;
  done.wait();
}

}  // namespace weft_test
