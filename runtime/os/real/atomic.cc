// SPDX-License-Identifier: MIT

#include "../atomic.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace weft::os {

namespace {

long membarrier(int command) { return ::syscall(SYS_membarrier, command, 0, 0); }

bool register_membarrier() {
#if !defined(WEFT_ASYMMETRIC)
  return false;
#else
  int saved = errno;
  bool ok = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
  errno = saved;
  return ok;
#endif
}

}  // namespace

bool asymmetric_fences = register_membarrier();

void fence_heavy() {
  fence_full();
  if (asymmetric_fences) {
    int saved = errno;
    membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);  // registered: cannot fail
    errno = saved;
  }
}

}  // namespace weft::os
