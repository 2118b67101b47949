// SPDX-License-Identifier: MIT
//
// Kernel threads, and what the runtime asks about them: the threads that carry Ms, and the CPUs it may use.
#pragma once

#include <pthread.h>

#include <cstddef>
#include <cstdint>

namespace weft::os {

// A kernel thread running fn(arg).
//
// Its signal mask blocks everything but the synchronous signals (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS) and
// SIGPROF. weft is a guest in its process: a signal sent to the process goes to any thread that does not block it, and
// a thread of ours must not take the SIGTERM that a thread of the application waits for in sigwait(). Faults must be
// taken where they happen, and a profiler has to see the threads that burn the time. Code that wants more (a
// preemption signal) unblocks it in fn. (The C library keeps its own two signals open, so setuid() and
// pthread_cancel() go on working.)
//
// The object holds what the new thread reads, hence stays put (neither copyable nor movable) until join().
class thread {
 public:
  thread() noexcept = default;
  ~thread();  // a thread that was never joined ends the process, as with std::thread
  thread(const thread&) = delete;
  thread& operator=(const thread&) = delete;

  // `name` shows in /proc, gdb and top; the kernel keeps 15 bytes. `stack` bytes are usable by fn: thread-local
  // storage, the C library's own part and a signal frame come on top. Zero, and every sanitizer build (whose frames
  // are several times larger), means the system's default. Throws std::system_error with the kernel's reason, typically
  // EAGAIN: RLIMIT_NPROC, the cgroup's pids.max, or no memory; nothing has been started then.
  // Not while joinable().
  void start(const char* name, void (*fn)(void*), void* arg, std::size_t stack);

  // Waits until fn has returned; restarted on EINTR by the C library. Then start() may be called again.
  void join() noexcept;
  bool joinable() const noexcept { return joinable_; }

 private:
  static void* entry(void* self) noexcept;

  pthread_t handle_{};
  void (*fn_)(void*) = nullptr;
  void* arg_ = nullptr;
  char name_[16] = {};
  bool joinable_ = false;
};

// CPUs this process may use at once, at least 1: those in its affinity mask, limited by the CPU quota of its cgroup and
// of all the groups above (v1 and v2), a quota of 2.5 CPUs counting as 3 (rounding down would waste what was paid
// for; Go 1.25 rounds up too). Reads a dozen files: ask at start, not in a loop.
int num_cpus() noexcept;

// Threads alive in this process at one moment, all of them, not only ours; -1 where /proc is not mounted. What a thread that is not counted
// any more has done is seen by the caller.
int num_threads_of_process() noexcept;

// Those of them that no thread of this program has made: an emulator's, a sanitizer's. Can be told only as long as the program has made none;
// 0 when asked later.
int num_foreign_threads() noexcept;

// Offers the CPU to another runnable thread. Under CFS and EEVDF no more than a hint.
void yield_thread() noexcept;

// The kernel's id of the calling thread, as /proc and gdb show it. A system call each time: a cached one is wrong in
// the child after fork().
std::uint32_t thread_id() noexcept;

// How much later than asked the kernel may wake this thread, to serve several timers at once. 1 is the least; 0
// restores the thread's default, 50 us as a rule.
void set_timer_slack_ns(unsigned long ns) noexcept;

// The CPU this thread runs on; stale as soon as it is known. 0 where the kernel does not say.
unsigned current_cpu() noexcept;

// The stack that the calling thread was given, lowest byte and size; for tools that must be told of stacks. Slow, asks the C library.
void stack_bounds_of_thread(const void*& lo, std::size_t& size) noexcept;

// Moves the calling thread to another CPU of its affinity mask, if it has one: the mask without `cpu` is set and then put back, two
// system calls and a migration, some microseconds. (A change of the mask by somebody else in between is lost.)
void leave_cpu(unsigned cpu) noexcept;

}  // namespace weft::os
