// SPDX-License-Identifier: MIT
//
// Settings: where each one comes from, what it may be, and what is said when it is not.
//
//   setting      option (weft::options)   environment, in order      range               default
//   procs        .procs                   WEFT_PROCS, GOMAXPROCS     1..1024             the CPUs this process may use
//   stack size   .stack_size              WEFT_STACK_SIZE            16 KiB..1 GiB       64 KiB
//   pack after   .pack_after              WEFT_PACK_AFTER            1..3600000 ms       never
//   chaos seed                            WEFT_CHAOS                 0..2^64-1           0 (off)
//
// The first source that is set decides, and the ones behind it are not looked at. An option is set when it is not 0, a
// variable when it is there and not empty. Numbers are decimal, without sign or blanks; a size takes a suffix K or M
// (1024 and 1024^2 bytes). Whatever does not fit is std::invalid_argument naming source, value and range: a
// runtime that quietly replaces a typing error by a guess is measured wrong for weeks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../os/limits.h"

namespace weft {

struct settings {
  int procs;                   // Ps, the most goroutines that run at once
  std::int64_t pack_after_ms;  // cold stacks are packed (sched/pack.h); 0: never
  std::size_t stack_size;      // usable bytes of a goroutine's stack; the stack pool rounds up to a power of two
  std::uint64_t chaos_seed;    // 0: the scheduler does not perturb itself
};

inline constexpr int max_procs = limits::max_procs;
inline constexpr std::size_t min_stack_size = std::size_t{16} << 10;
inline constexpr std::size_t max_stack_size = std::size_t{1} << 30;
inline constexpr std::size_t default_stack_size = std::size_t{64} << 10;

// 0 = not set; a negative procs is out of range. Reads the environment, so not beside a setenv() in another thread.
settings resolve_settings(int procs_option, std::size_t stack_option, std::int64_t pack_after_ms_option = 0);

// A stack size given to a single goroutine: 0 gives `otherwise`; out of range throws as above.
std::size_t resolve_stack_size(std::size_t option, std::size_t otherwise);

}  // namespace weft
