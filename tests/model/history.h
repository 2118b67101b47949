// SPDX-License-Identifier: MIT
//
// Is what a few channel operations returned explained by some order of them? (Linearizability, after Wing and Gong: search for an order that
// respects "this one had ended before that one began" and the sequential specification.)
//
// Specification of a channel of capacity c > 0: a queue. send waits for room, receive for a value; on a closed channel send fails, receive
// takes what is left and then fails; try_* do not wait, and fail when there is no room, or no value. With c = 0 a send and a receive
// take effect together; a try_* may fail whenever the channel is open (whether a partner has come to wait is not to be seen from
// outside).

#pragma once

#include <array>

#include "model.h"

namespace weft_test {

enum class op : unsigned char { send, receive, try_send, try_receive, close };
enum class result : unsigned char { pending, done, closed, not_now };

class history {
 public:
  explicit history(int capacity) : capacity_(capacity) {}

  int begin(op what, int value = 0) {
    int i = n_++;
    call& c = calls_[static_cast<std::size_t>(i)];
    c.what = what;
    c.value = value;
    for (int j = 0; j < i; ++j)
      if (const call& d = calls_[static_cast<std::size_t>(j)]; d.how != result::pending && sim::happened(d.ended))
        c.after |= 1U << j;
    return i;
  }
  void end(int i, result how, int value = 0) {
    call& c = calls_[static_cast<std::size_t>(i)];
    c.how = how;
    if (c.what == op::receive || c.what == op::try_receive) c.value = value;
    c.ended = sim::mark();
  }
  bool explained() {
    queue empty;
    return search(0, empty);
  }

 private:
  static constexpr int most = 12;
  struct call {
    op what = op::send;
    result how = result::pending;
    int value = 0;
    unsigned after = 0;
    sim::moment ended;
  };
  struct queue {
    std::array<int, most> v{};
    int first = 0;
    int n = 0;
    bool closed = false;
  };

  bool may_come(unsigned done, int i) const {
    return (done >> i & 1) == 0 && (calls_[static_cast<std::size_t>(i)].after & ~done) == 0;
  }

  // One call by itself. False: not possible in this state.
  bool take(const call& c, queue& q) const {
    switch (c.what) {
      case op::send:
      case op::try_send:
        if (c.how == result::closed) return q.closed;
        if (c.how == result::not_now) return !q.closed && q.n == capacity_;
        if (q.closed || q.n >= capacity_) return false;
        q.v[static_cast<std::size_t>(q.first + q.n++) % most] = c.value;
        return true;
      case op::receive:
      case op::try_receive:
        if (c.how == result::closed) return q.closed && q.n == 0;
        if (c.how == result::not_now) return !q.closed && q.n == 0;
        if (q.n == 0 || q.v[static_cast<std::size_t>(q.first)] != c.value) return false;
        q.first = (q.first + 1) % most;
        --q.n;
        return true;
      case op::close:
        if (c.how == result::closed) return q.closed;
        if (q.closed) return false;
        q.closed = true;
        return true;
    }
    return false;
  }

  bool search(unsigned done, const queue& q) {
    if (done == (1U << n_) - 1) return true;
    for (int i = 0; i < n_; ++i) {
      if (!may_come(done, i)) continue;
      const call& c = calls_[static_cast<std::size_t>(i)];
      queue next = q;
      if (take(c, next) && search(done | 1U << i, next)) return true;
      if (capacity_ != 0 || c.how != result::done || q.closed || (c.what != op::send && c.what != op::try_send))
        continue;
      for (int j = 0; j < n_; ++j) {  // the two together
        const call& d = calls_[static_cast<std::size_t>(j)];
        if (j == i || !may_come(done, j) || d.how != result::done || d.value != c.value) continue;
        if (d.what != op::receive && d.what != op::try_receive) continue;
        if (search(done | 1U << i | 1U << j, q)) return true;
      }
    }
    return false;
  }

  int capacity_;
  int n_ = 0;
  std::array<call, most> calls_{};
};

}  // namespace weft_test
