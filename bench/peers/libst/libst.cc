// SPDX-License-Identifier: MIT
//
//   libst NAME P N        the workloads on State Threads: one OS thread, so P is 1
//
// It has condition variables and no channels; a queue under one is what its programs use. It has no yield either: a
// sleep of no time is the documented one.

#include <st.h>

#include "../programs.h"

namespace {

using closure = std::function<void()>;

void* call(void* arg) {
  const std::unique_ptr<closure> f(static_cast<closure*>(arg));
  (*f)();
  return nullptr;
}

// One OS thread and no preemption: between two waits nobody else runs.
struct no_mutex {
  void lock() {}
  void unlock() {}
};

class condition {
 public:
  condition() : cond_(st_cond_new()) { peer::must(cond_ != nullptr, "st_cond_new failed"); }
  condition(const condition&) = delete;
  condition& operator=(const condition&) = delete;
  ~condition() { st_cond_destroy(cond_); }

  void wait(no_mutex&) { st_cond_wait(cond_); }
  void notify_one() { st_cond_signal(cond_); }
  void notify_all() { st_cond_broadcast(cond_); }

 private:
  st_cond_t cond_;
};

struct state_threads {
  static constexpr std::int64_t spawn_batch = 1000;
  static constexpr int stack_size = 64 << 10;

  using task = st_thread_t;
  using channel = peer::queue_channel<no_mutex, condition>;

  class mutex {
   public:
    mutex() : mutex_(st_mutex_new()) { peer::must(mutex_ != nullptr, "st_mutex_new failed"); }
    mutex(const mutex&) = delete;
    mutex& operator=(const mutex&) = delete;
    ~mutex() { st_mutex_destroy(mutex_); }
    void lock() { st_mutex_lock(mutex_); }
    void unlock() { st_mutex_unlock(mutex_); }

   private:
    st_mutex_t mutex_;
  };

  static task start(closure f, int joinable) {
    const task t = st_thread_create(call, new closure(std::move(f)), joinable, stack_size);
    peer::must(t != nullptr, "st_thread_create failed: no more stacks");
    return t;
  }
  template <class F>
  static task go(F f) {
    return start(std::move(f), 1);
  }
  template <class F>
  static void detach(F f) {
    start(std::move(f), 0);
  }
  static void join(task t) { peer::must(st_thread_join(t, nullptr) == 0, "st_thread_join failed"); }
  static void yield() { st_usleep(0); }
  static void sleep(std::int64_t ns) { st_usleep(static_cast<st_utime_t>(ns / 1000)); }
};

}  // namespace

int main(int argc, char** argv) {
  const peer::arguments a = peer::parse(argc, argv);
  if (a.procs != 1) peer::fail(2, "libst has one OS thread: P is 1");
  peer::must(st_init() == 0, "st_init failed");
  peer::programs<state_threads>::run(a.name, a.n);
}
