// SPDX-License-Identifier: MIT
//
// Sizes that decide how soon a structure wraps, fills or is looked at. They stand together because the simulated
// build shrinks them: a ring of 4 wraps within a model test of three steps, a ring of 256 never would.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weft::limits {

#if defined(WEFT_SIM)
inline constexpr bool simulated = true;
#else
inline constexpr bool simulated = false;
#endif

// The first on the real machine, the second in the simulated one.
template <class T>
constexpr T real_or_sim(T real, T sim) {
  return simulated ? sim : real;
}

// Most Ps of a run.
inline constexpr int max_procs = real_or_sim(1024, 8);

// Per-P run queue. A power of two: positions count up for ever and are masked.
inline constexpr std::uint32_t runq_capacity = real_or_sim(256U, 4U);
static_assert((runq_capacity & (runq_capacity - 1)) == 0);

// Per-P deque of goroutines that have not run yet (sched/deque.h); a thief takes one where there are fewer than so many, else up to half.
inline constexpr std::uint32_t deque_capacity = real_or_sim(1024U, 4U);
inline constexpr std::uint32_t deque_steal_many = real_or_sim(64U, 3U);
static_assert((deque_capacity & (deque_capacity - 1)) == 0);
// Who starts so many on end gives way to them: as many slots as a P keeps (sched/world.h, p_cache_max), so that none goes to the pool and
// back. By goroutine, and not by the deque's length: a tree that is walked in depth may well have that many waiting.
inline constexpr std::uint32_t spawn_storm = real_or_sim(128U, 7U);  // more than fill a simulated deque
// Who starts goroutines looks whether another P would take some when two wait, and then at every so many more.
inline constexpr std::uint32_t help_every = real_or_sim(16U, 4U);
// Thieves of a P's deque begin with so many at once. Those who took less than this each, or less than so many times what the theft took, from one look
// for work to the next, were not worth it: a quarter of them the next time, and not before so long, twice as long the next time, and at most; sysmon
// promises 100 us. Those who were: twice as many, at once.
inline constexpr std::uint32_t theft_first = real_or_sim(4U, 2U);
inline constexpr std::int64_t steal_worth_ns = real_or_sim(1'000, 1);
inline constexpr std::int64_t steal_worth_thefts = 4;
inline constexpr std::int64_t stay_away_first_ns = real_or_sim(1'000, 1);
inline constexpr std::int64_t stay_away_max_ns = real_or_sim(32'000, 2);
// A spinner waits for the end of bars that are no longer than this, and leaves others to sysmon. Between two looks at other Ps while one is barred.
inline constexpr std::int64_t bar_patience_ns = real_or_sim(4'000, 1);
inline constexpr std::int64_t look_away_ns = real_or_sim(4'000, 1);
// So long after a P was asked for what is private in its deque, that is made public without its owner (sched/deque.h): what that costs. Who asks while
// as many Ms run as there are CPUs waits less: it may be the owner's CPU that it waits on.
inline constexpr std::int64_t ask_patience_ns = real_or_sim(10'000, 1);
inline constexpr std::int64_t ask_patience_busy_ns = real_or_sim(1'000, 1);
// So long may a deque's bottom lie there while newer ones are run: as long as a goroutine of Go's may run before others get their turn.
inline constexpr std::int64_t deque_patience_ns = real_or_sim(10'000'000, 10);

// A P that has not moved for so long stands still: its goroutine computes, or has its thread wait. So often the watchdog looks while no idle P has a CPU
// to run on (sched/sysmon.cc).
inline constexpr std::int64_t stands_ns = real_or_sim(400'000, 80'000);

// While some Ps are idle and others run, the watchdog sleeps no longer (sched/sysmon.cc).
inline constexpr std::int64_t overlooked_ns = 10'000'000;
// Undisturbed for so long and all idle, it sleeps until somebody runs again.
inline constexpr std::int64_t rest_after_ns = real_or_sim(100'000'000, 0);
// A timer that is overdue by so much has nobody who looks after it, or too few: another P's help is called for. The watchdog looks for
// such timers at most every timer_look_ns: beside an idle P nobody is later than the two together.
inline constexpr std::int64_t timer_patience_ns = real_or_sim(600'000, 5'000);
inline constexpr std::int64_t timer_look_ns = real_or_sim(400'000, 5'000);
// Sleepers that are due so soon are fetched into the cache, so many together.
inline constexpr std::int64_t timer_ahead_ns = real_or_sim(50'000, 500);
inline constexpr std::size_t timers_soon = real_or_sim<std::size_t>(32, 2);

// The global queue is looked at first on every globq_poll-th pick, so that two goroutines that keep readying each
// other cannot starve it. Prime, as in Go, so that it does not beat with a program's own period.
inline constexpr std::uint32_t globq_poll = real_or_sim(61U, 5U);

// Stack pool: guards are laid this many slots at a time (one system call each); the first batches of a chunk are
// smaller, so that a program of three goroutines does not pay for thirty-two. Not more: 32 stacks of 64 KiB need two new page tables at most. Where a
// hypervisor shadows page tables, a guest that adds a few to one directory without touching what is there loses all that hangs below
// (so does KVM, detect_write_flooding; inferred, not traced): many stacks there took 3 to 6 us to touch again. (64 at a time:
// `workload timer 1 100000` 1,140 to 5,000 ns a wakeup, so 470.)
inline constexpr std::size_t stack_guard_batch_min = real_or_sim<std::size_t>(16, 2);
inline constexpr std::size_t stack_guard_batch_max = real_or_sim<std::size_t>(32, 4);

// Stack pool: address space reserved at a time. The first reservation of a size class takes the small figure, each
// further one twice the last, up to the large one: a million slots of 64 KiB then lie in some 70 reservations.
inline constexpr std::size_t stack_chunk_min = real_or_sim<std::size_t>(64, 1) << 20;
inline constexpr std::size_t stack_chunk_max = real_or_sim<std::size_t>(1024, 2) << 20;

// Stack pool: the pages of slots beyond so many are brought in a batch at a time.
inline constexpr std::size_t stack_populate_from = real_or_sim<std::size_t>(64, 2);

// So many at once by an M that spins, which does not look for work meanwhile: 10 to 60 us.
inline constexpr std::uint32_t stack_warm_batch = real_or_sim(8U, 2U);
// A run of one P starts a thread for it (sysmon) when it has used so many batches of cold stacks.
inline constexpr std::uint32_t stack_warm_after = real_or_sim(8U, 1U);

// Stack pool: slots given back to the kernel between two looks at the pool's lock.
inline constexpr std::size_t stack_trim_batch = 256;

// A P's budget of runtime calls between two looks round (sched/park.h), and what a switch takes of it.
inline constexpr std::int32_t switch_cost = real_or_sim(4, 2);
inline constexpr std::int32_t slice = switch_cost * static_cast<std::int32_t>(globq_poll);

// Reclamation (sched/quiesce.cc): so many retired nodes are stamped together; so many free ones a record keeps; they come from
// slabs of so many bytes (a power of two), so many at a time.
inline constexpr std::size_t smr_seal_every = real_or_sim<std::size_t>(64, 1);
inline constexpr std::size_t smr_keep_free = real_or_sim<std::size_t>(256, 4);
inline constexpr std::size_t smr_slab_bytes = real_or_sim<std::size_t>(256, 4) << 10;
inline constexpr std::size_t smr_batch = real_or_sim<std::size_t>(32, 2);

// Small blocks of each size that a P keeps for reuse (sched/block_cache.h).
inline constexpr std::uint32_t blocks_kept = real_or_sim(32U, 2U);

// A buffered channel's ring has at least so many slots, if they take no more bytes than that (chan/typed_chan.h).
inline constexpr std::size_t ring_slots = real_or_sim<std::size_t>(8, 2);
inline constexpr std::size_t ring_bytes = 256;

// An operation of a channel that has to try again (chan/chan_core.cc) pauses: so many times spinning, the first time so many pauses of
// the processor (26 ns each on the machine this was set on), each time twice as many; then yielding. It waits so many times for a ring's slot before
// it claims its position.
inline constexpr std::uint32_t chan_spins = real_or_sim(5U, 1U);
inline constexpr std::uint32_t chan_spin_first = real_or_sim(16U, 1U);
inline constexpr std::uint32_t chan_patience = real_or_sim(100U, 2U);

// Wait lists (chan/wait_list.cc): an appender who had further to go than this moves the hint; so many nodes die between two sweeps.
inline constexpr std::size_t list_hint_steps = real_or_sim<std::size_t>(4, 1);
inline constexpr std::uint32_t list_sweep_at = real_or_sim(32U, 2U);

// Seats of selects (chan/wait_list.cc) are made so many at a time.
inline constexpr std::size_t select_seats = real_or_sim<std::size_t>(1024, 16);
inline constexpr std::size_t select_seat_batch =
    real_or_sim<std::size_t>(32, 4);  // and handed to a record so many at a time

// Looking for work (sched/spin.cc), in rounds: least, first and most.
inline constexpr std::uint32_t spin_rounds_min = real_or_sim(4U, 1U);
inline constexpr std::uint32_t spin_rounds_first = real_or_sim(8U, 1U);
inline constexpr std::uint32_t spin_rounds_max =
    real_or_sim(160U, 2U);  // of about 120 ns each on the machine this was set on
inline constexpr std::uint32_t inbox_rounds_min = real_or_sim(16U, 1U);
inline constexpr std::uint32_t inbox_rounds_first = real_or_sim(64U, 1U);
inline constexpr std::uint32_t inbox_rounds_max =
    real_or_sim(2000U, 2U);  // of one pause, 26 ns: longer than the kernel takes to wake a thread

// Timers that nobody but the keeper looks after (sched/timer.h): it rises no sooner after its last rise than so many ns for each that is
// pending, and at most.
inline constexpr std::int64_t keeper_gap_each_ns = real_or_sim(400, 1);
inline constexpr std::int64_t keeper_gap_max_ns = real_or_sim(400'000, 3);
// So long, for each of its pending timers, other Ps leave to a P what is due in its heap, and no longer.
inline constexpr std::int64_t steal_grace_each_ns = real_or_sim(100, 1);
inline constexpr std::int64_t steal_grace_max_ns = real_or_sim(400'000, 2);

// Biased words (sched/biased.h): of the words that a P moves without a bias it looks at one in so many; so often in a row, and twice as often for
// each time that the bias was taken back, up to so many doublings. Aborted so often, an operation gives up on sections.
inline constexpr std::int32_t bias_every = real_or_sim(64, 2);
inline constexpr std::uint32_t bias_streak = real_or_sim(160U, 1U);
inline constexpr std::uint32_t bias_doublings = real_or_sim(12U, 1U);
inline constexpr std::uint32_t section_tries = real_or_sim(4U, 2U);

// Goroutines that fight over a word (sched/gather.h). Runtime calls that take less each than so many lines, between these bounds, are dense; a loss
// in a dense interval is a fight. So many fights within such a time make a home, where so many losses that are none undo one. A home is dissolved when
// the visits that are not dense are so many more than the others.
inline constexpr std::int64_t gather_lines = 2;
inline constexpr std::int64_t gather_dense_min_ns = real_or_sim(50, 1'000'000);
inline constexpr std::int64_t gather_dense_max_ns = real_or_sim(600, 1'000'000);
inline constexpr int gather_fights = real_or_sim(32, 1);
inline constexpr int gather_per_fight = 4;
inline constexpr std::int64_t gather_fights_ns = 10'000'000;
inline constexpr int gather_sparse = real_or_sim(32, 2);
// If it has not lasted so long, there is no other for such a time, doubled for each that did not, so often.
inline constexpr std::int64_t gather_lasts_ns = real_or_sim(100'000'000, 1'000);
inline constexpr std::int64_t gather_again_ns = real_or_sim(1'000'000, 1);
inline constexpr int gather_doublings = real_or_sim(10, 2);
// The home gives its word a bias not sooner than in so many times what the last one cost. It moves not before so long, doubled likewise.
inline constexpr std::int64_t gather_bias_share = 20;
inline constexpr std::int64_t gather_move_ns = real_or_sim(10'000'000, 1'000);
// The least time over which a thief judges whether a P is dense. The longest that a ring is barred.
inline constexpr std::int64_t gather_trial_ns = real_or_sim(2'000, 0);
inline constexpr std::int64_t gather_bar_max_ns = real_or_sim(1'000'000, 2);

// A mutex that was contended (sync/mutex.cc): quiet unlocks until it is fast again, at 2 ns gained each, some times a fence_heavy.
inline constexpr std::uint32_t mutex_quiet_unlocks = real_or_sim(1U << 14, 2U);

}  // namespace weft::limits
