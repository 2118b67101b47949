// SPDX-License-Identifier: MIT
//
// What a stopped thread holds up. A child process has two senders, two receivers and a victim on one channel. The victim's channel
// operations and selects are executed one instruction at a time (ptrace); after every instruction, or some of them, the victim stays where
// it is, and the others must complete some dozens of operations with each other.
//
// They must at every instruction but for the windows that chan_core.h and quiesce.h name, which this test tells apart and expects:
//   ring     a buffered channel, from the move that gives the victim a position to the turn of its slot: the position one lap later, and
//            those after it in the same slot, each take a sender and a receiver with them, so four others soon all stand still;
//   carry    a full one, where a receiver carries the value of a sender that it has taken from the list into the ring: likewise, from the mark
//            on that sender's node to the end of the operation;
//   memory   nodes, or seats, are fetched or given back under the lock of their memory;
//   ready    a goroutine of another runtime is readied, through its global queue: under its scheduler's lock, or about to wake a thread
//            of it that nobody else will wake meanwhile. A goroutine on its own P meets the same lock where its ring overflows.
// The victim's own partner is held up too. So there are two on either side, and one is enough to go on.
#include <gtest/gtest.h>

#include <string>

#include "tests/support/world.h"

#if defined(__x86_64__) && !WEFT_TSAN && !WEFT_ASAN

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <new>
#include <optional>
#include <thread>
#include <vector>

#include "runtime/chan/wait_list.h"
#include "runtime/sched/world.h"

namespace weft {
namespace {

using weft_test::announce_seed;
using weft_test::scale_percent;
using weft_test::scaled;
using weft_test::seed;

enum class what { send, recv, select_recv, select_send, select_otherwise };
enum class on { thread, goroutine };

struct scenario {
  const char* name;
  what op;
  std::size_t capacity;
  on victim;
};

// Shared by the two processes.
struct board {
  std::atomic<int> tid{0};
  std::atomic<bool> begin{false};
  // Off, the others finish what they are at and wait: a thread that takes a thousand times as long for each instruction would find its
  // compare-and-swaps fail for ever beside them, as lock-free is not wait-free.
  std::atomic<bool> traffic{true};
  std::atomic<int> in_op{0};
  std::atomic<std::uint64_t> completed{0};  // receives of the others
  std::atomic<std::uint64_t> ops{0};        // the victim's
  std::uintptr_t core = 0;
  std::atomic<std::uintptr_t> external{0};  // of the others' runtime: how many are inside of ready() from outside
};

void operate(what op, const chan<int>& c, const chan<int>& never, fast_rand& r, board& b) {
  // So that it meets the others in ever different states.
  for (std::uint32_t i = r.below(4); i > 0; --i) os::yield_thread();
  b.in_op.store(1);
  switch (op) {
    case what::send:
      c.send(1);
      break;
    case what::recv:
      (void)c.recv();
      break;
    case what::select_recv:
      select(on_recv(never), on_recv(c));
      break;
    case what::select_send:
      select(on_recv(never), on_send(c, 1));
      break;
    case what::select_otherwise:
      select(on_recv(never), on_recv(c), otherwise());
      break;
  }
  b.in_op.store(0);
  b.ops.fetch_add(1);
}

// The child. Never returns; the parent kills it.
[[noreturn]] void live(const scenario& s, board& b) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  auto c = make_chan<int>(s.capacity);
  auto never = make_chan<int>();
  b.core = reinterpret_cast<std::uintptr_t>(c.core());
  std::thread victim([&] {
    b.tid.store(static_cast<int>(syscall(SYS_gettid)));
    while (!b.begin.load()) os::yield_thread();
    fast_rand r(seed());
    const auto loop = [&] {
      for (;;) operate(s.op, c, never, r, b);
    };
    if (s.victim == on::thread)
      loop();
    else
      run({.procs = 1}, loop);
  });
  // One of each on threads, one of each on goroutines of another runtime.
  const auto wait_for_traffic = [&] {
    while (!b.traffic.load(std::memory_order_relaxed)) std::this_thread::sleep_for(std::chrono::microseconds(200));
  };
  const auto send = [&] {
    for (;;) {
      wait_for_traffic();
      c.send(0);
    }
  };
  const auto recv = [&] {
    for (;;) {
      wait_for_traffic();
      (void)c.recv();
      b.completed.fetch_add(1, std::memory_order_relaxed);
    }
  };
  std::thread sender(send);
  std::thread receiver(recv);
  run({.procs = 2}, [&] {
    b.external.store(reinterpret_cast<std::uintptr_t>(&rt::self()->s->external));
    go(send);
    recv();
  });
  _exit(1);
}

class tracer {
 public:
  tracer(pid_t child, board& b, const scenario& s) : child_(child), b_(b), s_(s) {}
  ~tracer() {
    over_.store(true);
    if (helper_.joinable()) helper_.join();
    kill(child_, SIGKILL);
    int status = 0;
    while (tid_ != 0 && waitpid(tid_, &status, __WALL) == tid_ && WIFSTOPPED(status)) {  // else its process stays
    }
    waitpid(child_, &status, __WALL);
  }
  tracer(const tracer&) = delete;
  tracer& operator=(const tracer&) = delete;

