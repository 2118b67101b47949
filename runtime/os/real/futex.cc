// SPDX-License-Identifier: MIT
#include "../futex.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ctime>

#include "../process.h"
#include "keep_errno.h"

namespace weft::os {

futex_result futex_wait(atomic<std::uint32_t>& word, std::uint32_t expected, std::int64_t deadline_ns) noexcept {
  const keep_errno keep;
  timespec at{};
  const timespec* timeout = nullptr;
  if (deadline_ns != no_deadline) {
    // The kernel refuses negative times; the clock's zero has passed just as surely.
    const std::int64_t ns = deadline_ns < 0 ? 0 : deadline_ns;
    at.tv_sec = static_cast<time_t>(ns / 1'000'000'000);
    at.tv_nsec = static_cast<long>(ns % 1'000'000'000);
    timeout = &at;
  }
  // WAIT_BITSET, because plain FUTEX_WAIT takes a relative timeout.
  if (::syscall(SYS_futex, word.raw(), FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected, timeout, nullptr,
                FUTEX_BITSET_MATCH_ANY) == 0)
    return futex_result::woken;
  switch (errno) {
    case EINTR:
      return futex_result::woken;
    case EAGAIN:
      return futex_result::changed;
    case ETIMEDOUT:
      return futex_result::timed_out;
    default:
      die("futex_wait: the word is not mapped or not aligned");
  }
}

int futex_wake(atomic<std::uint32_t>& word, int n) noexcept {
  const keep_errno keep;
  const long woken = ::syscall(SYS_futex, word.raw(), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, n, nullptr, nullptr, 0);
  return woken > 0 ? static_cast<int>(woken) : 0;
}

}  // namespace weft::os
