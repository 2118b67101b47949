// SPDX-License-Identifier: MIT
//
// What a stopped thread holds up. A child process has two senders, two receivers and a victim on one channel. The victim's channel
// operations and selects are executed one instruction at a time (ptrace); after every instruction, or some of them, the victim stays where
// it is, and the others must complete some dozens of operations with each other.
//
// They must at every instruction but for the windows that chan_core.h and quiesce.h name, which this test tells apart and expects:
//   ring     a buffered channel, from the move that gives the victim a position to the turn of its slot: the position one lap later, and
//            those after it in the same slot, each take a sender and a receiver with them, so four others soon all stand still;
//   carry    a full one, where a receiver carries the value of a sender that it has taken from its seat, or from the list, into the ring:
//            likewise, from the move, or the mark on that sender's node, to the end of the operation;
//   memory   nodes, or seats, are fetched or given back under the lock of their memory;
//   ready    a goroutine of another runtime is readied, through its global queue: under its scheduler's lock, or about to wake a thread
//            of it that nobody else will wake meanwhile. A goroutine on its own P meets the same lock where its ring overflows.
// The victim's own partner is held up too. So there are two on either side, and one is enough to go on.
//
// A channel that is biased to the victim's P (sched/biased.h): stepped, its sections are aborted at each instruction, and wherever it stops in one
// the others take the bias back and go on.
//
// Where the victim is a goroutine, the thread to be stopped is the one that runs it. While it is parked, its thread gives up the P, which
// whoever readies it may find idle, with that thread not asleep yet, and start another one: single-stepped, a thread takes a millisecond for
// those hundred instructions. Then the goroutine goes on over there, and the first thread never comes back to it. (That is how it should
// be; but this test once stepped on for ever, through the naps of a thread without work, waiting for the end of an operation that another one
// had long been repeating.) So each operation begins at a gate, which says what thread it is on; a thread without a P is not stopped; when
// the goroutine stands at its next gate, the operation is over, wherever the traced thread may be; and if that is another thread, a new
// child takes over.
#include <gtest/gtest.h>

#include <string>

#include "tests/support/world.h"

#if defined(__x86_64__) && !WEFT_TSAN && !WEFT_ASAN

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>
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
  bool biased = false;  // to the victim's P, when its operation begins
};

// Shared by the two processes.
struct board {
  // The victim comes to the gate before each operation, and waits there for the tracer. On a thread of its own, or on a goroutine's: then it
  // does not park meanwhile, so the thread stays the same.
  std::atomic<int> tid{0};
  std::atomic<std::uintptr_t> p{0};  // where that thread's P is noted; 0: no goroutine
  std::atomic<std::uint64_t> came{0};
  std::atomic<std::uint64_t> let{0};
  std::atomic<int> in_op{0};
  // Off, the others finish what they are at and wait: a thread that takes a thousand times as long for each instruction would find its
  // compare-and-swaps fail for ever beside them, as lock-free is not wait-free. Written by the tracer.
  std::atomic<bool> traffic{true};
  std::atomic<std::uint64_t> completed{0};  // receives of the others
  std::uintptr_t core = 0;
  std::atomic<std::uintptr_t> external{0};  // of the others' runtime: how many are inside of ready() from outside
};