  // False: ptrace is not allowed here.
  bool attach() {
    while ((tid_ = b_.tid.load()) == 0) os::yield_thread();
    if (ptrace(PTRACE_SEIZE, tid_, 0, 0) != 0) return false;
    b_.begin.store(true);
    helper_ = std::thread([this] { help(); });
    // Let it run a little: the others are at it by then.
    while (b_.completed.load() < 1000) os::yield_thread();
    return ptrace(PTRACE_INTERRUPT, tid_, 0, 0) == 0 && stopped();
  }

  // One instruction. False: it is gone.
  bool step() {
    user_regs_struct before{};
    if (b_.in_op.load() != 0) {
      if (ptrace(PTRACE_GETREGS, tid_, 0, &before) != 0) return false;
      note_exchange(before);
    } else {
      exchange_ = 0;
      slot_.reset();
      carrying_ = false;
    }
    if (ptrace(PTRACE_SINGLESTEP, tid_, 0, 0) != 0 || !stopped()) return false;
    if (exchange_ != 0) settle_exchange(before);
    if (slot_ && static_cast<std::int32_t>(read<std::uint32_t>(slot_address_) - *slot_) >= 0) slot_.reset();
    return true;
  }

  // Runs on until the next operation begins.
  bool skip_to_op() {
    while (b_.in_op.load() == 0)
      if (!step()) return false;
    return true;
  }

  bool in_window() const { return slot_ || carrying_; }
  bool holds_memory_lock() const {
    return read<std::uint32_t>(reinterpret_cast<std::uintptr_t>(rt::smr_memory_lock())) != 0 ||
           read<std::uint32_t>(reinterpret_cast<std::uintptr_t>(rt::seats_memory_lock())) != 0;
  }

  bool readies_from_outside() const { return read<std::uint32_t>(b_.external.load()) != 0; }

  std::string where() const {
    user_regs_struct r{};
    ptrace(PTRACE_GETREGS, tid_, 0, &r);
    char text[64];
    std::snprintf(text, sizeof text, "rip 0x%llx (this program is at %p), channel's word 0x%llx", r.rip,
                  reinterpret_cast<void*>(&operate), static_cast<unsigned long long>(read<std::uint64_t>(b_.core)));
    return text;
  }

 private:
  bool stopped() {
    waits_.fetch_add(1);
    int status = 0;
    const bool there = waitpid(tid_, &status, __WALL) == tid_ && WIFSTOPPED(status);
    waits_.fetch_add(1);
    if (helped_.exchange(false)) b_.traffic.store(false);
    return there;
  }

  // Beside the tracer: a victim that has waited for some milliseconds waits for a partner, who comes only with traffic.
  void help() {
    std::uint64_t seen = 0;
    while (!over_.load()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      const std::uint64_t waits = waits_.load();
      if (waits % 2 == 1 && waits == seen) {
        helped_.store(true);
        b_.traffic.store(true);
      }
      seen = waits;
    }
  }

