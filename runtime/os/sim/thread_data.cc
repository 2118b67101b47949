// SPDX-License-Identifier: MIT

#include "../thread_data.h"

#include "machine.h"

namespace weft::os {

thread_data::thread_data(void (*end)(void*)) : key_(0) {
  if (!sim::inside) return;
  sim::machine& m = *sim::the_machine;
  while (m.keys[key_])
    if (++key_ == 8) m.fail("the simulation has run out of thread_data");
  m.keys[key_] = true;
  m.key_end[key_] = end;
}

thread_data::~thread_data() = default;

void* thread_data::get() const noexcept { return sim::inside ? sim::the_machine->now->data[key_] : nullptr; }

void thread_data::set(void* value) { sim::the_machine->now->data[key_] = value; }

}  // namespace weft::os