void operate(const scenario& s, const chan<int>& c, const chan<int>& never, board& b) {
  b.tid.store(static_cast<int>(syscall(SYS_gettid)));
  b.p.store(rt::self() ? reinterpret_cast<std::uintptr_t>(&rt::self()->p) : 0);
  const std::uint64_t turn = b.came.fetch_add(1);
  while (b.let.load() == turn) os::yield_thread();
  if (s.biased)  // mostly: others may still be on their way, and take it back
    for (int i = 0; i < 2; ++i) rt::bias_to(rt::self(), c.core()->word);
  b.in_op.store(1);
  switch (s.op) {
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
}

// The child. Never returns; the parent kills it.
[[noreturn]] void live(const scenario& s, board& b) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  auto c = make_chan<int>(s.capacity);
  auto never = make_chan<int>();
  b.core = reinterpret_cast<std::uintptr_t>(c.core());
  std::thread victim([&] {
    const auto loop = [&] {
      for (;;) operate(s, c, never, b);
    };
    if (s.victim == on::thread) return loop();
    run({.procs = 1}, [&] {
      // With a timer pending its M has no doubts when all sleep, and need not count the threads of the process: ten thousand instructions.
      go([] { sleep_for(std::chrono::hours(24)); });
      loop();
    });
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
  enum class seen { step, over, gone };

  // Starts the child, on a new board.
  tracer(void* page, const scenario& s) : b_(*new (page) board), s_(s) {
    std::fflush(nullptr);
    child_ = fork();
    if (child_ == 0) live(s, b_);
    // A wait for the victim ends after some milliseconds, whatever the victim does.
    struct sigaction act {};
    act.sa_handler = [](int) {};  // without SA_RESTART
    sigaction(SIGALRM, &act, nullptr);
    const itimerval every{{0, 2'000}, {0, 2'000}};
    setitimer(ITIMER_REAL, &every, nullptr);
  }
  ~tracer() {
    const itimerval never{};
    setitimer(ITIMER_REAL, &never, nullptr);
    std::signal(SIGALRM, SIG_IGN);  // one may be on its way
    if (child_ < 0) return;
    kill(child_, SIGKILL);
    int status = 0;
    while (tid_ != 0 && waitpid(tid_, &status, __WALL) == tid_ && WIFSTOPPED(status)) {  // else its process stays
    }
    waitpid(child_, &status, __WALL);
  }
  tracer(const tracer&) = delete;
  tracer& operator=(const tracer&) = delete;

  // Stops the victim at the beginning of an operation, with the others standing as they happen to. Over: on this thread it will begin no
  // more. Gone: see errno.
  seen begin() {
    if (child_ < 0) return seen::gone;
    if (tid_ != 0 && !running_) {
      if (ptrace(PTRACE_CONT, tid_, 0, 0) != 0) return seen::gone;
      running_ = true;
    }
    b_.traffic.store(true);
    const auto end = std::chrono::steady_clock::now() + weft_test::patience;
    while (b_.came.load() == b_.let.load() || b_.external.load() == 0) {
      os::yield_thread();
      if (std::chrono::steady_clock::now() > end) {
        errno = ETIME;
        return seen::gone;
      }
    }
    const int tid = b_.tid.load();
    if (tid_ == 0 && ptrace(PTRACE_SEIZE, tid, 0, 0) == 0) tid_ = tid;
    if (tid_ == 0) return seen::gone;
    if (tid != tid_) return seen::over;
    if (ptrace(PTRACE_INTERRUPT, tid_, 0, 0) != 0 || stopped() == seen::gone) return seen::gone;
    p_ = b_.p.load();
    slot_.reset();
    carrying_ = false;
    b_.traffic.store(false);
    b_.let.fetch_add(1);
    while (b_.in_op.load() == 0)
      if (step() != seen::step) return seen::gone;
    return seen::step;
  }

  // One instruction. Over: the operation is, and the victim, on this thread or on another, waits to begin the next one.
  seen step() {
    if (b_.came.load() != b_.let.load()) return seen::over;
    user_regs_struct before{};
    exchange_ = 0;
    if (s_.capacity != 0) {
      if (ptrace(PTRACE_GETREGS, tid_, 0, &before) != 0) return seen::gone;
      note_exchange(before);
    }
    if (ptrace(PTRACE_SINGLESTEP, tid_, 0, 0) != 0) return seen::gone;
    if (seen s = stopped(); s != seen::step) return s;
    if (exchange_ != 0) settle_exchange(before);
    if (slot_ && static_cast<std::int32_t>(read<std::uint32_t>(slot_address_) - *slot_) >= 0) slot_.reset();
    return seen::step;
  }

  // Is what the thread does the victim's operation, or what its scheduler does for it? Without a P it looks for work, or sleeps.
  bool on_duty() const { return p_ == 0 || read<std::uintptr_t>(p_) != 0; }
  bool in_window() const { return slot_ || carrying_; }
  bool holds_memory_lock() const {
    return read<std::uint32_t>(reinterpret_cast<std::uintptr_t>(rt::smr_memory_lock())) != 0 ||
           read<std::uint32_t>(reinterpret_cast<std::uintptr_t>(rt::seats_memory_lock())) != 0;
  }

  bool readies_from_outside() const { return read<std::uint32_t>(b_.external.load()) != 0; }

  std::string where() const {
    user_regs_struct r{};
    ptrace(PTRACE_GETREGS, tid_, 0, &r);
    char text[128];
    std::snprintf(text, sizeof text, "rip 0x%llx (this program is at %p), channel's word 0x%llx", r.rip,
                  reinterpret_cast<void*>(&operate), static_cast<unsigned long long>(read<std::uint64_t>(b_.core)));
    return text;
  }

 private:
  // Waits for the victim to stop. If that takes some milliseconds it waits for a partner, who comes only with traffic.
  seen stopped() {
    running_ = true;
    for (int late = 0;; ++late) {
      int status = 0;
      if (waitpid(tid_, &status, __WALL) == tid_) {
        running_ = false;
        if (late > 1) b_.traffic.store(false);
        return WIFSTOPPED(status) ? seen::step : seen::gone;
      }
      if (errno != EINTR) return seen::gone;
      if (late == 0) continue;
      if (b_.came.load() != b_.let.load() && b_.tid.load() != tid_) return seen::over;
      b_.traffic.store(true);
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
      if (rt::word::kind_of(w) == rt::word::sender && rt::word::kind_of(desired_) == rt::word::open) carrying_ = true;
      if (rt::word::kind_of(w) > rt::word::closed || rt::word::kind_of(desired_) > rt::word::closed) return;
      const bool sent = rt::word::count_of(desired_) > rt::word::count_of(w);
      const std::uint32_t position = rt::word::head_of(w) + (sent ? rt::word::count_of(w) : 0);
      const auto mask = read<std::uint32_t>(b_.core + offsetof(rt::chan_core, ring_mask));
      const auto ring = b_.core + rt::ring_offset(alignof(rt::ring_slot<int>));
      slot_address_ = ring + (position & mask) * sizeof(rt::ring_slot<int>);
      slot_ = sent ? position + 1 : position + mask + 1;
    } else if ((desired_ & rt::link::marks) == rt::link::taken) {
      carrying_ = true;
    }
  }

  board& b_;
  pid_t child_ = -1;
  const scenario& s_;
  pid_t tid_ = 0;
  bool running_ = true;
  std::uintptr_t p_ = 0;
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
  {
    auto t = std::make_unique<tracer>(page, s);
    auto& b = *static_cast<board*>(page);
    using seen = tracer::seen;
    fast_rand r(seed());
    // One stop in each operation: what the others do meanwhile makes the victim's exchange fail, and with two stops a turn it would for ever.
    // At 100 percent anywhere; the long form stops after the first instruction, the second, ... up to the longest operation seen.
    const bool all = scale_percent() > 1000;
    const int probes = scaled(s.biased ? 10 : 40);
    const std::uint64_t enough = 20 + 3 * s.capacity;
    int outside = 0;
    int inside = 0;
    int in_locks = 0;  // memory, ready
    int moved = 0;
    int longest = 0;
    std::vector<int> lengths{200};  // of operations so far: most are short, some meet everything
    int next = 0;
    for (int i = 0; i < probes; ++i) {
      if (s.biased && i > 0) {  // who is stepped gives up on sections, for good
        t.reset();
        t = std::make_unique<tracer>(page, s);
      }
      seen how = t->begin();
      while (how == seen::over) {
        ++moved;
        t.reset();  // one child at a time on the board
        t = std::make_unique<tracer>(page, s);
        how = t->begin();
      }
      if (how == seen::gone && i == 0 && errno == EPERM) GTEST_SKIP() << "ptrace is not allowed here";
      ASSERT_NE(how, seen::gone) << std::strerror(errno);
      const auto one_of = [&r](int n) { return static_cast<int>(r.below(static_cast<std::uint32_t>(n))); };
      const int stop = all ? next++ % std::max(longest, 200)
                           : one_of(lengths[static_cast<std::size_t>(one_of(static_cast<int>(lengths.size())))]);
      int steps = 0;
      while (b.in_op.load() != 0 && (steps < stop || !t->on_duty()) && (how = t->step()) == seen::step)
        if (t->on_duty()) ++steps;
      ASSERT_NE(how, seen::gone);
      if (how == seen::step && b.in_op.load() != 0) {
        if (t->in_window()) {
          ++inside;
        } else {
          ++outside;
          const std::uint64_t before = b.completed.load();
          b.traffic.store(true);
          const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
          const auto soon = std::chrono::steady_clock::now() + std::chrono::milliseconds(300);
          while (b.completed.load() < before + enough) {
            os::yield_thread();
            if (std::chrono::steady_clock::now() < end &&
                !(t->holds_memory_lock() || t->readies_from_outside()))  // held up, or soon to be: not waited out
              continue;
            if (std::chrono::steady_clock::now() < soon) continue;
            ++in_locks;
            ASSERT_TRUE(t->holds_memory_lock() || t->readies_from_outside())
                << s.name << ": only " << b.completed.load() - before << " of " << enough << " operations, "
                << t->where();
            break;
          }
          b.traffic.store(false);
        }
        // The rest of it, for its length.
        while (steps < 2'000 && b.in_op.load() != 0 && (how = t->step()) == seen::step)
          if (t->on_duty()) ++steps;
        ASSERT_NE(how, seen::gone);
      }
      longest = std::max(longest, steps);
      lengths.push_back(steps + 1);
    }
    std::printf(
        "%s: %d positions outside of windows, %d inside, %d held up by memory or ready; up to %d instructions, %d "
        "times on another thread\n",
        s.name, outside - in_locks, inside, in_locks, longest, moved);
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
    {"send_unbuffered_biased", what::send, 0, on::goroutine, true},
    {"recv_unbuffered_biased", what::recv, 0, on::goroutine, true},
    {"send_buffered_4_biased", what::send, 4, on::goroutine, true},
    {"recv_buffered_4_biased", what::recv, 4, on::goroutine, true},
    {"select_recv_unbuffered_biased", what::select_recv, 0, on::goroutine, true},
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