  template <class T>
  T read(std::uintptr_t at) const {
    T v{};
    iovec to{&v, sizeof v};
    iovec from{reinterpret_cast<void*>(at), sizeof v};
    EXPECT_EQ(process_vm_readv(child_, &to, 1, &from, 1, 0), static_cast<ssize_t>(sizeof v));
    return v;
  }

  // Is the next instruction `lock cmpxchg r64, m`? Remembers where m is.
  void note_exchange(const user_regs_struct& r) {
    exchange_ = 0;
    unsigned char code[16] = {};
    iovec to{code, sizeof code};
    iovec from{reinterpret_cast<void*>(r.rip), sizeof code};
    if (process_vm_readv(child_, &to, 1, &from, 1, 0) <= 0) return;
    if (code[0] != 0xf0 || (code[1] & 0xf8) != 0x48 || code[2] != 0x0f || code[3] != 0xb1) return;
    const unsigned rex = code[1];
    const unsigned mod = code[4] >> 6;
    unsigned base = (code[4] & 7) | (rex & 1) << 3;
    const unsigned char* rest = code + 5;
    if (mod == 3) return;
    if ((code[4] & 7) == 4) {  // a SIB byte; only base, no index, is used for what we look for
      base = (code[5] & 7) | (rex & 1) << 3;
      ++rest;
    }
    const unsigned long long regs[16] = {r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi,
                                         r.r8,  r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15};
    std::int32_t offset = 0;
    if (mod == 1) offset = static_cast<signed char>(*rest);
    if (mod == 2) std::memcpy(&offset, rest, sizeof offset);
    exchange_ = regs[base] + static_cast<std::uint64_t>(static_cast<std::int64_t>(offset));
    const unsigned source = (code[4] >> 3 & 7) | (rex & 4) << 1;
    desired_ = regs[source];
  }

  // It has been executed: what does the victim own now?
  void settle_exchange(const user_regs_struct& before) {
    user_regs_struct after{};
    if (ptrace(PTRACE_GETREGS, tid_, 0, &after) != 0) return;
    constexpr unsigned long long zero_flag = 1 << 6;
    if (!(after.eflags & zero_flag) || s_.capacity == 0) return;
    if (exchange_ == b_.core) {
      const std::uint64_t w = before.rax;
      if (rt::word::kind_of(w) > rt::word::closed || rt::word::kind_of(desired_) > rt::word::closed) return;
      const bool sent = rt::word::count_of(desired_) > rt::word::count_of(w);
      const std::uint32_t position = rt::word::head_of(w) + (sent ? rt::word::count_of(w) : 0);
      const auto mask = read<std::uint32_t>(b_.core + offsetof(rt::chan_core, ring_mask));
      const auto ring = read<std::uintptr_t>(b_.core + offsetof(rt::chan_core, ring));
      slot_address_ = ring + (position & mask) * sizeof(rt::ring_slot<int>);
      slot_ = sent ? position + 1 : position + mask + 1;
    } else if ((desired_ & rt::link::marks) == rt::link::taken) {
      carrying_ = true;
    }
  }

