// SPDX-License-Identifier: MIT
//
// What the compiler and the CPU offer, under one spelling: attributes, the sanitizer in use, the cache line, a
// polite busy-wait, a cycle counter. No kernel calls and no state. Simulated, a busy-wait
// is a point at which others go first.
#pragma once

#include <cstddef>
#include <cstdint>

// Symbols are hidden by default; this marks the ones a user may link against.
#define WEFT_API __attribute__((visibility("default")))

#define WEFT_NOINLINE __attribute__((noinline))
#define WEFT_ALWAYS_INLINE inline __attribute__((always_inline))

// WEFT_TSAN, WEFT_ASAN: 1 when this translation unit is instrumented, else 0. GCC says so by macros, Clang by features.
#if defined(__has_feature)
#define WEFT_HAS_FEATURE(x) __has_feature(x)
#else
#define WEFT_HAS_FEATURE(x) 0
#endif

#if defined(__SANITIZE_THREAD__) || WEFT_HAS_FEATURE(thread_sanitizer)
#define WEFT_TSAN 1
#else
#define WEFT_TSAN 0
#endif

#if defined(__SANITIZE_ADDRESS__) || WEFT_HAS_FEATURE(address_sanitizer)
#define WEFT_ASAN 1
#else
#define WEFT_ASAN 0
#endif

// How a goroutine that parks publishes itself (sched/switch.h): 0, in the assembly of the switch; 1, composed from a plain switch
// and weft::atomic, for builds whose tools must see the compare-and-swap.
#if WEFT_TSAN || WEFT_ASAN || defined(WEFT_SIM)
#define WEFT_COMPOSED_SWITCH 1
#else
#define WEFT_COMPOSED_SWITCH 0
#endif

namespace weft {

// Distance that keeps two fields from sharing a line. Not std::hardware_destructive_interference_size: that one varies
// with -mtune, and a layout that crosses a library boundary must not.
inline constexpr std::size_t cache_line = 64;

// One step of a busy-wait: tells the core that this thread spins, so that a sibling hyperthread gets the units and
// leaving the loop does not cost a memory-order flush. Its length differs a lot (about 40 cycles on some x86-64, 140
// on others, one to tens on AArch64): bound a spin by time or by a measured count, never by a guess at nanoseconds.
#if defined(WEFT_SIM)
void cpu_relax() noexcept;
#else
WEFT_ALWAYS_INLINE void cpu_relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  // isb, not yield: yield is a no-op on cores without SMT, and a spin without any pause starves the line's owner.
  asm volatile("isb" ::: "memory");
#else
#error "weft knows x86-64 and AArch64"
#endif
}
#endif

// The line is going to be written: asks for it at once and alone, so that a load that comes first does not fetch it shared, to be
// followed by a second journey for the right to write. Costs an instruction where the line is here already.
WEFT_ALWAYS_INLINE void prefetch_write(const void* line) noexcept {
#if defined(__x86_64__)
  asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(line)));
#else
  __builtin_prefetch(line, 1);
#endif
}

// A free-running counter for measuring short spans on one core. Not serialising: the CPU may move it by a few dozen
// instructions. The unit is the counter's own (TSC ticks; CNTVCT_EL0 ticks, often far coarser than a cycle), so
// compare it with os::now_ns() before saying nanoseconds.
WEFT_ALWAYS_INLINE std::uint64_t cycles() noexcept {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  std::uint64_t ticks;
  asm volatile("mrs %0, cntvct_el0" : "=r"(ticks));
  return ticks;
#endif
}

}  // namespace weft
