// SPDX-License-Identifier: MIT
//
// The current M: null on an ordinary thread. Ask again after every park; an M held across one may be another thread's.

#pragma once

#include "../os/self.h"
#include "g_m_p.h"

namespace weft::rt {

[[gnu::always_inline]] inline M* self() { return static_cast<M*>(os::self()); }

}  // namespace weft::rt
