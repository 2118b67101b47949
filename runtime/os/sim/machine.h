// SPDX-License-Identifier: MIT
//
// The simulated machine, from inside: its processors, its memory, its explorer. For os/sim/*.cc only; tests include explore.h.
//
// Virtual threads are contexts of arch/ that take turns on one OS thread. Each operation on memory or of the operating system begins
// with a *point*: the thread says what it is about to do, the explorer chooses who goes on, and, when that is it, the operation takes
// place, undivided. All that may turn out in several ways (who goes on, which store a load reads, whether a weak compare-and-swap
// fails for no reason, whether a deadline passes) is a *decision*, asked of the explorer in one place. So a run is a function of
// its decisions, and nothing else: time is a counter, memory comes from an arena at a fixed address (heap.cc), and what
// a run leaves in the program's global variables is undone before the next one starts (explore.cc).
//
// Memory model (memory.cc): C++20's, without load buffering: what a load reads has been stored before, in the order in which the
// simulation goes (po and rf together are acyclic: the model called RC11, of GenMC, CDSChecker and others).
//   * A location remembers its last `history` stores in modification order. A store carries the clocks of who wrote it.
//   * Happens-before is a vector clock per thread (view::hb). A load may return any store but those that are followed, in modification
//     order, by one that the loading thread knows: wrote, read, or has a happens-before path from a write or read of.
//   * Release sequences: a read-modify-write passes on what the store it read carried. Fences: view `rel` is what relaxed stores
//     carry, `pend` is what relaxed loads have seen and an acquire fence makes known.
//   * seq_cst fences do not synchronise, they order: a second clock (view::sc) says what is known through them. A fence takes what
//     all earlier fences knew (global_sc), and adds what its thread knows. sc operations on one location are ordered by number
//     (store::sc_time), and so against the fences before and after.
//   * A store that is not seq_cst may be placed before stores that its thread does not know (2+2W, write-write reordering).
//   * A section (os/section.h) is two loads and a store, or one and an exchange; a fence_sections of another thread in between aborts it.
//   * fence_heavy is an sc fence of every thread in turn, at moments of the explorer's choice, between two of the caller.
//
// What it does not show: see tests/model/README.md.
//
// Sources: Norris, Demsky, "CDSchecker"; Lidbury, Donaldson, "Dynamic Race Detection for C++11" (tsan11); Tokio's loom;
// Vyukov's Relacy; Lahav et al., "Repairing Sequential Consistency in C/C++11".

#pragma once

#include <climits>
#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "../../../arch/switch.h"
#include "../section.h"
#include "atomic_impl.h"
#include "explore.h"

namespace weft::sim {

inline constexpr int max_threads = 16;
inline constexpr int history = 8;
static_assert((history & (history - 1)) == 0);

typedef int lanes __attribute__((vector_size(4 * max_threads)));
typedef std::uint64_t wide_lanes __attribute__((vector_size(4 * max_threads)));

// A vector clock: how much of each thread's doing is known.
struct clock {
  lanes v{};

  int operator[](int i) const noexcept { return v[i]; }
  void set(int i, int to) noexcept { v[i] = to; }
  void join(const clock& o) noexcept {
    lanes more = v > o.v;
    v = (v & more) | (o.v & ~more);
  }
  // Is there a thread whose entry here is no later than in `o`?
  bool any_known_to(const clock& o) const noexcept {
    lanes known = v <= o.v;
    wide_lanes w;
    std::memcpy(&w, &known, sizeof w);
    std::uint64_t any = 0;
    for (unsigned i = 0; i < sizeof w / 8; ++i) any |= w[i];
    return any != 0;
  }
  bool all_known_to(const clock& o) const noexcept {
    lanes unknown = v > o.v;
    wide_lanes w;
    std::memcpy(&w, &unknown, sizeof w);
    std::uint64_t any = 0;
    for (unsigned i = 0; i < sizeof w / 8; ++i) any |= w[i];
    return any == 0;
  }
  static clock none() noexcept {
    clock c;
    c.v = lanes{} + INT_MAX;
    return c;
  }
};

struct view {
  clock hb;
  clock sc;
  int fence = 0;  // number of the last sc fence in it

