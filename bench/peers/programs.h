// SPDX-License-Identifier: MIT
#pragma once

// The workloads of bench/workload.cc for a peer whose tasks have stacks, written once over what such a peer offers:
//
//   R::task, R::go(f), R::join(task)  a task, started, waited for
//   R::detach(f)                      one that nobody waits for; may run it before it returns, which keeps a tree small
//   R::channel(capacity)              send(v), recv() -> optional, close(); 0 is the nearest to unbuffered there is
//   R::mutex, R::yield(), R::sleep(ns)
//
// The same tasks, channels, sums and order as ours, and the same columns printed.

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "peer.h"

namespace peer {

template <class R>
struct programs {
  using channel = typename R::channel;

  // ---- ping-pong, directly and through frames that the compiler must keep

  [[gnu::noinline]] static void send_through(int more, channel& c, std::int64_t v) {
    if (more == 0) {
      c.send(v);
    } else {
      send_through(more - 1, c, v);
    }
    asm volatile("" ::: "memory");  // work left to do: no tail call
  }

  [[gnu::noinline]] static std::int64_t recv_through(int more, channel& c) {
    const std::int64_t v = more == 0 ? *c.recv() : recv_through(more - 1, c);
    asm volatile("" ::: "memory");
    return v;
  }

  static std::int64_t answer(channel& ping, channel& pong, std::int64_t rounds, int depth) {
    std::int64_t sum = 0;
    for (std::int64_t i = 0; i < rounds; ++i) {
      sum += depth == 0 ? *ping.recv() : recv_through(depth - 1, ping);
      depth == 0 ? pong.send(i) : send_through(depth - 1, pong, i);
    }
    return sum;
  }

  static std::int64_t ask(channel& ping, channel& pong, std::int64_t rounds, int depth) {
    std::int64_t sum = 0;
    for (std::int64_t i = 0; i < rounds; ++i) {
      depth == 0 ? ping.send(i) : send_through(depth - 1, ping, i);
      sum += depth == 0 ? *pong.recv() : recv_through(depth - 1, pong);
    }
    return sum;
  }

  static void pingpong(std::int64_t n, std::int64_t pairs, int depth) {
    struct pair {
      channel ping{0}, pong{0};
      std::int64_t answered = 0, asked = 0;
    };
    const std::int64_t rounds = std::max<std::int64_t>(n / pairs, 1);
    std::vector<std::unique_ptr<pair>> all;
    for (std::int64_t k = 0; k < pairs; ++k) all.push_back(std::make_unique<pair>());
    std::vector<typename R::task> tasks;
    const stopwatch watch;
    for (const auto& p : all) {
      pair* const at = p.get();
      tasks.push_back(R::go([=] { at->answered = answer(at->ping, at->pong, rounds, depth); }));
      tasks.push_back(R::go([=] { at->asked = ask(at->ping, at->pong, rounds, depth); }));
    }
    for (auto& t : tasks) R::join(t);
    const double ns = watch.ns();
    for (const auto& p : all) check(p->answered == sum_below(rounds) && p->asked == sum_below(rounds));
    print_per_op(ns, 2 * rounds * pairs);
  }

  // ---- tasks

  static void yield_between_two(std::int64_t n) {
    std::int64_t yielded[2] = {0, 0};
    std::vector<typename R::task> tasks;
    const stopwatch watch;
    for (std::int64_t& count : yielded) {
      tasks.push_back(R::go([&count, n] {
        std::int64_t i = 0;
        for (; i < n; ++i) R::yield();
        count = i;
      }));
    }
    for (auto& t : tasks) R::join(t);
    const double ns = watch.ns();
    check(yielded[0] == n && yielded[1] == n);
    print_per_op(ns, 2 * n);
  }

  static void spawn(std::int64_t n) {
    const std::int64_t batch = std::min<std::int64_t>(n, R::spawn_batch);
    std::atomic<std::int64_t> ran{0};
    std::vector<typename R::task> tasks;
    const stopwatch watch;
    for (std::int64_t i = 0; i < n / batch; ++i) {
      for (std::int64_t j = 0; j < batch; ++j) {
        tasks.push_back(R::go([&ran] { ran.fetch_add(1, std::memory_order_relaxed); }));
      }
      for (auto& t : tasks) R::join(t);
      tasks.clear();
    }
    const double ns = watch.ns();
    check(ran == n / batch * batch);
    print_per_op(ns, n / batch * batch);
  }

