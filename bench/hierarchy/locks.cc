// SPDX-License-Identifier: MIT
//
// A lock that nobody else wants, and a counter that everybody wants.
//
// Both mutexes are taken by a goroutine inside a runtime, since weft's can be taken nowhere else; and beside a thread that
// only sleeps, since glibc leaves out the locked instructions in a process that has a single one, which no program that
// needs a mutex is.

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include <weft/weft.h>

#include "../experiments.h"
#include "inside_runtime.h"
#include "os.h"
#include "row.h"

namespace bench::hierarchy {
namespace {

template <class Mutex>
class lone_locker final : public inside_runtime {
 public:
  lone_locker() : inside_runtime(1, [](std::int64_t n) { return bench::counting_under_mutex<Mutex>(n, 1); }) {}
  ~lone_locker() override {
    over_.store(true);
    over_.notify_one();
    sleeper_.join();
  }

 private:
  std::atomic<bool> over_{false};
  std::thread sleeper_{[this] { over_.wait(false); }};
};

template <class Mutex>
std::unique_ptr<experiment> uncontended(const setup&) {
  return std::make_unique<lone_locker<Mutex>>();
}

// One thread per CPU, each kept on its own. They are woken for a turn and spin between its batches, so that all of them
// begin a batch together; between turns they sleep.
class counting_crowd final : public experiment {
 public:
  explicit counting_crowd(std::int64_t batched) : batched_(batched) {
    std::vector<int> cpus = allowed_cpus();
    if (cpus.size() < 2) throw unavailable("this process may use one CPU: there is nobody to contend with");
    cpus.resize(std::min(cpus.size(), most_threads));
    for (std::size_t i = 1; i < cpus.size(); ++i) {
      pin_to(cpus[i]);  // which the new thread inherits
      threads_.emplace_back([this] { work(); });
    }
    pin_to(cpus[0]);
    detail = fmt::format("{} threads, each on its CPU", cpus.size());
  }
  ~counting_crowd() override {
    order_.store(quit);
    order_.notify_all();
    for (std::thread& t : threads_) t.join();
  }

  void within(const std::function<void()>& body) override {
    order_.store(be_awake);
    order_.notify_all();
    body();
    order_.store(sleep);
    // A thread that has not seen `be_awake` yet sees `sleep`, or the next `be_awake`: either will do.
  }

  double run(std::int64_t n) override {
    const std::int64_t before = count_.load();
    n_ = std::max<std::int64_t>(n / batch_length, 1) * batch_length;
    const auto others = static_cast<std::int64_t>(threads_.size());
    ready_.store(0);
    left_.store(others);
    begin_.fetch_add(1);
    while (ready_.load() != others) {
    }
    const bench::stopwatch watch;
    go_.fetch_add(1);
    count_up();
    while (left_.load() != 0) {
    }
    const double ns = static_cast<double>(watch.elapsed().count()) / static_cast<double>(n_);
    if (count_.load() - before != n_ * (others + 1)) throw std::runtime_error("counts were lost");
    return ns;
  }

 private:
  static constexpr std::size_t most_threads = 8;
  static constexpr std::int64_t batch_length = 64;
  enum : std::uint32_t { sleep, be_awake, quit };

  void count_up() {
    if (batched_ == 1) {
      for (std::int64_t i = 0; i < n_; ++i) count_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    std::int64_t mine = 0;
    for (std::int64_t i = 1; i <= n_; ++i) {
      ++mine;
      asm volatile("" : "+r"(mine));  // each is counted, if only in a register
      if (mine == batched_) {
        count_.fetch_add(mine, std::memory_order_relaxed);
        mine = 0;
      }
    }
    if (mine != 0) count_.fetch_add(mine, std::memory_order_relaxed);
  }

  void work() {
    for (std::uint64_t begun = 0, gone = 0;;) {
      const std::uint32_t order = order_.load();
      if (order == quit) return;
      if (order == sleep) {
        order_.wait(sleep);
        continue;
      }
      if (begin_.load() == begun) continue;
      ++begun;
      ready_.fetch_add(1);
      while (go_.load() == gone) {
      }
      ++gone;
      count_up();
      left_.fetch_sub(1);
    }
  }

  const std::int64_t batched_;
  std::vector<std::thread> threads_;
  std::int64_t n_ = 0;  // written before begin_, read after it
  alignas(128) std::atomic<std::uint32_t> order_{sleep};
  alignas(128) std::atomic<std::uint64_t> begin_{0};
  alignas(128) std::atomic<std::uint64_t> go_{0};
  alignas(128) std::atomic<std::int64_t> ready_{0};
  alignas(128) std::atomic<std::int64_t> left_{0};
  alignas(128) std::atomic<std::int64_t> count_{0};
};

template <std::int64_t Batched>
std::unique_ptr<experiment> counter(const setup&) {
  return std::make_unique<counting_crowd>(Batched);
}

}  // namespace

rows lock_rows() {
  return {
      {"mutex.uncontended", "std::mutex: lock, count, unlock, by the only one who wants it", isolation::none,
       usual_batch, uncontended<std::mutex>},
      {"mutex.uncontended_weft", "weft::mutex: lock, count, unlock, by the only one who wants it", isolation::none,
       usual_batch, uncontended<weft::mutex>},
      {"counter.contended", "fetch_add on one counter by all at once; time of one thread for one count",
       isolation::none, usual_batch, counter<1>},
      {"counter.batched", "each counts to 64 in a register, then one fetch_add of 64; time of one thread for one count",
       isolation::none, usual_batch, counter<64>},
  };
}

}  // namespace bench::hierarchy
