// SPDX-License-Identifier: MIT
//
// Two threads of one process that take turns (turns.h), kept on one CPU or on two.

#include <cstdint>
#include <memory>
#include <thread>

#include "os.h"
#include "row.h"
#include "turns.h"

namespace bench::hierarchy {
namespace {

template <class Turns>
class two_threads final : public experiment {
 public:
  explicit two_threads(const two_cpus& where) {
    detail = where.text;
    pin_to(where.second);  // which the new thread inherits
    other_ = std::thread([this] { answer(turns_); });
    pin_to(where.first);
  }
  ~two_threads() override {
    turns_.end();
    other_.join();
  }

  double run(std::int64_t n) override { return ask(turns_, n); }

 private:
  Turns turns_;
  std::thread other_;
};

template <class Turns, two_cpus (*Where)()>
std::unique_ptr<experiment> made(const setup&) {
  return std::make_unique<two_threads<Turns>>(Where());
}

using by_futex = futex_turns<futex_scope::one_process>;

}  // namespace

rows thread_rows() {
  const char* const level = isolation::thread;
  return {
      {"thread.futex.same_core", "two threads, a word and FUTEX_WAKE / FUTEX_WAIT; half a round trip", level,
       long_batch, made<by_futex, same_core>},
      {"thread.futex.cross_core", "two threads, a word and FUTEX_WAKE / FUTEX_WAIT; half a round trip", level,
       long_batch, made<by_futex, cross_core>},
      {"thread.pipe.same_core", "two threads, a byte through a pipe each way; half a round trip", level, long_batch,
       made<pipe_turns, same_core>},
      {"thread.pipe.cross_core", "two threads, a byte through a pipe each way; half a round trip", level, long_batch,
       made<pipe_turns, cross_core>},
      {"thread.condvar.same_core", "two threads, std::mutex and std::condition_variable; half a round trip", level,
       long_batch, made<condvar_turns, same_core>},
      {"thread.condvar.cross_core", "two threads, std::mutex and std::condition_variable; half a round trip", level,
       long_batch, made<condvar_turns, cross_core>},
  };
}

}  // namespace bench::hierarchy
