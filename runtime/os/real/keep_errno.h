// SPDX-License-Identifier: MIT
//
// errno belongs to the application: a goroutine may sit between its own system call and its look at errno when the
// runtime runs. So every function of this room saves errno on entry and restores it on every way out.
#pragma once

#include <cerrno>

namespace weft::os {

class keep_errno {
 public:
  keep_errno() noexcept : saved_(errno) {}
  ~keep_errno() { errno = saved_; }
  keep_errno(const keep_errno&) = delete;
  keep_errno& operator=(const keep_errno&) = delete;

 private:
  int saved_;
};

}  // namespace weft::os
