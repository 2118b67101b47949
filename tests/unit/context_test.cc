// SPDX-License-Identifier: MIT
//
// context: cancelling, deadlines, values, stop tokens; what is dropped leaks nothing.
#include "runtime/sync/context.h"

#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/world.h"

namespace weft {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

const std::error_code canceled = std::make_error_code(std::errc::operation_canceled);
const std::error_code timed_out = std::make_error_code(std::errc::timed_out);

// Lives in contexts, as a value.
struct counted {
  static inline std::atomic<int> alive{0};
  counted() { ++alive; }
  counted(const counted&) { ++alive; }
  ~counted() { --alive; }
};

WEFT_ON_PROCS(contexts);

TEST_P(contexts, a_value_that_cannot_be_copied_leaves_its_parent_alone) {
  run([] {
    struct stubborn {
      bool refuses = false;
      stubborn() = default;
      stubborn(const stubborn& o) : refuses(o.refuses) {
        if (refuses) throw std::runtime_error("no");
      }
    };
    auto alive = std::make_shared<int>();
    {
      auto parent = with_value(context::background(), 1, alive);
      stubborn v;
      v.refuses = true;
      EXPECT_THROW((void)with_value(parent, 2, v), std::runtime_error);
    }
    EXPECT_EQ(alive.use_count(), 1);
  });
}

TEST_P(contexts, background_is_never_done) {
  run([] {
    auto b = context::background();
    EXPECT_FALSE(b.done());
    EXPECT_FALSE(b.err());
    EXPECT_EQ(b.cause(), nullptr);
    EXPECT_FALSE(b.deadline());
    EXPECT_FALSE(b.stop_token().stop_possible());
    EXPECT_EQ(b.value<int>("no"), nullptr);
  });
}

TEST_P(contexts, cancel_closes_done_and_says_so) {
  run([] {
    auto [ctx, cancel] = with_cancel(context::background());
    EXPECT_TRUE(ctx.done().try_recv().is_empty());
    EXPECT_FALSE(ctx.err());
    wait_group woken;
    for (int i = 0; i < 10; ++i)
      woken.go([c = ctx] {
        select(on_recv(c.done()), on_recv(chan<int>()));
        EXPECT_EQ(c.err(), canceled);
      });
    yield();
    cancel();
    cancel();
    woken.wait();
    EXPECT_TRUE(ctx.done().try_recv().is_closed());
    EXPECT_THROW(std::rethrow_exception(ctx.cause()), std::system_error);
  });
}

TEST_P(contexts, cancelling_reaches_all_descendants_and_nobody_else) {
  run([] {
    auto [root, cancel_root] = with_cancel(context::background());
    auto [mid, cancel_mid] = with_cancel(with_value(root, 1, 2));
    auto [leaf, cancel_leaf] = with_timeout(mid, 1h);
    auto [other, cancel_other] = with_cancel(root);
    cancel_mid();
    EXPECT_EQ(mid.err(), canceled);
    EXPECT_EQ(leaf.err(), canceled);
    EXPECT_FALSE(root.err());
    EXPECT_FALSE(other.err());
    auto [late, cancel_late] = with_cancel(leaf);
    EXPECT_EQ(late.err(), canceled);
    cancel_root();
    EXPECT_EQ(other.err(), canceled);
  });
}

TEST_P(contexts, the_handle_cancels_when_it_goes_unless_released) {
  run([] {
    context kept;
    {
      auto [ctx, cancel] = with_cancel(context::background());
      kept = ctx;
    }
    EXPECT_EQ(kept.err(), canceled);
    {
      auto [ctx, cancel] = with_cancel(context::background());
      kept = ctx;
      cancel.release();
    }
    EXPECT_FALSE(kept.err());
  });
}

TEST_P(contexts, a_deadline_times_out_and_never_early) {
  run([] {
    auto start = clock::now();
    auto [ctx, cancel] = with_timeout(context::background(), 5ms);
    auto [child, cancel_child] = with_cancel(ctx);
    EXPECT_GE(*ctx.deadline(), start + 5ms);
    EXPECT_EQ(child.deadline(), ctx.deadline());
    EXPECT_FALSE(child.done().recv().has_value());
    EXPECT_GE(clock::now(), start + 5ms);
    EXPECT_EQ(child.err(), timed_out);
    EXPECT_EQ(ctx.err(), timed_out);
    auto [past, cancel_past] = with_deadline(context::background(), clock::now() - 1s);
    EXPECT_EQ(past.err(), timed_out);
    auto [longer, cancel_longer] = with_timeout(ctx, 1h);
    EXPECT_EQ(longer.deadline(), ctx.deadline());
  });
}

TEST_P(contexts, a_deadline_needs_a_goroutine_and_does_not_hold_up_run) {
  EXPECT_THROW((void)with_timeout(context::background(), 1s), std::logic_error);
  context kept;
  run([&] {
    auto [ctx, cancel] = with_timeout(context::background(), 1h);
    kept = ctx;
    cancel.release();
  });
  EXPECT_FALSE(kept.err());
}

TEST_P(contexts, a_cause_is_handed_down) {
  run([] {
    auto [ctx, cancel] = with_cancel_cause(context::background());
    auto [child, cancel_child] = with_cancel(ctx);
    EXPECT_EQ(child.cause(), nullptr);
    cancel(std::make_exception_ptr(std::runtime_error("because")));
    cancel(std::make_error_code(std::errc::io_error));
    EXPECT_EQ(child.err(), canceled);
    try {
      std::rethrow_exception(child.cause());
    } catch (const std::runtime_error& e) {
      EXPECT_STREQ(e.what(), "because");
    }
    auto [with_code, cancel_code] = with_cancel_cause(context::background());
    cancel_code(std::make_error_code(std::errc::io_error));
    try {
      std::rethrow_exception(with_code.cause());
    } catch (const std::system_error& e) {
      EXPECT_EQ(e.code(), std::errc::io_error);
    }
  });
}

TEST_P(contexts, values_are_found_by_key_and_type) {
  struct key {
    bool operator==(const key&) const = default;
  };
  run([] {
    auto a = with_value(context::background(), "user", std::string("ann"));
    auto b = with_value(a, key{}, 7);
    auto c = with_value(b, std::string("user"), std::string("bob"));
    EXPECT_EQ(*b.value<std::string>("user"), "ann");
    EXPECT_EQ(*c.value<std::string>("user"), "bob");
    EXPECT_EQ(*c.value<int>(key{}), 7);
    EXPECT_EQ(c.value<long>(key{}), nullptr);
    EXPECT_EQ(c.value<int>("none"), nullptr);
    EXPECT_FALSE(c.done());
  });
}

TEST_P(contexts, stop_tokens_go_both_ways) {
  run([] {
    std::stop_source source;
    { auto dropped = with_stop_token(context::background(), source.get_token()); }
    auto ctx = with_stop_token(context::background(), source.get_token());
    auto token = ctx.stop_token();
    EXPECT_FALSE(token.stop_requested());
    std::atomic<int> called{0};
    std::stop_callback count(token, [&] { ++called; });
    source.request_stop();
    EXPECT_EQ(ctx.err(), canceled);
    EXPECT_TRUE(token.stop_requested());
    EXPECT_EQ(called, 1);
    EXPECT_TRUE(ctx.stop_token().stop_requested());
    auto late = with_stop_token(context::background(), source.get_token());
    EXPECT_EQ(late.err(), canceled);
    EXPECT_TRUE(late.stop_token().stop_requested());
  });
}

TEST_P(contexts, nothing_leaks_when_children_are_dropped_or_cancelled) {
  run([] {
    auto [root, cancel] = with_cancel(context::background());
    for (int i = 0; i < 1000; ++i) {
      auto [a, cancel_a] = with_timeout(with_value(root, i, counted{}), std::chrono::microseconds(i));
      auto b = with_value(a, i, counted{});
      auto [c, cancel_c] = with_cancel(b);
      cancel_c.release();
      if (i % 3 == 0) cancel_a.release();
      if (i % 64 == 0) yield();
    }
  });
  EXPECT_EQ(counted::alive, 0);
}

TEST_P(contexts, a_long_chain_is_cancelled_and_freed_without_recursion) {
  run([] {
    auto [root, cancel] = with_cancel(context::background());
    context last = root;
    for (int i = 0; i < 20'000; ++i) {
      auto [next, c] = with_cancel(with_value(last, 0, counted{}));
      c.release();
      last = next;
    }
    cancel();
    EXPECT_EQ(last.err(), canceled);
  });
  EXPECT_EQ(counted::alive, 0);
}

TEST_P(contexts, deadlines_cancels_and_drops_race_without_harm) {
  run([] {
    for (int round = 0; round < 30; ++round) {
      auto [root, cancel] = with_timeout(context::background(), std::chrono::microseconds(round * 20));
      wait_group done;
      for (int i = 0; i < 16; ++i)
        done.go([r = root, i] {
          for (int k = 0; k < 10; ++k) {
            auto [ctx, c] = with_timeout(with_value(r, 1, counted{}), std::chrono::microseconds((i * k) % 100));
            auto [leaf, cancel_leaf] = with_cancel(ctx);
            cancel_leaf.release();
            if (i % 4 == 0) leaf.done().recv();
            if (i % 4 == 1) c.release();
            if (i % 4 == 2) yield();
          }
        });
      if (round % 2) cancel();
      done.wait();
    }
  });
  EXPECT_EQ(counted::alive, 0);
}

TEST_P(contexts, an_ordinary_thread_may_cancel_and_wait) {
  run([] {
    auto [ctx, cancel] = with_cancel(context::background());
    std::thread waiter([c = ctx] { c.done().recv(); });
    auto* handle = &cancel;
    std::thread canceller([handle] { (*handle)(); });
    ctx.done().recv();
    waiter.join();
    canceller.join();
    EXPECT_EQ(ctx.err(), canceled);
  });
}

}  // namespace
}  // namespace weft
