// SPDX-License-Identifier: MIT
#include "runtime/os/thread.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

#include "runtime/os/atomic.h"
#include "runtime/os/clock.h"
#include "runtime/os/cpu.h"
#include "runtime/os/real/cgroup.h"
#include "tests/support/emulated.h"
#include "tests/support/scale.h"
#include "tests/support/world.h"

namespace weft::os {
namespace {

// This thread and those that no thread of this program has made, as long as the tests have none running. Asked before the first of them
// starts one: a thread that was joined may be counted for a moment longer, in an emulator for a moment that one can see.
const int alone = 1 + std::max(num_foreign_threads(), WEFT_TSAN);

TEST(thread, runs_the_function_with_its_argument_under_its_name) {
  struct seen {
    char name[16] = {};
    std::uint32_t id = 0;
  } s;
  thread t;
  EXPECT_FALSE(t.joinable());
  t.start(
      "weft-m-with-a-long-name",
      [](void* p) {
        auto& out = *static_cast<seen*>(p);
        ::prctl(PR_GET_NAME, out.name);
        out.id = thread_id();
      },
      &s, 64 << 10);
  EXPECT_TRUE(t.joinable());
  t.join();
  EXPECT_FALSE(t.joinable());
  EXPECT_STREQ(s.name, "weft-m-with-a-l");
  EXPECT_NE(s.id, 0u);
  EXPECT_NE(s.id, thread_id());
}

TEST(thread, can_be_started_again_after_join) {
  int runs = 0;
  thread t;
  for (int i = 0; i < 100; ++i) {
    t.start(
        "again", [](void* p) { ++*static_cast<int*>(p); }, &runs, 64 << 10);
    t.join();
  }
  EXPECT_EQ(runs, 100);
}

TEST(thread, leaves_asynchronous_signals_to_the_application) {
  sigset_t mask, before, after;
  ::sigemptyset(&mask);
  ::pthread_sigmask(SIG_BLOCK, nullptr, &before);
  thread t;
  t.start(
      "mask", [](void* p) { ::pthread_sigmask(SIG_BLOCK, nullptr, static_cast<sigset_t*>(p)); }, &mask, 64 << 10);
  t.join();
  for (const int s : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD, SIGALRM, SIGURG})
    EXPECT_TRUE(::sigismember(&mask, s)) << s;
  for (const int s : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGPROF})
    EXPECT_FALSE(::sigismember(&mask, s)) << s;
  ::pthread_sigmask(SIG_BLOCK, nullptr, &after);
  for (int s = 1; s < 32; ++s) EXPECT_EQ(::sigismember(&before, s), ::sigismember(&after, s)) << s;
}

// A large thread-local takes its room from the thread's stack in the C library; the caller must not have to know.
thread_local volatile char large_tls[200 << 10];

TEST(thread, the_whole_stack_asked_for_is_usable_beside_static_tls) {
  if (WEFT_ASAN || WEFT_TSAN) GTEST_SKIP() << "sanitizer builds take the default stack";
  thread t;
  t.start(
      "stack",
      [](void*) {
        large_tls[5] = 1;
        volatile char use[60 << 10];
        for (std::size_t i = 0; i < sizeof use; i += 512) use[i] = 1;
      },
      nullptr, 64 << 10);
  t.join();
}

