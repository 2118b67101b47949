// SPDX-License-Identifier: MIT
//
// How weft dies: checks of its own invariants, and the one way out when they, or the program, are broken beyond repair.
//
//   WEFT_CHECK(cond, "runq::put: tail ran past head")    always on; the condition must be cheap
//   WEFT_DCHECK(cond, "...")                             only with -Dchecks=true (WEFT_CHECKS); else not evaluated
//   fatal("...", ...)                                    the message, then the dump, then abort
//
// The text of a check names the function and the broken invariant; whoever has values to tell calls fatal() itself.
// No exceptions here: a broken invariant is a defect, and unwinding through one destroys the evidence.
#pragma once

#include <string_view>

#include "../os/cpu.h"

namespace weft {

// All of `text` to descriptor 2 in one write; async-signal-safe; errno is preserved.
void write_stderr(std::string_view text) noexcept;

// `weft: fatal: <message>` and a newline on descriptor 2 in one write, cut at 1 KiB; then the dump, if one is set; then
// abort(). May be called in a signal handler and on any stack with some 3 KiB left: formats into a buffer of its own
// by vsnprintf, which allocates nothing for the conversions used here (%s %c %d %u %x %p with lengths; no floating
// point, no wide characters). When several threads die at once, the first one's dump is run; the others wait for
// its abort. A fatal() inside the dump aborts at once.
[[noreturn]] WEFT_API void fatal(const char* format, ...) noexcept __attribute__((format(printf, 1, 2), cold));

// What fatal() runs between message and abort; null for nothing. Returns the one set before. It runs in whatever state
// the process is in: no locks that the dying thread may hold.
using dump_fn = void (*)();
dump_fn set_fatal_dump(dump_fn dump) noexcept;

// Out of line, so that a check costs a compare and a jump where it stands.
[[noreturn]] WEFT_API void check_failed(const char* text, const char* condition, const char* file, int line) noexcept
    __attribute__((cold));

}  // namespace weft

#define WEFT_CHECK(cond, text) ((cond) ? static_cast<void>(0) : ::weft::check_failed(text, #cond, __FILE__, __LINE__))

// The unevaluated operand keeps the names in the condition used, and the condition compiling.
#if defined(WEFT_CHECKS) && WEFT_CHECKS
#define WEFT_DCHECK(cond, text) WEFT_CHECK(cond, text)
#else
#define WEFT_DCHECK(cond, text) static_cast<void>(sizeof((cond) ? 1 : 0))
#endif
