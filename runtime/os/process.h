// SPDX-License-Identifier: MIT
//
// The last words of a process. Async-signal-safe; errno is preserved.
#pragma once

#include <string_view>

namespace weft::os {

// All of `text` to descriptor 2, with one write(2) unless the kernel takes it in parts; restarted on EINTR, given up
// silently on any other error (there is nowhere left to report it).
void write_stderr(std::string_view text) noexcept;

// `weft: fatal: <text>` and abort. For broken contracts below runtime/base, which has the richer weft::fatal().
[[noreturn]] void die(std::string_view text) noexcept;

// std::abort and _exit. In the simulated machine: the run that is being simulated has failed.
[[noreturn]] void abort_process() noexcept;
[[noreturn]] void end_process(int status) noexcept;

}  // namespace weft::os
