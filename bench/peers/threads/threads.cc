// SPDX-License-Identifier: MIT
//
//   threads NAME P N        the workloads on OS threads: std::thread, and queues of std::mutex and std::condition_variable
//
// P is not asked for here: who runs it allows this process that many CPUs.

#include <condition_variable>
#include <mutex>
#include <thread>

#include "../programs.h"

namespace {

struct os_threads {
  static constexpr std::int64_t spawn_batch = 100;  // a thousand threads at once would measure the kernel's memory

  using task = std::thread;
  using mutex = std::mutex;
  using channel = peer::queue_channel<std::mutex, std::condition_variable_any>;

  template <class F>
  static task go(F f) {
    return std::thread(std::move(f));
  }
  template <class F>
  static void detach(F f) {
    std::thread(std::move(f)).detach();
  }
  static void join(task& t) { t.join(); }
  static void yield() { std::this_thread::yield(); }
  static void sleep(std::int64_t ns) { std::this_thread::sleep_for(std::chrono::nanoseconds(ns)); }
};

}  // namespace

int main(int argc, char** argv) {
  const peer::arguments a = peer::parse(argc, argv);
  peer::programs<os_threads>::run(a.name, a.n);
}
