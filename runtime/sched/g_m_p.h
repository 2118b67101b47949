// SPDX-License-Identifier: MIT
//
// G, M and P, and the `sched` they share: the nouns of the scheduler.
//
//   G  a goroutine: a context, what travels with it (errno, C++ exception state), and where a partner leaves its value.
//   M  an OS thread. Runs goroutines only while it holds a P.
//   P  the right to run goroutines, and the queues that go with it. There are `procs` of them.
//
// One `sched` per weft::run, never a global: a process may run many, one after another or at once.
//
// Each group of fields says who may write it. "Owner" of a P is the M that holds it; of a G, the M that runs it, or, while it
// is parked, whoever took it from the place where it was published.
//
// Memory of Gs is type-stable: a G lives at the top of its stack slot, slots are recycled but never unmapped while the
// runtime lives. A stale G pointer may be read; it just does not say what it used to.
//
// Source of the shape: Go, src/runtime/runtime2.go and proc.go.

#pragma once

#include <cstddef>
#include <cstdint>

#include "../../arch/switch.h"
#include "../base/rand.h"
#include "../os/atomic.h"
#include "../os/limits.h"
#include "biased_word.h"

namespace weft::rt {

struct G;
struct M;
struct P;
struct sched;
struct smr_record;

// What a goroutine waits for; none: it runs, or could; start: it could, and has not run yet.
enum class wait_reason : std::uint8_t {
  none,
  start,
  chan_send,
  chan_receive,
  chan_send_nil,
  chan_receive_nil,
  wait_group,
  select,
  select_empty,
  sleep,
  mutex,
  shared_mutex,
  condition_variable,
  semaphore,
  latch,
  barrier,
  blocking,
  io,
};
const char* to_string(wait_reason r);

// What the C++ runtime keeps per thread and a goroutine must take along: the stack of exceptions being handled and the number
// of exceptions in flight (Itanium C++ ABI, "Exception Handling", __cxa_eh_globals).
struct eh_state {
  void* caught = nullptr;
  unsigned uncaught = 0;
};

// How an operation on which somebody waited ended: bits, of which who waited sees by one look that there are none. `closed` is the partner's, before it
// readies the waiter; `seated` the waiter's own, for when it has a seat to leave (chan/typed_chan.h); `lost` is written where the commit of a park
// fails, and the waiter has not been waiting at all.
enum class outcome : std::uint8_t { done = 0, closed = 1, seated = 2, lost = 4 };
constexpr outcome operator|(outcome a, outcome b) {
  return static_cast<outcome>(static_cast<std::uint8_t>(a) | static_cast<std::uint8_t>(b));
}
constexpr bool has(outcome o, outcome bit) {
  return (static_cast<std::uint8_t>(o) & static_cast<std::uint8_t>(bit)) != 0;
}

// Somebody who waits: a goroutine, or an ordinary thread (sched/park.h). 64-byte aligned, so that a pointer to one leaves six
// low and sixteen high bits of a word free. One cache line, all that a switch and a partner touch.
//
// A locked instruction waits until the stores before it have left the store buffer, so a switch with two of them pays for every
// store. Hence what hardly ever changes from switch to switch (errno, exceptions, the outcome) is compared before it is stored.
struct alignas(64) waiter {
  arch::context ctx;  // goroutine: written by its M before COMMIT, read by the M that resumes it
  union {
    plain<void*> slot = nullptr;  // owner before publishing; read by the partner: where the value goes or comes from
    waiter* next;                 // link of the list that holds the waiter, when that is not a channel's
  };
  atomic<void*> affinity{nullptr};  // birth: its sched, or the P it is bound to (a laboratory knob), or null: a thread
  void* caught = nullptr;           // with ctx, unless `exceptions` is zero: eh_state::caught
  atomic<std::uint64_t> select{
      0};  // owner, and who claims it: of a select that waits (chan/wait_list.h), or a sleeper (sched/timer.h)
  std::int32_t saved_errno = 0;  // with ctx
  std::uint16_t exceptions = 0;  // with ctx: eh_state::uncaught + 1, or zero: no exception is handled or in flight
  plain<outcome> result = outcome::done;       // see there; who is woken sets it back
  atomic<wait_reason> why{wait_reason::none};  // owner; relaxed: read by reports only
};
#if !defined(WEFT_SAVE_FPENV)
static_assert(sizeof(waiter) == 64);
#endif
static_assert(offsetof(waiter, ctx) == 0);  // who is resumed gets its context's address: it is the G's

struct G : waiter {
  sched* s = nullptr;                // birth
  atomic<std::uint64_t> id{0};       // birth; zero when dead. Never repeats within a process
  const char* name = nullptr;        // birth; copied below the G when given
  const void* started_at = nullptr;  // birth: return address of the `go` that made it
  void (*entry)(G*) = nullptr;       // birth: runs and destroys the closure
  void* closure = nullptr;           // birth
  char* stack_lo = nullptr;          // slot: lowest usable byte, for good
  std::uint32_t stack_size = 0;      // slot: usable bytes, for good
  std::uint32_t size_class = 0;      // slot: for good
  void* locals = nullptr;            // owner: goroutine_local values
  void* tsan_fiber = nullptr;        // sanitizer builds only
  void* asan_fake_stack = nullptr;
  unsigned valgrind_id = 0;
};

// A queue of Gs linked through waiter::next. Not shared: a batch in somebody's hand.
struct g_list {
  G* head = nullptr;
  G* tail = nullptr;
  std::uint32_t n = 0;

