// SPDX-License-Identifier: MIT
#include "os.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <system_error>

#include "row.h"

namespace bench::hierarchy {

std::string errno_text(std::string_view what) {
  return fmt::format("{}: {}", what, std::generic_category().message(errno));
}

std::int64_t checked(std::int64_t result, std::string_view what) {
  if (result < 0) throw unavailable(errno_text(what));
  return result;
}

void fd::close() {
  if (n_ >= 0) ::close(n_);
  n_ = -1;
}

pipe_ends make_pipe() {
  int ends[2];
  checked(pipe2(ends, O_CLOEXEC), "pipe2");
  return {fd(ends[0]), fd(ends[1])};
}

bool write_all(int to, const void* data, std::size_t size) {
  for (const auto* at = static_cast<const char*>(data); size > 0;) {
    const ssize_t n = write(to, at, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

bool read_all(int from, void* data, std::size_t size) {
  for (auto* at = static_cast<char*>(data); size > 0;) {
    const ssize_t n = read(from, at, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

bool write_file(const std::string& path, std::string_view text) {
  const fd f(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return f && write(f.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

std::string read_file(const std::string& path) {
  std::ifstream in(path);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

shared_memory::shared_memory(std::size_t size)
    : at_(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)), size_(size) {
  if (at_ == MAP_FAILED) throw unavailable(errno_text("mmap"));
}

shared_memory::~shared_memory() { munmap(at_, size_); }

namespace {

int futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value, futex_scope scope) {
  static_assert(sizeof word == sizeof(std::uint32_t) && std::atomic<std::uint32_t>::is_always_lock_free);
  const int flag = scope == futex_scope::one_process ? FUTEX_PRIVATE_FLAG : 0;
  return static_cast<int>(syscall(SYS_futex, &word, operation | flag, value, nullptr, nullptr, 0));
}

}  // namespace

// A wait that fails has the same meaning as one that was woken: look at the word again.
void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t expected, futex_scope scope) {
  futex(word, FUTEX_WAIT, expected, scope);
}

void futex_wake_one(std::atomic<std::uint32_t>& word, futex_scope scope) { futex(word, FUTEX_WAKE, 1, scope); }

std::vector<int> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  checked(sched_getaffinity(0, sizeof set, &set), "sched_getaffinity");
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

void pin_to(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  checked(sched_setaffinity(0, sizeof set, &set), fmt::format("pinning to CPU {}", cpu));
}

int home_cpu() { return allowed_cpus().back(); }

two_cpus same_core() {
  const int cpu = home_cpu();
  return {cpu, cpu, fmt::format("both on CPU {}", cpu)};
}

two_cpus cross_core() {
  const std::vector<int> cpus = allowed_cpus();
  if (cpus.size() < 2) throw unavailable("two CPUs are needed, and this process may use one");
  const auto siblings = [](int cpu) {
    return read_file(fmt::format("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", cpu));
  };
  const int first = cpus.back();
  const std::string of_first = siblings(first);
  for (auto second = std::next(cpus.rbegin()); second != cpus.rend(); ++second) {
    if (of_first.empty() || siblings(*second) != of_first) {
      return {first, *second, fmt::format("on CPUs {} and {}", first, *second)};
    }
  }
  const int second = cpus[cpus.size() - 2];
  return {first, second, fmt::format("on CPUs {} and {}, two hardware threads of one core", first, second)};
}

void die_with_parent(std::int64_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (const pid_t now = getppid(); now != parent && now != 0) _exit(1);  // it was dead before it could be told
}

program_output run_program(const std::vector<std::string>& arguments, const std::string& folder,
                           const std::vector<std::pair<std::string, std::string>>& environment,
                           std::chrono::milliseconds limit, offspring children) {
  pipe_ends out = make_pipe();
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);

  const pid_t parent = getpid();
  const auto pid = static_cast<pid_t>(checked(fork(), "fork"));
  if (pid == 0) {
    if (children == offspring::some) setpgid(0, 0);
    die_with_parent(parent);
    for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
    dup2(out.write.get(), STDOUT_FILENO);
    dup2(out.write.get(), STDERR_FILENO);
    if (folder.empty() || chdir(folder.c_str()) == 0) execvp(argv[0], argv.data());
    const std::string why = errno_text(arguments[0]);
    write_all(STDERR_FILENO, why.data(), why.size());
    _exit(127);
  }
  if (children == offspring::some) setpgid(pid, pid);  // by both, so that it is so before either goes on
  out.write.close();

  program_output result;
  const auto end = std::chrono::steady_clock::now() + limit;
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now()).count();
    pollfd p{.fd = out.read.get(), .events = POLLIN, .revents = 0};
    const int ready = left > 0 ? poll(&p, 1, static_cast<int>(left)) : 0;
    if (ready < 0 && errno == EINTR) continue;
    std::array<char, 4096> buffer;
    const ssize_t n = ready > 0 ? read(out.read.get(), buffer.data(), buffer.size()) : 0;
    if (n > 0) {
      result.text.append(buffer.data(), static_cast<std::size_t>(n));
      continue;
    }
    result.timed_out = ready <= 0;
    break;
  }
  // Its end is awaited before its group is killed, and its id kept until then.
  siginfo_t info;
  if (!result.timed_out) waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT);
  kill(children == offspring::some ? -pid : pid, SIGKILL);
  while (waitpid(pid, &result.status, 0) < 0 && errno == EINTR) {
  }
  return result;
}

}  // namespace bench::hierarchy
