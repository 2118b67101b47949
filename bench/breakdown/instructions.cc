// SPDX-License-Identifier: MIT
#include "instructions.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "../cli.h"
#include "lab.h"
#include "runs.h"

extern char** environ;

namespace bench::breakdown {

namespace {

constexpr std::int64_t few = 2;
constexpr std::int64_t many = 60'002;
constexpr auto patience = std::chrono::seconds(60);  // for a child that takes one

class descriptor {
 public:
  explicit descriptor(int fd) : fd_(fd) {}
  ~descriptor() { close(); }
  descriptor(const descriptor&) = delete;
  descriptor& operator=(const descriptor&) = delete;
  int get() const { return fd_; }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
};

struct child_result {
  int status = -1;     // exit status, or -1
  std::string output;  // stderr
};

// Runs a command found in PATH to its end, or kills it when it takes too long.
child_result run_child(const std::vector<std::string>& command) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return {-1, fmt::format("pipe: {}", std::strerror(errno))};
  descriptor out(ends[0]), in(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, in.get(), STDERR_FILENO);
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  in.close();
  if (error != 0) return {-1, std::strerror(error)};

  child_result r;
  const auto until = std::chrono::steady_clock::now() + patience;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    pollfd p{.fd = out.get(), .events = POLLIN, .revents = 0};
    const int ready = left.count() > 0 ? poll(&p, 1, static_cast<int>(left.count())) : 0;
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) {
      kill(pid, SIGKILL);
      r.output = "it took too long";
      break;
    }
    char buffer[4096];
    const ssize_t n = read(out.get(), buffer, sizeof buffer);
    if (n <= 0) break;
    r.output.append(buffer, static_cast<std::size_t>(n));
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) r.status = WEXITSTATUS(status);
  return r;
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

std::string own_path() {
  char path[4096];
  const ssize_t n = readlink("/proc/self/exe", path, sizeof path);
  return n > 0 ? std::string(path, static_cast<std::size_t>(n)) : std::string();
}

// "==123== Collected : 4567"
std::optional<double> collected(const std::string& output) {
  constexpr std::string_view label = "Collected : ";
  const auto at = output.rfind(label);
  if (at == std::string::npos) return std::nullopt;
  const std::string digits = output.substr(at + label.size());
  const auto end = digits.find_first_not_of("0123456789");
  if (end == 0 || digits.empty()) return std::nullopt;
  return std::stod(digits.substr(0, end));
}

// This thread's instructions in user space; -1 when they cannot be had, errno says why.
int open_perf() {
  perf_event_attr a{};
  a.type = PERF_TYPE_HARDWARE;
  a.size = sizeof a;
  a.config = PERF_COUNT_HW_INSTRUCTIONS;
  a.exclude_kernel = 1;
  a.exclude_hv = 1;
  return static_cast<int>(syscall(SYS_perf_event_open, &a, 0, -1, -1, PERF_FLAG_FD_CLOEXEC));
}

}  // namespace

void run_counted(const std::string& work, std::int64_t switches) {
  if (work == "whole") {
    // With one P everything is on this thread, so the processor's counter sees it as well.
    run({}, std::max<std::int64_t>(switches / 2, 1));
    return;
  }
  const auto& all = variants();
  const auto which = std::find_if(all.begin(), all.end(), [&work](const variant& v) { return v.name() == work; });
  if (which == all.end()) {
    throw usage_error(fmt::format("--count: '{}' is neither 'whole' nor a variant such as 111111 or 011111", work));
  }
  lab l;
  l.run_untimed(static_cast<std::size_t>(which - all.begin()), switches & ~std::int64_t{1});
}

instruction_counter::instruction_counter() {
  const child_result version = run_child({"valgrind", "--version"});
  if (version.status == 0) {
    source_ = "callgrind";
    return;
  }
  const descriptor perf(open_perf());
  if (perf.get() >= 0) {
    source_ = "perf";
    return;
  }
  why_not_ = fmt::format("valgrind cannot be run, and there is no instruction counter (perf_event_open: {})",
                         std::strerror(errno));
}

std::optional<double> instruction_counter::total(const std::string& work, std::int64_t switches) {
  if (source_ == "perf") {
    const descriptor perf(open_perf());
    std::uint64_t count = 0;
    if (perf.get() >= 0) {
      run_counted(work, switches);
      ioctl(perf.get(), PERF_EVENT_IOC_DISABLE, 0);
      if (read(perf.get(), &count, sizeof count) == sizeof count) return static_cast<double>(count);
    }
    why_not_ = fmt::format("the instruction counter cannot be read: {}", std::strerror(errno));
    return std::nullopt;
  }
  const child_result r = run_child({"valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", own_path(),
                                    "--count", work, "--switches", std::to_string(switches)});
  const std::optional<double> n = collected(r.output);
  if (r.status != 0 || !n) why_not_ = fmt::format("callgrind failed: {}", first_line(r.output));
  return r.status == 0 ? n : std::nullopt;
}

std::optional<double> instruction_counter::per_switch(const std::string& work) {
  if (source_.empty() || !why_not_.empty()) return std::nullopt;
  std::optional<double>& base = work == "whole" ? base_whole_ : base_variant_;
  if (!base) base = total(work, few);
  if (!base) return std::nullopt;
  const std::optional<double> much = total(work, many);
  if (!much) return std::nullopt;
  return (*much - *base) / static_cast<double>(many - few);
}

}  // namespace bench::breakdown
