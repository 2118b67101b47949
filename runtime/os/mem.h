// SPDX-License-Identifier: MIT
//
// Address space: reserving it, giving its pages back, and putting guards into it.
//
// A guard is a span that no access gets through. Two kinds:
//
//   light     MADV_GUARD_INSTALL (Linux 6.13): markers in the page table. The mapping stays one, so their number
//             is not limited, and they survive discard(). Refused on mlocked memory.
//   mprotect  PROT_NONE. Works everywhere, but each guard cuts its mapping: two more entries in the process's list of
//             mappings, which vm.max_map_count bounds (65,530 unless changed: some 32,700 guards).
//
// All of it is about private anonymous memory made by reserve(). Ranges are multiples of page_size().
#pragma once

#include <cstddef>
#include <optional>

namespace weft::os {

std::size_t page_size() noexcept;

// Readable, writable, zero-filled address space at a multiple of `align` (a power of two). Costs no memory until it is
// touched, no swap reservation (MAP_NORESERVE), and never a huge page, as one touched byte of a stack must not
// bring in 2 MiB. Throws std::system_error: ENOMEM under RLIMIT_AS, at vm.max_map_count, or when vm.overcommit_memory
// is 2 and the commit limit is reached.
void* reserve(std::size_t bytes, std::size_t align);

// Unmaps. What is not mapped is left alone.
void release(void* p, std::size_t bytes) noexcept;

// Gives the pages back to the kernel; they read as zeros from now on. Guards inside the range stay guards, so one call
// may span many stacks. False: the kernel keeps the pages as they are (mlocked memory before Linux 5.18).
bool discard(void* p, std::size_t bytes) noexcept;

// Brings in one page at each of n addresses (multiples of page_size(), n at most populate_max), by one system call where the kernel
// offers that for several ranges (Linux 6.13): a hint, without effect where it does not. (A virtual machine with shadowed page tables: a page's
// fault 12,000 ns; populated, 64 at a time, and then touched, 6,500.)
inline constexpr std::size_t populate_max = 64;
void populate(void* const* pages, std::size_t n) noexcept;

// As discard(), and takes all guards away and gives the page tables back as well (4 KiB for every 2 MiB of
// stacks, which discard() must keep, the markers being in them). For a concurrent reader the range is at every moment
// mapped: it sees old bytes or zeros. False: nothing has changed.
bool renew(void* p, std::size_t bytes) noexcept;

enum class guard_kind { none, light, mprotect };

// The kind this kernel offers, light if it can. Tried on a scratch page once per process, and tried in earnest:
// qemu-user answers "done" to every advice it does not know.
guard_kind probe_guard_kind() noexcept;

// For tests: what probe_guard_kind() and install_guards() go by; nullopt returns to the probed one. `none`
// makes install_guards() do nothing.
void force_guard_kind(std::optional<guard_kind> kind) noexcept;

// Makes guards of `bytes` at first, first + stride, ... (n of them); what was in them is lost. All or nothing: when one
// fails, those made by this call are taken away again and std::system_error is thrown, its text naming
// vm.max_map_count, its code ENOMEM if that budget is exhausted. Whoever asks for several at a time thereby leaves
// as many entries of the budget to the rest of the process, which needs some for malloc and threads.
void install_guards(void* first, std::size_t stride, std::size_t n, std::size_t bytes);

// Gives what malloc holds and nobody uses back to the kernel, where the C library can.
void trim_heap() noexcept;

}  // namespace weft::os
