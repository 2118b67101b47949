// SPDX-License-Identifier: MIT
//
// The real machine's atomics: std::atomic behind weft's names. Included by os/atomic.h only.

#pragma once

#include <sys/single_threaded.h>

#include <atomic>
#include <cstdint>
#include <type_traits>

#include "../cpu.h"

namespace weft {

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

// The process has no other thread, and gets one by this thread's doing only: then a load and a store are as good as a locked instruction, which
// glibc's own mutex leaves out as well. (Eight goroutines and a mutex, p = 1: 1.6 ns locked and unlocked, so 5.6.) Between the question and the
// store nothing may be called. Not where a child process may share the memory.
inline bool only_thread() noexcept { return __libc_single_threaded != 0; }

// One instruction, and not a locked one: three fewer for each call of the runtime.
[[gnu::always_inline]] inline bool take_alone(atomic<std::int32_t>& from, std::int32_t n) noexcept {
#if defined(__x86_64__) && !WEFT_TSAN && !WEFT_ASAN
  bool negative;
  asm volatile("subl %[n], %[from]" : [from] "+m"(*from.raw()), "=@ccs"(negative) : [n] "ri"(n));
  return negative;
#else
  const std::int32_t left = from.load(std::memory_order_relaxed) - n;
  from.store(left, std::memory_order_relaxed);
  return left < 0;
#endif
}

// For the simulated machine's eyes only: plain memory that several threads use in turn is read, or written, here.
inline void plain_read(const void*) {}
inline void plain_write(const void*) {}
// A read that was made at an earlier moment, and counts only now that an exchange has said that what was read is the caller's: say it right
// behind the exchange. Finds what reads alone cannot show in a memory without load buffering: that the place is written again too early.
struct moment {};
inline moment this_moment() { return {}; }
inline void plain_read(const void*, moment) {}

}  // namespace os

// A field that is not atomic, since something else orders its accesses. In the simulated machine a race on it is found.
template <class T>
using plain = T;

}  // namespace weft
