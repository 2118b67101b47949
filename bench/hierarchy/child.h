// SPDX-License-Identifier: MIT
#pragma once

// A child process that does one thing, in this process's namespaces or in its own.
//
//   parent                                      child
//   clone3(flags) ----------------------------> waits at the gate
//   control group, id maps
//   opens the gate ---------------------------> cgroup namespace, private mounts, host name; its CPU
//   waits <------------------------------------ ready (or the reason why not)
//                                               body
//
// The body does not return to anything: the process ends with it. It may use what it inherits: shared memory, pipes.

#include <sys/types.h>

#include <functional>

#include "cgroup.h"
#include "os.h"

namespace bench::hierarchy {

enum class walls { none, namespaces };

struct child_settings {
  walls around = walls::none;
  cgroup* group = nullptr;  // to be put into; may hold no hierarchy at all
  int cpu = -1;             // to be kept on
};

class child {
 public:
  child(const child_settings& s, const std::function<void()>& body);
  ~child() { end(); }
  child(const child&) = delete;
  child& operator=(const child&) = delete;

  void end();  // kills it
  int wait();  // for its own end; the status is waitpid's
  /// Why it has ended by itself; empty if it did not say.
  const char* complaint() const { return static_cast<const char*>(complaint_.get()); }
  /// Throws if it has a namespace in common with us: a container that is none would be a wrong figure.
  void check_walls() const;

 private:
  [[noreturn]] void be_child(const child_settings& s, const std::function<void()>& body, pid_t parent);
  void wall_in() const;

  shared_memory complaint_{4096};
  pipe_ends gate_ = make_pipe(), ready_ = make_pipe();
  pid_t pid_ = 0;
};

}  // namespace bench::hierarchy
