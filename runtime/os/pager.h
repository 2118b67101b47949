// SPDX-License-Identifier: MIT
//
// Page faults of a range that are answered by a thread of this process instead of by the kernel: userfaultfd(2). Two kinds are told, each while the
// thread that caused it waits in the kernel:
//
//   absent    there is no page: place() answers
//   written   a page that was protected is written to: unprotect() answers. Reading goes on meanwhile
//
// So whoever answers must not wait for anything that a thread may hold that touches the range: no lock of others, and no allocation. Accesses by
// the kernel itself, as read(2) into a stack, are told like any others, which is why the kernel wants a privilege for it.
//
// A child after fork() is not told of: its absent pages are zeros.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weft::os {

struct page_fault {
  void* page;
  bool written;  // else absent
};

class page_faults {
 public:
  // Throws std::system_error that says what is missing: ENOSYS (no such kernel, or an emulator), EPERM (needs CAP_SYS_PTRACE, access
  // to /dev/userfaultfd, or vm.unprivileged_userfaultfd=1).
  page_faults();
  ~page_faults();  // the ranges are as any others then; who still waits goes on, and finds zeros
  page_faults(const page_faults&) = delete;
  page_faults& operator=(const page_faults&) = delete;

  // From now on these are told: a mapping from reserve(). Again after renew(). Throws std::system_error (ENOMEM).
  void watch(void* base, std::size_t bytes);

  // Waits for the next ones, up to n. 0: interrupt() was called.
  std::size_t wait(page_fault* out, std::size_t n) noexcept;
  void interrupt() noexcept;  // for good

  // Those of n pages that are there are read-only until unprotect. False: refused, and some may be.
  bool protect(void* first, std::size_t n) noexcept;
  void unprotect(void* page) noexcept;  // and who waits goes on

  // An absent page is there, with that content, at once for all threads; who waits goes on. If it is there already, only that.
  void place(void* page, const void* content) noexcept;

  // Which of n pages are there: the lowest bit of each byte. Only a hint, unless the caller keeps all from discarding them. False: not all are mapped.
  static bool present(const void* first, std::size_t n, unsigned char* there) noexcept;

  // What is in a page that is there, without a race or a sanitizer's complaint, whoever writes to it meanwhile. False: refused.
  bool read(const void* page, void* to) const noexcept;

 private:
  void close() noexcept;

  int fd_ = -1;
  int stop_ = -1;
  int memory_ = -1;  // /proc/self/mem
};

}  // namespace weft::os
