// SPDX-License-Identifier: MIT
//
// What tests of channels and of select share.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>

#include "runtime/chan/wait_list.h"
#include "tests/support/world.h"

namespace weft_test {

// Each has an edge: none, one, the least ring, no power of two, larger than the least ring.
inline constexpr std::size_t capacities[] = {0, 1, 2, 3, 7, 128};

// How many stand in c's list; parked_only: not counting selects that have yet to park. For moments when nobody leaves: then every node of the
// list stays where it is.
template <class C>
int waiters(const C& c, bool parked_only = false) {
  using namespace weft;
  const std::uint64_t w = c.core()->word.load(acquire);
  switch (rt::word::kind_of(w)) {
    case rt::word::receiver:
    case rt::word::sender:
    case rt::word::select_receiver:
    case rt::word::select_sender:
      return 1;
    case rt::word::receivers:
    case rt::word::senders: {
      int n = 0;
      for (rt::wait_node* node = rt::word::node_of(w); node != nullptr;) {
        const std::uint64_t next = node->next.load(acquire);
        const bool counts =
            !parked_only || !node->select ||
            node->select->load(acquire) == rt::sel::make(rt::sel::ticket_of(node->ticket), rt::sel::waiting);
        if (!rt::link::marked(next) && counts) ++n;
        node = rt::link::node(next);
      }
      return n;
    }
    default:
      return 0;
  }
}

// Until n wait, and are parked.
template <class C>
void await_waiters(const C& c, int n) {
  ASSERT_TRUE(eventually([&] { return waiters(c, true) == n; })) << waiters(c) << " wait, not " << n;
}

}  // namespace weft_test
