// SPDX-License-Identifier: MIT
//
// Biased words under the real kernel: sections are interrupted by signals, by other threads on the same CPU and by the fences of those who
// take the bias back, at any instruction. What a lost or a repeated move would break is counted.
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/time.h>

#include <array>
#include <atomic>
#include <csignal>
#include <thread>
#include <vector>

#include "runtime/chan/chan_core.h"
#include "runtime/sched/biased.h"
#include "tests/support/world.h"

namespace weft {
namespace {

using weft_test::announce_seed;
using weft_test::scaled;

constexpr std::uint64_t one = 16;  // above kind and flag

// While one lives, a signal every 50 us, to whatever thread the kernel chooses.
class signals {
 public:
  signals() {
    struct sigaction act {};
    act.sa_handler = [](int) { seen.fetch_add(1, std::memory_order_relaxed); };
    act.sa_flags = SA_RESTART | SA_ONSTACK;  // on a stack that has been published its frame would lie on another's
    sigaction(SIGALRM, &act, &before_);
    const itimerval every{{0, 50}, {0, 50}};
    setitimer(ITIMER_REAL, &every, nullptr);
  }
  ~signals() {
    const itimerval never{};
    setitimer(ITIMER_REAL, &never, nullptr);
    sigaction(SIGALRM, &before_, nullptr);
  }
  signals(const signals&) = delete;
  signals& operator=(const signals&) = delete;

  static inline std::atomic<long> seen{0};

 private:
  struct sigaction before_ {};
};

// Adds so many, and now and then takes the bias, or makes sure that it is nobody's.
void add(rt::biased_word& w, int times, int bias_every) {
  for (int i = 0; i < times;) {
    rt::M* m = rt::self();
    if (m && i % bias_every == 0) rt::bias_to(m, w);
    const std::uint64_t v = w.load(relaxed);
    if (rt::move(m, w, v, v + one, relaxed)) ++i;
    if (i % 64 == 0) yield();
  }
}

TEST(biased_stress, no_move_is_lost) {
  announce_seed();
  const signals storm;
  for (int bias_every : {7, 1'000, 20'000}) {
    rt::biased_word w(0);
    const int each = scaled(bias_every == 7 ? 40'000 : 1'000'000);
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) threads.emplace_back([&] { add(w, bias_every == 7 ? each : each / 50, 1); });
    run({.procs = 3}, [&] {
      wait_group wg;
      for (int i = 0; i < 4; ++i) wg.go([&] { add(w, each, bias_every); });
      wg.wait();
    });
    for (auto& t : threads) t.join();
    const std::uint64_t by_threads = 2 * static_cast<std::uint64_t>(bias_every == 7 ? each : each / 50);
    EXPECT_EQ((w.load(acquire) & ~rt::bias_flag) / one, 4 * static_cast<std::uint64_t>(each) + by_threads)
        << "a bias every " << bias_every;
  }
  EXPECT_GT(signals::seen.load(), 0);
}

// Channels whose bias goes to and fro while goroutines park on them, by the switch's own section.
TEST(biased_stress, channels_keep_all_values) {
  announce_seed();
  const signals storm;
  for (std::size_t capacity : {0U, 1U, 5U}) {
    auto c = make_chan<int>(capacity);
    const int each = scaled(100'000);
    std::atomic<long> sum{0};
    std::atomic<bool> over{false};
    std::thread meddler([&] {
      // Takes the bias back, and a value for itself now and then.
      while (!over.load(relaxed)) {
        if (auto v = c.try_recv()) sum.fetch_add(*v, relaxed);
        std::this_thread::sleep_for(std::chrono::microseconds(100));
      }
    });
    run({.procs = 3}, [&] {
      wait_group senders;
      wait_group receivers;
      for (int g = 0; g < 3; ++g)
        senders.go([&, g] {
          for (int i = 1; i <= each; ++i) {
            if (i % 257 == g) rt::bias_to(rt::self(), c.core()->word);
            c.send(i);
          }
        });
      for (int g = 0; g < 3; ++g)
        receivers.go([&, g] {
          int n = 0;
          for (int v : c) {
            sum.fetch_add(v, relaxed);
            if (++n % 131 == g) rt::bias_to(rt::self(), c.core()->word);
          }
        });
      senders.wait();
      c.close();
      receivers.wait();
    });
    over.store(true, relaxed);
    meddler.join();
    EXPECT_EQ(sum.load(), 3L * each * (each + 1) / 2) << "capacity " << capacity;
  }
}

// Until `n` is at least `wanted`; without the runtime, which might take a word that has been moved out of a store buffer.
void wait_for(const std::atomic<int>& n, int wanted) {
  for (int spins = 0; n.load() < wanted;)
    if (++spins % 1'000 == 0) std::this_thread::yield();
}

// SETTLED: two Ps, each with a channel of its own, a plain store away from the other's eyes. Each puts a value into its own and tries to take the other's.
// (Without the look at whose bias it is: 50 to 120 of 20,000 rounds in which neither found any.)
TEST(biased_stress, one_of_two_finds_the_others_value) {
  announce_seed();
  const int rounds = scaled(20'000);
  std::atomic<int> near{0};
  std::atomic<int> ready{0};
  std::atomic<int> done{0};
  std::array<bool, 2> saw{};
  int neither = 0;
  const std::array<chan<int>, 2> c{make_chan<int>(4), make_chan<int>(4)};
  const auto body = [&](std::size_t me) {
    const auto& mine = c[me];
    const auto& others = c[1 - me];
    for (int r = 1; r <= rounds; ++r) {
      rt::bias_to(rt::self(), mine.core()->word);
      near.fetch_add(1);
      wait_for(near, 2 * r);
      (void)others
          .len();  // each has both words in its cache: so the move has to wait in the store buffer, and the look does not
      ready.fetch_add(1);
      wait_for(ready, 2 * r);
      mine.send(r);
      saw[me] = others.try_recv().has_value();
      done.fetch_add(1);
      wait_for(done, 2 * r);
      if (me == 0 && !saw[0] && !saw[1]) ++neither;
      if (!saw[1 - me]) mine.recv();
    }
  };
  run({.procs = 2}, [&] {
    for (std::size_t i : {0U, 1U}) go({.home = static_cast<int>(i)}, [&, i] { body(i); });
  });
  EXPECT_EQ(neither, 0);
}

}  // namespace
}  // namespace weft
