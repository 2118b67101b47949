// SPDX-License-Identifier: MIT
//
// weft::atomic<T>: the one door to shared memory. All runtime code says weft::atomic, so that a second implementation of this
// file (a simulated memory that hands out every value the C++ memory model allows) runs the same runtime.
//
// Here, the real one: std::atomic behind the same names, and two kinds of fence.
//
// Asymmetric fences. A store-load argument (each side stores, then looks at what the other side stores; not both may miss)
// needs a full fence on both sides. Where one side runs millions of times a second and the other hardly ever, the rare side
// can pay for both: fence_heavy() makes the kernel run a full fence on every running thread of the process
// (membarrier PRIVATE_EXPEDITED, microseconds), and fence_light() is then only a promise by the compiler not to reorder.
// Between any fence_light() of one thread and any fence_heavy() of another the guarantee is that of two seq_cst fences.
// Where the kernel has no membarrier, or with -Dasymmetric=false, both are ordinary seq_cst fences.
//
// ThreadSanitizer does not model stand-alone fences. All data that goes with them is itself atomic, so it has nothing to miss.
//
// Sources: Dice, Huang, Yang, "Asymmetric Dekker Synchronization"; membarrier(2); Linux kernel/sched/membarrier.c.

#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

#include "cpu.h"

namespace weft {

inline constexpr std::memory_order relaxed = std::memory_order_relaxed;
inline constexpr std::memory_order acquire = std::memory_order_acquire;
inline constexpr std::memory_order release = std::memory_order_release;
inline constexpr std::memory_order acq_rel = std::memory_order_acq_rel;
inline constexpr std::memory_order seq_cst = std::memory_order_seq_cst;

template <class T>
class atomic {
 public:
  constexpr atomic() noexcept : v_(T{}) {}
  constexpr atomic(T v) noexcept : v_(v) {}  // NOLINT(google-explicit-constructor): as std::atomic
  atomic(const atomic&) = delete;
  atomic& operator=(const atomic&) = delete;

  T load(std::memory_order o) const noexcept { return v_.load(o); }
  void store(T v, std::memory_order o) noexcept { v_.store(v, o); }
  T exchange(T v, std::memory_order o) noexcept { return v_.exchange(v, o); }

  // On failure `expected` receives the value found. A failed exchange orders as `fail`.
  bool compare_exchange_strong(T& expected, T desired, std::memory_order ok, std::memory_order fail) noexcept {
    return v_.compare_exchange_strong(expected, desired, ok, fail);
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order ok, std::memory_order fail) noexcept {
    return v_.compare_exchange_weak(expected, desired, ok, fail);
  }

  T fetch_add(T d, std::memory_order o) noexcept requires(std::is_integral_v<T> && !std::is_same_v<T, bool>) {
    return v_.fetch_add(d, o);
  }
  T fetch_sub(T d, std::memory_order o) noexcept requires(std::is_integral_v<T> && !std::is_same_v<T, bool>) {
    return v_.fetch_sub(d, o);
  }
  T fetch_or(T d, std::memory_order o) noexcept requires std::is_unsigned_v<T> { return v_.fetch_or(d, o); }
  T fetch_and(T d, std::memory_order o) noexcept requires std::is_unsigned_v<T> { return v_.fetch_and(d, o); }

  // The plain word, for the switch that commits in assembly and for the kernel (futex). Lock-free types only.
  T* raw() noexcept {
    static_assert(sizeof(std::atomic<T>) == sizeof(T) && std::atomic<T>::is_always_lock_free);
    return reinterpret_cast<T*>(&v_);
  }

 private:
  std::atomic<T> v_;
};

namespace os {

// False: no membarrier (or switched off), fence_light() is a real fence. Decided before main, never changes.
extern WEFT_API bool asymmetric_fences;

// The rare side. Microseconds. May be called from any thread.
void fence_heavy();

// A seq_cst fence. (A locked RMW on the stack is what compilers should emit for it: mfence costs 17 ns here, this 2.)
inline void fence_full() {
#if defined(__x86_64__) && !WEFT_TSAN
  asm volatile("lock orl $0, (%%rsp)" ::: "memory", "cc");
#elif defined(__aarch64__)
  asm volatile("dmb ish" ::: "memory");
#else
  asm volatile("mfence" ::: "memory");
#endif
}

// The frequent side: free where fence_heavy() does the work.
inline void fence_light() {
  asm volatile("" ::: "memory");
  if (!asymmetric_fences) [[unlikely]]
    fence_full();
}

}  // namespace os
}  // namespace weft
