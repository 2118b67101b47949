// SPDX-License-Identifier: MIT
//
// weft::atomic<T>: the one door to shared memory. All runtime code says weft::atomic, so that a second implementation of this
// file (a simulated memory that hands out every value the C++ memory model allows) runs the same runtime.
//
// The real one is std::atomic behind the same names (real/atomic_impl.h), and two kinds of fence; the simulated one, chosen by
// -DWEFT_SIM, is in sim/atomic_impl.h. Both also say what plain memory is handed from thread to thread: os::plain_read(p) and
// os::plain_write(p) stand where a value changes hands, plain<T> is a field for which the same is said at every use. They cost
// nothing here, and there a race on them is reported.
//
// Asymmetric fences. A store-load argument (each side stores, then looks at what the other side stores; not both may miss)
// needs a full fence on both sides. Where one side runs millions of times a second and the other hardly ever, the rare side
// can pay for both: fence_heavy() makes the kernel run a full fence on every running thread of the process
// (membarrier PRIVATE_EXPEDITED, microseconds), and fence_light() is then only a promise by the compiler not to reorder.
// Between any fence_light() of one thread and any fence_heavy() of another the guarantee is that of two seq_cst fences.
// Where the kernel has no membarrier, or with -Dasymmetric=false, both are ordinary seq_cst fences.
//
// os::take_alone(a, n): a is n less, by the only thread that writes it: a load and a store, relaxed both. True: a is negative now.
//
// os::only_thread(): there is none to be ordered against. Never so in the simulated machine.
//
// ThreadSanitizer does not model stand-alone fences. All data that goes with them is itself atomic, so it has nothing to miss.
//
// Sources: Dice, Huang, Yang, "Asymmetric Dekker Synchronization"; membarrier(2); Linux kernel/sched/membarrier.c.

#pragma once

#include <atomic>

namespace weft {

inline constexpr std::memory_order relaxed = std::memory_order_relaxed;
inline constexpr std::memory_order acquire = std::memory_order_acquire;
inline constexpr std::memory_order release = std::memory_order_release;
inline constexpr std::memory_order acq_rel = std::memory_order_acq_rel;
inline constexpr std::memory_order seq_cst = std::memory_order_seq_cst;

}  // namespace weft

#if defined(WEFT_SIM)
#include "sim/atomic_impl.h"
#else
#include "real/atomic_impl.h"
#endif
