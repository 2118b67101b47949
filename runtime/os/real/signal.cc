// SPDX-License-Identifier: MIT
#include "../signal.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>
#include <system_error>

#include "../atomic.h"
#include "../mem.h"
#include "keep_errno.h"

namespace weft::os {
namespace {

// Room for what runs on the alternate stack beyond the kernel's frame: formatting a report, unwinding for a backtrace.
constexpr std::size_t report_bytes = std::size_t{32} << 10;

[[noreturn]] void fail(int error, const char* what) { throw std::system_error(error, std::generic_category(), what); }

std::size_t alt_stack_bytes() noexcept {
  const long wish = ::sysconf(_SC_SIGSTKSZ);
  const long least = ::sysconf(_SC_MINSIGSTKSZ);
  const std::size_t frame = static_cast<std::size_t>(std::max({wish, least, 8192L}));
  return (frame + report_bytes + page_size() - 1) / page_size() * page_size();
}

// One signal we stand in front of. `before` is written before our handler is installed and kept after it is gone, so a
// handler that is under way on another thread always reads a whole action.
struct fronted {
  int number;
  bool installed;
  struct sigaction before;
};

constinit fronted signals[] = {{SIGSEGV, false, {}}, {SIGBUS, false, {}}};

// Guards `installed`, `users` and the installing; held across fork(), so that the child finds it free.
pthread_mutex_t front_lock = PTHREAD_MUTEX_INITIALIZER;
int users = 0;

// Null while nobody uses the handler. FAULT-FN: release store in acquire_fault_handler -> acquire load in on_fault;
// carries what the caller set up for fn to read. Relaxed would let a fault see fn before its tables.
constinit atomic<fault_fn> current_fn{nullptr};

void on_fault(int number, siginfo_t* info, void* ucontext) noexcept;

bool is_ours(const struct sigaction& a) noexcept {
  return (a.sa_flags & SA_SIGINFO) != 0 && a.sa_sigaction == &on_fault;
}

// Not a memory fault but a kill(): retrying an instruction would not bring it back.
bool was_sent(const siginfo_t& info) noexcept { return info.si_code <= 0; }

void pass_on(fronted& f, siginfo_t* info, void* ucontext) noexcept {
  struct sigaction& old = f.before;
  const bool with_info = (old.sa_flags & SA_SIGINFO) != 0;
  if (!with_info && old.sa_handler == SIG_IGN && was_sent(*info)) return;
  if (!with_info && (old.sa_handler == SIG_DFL || old.sa_handler == SIG_IGN)) {
    struct sigaction dfl = {};
    dfl.sa_handler = SIG_DFL;
    (void)::sigaction(f.number, &dfl, nullptr);
    // Blocked until the handler returns, then deadly. (raise() takes locks in older C libraries.)
    if (was_sent(*info)) (void)::syscall(SYS_tgkill, ::getpid(), ::syscall(SYS_gettid), f.number);
    return;
  }
  sigset_t mask;
  ::pthread_sigmask(SIG_BLOCK, &old.sa_mask, &mask);
  if ((old.sa_flags & SA_NODEFER) != 0) {
    sigset_t self;
    ::sigemptyset(&self);
    ::sigaddset(&self, f.number);
    ::pthread_sigmask(SIG_UNBLOCK, &self, nullptr);
  }
  // Copied first: a one-shot handler may not return.
  const struct sigaction call = old;
  if ((old.sa_flags & static_cast<int>(SA_RESETHAND)) != 0) {
    old.sa_flags = 0;
    old.sa_handler = SIG_DFL;
  }
  if (with_info)
    call.sa_sigaction(f.number, info, ucontext);
  else
    call.sa_handler(f.number);
  ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
}

void on_fault(int number, siginfo_t* info, void* ucontext) noexcept {
  const keep_errno keep;
  if (!was_sent(*info)) {
    const fault_fn fn = current_fn.load(acquire);  // FAULT-FN
    if (fn != nullptr && fn(info->si_addr, ucontext)) return;
  }
  for (fronted& f : signals)
    if (f.number == number) return pass_on(f, info, ucontext);
}

void install(fronted& f) {
  if (f.installed) return;  // buried under another one at the last release
  struct sigaction ours = {};
  ours.sa_sigaction = &on_fault;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
  ::sigemptyset(&ours.sa_mask);
  // Asked first, installed second: with the two in one call, a fault on another thread could find `before` unset.
  if (::sigaction(f.number, nullptr, &f.before) != 0 || ::sigaction(f.number, &ours, nullptr) != 0)
    fail(errno, "weft: cannot install the fault handler");
  f.installed = true;
}

void uninstall(fronted& f) noexcept {
  struct sigaction now;
  if (!f.installed || ::sigaction(f.number, nullptr, &now) != 0 || !is_ours(now)) return;
  if (::sigaction(f.number, &f.before, nullptr) == 0) f.installed = false;
}

class locked {
 public:
  locked() noexcept {
    // Once, and for good: handlers of pthread_atfork cannot be taken back.
    static const int once =
        ::pthread_atfork([] { ::pthread_mutex_lock(&front_lock); }, [] { ::pthread_mutex_unlock(&front_lock); },
                         [] { ::pthread_mutex_unlock(&front_lock); });
    (void)once;
    ::pthread_mutex_lock(&front_lock);
  }
  ~locked() { ::pthread_mutex_unlock(&front_lock); }
  locked(const locked&) = delete;
  locked& operator=(const locked&) = delete;
};

}  // namespace

alt_stack_memory::alt_stack_memory() {
  const keep_errno keep;
  const std::size_t guard = page_size();
  bytes_ = guard + alt_stack_bytes();
  map_ = reserve(bytes_, guard);
  try {
    install_guards(map_, bytes_, 1, guard);
  } catch (...) {
    release(map_, bytes_);
    throw;
  }
}

alt_stack_memory::~alt_stack_memory() {
  const keep_errno keep;
  release(map_, bytes_);
}

void* alt_stack_memory::lo() const noexcept { return static_cast<char*>(map_) + page_size(); }
std::size_t alt_stack_memory::size() const noexcept { return bytes_ - page_size(); }

alt_stack::alt_stack(const alt_stack_memory& memory) : ours_(memory.lo()) {
  stack_t ours = {};
  ours.ss_sp = ours_;
  ours.ss_size = memory.size();
  stack_t before = {};
  const keep_errno keep;
  if (::sigaltstack(&ours, &before) != 0) fail(errno, "weft: cannot install a signal stack");
  before_sp_ = before.ss_sp;
  before_bytes_ = before.ss_size;
  before_flags_ = before.ss_flags;
}

alt_stack::~alt_stack() {
  const keep_errno keep;
  stack_t now = {};
  if (::sigaltstack(nullptr, &now) != 0 || now.ss_sp != ours_) return;
  stack_t before = {};
  before.ss_sp = before_sp_;
  before.ss_size = before_bytes_;
  before.ss_flags = before_flags_;
  (void)::sigaltstack(&before, nullptr);
}

void acquire_fault_handler(fault_fn fn) {
  const keep_errno keep;
  const locked hold;
  if (users != 0 && current_fn.load(relaxed) != fn)  // relaxed: written under the same lock
    throw std::logic_error("weft: acquire_fault_handler: the process has one fault function already");
  if (users == 0) {
    current_fn.store(fn, weft::release);  // FAULT-FN
    try {
      for (fronted& f : signals) install(f);
    } catch (...) {
      for (fronted& f : signals) uninstall(f);
      current_fn.store(nullptr, weft::release);
      throw;
    }
  }
  ++users;
}

void release_fault_handler() noexcept {
  const keep_errno keep;
  const locked hold;
  if (users == 0 || --users != 0) return;
  for (fronted& f : signals) uninstall(f);
  current_fn.store(nullptr, weft::release);  // nothing to carry; one order per word
}

}  // namespace weft::os
