// SPDX-License-Identifier: MIT
#include "janitor.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "cgroup.h"

namespace bench::hierarchy {

janitor::janitor(const std::string& run_name, const std::string& folder) {
  pipe_ends all = make_pipe();
  std::fflush(nullptr);
  pid_ = static_cast<pid_t>(checked(fork(), "fork"));
  if (pid_ == 0) {
    setpgid(0, 0);  // a ^C is for the others
    for (const int s : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE}) signal(s, SIG_IGN);
    all.write.close();
    char nothing = 0;
    read_all(all.read.get(), &nothing, 1);
    remove_cgroups(run_name);
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
    _exit(0);
  }
  held_ = std::move(all.write);
}

janitor::~janitor() {
  held_.close();
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace bench::hierarchy
