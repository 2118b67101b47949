// SPDX-License-Identifier: MIT
//
// The counted handle of a channel, whatever it carries: what keeps it alive, and who ends it (REFS, chan_core.h).

#pragma once

#include <utility>

#include "chan_core.h"

namespace weft::rt {

// The counted handle.
class chan_handle {
 public:
  chan_handle() noexcept = default;
  explicit chan_handle(chan_core* c) noexcept : core_(c) {}
  chan_handle(const chan_handle& o) noexcept : core_(o.core_) {
    if (core_) core_->refs.fetch_add(1, relaxed);  // relaxed: who copies holds one already
  }
  chan_handle(chan_handle&& o) noexcept : core_(std::exchange(o.core_, nullptr)) {}
  chan_handle& operator=(chan_handle o) noexcept {
    std::swap(core_, o.core_);
    return *this;
  }
  ~chan_handle() {
    // REFS: release by who leaves -> acquire by the last one, who sees all that the others did. Who has the only handle is the last one: nobody is left
    // who could copy his own.
    if (core_ && (core_->refs.load(acquire) == 1 || core_->refs.fetch_sub(1, acq_rel) == 1)) core_->ops->destroy(core_);
  }
  chan_core* core() const noexcept { return core_; }

 private:
  chan_core* core_ = nullptr;
};

}  // namespace weft::rt
