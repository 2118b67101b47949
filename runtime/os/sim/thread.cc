// SPDX-License-Identifier: MIT
//
// The runtime's threads, as virtual threads. One processor for each thread.

#include "../thread.h"

#include <cstdio>
#include <exception>
#include <system_error>

#include "../process.h"
#include "machine.h"

namespace weft {

void cpu_relax() noexcept { sim::spin(); }

}  // namespace weft

namespace weft::os {

thread::~thread() {
  if (joinable_) std::terminate();
}

void* thread::entry(void* self) noexcept {
  auto& t = *static_cast<thread*>(self);
  t.fn_(t.arg_);
  return nullptr;
}

void thread::start(const char* name, void (*fn)(void*), void* arg, std::size_t) {
  sim::machine& m = *sim::the_machine;
  if (m.how.threads != 0 && num_threads_of_process() >= m.how.threads)
    throw std::system_error(EAGAIN, std::generic_category(), "no more threads");
  std::snprintf(name_, sizeof name_, "%s", name);
  fn_ = fn;
  arg_ = arg;
  m.point({sim::what::os, nullptr, true, false}, m.now->last_site);
  handle_ = static_cast<pthread_t>(m.add_thread([](void* self) { (void)entry(self); }, this));
  joinable_ = true;
}

void thread::join() noexcept {
  sim::machine& m = *sim::the_machine;
  m.point({sim::what::os, nullptr, true, false}, m.now->last_site);
  sim::vthread& other = m.threads[handle_];
  if (other.state != sim::thread_state::done) {
    m.now->joins = static_cast<int>(handle_);
    m.block();
  }
  m.now->now.join(other.now);
  joinable_ = false;
}

int num_cpus() noexcept { return sim::the_machine ? sim::the_machine->how.cpus : 1; }

int num_foreign_threads() noexcept { return 0; }

int num_threads_of_process() noexcept {
  int n = 0;
  for (int i = 0; i < sim::the_machine->nthreads; ++i)
    n += sim::the_machine->threads[i].state != sim::thread_state::done;
  return n;
}

void yield_thread() noexcept { sim::spin(); }

std::uint32_t thread_id() noexcept {
  return sim::inside ? static_cast<std::uint32_t>(sim::the_machine->now->id) + 1 : 1;
}

void set_timer_slack_ns(unsigned long) noexcept {}

unsigned current_cpu() noexcept { return sim::inside ? static_cast<unsigned>(sim::the_machine->now->id) : 0; }

void stack_bounds_of_thread(const void*& lo, std::size_t& size) noexcept {
  lo = nullptr;
  size = 0;
}

void leave_cpu(unsigned) noexcept {}

}  // namespace weft::os
