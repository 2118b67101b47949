// SPDX-License-Identifier: MIT
//
// The process pair again, each of the two behind walls of its own: user, pid, mount, network, IPC, UTS and cgroup namespaces,
// and a control group (version 1 or 2, whatever there is). What the two still share, and must in order to meet, is what was
// opened before: the pipes, or the page with the word. That is a container as far as a switch can tell: the kernel schedules
// its processes like all others, except that each control group is queued for itself.
//
// And a container's start (start.h).

#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "cgroup.h"
#include "child.h"
#include "os.h"
#include "pair.h"
#include "row.h"
#include "start.h"

namespace bench::hierarchy {
namespace {

// Before the pair and after it: a control group is removed when nobody is in it.
struct two_groups {
  explicit two_groups(const std::string& beginning) : first(beginning + "a"), second(beginning + "b") {}
  cgroup first, second;
};

template <class Turns>
class two_containers final : two_groups, public two_processes<Turns> {
 public:
  two_containers(const std::string& beginning, const two_cpus& where)
      : two_groups(beginning),
        two_processes<Turns>(where, {.around = walls::namespaces, .group = &first, .cpu = -1},
                             {.around = walls::namespaces, .group = &second, .cpu = -1}) {
    if (first.any()) {
      this->detail += fmt::format("; cgroup {}", first.text());
    } else {
      this->detail += fmt::format("; no cgroup: {}", first.text());
      this->isolation = "namespaces";
    }
  }
};

template <class Turns, two_cpus (*Where)()>
std::unique_ptr<experiment> made(const setup& s) {
  // Several rows are alive at once: the groups of each have its process's number.
  return std::make_unique<two_containers<Turns>>(fmt::format("{}{}-", s.run_name, getpid()), Where());
}

}  // namespace

rows container_rows() {
  const char* const level = isolation::container;
  return {
      {"container.pipe.same_core",
       "two processes, a byte through a pipe each way, each process in namespaces and a cgroup of its own; half a "
       "round trip",
       level, long_batch, made<pipe_turns, same_core>},
      {"container.pipe.cross_core",
       "two processes, a byte through a pipe each way, each process in namespaces and a cgroup of its own; half a "
       "round trip",
       level, long_batch, made<pipe_turns, cross_core>},
      {"container.futex.same_core",
       "two processes, a word of shared memory and FUTEX_WAKE / FUTEX_WAIT, each process in namespaces and a cgroup of "
       "its own; half a round trip",
       level, long_batch, made<futex_across, same_core>},
      {"container.futex.cross_core",
       "two processes, a word of shared memory and FUTEX_WAKE / FUTEX_WAIT, each process in namespaces and a cgroup of "
       "its own; half a round trip",
       level, long_batch, made<futex_across, cross_core>},
      {"container.start",
       "cgroup and clone3 with new namespaces to the first instruction of a static program; no image, root file "
       "system, "
       "network or daemon, which Docker's 100-500 ms include",
       level, one_by_one,
       [](const setup& s) { return start_of_child(s, walls::namespaces, until::first_instruction); }},
      {"container.start_to_exit",
       "cgroup and clone3 with new namespaces until the end of a static program has been waited for", level, one_by_one,
       [](const setup& s) { return start_of_child(s, walls::namespaces, until::exit); }},
  };
}

}  // namespace bench::hierarchy
