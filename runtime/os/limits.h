// SPDX-License-Identifier: MIT
//
// Sizes that decide how soon a structure wraps, fills or is looked at. They stand together because the simulated
// build shrinks them: a ring of 4 wraps within a model test of three steps, a ring of 256 never would.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weft::limits {

// Per-P run queue. A power of two: positions count up for ever and are masked.
inline constexpr std::uint32_t runq_capacity = 256;
static_assert((runq_capacity & (runq_capacity - 1)) == 0);

// The global queue is looked at first on every globq_poll-th pick, so that two goroutines that keep readying each
// other cannot starve it. Prime, as in Go, so that it does not beat with a program's own period.
inline constexpr std::uint32_t globq_poll = 61;

// Stack pool: guards are laid this many slots at a time (one system call each); the first batches of a chunk are
// smaller, so that a program of three goroutines does not pay for sixty-four.
inline constexpr std::size_t stack_guard_batch_min = 16;
inline constexpr std::size_t stack_guard_batch_max = 64;

// Stack pool: address space reserved at a time. The first reservation of a size class takes the small figure, each
// further one twice the last, up to the large one: a million slots of 64 KiB then lie in some 70 reservations.
inline constexpr std::size_t stack_chunk_min = std::size_t{64} << 20;
inline constexpr std::size_t stack_chunk_max = std::size_t{1} << 30;

// Stack pool: slots given back to the kernel between two looks at the pool's lock.
inline constexpr std::size_t stack_trim_batch = 256;

// A P's budget of runtime calls between two looks round (sched/park.h), and what a switch takes of it.
inline constexpr std::int32_t switch_cost = 4;
inline constexpr std::int32_t slice = switch_cost * static_cast<std::int32_t>(globq_poll);

}  // namespace weft::limits
