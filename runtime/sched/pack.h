// SPDX-License-Identifier: MIT
//
// Cold stacks, packed (options::pack_after): a goroutine that has been parked for long costs some hundred bytes instead of a page.
//
// What is packed is the page that holds the top of a stack, the G and its first frames, once nobody has written to it for long: all of it, whatever it
// means, as swapping would, so no goroutine, waker or late reader can tell but by the time it takes. What lies deeper in a stack stays. A parked
// page is mostly zeros; the words that are none are kept, and a bit for each.
//
//                       a pass finds it there                     the next pass but one
//   plain ------------------------------> write_protected ------------------------> packed (and absent)
//     ^                                        |                                        |
//     +-------------- somebody writes ---------+      +------ somebody touches it ------+
//     |                                               |
//     +-----------------------------------------------+
//
// Two threads. The *packer* makes the passes. The *keeper* answers page faults, for which others wait who may hold any lock, malloc's included: so it
// takes none but `lock_`, whose holders neither touch a goroutine's stack, be it their own, nor allocate nor wait; and it allocates nothing. (bring
// took lock_ once, on the stack of who starts a goroutine: which was protected just then.)
//
// Why a page's content is right: between its protection and its discarding, both under lock_, its state is write_protected throughout, so the keeper
// has let nobody write. What the packer read in between is what was there. A write that comes meanwhile waits for the keeper, which waits for
// lock_, and finds the page packed: it is put back first.
// Why the packer's look does not fault: a page that is there is discarded by trim() alone, which it keeps out (stack_pool::discards).
// A page that is discarded by trim() is plain from then on, so a slot that is used anew begins so.
//
// Costs, while it is on: the first touch of each new page of a stack is answered by the keeper, 11 us instead of 2 on the machine this was measured on,
// but for top pages, which are brought in batches; so is a write to a page that was protected meanwhile, once, and less often the more often that happens
// (heat); and the return of a packed one. Needs a privilege (os/pager.h).
//
// In a child after fork() a packed stack is zeros. Debuggers and core files do not show it either.
//
// Sources: userfaultfd(2); the second-chance clock, Corbato 1968.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "../base/lock.h"
#include "../os/atomic.h"
#include "../os/pager.h"
#include "../os/thread.h"
#include "stack.h"

namespace weft::rt {

struct pack_stats {
  std::size_t pages = 0;  // packed now
  std::size_t bytes = 0;  // in which they are kept
};

class stack_packer final : public page_keeper {
 public:
  // A page is packed that was not written to for `after_ns`, and at most twice that. Throws std::system_error: page faults, or threads, cannot be had.
  stack_packer(stack_pool& stacks, std::int64_t after_ns);
  // When nobody touches any of the stacks any more.
  ~stack_packer();
  stack_packer(const stack_packer&) = delete;
  stack_packer& operator=(const stack_packer&) = delete;

  void watch(void* base, std::size_t bytes) override;
  void bring(void* const* pages, std::size_t n) noexcept override;
  void discarded(page_state& state) noexcept override;

  pack_stats stats() const noexcept;
  static constexpr int threads = 2;

 private:
  struct block;

  void run_keeper() noexcept;
  void run_packer() noexcept;
  void pass() noexcept;
  std::size_t look_at(void* const* pages, std::size_t n) noexcept;
  void protect(void* const* pages, std::size_t n, const unsigned char* there) noexcept WEFT_REQUIRES(lock_);
  bool pack(void* page, page_state& state) noexcept;
  void unpack(page_state& state, void* page) noexcept WEFT_REQUIRES(lock_);
  void unpack_around(void* page) noexcept WEFT_REQUIRES(lock_);
  void drop(page_state& state) noexcept WEFT_REQUIRES(lock_);
  void free_garbage() noexcept;

  stack_pool& stacks_;
  const std::int64_t after_ns_;
  const std::size_t words_;  // of a page
  os::page_faults faults_;
  os::thread keeper_, packer_;
  void* last_first_ = nullptr;  // keeper: of the neighbours of who came back last, and where the next ones begin
  void* last_end_ = nullptr;
  note stop_;
  atomic<bool> over_{false};
  std::size_t freed_ = 0;                      // packer: bytes, since the heap was trimmed
  std::uint32_t pass_ = 0;                     // packer
  std::unique_ptr<std::uint64_t[]> seen_;      // packer: a page's content
  std::unique_ptr<std::uint64_t[]> unpacked_;  // under lock_: the same
  std::unique_ptr<std::uint64_t[]> zeros_;     // a page of them

  // The states of pages, and what belongs to them.
  runtime_lock lock_;
  block* garbage_ WEFT_GUARDED_BY(lock_) = nullptr;  // for the packer to free
  atomic<std::size_t> pages_{0};                     // written under lock_; relaxed: statistics
  atomic<std::size_t> bytes_{0};
};

}  // namespace weft::rt
