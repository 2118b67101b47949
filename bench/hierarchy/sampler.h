// SPDX-License-Identifier: MIT
#pragma once

// How samples are taken: a process per row, all rows in turn, many times over.
//
//   main process                    worker k (one per row)                       what it may have made
//   fork --------------------------> make the experiment, choose n --ready-->    threads, processes, guests, all idle
//   "a turn" ----------------------> warm up; batches of n until the turn's
//      waits, with a deadline          time is used up           --samples-->
//   next row, ... next round
//   kill the group -----------------> gone                                       gone
//
// - In turn. A machine that others share is fast now and slow a minute later. Each row gets many short turns, spread over
//   the whole run and in another order in each round, so what disturbs the machine for some seconds disturbs a small part of
//   the samples of every row, and not all of those of one.
// - Where it is needed. Once fifteen turns leave 5 % of doubt at most about a row's median (median_interval), it sits out three
//   rounds of four, and the others, some twelve of forty on a shared machine, get the time: three times as many turns.
// - A sample is one batch: n operations timed together, n found once so that a batch lasts as long as the row wants. The
//   first batch of a turn warms up and does not count. Minimum, median and p99 are those of a row's batches.
// - A process each. Affinity, namespaces, half a gigabyte of memory, a crash: none reaches another row. Between its turns a
//   worker sleeps in read(), and its threads and processes in a futex or a pipe.
// - Nothing outlives the run. A worker is killed with its process group when it does not answer in time (the watchdog), when
//   the run ends, and, since it has asked the kernel for that, when the main process dies; likewise what it has made. The
//   files and control groups are the janitor's (janitor.h).

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "os.h"
#include "row.h"

namespace bench::hierarchy {

struct plan {
  std::chrono::milliseconds turn;                // of a row in a round
  int rounds;                                    // at most
  std::chrono::milliseconds measuring;           // no new round once this has passed since the first began
  std::chrono::steady_clock::time_point latest;  // nor once this has come, however late the first began
  std::chrono::milliseconds patience;            // for an answer
};

/// Between these two lies the median of many more such runs of the machine as it was, with 95 % confidence: order statistics of the
/// medians of `turns`, which are independent of each other as the batches within one are not (Le Boudec, Performance Evaluation,
/// 2.2). With fewer than six turns nothing narrower than all of them can be said.
struct interval {
  double low, high;
  /// Half of it, as a share of what lies in the middle.
  double half_width() const { return (high - low) / (high + low); }
  /// Two such runs then mostly agree within 10 %.
  bool steady() const { return half_width() <= 0.05; }
};
interval median_interval(std::vector<double> turns);

/// Nearest rank: the least sample that is not below a share of them. `sorted` is, and holds at least one.
double quantile(const std::vector<double>& sorted, double share);

struct outcome {
  const row* of;
  std::string method;           // with what was found while preparing
  std::string isolation;        // likewise
  std::vector<double> samples;  // ns per operation, sorted
  std::vector<double> turns;    // the median of each turn, in the order they were taken
  std::string missing;          // why there are none; then the samples are not to be used

  bool measured() const { return missing.empty(); }
  double min() const { return samples.front(); }
  double median() const { return quantile(samples, 0.5); }
  double p99() const { return quantile(samples, 0.99); }
};

struct sampling {
  std::vector<outcome> outcomes;  // in the order of the rows
  int rounds = 0;                 // made
};

/// Measures all of them. Afterwards no process is left of it.
sampling take_samples(const std::vector<row>& all, const setup& s, const plan& p);

}  // namespace bench::hierarchy