  pid_t child_;
  board& b_;
  const scenario& s_;
  pid_t tid_ = 0;
  std::atomic<std::uint64_t> waits_{0};  // odd: the tracer waits for the victim
  std::atomic<bool> helped_{false};
  std::atomic<bool> over_{false};
  std::thread helper_;
  std::uintptr_t exchange_ = 0;
  std::uint64_t desired_ = 0;
  std::optional<std::uint32_t> slot_;  // the turn that the victim will leave behind in its slot
  std::uintptr_t slot_address_ = 0;
  bool carrying_ = false;
};

class stopped_thread : public ::testing::TestWithParam<scenario> {};

TEST_P(stopped_thread, holds_up_nobody_but_its_partner) {
  announce_seed();
  const scenario& s = GetParam();
  void* page = mmap(nullptr, sizeof(board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  auto& b = *new (page) board;
  std::fflush(nullptr);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) live(s, b);
  {
    tracer t(child, b, s);
    if (!t.attach()) GTEST_SKIP() << "ptrace is not allowed here: " << std::strerror(errno);
    fast_rand r(seed());
    b.traffic.store(false);
    // One stop in each operation: what the others do meanwhile makes the victim's exchange fail, and with two stops a turn it would for ever.
    // At 100 percent anywhere; the long form stops after the first instruction, the second, ... up to the longest operation seen.
    const bool all = scale_percent() > 1000;
    const int probes = scaled(60);
    const std::uint64_t enough = 20 + 3 * s.capacity;
    int outside = 0;
    int inside = 0;
    int in_locks = 0;  // memory, ready
    int longest = 300;
    int next = 0;
    for (int i = 0; i < probes; ++i) {
      while (b.in_op.load() != 0) ASSERT_TRUE(t.step());
      ASSERT_TRUE(t.skip_to_op());
      const int stop = all ? next++ % longest : static_cast<int>(r.below(static_cast<std::uint32_t>(longest)));
      int steps = 0;
      while (steps < stop && b.in_op.load() != 0) {
        ASSERT_TRUE(t.step());
        ++steps;
      }
      longest = std::max(longest, std::min(steps, 2'000));
      if (b.in_op.load() == 0) continue;
      if (t.in_window()) {
        ++inside;
        continue;
      }
      ++outside;
      const std::uint64_t before = b.completed.load();
      b.traffic.store(true);
      const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      const auto soon = std::chrono::steady_clock::now() + std::chrono::milliseconds(300);
      while (b.completed.load() < before + enough) {
        os::yield_thread();
        if (std::chrono::steady_clock::now() < end &&
            !(t.holds_memory_lock() || t.readies_from_outside()))  // held up, or soon to be: not waited out
          continue;
        if (std::chrono::steady_clock::now() < soon) continue;
        ++in_locks;
        ASSERT_TRUE(t.holds_memory_lock() || t.readies_from_outside())
            << s.name << ": only " << b.completed.load() - before << " of " << enough << " operations, " << t.where();
        break;
      }
      b.traffic.store(false);
    }
    std::printf("%s: %d positions outside of windows, %d inside, %d held up by memory or ready, %llu operations\n",
                s.name, outside - in_locks, inside, in_locks, static_cast<unsigned long long>(b.ops.load()));
  }
  munmap(page, sizeof(board));
}

constexpr scenario scenarios[] = {
    {"send_unbuffered", what::send, 0, on::thread},
    {"send_unbuffered_goroutine", what::send, 0, on::goroutine},
    {"send_buffered_1", what::send, 1, on::thread},
    {"send_buffered_4_goroutine", what::send, 4, on::goroutine},
    {"recv_unbuffered", what::recv, 0, on::thread},
    {"recv_unbuffered_goroutine", what::recv, 0, on::goroutine},
    {"recv_buffered_1_goroutine", what::recv, 1, on::goroutine},
    {"recv_buffered_4", what::recv, 4, on::thread},
    {"select_recv_unbuffered", what::select_recv, 0, on::thread},
    {"select_recv_unbuffered_goroutine", what::select_recv, 0, on::goroutine},
    {"select_recv_buffered_2_goroutine", what::select_recv, 2, on::goroutine},
    {"select_send_unbuffered", what::select_send, 0, on::thread},
    {"select_send_unbuffered_goroutine", what::select_send, 0, on::goroutine},
    {"select_send_buffered_2", what::select_send, 2, on::thread},
    {"select_otherwise_unbuffered_goroutine", what::select_otherwise, 0, on::goroutine},
    {"select_otherwise_buffered_4", what::select_otherwise, 4, on::thread},
};
INSTANTIATE_TEST_SUITE_P(ops, stopped_thread, ::testing::ValuesIn(scenarios),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace weft

#else

TEST(stopped_thread, holds_up_nobody_but_its_partner) {
  GTEST_SKIP() << "steps through x86-64 instructions, natively and without a sanitizer";
}

#endif
