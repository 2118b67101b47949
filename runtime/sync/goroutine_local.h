// SPDX-License-Identifier: MIT
//
// goroutine_local<T>: a T of its own for each goroutine. The counterpart of thread_local, which goroutines, that move between threads,
// cannot use (sched/go.h).
//
//   ours                          thread_local T x               Go
//   static goroutine_local<T> x   the declaration                - (a context's values, passed on by hand)
//   x.get() -> T&                 x
//   made                          at a goroutine's first get     at the thread's first use
//   destroyed                     at the goroutine's end, on     at the thread's end
//                                 its stack, last made first
//   on an ordinary thread         as thread_local
//
// A value is T{}, or what the function given to the constructor returns. The reference is good until the goroutine ends, across parks and
// migration, and also when the goroutine_local itself is gone before (values are destroyed at the goroutine's end only; what the
// function refers to must live as long as gets are made). Destructors may park, and use goroutine_locals: those are made anew and
// destroyed in turn. They must not throw. get is for the goroutine itself: another has another value. It throws what T's constructor throws,
// and std::bad_alloc. It looks through the goroutine's values one by one: meant for a handful.

#pragma once

#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#include "../sched/locals.h"

namespace weft {

template <class T>
class goroutine_local {
  static_assert(std::is_object_v<T> && std::is_nothrow_destructible_v<T>,
                "weft::goroutine_local<T>: T must be an object type whose destructor does not throw");

 public:
  goroutine_local() requires std::is_default_constructible_v<T> : key_(rt::new_local_key()) {}
  template <class F>
  requires std::is_invocable_r_v<T, F&>
  explicit goroutine_local(F make) : key_(rt::new_local_key()), make_(std::move(make)) {}
  goroutine_local(const goroutine_local&) = delete;
  goroutine_local& operator=(const goroutine_local&) = delete;

  T& get() const {
    void* found = rt::find_local(key_);
    if (!found) [[unlikely]]
      found = make();
    return *static_cast<T*>(found);
  }
  T& operator*() const { return get(); }
  T* operator->() const { return &get(); }

 private:
  void* make() const {
    std::unique_ptr<T> fresh;
    if constexpr (std::is_default_constructible_v<T>) {
      if (!make_) fresh.reset(new T{});
    }
    if (!fresh) fresh.reset(new T(make_()));
    rt::add_local(key_, fresh.get(), [](void* v) { delete static_cast<T*>(v); });
    return fresh.release();
  }

  std::uint64_t key_;
  std::function<T()> make_;
};

}  // namespace weft
