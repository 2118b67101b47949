// SPDX-License-Identifier: MIT
//
// run, go, yield: goroutines, from the outside.
//
//   weft::run([] {
//     weft::go([] { ... });
//   });                       // returns once every goroutine has ended
//
// Who may call what: `run` any thread that is not a goroutine, also several at once; `go`, `yield` and `set_procs` goroutines.
// Nothing here is async-signal-safe. After fork() the child must not touch a runtime of the parent's, only make its own.
//
// Signals. A handler must be installed with SA_ONSTACK: each thread of the runtime's has an alternate stack. A signal may come where a goroutine has
// been published and its stack is still the thread's; a frame put on that stack would lie on those of the goroutine, which may run elsewhere by then.
//
// Goroutines are cooperative. One that computes without calling the runtime keeps its P (others run on other Ps) and holds up
// set_procs; weft::yield() in a long loop helps both.
//
// C++ on a goroutine. Exceptions work as anywhere, also across parks and migration (yield inside a catch block, then `throw;`).
// errno survives a park. But a goroutine may wake on another thread, and compilers assume that a function stays on its own:
// the address of a thread_local, and with glibc that of errno, may be kept in a register across a park. Do not hold references to
// thread_local objects across a call that parks; take errno into a variable before one. The floating-point environment
// (rounding mode, exception masks) is the thread's, unless weft was built with -Dsave_fpenv=true.
//
// Source of the names: Go. Where Go has `GOMAXPROCS`, weft has `procs`.

#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include "deadline.h"
#include "park.h"

