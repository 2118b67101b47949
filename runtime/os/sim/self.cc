// SPDX-License-Identifier: MIT

#include "../self.h"

#include <cerrno>

#include "machine.h"

namespace weft::os {

void set_self(void* v) { sim::sim_self = v; }

int& errno_of_thread() { return errno; }  // moved with the virtual thread

}  // namespace weft::os
