// SPDX-License-Identifier: MIT
//
// Memory faults: somewhere to stand while one is handled, and a handler that shares the process with others.
//
// A goroutine that overflows its stack faults with no stack left, so the handler runs on the thread's alternate stack.
// The handler is the process's, not ours: other libraries, crash reporters and sanitizers have theirs. We put ours in
// front, look at the address, and pass on whatever is not in one of our guards.
#pragma once

#include <cstddef>

namespace weft::os {

// Memory for an alternate signal stack: as large as the kernel's signal frame asks for (AVX-512 and SME make it large) plus
// 32 KiB for a report, with a guard below. Apart from alt_stack, so that who starts a thread can make it and take the failure.
// Throws std::system_error when there is no memory for it.
class alt_stack_memory {
 public:
  alt_stack_memory();
  ~alt_stack_memory();
  alt_stack_memory(const alt_stack_memory&) = delete;
  alt_stack_memory& operator=(const alt_stack_memory&) = delete;

  void* lo() const noexcept;
  std::size_t size() const noexcept;

 private:
  void* map_ = nullptr;
  std::size_t bytes_ = 0;
};

// The calling thread's alternate signal stack, from construction to destruction; both on the same thread. One that was there
// before is put back at the end, unless somebody has replaced ours meanwhile.
// Throws std::system_error where the thread stands on its alternate stack already (run called from a signal handler).
class alt_stack {
 public:
  explicit alt_stack(const alt_stack_memory& memory);
  ~alt_stack();
  alt_stack(const alt_stack&) = delete;
  alt_stack& operator=(const alt_stack&) = delete;

 private:
  void* ours_ = nullptr;
  void* before_sp_ = nullptr;
  std::size_t before_bytes_ = 0;
  int before_flags_ = 0;
};

// Called in the handler, on the alternate stack, with only the signal itself blocked: async-signal-safe functions only.
// `addr` is the address that faulted, `ucontext` a ucontext_t*. True: dealt with, retry the instruction. False: not
// ours. Need not return.
using fault_fn = bool (*)(void* addr, void* ucontext);

// The first acquire installs the handler for SIGSEGV and SIGBUS, the last release puts the old action back if ours is
// still in front. If somebody has installed another one over ours since, both stay as they are: theirs may call ours,
// which then does nothing but pass on (and a later acquire finds ours in place). One function per process: a second
// acquire with a different one throws std::logic_error. Throws std::system_error if sigaction fails.
//
// What is passed on is treated as if we had never been there: a handler is called in the form it asked for, with its
// mask; SIG_DFL (and SIG_IGN, for a fault the kernel would not ignore) is restored and the instruction retried, so that
// the process dies of the right signal, at the right place, with its core.
//
// Safe against fork() in another thread; the child keeps handler and count.
void acquire_fault_handler(fault_fn fn);
void release_fault_handler() noexcept;

}  // namespace weft::os
