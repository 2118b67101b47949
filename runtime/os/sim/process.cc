// SPDX-License-Identifier: MIT
//
// In a run, the end of the process is the end of the run, and the last words are its message.

#include "../process.h"

#include <unistd.h>

#include <cstdlib>
#include <string>

#include "machine.h"

namespace weft::os {

void write_stderr(std::string_view text) noexcept {
  if (sim::inside) {
    sim::outside_scope outside;
    sim::the_machine->last_words.append(text);
    return;
  }
  while (!text.empty()) {
    const ssize_t n = ::write(2, text.data(), text.size());
    if (n <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

void abort_process() noexcept {
  if (sim::inside) {
    sim::inside = false;
    sim::the_machine->fail("the process would end: " + sim::the_machine->last_words);
  }
  std::abort();
}

void end_process(int status) noexcept {
  if (sim::inside) abort_process();
  ::_exit(status);
}

void die(std::string_view text) noexcept {
  write_stderr(text);
  abort_process();
}

}  // namespace weft::os
