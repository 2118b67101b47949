// SPDX-License-Identifier: MIT
//
// Cold stacks, packed: sched/pack.h, and os/pager.h below it. Where userfaultfd cannot be had, each test sees that this is said.

#include "runtime/sched/pack.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <numeric>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "runtime/os/mem.h"
#include "runtime/sched/world.h"
#include "runtime/weft/weft.h"
#include "tests/support/scale.h"

namespace weft {
namespace {

using namespace std::chrono_literals;

bool offered() {
  try {
    const os::page_faults probe;
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

// Runs f with cold stacks packed. Where that cannot be had: sees that run says so, and does not run it.
template <class F>
void run_packing(int procs, std::chrono::milliseconds after, F f) {
  const options o{.procs = procs, .pack_after = after};
  if (offered()) return run(o, f);
  try {
    run(o, [] { FAIL() << "run did not throw"; });
    FAIL() << "run did not throw";
  } catch (const std::system_error& e) {
    EXPECT_NE(std::string(e.what()).find("userfaultfd"), std::string::npos) << e.what();
  }
}

rt::pack_stats packed() { return rt::self()->s->packer->stats(); }

// Until n pages are packed.
void until_packed(std::size_t n) {
  for (int i = 0; i < 60'000 && packed().pages < n; ++i) sleep_for(1ms);
  ASSERT_GE(packed().pages, n);
}

// What a goroutine has on its stack, and can tell whether it still is.
struct pattern {
  std::array<std::uint32_t, 32> words;

  explicit pattern(std::uint32_t seed) { std::iota(words.begin(), words.end(), seed * 1000); }
  bool whole(std::uint32_t seed) const {
    for (std::uint32_t i = 0; i < words.size(); ++i)
      if (words[i] != seed * 1000 + i) return false;
    return true;
  }
};

TEST(pack, a_parked_goroutine_costs_less_than_a_kib_and_goes_on_as_if_nothing_had_been) {
  for (const int procs : {1, 2, 4})
    run_packing(procs, 2ms, [] {
      constexpr std::uint32_t n = 500;
      const auto gate = make_chan<std::uint32_t>();
      std::atomic<std::uint32_t> right{0};
      wait_group all;
      for (std::uint32_t i = 0; i < n; ++i)
        all.go([&, i] {
          pattern mine(i);
          const std::uint32_t got = gate.recv().value_or(0);
          if (mine.whole(i) && got != 0) right.fetch_add(1, std::memory_order_relaxed);
        });
      until_packed(n);
      const rt::pack_stats now = packed();
      EXPECT_LT(now.bytes / now.pages, WEFT_ASAN || WEFT_TSAN ? 2048U : 1024U);
      for (std::uint32_t i = 0; i < n; ++i) gate.send(i + 1);
      all.wait();
      EXPECT_EQ(right.load(), n);
    });
}

// Goroutines that rest now longer, now shorter than it takes to be packed, and change what is on their stacks in between.
TEST(pack, what_changes_meanwhile_is_not_lost) {
  for (const int procs : {1, 4})
    run_packing(procs, 1ms, [] {
      const auto rounds = static_cast<std::uint32_t>(weft_test::scaled(40));
      std::atomic<std::uint32_t> wrong{0};
      wait_group all;
      for (std::uint32_t i = 0; i < 64; ++i)
        all.go([&wrong, i, rounds] {
          for (std::uint32_t r = 0; r < rounds; ++r) {
            pattern mine(i * rounds + r);
            sleep_for(std::chrono::microseconds(i * 131 % 5'000));
            if (!mine.whole(i * rounds + r)) wrong.fetch_add(1, std::memory_order_relaxed);
          }
        });
      all.wait();
      EXPECT_EQ(wrong.load(), 0U);
    });
}

// The page of a thread that waits in the kernel is packed as well, and what the kernel then writes is there.
TEST(pack, the_kernel_writes_to_a_packed_stack) {
  run_packing(2, 1ms, [] {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    std::thread later([fd = ends[1]] {
      std::this_thread::sleep_for(100ms);
      EXPECT_EQ(::write(fd, "weft", 4), 4);
    });
    wait_group one;
    one.go([fd = ends[0]] {
      pattern mine(7);
      char text[5] = {};
      EXPECT_EQ(::read(fd, text, 4), 4);
      EXPECT_STREQ(text, "weft");
      EXPECT_TRUE(mine.whole(7));
    });
    one.wait();
    later.join();
    ::close(ends[0]);
    ::close(ends[1]);
  });
}

TEST(pack, an_ordinary_thread_wakes_who_is_packed) {
  run_packing(1, 1ms, [] {
    constexpr int n = 100;
    const auto values = make_chan<int>();
    int sum = 0;
    wait_group all;
    for (int i = 0; i < n; ++i) all.go([&] { sum += values.recv().value_or(0); });
    until_packed(n);
    std::thread sender([&values] {
      for (int i = 0; i < n; ++i) values.send(i);
    });
    all.wait();
    sender.join();
    EXPECT_EQ(sum, n * (n - 1) / 2);
  });
}

// Two pages down: what lies there stays as it is.
WEFT_NOINLINE bool wait_deep(const recv_chan<int>& c, int pages) {
  std::array<char, 4096> room{};
  char* const at = room.data();
  asm volatile("" : : "r"(at) : "memory");  // it is there, whatever the compiler knows of it
  at[17] = at[4000] = static_cast<char>(pages + 1);
  const bool fine = pages == 0 ? !c.recv() : wait_deep(c, pages - 1);
  return fine && at[17] == pages + 1 && at[4000] == pages + 1;
}
// `each` of n, and a few that only wait, until those and `of_them` are packed; then the gate is closed.
void all_right(std::size_t n, std::size_t of_them, bool (*each)(const recv_chan<int>& gate)) {
  run_packing(2, 1ms, [=] {
    constexpr std::size_t others = 5;
    const auto gate = make_chan<int>();
    std::atomic<std::size_t> right{0};
    wait_group all;
    for (std::size_t i = 0; i < n; ++i)
      all.go([&] {
        if (each(gate)) right.fetch_add(1, std::memory_order_relaxed);
      });
    for (std::size_t i = 0; i < others; ++i) all.go([&] { (void)gate.recv(); });
    until_packed(of_them + others);
    gate.close();
    all.wait();
    EXPECT_EQ(right.load(), n);
  });
}
TEST(pack, who_waits_deep_in_its_stack) {
  all_right(20, 20, [](const recv_chan<int>& gate) { return wait_deep(gate, 3); });
}

// A page that is full of what is not zero is not worth it, and stays; so it is asked about less often.
WEFT_NOINLINE bool wait_beside_a_full_page(const recv_chan<int>& c) {
  std::array<char, 8192> room;
  std::memset(room.data(), 'x', room.size());
  char* const at = room.data();
  asm volatile("" : : "r"(at) : "memory");
  const bool closed = !c.recv();
  return closed && std::count(at, at + room.size(), 'x') == 8192;
}
TEST(pack, a_page_that_is_full_stays) { all_right(20, 0, wait_beside_a_full_page); }

// More than two batches of neighbours; then the stacks go back, are trimmed, and come again.
TEST(pack, stacks_that_were_packed_are_used_again) {
  run_packing(2, 1ms, [] {
    for (int round = 0; round < 3; ++round) {
      constexpr std::size_t n = 3'000;
      const auto gate = make_chan<int>();
      std::atomic<std::size_t> right{0};
      wait_group all;
      for (std::size_t i = 0; i < n; ++i)
        all.go([&, i] {
          pattern mine(static_cast<std::uint32_t>(i));
          if (!gate.recv() && mine.whole(static_cast<std::uint32_t>(i))) right.fetch_add(1, std::memory_order_relaxed);
        });
      until_packed(n);
      gate.close();
      all.wait();
      EXPECT_EQ(right.load(), n);
      sleep_for(250ms);  // two trims, about
    }
  });
}

TEST(pack, several_runs_at_once) {
  std::vector<std::thread> runs;
  for (int r = 0; r < 3; ++r)
    runs.emplace_back([] {
      run_packing(2, 1ms, [] {
        const auto gate = make_chan<int>();
        wait_group all;
        for (int i = 0; i < 50; ++i) all.go([gate] { (void)gate.recv(); });
        until_packed(50);
        gate.close();
        all.wait();
      });
    });
  for (std::thread& t : runs) t.join();
}

TEST(pack, a_time_out_of_range_is_refused) {
  for (const auto after : {-1ms, 3'600'001ms})
    EXPECT_THROW(run({.procs = 1, .pack_after = after}, [] {}), std::invalid_argument);
}

// What os/pager.h promises, by one page and a thread that touches it.
TEST(page_faults, absent_and_protected_pages_are_told) {
  if (!offered()) {
    EXPECT_THROW(os::page_faults(), std::system_error);
    return;
  }
  os::page_faults faults;
  const std::size_t size = os::page_size();
  auto* const page = static_cast<volatile char*>(os::reserve(size, size));
  void* const at = const_cast<char*>(page);
  faults.watch(at, size);
  unsigned char there = 0;
  ASSERT_TRUE(os::page_faults::present(at, 1, &there));
  EXPECT_EQ(there & 1, 0);
  std::vector<char> content(size, 'a');
  os::page_fault told[4];
  {
    char seen = 0;
    std::thread reader([&] { seen = page[5]; });
    ASSERT_EQ(faults.wait(told, 4), 1U);
    EXPECT_EQ(told[0].page, at);
    EXPECT_FALSE(told[0].written);
    faults.place(at, content.data());
    reader.join();
    EXPECT_EQ(seen, 'a');
  }
  ASSERT_TRUE(os::page_faults::present(at, 1, &there));
  EXPECT_EQ(there & 1, 1);
  ASSERT_TRUE(faults.protect(at, 1));
  EXPECT_EQ(page[6], 'a');  // reading is nobody's affair
  {
    std::thread writer([&] { page[6] = 'b'; });
    ASSERT_EQ(faults.wait(told, 4), 1U);
    EXPECT_EQ(told[0].page, at);
    EXPECT_TRUE(told[0].written);
    std::vector<char> now(size);
    ASSERT_TRUE(faults.read(at, now.data()));
    EXPECT_EQ(now[6], 'a');
    faults.unprotect(at);
    writer.join();
  }
  EXPECT_EQ(page[6], 'b');
  std::vector<char> other(size, 'c');
  faults.place(at, other.data());  // there already
  EXPECT_EQ(page[7], 'a');
  faults.interrupt();
  EXPECT_EQ(faults.wait(told, 4), 0U);
  os::release(at, size);
}

}  // namespace
}  // namespace weft
