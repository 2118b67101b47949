// SPDX-License-Identifier: MIT
//
// Faults and escaped exceptions: how a goroutine that cannot go on takes the process with it, and what is said about it.
//   * A fault in a guard page is a stack overflow; it is named, with goroutine and stack size. The handler runs on the thread's
//     alternate stack; all it calls is async-signal-safe.
//   * An exception that nobody catches: the search for a handler ends at the goroutine's first frame, whose personality routine is
//     here. Nothing has been unwound yet, so the backtrace shows the throw.

#include <cxxabi.h>
#include <execinfo.h>
#include <unwind.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <typeinfo>

#include "../base/check.h"
#include "../os/process.h"
#include "../os/signal.h"
#include "world.h"

namespace weft::rt {

namespace {

// Pools of the runs that are under way: a handler may look at them at any moment, so they are slots of a fixed table, and a pool
// leaves it before it is destroyed. A fault in a guard while its own run ends cannot be: its goroutines have ended.
constexpr int max_runs = 256;
atomic<stack_pool*> pools[max_runs];

// Does the fault lie in a guard? Then this does not return.
bool on_fault(void* address, void* /*ucontext*/) {
  stack_hit hit;
  for (auto& entry : pools) {
    stack_pool* pool = entry.load(acquire);  // POOL
    if (!pool || !pool->find(address, hit) || !hit.in_guard) continue;
    const G* g = reinterpret_cast<const G*>(hit.top) - 1;
    char text[192];
    const char* name = g->name;
    int n = std::snprintf(text, sizeof text, "weft: stack overflow in goroutine %llu%s%s%s (%zu KiB)\n",
                          static_cast<unsigned long long>(g->id.load(relaxed)), name ? " \"" : "", name ? name : "",
                          name ? "\"" : "", hit.size >> 10);
    os::write_stderr({text, static_cast<std::size_t>(n)});
    os::abort_process();
  }
  return false;
}

void print_backtrace() {
  void* frames[64];
  int n = ::backtrace(frames, 64);
  ::backtrace_symbols_fd(frames, n, 2);
}

// Throws std::bad_alloc.
std::string text_of_escaped(const G* g, _Unwind_Exception* thrown, bool foreign) {
  std::string text = "weft: exception left goroutine " + (g ? describe(g) : std::string("?"));
  if (!foreign) {
    abi::__cxa_begin_catch(thrown);
    const std::type_info* type = abi::__cxa_current_exception_type();
    int failed = 0;
    char* readable = type ? abi::__cxa_demangle(type->name(), nullptr, nullptr, &failed) : nullptr;
    text += std::string(": ") + (readable ? readable : type ? type->name() : "?");
    std::free(readable);
    try {
      throw;
    } catch (const std::exception& e) {
      text += std::string(": ") + e.what();
    } catch (...) {
    }
  } else {
    text += ": a foreign exception, or a forced unwind (pthread_exit in a goroutine)";
  }
  text += "\n";
  if (g) text += "started at " + place(g->started_at) + "\n";
  return text + "backtrace:\n";
}

// What left the goroutine may be that there is no memory. Then this must not ask for some, and be called again for what that throws.
[[noreturn]] void report_escaped(_Unwind_Exception* thrown, bool foreign) {
  M* m = self();
  try {
    os::write_stderr(text_of_escaped(m ? m->curg : nullptr, thrown, foreign));
  } catch (...) {
    os::write_stderr(
        "weft: exception left a goroutine, perhaps std::bad_alloc: there is no memory to say more\nbacktrace:\n");
  }
  print_backtrace();
  os::abort_process();
}

}  // namespace

void install_fault_handler() { os::acquire_fault_handler(on_fault); }
void remove_fault_handler() { os::release_fault_handler(); }

void add_pool(stack_pool* pool) {
  for (auto& entry : pools) {
    stack_pool* none = nullptr;
    if (entry.compare_exchange_strong(none, pool, release, relaxed)) return;  // POOL release -> acquire in on_fault
  }
  throw std::system_error(EAGAIN, std::generic_category(), "weft::run: more than 256 at once");
}

void remove_pool(stack_pool* pool) {
  for (auto& entry : pools) {
    stack_pool* mine = pool;
    if (entry.compare_exchange_strong(mine, nullptr, relaxed, relaxed)) return;  // relaxed: nobody is to find it there
  }
}

}  // namespace weft::rt

// Itanium C++ ABI, "Exception Handling", "The Personality Routine". Called for weft_first_frame (arch/): the end of the search, or of a
// forced unwind. "GNUCC++\0" and "CLNGC++\0" with any last byte are C++ exceptions we can look into.
extern "C" [[gnu::visibility("hidden")]] _Unwind_Reason_Code weft_first_frame_personality(
    int /*version*/, _Unwind_Action /*actions*/, std::uint64_t exception_class, _Unwind_Exception* thrown,
    _Unwind_Context* /*context*/) {
  constexpr std::uint64_t gnu = 0x474e5543432b2b00;
  constexpr std::uint64_t clang = 0x434c4e47432b2b00;
  std::uint64_t vendor = exception_class & ~std::uint64_t{0xff};
  weft::rt::report_escaped(thrown, vendor != gnu && vendor != clang);
}
