// SPDX-License-Identifier: MIT
//
// No faults to be handled: whatever faults in a simulation is to be seen in a debugger. But a test may ask what the handler says of an address
// (explore.h, fault_at).

#include "../signal.h"

#include "machine.h"

namespace weft::os {

alt_stack_memory::alt_stack_memory() = default;
alt_stack_memory::~alt_stack_memory() = default;
void* alt_stack_memory::lo() const noexcept { return map_; }
std::size_t alt_stack_memory::size() const noexcept { return bytes_; }

alt_stack::alt_stack(const alt_stack_memory& memory) : ours_(memory.lo()) {}
alt_stack::~alt_stack() {
  static_cast<void>(ours_);
  static_cast<void>(before_sp_);
  static_cast<void>(before_bytes_);
  static_cast<void>(before_flags_);
}

namespace {
fault_fn handler = nullptr;
}

void acquire_fault_handler(fault_fn f) { handler = f; }
void release_fault_handler() noexcept {}

}  // namespace weft::os

namespace weft::sim {

bool fault_at(void* address) { return os::handler && os::handler(address, nullptr); }

}  // namespace weft::sim
