// SPDX-License-Identifier: MIT
//
// try_result<T>: what a receive that does not wait, or not for ever, has come to: a value, nothing at the moment, or nothing any more. Go's select
// with default says the first two apart, and the last by "v, ok".

#pragma once

#include <optional>
#include <utility>

namespace weft {

// What try_recv, recv_for and recv_until return.
template <class T>
class try_result {
 public:
  enum class state : unsigned char { value, empty, closed };

  explicit try_result(state s) : state_(s) {}
  explicit try_result(std::optional<T>&& v) : value_(std::move(v)), state_(state::value) {}

  bool has_value() const { return state_ == state::value; }
  explicit operator bool() const { return has_value(); }
  bool is_empty() const { return state_ == state::empty; }    // nothing at the moment
  bool is_closed() const { return state_ == state::closed; }  // nothing any more
  state status() const { return state_; }

  // Undefined unless has_value(), as with std::optional.
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return *std::move(value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }
  // Throws std::bad_optional_access unless has_value().
  T& value() & { return value_.value(); }
  const T& value() const& { return value_.value(); }
  T&& value() && { return std::move(value_).value(); }

 private:
  std::optional<T> value_;
  state state_;
};

}  // namespace weft
