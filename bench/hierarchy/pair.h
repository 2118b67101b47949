// SPDX-License-Identifier: MIT
#pragma once

// Two processes that take turns (turns.h). This process only tells them when: neither side is a thread of it, so that both
// are alike, and can be put behind the same walls.
//
//   worker --n--> asker <--turns--> answerer
//          <-ns--

#include <cstdint>
#include <new>
#include <optional>
#include <stdexcept>

#include "child.h"
#include "os.h"
#include "row.h"
#include "turns.h"

namespace bench::hierarchy {

template <class Turns>
class two_processes : public experiment {
 public:
  two_processes(const two_cpus& where, child_settings of_asker, child_settings of_answerer) {
    detail = where.text;
    of_asker.cpu = where.first;
    of_answerer.cpu = where.second;
    turns_ = new (shared_.get()) Turns;
    answerer_.emplace(of_answerer, [this] { answer(*turns_); });
    asker_.emplace(of_asker, [this] {
      orders_.write.close();
      figures_.read.close();
      for (std::int64_t n = 0; read_all(orders_.read.get(), &n, sizeof n);) {
        const double ns = ask(*turns_, n);
        write_all(figures_.write.get(), &ns, sizeof ns);
      }
    });
    figures_.write.close();
    if (of_asker.around == walls::namespaces) {
      answerer_->check_walls();
      asker_->check_walls();
    }
  }
  ~two_processes() override {
    asker_.reset();  // killed, before what they share goes
    answerer_.reset();
    turns_->~Turns();
  }

  double run(std::int64_t n) override {
    double ns = 0;
    if (!write_all(orders_.write.get(), &n, sizeof n) || !read_all(figures_.read.get(), &ns, sizeof ns)) {
      throw std::runtime_error("the asking process has ended");
    }
    return ns;
  }

 private:
  shared_memory shared_{sizeof(Turns)};
  Turns* turns_ = nullptr;
  pipe_ends orders_ = make_pipe(), figures_ = make_pipe();
  std::optional<child> answerer_, asker_;
};

using futex_across = futex_turns<futex_scope::shared>;

}  // namespace bench::hierarchy
