// SPDX-License-Identifier: MIT
#include "../thread.h"

#include <link.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <system_error>

#include "../cpu.h"
#include "../process.h"
#include "cgroup.h"
#include "keep_errno.h"

namespace weft::os {
namespace {

// The C library puts the static thread-local storage of every loaded object, and its own thread descriptor, into the
// stack it was asked for. Their size is private to it, so: the sum over all objects (those loaded by dlopen
// need no static room, which makes this an upper bound), and a page or two for the descriptor and the surplus the
// C library keeps for dlopen.
std::size_t static_tls_bytes() noexcept {
  std::size_t sum = 0;
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* out) {
        for (int i = 0; i < info->dlpi_phnum; ++i)
          if (info->dlpi_phdr[i].p_type == PT_TLS)
            *static_cast<std::size_t*>(out) += info->dlpi_phdr[i].p_memsz + info->dlpi_phdr[i].p_align;
        return 0;
      },
      &sum);
  return sum + 8192;
}

std::size_t whole_stack_bytes(std::size_t usable) noexcept {
  const long min = ::sysconf(_SC_THREAD_STACK_MIN);  // grows with the vector registers a signal frame must hold
  const std::size_t page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t sum = usable + static_tls_bytes() + (min > 0 ? static_cast<std::size_t>(min) : 16384);
  return (sum + page - 1) / page * page;
}

class thread_attr {
 public:
  explicit thread_attr(std::size_t stack) {
    ok(::pthread_attr_init(&attr_));
    if (stack == 0 || WEFT_ASAN || WEFT_TSAN) return;
    // Cannot fail on a page multiple above the minimum.
    (void)::pthread_attr_setstacksize(&attr_, whole_stack_bytes(stack));
  }
  ~thread_attr() { ::pthread_attr_destroy(&attr_); }
  thread_attr(const thread_attr&) = delete;
  thread_attr& operator=(const thread_attr&) = delete;
  const pthread_attr_t* get() const noexcept { return &attr_; }

  static void ok(int error) {
    if (error != 0) throw std::system_error(error, std::generic_category(), "weft: cannot start a thread");
  }

 private:
  pthread_attr_t attr_;
};

// A new thread inherits the mask of its creator. Set for the span of one pthread_create, so that there is no moment
// at which the new thread could take a signal that is not its own.
class inherited_mask {
 public:
  inherited_mask() noexcept {
    sigset_t blocked;
    ::sigfillset(&blocked);
    for (const int s : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGPROF}) ::sigdelset(&blocked, s);
    ::pthread_sigmask(SIG_SETMASK, &blocked, &before_);
  }
  ~inherited_mask() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  inherited_mask(const inherited_mask&) = delete;
  inherited_mask& operator=(const inherited_mask&) = delete;

 private:
  sigset_t before_;
};

int affinity_cpus() noexcept {
  // The mask must be as large as the kernel's own, whose size nobody tells: grow until it is taken.
  for (int bits = 1024; bits <= 1 << 20; bits *= 2) {
    cpu_set_t* const set = CPU_ALLOC(static_cast<std::size_t>(bits));
    if (set == nullptr) break;
    const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(bits));
    const bool known = ::sched_getaffinity(0, bytes, set) == 0;
    const bool larger = !known && errno == EINVAL;
    const int n = known ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (known) return n;
    if (!larger) break;
  }
  const long online = ::sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? static_cast<int>(online) : 1;
}

}  // namespace

thread::~thread() {
  if (joinable_) std::terminate();
}

void* thread::entry(void* self) noexcept {
  thread& t = *static_cast<thread*>(self);
  // Before fn, and in the thread itself, so that fn never runs nameless. A failure costs nothing but the name.
  (void)::pthread_setname_np(::pthread_self(), t.name_);
  t.fn_(t.arg_);
  return nullptr;
}

void thread::start(const char* name, void (*fn)(void*), void* arg, std::size_t stack) {
  const keep_errno keep;
  if (joinable_) die("thread::start: already started and not joined");
  std::snprintf(name_, sizeof name_, "%s", name);
  fn_ = fn;
  arg_ = arg;
  const thread_attr attr(stack);
  int error;
  {
    const inherited_mask mask;
    error = ::pthread_create(&handle_, attr.get(), &thread::entry, this);
  }
  thread_attr::ok(error);
  joinable_ = true;
}

void thread::join() noexcept {
  if (!joinable_ || ::pthread_join(handle_, nullptr) != 0) die("thread::join: not started, or joined by itself");
  joinable_ = false;
}

int num_cpus() noexcept {
  const keep_errno keep;
  const int cpus = affinity_cpus();
  int quota = 0;
  try {
    quota = cgroup_cpu_limit("");
  } catch (const std::exception&) {
    // Out of memory or of descriptors: the mask alone is a safe answer.
  }
  const int n = quota > 0 && quota < cpus ? quota : cpus;
  return n > 1 ? n : 1;
}

// Not by listing /proc/self/task: where a thread ends while it is listed, the kernel leaves out those that come after it (next_tid in
// fs/proc/base.c). This number is one look under the process's lock.
int num_threads_of_process() noexcept {
  const keep_errno keep;
  std::FILE* const status = std::fopen("/proc/self/status", "re");
  if (status == nullptr) return -1;
  int n = -1;
  char line[256];  // of longer lines (Groups) the rest looks like a line, but of figures
  while (n < 0 && std::fgets(line, sizeof line, status) != nullptr)
    if (std::sscanf(line, "Threads: %d", &n) != 1) n = -1;
  std::fclose(status);
  return n;
}

int num_foreign_threads() noexcept {
  if (!__libc_single_threaded) return 0;
  const int n = num_threads_of_process();
  return n > 1 ? n - 1 : 0;
}

void yield_thread() noexcept { (void)::sched_yield(); }

std::uint32_t thread_id() noexcept { return static_cast<std::uint32_t>(::syscall(SYS_gettid)); }

void set_timer_slack_ns(unsigned long ns) noexcept {
  const keep_errno keep;
  (void)::prctl(PR_SET_TIMERSLACK, ns, 0UL, 0UL, 0UL);
}

unsigned current_cpu() noexcept {
  const keep_errno keep;
  const int cpu = ::sched_getcpu();
  return cpu < 0 ? 0 : static_cast<unsigned>(cpu);
}

void stack_bounds_of_thread(const void*& lo, std::size_t& size) noexcept {
  pthread_attr_t attributes;
  void* low = nullptr;
  size = 0;
  if (::pthread_getattr_np(::pthread_self(), &attributes) == 0) {
    (void)::pthread_attr_getstack(&attributes, &low, &size);
    (void)::pthread_attr_destroy(&attributes);
  }
  lo = low;
}

void leave_cpu(unsigned cpu) noexcept {
  const keep_errno keep;
  cpu_set_t all;  // 1,024 CPUs; on a larger machine the call fails and the thread stays where it is
  if (::sched_getaffinity(0, sizeof all, &all) != 0) return;
  cpu_set_t others = all;
  CPU_CLR(cpu, &others);
  if (CPU_COUNT(&others) == 0) return;
  if (::sched_setaffinity(0, sizeof others, &others) == 0) (void)::sched_setaffinity(0, sizeof all, &all);
}

}  // namespace weft::os
