// SPDX-License-Identifier: MIT
//
// Values by goroutine (sync/goroutine_local.h), and by thread for threads that are not a goroutine's. G::locals leads to a table, made at the
// first use; a goroutine that has none pays one branch at its end.

#pragma once

#include <cstdint>

#include "g_m_p.h"

namespace weft::rt {

// A number never handed out before.
WEFT_API std::uint64_t new_local_key();
// The calling goroutine's, or thread's, value; null: it has none yet.
WEFT_API void* find_local(std::uint64_t key) noexcept;
// `destroy(value)` will be called on the goroutine's stack when it ends, last made first. Throws std::bad_alloc.
WEFT_API void add_local(std::uint64_t key, void* value, void (*destroy)(void*));

// The goroutine has ended: destroys its values, also those that their destructors make. They may park; must not throw.
void end_locals(G* g) noexcept;

}  // namespace weft::rt
