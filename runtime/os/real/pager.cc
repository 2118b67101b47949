// SPDX-License-Identifier: MIT
#include "../pager.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>

#include "../clock.h"
#include "../mem.h"
#include "keep_errno.h"

namespace weft::os {
namespace {

// Newer than the C library's headers: linux/userfaultfd.h, Linux 6.1.
constexpr unsigned long ioc_new = 0xAA00;

[[noreturn]] void refuse(int error) {
  throw std::system_error(
      error, std::generic_category(),
      "weft: userfaultfd, which packs cold stacks, cannot be had (it needs CAP_SYS_PTRACE, access to "
      "/dev/userfaultfd, or vm.unprivileged_userfaultfd=1; Linux 5.7)");
}

int open_faults() noexcept {
  const long fd = ::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
  if (fd >= 0 || errno != EPERM) return static_cast<int>(fd);
  const int device = ::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
  if (device < 0) {
    errno = EPERM;
    return -1;
  }
  const int made = ::ioctl(device, ioc_new, O_CLOEXEC | O_NONBLOCK);
  const int error = errno;
  ::close(device);
  errno = error;
  return made;
}

uffdio_range range(void* first, std::size_t n = 1) noexcept {
  return {reinterpret_cast<std::uintptr_t>(first), n * page_size()};
}

// The mapping changes just now: again.
bool retried(int fd, unsigned long request, void* arg) noexcept {
  int r;
  do {
    r = ::ioctl(fd, request, arg);
  } while (r != 0 && (errno == EAGAIN || errno == EINTR));
  return r == 0;
}

bool protect_or_not(int fd, uffdio_range pages, unsigned long mode) noexcept {
  uffdio_writeprotect w{};
  w.range = pages;
  w.mode = mode;
  return retried(fd, UFFDIO_WRITEPROTECT, &w);
}

}  // namespace

page_faults::page_faults() {
  fd_ = open_faults();
  if (fd_ < 0) refuse(errno);
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP;
  int error = ::ioctl(fd_, UFFDIO_API, &api) == 0 ? 0 : errno;
  if (error == 0) {
    stop_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    memory_ = ::open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    if (stop_ < 0 || memory_ < 0) error = errno;
  }
  if (error == 0) return;
  close();
  refuse(error);
}

page_faults::~page_faults() { close(); }

void page_faults::close() noexcept {
  const keep_errno keep;
  for (const int fd : {fd_, stop_, memory_})
    if (fd >= 0) ::close(fd);
}

void page_faults::watch(void* base, std::size_t bytes) {
  const keep_errno keep;
  uffdio_register r{};
  r.range = {reinterpret_cast<std::uintptr_t>(base), bytes};
  r.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP;
  if (::ioctl(fd_, UFFDIO_REGISTER, &r) != 0)
    throw std::system_error(errno, std::generic_category(), "weft: cannot watch the page faults of stacks");
}

std::size_t page_faults::wait(page_fault* out, std::size_t n) noexcept {
  constexpr std::size_t most = 32;
  for (;;) {
    uffd_msg told[most];
    const ssize_t got = ::read(fd_, told, std::min(n, most) * sizeof(uffd_msg));
    if (got <= 0) {
      pollfd both[] = {{fd_, POLLIN, 0}, {stop_, POLLIN, 0}};
      (void)::poll(both, 2, -1);
      if ((both[1].revents & POLLIN) != 0) return 0;
      continue;
    }
    std::size_t faults = 0;
    for (std::size_t i = 0; i < static_cast<std::size_t>(got) / sizeof(uffd_msg); ++i) {
      if (told[i].event != UFFD_EVENT_PAGEFAULT) continue;
      const std::uintptr_t address = told[i].arg.pagefault.address;
      out[faults++] = {.page = reinterpret_cast<void*>(address & ~(page_size() - 1)),
                       .written = (told[i].arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) != 0};
    }
    if (faults != 0) return faults;
  }
}

void page_faults::interrupt() noexcept {
  const keep_errno keep;
  const std::uint64_t one_more = 1;
  while (::write(stop_, &one_more, sizeof one_more) < 0 && errno == EINTR) {
  }
}

bool page_faults::protect(void* first, std::size_t n) noexcept {
  const keep_errno keep;
  return protect_or_not(fd_, range(first, n), UFFDIO_WRITEPROTECT_MODE_WP);
}

void page_faults::unprotect(void* page) noexcept {
  const keep_errno keep;
  (void)protect_or_not(fd_, range(page), 0);
}

void page_faults::place(void* page, const void* content) noexcept {
  const keep_errno keep;
  for (;;) {
    uffdio_copy c{};
    c.dst = reinterpret_cast<std::uintptr_t>(page);
    c.src = reinterpret_cast<std::uintptr_t>(content);
    c.len = page_size();
    if (retried(fd_, UFFDIO_COPY, &c)) return;
    if (errno != ENOMEM) break;
    sleep_ns(1'000'000);  // as a fault does, by and by: until there is memory, or the kernel ends somebody
  }
  uffdio_range r = range(page);
  (void)::ioctl(fd_, UFFDIO_WAKE, &r);
}

bool page_faults::present(const void* first, std::size_t n, unsigned char* there) noexcept {
  const keep_errno keep;
  return ::mincore(const_cast<void*>(first), n * page_size(), there) == 0;
}

bool page_faults::read(const void* page, void* to) const noexcept {
  const keep_errno keep;
  const auto size = static_cast<ssize_t>(page_size());
  return ::pread(memory_, to, page_size(), reinterpret_cast<off_t>(page)) == size;
}

}  // namespace weft::os
