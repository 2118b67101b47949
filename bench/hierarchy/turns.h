// SPDX-License-Identifier: MIT
#pragma once

// Two sides that take turns: 0, who asks and takes the time, and 1, who answers. The three ways in which the kernel lets one
// side sleep until the other hands over:
//
//   futex_turns     a word that says whose turn it is; a sleeper is woken by FUTEX_WAKE. Two system calls a switch.
//   pipe_turns      a byte through a pipe for each direction. Two system calls a switch.
//   condvar_turns   std::mutex and std::condition_variable, as a portable program would.
//
// One operation is one switch: half a round trip. No side ever spins, so that what is measured is the kernel's switch (on one
// CPU) or its sending for a sleeper elsewhere (on two), and nothing else.
//
// futex_turns may lie in memory that two processes share; pipe_turns is inherited by a child.

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "../experiments.h"
#include "os.h"

namespace bench::hierarchy {

enum : std::uint32_t { asker = 0, answerer = 1, nobody = 2 };  // nobody: it is over

template <futex_scope Scope>
class futex_turns {
 public:
  void hand_to(std::uint32_t side) {
    turn_.store(side, std::memory_order_release);
    futex_wake_one(turn_, Scope);
  }
  /// False: it is over.
  bool wait_for(std::uint32_t side) {
    for (;;) {
      const std::uint32_t now = turn_.load(std::memory_order_acquire);
      if (now == side) return true;
      if (now == nobody) return false;
      futex_wait(turn_, now, Scope);
    }
  }
  void end() { hand_to(nobody); }

 private:
  alignas(64) std::atomic<std::uint32_t> turn_{asker};
};

class pipe_turns {
 public:
  void hand_to(std::uint32_t side) {
    const char byte = 0;
    write_all(to_[side].write.get(), &byte, 1);
  }
  bool wait_for(std::uint32_t side) {
    char byte = 0;
    return read_all(to_[side].read.get(), &byte, 1) && byte == 0;
  }
  void end() {
    const char last = 1;
    write_all(to_[answerer].write.get(), &last, 1);
  }

 private:
  pipe_ends to_[2] = {make_pipe(), make_pipe()};
};

class condvar_turns {
 public:
  void hand_to(std::uint32_t side) {
    {
      const std::lock_guard lock(mutex_);
      turn_ = side;
    }
    changed_.notify_one();
  }
  bool wait_for(std::uint32_t side) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return turn_ == side || turn_ == nobody; });
    return turn_ == side;
  }
  void end() { hand_to(nobody); }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint32_t turn_ = asker;
};

/// Nanoseconds for one of about n switches.
template <class Turns>
double ask(Turns& turns, std::int64_t n) {
  const std::int64_t rounds = n / 2 + 1;
  const bench::stopwatch watch;
  for (std::int64_t i = 0; i < rounds; ++i) {
    turns.hand_to(answerer);
    turns.wait_for(asker);
  }
  return static_cast<double>(watch.elapsed().count()) / static_cast<double>(2 * rounds);
}

template <class Turns>
void answer(Turns& turns) {
  while (turns.wait_for(answerer)) turns.hand_to(asker);
}

}  // namespace bench::hierarchy
