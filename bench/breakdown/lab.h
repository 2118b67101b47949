// SPDX-License-Identifier: MIT
#pragma once

// The laboratory: a ping-pong's switch, put together from the runtime's own inline functions, piece by piece.
//
// There is no runtime round it. One M, one P, two Gs and two channels lie on this thread, and the loop does to them what a goroutine of
// the ping-pong does between two switches: a send that finds a receiver, then a receive that parks.
//
//   part                     what it is made of                                                            left out
//   channel synchronisation  self; load and check of the word, stamp; the value handed over; the outcome   the words and the waiter are known
//   save                     leave_thread; pc, sp, fp into the context; half of the spills                 the context is what it was
//   scheduler decision       ready, put_runnext, cooperate; budget, take_runnext                           the waiter goes on
//   restore                  enter_thread; fp and sp from the context; half of the spills                  they are what they were
//   barriers                 what keeps the two moves of a word whole: a restartable section each          load, compare and store
//                            (sched/biased.h), a locked compare-and-swap where the kernel has none
//   resume                   load of pc, indirect jump                                                     a direct jump
//
// Without channel synchronisation and barriers both, the words are not touched at all.
//
// Each part can be left out whatever else is, so there are 2^6 variants. For that one loop on one stack plays both goroutines
// (half_switch.h says how). With two stacks, as in life, parts are doubled.
//
// Budget: the shipped path leaves for the scheduler's slow half when it is spent; here it is filled up on the spot. That, and whatever else
// is different, shows as the difference between these variants and the shipped path, and is reported.

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace bench::breakdown {

inline constexpr std::size_t parts = 6;
inline constexpr std::array<std::string_view, parts> part_names = {
    "channel synchronisation", "save", "scheduler decision", "restore", "barriers", "resume"};
enum part { channel, save, decision, restore, barriers, resume };

/// How often each part stands in the path: 0, 1 or 2 times, by part.
struct variant {
  std::array<int, parts> times;
  bool two_stacks;

  /// "111111", with "+" behind it for two stacks.
  std::string name() const;
};

/// All variants there are: the 64 of one stack, in the order of their bits (part k is bit k), then those of two stacks.
const std::vector<variant>& variants();
constexpr std::size_t one_stack(unsigned bits) { return bits; }
constexpr std::size_t all_of_one_stack = (1U << parts) - 1;
/// Two stacks: all parts once; part k twice.
constexpr std::size_t all_of_two_stacks = 1U << parts;
constexpr std::size_t doubled_on_two_stacks(std::size_t k) { return all_of_two_stacks + 1 + k; }

struct workbench;

class lab {
 public:
  lab();
  ~lab();
  lab(const lab&) = delete;
  lab& operator=(const lab&) = delete;

  /// ns per switch, over so many. Throws when the variant did not do its work.
  double run(std::size_t which, std::int64_t switches);
  /// The same without a clock, for who counts instructions.
  void run_untimed(std::size_t which, std::int64_t switches);

 private:
  std::unique_ptr<workbench> b_;
};

/// Why this build has no inlined switch to take apart; empty when it has one.
std::string why_no_lab();

}  // namespace bench::breakdown
