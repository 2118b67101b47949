// SPDX-License-Identifier: MIT
#include "runtime/os/mem.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <system_error>

#include "runtime/os/cpu.h"
#include "tests/support/emulated.h"

namespace weft::os {
namespace {

// Can the kernel read there? No signal needed to find out.
bool readable(const void* p) {
  return ::syscall(SYS_rt_sigprocmask, SIG_BLOCK, p, nullptr, std::size_t{8}) == 0 || errno != EFAULT;
}

class mem : public ::testing::TestWithParam<guard_kind> {
 protected:
  void SetUp() override {
    if (GetParam() == guard_kind::light && probe_guard_kind() != guard_kind::light)
      GTEST_SKIP() << "this kernel has no light guards";
    force_guard_kind(GetParam());
  }
  void TearDown() override { force_guard_kind(std::nullopt); }

  const std::size_t page = page_size();
};

INSTANTIATE_TEST_SUITE_P(both_kinds, mem, ::testing::Values(guard_kind::light, guard_kind::mprotect),
                         [](const auto& info) { return info.param == guard_kind::light ? "light" : "mprotect"; });

TEST_P(mem, guards_stop_reads_and_nothing_else) {
  constexpr std::size_t n = 150;  // several batches and a rest
  const std::size_t stride = 3 * page;
  auto* const p = static_cast<char*>(reserve(n * stride, page));
  errno = 42;
  install_guards(p, stride, n, page);
  EXPECT_EQ(errno, 42);
  for (std::size_t i = 0; i < n; ++i) {
    EXPECT_FALSE(readable(p + i * stride)) << i;
    EXPECT_TRUE(readable(p + i * stride + page)) << i;
    EXPECT_TRUE(readable(p + (i + 1) * stride - 8)) << i;
  }
  release(p, n * stride);
  EXPECT_FALSE(readable(p + page));
}

TEST_P(mem, discard_zeroes_the_pages_and_keeps_the_guards) {
  const std::size_t stride = 4 * page;
  auto* const p = static_cast<char*>(reserve(8 * stride, page));
  install_guards(p, stride, 8, page);
  for (std::size_t i = 0; i < 8; ++i) p[i * stride + page] = 'x';
  EXPECT_TRUE(discard(p, 8 * stride));
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_FALSE(readable(p + i * stride)) << i;
    EXPECT_EQ(p[i * stride + page], 0) << i;
  }
  release(p, 8 * stride);
}

TEST_P(mem, renew_zeroes_the_pages_and_takes_the_guards_away) {
  const std::size_t stride = 4 * page;
  auto* const p = static_cast<char*>(reserve(8 * stride, page));
  install_guards(p, stride, 8, page);
  for (std::size_t i = 0; i < 8; ++i) p[i * stride + page] = 'x';
  EXPECT_TRUE(renew(p, 8 * stride));
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_TRUE(readable(p + i * stride)) << i;
    EXPECT_EQ(p[i * stride], 0) << i;
    EXPECT_EQ(p[i * stride + page], 0) << i;
  }
  install_guards(p, stride, 8, page);
  EXPECT_FALSE(readable(p));
  release(p, 8 * stride);
}

TEST_P(mem, mlocked_memory_gets_guards_of_the_kind_that_works_there) {
  const std::size_t stride = 2 * page;
  auto* const p = static_cast<char*>(reserve(8 * stride, page));
  if (::mlock(p, 8 * stride) != 0) GTEST_SKIP() << "RLIMIT_MEMLOCK";
  install_guards(p, stride, 8, page);
  for (std::size_t i = 0; i < 8; ++i) EXPECT_FALSE(readable(p + i * stride)) << i;
  p[page] = 'x';
  if (discard(p, 8 * stride) && !weft_test::emulator()) {  // qemu swallows the kernel's refusal
    EXPECT_EQ(p[page], 0);
  }
  for (std::size_t i = 0; i < 8; ++i) EXPECT_FALSE(readable(p + i * stride)) << i;
  release(p, 8 * stride);
}

TEST_P(mem, a_guard_that_cannot_be_made_takes_the_others_of_its_call_back) {
  const std::size_t stride = 2 * page;
  auto* const p = static_cast<char*>(reserve(8 * stride, page));
  ::munmap(p + 5 * stride, page);
  try {
    install_guards(p, stride, 8, page);
    ADD_FAILURE() << "there is nothing to protect at the sixth";
  } catch (const std::system_error& e) {
    EXPECT_EQ(e.code(), std::errc::not_enough_memory);
    EXPECT_NE(std::string(e.what()).find("vm.max_map_count"), std::string::npos) << e.what();
  }
  for (std::size_t i = 0; i < 5; ++i) EXPECT_TRUE(readable(p + i * stride)) << i;
  release(p, 8 * stride);
}

TEST(mem_reserve, aligns_as_asked_and_reads_as_zeros) {
  for (std::size_t align : {page_size(), std::size_t{1} << 16, std::size_t{1} << 21}) {
    auto* const p = static_cast<char*>(reserve(1 << 20, align));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) % align, 0u);
    EXPECT_EQ(p[0], 0);
    EXPECT_EQ(p[(1 << 20) - 1], 0);
    release(p, 1 << 20);
  }
}

TEST(mem_reserve, more_than_there_is_throws_and_says_how_much) {
  try {
    reserve(std::size_t{1} << 60, page_size());
    ADD_FAILURE();
  } catch (const std::system_error& e) {
    EXPECT_EQ(e.code(), std::errc::not_enough_memory);
    EXPECT_NE(std::string(e.what()).find("1152921504606846976 bytes"), std::string::npos) << e.what();
  }
}

TEST(mem_reserve, a_low_rlimit_as_throws) {
  if (WEFT_ASAN || WEFT_TSAN) GTEST_SKIP() << "sanitizer runtimes do not work in so little address space";
  if (weft_test::emulator()) GTEST_SKIP() << "the limit would be the emulator's";
  const pid_t child = ::fork();
  if (child == 0) {
    rlimit low{.rlim_cur = 64 << 20, .rlim_max = 64 << 20};
    ::setrlimit(RLIMIT_AS, &low);
    try {
      reserve(std::size_t{64} << 20, page_size());
    } catch (const std::system_error& e) {
      ::_exit(std::string(e.what()).find("RLIMIT_AS") != std::string::npos ? 0 : 1);
    }
    ::_exit(2);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(mem_guards, a_forced_kind_is_reported_and_none_protects_nothing) {
  const guard_kind real = probe_guard_kind();
  EXPECT_NE(real, guard_kind::none);
  force_guard_kind(guard_kind::none);
  EXPECT_EQ(probe_guard_kind(), guard_kind::none);
  auto* const p = static_cast<char*>(reserve(page_size(), page_size()));
  install_guards(p, page_size(), 1, page_size());
  EXPECT_TRUE(readable(p));
  release(p, page_size());
  force_guard_kind(std::nullopt);
  EXPECT_EQ(probe_guard_kind(), real);
}

}  // namespace
}  // namespace weft::os
