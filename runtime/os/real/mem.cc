// SPDX-License-Identifier: MIT
#include "../mem.h"

#include <malloc.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <system_error>

#include "../atomic.h"
#include "../cpu.h"
#include "keep_errno.h"

#if WEFT_ASAN
#include <sanitizer/asan_interface.h>
#endif
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

namespace weft::os {
namespace {

// Newer than the C library's headers; the numbers are those of the kernel's (asm-generic/mman-common.h, linux/pidfd.h).
constexpr int madv_populate_write = 23;
constexpr int madv_dontneed_locked = 24;
constexpr int madv_guard_install = 102;
constexpr int madv_guard_remove = 103;
constexpr int pidfd_self = -10000;

// Guards per process_madvise(). Measured: a guard costs 1,200 ns by madvise(), 590 in batches of 8, 430-470 from 16 on.
constexpr std::size_t vector_max = 64;

constexpr int unforced = -1;
constinit atomic<int> forced_kind{unforced};

// Whether process_madvise() on ourselves works (Linux 6.13; a seccomp filter may object). A hint, hence relaxed: who
// reads the old value makes one call that is refused.
constinit atomic<bool> vector_works{true};
constinit atomic<bool> populate_works{true};  // the same for MADV_POPULATE_WRITE (Linux 5.14)

char* at(void* first, std::size_t stride, std::size_t i) noexcept { return static_cast<char*>(first) + stride * i; }

bool again(int error) noexcept { return error == EINTR || error == EAGAIN; }

bool advise(void* p, std::size_t bytes, int advice) noexcept {
  int r;
  do {
    r = ::madvise(p, bytes, advice);
  } while (r != 0 && again(errno));
  return r == 0;
}

// As many guards as one system call makes, at most vector_max; 0 when the kernel does not offer the call.
std::size_t advise_vector(void* first, std::size_t stride, std::size_t n, std::size_t bytes) noexcept {
  iovec ranges[vector_max];
  n = std::min(n, vector_max);
  for (std::size_t i = 0; i < n; ++i) ranges[i] = {.iov_base = at(first, stride, i), .iov_len = bytes};
  long done;
  do {
    done = ::syscall(SYS_process_madvise, pidfd_self, ranges, n, madv_guard_install, 0UL);
  } while (done < 0 && again(errno));
  return done > 0 ? static_cast<std::size_t>(done) / bytes : 0;
}

// Light guards; returns how many of the n were made.
std::size_t install_light(void* first, std::size_t stride, std::size_t n, std::size_t bytes) noexcept {
  std::size_t done = 0;
  while (n - done > 1 && vector_works.load(relaxed)) {
    const std::size_t made = advise_vector(at(first, stride, done), stride, n - done, bytes);
    done += made;
    if (made != 0) continue;
    // Refused: either this range or the call as such. If the plain form takes the range, it was the call.
    if (!advise(at(first, stride, done), bytes, madv_guard_install)) return done;
    ++done;
    vector_works.store(false, relaxed);
  }
  while (done < n && advise(at(first, stride, done), bytes, madv_guard_install)) ++done;
  return done;
}

void remove_guards(void* first, std::size_t stride, std::size_t n, std::size_t bytes, std::size_t light) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    if (i < light)
      (void)advise(at(first, stride, i), bytes, madv_guard_remove);
    else
      (void)::mprotect(at(first, stride, i), bytes, PROT_READ | PROT_WRITE);
  }
}

// Does a read of `page` fail? Asked of the kernel, which reads a signal set there: no fault to be caught, no effect
// (the page is zero: block no signal), and qemu-user answers it by its own view of the page.
bool faults(void* page) noexcept {
  return ::syscall(SYS_rt_sigprocmask, SIG_BLOCK, page, nullptr, std::size_t{8}) != 0 && errno == EFAULT;
}

guard_kind probe() noexcept {
  // Valgrind reads the memory that a system call is handed, looks it up in its own list of mappings first, and dies of a marker that is
  // not in there.
  if (RUNNING_ON_VALGRIND != 0) return guard_kind::mprotect;
  const std::size_t page = page_size();
  void* const p = ::mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return guard_kind::mprotect;
  const bool light = advise(p, page, madv_guard_install) && faults(p);
  ::munmap(p, page);
  return light ? guard_kind::light : guard_kind::mprotect;
}

