// SPDX-License-Identifier: MIT
//
// A P outside of any run, an M that holds it, and Gs that only have a number: enough for the run queue.

#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/sched/runq.h"
#include "runtime/sched/stamp.h"

namespace weft_test {

inline std::unique_ptr<weft::rt::P> bare_p() {
  auto p = std::make_unique<weft::rt::P>();
  if (!weft::os::asymmetric_fences) p->claim.store(weft::rt::claim::fenced, weft::relaxed);
  return p;
}

// A P, and an M of the thread that makes it, with what a move of a biased word asks of them.
class held_p {
 public:
  held_p() : p_(bare_p()), m_(std::make_unique<weft::rt::M>()) {
    p_->stamp = weft::rt::new_stamp_range();
    m_->p = p_.get();
    if (weft::os::sections) m_->section = weft::os::section_slot_of_thread();
  }
  weft::rt::P* p() const { return p_.get(); }
  weft::rt::M* m() const { return m_.get(); }

 private:
  std::unique_ptr<weft::rt::P> p_;
  std::unique_ptr<weft::rt::M> m_;
};

// The waiter half of n Gs is all there is of them. Free to be stolen: their affinity is that of a bare P, null.
class numbered_gs {
 public:
  explicit numbered_gs(std::size_t n) : gs_(n) {}
  weft::rt::G* operator[](std::size_t i) { return static_cast<weft::rt::G*>(&gs_[i]); }
  std::size_t number_of(weft::rt::G* g) const {
    return static_cast<std::size_t>(static_cast<weft::rt::waiter*>(g) - gs_.data());
  }
  std::size_t size() const { return gs_.size(); }

 private:
  std::vector<weft::rt::waiter> gs_;
};

}  // namespace weft_test
