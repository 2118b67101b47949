// SPDX-License-Identifier: MIT
#include "../process.h"

#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "keep_errno.h"

namespace weft::os {

void write_stderr(std::string_view text) noexcept {
  const keep_errno keep;
  while (!text.empty()) {
    const ssize_t n = ::write(STDERR_FILENO, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

void die(std::string_view text) noexcept {
  // Assembled first: three writes could interleave with those of another dying thread.
  constexpr std::string_view prefix = "weft: fatal: ";
  char line[256];
  const std::size_t room = sizeof line - prefix.size() - 1;
  const std::size_t n = text.size() < room ? text.size() : room;
  std::memcpy(line, prefix.data(), prefix.size());
  std::memcpy(line + prefix.size(), text.data(), n);
  line[prefix.size() + n] = '\n';
  write_stderr({line, prefix.size() + n + 1});
  abort_process();
}

void abort_process() noexcept { std::abort(); }

void end_process(int status) noexcept { ::_exit(status); }

}  // namespace weft::os
