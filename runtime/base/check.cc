// SPDX-License-Identifier: MIT
#include "check.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "../os/atomic.h"
#include "../os/clock.h"
#include "../os/process.h"
#include "../os/thread.h"

namespace weft {
namespace {

// FATAL-DUMP: release in set_fatal_dump -> acquire in die. Carries what the dump will walk; relaxed would let it
// walk tables that are not there yet.
constinit atomic<dump_fn> dump{nullptr};

// Thread id of the first to die, 0 while none has. relaxed: one word, nothing hangs on it.
constinit atomic<std::uint32_t> dying{0};

// Longer than any dump; a dump that hangs must not keep the process.
constexpr std::int64_t patience_ns = 5'000'000'000;

[[noreturn]] void die(std::string_view message) noexcept {
  os::write_stderr(message);
  const std::uint32_t self = os::thread_id();
  std::uint32_t first = 0;
  if (dying.compare_exchange_strong(first, self, relaxed, relaxed)) {
    if (const dump_fn run = dump.load(acquire)) run();  // FATAL-DUMP
  } else if (first != self) {
    os::sleep_ns(patience_ns);
  }
  os::abort_process();
}

}  // namespace

void write_stderr(std::string_view text) noexcept { os::write_stderr(text); }

dump_fn set_fatal_dump(dump_fn run) noexcept { return dump.exchange(run, acq_rel); }  // FATAL-DUMP

void fatal(const char* format, ...) noexcept {
  constexpr std::string_view prefix = "weft: fatal: ";
  char line[1024];
  std::memcpy(line, prefix.data(), prefix.size());
  const std::size_t room = sizeof line - prefix.size() - 1;  // the newline
  va_list args;
  va_start(args, format);
  const int wanted = std::vsnprintf(line + prefix.size(), room, format, args);
  va_end(args);
  // vsnprintf says how long the text would have been, and keeps a byte for its terminator.
  const std::size_t length = prefix.size() + (wanted < 0 ? 0 : std::min(static_cast<std::size_t>(wanted), room - 1));
  line[length] = '\n';
  die({line, length + 1});
}

void check_failed(const char* text, const char* condition, const char* file, int line) noexcept {
  fatal("%s (%s:%d: %s)", text, file, line, condition);
}

}  // namespace weft