namespace weft {

// Settings of a run. Zero means not set: then the environment decides, then the machine.
struct options {
  int procs = 0;  // Ps, 1 to 1024. Else WEFT_PROCS, else GOMAXPROCS, else num_cpus()
  std::size_t stack_size =
      0;  // bytes of address space of a goroutine's stack, 16 KiB to 1 GiB, rounded up to a power of two.
          // Else WEFT_STACK_SIZE, else 64 KiB. Only touched pages cost memory. A guard page comes on top
  // Cold stacks are packed: when nobody has written to the page that holds a goroutine's first frames for so long (1 ms to an hour; at most twice as
  // long), as the goroutine is parked, what is in it is kept in some hundred bytes until somebody touches it again. Else WEFT_PACK_AFTER (in
  // ms), else never. New pages of stacks and the first use of a packed one take longer then, some 10 us; a child after fork() finds packed
  // stacks empty. Linux only with a privilege (os/pager.h): run throws std::system_error without it
  std::chrono::milliseconds pack_after{0};
};

// Settings of one goroutine.
struct go_options {
  std::string_view name = {};  // shown in reports; the first 47 bytes are kept
  std::size_t stack_size = 0;  // as in options; 0 = the run's
  int home = -1;               // laboratory: stay on P number `home` (modulo procs). -1 = run anywhere
};

namespace rt {

WEFT_API G* new_goroutine(M* m, const go_options& o, const void* started_at);
WEFT_API G* new_goroutine_here(const go_options& o);
WEFT_API G* new_goroutine_here();  // without options: half the instructions
[[noreturn]] WEFT_API void throw_no_closure_room(const G* g, std::size_t bytes);
// `bytes` of the new goroutine's stack, for its closure. Throws std::length_error when it leaves no room to run in.
inline void* closure_room(G* g, std::size_t bytes, std::size_t align) {
  constexpr std::size_t room_min = 8 << 10;  // to run in, below the closure
  auto top = reinterpret_cast<std::uintptr_t>(g->closure);
  auto lo = reinterpret_cast<std::uintptr_t>(g->stack_lo);
  if (bytes + align + room_min > top - lo) [[unlikely]]
    throw_no_closure_room(g, bytes);
  return reinterpret_cast<void*>((top - bytes) & ~(align - 1));
}
WEFT_API void launch(M* m, G* g, void (*entry)(G*));
WEFT_API void abandon(G* g) noexcept;
WEFT_API void run_world(const options& o, void (*entry)(G*), void* closure, const void* started_at);

// g: new, not seen by anybody.
template <class F, class... Args>
void start(G* g, F&& f, Args&&... args) {
  using closure = std::tuple<std::decay_t<F>, std::decay_t<Args>...>;
  try {
    g->closure = new (closure_room(g, sizeof(closure), alignof(closure)))
        closure(std::forward<F>(f), std::forward<Args>(args)...);
  } catch (...) {
    abandon(g);
    throw;
  }
  launch(self(), g, [](G* self_g) {
    auto* c = static_cast<closure*>(self_g->closure);
    struct destroyer {
      closure* c;
      ~destroyer() { c->~closure(); }
    } d{c};
    std::apply([](auto& fn, auto&... as) { std::invoke(std::move(fn), std::move(as)...); }, *c);
  });
}

}  // namespace rt

// Starts a goroutine that calls f(args...), of which it keeps decayed copies. It runs soon, on this P or on one that steals
// it; the caller goes on, but now and then gives way, as in every call of the runtime: who starts many on end, to those. In which order
// goroutines first run is not promised; mostly the one started last comes first (sched/deque.h). An exception that leaves it ends the
// process, with a report. Wait-free but for memory and the giving way: throws std::system_error when no stack is to be had (nothing
// has happened then), std::invalid_argument for a bad option. Only from a goroutine: std::logic_error elsewhere.
template <class F, class... Args>
requires std::invocable<std::decay_t<F>, std::decay_t<Args>...>
void go(F&& f, Args&&... args) { rt::start(rt::new_goroutine_here(), std::forward<F>(f), std::forward<Args>(args)...); }

template <class F, class... Args>
requires std::invocable<std::decay_t<F>, std::decay_t<Args>...>
void go(const go_options& o, F&& f, Args&&... args) {
  rt::start(rt::new_goroutine_here(o), std::forward<F>(f), std::forward<Args>(args)...);
}

// Makes a runtime, runs f() as its first goroutine, and returns f's result once every goroutine has ended. The calling thread
// becomes one of the runtime's. Afterwards no thread, mapping or goroutine is left.
// Throws std::invalid_argument for a bad setting (the text names it), std::system_error when a thread or memory is not to be
// had, std::logic_error on a goroutine. When every goroutine sleeps and nothing can wake one, the process ends with a list of
// them and exit status 2; as long as threads that are not weft's exist, that is not known, and it waits.
template <class F>
requires std::invocable<F&>
auto run(const options& o, F&& f) -> std::invoke_result_t<F&> {
  using result = std::invoke_result_t<F&>;
  const void* here = __builtin_return_address(0);
  if constexpr (std::is_void_v<result>) {
    struct closure {
      std::remove_reference_t<F>* f;
    } c{&f};
    rt::run_world(
        o, [](rt::G* g) { std::invoke(*static_cast<closure*>(g->closure)->f); }, &c, here);
  } else if constexpr (std::is_reference_v<result>) {
    struct closure {
      std::remove_reference_t<F>* f;
      std::remove_reference_t<result>* r;
    } c{&f, nullptr};
    rt::run_world(
        o,
        [](rt::G* g) {
          auto* cl = static_cast<closure*>(g->closure);
          result&& r = std::invoke(*cl->f);  // named, an rvalue has an address as well
          cl->r = std::addressof(r);
        },
        &c, here);
    return static_cast<result>(*c.r);
  } else {
    struct closure {
      std::remove_reference_t<F>* f;
      std::optional<std::remove_cv_t<result>> r;
    } c{&f, std::nullopt};
    rt::run_world(
        o,
        [](rt::G* g) {
          auto* cl = static_cast<closure*>(g->closure);
          cl->r.emplace(std::invoke(*cl->f));
        },
        &c, here);
    return std::move(*c.r);
  }
}

template <class F>
requires std::invocable<F&>
auto run(F&& f) -> std::invoke_result_t<F&> { return run(options{}, std::forward<F>(f)); }

// Lets the other goroutines of this P run first: the caller goes to the tail of its ring. Returns at once when there are none.
// On an ordinary thread: sched_yield. Inlined into its caller, as a return behind a switch is mispredicted.
[[gnu::always_inline]] inline void yield() { rt::yield_here(); }

// Parks for at least that long; zero or less is a yield. Late by what it takes to wake a thread, or until the P is free.
// On an ordinary thread it blocks the thread.
WEFT_API void sleep_ns(std::int64_t ns);
WEFT_API void sleep_until_ns(std::int64_t when_ns);  // of CLOCK_MONOTONIC, which is std::chrono::steady_clock's

template <class Clock, class Duration>
void sleep_until(const std::chrono::time_point<Clock, Duration>& t) {
  if constexpr (std::is_same_v<Clock, std::chrono::steady_clock>) {
    sleep_until_ns(std::chrono::ceil<std::chrono::nanoseconds>(t.time_since_epoch()).count());
  } else {
    // A clock that may be set: looked at again after each sleep.
    for (auto now = Clock::now(); now < t; now = Clock::now()) sleep_until_ns(rt::deadline_after(t - now));
  }
}

template <class Rep, class Period>
void sleep_for(const std::chrono::duration<Rep, Period>& d) {
  // What overflows sleeps for ever, some 292 years.
  sleep_ns(rt::ns_of(d));
}

// Ps of this run; 0 outside of one. A cooperative point, as every call of the runtime.
WEFT_API int procs();

// Changes the number of Ps while everything runs, and returns the old one; n < 1 only asks. Stops the world: waits until each
// running goroutine reaches a call of the runtime. Throws std::invalid_argument above 1024, std::logic_error outside of a run.
WEFT_API int set_procs(int n);

// CPUs this process may use: affinity mask and cgroup quota.
WEFT_API int num_cpus();

// Goroutines that have been started and have not ended, main included. A snapshot, exact when nobody starts or ends one.
WEFT_API std::int64_t num_goroutines();

namespace this_goroutine {
// Never repeats within a process; 0 on an ordinary thread.
WEFT_API std::uint64_t id();
// Empty when it has none. Valid while the goroutine lives.
WEFT_API std::string_view name();
}  // namespace this_goroutine

}  // namespace weft
