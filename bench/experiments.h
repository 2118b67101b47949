// SPDX-License-Identifier: MIT
#pragma once

// The programs that are measured, each exactly once, so that bench_pingpong, bench_micro and workload measure the same
// machine code shape. Each is called by a goroutine, makes what it needs, takes the time around the work alone and says
// whether its sums came out right: a benchmark that may lose values measures nothing.
//
// They are the Go peer's programs (the same goroutines, channels, sums and order), so that a ratio between the two is a
// ratio between runtimes. Where a program differs from the Go one, it says so.
//
// `home` pins a goroutine to a P; it is a knob of this laboratory and -1 leaves the scheduler free.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <weft/weft.h>

namespace bench {

struct result {
  std::chrono::nanoseconds elapsed;
  std::int64_t ops;
  bool right;  // every sum as it must be

  double ns_per_op() const { return static_cast<double>(elapsed.count()) / static_cast<double>(ops); }
};

class stopwatch {
 public:
  std::chrono::nanoseconds elapsed() const { return std::chrono::steady_clock::now() - start_; }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// 0 + 1 + ... + (n - 1)
constexpr std::int64_t sum_below(std::int64_t n) { return n * (n - 1) / 2; }

// ---- ping-pong ----------------------------------------------------------------------------------------------------
//
//   G1:  repeat n { ping.recv(); pong.send(i); }        G2:  repeat n { ping.send(i); pong.recv(); }
//
// `Via` is how the loop reaches the channel: directly, or through frames that the compiler must keep. A frame counts
// because each return after a switch is mispredicted; real programs have some.

struct direct {
  template <class T>
  [[gnu::always_inline]] inline void send(const weft::chan<T>& c, T v) const {
    c.send(v);
  }
  template <class T>
  [[gnu::always_inline]] inline T recv(const weft::chan<T>& c) const {
    return *c.recv();
  }
};

// Work left to do after the call: without it the compiler makes the call a jump, and the frame is gone.
[[gnu::always_inline]] inline void keep_frame() { asm volatile("" ::: "memory"); }

// The last frame is a function of its own, so that the registers which the inlined channel operation needs are saved
// once, by that one frame, and not by each of them.
template <class T>
[[gnu::noinline]] void send_from_last_frame(const weft::chan<T>& c, T v) {
  c.send(v);
  keep_frame();
}

template <class T>
[[gnu::noinline]] T recv_from_last_frame(const weft::chan<T>& c) {
  T v = *c.recv();
  keep_frame();
  return v;
}

/// This frame and `more` others, then the last one: more + 2 in all.
template <class T>
[[gnu::noinline]] void send_through(int more, const weft::chan<T>& c, T v) {
  if (more == 0) {
    send_from_last_frame(c, v);
  } else {
    send_through(more - 1, c, v);
  }
  keep_frame();
}

template <class T>
[[gnu::noinline]] T recv_through(int more, const weft::chan<T>& c) {
  T v = more == 0 ? recv_from_last_frame(c) : recv_through(more - 1, c);
  keep_frame();
  return v;
}

struct one_frame {
  template <class T>
  void send(const weft::chan<T>& c, T v) const {
    send_from_last_frame(c, v);
  }
  template <class T>
  T recv(const weft::chan<T>& c) const {
    return recv_from_last_frame(c);
  }
};

struct frames {
  int depth;  // at least 2

