// SPDX-License-Identifier: MIT
//
// Reclamation (sched/quiesce.h): a node that a section may still read is not written. What readers look at is plain, so reuse under a
// reader is a race; and a node says what it was made for.

#include <array>
#include <new>

#include "model.h"
#include "runtime/sched/quiesce.h"

namespace weft::rt {
namespace {

using weft_test::check_all;
using weft_test::check_some;

struct thing : smr_node {
  plain<int> value{0};
};

thing* make(smr_record* r, int v) {
  auto* t = new (smr_alloc(r)) thing;
  t->value = v;
  return t;
}

void retire(smr_record* r, thing* t) {
  smr_enter(r);
  smr_retire(r, t);
  smr_leave(r);
}

// Follows the link, so many times.
void look(const atomic<thing*>& link, int times) {
  smr_record* r = smr_enter_thread();
  for (int i = 0; i < times; ++i) {
    smr_enter(r);
    thing* t = link.load(acquire);
    int first = t->value;
    sim::require(t->value == first && first != 0, "it changed under a reader");
    smr_leave(r);
  }
  smr_leave_thread(r);
}

// SMR-PIN. A writer replaces what `link` leads to, over and over, and so comes to reuse nodes; a reader follows it.
void replace(int rounds, int looks, int readers) {
  atomic<thing*> link{nullptr};
  smr_record* mine = smr_enter_thread();
  link.store(make(mine, 1), release);
  sim::thread a([&] { look(link, looks); });
  std::unique_ptr<sim::thread> b;
  if (readers > 1) b = std::make_unique<sim::thread>([&] { look(link, looks); });
  for (int i = 2; i < 2 + rounds; ++i) retire(mine, link.exchange(make(mine, i), acq_rel));
  a.join();
  if (b) b->join();
  smr_leave_thread(mine);
}
TEST(quiesce, reuse_waits_for_readers) {
  check_all([] { replace(5, 1, 1); }, {.preemptions = 2, .stale = 2});
  check_some([] { replace(6, 2, 1); }, 100'000);
}
TEST(quiesce, two_readers) {
  check_some([] { replace(6, 2, 2); }, 100'000);
}

// Threads that come and go move the epoch on, without retiring anything: who reuses relies on what they have seen.
TEST(quiesce, moved_on_by_a_third) {
  check_some(
      [] {
        atomic<thing*> link{nullptr};
        smr_record* mine = smr_enter_thread();
        link.store(make(mine, 1), release);
        sim::thread reader([&] { look(link, 2); });
        sim::thread passer([] {
          for (int i = 0; i < 2; ++i) smr_leave_thread(smr_enter_thread());
        });
        for (int i = 2; i < 7; ++i) retire(mine, link.exchange(make(mine, i), acq_rel));
        reader.join();
        passer.join();
        smr_leave_thread(mine);
      },
      100'000);
}

// SMR-EPOCH. A writer's own look at the pins breaks off at `late`, which is bound to the epoch before, and so does not come to that of
// `reader`, whose section is over. It reuses what `reader` read on the strength of two moves of the epoch by others: the end of the section
// has to come with them. Who comes when is told by relaxed flags, which carry nothing, up to the writer's second retire.
TEST(quiesce, the_epoch_brings_the_ends_of_sections) {
  check_some(
      [] {
        atomic<int> stage{0};
        auto reach = [&](int n) { stage.store(n, relaxed); };
        auto await = [&](int n) {
          while (stage.load(relaxed) < n) sim::spin();
        };
        smr_record* writers = smr_enter_thread();
        smr_record* readers = smr_enter_thread();
        std::array<smr_record*, 2> movers{smr_enter_thread(), smr_enter_thread()};
        smr_record* lates = smr_enter_thread();  // the first that is looked at
        atomic<thing*> link{make(writers, 1)};
        thing* second = make(writers, 1);
        std::array<thing*, 2> spare{make(movers[0], 1), make(movers[1], 1)};
        sim::thread reader([&] {
          smr_enter(readers);
          thing* t = link.load(acquire);
          reach(1);
          await(3);
          sim::require(t->value == 1, "it changed under a reader");
          smr_leave(readers);
          reach(4);
        });
        sim::thread late([&] {
          await(2);
          smr_enter(lates);
          reach(3);
          await(6);
          smr_leave(lates);
          reach(7);
        });
        sim::thread first([&] {
          await(4);
          retire(movers[0], spare[0]);
          reach(5);
        });
        sim::thread then([&] {
          await(7);
          retire(movers[1], spare[1]);
        });
        await(1);
        retire(writers, link.exchange(nullptr, acq_rel));
        reach(2);
        await(5);
        reach(6);
        retire(writers, second);
        for (int i = 0; i < 2; ++i) make(writers, 2);
        reader.join();
        late.join();
        first.join();
        then.join();
        for (smr_record* r : {writers, readers, movers[0], movers[1], lates}) smr_leave_thread(r);
      },
      100'000);
}

// Two writers retire, and each reuses its own.
TEST(quiesce, two_writers) {
  check_some(
      [] {
        atomic<thing*> link{nullptr};
        auto work = [&] {
          smr_record* r = smr_enter_thread();
          for (int i = 1; i < 5; ++i) {
            auto* t = new (smr_alloc(r)) thing;
            t->value = i;
            smr_enter(r);
            thing* old = link.exchange(t, acq_rel);
            if (thing* seen = link.load(acquire)) sim::require(seen->value != 0, "an empty thing");
            if (old) smr_retire(r, old);
            smr_leave(r);
          }
          smr_leave_thread(r);
        };
        sim::thread a(work);
        work();
        a.join();
      },
      100'000);
}

// A record is given back with nodes that a section still holds; its next owner frees them in time.
TEST(quiesce, records_change_hands) {
  check_some(
      [] {
        atomic<thing*> link{nullptr};
        auto work = [&](int from) {
          for (int k = 0; k < 3; ++k) {
            smr_record* r = smr_enter_thread();
            auto* t = new (smr_alloc(r)) thing;
            t->value = from + k;
            smr_enter(r);
            thing* old = link.exchange(t, acq_rel);
            if (old) smr_retire(r, old);
            thing* seen = link.load(acquire);
            sim::require(seen->value != 0, "an empty thing");
            smr_leave(r);
            smr_leave_thread(r);
          }
        };
        sim::thread a([&] { work(10); });
        sim::thread b([&] { work(20); });
        a.join();
        b.join();
      },
      100'000);
}

}  // namespace
}  // namespace weft::rt
