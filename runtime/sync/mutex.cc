// SPDX-License-Identifier: MIT

#include "mutex.h"

#include "../base/check.h"
#include "../sched/deque.h"
#include "../sched/go.h"

namespace weft {

using namespace rt;
using namespace rt::mutex_word;

namespace {

using word = atomic<std::uint32_t>;

// Having waited for longer, the first in line has the mutex handed over (Go's figure).
constexpr std::int64_t starving_ns = 1'000'000;
// Looks before queueing, and what lies between two: about a microsecond in all, as long as a park and a wake.
constexpr int spin_looks = 4;
constexpr int spin_relax = 8;

word& word_of(const wait_entry& e) { return *static_cast<word*>(const_cast<void*>(e.object)); }
atomic<std::uint32_t>& unsettled(const word* w) { return unsettled_mutexes[lot_index(w)]; }

// All under the lot's lock. relaxed: N3 comes between N1, N2 and N4, and is a fence.
void count_unsettled(const word* w) { unsettled(w).fetch_add(1, relaxed); }
void count_settled(const word* w) { unsettled(w).fetch_sub(1, relaxed); }

// Lot's lock. Withdraws `e`, and keeps I1 to I3 when it was the last.
bool withdraw(wait_entry& e) {
  lot& l = lot_of(e.object);
  lock_scope hold(l.lk);
  if (!e.queued) return false;
  word& wd = word_of(e);
  l.remove(e);
  if (l.first(lot_kind::mutex, &wd)) return true;
  // relaxed here and below: who waits comes and goes under the lot's lock; the mutex is MUTEX's
  std::uint32_t w = wd.load(relaxed);
  for (;;) {
    if (!(w & slow)) {  // I3; the settle to come will find nobody
      count_settled(&wd);
      return true;
    }
    if (w & turning) {  // back to fast, as if we had not come
      if (wd.compare_exchange_weak(w, locked, relaxed, relaxed)) {
        count_settled(&wd);
        return true;
      }
    } else if (wd.compare_exchange_weak(w, w & ~waited_for, relaxed, relaxed)) {
      return true;
    }
  }
}

// Lot's lock. The mutex was locked a moment ago: makes its word say that somebody waits.
enum class announced {
  no,
  yes,
  turning
};  // no: it is not locked any more, or changing. turning: N3 and N4 are to come, by the caller

announced announce(lot& l, word& wd, std::uint32_t w, bool woken) {
  if (!(w & locked)) return announced::no;
  if (w & slow) {
    std::uint32_t to = (w | waited_for) & ~quiet_mask;
    if (woken) to &= ~waking;
    return wd.compare_exchange_strong(w, to, relaxed, relaxed) ? announced::yes : announced::no;
  }
  std::uint32_t to = locked | slow | turning | waited_for;
  if (l.first(lot_kind::mutex, &wd))  // I3: counted already, and the settle that is to come will find us too
    return wd.compare_exchange_strong(w, to, relaxed, relaxed) ? announced::yes : announced::no;
  count_unsettled(&wd);                                                                // N1
  if (wd.compare_exchange_strong(w, to, relaxed, relaxed)) return announced::turning;  // N2
  count_settled(&wd);
  return announced::no;
}

bool worth_spinning(M* m) {
  static const bool many_cpus = num_cpus() > 1;
  if (!many_cpus) return false;
  if (!m) return true;
  P* p = m->p;
  return procs_of(m) > 1 && !p->runnext.load(relaxed) && runq::own_size(p) == 0 && deque::own_size(p) == 0;
}

}  // namespace

namespace rt {

constinit atomic<std::uint32_t> unsettled_mutexes[num_lots];

void settle_mutex(word* wd) noexcept {
  lot& l = lot_of(wd);
  wait_entry* e;
  {
    lock_scope hold(l.lk);
    e = l.first(lot_kind::mutex, wd);
    if (!e) return;                       // another mutex of this lot, or somebody else has settled
    std::uint32_t w = wd->load(relaxed);  // relaxed here and below: bits, under the lot's lock; N4 sees U2 by N3
    for (;;) {
      if (w & slow) return;  // somebody put the bits back
      if (w & locked) {
        // The next one has it, the fast way. Its unlock will come here, if it erases this: see MUTEX-TURN.
        if (wd->compare_exchange_weak(w, locked | slow | turning | waited_for, relaxed, relaxed)) return;
      } else {
        std::uint32_t more = e->next ? waited_for : 0;
        if (wd->compare_exchange_weak(w, slow | waking | more, relaxed, relaxed)) break;
      }
    }
    count_settled(wd);
    l.remove(*e);
  }
  wake(*e);
}

}  // namespace rt

bool mutex::lock_slow(std::int64_t deadline) {
  M* m = self();
  bool woken = false;
  int looks = worth_spinning(m) ? spin_looks : 0;
  wait_entry e(lot_kind::mutex, &word_, withdraw);
  for (;;) {
    std::uint32_t w = word_.load(relaxed);  // relaxed: a look, the exchanges decide
    if (!(w & locked)) {
      // MUTEX acquire <- unlock.
      if (word_.compare_exchange_weak(w, (w | locked) & ~(woken ? waking : 0), acquire, relaxed)) return true;
      continue;
    }
    if (looks > 0) {
      --looks;
      for (int i = 0; i < spin_relax; ++i) cpu_relax();
      continue;
    }
    if (e.since == 0) {
      e.since = os::now_ns();
      if (e.since >= deadline) return false;
    }
    announced how;
    {
      lot& l = lot_of(&word_);
      lock_scope hold(l.lk);
      how = announce(l, word_, word_.load(relaxed), woken);  // relaxed: announce exchanges
      if (how == announced::no) continue;
      if (woken)
        l.push_front(e);
      else
        l.push_back(e);
    }
    if (how == announced::turning) {
      os::fence_heavy();     // N3. Microseconds: not under the lot's lock
      settle_mutex(&word_);  // N4
    }
    block_until(e, wait_reason::mutex, deadline);
    if (e.handed) return true;  // MUTEX-HAND
    if (e.timed_out) return false;
    woken = true;
    e.arm();
  }
}

void mutex::unlock_slow() {
  std::uint32_t w = word_.load(relaxed);  // relaxed: a look, the exchanges decide
  for (;;) {
    if (!(w & locked)) fatal("mutex::unlock: unlock of unlocked mutex");
    if (!(w & slow)) {  // it turned back to fast
      if (word_.compare_exchange_weak(w, 0, release, relaxed))
        return;  // MUTEX release. An RMW: N2 came first, or sees it
      continue;
    }
    if (w & turning) break;
    std::uint32_t to = w & ~locked;
    if (!(w & (waited_for | waking)))
      to = to + quiet >= quiet * limits::mutex_quiet_unlocks ? 0 : to + quiet;
    else if ((w & (waited_for | waking)) == waited_for)
      break;
    if (word_.compare_exchange_weak(w, to, release, relaxed)) return;  // MUTEX release. The last touch
  }
  // Somebody is to be woken, or the mutex handed to.
  word& wd = word_;
  lot& l = lot_of(&wd);
  wait_entry* e;
  {
    lock_scope hold(l.lk);
    std::uint32_t to;
    w = wd.load(relaxed);  // relaxed: a look, the exchange decides
    do {
      e = l.first(lot_kind::mutex, &wd);
      std::uint32_t more = e && e->next ? waited_for : 0;
      if (!(w & slow) || !e) {  // those who waited have given up
        WEFT_DCHECK(!e && !(w & (waited_for | turning)), "mutex::unlock: bits and queue differ");
        to = w & slow;
      } else {
        to = slow | more | (os::now_ns() - e->since > starving_ns ? locked : waking);
      }
      // MUTEX release. The last touch of the mutex.
    } while (!wd.compare_exchange_weak(w, to, release, relaxed));
    if (w & turning) count_settled(&wd);
    if (!e) return;
    l.remove(*e);
    e->handed = (to & locked) != 0;
  }
  wake(*e);
}

}  // namespace weft
