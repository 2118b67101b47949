// SPDX-License-Identifier: MIT
//
// The sampler of bench_hierarchy with rows that misbehave: each costs its own row, says why, and leaves nothing behind.

#include "bench/hierarchy/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bench/hierarchy/child.h"
#include "bench/hierarchy/os.h"
#include "bench/hierarchy/row.h"

namespace bench::hierarchy {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::SizeIs;

using std::chrono::milliseconds;

class scripted final : public experiment {
 public:
  explicit scripted(std::function<double(std::int64_t)> body) : body_(std::move(body)) {}
  double run(std::int64_t n) override { return body_(n); }
  void warm_up(std::int64_t) override {}

 private:
  std::function<double(std::int64_t)> body_;
};

row row_that(std::string name, const std::function<double(std::int64_t)>& body) {
  return {std::move(name), "a method", "an isolation", one_by_one,
          [body](const setup&) { return std::make_unique<scripted>(body); }};
}

row row_made_by(std::string name, std::function<std::unique_ptr<experiment>(const setup&)> make) {
  return {std::move(name), "a method", "an isolation", one_by_one, std::move(make)};
}

row good() {
  return row_that("good", [](std::int64_t) { return 7.0; });
}

constexpr plan three_rounds{.turn = milliseconds(1),
                            .rounds = 3,
                            .measuring = std::chrono::hours(1),
                            .latest = std::chrono::steady_clock::time_point::max(),
                            .patience = std::chrono::minutes(1)};

sampling sample(const std::vector<row>& rows, const plan& p = three_rounds) {
  sampling s = take_samples(rows, {}, p);
  // Neither a worker nor what one has made.
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
  return s;
}

// At once where the kernel gives us orphans, as it is asked to; qemu does not pass that on, and there somebody else reaps.
bool gone(int pid) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (std::chrono::steady_clock::now() < end) {
    const std::string stat = read_file("/proc/" + std::to_string(pid) + "/stat");
    if (stat.empty() || stat.find(") Z ") != std::string::npos) return true;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return false;
}

// Between rows that must not notice.
outcome between_good_ones(const row& r, const plan& p = three_rounds) {
  const std::vector<row> rows{good(), r, good()};
  sampling s = sample(rows, p);
  for (const std::size_t k : {std::size_t{0}, std::size_t{2}}) {
    EXPECT_TRUE(s.outcomes[k].measured()) << s.outcomes[k].missing;
    EXPECT_THAT(s.outcomes[k].samples, AllOf(SizeIs(Gt(2U)), Each(7.0)));
  }
  outcome o = std::move(s.outcomes[1]);
  o.of = nullptr;  // it was in `rows`
  return o;
}

TEST(hierarchy_sampler, quantiles_are_nearest_ranks) {
  std::vector<double> hundred;
  for (int i = 1; i <= 100; ++i) hundred.push_back(i);
  EXPECT_EQ(quantile(hundred, 0.5), 50);
  EXPECT_EQ(quantile(hundred, 0.99), 99);
  EXPECT_EQ(quantile({1, 2, 3}, 0.5), 2);
  EXPECT_EQ(quantile({1, 2, 3}, 0.99), 3);
  EXPECT_EQ(quantile({5}, 0.5), 5);
  EXPECT_EQ(quantile({5}, 0), 5);
}

TEST(hierarchy_sampler, the_medians_interval_is_of_order_statistics) {
  std::vector<double> turns{5};
  EXPECT_EQ(median_interval(turns).low, 5);
  EXPECT_EQ(median_interval(turns).half_width(), 0);
  turns = {4, 1, 5, 2, 3};
  EXPECT_EQ(median_interval(turns).low, 1) << "five turns have no narrower one";
  EXPECT_EQ(median_interval(turns).high, 5);
  turns.clear();
  for (int i = 100; i >= 1; --i) turns.push_back(i);
  EXPECT_EQ(median_interval(turns).low, 40);  // the 40th and the 61st of 100: binomial tables' 96 %
  EXPECT_EQ(median_interval(turns).high, 61);
  EXPECT_DOUBLE_EQ(median_interval({90, 110}).half_width(), 0.1);
}

TEST(hierarchy_sampler, who_is_steady_sits_out_for_who_is_not) {
  auto calls = std::make_shared<int>(0);
  const row restless = row_that("restless", [calls](std::int64_t) { return ++*calls % 2 == 0 ? 10.0 : 20.0; });
  plan p = three_rounds;
  p.turn = milliseconds(0);  // one sample a turn
  p.rounds = 39;
  const sampling s = sample({good(), restless}, p);
  EXPECT_EQ(s.outcomes[0].turns.size(), 15 + 6U);  // rounds 1 to 15, then 16, 20, ... 36
  EXPECT_EQ(s.outcomes[1].turns.size(), 39U);
  EXPECT_EQ(s.rounds, 39);
}

TEST(hierarchy_sampler, samples_come_sorted_with_what_was_found) {
  class found final : public experiment {
   public:
    found() {
      detail = "a detail";
      isolation = "less";
    }
    double run(std::int64_t) override { return turn_ = turn_ % 3 + 1; }

   private:
    int turn_ = 0;
  };
  const std::vector<row> rows{row_made_by("found", [](const setup&) { return std::make_unique<found>(); })};
  const sampling s = sample(rows);
  const outcome& o = s.outcomes[0];
  ASSERT_TRUE(o.measured()) << o.missing;
  EXPECT_EQ(o.method, "a method (a detail)");
  EXPECT_EQ(o.isolation, "less");
  EXPECT_EQ(s.rounds, 3);
  EXPECT_EQ(o.min(), 1);
  EXPECT_EQ(o.median(), 2);
  EXPECT_EQ(o.p99(), 3);
}

TEST(hierarchy_sampler, all_rows_have_a_turn_before_any_has_the_next) {
  shared_memory shared(4096);
  auto* const order = static_cast<std::atomic<int>*>(shared.get());
  std::vector<row> rows;
  for (int k = 1; k <= 4; ++k) {
    rows.push_back(row_that("counts", [order, k](std::int64_t) {
      const int at = order[0].fetch_add(1) + 1;
      if (at < 1000) order[at].store(k);
      std::this_thread::sleep_for(milliseconds(2));  // longer than a turn: one sample in each
      return 1.0;
    }));
  }
  sample(rows);
  ASSERT_EQ(order[0].load(), 12);
  for (int round = 0; round < 3; ++round) {
    std::vector<int> seen;
    for (int i = 1; i <= 4; ++i) seen.push_back(order[4 * round + i].load());
    EXPECT_THAT(seen, ::testing::UnorderedElementsAre(1, 2, 3, 4)) << "round " << round;
  }
}

TEST(hierarchy_sampler, no_new_round_once_the_time_is_over) {
  plan p = three_rounds;
  p.measuring = milliseconds(0);
  EXPECT_EQ(sample({good()}, p).rounds, 1);
  p.measuring = std::chrono::hours(1);
  p.latest = std::chrono::steady_clock::now();
  EXPECT_EQ(sample({good()}, p).rounds, 1);
}

TEST(hierarchy_sampler, what_is_not_allowed_is_a_reason) {
  const outcome o = between_good_ones(row_made_by(
      "none", [](const setup&) -> std::unique_ptr<experiment> { throw unavailable("no such thing here"); }));
  EXPECT_EQ(o.missing, "no such thing here");
}

TEST(hierarchy_sampler, a_failure_while_preparing_ends_its_row_only) {
  const outcome o = between_good_ones(
      row_made_by("bad", [](const setup&) -> std::unique_ptr<experiment> { throw std::runtime_error("broken"); }));
  EXPECT_EQ(o.missing, "failed while preparing: broken");
}

TEST(hierarchy_sampler, a_failure_in_a_later_round_is_no_figure) {
  const outcome o = between_good_ones(row_that("bad", [turns = 0](std::int64_t) mutable {
    if (++turns == 2) throw std::runtime_error("broken");
    std::this_thread::sleep_for(milliseconds(2));
    return 1.0;
  }));
  EXPECT_EQ(o.missing, "failed in round 2: broken");
}

TEST(hierarchy_sampler, a_sample_must_be_a_positive_number) {
  for (const double x : {0.0, -1.0, std::numeric_limits<double>::infinity(), std::nan("")}) {
    EXPECT_EQ(between_good_ones(row_that("bad", [x](std::int64_t) { return x; })).missing,
              "failed in round 1: a sample is no positive number");
  }
}

TEST(hierarchy_sampler, a_row_that_hangs_is_killed_with_all_it_has_made) {
  plan impatient = three_rounds;
  impatient.patience = milliseconds(300);
  shared_memory shared(4096);
  auto* const grandchild = static_cast<std::atomic<int>*>(shared.get());
  const auto hang = [grandchild]() -> double {
    const child c({}, [grandchild] {
      grandchild->store(getpid());
      for (;;) pause();
    });
    for (;;) pause();
  };
  EXPECT_EQ(between_good_ones(row_that("hangs", [hang](std::int64_t) { return hang(); }), impatient).missing,
            "failed in round 1: gave no answer in time, and was killed");
  ASSERT_GT(grandchild->load(), 0);
  EXPECT_TRUE(gone(grandchild->load()));

  const auto hanging = [hang](const setup&) -> std::unique_ptr<experiment> {
    hang();
    return nullptr;
  };
  grandchild->store(0);
  EXPECT_EQ(between_good_ones(row_made_by("hangs", hanging), impatient).missing,
            "failed while preparing: gave no answer in time, and was killed");
  ASSERT_GT(grandchild->load(), 0);
  EXPECT_TRUE(gone(grandchild->load()));
}

TEST(hierarchy_sampler, a_row_that_dies_says_of_what) {
  EXPECT_THAT(between_good_ones(row_that("dies",
                                         [](std::int64_t) -> double {
                                           signal(SIGTERM, SIG_DFL);
                                           raise(SIGTERM);
                                           return 1;
                                         }))
                  .missing,
              HasSubstr("its process died of signal 15"));
  EXPECT_THAT(between_good_ones(row_that("ends", [](std::int64_t) -> double { _exit(3); })).missing,
              HasSubstr("its process ended with status 3"));
}

TEST(hierarchy_sampler, pinning_reaches_nobody_else) {
  cpu_set_t before, after;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  sample({row_that("pins", [](std::int64_t) {
    pin_to(home_cpu());
    return 1.0;
  })});
  ASSERT_EQ(sched_getaffinity(0, sizeof after, &after), 0);
  EXPECT_TRUE(CPU_EQUAL(&before, &after));
}

TEST(hierarchy_child, says_why_it_did_not_begin) {
  EXPECT_THROW(
      {
        try {
          child c({.around = walls::none, .group = nullptr, .cpu = CPU_SETSIZE - 1}, [] {});
        } catch (const unavailable& e) {
          EXPECT_THAT(e.what(), HasSubstr("pinning to CPU"));
          throw;
        }
      },
      unavailable);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
}

TEST(hierarchy_child, ends_as_its_body_does) {
  child c({}, [] { _exit(5); });
  const int status = c.wait();
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 5);
}

TEST(hierarchy_programs, are_run_to_their_end_and_not_longer) {
  const program_output echoed = run_program({"sh", "-c", "echo $WORD; exit 4"}, "/", {{"WORD", "hello"}},
                                            std::chrono::minutes(1), offspring::some);
  EXPECT_EQ(echoed.text, "hello\n");
  EXPECT_FALSE(echoed.timed_out);
  EXPECT_EQ(WEXITSTATUS(echoed.status), 4);

  const auto begin = std::chrono::steady_clock::now();
  const program_output slow =
      run_program({"sh", "-c", "sleep 600 & sleep 600"}, "", {}, milliseconds(100), offspring::some);
  EXPECT_TRUE(slow.timed_out);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(300));

  const program_output none =
      run_program({"no-such-program-anywhere"}, "", {}, std::chrono::minutes(1), offspring::none);
  EXPECT_EQ(WEXITSTATUS(none.status), 127);
  EXPECT_THAT(none.text, HasSubstr("no-such-program-anywhere: No such file"));
}

}  // namespace
}  // namespace bench::hierarchy