TEST(thread, a_start_the_system_refuses_throws_its_reason) {
  const pid_t child = ::fork();
  if (child == 0) {
    rlimit none{.rlim_cur = 1 << 20, .rlim_max = 1 << 20};
    ::setrlimit(RLIMIT_AS, &none);
    thread t;
    try {
      t.start(
          "no", [](void*) {}, nullptr, std::size_t{1} << 30);
    } catch (const std::system_error& e) {
      ::_exit(e.code() == std::errc::resource_unavailable_try_again && !t.joinable() &&
                      std::string(e.what()).find("cannot start a thread") != std::string::npos
                  ? 0
                  : 1);
    }
    ::_exit(2);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  if (WEFT_ASAN || WEFT_TSAN) GTEST_SKIP() << "sanitizer runtimes do not work in so little address space";
  if (weft_test::emulator()) GTEST_SKIP() << "the limit is the emulator's";
  EXPECT_EQ(status, 0);
}

TEST(thread, threads_of_the_process_are_counted) {
  ASSERT_TRUE(weft_test::eventually([] { return num_threads_of_process() <= alone; })) << "those that were joined stay";
  thread t;
  atomic<bool> counted{false};
  t.start(
      "count",
      [](void* until) {
        while (!static_cast<atomic<bool>*>(until)->load(acquire)) yield_thread();
      },
      &counted, 64 << 10);
  EXPECT_EQ(num_threads_of_process(), alone + 1);
  counted.store(true, release);
  t.join();
}

TEST(thread, threads_that_end_hide_no_other_from_the_count) {
  // A list of the threads (/proc/self/task) ends at one that ends just then: here the oldest ones do, one after the other.
  atomic<bool> over{false};
  atomic<int> ended{0};
  struct ender {
    atomic<int>* turn;
    int mine;
  };
  constexpr int n = 50;
  const int rounds = weft_test::scaled(100);
  for (int round = 0; round < rounds; ++round) {
    over.store(false, relaxed);
    ended.store(-1, relaxed);
    thread enders[n];
    ender args[n];
    for (int i = 0; i < n; ++i) {
      args[i] = {&ended, i};
      enders[i].start(
          "ender",
          [](void* p) {
            auto* e = static_cast<ender*>(p);
            while (e->turn->load(acquire) < e->mine) yield_thread();
            e->turn->fetch_add(1, release);
          },
          &args[i], 64 << 10);
    }
    thread stayer;
    stayer.start(
        "stayer",
        [](void* until) {
          while (!static_cast<atomic<bool>*>(until)->load(acquire)) yield_thread();
        },
        &over, 64 << 10);
    ended.store(0, release);
    while (ended.load(acquire) < n) EXPECT_GE(num_threads_of_process(), alone + 1);
    over.store(true, release);
    stayer.join();
    for (thread& t : enders) t.join();
  }
}

TEST(thread, small_questions_keep_errno) {
  errno = 42;
  yield_thread();
  set_timer_slack_ns(1);
  EXPECT_EQ(::prctl(PR_GET_TIMERSLACK), 1);
  set_timer_slack_ns(0);
  (void)current_cpu();
  (void)num_cpus();
  EXPECT_EQ(errno, 42);
}

TEST(num_cpus, follows_the_affinity_mask) {
  cpu_set_t all, one;
  ASSERT_EQ(::sched_getaffinity(0, sizeof all, &all), 0);
  EXPECT_GE(num_cpus(), 1);
  EXPECT_LE(num_cpus(), CPU_COUNT(&all));
  CPU_ZERO(&one);
  CPU_SET(current_cpu(), &one);
  ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(num_cpus(), 1);
  ASSERT_EQ(::sched_setaffinity(0, sizeof all, &all), 0);
}

// A file tree that looks like /proc and /sys/fs/cgroup of some machine.
class cgroup : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "weft-cgroup-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void file(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text << '\n';
  }
  void v2_machine(const std::string& group) {
    file("/proc/self/cgroup", "0::" + group);
    file("/proc/self/mountinfo",
         "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
         "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate");
  }
  int limit() { return cgroup_cpu_limit(root_); }

  std::string root_;
};

TEST_F(cgroup, without_proc_there_is_no_limit) { EXPECT_EQ(limit(), 0); }

TEST_F(cgroup, v2_quota_is_rounded_up) {
  v2_machine("/user.slice/a");
  file("/sys/fs/cgroup/user.slice/a/cpu.max", "250000 100000");
  EXPECT_EQ(limit(), 3);
  file("/sys/fs/cgroup/user.slice/a/cpu.max", "200000 100000");
  EXPECT_EQ(limit(), 2);
  file("/sys/fs/cgroup/user.slice/a/cpu.max", "1000 100000");
  EXPECT_EQ(limit(), 1);
}

