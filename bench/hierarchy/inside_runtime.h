// SPDX-License-Identifier: MIT
#pragma once

// An experiment of experiments.h: one runtime for each turn, in which a goroutine runs batch after batch.

#include <cstdint>
#include <exception>
#include <functional>
#include <stdexcept>
#include <utility>

#include <weft/weft.h>

#include "../experiments.h"
#include "row.h"

namespace bench::hierarchy {

class inside_runtime : public experiment {
 public:
  inside_runtime(int procs, std::function<bench::result(std::int64_t n)> program)
      : procs_(procs), program_(std::move(program)) {}

  // What leaves a goroutine ends the process, so it is carried out by hand.
  void within(const std::function<void()>& body) override {
    std::exception_ptr thrown;
    weft::run({.procs = procs_}, [&] {
      try {
        body();
      } catch (...) {
        thrown = std::current_exception();
      }
    });
    if (thrown) std::rethrow_exception(thrown);
  }

  double run(std::int64_t n) override {
    const bench::result r = program_(n);
    if (!r.right) throw std::runtime_error("the sums are wrong, values were lost or repeated");
    return r.ns_per_op();
  }

 private:
  int procs_;
  std::function<bench::result(std::int64_t)> program_;
};

}  // namespace bench::hierarchy
