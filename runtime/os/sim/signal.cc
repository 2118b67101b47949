// SPDX-License-Identifier: MIT
//
// No faults to be handled: whatever faults in a simulation is to be seen in a debugger.

#include "../signal.h"

namespace weft::os {

alt_stack::alt_stack() = default;
alt_stack::~alt_stack() = default;

void acquire_fault_handler(fault_fn) {}
void release_fault_handler() noexcept {}

}  // namespace weft::os