  // n tasks wait on one channel; then each gets a value.
  static void parked(std::int64_t n) {
    const auto each = [n](double total) { return total / static_cast<double>(n); };
    channel c(0);
    std::atomic<std::int64_t> started{0}, sum{0};
    std::vector<typename R::task> tasks;
    tasks.reserve(static_cast<std::size_t>(n));
    const double before = resident_bytes();
    const stopwatch watch;
    for (std::int64_t i = 0; i < n; ++i) {
      tasks.push_back(R::go([&] {
        ++started;
        sum += *c.recv();
      }));
    }
    while (started < n) R::yield();
    const double created = watch.ns();
    R::sleep(50'000'000);
    const double full = resident_bytes();
    for (std::int64_t i = 0; i < n; ++i) c.send(1);
    for (auto& t : tasks) R::join(t);
    tasks.clear();
    R::sleep(1'000'000'000);
    const double after = resident_bytes();
    check(sum == n);
    std::printf("bytes_per_task=%.1f create_ns=%.1f after_bytes=%.1f\n", each(full - before), each(created),
                each(after - before));
  }

  // ---- channels

  static void channels(std::int64_t n, std::size_t capacity, std::int64_t sides) {
    const std::int64_t per = std::max<std::int64_t>(n / sides, 1);
    channel c(capacity);
    std::atomic<std::int64_t> sum{0};
    std::vector<typename R::task> producers, consumers;
    const stopwatch watch;
    for (std::int64_t k = 0; k < sides; ++k) {
      producers.push_back(R::go([&c, per] {
        for (std::int64_t i = 0; i < per; ++i) c.send(i);
      }));
      consumers.push_back(R::go([&c, &sum] {
        std::int64_t s = 0;
        while (const auto v = c.recv()) s += *v;
        sum += s;
      }));
    }
    for (auto& t : producers) R::join(t);
    c.close();
    for (auto& t : consumers) R::join(t);
    const double ns = watch.ns();
    check(sum == sides * sum_below(per));
    print_per_op(ns, per * sides);
  }

  // ---- mutex

  static void mutex(std::int64_t n) {
    constexpr std::int64_t sides = 8;
    const std::int64_t per = std::max<std::int64_t>(n / sides, 1);
    typename R::mutex mu;
    std::int64_t count = 0;
    std::vector<typename R::task> tasks;
    const stopwatch watch;
    for (std::int64_t k = 0; k < sides; ++k) {
      tasks.push_back(R::go([&mu, &count, per] {
        for (std::int64_t i = 0; i < per; ++i) {
          mu.lock();
          ++count;
          mu.unlock();
        }
      }));
    }
    for (auto& t : tasks) R::join(t);
    const double ns = watch.ns();
    check(count == sides * per);
    print_per_op(ns, sides * per);
  }

  // ---- timers: processor time per wakeup

  static void timer(std::int64_t n) {
    std::atomic<std::int64_t> wakeups{0};
    std::vector<typename R::task> tasks;
    tasks.reserve(static_cast<std::size_t>(n));
    const double before = processor_ns();
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
    for (std::int64_t i = 0; i < n; ++i) {
      tasks.push_back(R::go([&wakeups, end, seed = static_cast<std::uint64_t>(i) * 2654435769 + 1] {
        std::int64_t woken = 0;
        for (std::uint64_t x = seed; std::chrono::steady_clock::now() < end; ++woken) {
          x ^= x << 13;
          x ^= x >> 7;
          x ^= x << 17;
          R::sleep(static_cast<std::int64_t>(1'000'000 + x % 49'000'000));
        }
        wakeups += woken;
      }));
    }
    for (auto& t : tasks) R::join(t);
    const double spent = processor_ns() - before;
    check(wakeups > 0);
    std::printf("ns_per_op=%.3f wakeups=%lld\n", spent / static_cast<double>(wakeups.load()),
                static_cast<long long>(wakeups.load()));
  }

  // ---- fork and join

  static std::int64_t serial_fib(std::int64_t n) { return n < 2 ? n : serial_fib(n - 1) + serial_fib(n - 2); }

  static std::int64_t forked_fib(std::int64_t n) {
    if (n < 2) return n;
    const auto c = std::make_shared<channel>(1);  // shared: the child may still be inside send when we have the value
    R::detach([c, n] { c->send(forked_fib(n - 1)); });
    const std::int64_t b = forked_fib(n - 2);
    return *c->recv() + b;
  }

  static void steal(std::int64_t n) {
    const auto c = std::make_shared<channel>(1);
    const stopwatch watch;
    R::detach([c, n] { c->send(forked_fib(n)); });
    const std::int64_t r = *c->recv();
    const double ns = watch.ns();
    check(r == serial_fib(n));
    print_per_op(ns, serial_fib(n + 1) - 1);
  }

  static void skynet_node(channel& up, std::int64_t number, std::int64_t size) {
    if (size == 1) {
      up.send(number);
      return;
    }
    const auto down = std::make_shared<channel>(0);
    for (std::int64_t i = 0; i < 10; ++i) {
      R::detach([down, child = number + i * (size / 10), size] { skynet_node(*down, child, size / 10); });
    }
    std::int64_t sum = 0;
    for (int i = 0; i < 10; ++i) sum += *down->recv();
    up.send(sum);
  }

  static void skynet(std::int64_t n) {
    const auto c = std::make_shared<channel>(0);
    const stopwatch watch;
    R::detach([c, n] { skynet_node(*c, 0, n); });
    const std::int64_t r = *c->recv();
    const double ns = watch.ns();
    check(r == sum_below(n));
    std::printf("ns_per_op=%.3f ms=%.2f\n", ns / static_cast<double>(n), ns / 1e6);
  }

  static void run(const std::string& name, std::int64_t n) {
    if (name == "pingpong") return pingpong(n, 1, 0);
    if (name == "pingpong_deep4") return pingpong(n, 1, 4);
    if (name == "pingpong_1000") return pingpong(n, 1000, 0);
    if (name == "switch") return yield_between_two(n);
    if (name == "spawn") return spawn(n);
    if (name == "parked") return parked(n);
    if (name == "skynet") return skynet(n);
    if (name == "chan128_1x1") return channels(n, 128, 1);
    if (name == "chan128_4x4") return channels(n, 128, 4);
    if (name == "chan1_1x1") return channels(n, 1, 1);
    if (name == "chan1_4x4") return channels(n, 1, 4);
    if (name == "steal") return steal(n);
    if (name == "mutex") return mutex(n);
    if (name == "timer") return timer(n);
    fail(2, "this peer has no such workload");
  }
};

/// A queue of at most `capacity` (at least one) values, from a mutex and condition variables: what one builds where the
/// runtime brings no channel. With capacity 0 asked for, a sender does not wait for its receiver, which favours it.
template <class Mutex, class Condition>
class queue_channel {
 public:
  explicit queue_channel(std::size_t capacity) : ring_(std::max<std::size_t>(capacity, 1)) {}

  void send(std::int64_t v) {
    mutex_.lock();
    while (count_ == ring_.size()) room_.wait(mutex_);
    ring_[(head_ + count_++) % ring_.size()] = v;
    mutex_.unlock();
    value_.notify_one();
  }

  std::optional<std::int64_t> recv() {
    mutex_.lock();
    while (count_ == 0 && !closed_) value_.wait(mutex_);
    std::optional<std::int64_t> v;
    if (count_ > 0) {
      v = ring_[head_];
      head_ = (head_ + 1) % ring_.size();
      --count_;
    }
    mutex_.unlock();
    room_.notify_one();
    return v;
  }

  void close() {
    mutex_.lock();
    closed_ = true;
    mutex_.unlock();
    value_.notify_all();
  }

 private:
  Mutex mutex_;
  Condition room_, value_;
  std::vector<std::int64_t> ring_;
  std::size_t head_ = 0, count_ = 0;
  bool closed_ = false;
};

}  // namespace peer
