// SPDX-License-Identifier: MIT
#include "memory.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <exception>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <weft/weft.h>

namespace bench::workloads {

namespace {

struct footprint {
  std::int64_t resident = 0;
  std::int64_t virtual_ = 0;
  std::int64_t kernel = 0;
};

std::int64_t meminfo_bytes(std::string_view wanted) {
  std::ifstream meminfo("/proc/meminfo");
  std::string name, unit;
  for (std::int64_t kib = 0; meminfo >> name >> kib; std::getline(meminfo, unit)) {
    if (name.size() == wanted.size() + 1 && name.starts_with(wanted)) return kib << 10;
  }
  return 0;
}

footprint footprint_now() {
  std::ifstream statm("/proc/self/statm");
  footprint f;
  if (!(statm >> f.virtual_ >> f.resident)) throw std::runtime_error("/proc/self/statm cannot be read");
  const std::int64_t page = sysconf(_SC_PAGESIZE);
  f.virtual_ *= page;
  f.resident *= page;
  f.kernel = meminfo_bytes("KernelStack") + meminfo_bytes("PageTables");
  return f;
}

memory_use use_between(const footprint& before, const footprint& after, std::int64_t tasks) {
  const auto each = [tasks](std::int64_t total) { return static_cast<double>(total) / static_cast<double>(tasks); };
  return {.resident = each(after.resident - before.resident),
          .virtual_ = each(after.virtual_ - before.virtual_),
          .kernel = each(after.kernel - before.kernel),
          .tasks = tasks};
}

// Calls f in a child and returns what it returned there.
template <class F>
memory_use in_a_child(F f) {
  int ends[2];
  if (pipe(ends) != 0) throw std::runtime_error(fmt::format("pipe: {}", std::strerror(errno)));
  const pid_t pid = fork();
  if (pid < 0) {
    close(ends[0]);
    close(ends[1]);
    throw std::runtime_error(fmt::format("fork: {}", std::strerror(errno)));
  }
  if (pid == 0) {
    memory_use u;
    std::string_view failed;
    std::string text;
    try {
      u = f();
    } catch (const std::exception& e) {
      text = e.what();
      failed = text;
    }
    // One message, within what a pipe takes at once: the figures, or the reason.
    const ssize_t sent = failed.empty() ? write(ends[1], &u, sizeof u) : write(ends[1], failed.data(), failed.size());
    _exit(sent > 0 ? static_cast<int>(!failed.empty()) : 1);
  }
  close(ends[1]);
  char message[512];
  std::size_t size = 0;
  for (ssize_t n = 0; (n = read(ends[0], message + size, sizeof message - size)) != 0;) {
    if (n > 0) size += static_cast<std::size_t>(n);
    if (n < 0 && errno != EINTR) break;
  }
  close(ends[0]);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  memory_use u;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || size != sizeof u) {
    throw std::runtime_error("memory: " + (size != 0 ? std::string(message, size) : "the measuring process died"));
  }
  std::memcpy(&u, message, sizeof u);
  return u;
}

// Threads that wait until they may go. Made one by one until the system refuses.
class waiting_threads {
 public:
  explicit waiting_threads(std::int64_t n) { threads_.reserve(static_cast<std::size_t>(n)); }
  ~waiting_threads() {
    go_.store(1);
    go_.notify_all();
    for (const pthread_t t : threads_) pthread_join(t, nullptr);
  }
  waiting_threads(const waiting_threads&) = delete;
  waiting_threads& operator=(const waiting_threads&) = delete;

  std::int64_t make(std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) {
      pthread_t t{};
      if (pthread_create(&t, nullptr, wait, this) != 0) break;
      threads_.push_back(t);
    }
    while (begun_.load() != static_cast<std::int64_t>(threads_.size())) usleep(1000);
    return static_cast<std::int64_t>(threads_.size());
  }

 private:
  static void* wait(void* self) {
    auto* const w = static_cast<waiting_threads*>(self);
    w->begun_.fetch_add(1);
    w->go_.wait(0);
    return nullptr;
  }

  std::atomic<std::int64_t> begun_{0};
  std::atomic<int> go_{0};
  std::vector<pthread_t> threads_;
};

}  // namespace

memory_use goroutine_memory(int procs, std::int64_t n) {
  return in_a_child([procs, n] {
    return weft::run({.procs = procs}, [n] {
      const footprint before = footprint_now();
      const auto c = weft::make_chan<std::int64_t>();
      std::atomic<std::int64_t> sum{0};
      weft::wait_group begun, ended;
      begun.add(n);
      ended.add(n);
      for (std::int64_t i = 0; i < n; ++i) {
        weft::go([&c, &sum, &begun, &ended] {
          begun.done();
          sum.fetch_add(*c.recv(), std::memory_order_relaxed);  // ended.wait() orders it
          ended.done();
        });
      }
      begun.wait();
      weft::sleep_for(std::chrono::milliseconds(20));  // the last of them park
      const footprint after = footprint_now();
      for (std::int64_t i = 0; i < n; ++i) c.send(1);
      ended.wait();
      if (sum.load(std::memory_order_relaxed) != n) throw std::runtime_error("a sum is wrong: goroutines were lost");
      return use_between(before, after, n);
    });
  });
}

memory_use thread_memory(std::int64_t n) {
  return in_a_child([n] {
    waiting_threads threads(n);
    const footprint before = footprint_now();
    const std::int64_t made = threads.make(n);
    if (made == 0) throw std::runtime_error("not one thread could be made");
    return use_between(before, footprint_now(), made);
  });
}

std::int64_t at_most_for_memory(std::int64_t n) {
  const std::int64_t available = meminfo_bytes("MemAvailable");
  if (available == 0) return n;
  return std::clamp<std::int64_t>(available / 2 / (16 << 10), 1, n);
}

}  // namespace bench::workloads
