// SPDX-License-Identifier: MIT
#include "start.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "counter.h"
#include "os.h"

namespace bench::hierarchy {
namespace {

// execveat with AT_EMPTY_PATH: the program need not be found from behind the walls, and glibc has no wrapper of that age.
class start final : public experiment {
 public:
  start(const setup& s, walls around, until end)
      : around_(around), end_(end), ticks_per_ns_(s.ticks_per_ns), program_(open_program()) {
    if (around_ == walls::namespaces) group_.emplace(fmt::format("{}start-{}", s.run_name, getpid()));
    if (group_) {
      detail = fmt::format("{}{}", group_->any() ? "cgroup " : "no cgroup: ", group_->text());
      if (!group_->any()) isolation = "namespaces";
      group_->remove();
    }
    pin_to(home_cpu());
    once();  // what cannot be done is found here
  }

  double run(std::int64_t) override { return once(); }

 private:
  static constexpr int told_at = 3;  // where payload.c writes

  static fd open_program() {
    const std::string path = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "hierarchy_payload";
    fd program(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    checked(program.get(), path);
    return program;
  }

  double once() {
    pipe_ends told = make_pipe();
    const std::uint64_t before = ticks();
    if (group_) group_->make();
    child c({.around = around_, .group = group_ ? &*group_ : nullptr, .cpu = -1},
            [&] { become_program(told.write.get()); });
    told.write.close();
    std::uint64_t first = 0;
    const bool came = read_all(told.read.get(), &first, sizeof first);
    const int status = c.wait();
    const std::uint64_t after = ticks();
    if (group_) group_->remove();
    if (!came || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
      throw unavailable(fmt::format("the program did not run: {}", c.complaint()));
    }
    return static_cast<double>((end_ == until::exit ? after : first) - before) / ticks_per_ns_;
  }

  void become_program(int told) const {
    // Whatever has the number that the program writes to makes room for it.
    const int program = program_.get() == told_at ? dup(program_.get()) : program_.get();
    checked(told == told_at ? fcntl(told, F_SETFD, 0) : dup2(told, told_at), "dup2");
    char name[] = "hierarchy_payload";
    char* arguments[] = {name, nullptr};
    char* environment[] = {nullptr};
    syscall(SYS_execveat, program, "", arguments, environment, AT_EMPTY_PATH);
    throw unavailable(errno_text("execveat"));
  }

  walls around_;
  until end_;
  double ticks_per_ns_;
  fd program_;
  std::optional<cgroup> group_;
};

}  // namespace

std::unique_ptr<experiment> start_of_child(const setup& s, walls around, until end) {
  return std::make_unique<start>(s, around, end);
}

}  // namespace bench::hierarchy
