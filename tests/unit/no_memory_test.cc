// SPDX-License-Identifier: MIT
//
// What channel operations and selects leave behind when there is no memory for a node: nothing, and the channel goes on.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <new>
#include <thread>
#include <vector>

#include "runtime/chan/select.h"
#include "tests/support/channels.h"
#include "tests/support/emulated.h"

namespace weft {
namespace {

// Runs f in a process of its own. 0: all was well.
template <class F>
int in_child(F f) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(f());
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// Leaves the calling thread `left` nodes, and the process no way to fetch more.
void leave_nodes(std::size_t left, std::vector<rt::smr_node*>& taken) {
  taken.reserve(10'000);
  rt::smr_record* r = rt::smr_of_thread();
  for (std::size_t i = 0; i < left; ++i) taken.push_back(new (rt::smr_alloc(r)) rt::smr_node);
  rlimit low{.rlim_cur = 1 << 20, .rlim_max = RLIM_INFINITY};
  ::setrlimit(RLIMIT_AS, &low);
  try {
    for (;;) taken.push_back(new (rt::smr_alloc(r)) rt::smr_node);
  } catch (const std::bad_alloc&) {
  }
  for (; left > 0; --left) {
    rt::smr_free(r, taken.back());
    taken.pop_back();
  }
}

// `waiting` threads receive from c; then this one does op(c), with memory for `left` nodes, which must throw and leave all as it was.
template <class Op>
int has_no_memory(int waiting, std::size_t left, Op op) {
  auto c = make_chan<int>();
  std::vector<std::thread> others;
  others.reserve(static_cast<std::size_t>(waiting));
  for (int i = 0; i < waiting; ++i) others.emplace_back([c] { (void)c.recv(); });
  while (weft_test::waiters(c) != waiting) os::yield_thread();
  std::vector<rt::smr_node*> taken;
  leave_nodes(left, taken);
  rt::smr_record* r = rt::smr_of_thread();
  if (r->nfree != left) ::_exit(2);
  try {
    op(c);
    ::_exit(3);
  } catch (const std::bad_alloc&) {
  }
  if (r->nfree != left) ::_exit(4);           // a node is lost
  if (r->pin.load(relaxed) != 0) ::_exit(5);  // still in its section: no memory would come back any more
  if (rt::any_both(c.core()->both.load(relaxed))) ::_exit(6);  // counted, and not there
  if (weft_test::waiters(c) != waiting) ::_exit(7);
  for (int i = 0; i < waiting; ++i) c.send(i);
  for (auto& t : others) t.join();
  return 0;
}

#define WEFT_SKIP_WITHOUT_LIMITS()                     \
  if (WEFT_ASAN || WEFT_TSAN || weft_test::emulator()) \
  GTEST_SKIP() << "sanitizer runtimes do not work in so little address space, an emulator takes no limit on it"

TEST(no_memory, a_second_receiver_needs_two_nodes) {
  WEFT_SKIP_WITHOUT_LIMITS();
  for (const std::size_t left : {0u, 1u})
    EXPECT_EQ(in_child([left] { return has_no_memory(1, left, [](auto& c) { (void)c.recv(); }); }), 0);
}

TEST(no_memory, a_third_receiver_needs_one) {
  WEFT_SKIP_WITHOUT_LIMITS();
  EXPECT_EQ(in_child([] { return has_no_memory(2, 0, [](auto& c) { (void)c.recv(); }); }), 0);
}

TEST(no_memory, a_select_beside_one_who_waits_needs_two) {
  WEFT_SKIP_WITHOUT_LIMITS();
  for (const std::size_t left : {0u, 1u})
    EXPECT_EQ(in_child([left] { return has_no_memory(1, left, [](auto& c) { select(on_recv(c)); }); }), 0);
}

TEST(no_memory, a_select_both_ways_needs_one) {
  WEFT_SKIP_WITHOUT_LIMITS();
  EXPECT_EQ(in_child([] { return has_no_memory(0, 0, [](auto& c) { select(on_recv(c), on_send(c, 1)); }); }), 0);
}

}  // namespace
}  // namespace weft
