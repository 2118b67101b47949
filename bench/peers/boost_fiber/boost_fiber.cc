// SPDX-License-Identifier: MIT
//
//   boost_fiber NAME P N        the workloads on Boost.Fiber
//
// P = 1 is its default, round robin on one thread. Above that P threads run its work_stealing scheduler, told to let idle
// threads sleep: told to spin, it burns every CPU that the others need.
//
// Fibers of a tree are started by dispatch, which runs a child at once, depth first; by post all of them would be alive
// together. Stacks come from its pool where that is allowed, on one thread: taken from malloc they cost microseconds.

#include <boost/fiber/all.hpp>
#include <thread>

#include "../programs.h"

namespace {

namespace fibers = boost::fibers;

struct boost_fiber {
  static constexpr std::int64_t spawn_batch = 1000;
  static constexpr std::size_t stack_size = 64 << 10;

  using task = fibers::fiber;
  using mutex = fibers::mutex;

  // Boost's two kinds behind one face. A ring of 2^k holds one value less, so that capacity 128 is a ring that holds 127.
  class channel {
   public:
    explicit channel(std::size_t capacity) {
      if (capacity == 0) {
        unbuffered_ = std::make_unique<fibers::unbuffered_channel<std::int64_t>>();
      } else {
        buffered_ = std::make_unique<fibers::buffered_channel<std::int64_t>>(std::max<std::size_t>(capacity, 2));
      }
    }
    void send(std::int64_t v) {
      const auto status = unbuffered_ ? unbuffered_->push(v) : buffered_->push(v);
      peer::must(status == fibers::channel_op_status::success, "a send failed");
    }
    std::optional<std::int64_t> recv() {
      std::int64_t v = 0;
      const auto status = unbuffered_ ? unbuffered_->pop(v) : buffered_->pop(v);
      if (status != fibers::channel_op_status::success) return std::nullopt;
      return v;
    }
    void close() { unbuffered_ ? unbuffered_->close() : buffered_->close(); }

   private:
    std::unique_ptr<fibers::unbuffered_channel<std::int64_t>> unbuffered_;
    std::unique_ptr<fibers::buffered_channel<std::int64_t>> buffered_;
  };

  static inline std::optional<fibers::pooled_fixedsize_stack> pool;

  template <class F>
  static task start(fibers::launch how, F f) {
    if (pool) return task(how, std::allocator_arg, *pool, std::move(f));
    return task(how, std::allocator_arg, fibers::fixedsize_stack(stack_size), std::move(f));
  }
  template <class F>
  static task go(F f) {
    return start(fibers::launch::post, std::move(f));
  }
  template <class F>
  static void detach(F f) {
    start(fibers::launch::dispatch, std::move(f)).detach();
  }
  static void join(task& t) { t.join(); }
  static void yield() { boost::this_fiber::yield(); }
  static void sleep(std::int64_t ns) { boost::this_fiber::sleep_for(std::chrono::nanoseconds(ns)); }
};

// Threads beside the main one, which steal from it until all is done.
class stealing_threads {
 public:
  explicit stealing_threads(int procs) {
    if (procs == 1) return;
    const auto count = static_cast<std::uint32_t>(procs);
    for (int k = 1; k < procs; ++k) {
      threads_.emplace_back([this, count] {
        fibers::use_scheduling_algorithm<fibers::algo::work_stealing>(count, true);
        std::unique_lock lock(mutex_);
        over_changed_.wait(lock, [this] { return over_; });
      });
    }
    fibers::use_scheduling_algorithm<fibers::algo::work_stealing>(count, true);
  }
  stealing_threads(const stealing_threads&) = delete;
  stealing_threads& operator=(const stealing_threads&) = delete;
  ~stealing_threads() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    over_changed_.notify_all();
    for (std::thread& t : threads_) t.join();
  }

 private:
  fibers::mutex mutex_;
  fibers::condition_variable over_changed_;
  bool over_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

int main(int argc, char** argv) {
  const peer::arguments a = peer::parse(argc, argv);
  const stealing_threads others(a.procs);
  if (a.procs == 1) boost_fiber::pool.emplace(boost_fiber::stack_size);
  peer::programs<boost_fiber>::run(a.name, a.n);
}
