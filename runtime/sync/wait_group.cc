// SPDX-License-Identifier: MIT

#include "wait_group.h"

#include <stdexcept>

namespace weft {

using namespace rt;

namespace {

constexpr std::uint64_t waiter_mask = 0x0000'ffff'ffff'ffc0;
constexpr std::int64_t max_count = (std::int64_t{1} << 22) - 1;

waiter* waiter_of(std::uint64_t w) { return reinterpret_cast<waiter*>(w & waiter_mask); }
std::int64_t count_of(std::uint64_t w) { return static_cast<std::int64_t>(w >> 48 << 6 | (w & 63)); }
std::uint64_t word_of(waiter* top, std::int64_t count) {
  auto n = static_cast<std::uint64_t>(count);
  return reinterpret_cast<std::uint64_t>(top) | n >> 6 << 48 | (n & 63);
}

}  // namespace

void wait_group::add(std::int64_t n) {
  std::uint64_t before = word_.load(relaxed);  // relaxed: a look, the exchange decides
  std::uint64_t after;
  do {
    std::int64_t count = count_of(before);
    if (n < -count) throw std::logic_error("weft::wait_group: negative counter");
    if (n > max_count - count) throw std::logic_error("weft::wait_group: counter above 4194303");
    count += n;
    after = count == 0 ? 0 : word_of(waiter_of(before), count);
    // WG-DONE release: what the caller did; acquire: what the others did, for whom the last one wakes. WG-WAIT acquire.
  } while (!word_.compare_exchange_weak(before, after, acq_rel, relaxed));
  // The object may be gone.
  if (after == 0) {
    for (waiter* who = waiter_of(before); who;) {
      waiter* next = who->next;
      ready(self(), who);
      who = next;
    }
  }
  cooperate(self());
}

void wait_group::wait() {
  M* m = self();
  thread_waiter thread;
  waiter* me = m ? static_cast<waiter*>(m->curg) : &thread;
  for (;;) {
    std::uint64_t w = word_.load(acquire);  // WG-DONE acquire
    if (w == 0) return cooperate(m);
    me->next = waiter_of(w);
    std::uint64_t mine = word_of(me, count_of(w));
    // A failure means that somebody was done, or added, or waits as well.
    if (m) {
      if (park(m, word_, w, mine, wait_reason::wait_group) != parked::no) return;
    } else if (word_.compare_exchange_weak(w, mine, release, relaxed)) {  // WG-WAIT release
      block_thread(thread);
      return;
    }
  }
}

}  // namespace weft
