// SPDX-License-Identifier: MIT
//
// Is a theft from a P's deque worth it? What thieves have learned about that, kept with the P that they rob.
//
// A goroutine that its P would have run within 50 ns costs the thief several cache lines, and that P as many when it uses the stacks again. A part of a
// tree, or anything that takes a few times what such lines cost, is worth it at once. What they cost differs by ten from machine to machine,
// and from hour to hour on one; the theft itself moves some, so it tells.
//
// Thieves begin with limits::theft_first at once. Was it worth it, the next may take twice as many; if not, a quarter, and not at once: the P is barred,
// twice as long each time. While in doubt they come one at a time. (A storm of starts at P = 2, a goroutine: 172 ns where a line takes 250 ns from
// core to core, so 35; one P alone 26.)
//
// relaxed, all: hints, read and written by whoever comes; whose write is lost learns it again. By the P and not by the thief, as it is about what that
// P starts: with many Ps each thief had to learn it for itself. Nobody relies on a bar: sysmon promises that nothing waits beside an idle P for
// more than 100 us, which limits::stay_away_max_ns keeps below.

#pragma once

#include <algorithm>
#include <cstdint>

#include "../os/atomic.h"
#include "../os/clock.h"
#include "../os/limits.h"

namespace weft::rt {

/// Thieves are to stay away for a while.
class theft_bar {
 public:
  /// The last theft was not worth it: who has work there calls nobody for it.
  bool in_doubt() const { return away_ns_.load(relaxed) != 0; }

  /// In doubt, and it is not the time for another. Mostly without a look at the clock.
  bool barred() const { return not_before_ns_.load(relaxed) != 0 && barred_at(os::now_ns()); }
  bool barred_at(std::int64_t now) const { return now < not_before_ns_.load(relaxed); }

  /// The bar is a short one: worth waiting for.
  bool briefly() const { return away_ns_.load(relaxed) <= limits::bar_patience_ns; }

  /// A theft took place.
  void taken(std::int64_t now) {
    if (const std::int64_t away = away_ns_.load(relaxed); away != 0) not_before_ns_.store(now + away, relaxed);
  }

  /// It was not worth it: the next not before twice as long as the last time, between `first` and `most`.
  void extend(std::int64_t now, std::int64_t first, std::int64_t most) {
    const std::int64_t away = std::clamp(2 * away_ns_.load(relaxed), first, most);
    away_ns_.store(away, relaxed);
    not_before_ns_.store(now + away, relaxed);
  }

  /// The next one may come at once; the doubt stays.
  void open() { not_before_ns_.store(0, relaxed); }

  /// It was worth it.
  void lift() {
    away_ns_.store(0, relaxed);
    open();
  }

 private:
  atomic<std::int64_t> away_ns_{0};        // so long it is left alone after a theft that was not worth it
  atomic<std::int64_t> not_before_ns_{0};  // until then; zero: it is not
};

class alignas(64) theft_account : public theft_bar {
 public:
  /// So many at once, at most.
  std::uint32_t most() const { return most_.load(relaxed); }

  /// Thefts have been worth it, more often than not.
  bool proven() const { return most() > limits::theft_first; }

  /// What was taken, n goroutines by a theft of `theft_ns`, kept the thief busy for `ran_ns` before it looked for more.
  void judge(std::uint32_t n, std::int64_t theft_ns, std::int64_t ran_ns, std::int64_t now) {
    const std::uint32_t most = most_.load(relaxed);
    if (ran_ns >= std::max(n * limits::steal_worth_ns, limits::steal_worth_thefts * theft_ns)) {
      lift();
      most_.store(std::min(2 * most, limits::deque_capacity / 2), relaxed);
    } else {
      extend(now, limits::stay_away_first_ns, limits::stay_away_max_ns);
      most_.store(std::max(most / 4, 1U), relaxed);
    }
  }

 private:
  atomic<std::uint32_t> most_{limits::theft_first};
};

}  // namespace weft::rt