  void push_back(G* g) {
    g->next = nullptr;
    if (tail)
      tail->next = g;
    else
      head = g;
    tail = g;
    ++n;
  }
  G* pop_front() {
    G* g = head;
    if (g) {
      head = static_cast<G*>(g->next);
      if (!head) tail = nullptr;
      --n;
    }
    return g;
  }
};

struct M {
  P* p = nullptr;                    // this M, and start_m while it is stopped
  G* curg = nullptr;                 // this M
  int* errno_address = nullptr;      // this M, at birth
  eh_state* eh = nullptr;            // this M, at birth
  std::uint64_t* section = nullptr;  // this M, at birth: its thread's slot for restartable sections, or null
  sched* s = nullptr;                // birth
  smr_record* smr = nullptr;         // this M: its record in the reclamation scheme (sched/quiesce.h)
  arch::context g0;                  // this M: the scheduler's own context, on the thread's stack
  fast_rand rand;
  atomic<std::uint64_t> always{0};  // this M: a word for commits that cannot fail, zero for good
  atomic<std::uint32_t> nobody{0};  // where a commit without a reader section writes its zero: not on a published stack
  bool spinning = false;            // this M, and start_m while it is stopped: looking for work with none in hand
  G* dying = nullptr;               // this M: a finished goroutine whose fiber must be told to the sanitizer
  std::uint32_t no_switch = 0;      // this M: hold_switches
  std::uint32_t id = 0;
  void* g0_tsan_fiber = nullptr;
  void* g0_asan_fake_stack = nullptr;
  const void* g0_stack_lo = nullptr;
  std::size_t g0_stack_size = 0;
  // The commit of a switch that is composed from a plain one (sched/switch.h): what the next context must finish.
  struct {
    G* from = nullptr;
    atomic<std::uint64_t>* word = nullptr;
    biased_word* biased = nullptr;  // instead of `word`
    atomic<std::uint32_t>* done = nullptr;
    std::uint64_t expected = 0;
    std::uint64_t desired = 0;
    P* yielded = nullptr;  // instead of a word: the P whose ring has one more slot to publish
    bool failed = false;
  } commit;
  // The rest is the scheduler's, not for headers that users see.
  struct parts;
  parts* more = nullptr;
};

struct P {
  // Line 0: what a switch touches. Owner writes, unless said.
  atomic<G*> runnext{nullptr};         // owner; a thief only reads (sched/runq.h)
  atomic<std::uint64_t> claim{0};      // owner and the thief of a runnext: who gets it (sched/runq.h)
  atomic<std::int32_t> budget{0};      // runtime calls left until the slow path looks round
  atomic<std::uint32_t> rounds{0};     // budgets spent; relaxed: with the budget, sysmon sees that this P moves
  sched* s = nullptr;                  // birth
  std::uint64_t stamp = 0;             // owner: unique numbers, see chan/word.h
  atomic<std::uint32_t> attention{0};  // others set it, under sched's lock: the slow path must stop for the world
  bool thieves = true;                 // written before there are Ms, and with the world stopped: there are other Ps
  atomic<bool> nag{false};             // sysmon sets and clears: it sleeps; the next runnext here must wake it
  std::int32_t bias_countdown = 0;     // owner: moves of words without a bias until it looks at one (sched/biased.h)

  // Line 1: the ring's head (sched/runq.h); thieves write it.
  alignas(64) biased_word runq_head{0};
  // Line 2 on: tail and slots; the owner writes them.
  alignas(64) atomic<std::uint32_t> runq_tail{0};
  atomic<G*> runq[limits::runq_capacity] = {};

  // The same again for those that have not run yet (sched/deque.h): thieves write the head, the owner the rest.
  alignas(64) atomic<std::uint32_t> deque_head{0};
  atomic<std::uint64_t> deque_call{0};  // thieves and the owner: what they want of it
  alignas(64) atomic<std::uint32_t> deque_tail{0};
  atomic<std::uint32_t> deque_split{0};
  atomic<G*> deque[limits::deque_capacity] = {};

  // Others push, the owner takes: goroutines that are bound to this P.
  alignas(64) atomic<waiter*> inbox{nullptr};
  std::int32_t id = 0;  // birth; here, as who pushes asks for it

  // The owner's, at each start and end of a goroutine: not where others look for work.
  alignas(64) std::uint64_t next_id = 0;  // owner: goroutine ids in hand, [next_id, last_id)
  std::uint64_t last_id = 0;
  atomic<std::uint64_t> born{0};  // owner; relaxed: goroutines made and ended here, added up when all is idle
  atomic<std::uint64_t> ended{0};

  struct parts;
  parts* more = nullptr;  // free slots and the like: not for headers that users see
};

}  // namespace weft::rt