TEST_F(cgroup, v2_max_means_none) {
  v2_machine("/a");
  file("/sys/fs/cgroup/a/cpu.max", "max 100000");
  EXPECT_EQ(limit(), 0);
}

TEST_F(cgroup, v2_least_of_all_ancestors_binds) {
  v2_machine("/a/b/c");
  file("/sys/fs/cgroup/a/cpu.max", "150000 100000");
  file("/sys/fs/cgroup/a/b/cpu.max", "max 100000");
  file("/sys/fs/cgroup/a/b/c/cpu.max", "800000 100000");
  EXPECT_EQ(limit(), 2);
}

TEST_F(cgroup, v2_container_with_its_own_namespace_reads_the_mount_point) {
  v2_machine("/");
  file("/sys/fs/cgroup/cpu.max", "400000 100000");
  EXPECT_EQ(limit(), 4);
}

TEST_F(cgroup, v2_group_outside_of_the_namespace_reads_the_mount_point) {
  v2_machine("/../other");
  file("/sys/fs/cgroup/cpu.max", "400000 100000");
  EXPECT_EQ(limit(), 4);
}

TEST_F(cgroup, v1_quota_below_a_mounted_subtree) {
  file("/proc/self/cgroup", "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x/app\n1:name=systemd:/");
  file("/proc/self/mountinfo",
       "35 31 0:31 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
       "36 31 0:32 /docker/x /sys/fs/cgroup/cpu rw master:9 - cgroup cgroup rw,cpu,cpuacct");
  file("/sys/fs/cgroup/cpu/app/cpu.cfs_quota_us", "-1");
  file("/sys/fs/cgroup/cpu/app/cpu.cfs_period_us", "100000");
  EXPECT_EQ(limit(), 0);
  file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000");
  file("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000");
  EXPECT_EQ(limit(), 1);
  file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "510000");
  EXPECT_EQ(limit(), 6);
}

TEST_F(cgroup, a_sibling_with_a_common_prefix_is_not_an_ancestor) {
  file("/proc/self/cgroup", "4:cpu:/docker/xy");
  file("/proc/self/mountinfo", "36 31 0:32 /docker/x /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu");
  file("/sys/fs/cgroup/cpu/y/cpu.cfs_quota_us", "100000");
  file("/sys/fs/cgroup/cpu/y/cpu.cfs_period_us", "100000");
  EXPECT_EQ(limit(), 0);
}

TEST_F(cgroup, hybrid_machines_take_the_hierarchy_that_has_the_controller) {
  file("/proc/self/cgroup", "4:cpu,cpuacct:/a\n0::/a");
  file("/proc/self/mountinfo",
       "38 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
       "36 31 0:32 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct");
  std::filesystem::create_directories(root_ + "/sys/fs/cgroup/unified/a");
  file("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "300000");
  file("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000");
  EXPECT_EQ(limit(), 3);
}

TEST_F(cgroup, mount_points_with_blanks_are_understood) {
  file("/proc/self/cgroup", "0::/a");
  file("/proc/self/mountinfo", "30 23 0:26 / /my\\040groups rw - cgroup2 cgroup2 rw");
  file("/my groups/a/cpu.max", "500000 100000");
  EXPECT_EQ(limit(), 5);
}

TEST_F(cgroup, rubbish_is_no_limit) {
  file("/proc/self/cgroup", "rubbish\n::\n0:\n\n0::/a");
  file("/proc/self/mountinfo", "\n1 2\n30 23 0:26 / /m rw\n31 23 0:26 / /m rw - cgroup2 cgroup2 rw");
  file("/m/a/cpu.max", "lots");
  EXPECT_EQ(limit(), 0);
  file("/m/a/cpu.max", "100000 0");
  EXPECT_EQ(limit(), 0);
  file("/m/a/cpu.max", "-100000 100000");
  EXPECT_EQ(limit(), 0);
}

}  // namespace
}  // namespace weft::os
