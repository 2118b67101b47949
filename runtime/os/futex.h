// SPDX-License-Identifier: MIT
//
// The kernel's wait queue: sleep while a word holds a value, wake those who sleep on it. Private to the process.
//
//   if (word == expected) sleep          checked and queued as one step against futex_wake on the same word, so the
//                                        sequence "change the word, then wake" can never be missed.
//
// Orders no memory by contract: publish with a release store to the word before futex_wake, and read it with an
// acquire load after futex_wait returns. A waiter always looks at the word again:
//   woken      a wake, a signal handler that ran (EINTR), or nothing at all (spurious; also a wake meant for whoever
//              used this address before). A wait with a deadline can be repeated as it is, deadlines being absolute.
//   changed    the word did not hold `expected` when the kernel looked; the thread never slept.
//   timed_out  the deadline passed. The word may have changed all the same.
// A word that is not mapped, or not aligned to four bytes, is a defect of the caller and ends the process.
#pragma once

#include <cstdint>

#include "atomic.h"
#include "clock.h"

namespace weft::os {

enum class futex_result { woken, changed, timed_out };

// `deadline_ns` is absolute (clock.h); one that has passed gives timed_out, or changed, without sleeping.
futex_result futex_wait(atomic<std::uint32_t>& word, std::uint32_t expected,
                        std::int64_t deadline_ns = no_deadline) noexcept;

// Wakes up to `n` waiters, the longest waiting first, and returns how many. Never touches the memory of the word: it
// may be called although the waiter it was meant for has gone on and freed the word. A waiter there by chance wakes
// spuriously then, which its contract allows.
int futex_wake(atomic<std::uint32_t>& word, int n) noexcept;

}  // namespace weft::os
