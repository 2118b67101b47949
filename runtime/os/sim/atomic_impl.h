// SPDX-License-Identifier: MIT
//
// The simulated machine's atomics: every operation is a call of its memory (memory.h), and says where in the source it stands.
// Included by os/atomic.h only, with -DWEFT_SIM.
//
// An atomic<T> is as large as its T, and holds the newest value, so that structures keep their layout (a wait_node its 64 bytes) and
// code that runs outside of a simulation, as static initialisation does, needs no machine. What else there is to know of a location,
// the older stores that may still be read, lies in the machine, found by address.

#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "../cpu.h"

namespace weft {

namespace sim {

// A place in the source: of the call that has it as a default argument.
struct site {
  const char* file;
  int line;
  static constexpr site here(const char* f = __builtin_FILE(), int l = __builtin_LINE()) noexcept { return {f, l}; }
};

enum class rmw_op : std::uint8_t { exchange, add, sub, bit_or, bit_and };

// memory.cc. `at` is the atomic's own storage. Outside of a simulation: plain operations on that.
std::uint64_t load(const void* at, unsigned bytes, std::memory_order o, site s) noexcept;
void store(void* at, unsigned bytes, std::uint64_t v, std::memory_order o, site s) noexcept;
std::uint64_t rmw(void* at, unsigned bytes, rmw_op op, std::uint64_t v, std::memory_order o, site s) noexcept;
bool cas(void* at, unsigned bytes, std::uint64_t& expected, std::uint64_t desired, std::memory_order ok,
         std::memory_order fail, bool weak, site s) noexcept;
void construct(void* at, unsigned bytes) noexcept;
void destroy(void* at) noexcept;
void fence(std::memory_order o, site s) noexcept;
void fence_of_all(site s) noexcept;
void plain_access(const void* at, bool write, site s) noexcept;
int this_moment() noexcept;
void plain_read_at(const void* at, int moment, site s) noexcept;

}  // namespace sim

template <class T>
class atomic {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
  using site = sim::site;
  using order = std::memory_order;

 public:
  constexpr atomic() noexcept : v_(T{}) { begin(); }
  constexpr atomic(T v) noexcept : v_(v) { begin(); }  // NOLINT(google-explicit-constructor): as std::atomic
  constexpr ~atomic() {
    if (!std::is_constant_evaluated()) sim::destroy(&v_);
  }
  atomic(const atomic&) = delete;
  atomic& operator=(const atomic&) = delete;

  T load(order o, site s = site::here()) const noexcept { return value(sim::load(&v_, sizeof(T), o, s)); }
  void store(T v, order o, site s = site::here()) noexcept { sim::store(&v_, sizeof(T), bits(v), o, s); }
  T exchange(T v, order o, site s = site::here()) noexcept { return change(sim::rmw_op::exchange, v, o, s); }

  bool compare_exchange_strong(T& expected, T desired, order ok, order fail, site s = site::here()) noexcept {
    return exchange_if(expected, desired, ok, fail, false, s);
  }
  bool compare_exchange_weak(T& expected, T desired, order ok, order fail, site s = site::here()) noexcept {
    return exchange_if(expected, desired, ok, fail, true, s);
  }

  T fetch_add(T d, order o, site s = site::here()) noexcept
      requires(std::is_integral_v<T> && !std::is_same_v<T, bool>) {
    return change(sim::rmw_op::add, d, o, s);
  }
  T fetch_sub(T d, order o, site s = site::here()) noexcept
      requires(std::is_integral_v<T> && !std::is_same_v<T, bool>) {
    return change(sim::rmw_op::sub, d, o, s);
  }
  T fetch_or(T d, order o, site s = site::here()) noexcept requires std::is_unsigned_v<T> {
    return change(sim::rmw_op::bit_or, d, o, s);
  }
  T fetch_and(T d, order o, site s = site::here()) noexcept requires std::is_unsigned_v<T> {
    return change(sim::rmw_op::bit_and, d, o, s);
  }

  T* raw() noexcept { return &v_; }

 private:
  static std::uint64_t bits(T v) noexcept {
    std::uint64_t b = 0;
    std::memcpy(&b, &v, sizeof(T));
    return b;
  }
  static T value(std::uint64_t b) noexcept {
    T v;
    std::memcpy(&v, &b, sizeof(T));
    return v;
  }
  constexpr void begin() noexcept {
    if (!std::is_constant_evaluated()) sim::construct(&v_, sizeof(T));
  }
  T change(sim::rmw_op op, T v, order o, site s) noexcept { return value(sim::rmw(&v_, sizeof(T), op, bits(v), o, s)); }
  bool exchange_if(T& expected, T desired, order ok, order fail, bool weak, site s) noexcept {
    std::uint64_t seen = bits(expected);
    bool done = sim::cas(&v_, sizeof(T), seen, bits(desired), ok, fail, weak, s);
    if (!done) expected = value(seen);
    return done;
  }

  T v_;
};

namespace os {

extern bool asymmetric_fences;  // may be switched off for a simulation (explore.h)

inline void fence_heavy(sim::site s = sim::site::here()) { sim::fence_of_all(s); }
inline void fence_full(sim::site s = sim::site::here()) { sim::fence(std::memory_order_seq_cst, s); }
constexpr bool only_thread() noexcept { return false; }
inline bool take_alone(atomic<std::int32_t>& from, std::int32_t n, sim::site s = sim::site::here()) noexcept {
  const std::int32_t left = from.load(std::memory_order_relaxed, s) - n;
  from.store(left, std::memory_order_relaxed, s);
  return left < 0;
}
inline void fence_light(sim::site s = sim::site::here()) {
  if (!asymmetric_fences) fence_full(s);
}

inline void plain_read(const void* p, sim::site s = sim::site::here()) { sim::plain_access(p, false, s); }
inline void plain_write(const void* p, sim::site s = sim::site::here()) { sim::plain_access(p, true, s); }
struct moment {
  int at;
};
inline moment this_moment() { return {sim::this_moment()}; }
inline void plain_read(const void* p, moment m, sim::site s = sim::site::here()) { sim::plain_read_at(p, m.at, s); }

}  // namespace os

template <class T>
class plain {
 public:
  constexpr plain() noexcept { begin(); }
  constexpr plain(T v) noexcept : v_(v) { begin(); }  // NOLINT(google-explicit-constructor): stands for a T
  plain(const plain&) = delete;
  plain& operator=(const plain&) = delete;
  plain& operator=(T v) noexcept {
    sim::plain_access(this, true, {});
    v_ = v;
    return *this;
  }
  operator T() const noexcept {  // NOLINT(google-explicit-constructor): stands for a T
    sim::plain_access(this, false, {});
    return v_;
  }
  T operator->() const noexcept requires std::is_pointer_v<T> { return static_cast<T>(*this); }

 private:
  constexpr void begin() const noexcept {
    if (!std::is_constant_evaluated()) sim::plain_access(this, true, {});
  }
  T v_{};
};

}  // namespace weft
