// SPDX-License-Identifier: MIT
//
// Items to be sent through a queue: each is to be taken once, by whomever, and with what was written to it before.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

#include "bare_p.h"

namespace weft_test {

class every_item_once {
 public:
  explicit every_item_once(int n)
      : gs_(static_cast<std::size_t>(n)),
        written_(gs_.size()),
        taken_(std::make_unique<std::atomic<unsigned char>[]>(gs_.size())) {}
  // The i-th. For who puts it into the queue, before doing so.
  weft::rt::G* make(int i) {
    const auto at = static_cast<std::size_t>(i);
    written_[at] = i + 1;
    return gs_[at];
  }
  // By who has taken it out: which it was.
  int take(weft::rt::G* g) {
    const std::size_t i = gs_.number_of(g);
    taken_[i].fetch_add(1, std::memory_order_relaxed);
    if (written_[i] != static_cast<int>(i) + 1) torn_.fetch_add(1, std::memory_order_relaxed);
    return static_cast<int>(i);
  }
  void check() const {
    std::size_t lost = 0;
    std::size_t twice = 0;
    for (std::size_t i = 0; i < gs_.size(); ++i) {
      lost += taken_[i] == 0;
      twice += taken_[i] > 1;
    }
    EXPECT_EQ(lost, 0u);
    EXPECT_EQ(twice, 0u);
    EXPECT_EQ(torn_, 0) << "taken before they were written";
  }

 private:
  numbered_gs gs_;
  std::vector<int> written_;  // plain: what the queue must carry
  std::unique_ptr<std::atomic<unsigned char>[]> taken_;
  std::atomic<int> torn_{0};
};

}  // namespace weft_test