  void join(const view& o) noexcept {
    hb.join(o.hb);
    sc.join(o.sc);
    if (o.fence > fence) fence = o.fence;
  }
};

struct stored {
  view carried;  // to who acquires it
  clock seen;    // per thread: when it first wrote or read this one
  std::uint64_t value = 0;
  int sc_time = 0;  // number of the first sc operation on it, 0: none
  std::int8_t by = 0;
  bool carries = false;  // anything at all
  bool is_rmw = false;
};

struct location {
  stored h[history];  // a ring
  clock touched;      // last access of each thread: who destroys or constructs must know it
  const void* at = nullptr;
  unsigned bytes = 0;
  int first = 0;
  int n = 0;
  int born_by = -1;
  int born_at = 0;
  bool dead = false;
  site named{};  // of the first operation on it
  std::uint8_t stale[max_threads] = {};

  stored& nth(int i) noexcept { return h[(first + i) & (history - 1)]; }
};

struct plain_location {
  clock read;
  int written_by = -1;
  int written_at = 0;
  site write_site{};
  site read_site{};
};

enum class what : std::uint8_t {
  start,
  load,
  store,
  rmw,
  cas,
  fence,
  fence_of_all,
  relax,
  os,
  futex_wait,
  futex_wake,
};
const char* to_string(what w);
const char* name_of_order(int o);

// What a thread is about to do, as far as it matters to others.
struct step {
  what kind = what::start;
  const void* at = nullptr;
  bool write = false;
  bool sc = false;
};
bool dependent(const step& a, const step& b) noexcept;

enum class thread_state : std::uint8_t { none, runnable, blocked, done };

struct eh_globals {
  void* caught = nullptr;
  unsigned uncaught = 0;
};

struct vthread {
  arch::context ctx;
  int id = 0;
  thread_state state = thread_state::none;
  view now;   // all that is known
  view rel;   // at the last release fence
  view pend;  // seen by relaxed loads, known from the next acquire fence on
  step next;  // what it stands before
  std::uint32_t local = 0;
  void* self = nullptr;  // os::self
  eh_globals eh;
  int error = 0;  // errno
  void* data[8] = {};
  void (*fn)(void*) = nullptr;
  void* arg = nullptr;
  // Blocked.
  const void* waits_at = nullptr;  // futex
  int joins = -1;
  std::int64_t deadline = INT64_MAX;
  bool timed_out = false;
  bool stopped_join = false;
  std::uint64_t order = 0;  // who came first
  char* stack = nullptr;
  site last_site{};
  bool aborted = false;  // by a fence_sections, since its section began
  bool saw_old = false;  // a value that is not the newest, since it last said that it waits
};

enum class decision : std::uint8_t { thread, thread_blocked, read_from, fail_cas, place, early, spurious_wake, abort };

struct deviation {
  decision kind;
  int thread;
  std::uint32_t local;
  int value;
};

// A node of the search tree of an exhaustive exploration.
struct node {
  bool is_thread;
  int n;       // options, when not is_thread
  int chosen;  // option, or thread
  int from;    // is_thread: who ran before
  int spent;   // preemptions before this node
  std::uint32_t options;
  std::uint32_t sleep;  // is_thread: explored already, here or above, and nothing since has depended on it
  step next[max_threads];
};

struct event {
  what kind;
  std::int8_t thread;
  bool failed;
  std::uint8_t aside;  // stores newer than the one read; or older than the one written
  std::uint8_t order;
  std::uint32_t local;
  site where;
  int location;
  std::uint64_t value;
  std::uint64_t more;
  const char* text;
};

struct seen_site {
  const char* file;
  int line;
  what kind;
  int order;
  int fail;
  std::uint64_t times;
};

struct mutation {
  bool on = false;
  std::string file;
  int line = 0;
  what kind = what::load;
  enum class slot : std::uint8_t { order, fail, drop } which = slot::order;
  std::memory_order to = std::memory_order_relaxed;
};

struct machine {
  // The processors.
  vthread threads[max_threads];
  int nthreads = 0;
  vthread* now = nullptr;
  std::uint32_t runnable = 0;
  std::uint32_t timed = 0;    // blocked with a deadline
  std::uint32_t lazy = 0;     // said that they wait for somebody else, and nothing was written since
  std::uint32_t stopped = 0;  // for good
  std::uint64_t steps = 0;
  std::uint64_t wait_order = 0;
  std::int64_t time = 0;
  arch::context native;
  eh_globals* eh = nullptr;  // of the one real thread
  bool failed = false;
  bool pruned = false;
  std::string message;
  std::string last_words;  // written to stderr by the run
  const std::function<void()>* body = nullptr;
  bool keys[8] = {};
  void (*key_end[8])(void*) = {};

