// SPDX-License-Identifier: MIT
//
// What a person reads when a run has gone wrong: the names of states, a goroutine in one line, all goroutines in a list.

#include <execinfo.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "../os/process.h"
#include "world.h"

namespace weft::rt {

const char* to_string(wait_reason r) {
  switch (r) {
    case wait_reason::none:
      return "runnable";
    case wait_reason::start:
      return "runnable, not started";
    case wait_reason::chan_send:
      return "chan send";
    case wait_reason::chan_receive:
      return "chan receive";
    case wait_reason::chan_send_nil:
      return "chan send (nil chan)";
    case wait_reason::chan_receive_nil:
      return "chan receive (nil chan)";
    case wait_reason::wait_group:
      return "wait_group wait";
    case wait_reason::select:
      return "select";
    case wait_reason::select_empty:
      return "select (no cases)";
    case wait_reason::sleep:
      return "sleep";
    case wait_reason::mutex:
      return "mutex lock";
    case wait_reason::shared_mutex:
      return "shared_mutex lock";
    case wait_reason::condition_variable:
      return "condition_variable wait";
    case wait_reason::semaphore:
      return "semaphore acquire";
    case wait_reason::latch:
      return "latch wait";
    case wait_reason::barrier:
      return "barrier wait";
    case wait_reason::blocking:
      return "blocking call";
    case wait_reason::io:
      return "IO wait";
  }
  return "?";
}

std::string describe(const G* g) {
  std::string text = std::to_string(g->id.load(relaxed));
  if (g->name) text += std::string(" \"") + g->name + "\"";
  return text;
}

std::string place(const void* pc) {
  void* frames[1] = {const_cast<void*>(pc)};
  char** names = ::backtrace_symbols(frames, 1);
  std::string text = names ? names[0] : "?";
  std::free(names);
  return text;
}

void die_of_deadlock(sched* s) {
  std::string text = "fatal error: all goroutines are asleep - deadlock!\n";
  s->stacks.for_each_used(
      [](char* top, void* out) {
        const G* g = reinterpret_cast<const G*>(top) - 1;
        if (g->id.load(relaxed) == 0) return;
        *static_cast<std::string*>(out) += "\ngoroutine " + describe(g) + " [" + to_string(g->why.load(relaxed)) +
                                           "]\n    started at " + place(g->started_at) + "\n";
      },
      &text);
  os::write_stderr(text);
  // What the program has printed so far is not to be lost; a stream that a parked goroutine holds locked is left alone.
  if (::ftrylockfile(stdout) == 0) {
    ::fflush_unlocked(stdout);
    ::funlockfile(stdout);
  }
  os::end_process(2);
}

}  // namespace weft::rt