void* map(void* where, std::size_t bytes, int flags) noexcept {
  void* const p =
      ::mmap(where, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
  if (p == MAP_FAILED) return nullptr;
  // Refused by a kernel built without huge pages, which is just as well.
  (void)::madvise(p, bytes, MADV_NOHUGEPAGE);
  return p;
}

}  // namespace

std::size_t page_size() noexcept {
  static const std::size_t size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

void* reserve(std::size_t bytes, std::size_t align) {
  const keep_errno keep;
  // mmap aligns to pages; more is had by asking for more and returning both ends.
  const std::size_t extra = align > page_size() ? align - page_size() : 0;
  void* const p = map(nullptr, bytes + extra, 0);
  if (p == nullptr)
    throw std::system_error(errno, std::generic_category(),
                            "weft: cannot reserve " + std::to_string(bytes + extra) +
                                " bytes of address space (see RLIMIT_AS, vm.overcommit_memory, vm.max_map_count)");
  if (extra == 0) return p;
  const auto base = reinterpret_cast<std::uintptr_t>(p);
  const std::size_t before = ((base + align - 1) & ~(align - 1)) - base;
  char* const start = static_cast<char*>(p) + before;
  if (before != 0) (void)::munmap(p, before);
  if (before != extra) (void)::munmap(start + bytes, extra - before);
  return start;
}

void release(void* p, std::size_t bytes) noexcept {
  const keep_errno keep;
#if WEFT_ASAN
  // The shadow outlives the mapping: whoever gets these addresses next must not inherit our red zones.
  __asan_unpoison_memory_region(p, bytes);
#endif
  // Can fail only where it would have to split a mapping at the limit; the pages at least go.
  if (::munmap(p, bytes) != 0) (void)discard(p, bytes);
}

bool discard(void* p, std::size_t bytes) noexcept {
  const keep_errno keep;
  return advise(p, bytes, MADV_DONTNEED) || advise(p, bytes, madv_dontneed_locked);
}

void populate(void* const* pages, std::size_t n) noexcept {
  if (!populate_works.load(relaxed)) return;  // relaxed: a hint
  const keep_errno keep;
  iovec ranges[populate_max];
  n = std::min(n, populate_max);
  for (std::size_t i = 0; i < n; ++i) ranges[i] = {.iov_base = pages[i], .iov_len = page_size()};
  // Short of memory it ends early, or fails: then the fault does, later, what it would have done.
  const long done = ::syscall(SYS_process_madvise, pidfd_self, ranges, n, madv_populate_write, 0UL);
  if (done < 0 && errno != EINTR && errno != EAGAIN && errno != ENOMEM) populate_works.store(false, relaxed);
}

bool renew(void* p, std::size_t bytes) noexcept {
  const keep_errno keep;
  return map(p, bytes, MAP_FIXED) != nullptr;
}

guard_kind probe_guard_kind() noexcept {
  const keep_errno keep;
  if (const int forced = forced_kind.load(relaxed); forced != unforced) return static_cast<guard_kind>(forced);
  static const guard_kind probed = probe();
  return probed;
}

void force_guard_kind(std::optional<guard_kind> kind) noexcept {
  // relaxed: a switch for tests, set while no other thread installs guards.
  forced_kind.store(kind ? static_cast<int>(*kind) : unforced, relaxed);
}

void install_guards(void* first, std::size_t stride, std::size_t n, std::size_t bytes) {
  const keep_errno keep;
  const guard_kind kind = probe_guard_kind();
  if (kind == guard_kind::none) return;
  const std::size_t light = kind == guard_kind::light ? install_light(first, stride, n, bytes) : 0;
  // Light ones end early where memory is mlocked (EINVAL) or no page table can be had (ENOMEM); PROT_NONE then.
  std::size_t done = light;
  while (done < n && ::mprotect(at(first, stride, done), bytes, PROT_NONE) == 0) ++done;
  if (done == n) return;
  const int error = errno;
  remove_guards(first, stride, done, bytes, light);
  throw std::system_error(error, std::generic_category(),
                          "weft: cannot protect a stack guard (each takes two of the process's mappings; "
                          "raise vm.max_map_count, or use Linux 6.13 or later)");
}

void trim_heap() noexcept {
#if defined(__GLIBC__)
  const keep_errno keep;
  (void)::malloc_trim(0);
#endif
}

}  // namespace weft::os
