// SPDX-License-Identifier: MIT
//
// Where those wait whom mutex, shared_mutex, condition_variable, semaphore, latch and barrier keep waiting: queues, found by the
// object's address, in a table that outlives every object.
//
// So an object is a word or two, costs nothing to make, and who releases it needs not touch it after the release: it asks the
// table, by address only. That is what lets all of them be destroyed as soon as std's may be.
//
//   I1  an entry with `queued` set is in the lot of its object; both change under the lot's lock only.
//   I2  entries of one (object, kind) stand in the order in which they will be woken. Objects that share a lot are strangers to each
//       other. Kind is part of the key, since an address may be asked about after its object has gone and another has come.
//   I3  who takes an entry out owns it: it alone wakes it, once. Then the entry is gone (it is on its waiter's stack).
//   I4  an object with an entry in its lot is alive: the waiter is inside of one of its functions. (Hence: look for an entry first, under
//       the lock, then touch the object.)
//
// Going to sleep and waking, by `state`:
//     0 about to sleep --the waiter's commit (park)--> 1 asleep        0 or 1 --wake--> 2 woken
// wake's exchange found 0: the waiter will not sleep, its commit fails. It found 1: the waiter is saved, and readied. An ordinary thread
// starts at 1: its own word (thread_waiter::woken) has no such window.
//
// A timeout withdraws: fire() of a timer, or the thread itself, calls the entry's `withdraw`, which takes it out of its queue, if it is still
// there, and mends what the object says about its queue. If somebody was faster, the wake counts, and there was no timeout.
//
// Edges
//   name         release side            acquire side             carries                                  test
//   LOT          unlock of lot::lk       lock of lot::lk          the queues, entries' fields              (base/lock.h)
//   LOT-WAKE     wake                    block: resumed, or its   what the waker did before, `handed`,     go_sync.*
//                                        commit that fails        `timed_out`
//   LOT-SLEEP    block's commit          wake                     the waiter, saved                        go_sync.*
// Progress: a lot's lock is a blocking one (base/lock.h), held for a walk over the other objects of the lot, never across a park; a thread
// that the kernel stops there holds up those who use objects of this lot *and have to wait or to wake*. Nothing here is lock-free.
//
// Sources: Go sema.go (semaRoot: queues by address, FIFO, direct handoff); WebKit's ParkingLot; Linux futexes.

#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "../base/lock.h"
#include "../sched/deadline.h"
#include "../sched/park.h"

namespace weft::rt {

// With the address, the key of a queue.
enum class lot_kind : std::uint8_t { mutex, shared_mutex, condition_variable, semaphore, latch, barrier };

struct WEFT_API wait_entry {
  wait_entry(lot_kind k, const void* o, bool (*w)(wait_entry&)) noexcept : object(o), withdraw(w), kind(k) { arm(); }
  wait_entry(const wait_entry&) = delete;
  wait_entry& operator=(const wait_entry&) = delete;
  ~wait_entry() = default;

  // Before each time it is queued. The waiter is who calls this.
  void arm() noexcept;

  atomic<std::uint64_t> state{0};
  waiter* who = nullptr;
  // Lot's lock.
  wait_entry* next = nullptr;  // of the same object
  wait_entry* prev = nullptr;
  wait_entry* last = nullptr;       // head of an object's queue only
  wait_entry* next_head = nullptr;  // head only: of another object
  const void* object;
  bool (*withdraw)(wait_entry&);  // true: it was queued and is not any more; the caller owns it. Takes the lot's lock
  std::uint64_t want = 0;         // the object's own use
  std::int64_t since = 0;         // mutex: when it began to wait
  lot_kind kind;
  bool queued = false;
  plain<bool> handed = false;     // by the waker, before wake: what was waited for is yours
  plain<bool> timed_out = false;  // by the timeout, before wake
  std::optional<thread_waiter> thread;
};

struct alignas(64) lot {
  runtime_lock lk;
  wait_entry* heads = nullptr;  // lk. One per (object, kind)

  // All with lk held.
  wait_entry* first(lot_kind k, const void* object) const noexcept;
  void push_back(wait_entry& e) noexcept;
  void push_front(wait_entry& e) noexcept;
  void remove(wait_entry& e) noexcept;

 private:
  wait_entry** link_to(lot_kind k, const void* object) noexcept;
};

inline constexpr std::size_t num_lots = 1024;
inline std::size_t lot_index(const void* object) noexcept {
  auto a = reinterpret_cast<std::uintptr_t>(object);
  return (a >> 3 ^ a >> 13) % num_lots;
}
lot& lot_of(const void* object) noexcept;

// Entries taken out, to be woken once the lock is released, in this order.
struct woken_list {
  wait_entry* head = nullptr;
  wait_entry* tail = nullptr;
  void take(lot& l, wait_entry& e) noexcept {
    l.remove(e);
    e.next = nullptr;
    (head ? tail->next : head) = &e;
    tail = &e;
  }
  // The first of them is readied last: who is readied last runs next, the others follow from the ring in their order.
  void wake_all() noexcept;
};

// Owner of `e`: it, and what it pointed to, may be gone when this returns.
void wake(wait_entry& e) noexcept;

// The waiter, once its entry is queued and the lock released. Until it is woken; or until the deadline: then `timed_out` is set, if the
// entry could be withdrawn. Throws std::bad_alloc when there is no memory for a timer (then it was withdrawn).
void block(wait_entry& e, wait_reason why);
void block_until(wait_entry& e, wait_reason why, std::int64_t deadline_ns);

// f(deadline) until it succeeds or the clock says that it is time: a clock other than the steady one may be set meanwhile.
template <class Clock, class Duration, class F>
bool until(const std::chrono::time_point<Clock, Duration>& t, F f) {
  if constexpr (std::is_same_v<Clock, std::chrono::steady_clock>) {
    return f(deadline_at(t));
  } else {
    for (;;) {
      if (f(deadline_at(t))) return true;
      if (Clock::now() >= t) return false;
    }
  }
}

}  // namespace weft::rt
