// SPDX-License-Identifier: MIT
//
// Address space from the run's arena. No guards: a stack that overflows meets its neighbour, as nothing here is about that.

#include "../mem.h"

#include <cstring>

#include "machine.h"

namespace weft::os {

std::size_t page_size() noexcept { return 4096; }

void* reserve(std::size_t bytes, std::size_t align) { return sim::arena_reserve(bytes, align < 4096 ? 4096 : align); }

void release(void*, std::size_t) noexcept {}

bool discard(void*, std::size_t) noexcept { return false; }

void populate(void* const*, std::size_t) noexcept {}

bool renew(void*, std::size_t) noexcept { return false; }

guard_kind probe_guard_kind() noexcept { return guard_kind::none; }

void force_guard_kind(std::optional<guard_kind>) noexcept {}

void install_guards(void*, std::size_t, std::size_t, std::size_t) {}

void trim_heap() noexcept {}

}  // namespace weft::os
