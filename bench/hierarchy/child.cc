// SPDX-License-Identifier: MIT
#include "child.h"

#include <fmt/format.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <string>

#include "row.h"

namespace bench::hierarchy {
namespace {

struct kind_of_namespace {
  std::uint64_t flag;
  const char* name;  // in /proc/PID/ns
};
constexpr kind_of_namespace kinds[] = {{CLONE_NEWUSER, "user"}, {CLONE_NEWPID, "pid"}, {CLONE_NEWNS, "mnt"},
                                       {CLONE_NEWNET, "net"},   {CLONE_NEWIPC, "ipc"}, {CLONE_NEWUTS, "uts"}};

std::uint64_t all_kinds() {
  std::uint64_t flags = 0;
  for (const auto& k : kinds) flags |= k.flag;
  return flags;
}

// As fork, with flags. clone3 where there is one: some container managers answer it with ENOSYS, so that programs use clone.
pid_t fork_with(std::uint64_t flags) {
  clone_args arguments{};
  arguments.flags = flags;
  arguments.exit_signal = SIGCHLD;
  const auto pid = static_cast<pid_t>(syscall(SYS_clone3, &arguments, sizeof arguments));
  if (pid >= 0 || errno != ENOSYS) return pid;
  return static_cast<pid_t>(syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0));
}

}  // namespace

child::child(const child_settings& s, const std::function<void()>& body) {
  const pid_t parent = getpid();
  std::fflush(nullptr);
  const bool walled = s.around == walls::namespaces;
  pid_ = static_cast<pid_t>(
      checked(fork_with(walled ? all_kinds() : 0), walled ? "clone3 with new namespaces" : "clone3"));
  if (pid_ == 0) be_child(s, body, parent);
  try {
    gate_.read.close();
    ready_.write.close();
    if (s.group != nullptr) s.group->take(pid_);
    if (walled) wall_in();
    write_all(gate_.write.get(), "g", 1);
    char yes = 0;
    if (!read_all(ready_.read.get(), &yes, 1)) {
      const std::string why = complaint();
      throw unavailable(why.empty() ? "the child process ended early" : why);
    }
  } catch (...) {
    end();
    throw;
  }
}

void child::check_walls() const {
  const auto link = [](const std::string& path) {
    char text[64];
    const ssize_t n = readlink(path.c_str(), text, sizeof text);
    checked(n, "readlink " + path);
    return std::string(text, static_cast<std::size_t>(n));
  };
  const auto differs = [&](const char* name) {
    return link(fmt::format("/proc/{}/ns/{}", pid_, name)) != link(fmt::format("/proc/self/ns/{}", name));
  };
  for (const auto& k : kinds) {
    if (!differs(k.name)) throw std::runtime_error(fmt::format("the child has our {} namespace", k.name));
  }
  if (!differs("cgroup")) throw std::runtime_error("the child has our cgroup namespace");
}

void child::end() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  wait();
}

int child::wait() {
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = 0;
  return status;
}

// Root inside is whoever we are outside.
void child::wall_in() const {
  const std::string proc = fmt::format("/proc/{}/", pid_);
  write_file(proc + "setgroups", "deny");  // without it, who is not root may not map a group
  if (!write_file(proc + "uid_map", fmt::format("0 {} 1", geteuid()))) throw unavailable(errno_text("writing uid_map"));
  if (!write_file(proc + "gid_map", fmt::format("0 {} 1", getegid()))) throw unavailable(errno_text("writing gid_map"));
}

void child::be_child(const child_settings& s, const std::function<void()>& body, pid_t parent) {
  die_with_parent(parent);
  gate_.write.close();
  ready_.read.close();
  char go = 0;
  if (!read_all(gate_.read.get(), &go, 1)) _exit(1);
  try {
    if (s.around == walls::namespaces) {
      // The group that the child has been put into becomes the root of those that it sees: too early for clone3.
      checked(unshare(CLONE_NEWCGROUP), "unshare of the cgroup namespace");
      checked(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "making the mounts private");
      checked(sethostname("weft", 4), "sethostname");
    }
    if (s.cpu >= 0) pin_to(s.cpu);
    write_all(ready_.write.get(), "r", 1);
    body();
    _exit(0);
  } catch (const std::exception& e) {
    std::snprintf(static_cast<char*>(complaint_.get()), 4096, "%s", e.what());
  }
  _exit(1);
}

}  // namespace bench::hierarchy