  template <class T>
  void send(const weft::chan<T>& c, T v) const {
    send_through(depth - 2, c, v);
  }
  template <class T>
  T recv(const weft::chan<T>& c) const {
    return recv_through(depth - 2, c);
  }
};

template <class T, class Via>
std::int64_t answer(weft::chan<T> ping, weft::chan<T> pong, std::int64_t rounds, Via via) {
  std::int64_t sum = 0;
  for (std::int64_t i = 0; i < rounds; ++i) {
    sum += static_cast<std::int64_t>(via.recv(ping));
    via.send(pong, static_cast<T>(i));
  }
  return sum;
}

template <class T, class Via>
std::int64_t ask(weft::chan<T> ping, weft::chan<T> pong, std::int64_t rounds, Via via) {
  std::int64_t sum = 0;
  for (std::int64_t i = 0; i < rounds; ++i) {
    via.send(ping, static_cast<T>(i));
    sum += static_cast<std::int64_t>(via.recv(pong));
  }
  return sum;
}

enum class place { automatic, same, cross };

struct pingpong_setting {
  std::int64_t rounds = 0;  // of each pair
  std::int64_t pairs = 1;
  int depth = 0;
  place where = place::automatic;
};

template <class T, class Via>
result pingpong_via(const pingpong_setting& s, Via via) {
  struct pair {
    weft::chan<T> ping = weft::make_chan<T>();
    weft::chan<T> pong = weft::make_chan<T>();
    std::int64_t answered = 0;
    std::int64_t asked = 0;
  };
  std::vector<pair> pairs(static_cast<std::size_t>(s.pairs));
  const auto home = [&s, procs = weft::procs()](std::int64_t k) {
    return s.where == place::automatic ? -1 : static_cast<int>(k % procs);
  };
  weft::wait_group done;
  done.add(2 * s.pairs);

  const stopwatch watch;
  for (std::int64_t k = 0; k < s.pairs; ++k) {
    pair* const pr = &pairs[static_cast<std::size_t>(k)];
    weft::go({.home = home(s.where == place::same ? 0 : k)}, [pr, &done, rounds = s.rounds, via] {
      pr->answered = answer<T>(pr->ping, pr->pong, rounds, via);
      done.done();
    });
    weft::go({.home = home(s.where == place::same ? 0 : k + 1)}, [pr, &done, rounds = s.rounds, via] {
      pr->asked = ask<T>(pr->ping, pr->pong, rounds, via);
      done.done();
    });
  }
  done.wait();
  const auto elapsed = watch.elapsed();

  const bool right = std::all_of(pairs.begin(), pairs.end(), [want = sum_below(s.rounds)](const pair& pr) {
    return pr.answered == want && pr.asked == want;
  });
  return {elapsed, 2 * s.rounds * s.pairs, right};
}

/// One op is one switch: half a round trip.
template <class T>
result pingpong(const pingpong_setting& s) {
  switch (s.depth) {
    case 0:
      return pingpong_via<T>(s, direct{});
    case 1:
      return pingpong_via<T>(s, one_frame{});
    default:
      return pingpong_via<T>(s, frames{s.depth});
  }
}

// ---- goroutines ---------------------------------------------------------------------------------------------------

/// Two goroutines, `yields` each. One op is one yield; with more than one P the two may well run side by side.
inline result yield_between_two(std::int64_t yields) {
  weft::wait_group done;
  done.add(2);
  const stopwatch watch;
  for (int k = 0; k < 2; ++k) {
    weft::go([&done, yields] {
      for (std::int64_t i = 0; i < yields; ++i) weft::yield();
      done.done();
    });
  }
  done.wait();
  return {watch.elapsed(), 2 * yields, true};
}

/// Goroutines that end at once, waited for in batches of (at most) a thousand. One op is one goroutine's life.
inline result spawn_and_join(std::int64_t n) {
  const std::int64_t batch = std::min<std::int64_t>(n, 1000);
  const std::int64_t batches = n / batch;
  weft::wait_group done;
  const stopwatch watch;
  for (std::int64_t i = 0; i < batches; ++i) {
    done.add(batch);
    for (std::int64_t j = 0; j < batch; ++j) {
      weft::go([&done] { done.done(); });
    }
    done.wait();
  }
  return {watch.elapsed(), batches * batch, true};
}

// ---- channels -----------------------------------------------------------------------------------------------------

/// That many turns of an empty loop, which no compiler takes away.
struct turns {
  std::int64_t n = 0;
  void operator()() const {
    for (std::int64_t i = 0; i < n; ++i) asm volatile("");
  }
};
struct nothing {
  void operator()() const {}
};

/// `each` producers and as many consumers share a channel of that capacity; each of them does that work for an element. One op is one element.
template <class Work = nothing>
result channel(std::int64_t n, std::size_t capacity, std::int64_t each, Work work = {}) {
  const std::int64_t per = std::max<std::int64_t>(n / each, 1);
  const auto c = weft::make_chan<std::int64_t>(capacity);
  std::atomic<std::int64_t> sum{0};
  weft::wait_group producers, consumers;
  producers.add(each);
  consumers.add(each);
  const stopwatch watch;
  for (std::int64_t k = 0; k < each; ++k) {
    weft::go([c, per, work, &producers] {
      for (std::int64_t i = 0; i < per; ++i) {
        work();
        c.send(i);
      }
      producers.done();
    });
    weft::go([c, work, &sum, &consumers] {
      std::int64_t s = 0;
      for (const std::int64_t v : c) {
        work();
        s += v;
      }
      sum.fetch_add(s, std::memory_order_relaxed);  // the wait below orders it
      consumers.done();
    });
  }
  producers.wait();
  c.close();
  consumers.wait();
  const auto elapsed = watch.elapsed();
  return {elapsed, per * each, sum.load(std::memory_order_relaxed) == each * sum_below(per)};
}

// ---- select -------------------------------------------------------------------------------------------------------

/// Two producers, and one consumer that selects. One op is one element.
inline result selecting(std::int64_t n, std::size_t capacity) {
  const std::int64_t per = std::max<std::int64_t>(n / 2, 1);
  const auto a = weft::make_chan<std::int64_t>(capacity);
  const auto b = weft::make_chan<std::int64_t>(capacity);
  const auto sum = weft::make_chan<std::int64_t>();
  const stopwatch watch;
  for (const auto& c : {a, b}) {
    weft::go([c, per] {
      for (std::int64_t i = 0; i < per; ++i) c.send(i);
    });
  }
  weft::go([a, b, sum, per] {
    std::int64_t s = 0;
    const auto add = [&s](std::optional<std::int64_t> v) { s += *v; };
    for (std::int64_t i = 0; i < 2 * per; ++i) weft::select(weft::on_recv(a, add), weft::on_recv(b, add));
    sum.send(s);
  });
  const std::int64_t s = *sum.recv();
  return {watch.elapsed(), 2 * per, s == 2 * sum_below(per)};
}

/// Nobody on the other side: a receive, a send, or either, with an otherwise. One op is one select.
inline result trying_in_vain(std::int64_t n, bool recv, bool send) {
  const auto a = weft::make_chan<std::int64_t>();
  const auto b = weft::make_chan<std::int64_t>();
  std::int64_t missed = 0;
  const auto miss = [&missed] { ++missed; };
  const stopwatch watch;
  if (recv && send) {
    for (std::int64_t i = 0; i < n; ++i) weft::select(weft::on_recv(a), weft::on_send(b, i), weft::otherwise(miss));
  } else if (recv) {
    for (std::int64_t i = 0; i < n; ++i) weft::select(weft::on_recv(a), weft::otherwise(miss));
  } else {
    for (std::int64_t i = 0; i < n; ++i) weft::select(weft::on_send(b, i), weft::otherwise(miss));
  }
  return {watch.elapsed(), n, missed == n};
}

/// A buffered channel of one's own: a send, then a receive, each with an otherwise that is not taken. One op is one of the two.
inline result trying_with_success(std::int64_t n) {
  const auto c = weft::make_chan<std::int64_t>(1);
  std::int64_t s = 0;
  const auto add = [&s](std::optional<std::int64_t> v) { s += *v; };
  const stopwatch watch;
  for (std::int64_t i = 0; i < n; ++i) {
    weft::select(weft::on_send(c, i), weft::otherwise());
    weft::select(weft::on_recv(c, add), weft::otherwise());
  }
  return {watch.elapsed(), 2 * n, s == sum_below(n)};
}

// ---- mutex --------------------------------------------------------------------------------------------------------

/// `each` goroutines count, under one mutex. One op is one lock, count, unlock.
template <class Mutex = weft::mutex>
result counting_under_mutex(std::int64_t n, std::int64_t each) {
  const std::int64_t per = std::max<std::int64_t>(n / each, 1);
  Mutex mu;
  weft::wait_group done;
  std::int64_t count = 0;
  const stopwatch watch;
  for (std::int64_t k = 0; k < each; ++k) {
    done.add(1);
    weft::go([&mu, &done, &count, per] {
      for (std::int64_t i = 0; i < per; ++i) {
        mu.lock();
        ++count;
        mu.unlock();
      }
      done.done();
    });
  }
  done.wait();
  return {watch.elapsed(), each * per, count == each * per};
}

// ---- timers -------------------------------------------------------------------------------------------------------

/// `n` goroutines sleep 1 to 50 ms in a loop, until `time` has passed. Returns how often they woke.
inline std::int64_t sleeping(std::int64_t n, std::chrono::nanoseconds time) {
  std::atomic<std::int64_t> wakeups{0};
  weft::wait_group done;
  done.add(n);
  const auto end = std::chrono::steady_clock::now() + time;
  for (std::int64_t i = 0; i < n; ++i) {
    weft::go([&wakeups, &done, end, x = static_cast<std::uint64_t>(i) * 2654435769 + 1]() mutable {
      std::int64_t woken = 0;
      while (std::chrono::steady_clock::now() < end) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        weft::sleep_for(std::chrono::nanoseconds(1'000'000 + x % 49'000'000));
        ++woken;
      }
      wakeups.fetch_add(woken, std::memory_order_relaxed);  // the wait below orders it
      done.done();
    });
  }
  done.wait();
  return wakeups.load(std::memory_order_relaxed);
}

// ---- fork and join ------------------------------------------------------------------------------------------------

constexpr std::int64_t serial_fib(std::int64_t n) { return n < 2 ? n : serial_fib(n - 1) + serial_fib(n - 2); }

// By value: the parent may have the value, and be gone, before the child's send has returned. Not const: the capture would be const as well, and a
// closure with a const member is copied where it could be moved.
inline std::int64_t forked_fib(std::int64_t n) {
  if (n < 2) return n;
  auto c = weft::make_chan<std::int64_t>(1);
  weft::go([c, n] { c.send(forked_fib(n - 1)); });
  const std::int64_t b = forked_fib(n - 2);
  return *c.recv() + b;
}

/// A goroutine per inner node of fib(n)'s call tree, and a channel for its result. One op is one of them.
inline result fork_join_fib(std::int64_t n) {
  const auto c = weft::make_chan<std::int64_t>();
  const stopwatch watch;
  weft::go([c, n] { c.send(forked_fib(n)); });
  const std::int64_t r = *c.recv();
  const auto elapsed = watch.elapsed();
  return {elapsed, serial_fib(n + 1) - 1, r == serial_fib(n)};
}

inline void skynet_node(const weft::chan<std::int64_t>& up, std::int64_t number, std::int64_t size) {
  if (size == 1) {
    up.send(number);
    return;
  }
  const auto down = weft::make_chan<std::int64_t>();
  for (std::int64_t i = 0; i < 10; ++i) {
    weft::go([down, child = number + i * (size / 10), size] { skynet_node(down, child, size / 10); });
  }
  std::int64_t sum = 0;
  for (int i = 0; i < 10; ++i) sum += *down.recv();
  up.send(sum);
}

/// A tree of goroutines, ten children each, whose n leaves (a power of ten) are summed upwards. One op is one leaf.
inline result skynet(std::int64_t n) {
  const auto c = weft::make_chan<std::int64_t>();
  const stopwatch watch;
  weft::go([c, n] { skynet_node(c, 0, n); });
  const std::int64_t r = *c.recv();
  const auto elapsed = watch.elapsed();
  return {elapsed, n, r == sum_below(n)};
}

}  // namespace bench