  // The memory.
  struct slot {
    std::uintptr_t key = 0;
    std::uint32_t run = 0;
    std::uint32_t index = 0;
  };
  static constexpr std::size_t table_size = 1 << 16;
  static constexpr std::size_t max_locations = 1 << 15;
  slot* table = nullptr;  // as the two below: zeros from the kernel, touched only as far as used
  location* locations = nullptr;
  plain_location* plains = nullptr;
  std::uint32_t run = 0;
  std::uint32_t nlocations = 0;
  std::uint32_t nplains = 0;
  clock global_sc;
  int sc_clock = 0;
  bool undivided = false;  // a section's commit, which has had its point

  // The explorer.
  plan how;
  std::uint64_t rand_state = 0;
  std::uint64_t limit = 0;
  int stay = 0;  // random: in how many of 8 decisions the same thread goes on
  int spurious_left = 0;
  int stale_left = 0;
  int preemptions_left = 0;
  int priority[max_threads] = {};
  int lowest = 0;
  std::vector<std::uint64_t> changes;  // pct: steps, ascending
  std::size_t next_change = 0;
  std::uint64_t length = 0;  // pct: of a run
  // pct: of the last so many points, the threads that could go on at each, and those that did at any
  std::uint32_t window = 0;
  std::uint32_t could = ~0U;
  std::uint32_t ran = 0;
  std::vector<node> path;
  std::size_t depth = 0;
  std::uint32_t sleep = 0;
  bool recording = false;
  std::vector<deviation> recorded;
  bool replaying = false;
  std::unordered_map<std::uint64_t, int> script;
  bool tracing = false;
  std::vector<event> trace;
  std::uint64_t total_points = 0;
  mutation mutant;
  bool watching_sites = false;
  std::vector<seen_site> seen_sites;
  std::unordered_map<std::uint64_t, std::size_t> seen_keys;  // in seen_sites
  std::string sites() const;

  std::uint64_t next_random() noexcept;
  std::uint32_t below(std::uint32_t n) noexcept {
    return static_cast<std::uint32_t>(((next_random() >> 32) * n) >> 32);
  }

  // explore.cc. A decision between 0 (what happens by default) and n - 1.
  int choose(decision d, int n);
  int choose_thread(std::uint32_t can, int current);

  // machine.cc.
  // The running thread stands before `s`.
  void point(const step& s, site where);
  // The running thread cannot go on; returns when it can.
  void block();
  void wake(vthread& t) noexcept;
  [[noreturn]] void fail(std::string text);
  [[noreturn]] void end_run();
  int pick(int current);
  void switch_to(int n);
  [[noreturn]] void leave_to(int n);
  int add_thread(void (*fn)(void*), void* arg);
  void start_run();
  void wrote(int by) noexcept { lazy &= 1U << by; }
  void note(what kind, site where, const location* l, std::uint64_t value, std::uint64_t more, int order, bool failed,
            int aside, const char* text = nullptr);

  // memory.cc
  location& at(const void* p, unsigned bytes, site s);
  plain_location& plain_at(const void* p);
  location* find(const void* p) noexcept;
  std::uint64_t futex_value(location& l);  // as a futex_wait of the running thread may see it
};

// Null outside of explore(). `inside`: a virtual thread runs. These change only between runs, or are part of a switch.
extern machine* the_machine;
extern bool inside;
extern void* sim_self;

// While one lives, memory comes from the C library, not from the arena of the run.
class outside_scope {
 public:
  outside_scope() noexcept : was_(inside) { inside = false; }
  ~outside_scope() { inside = was_; }
  outside_scope(const outside_scope&) = delete;
  outside_scope& operator=(const outside_scope&) = delete;

 private:
  bool was_;
};

// heap.cc
void* arena_reserve(std::size_t bytes, std::size_t align);
void arena_reset() noexcept;
char* thread_stack(int id);
inline constexpr std::size_t thread_stack_bytes = 256 << 10;

std::string where(site s);

}  // namespace weft::sim
