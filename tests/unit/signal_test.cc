// SPDX-License-Identifier: MIT
#include "runtime/os/signal.h"

#include <gtest/gtest.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <stdexcept>
#include <thread>

#include "runtime/os/cpu.h"
#include "runtime/os/mem.h"

namespace weft::os {
namespace {

// What the handlers under test leave behind.
sigjmp_buf back;
void* volatile seen_address;
volatile int seen_signal;
volatile bool seen_on_alt_stack;

bool jump_out(void* addr, void*) {
  stack_t s;
  ::sigaltstack(nullptr, &s);
  seen_on_alt_stack = (s.ss_flags & SS_ONSTACK) != 0;
  seen_address = addr;
  siglongjmp(back, 1);
}

bool not_mine(void*, void*) { return false; }

// A page nobody may touch.
char* forbidden_page() {
  void* const p = ::mmap(nullptr, page_size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return static_cast<char*>(p);
}

WEFT_NOINLINE void write_to(volatile char* p) { *p = 1; }

// Runs f in a child; its wait status.
template <class F>
int in_child(F f) {
  const pid_t child = ::fork();
  if (child == 0) {
    f();
    ::_exit(0);
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

// gtest and sanitizers have handlers of their own: the tests below that look at the end of the chain start clean.
void default_actions() {
  ::signal(SIGSEGV, SIG_DFL);
  ::signal(SIGBUS, SIG_DFL);
}

TEST(alt_stack, is_there_during_its_life_and_the_old_one_afterwards) {
  std::thread([] {
    stack_t before, during, after;
    ::sigaltstack(nullptr, &before);
    {
      const alt_stack_memory memory;
      const alt_stack mine(memory);
      ::sigaltstack(nullptr, &during);
      EXPECT_NE(during.ss_sp, before.ss_sp);
      EXPECT_EQ(during.ss_flags, 0);
      EXPECT_GE(during.ss_size, static_cast<std::size_t>(::sysconf(_SC_SIGSTKSZ)) + (32u << 10));
      std::memset(during.ss_sp, 1, during.ss_size);
      {
        const alt_stack_memory inner;
        const alt_stack nested(inner);
      }
      ::sigaltstack(nullptr, &after);
      EXPECT_EQ(after.ss_sp, during.ss_sp);
    }
    ::sigaltstack(nullptr, &after);
    EXPECT_EQ(after.ss_sp, before.ss_sp);
    EXPECT_EQ(after.ss_flags, before.ss_flags);
  }).join();
}

TEST(alt_stack, leaves_a_successor_alone) {
  std::thread([] {
    stack_t before, after;
    ::sigaltstack(nullptr, &before);
    static char other[256 << 10];
    stack_t theirs = {};
    theirs.ss_sp = other;
    theirs.ss_size = sizeof other;
    {
      const alt_stack_memory memory;
      const alt_stack mine(memory);
      ::sigaltstack(&theirs, nullptr);
    }
    ::sigaltstack(nullptr, &after);
    EXPECT_EQ(after.ss_sp, static_cast<void*>(other));
    ::sigaltstack(&before, nullptr);
  }).join();
}

TEST(fault_handler, sees_the_address_and_runs_on_the_alternate_stack) {
  const alt_stack_memory memory;
  const alt_stack alt(memory);
  acquire_fault_handler(jump_out);
  char* const p = forbidden_page();
  if (sigsetjmp(back, 1) == 0) {
    write_to(p + 100);
    ADD_FAILURE() << "no fault";
  }
  EXPECT_EQ(seen_address, p + 100);
  EXPECT_TRUE(seen_on_alt_stack);
  release_fault_handler();
  ::munmap(p, page_size());
}

TEST(fault_handler, sees_light_guards_as_well) {
  if (probe_guard_kind() != guard_kind::light) GTEST_SKIP() << "this kernel has no light guards";
  const alt_stack_memory memory;
  const alt_stack alt(memory);
  acquire_fault_handler(jump_out);
  auto* const p = static_cast<char*>(reserve(2 * page_size(), page_size()));
  install_guards(p, page_size(), 1, page_size());
  if (sigsetjmp(back, 1) == 0) {
    write_to(p + 8);
    ADD_FAILURE() << "no fault";
  }
  EXPECT_EQ(seen_address, p + 8);
  release_fault_handler();
  release(p, 2 * page_size());
}

TEST(fault_handler, retries_the_instruction_when_dealt_with) {
  static char* p;
  p = forbidden_page();
  const alt_stack_memory memory;
  const alt_stack alt(memory);
  const fault_fn open_page = [](void*, void*) { return ::mprotect(p, page_size(), PROT_READ | PROT_WRITE) == 0; };
  acquire_fault_handler(open_page);
  write_to(p);
  EXPECT_EQ(*p, 1);
  release_fault_handler();
  ::munmap(p, page_size());
}

TEST(fault_handler, is_counted_and_puts_the_old_action_back) {
  struct sigaction before, during, after;
  ::sigaction(SIGSEGV, nullptr, &before);
  acquire_fault_handler(not_mine);
  acquire_fault_handler(not_mine);
  release_fault_handler();
  ::sigaction(SIGSEGV, nullptr, &during);
  EXPECT_NE(during.sa_sigaction, before.sa_sigaction);
  release_fault_handler();
  ::sigaction(SIGSEGV, nullptr, &after);
  EXPECT_EQ(after.sa_sigaction, before.sa_sigaction);
}

TEST(fault_handler, a_second_function_is_refused) {
  acquire_fault_handler(not_mine);
  EXPECT_THROW(acquire_fault_handler(jump_out), std::logic_error);
  release_fault_handler();
}

TEST(fault_handler, a_foreign_fault_kills_as_if_we_were_not_there) {
  const int status = in_child([] {
    default_actions();
    const alt_stack_memory memory;
    const alt_stack alt(memory);
    acquire_fault_handler(not_mine);
    write_to(forbidden_page());
  });
  ASSERT_TRUE(WIFSIGNALED(status)) << status;
  EXPECT_EQ(WTERMSIG(status), SIGSEGV);
}

TEST(fault_handler, a_signal_that_was_sent_kills_too) {
  const int status = in_child([] {
    default_actions();
    acquire_fault_handler(jump_out);
    ::kill(::getpid(), SIGBUS);
  });
  ASSERT_TRUE(WIFSIGNALED(status)) << status;
  EXPECT_EQ(WTERMSIG(status), SIGBUS);
}

TEST(fault_handler, an_ignored_signal_stays_ignored_when_sent_and_kills_as_a_fault) {
  EXPECT_EQ(in_child([] {
              ::signal(SIGSEGV, SIG_IGN);
              acquire_fault_handler(not_mine);
              ::kill(::getpid(), SIGSEGV);
            }),
            0);
  const int status = in_child([] {
    ::signal(SIGSEGV, SIG_IGN);
    acquire_fault_handler(not_mine);
    write_to(forbidden_page());
  });
  ASSERT_TRUE(WIFSIGNALED(status)) << status;
  EXPECT_EQ(WTERMSIG(status), SIGSEGV);
}

TEST(fault_handler, chains_to_a_handler_with_siginfo_and_its_mask) {
  EXPECT_EQ(
      in_child([] {
        struct sigaction old = {};
        old.sa_sigaction = [](int number, siginfo_t* info, void*) {
          sigset_t mask;
          ::pthread_sigmask(SIG_BLOCK, nullptr, &mask);
          ::_exit(number == SIGSEGV && info->si_addr == seen_address && ::sigismember(&mask, SIGUSR2) == 1 ? 0 : 3);
        };
        old.sa_flags = SA_SIGINFO;
        ::sigaddset(&old.sa_mask, SIGUSR2);
        ::sigaction(SIGSEGV, &old, nullptr);
        acquire_fault_handler(not_mine);
        char* const p = forbidden_page();
        seen_address = p + 7;
        write_to(p + 7);
        ::_exit(4);
      }),
      0);
}

TEST(fault_handler, chains_to_a_plain_handler_that_jumps_out) {
  EXPECT_EQ(in_child([] {
              struct sigaction old = {};
              old.sa_handler = [](int number) {
                seen_signal = number;
                siglongjmp(back, 1);
              };
              ::sigaction(SIGSEGV, &old, nullptr);
              acquire_fault_handler(not_mine);
              char* const p = forbidden_page();
              static int rounds;
              while (rounds++ < 3) {
                seen_signal = 0;
                if (sigsetjmp(back, 1) == 0) write_to(p);
                if (seen_signal != SIGSEGV) ::_exit(3);
              }
            }),
            0);
}

TEST(fault_handler, a_one_shot_handler_is_called_once) {
  const int status = in_child([] {
    struct sigaction old = {};
    old.sa_handler = [](int number) { seen_signal = number; };
    old.sa_flags = static_cast<int>(SA_RESETHAND);
    ::sigaction(SIGSEGV, &old, nullptr);
    acquire_fault_handler(not_mine);
    write_to(forbidden_page());  // handled once, retried, deadly
  });
  ASSERT_TRUE(WIFSIGNALED(status)) << status;
  EXPECT_EQ(WTERMSIG(status), SIGSEGV);
}

TEST(fault_handler, one_installed_over_ours_survives_our_release_and_our_return) {
  EXPECT_EQ(in_child([] {
              static struct sigaction ours, now;
              default_actions();
              acquire_fault_handler(jump_out);
              struct sigaction theirs = {};
              theirs.sa_sigaction = [](int n, siginfo_t* info, void* c) {
                seen_signal = n;
                ours.sa_sigaction(n, info, c);
              };
              theirs.sa_flags = SA_SIGINFO;
              ::sigaction(SIGSEGV, &theirs, &ours);
              release_fault_handler();
              ::sigaction(SIGSEGV, nullptr, &now);
              if (now.sa_sigaction != theirs.sa_sigaction) ::_exit(3);
              acquire_fault_handler(jump_out);
              ::sigaction(SIGSEGV, nullptr, &now);
              if (now.sa_sigaction != theirs.sa_sigaction) ::_exit(4);
              char* const p = forbidden_page();
              if (sigsetjmp(back, 1) == 0) write_to(p);
              if (seen_signal != SIGSEGV || seen_address != p) ::_exit(5);
            }),
            0);
}

}  // namespace
}  // namespace weft::os
