// SPDX-License-Identifier: MIT

#include "condition_variable.h"

namespace weft {

using namespace rt;

condition_variable::queued::queued(condition_variable& cv) : e_(lot_kind::condition_variable, &cv, withdraw) {
  lot& l = lot_of(&cv);
  lock_scope hold(l.lk);
  l.push_back(e_);
  // CV-COUNT: relaxed, since the lock that the caller is about to give up carries it to whoever changes, under it, what the caller waits for.
  cv.waiting_.store(cv.waiting_.load(relaxed) + 1, relaxed);
}

// Not blocked: unlocking threw. If a notification was faster it is on its way, and must have arrived before the entry may go.
condition_variable::queued::~queued() {
  if (!over_ && !withdraw(e_)) rt::block(e_, wait_reason::condition_variable);
}

bool condition_variable::queued::block(std::int64_t deadline) {
  over_ = true;  // however it ends: block_until throws only what it has withdrawn
  block_until(e_, wait_reason::condition_variable, deadline);
  return !e_.timed_out;
}

void condition_variable::queued::give_up() noexcept {
  if (!withdraw(e_)) return;  // notified, or timed out
  e_.timed_out = true;
  wake(e_);
}

bool condition_variable::withdraw(wait_entry& e) {
  lot& l = lot_of(e.object);
  lock_scope hold(l.lk);
  if (!e.queued) return false;
  auto* cv = static_cast<condition_variable*>(const_cast<void*>(e.object));
  l.remove(e);
  cv->waiting_.store(cv->waiting_.load(relaxed) - 1, relaxed);  // relaxed: the lot's lock; CV-COUNT
  return true;
}

void condition_variable::notify_one() {
  if (waiting_.load(relaxed) != 0) {  // CV-COUNT
    woken_list out;
    {
      lot& l = lot_of(this);
      lock_scope hold(l.lk);
      if (wait_entry* e = l.first(lot_kind::condition_variable, this)) {
        waiting_.store(waiting_.load(relaxed) - 1, relaxed);  // relaxed: the lot's lock
        out.take(l, *e);
      }
    }
    out.wake_all();
  }
  cooperate(self());
}

void condition_variable::notify_all() {
  if (waiting_.load(relaxed) != 0) {  // CV-COUNT
    woken_list out;
    {
      lot& l = lot_of(this);
      lock_scope hold(l.lk);
      waiting_.store(0, relaxed);  // relaxed: the lot's lock
      while (wait_entry* e = l.first(lot_kind::condition_variable, this)) out.take(l, *e);
    }
    out.wake_all();
  }
  cooperate(self());
}

}  // namespace weft
