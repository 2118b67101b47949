// SPDX-License-Identifier: MIT
#include "programs.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <weft/weft.h>

namespace bench::workloads {

namespace {

// Work that no compiler can do beforehand, and that needs no memory: splitmix64's finish.
constexpr std::uint64_t mixed(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

[[gnu::noinline]] std::uint64_t serial_sum(std::int64_t from, std::int64_t to) {
  std::uint64_t sum = 0;
  for (std::int64_t i = from; i < to; ++i) sum += mixed(static_cast<std::uint64_t>(i));
  return sum;
}

std::uint64_t forked_sum(std::int64_t from, std::int64_t to, std::int64_t grain) {
  if (to - from <= grain) return serial_sum(from, to);
  const std::int64_t half = from + (to - from) / 2;
  const auto c = weft::make_chan<std::uint64_t>(1);
  weft::go([c, from, half, grain] { c.send(forked_sum(from, half, grain)); });
  const std::uint64_t b = forked_sum(half, to, grain);
  return *c.recv() + b;
}

// What serial_sum(0, n) is; computed once for each n, outside of what is timed.
std::uint64_t known_sum(std::int64_t n) {
  static std::int64_t last_n = -1;
  static std::uint64_t last_sum = 0;
  if (n != last_n) {
    last_sum = serial_sum(0, n);
    last_n = n;
  }
  return last_sum;
}

constexpr std::size_t block = 4096;
constexpr std::size_t blocks = 256;

// A file that has a name no more, once written and hence in the page cache. Block b holds b in all its bytes.
class cached_file {
 public:
  cached_file() : file_(std::tmpfile(), std::fclose) {
    if (!file_) throw std::system_error(errno, std::generic_category(), "a temporary file");
    for (std::size_t b = 0; b < blocks; ++b) {
      std::array<unsigned char, block> bytes;
      bytes.fill(static_cast<unsigned char>(b));
      if (std::fwrite(bytes.data(), 1, block, file_.get()) != block) throw_short();
    }
    if (std::fflush(file_.get()) != 0) throw_short();
  }

  /// The sum of block b's bytes, as read; -1 when it could not be read.
  std::int64_t sum_of(std::size_t b) const {
    std::array<unsigned char, block> bytes;
    const auto at = static_cast<off_t>(b * block);
    if (pread(fileno(file_.get()), bytes.data(), block, at) != static_cast<ssize_t>(block)) return -1;
    std::int64_t sum = 0;
    for (const unsigned char c : bytes) sum += c;
    return sum;
  }

 private:
  [[noreturn]] static void throw_short() {
    throw std::system_error(errno, std::generic_category(), "writing a temporary file");
  }
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
};

constexpr int children = 8;
constexpr int levels = 4;  // the root's is one of them
constexpr int node_count = 1 + 8 + 64 + 512;
constexpr int depth_sum = 8 + 2 * 64 + 3 * 512;  // of all nodes
constexpr std::size_t mailbox = 16;

using mail = weft::chan<std::int64_t>;

// Gets v, gives v + 1 to its children, and answers with the sum of what all below it and itself got.
void act(const mail& in, const mail& up, int level) {
  std::vector<mail> below;
  const mail answers = weft::make_chan<std::int64_t>(mailbox);
  for (int k = 0; level + 1 < levels && k < children; ++k) {
    below.push_back(weft::make_chan<std::int64_t>(mailbox));
    weft::go([child = below.back(), answers, level] { act(child, answers, level + 1); });
  }
  for (const std::int64_t v : in) {
    for (const mail& child : below) child.send(v + 1);
    std::int64_t sum = v;
    for (std::size_t k = 0; k < below.size(); ++k) sum += *answers.recv();
    up.send(sum);
  }
  for (const mail& child : below) child.close();
}

}  // namespace

std::int64_t process_cpu_ns() {
  timespec t{};
  if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) != 0) throw std::runtime_error("no clock of processor time");
  return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}

result sequential(std::int64_t n) { return pingpong<int>({.rounds = n}); }

result parallel(std::int64_t n) {
  const std::uint64_t want = known_sum(n);
  const stopwatch watch;
  const std::uint64_t sum = forked_sum(0, n, std::max<std::int64_t>(n / 256, 1));
  return {watch.elapsed(), n, sum == want};
}

result io(std::int64_t n) {
  using namespace std::chrono_literals;
  const std::int64_t clients = std::min<std::int64_t>(n, 1000);
  const std::int64_t each = n / clients;
  const cached_file file;
  std::atomic<std::int64_t> wrong{0};
  weft::wait_group done;
  done.add(clients);
  const stopwatch watch;
  for (std::int64_t k = 0; k < clients; ++k) {
    weft::go([&, k] {
      for (std::int64_t i = 0; i < each; ++i) {
        weft::sleep_for(1ms);
        const auto b = static_cast<std::size_t>(k + i) % blocks;
        if (file.sum_of(b) != static_cast<std::int64_t>(b * block)) wrong.fetch_add(1, std::memory_order_relaxed);
      }
      done.done();
    });
  }
  done.wait();
  return {watch.elapsed(), clients * each, wrong.load(std::memory_order_relaxed) == 0};
}

result handlers(std::int64_t n) {
  const auto gate = weft::make_chan<int>();
  const auto answers = weft::make_chan<std::uint64_t>(128);
  const std::uint64_t want = known_sum(n);
  weft::wait_group at_the_gate;
  at_the_gate.add(n);
  const stopwatch watch;
  for (std::int64_t i = 0; i < n; ++i) {
    weft::go([&gate, &answers, &at_the_gate, i] {
      at_the_gate.done();
      gate.recv();
      answers.send(mixed(static_cast<std::uint64_t>(i)));
    });
  }
  at_the_gate.wait();
  gate.close();
  std::uint64_t sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += *answers.recv();
  return {watch.elapsed(), n, sum == want};
}

result actors(std::int64_t n) {
  const mail root = weft::make_chan<std::int64_t>(mailbox);
  const mail up = weft::make_chan<std::int64_t>(mailbox);
  weft::go([root, up] { act(root, up, 0); });
  root.send(0);
  bool right = *up.recv() == depth_sum;  // all actors are there now
  const stopwatch watch;
  weft::go([root, n] {
    for (std::int64_t i = 0; i < n; ++i) root.send(i);
  });
  for (std::int64_t i = 0; i < n; ++i) right = *up.recv() == node_count * i + depth_sum && right;
  const auto elapsed = watch.elapsed();
  root.close();
  return {elapsed, 2 * node_count * n, right};
}

}  // namespace bench::workloads
