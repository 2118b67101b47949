// SPDX-License-Identifier: MIT
//
// Go's own channel tests (runtime/chan_test.go, test/chan/*.go), restated. Those that need select: select_*_test.cc.
#include "runtime/chan/chan.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/channels.h"
#include "tests/support/world.h"

namespace weft {
namespace {

using weft_test::await_waiters;
using weft_test::capacities;
using weft_test::eventually;

WEFT_ON_PROCS(chan_semantics);

// Go's runtime/chan_test.go ---------------------------------------------------------------------------------------------

TEST_P(chan_semantics, go_TestChan) {
  run([] {
    constexpr int n = 200;
    for (const std::size_t capacity : capacities) {
      {  // receive from an empty channel blocks
        auto c = make_chan<int>(capacity);
        auto first = std::make_shared<std::atomic<bool>>(false);
        auto second = std::make_shared<std::atomic<bool>>(false);
        wait_group both;
        both.go([=] {
          (void)c.recv();
          *first = true;
        });
        both.go([=] {
          (void)c.recv();
          *second = true;
        });
        await_waiters(c, 2);
        EXPECT_FALSE(*first || *second);
        EXPECT_TRUE(c.try_send(0));
        EXPECT_TRUE(c.try_send(0));
        both.wait();
      }
      {  // send to a full channel blocks
        auto c = make_chan<int>(capacity);
        for (std::size_t i = 0; i < capacity; ++i) c.send(static_cast<int>(i));
        auto sent = std::make_shared<std::atomic<bool>>(false);
        wait_group done;
        done.go([=] {
          c.send(0);
          *sent = true;
        });
        await_waiters(c, 1);
        EXPECT_FALSE(*sent);
        EXPECT_TRUE(c.try_recv().has_value());
        done.wait();
        EXPECT_TRUE(*sent);
      }
      {  // after close: what is left, then nothing
        auto c = make_chan<int>(capacity);
        for (std::size_t i = 0; i < capacity; ++i) c.send(static_cast<int>(i));
        c.close();
        for (std::size_t i = 0; i < capacity; ++i) EXPECT_EQ(c.recv(), static_cast<int>(i));
        EXPECT_EQ(c.recv(), std::nullopt);
      }
      {  // close unblocks a receiver
        auto c = make_chan<int>(capacity);
        auto done = make_chan<bool>();
        go([=] { done.send(c.recv() == std::nullopt); });
        await_waiters(c, 1);
        c.close();
        EXPECT_EQ(done.recv(), true);
      }
      {  // n values, in order
        auto c = make_chan<int>(capacity);
        go([=] {
          for (int i = 0; i < n; ++i) c.send(i);
        });
        for (int i = 0; i < n; ++i) ASSERT_EQ(c.recv(), i);
      }
      {  // four senders, four receivers: every value L times, and each receiver sees each sender's in order
        constexpr int senders = 4;
        auto c = make_chan<int>(capacity);
        auto done = make_chan<std::vector<int>>();
        for (int p = 0; p < senders; ++p)
          go([=] {
            for (int i = 0; i < n; ++i) c.send(i);
          });
        for (int p = 0; p < senders; ++p)
          go([=] {
            std::vector<int> got(n);
            for (int i = 0; i < n; ++i) ++got[static_cast<std::size_t>(c.recv().value())];
            done.send(std::move(got));
          });
        std::vector<int> total(n);
        for (int p = 0; p < senders; ++p) {
          const auto got = done.recv().value();
          for (std::size_t i = 0; i < n; ++i) total[i] += got[i];
        }
        for (const int t : total) EXPECT_EQ(t, senders);
      }
      {  // len and cap
        auto c = make_chan<int>(capacity * 2);
        EXPECT_EQ(c.len(), 0u);
        EXPECT_EQ(c.cap(), capacity * 2);
        for (std::size_t i = 0; i < capacity; ++i) c.send(static_cast<int>(i));
        EXPECT_EQ(c.len(), capacity);
      }
    }
  });
}

TEST_P(chan_semantics, go_TestNonblockRecvRace) {
  // A value is there all the time until it is taken: a try_recv beside close and recv finds it, or "closed", never "empty".
  run([] {
    for (int i = 0; i < weft_test::scaled(2'000); ++i) {
      auto c = make_chan<int>(1);
      c.send(1);
      wait_group g;
      g.go([c] { EXPECT_FALSE(c.try_recv().is_empty()); });
      c.close();
      (void)c.recv();
      g.wait();
    }
  });
}

TEST_P(chan_semantics, go_TestMultiConsumer) {
  run([] {
    constexpr int workers = 23;
    constexpr int primes[] = {2, 3, 7, 11, 13, 17, 19, 23, 27, 31};
    const int n = weft_test::scaled(27'180);
    auto q = make_chan<int>(workers * 3);
    auto r = make_chan<int>(workers * 3);
    wait_group wg;
    for (int i = 0; i < workers; ++i)
      wg.go([=, w = i] {
        for (int v : q) {
          if (primes[static_cast<std::size_t>(w) % std::size(primes)] == v) yield();  // mess with the fifo-ish nature
          r.send(v);
        }
      });
    auto expect = std::make_shared<std::atomic<long long>>(0);
    wait_group feeder;
    feeder.go([=, &wg] {
      for (int i = 0; i < n; ++i) {
        const int v = primes[static_cast<std::size_t>(i) % std::size(primes)];
        *expect += v;
        q.send(v);
      }
      q.close();
      wg.wait();
      r.close();
    });
    long long sum = 0;
    int count = 0;
    for (int v : r) {
      ++count;
      sum += v;
    }
    feeder.wait();
    EXPECT_EQ(count, n);
    EXPECT_EQ(sum, *expect);
  });
}

TEST_P(chan_semantics, go_TestChanSendBarrier) {
  // A value's contents are there when it is received, straight or through the buffer.
  run([] {
    auto c = make_chan<std::unique_ptr<std::string>>(2);
    wait_group all;
    for (int g = 0; g < 8; ++g)
      all.go([c] {
        for (int i = 0; i < 300; ++i) {
          c.send(std::make_unique<std::string>("hello " + std::to_string(i)));
          EXPECT_EQ((**c.recv()).substr(0, 6), "hello ");
        }
      });
    all.wait();
  });
}

// Go's test/chan/ -------------------------------------------------------------------------------------------------------

TEST_P(chan_semantics, go_fifo) {
  run([] {
    auto c = make_chan<int>(10);  // AsynchFifo
    for (int i = 0; i < 10; ++i) c.send(i);
    for (int i = 0; i < 10; ++i) EXPECT_EQ(c.recv(), i);
    // SynchFifo: a chain in which each waits for the one before it.
    auto ch = make_chan<int>();
    chan<int> in = make_chan<int>();
    const chan<int> start = in;
    for (int i = 0; i < 10; ++i) {
      auto out = make_chan<int>();
      go([ch, i, in, out] {
        (void)in.recv();
        EXPECT_EQ(ch.recv(), i);
        out.send(1);
      });
      in = out;
    }
    start.send(0);
    for (int i = 0; i < 10; ++i) ch.send(i);
    (void)in.recv();
  });
}

TEST_P(chan_semantics, go_goroutines) {
  // A daisy chain of 10,000.
  run([] {
    const int n = weft_test::scaled(10'000);
    const auto leftmost = make_chan<int>();
    auto right = leftmost;
    auto left = leftmost;
    for (int i = 0; i < n; ++i) {
      right = make_chan<int>();
      go([left, right] { left.send(right.recv().value() + 1); });
      left = right;
    }
    go([right] { right.send(0); });
    EXPECT_EQ(leftmost.recv(), n);
  });
}

TEST_P(chan_semantics, go_nonblock) {
  run([] {
    for (const std::size_t capacity : {0u, 10u}) {
      auto c = make_chan<std::string>(capacity);
      EXPECT_TRUE(c.try_recv().is_empty());
      auto sync = make_chan<bool>();
      go([=] {
        c.send("hello");
        sync.send(true);
      });
      EXPECT_TRUE(eventually([&] {
        auto v = c.try_recv();
        if (v) {
          EXPECT_EQ(*v, "hello");
        }
        return v.has_value();
      }));
      (void)sync.recv();
      EXPECT_TRUE(c.try_recv().is_empty());
      go([=] {
        EXPECT_EQ(c.recv(), "world");
        sync.send(true);
      });
      if (capacity == 0) await_waiters(c, 1);
      EXPECT_TRUE(c.try_send("world"));
      (void)sync.recv();
      if (capacity != 0) {
        for (std::size_t i = 0; i < capacity; ++i) EXPECT_TRUE(c.try_send("x"));
      }
      EXPECT_FALSE(c.try_send("x"));
    }
  });
}

TEST_P(chan_semantics, go_sieve) {
  run([] {
    auto numbers = make_chan<int>();
    go([numbers] {
      try {
        for (int i = 2;; ++i) numbers.send(i);
      } catch (const closed_channel&) {
      }
    });
    std::vector<int> primes;
    std::vector<chan<int>> stages{numbers};
    for (int i = 0; i < 60; ++i) {
      auto in = stages.back();
      const int prime = in.recv().value();
      primes.push_back(prime);
      auto out = make_chan<int>();
      go([=] {
        try {
          for (int v : in)
            if (v % prime != 0) out.send(v);
        } catch (const closed_channel&) {
        }
      });
      stages.push_back(out);
    }
    EXPECT_EQ(primes.back(), 281);
    for (auto& s : stages) s.close();
  });
}

TEST_P(chan_semantics, go_zerosize) {
  struct empty {};
  run([] {
    (void)make_chan<empty>();
    auto c = make_chan<empty>(1);
    c.send({});
    EXPECT_TRUE(c.recv().has_value());
  });
}

}  // namespace
}  // namespace weft
