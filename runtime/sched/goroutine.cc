// SPDX-License-Identifier: MIT
//
// Birth and death of a G.
//
// A new G's slot, high addresses first:
//
//     top of the slot        G (its colour offset keeps a thousand Gs out of each other's cache sets, sched/stack.h)
//                            name, when given
//                            closure
//                            first frame (arch)
//     ...                    the stack, downwards
//     stack_lo               lowest usable byte; the guard page is below
//
// so a goroutine that parks soon after its start keeps one page: G, closure and frames.
//
// The finished goroutine's slot goes to its P's cache while it still runs on it. That is safe: only this M takes from the cache,
// and it leaves the stack first. Slots that do not go to the cache wait until the scheduler's stack is under us.

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "../../arch/first_frame.h"
#include "../base/check.h"
#include "locals.h"
#include "quiesce.h"
#include "world.h"

#if WEFT_ASAN
#include <sanitizer/asan_interface.h>
#endif
// Valgrind guesses from the size of a jump of the stack pointer whether it went to another stack; told of each stack, it need not. The
// requests are a few instructions that do nothing elsewhere, and are made once for a slot, not for a goroutine.
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(lo, hi) 0U
#define VALGRIND_STACK_DEREGISTER(id) static_cast<void>(id)
#endif

namespace weft::rt {

namespace {

constexpr std::size_t name_max = 47;
// Goroutine ids: P's hand them out in ranges. relaxed: uniqueness is all that is asked.
atomic<std::uint64_t> next_id_range{1};
constexpr std::uint64_t id_range = 256;

std::uint64_t new_id(P* p) {
  if (p->next_id == p->last_id) {
    p->next_id = next_id_range.fetch_add(id_range, relaxed);
    p->last_id = p->next_id + id_range;
  }
  return p->next_id++;
}

G* g_at(const stack_slot& where, unsigned size_class) {
  auto at = (reinterpret_cast<std::uintptr_t>(where.top) - sizeof(G)) & ~std::uintptr_t{63};
  // A G of zeros is a G that is dead, and one that was used before may still be looked at by somebody with a stale pointer: so it is not
  // constructed again.
  G* g = std::launder(reinterpret_cast<G*>(at));
  g->stack_lo = where.lo;
  g->stack_size = static_cast<std::uint32_t>((at - reinterpret_cast<std::uintptr_t>(where.lo)));
  g->size_class = size_class;
  g->valgrind_id = VALGRIND_STACK_REGISTER(where.lo, reinterpret_cast<char*>(g));
  return g;
}

// Cold stacks are being used. While who asked for them waits for the kernel, somebody else may do so for the next batch: a spinner, or, where the only
// P can have none, sysmon, if there is a CPU for it.
void want_warm(M* m) {
  sched* s = m->s;
  s->warm_wanted.store(p_cache_batch, relaxed);  // relaxed: a hint
  if (s->nprocs.load(relaxed) != 1 || s->ncpu == 1) return;
  if (!s->sysmon_running.load(relaxed)) {
    if (++m->p->more->cold_batches < limits::stack_warm_after) return;
    try {
      start_sysmon(s);
    } catch (const std::system_error&) {
      return;  // no thread to be had: as before
    }
  }
  s->sysmon_wake.wake();
}

G* refill(M* m) {
  stack_slot got[p_cache_batch];
  std::size_t n = m->s->stacks.alloc_batch(m->s->default_class, got, p_cache_batch);
  static_assert(p_cache_batch <= os::populate_max);
  if (std::any_of(got, got + n, [](const stack_slot& s) { return s.cold; })) want_warm(m);
  m->s->stacks.bring_pages(got, n);
  P::parts* cache = m->p->more;
  for (std::size_t i = n; i-- > 1;) {
    G* g = g_at(got[i], m->s->default_class);
    g->next = cache->free;
    cache->free = g;
    ++cache->nfree;
  }
  return g_at(got[0], m->s->default_class);
}

// Slots went back: sysmon gives their pages to the kernel when nobody takes them again.
void want_trim(sched* s) {
  if (s->trim_wanted.load(relaxed)) return;  // relaxed: a hint
  s->trim_wanted.store(true, relaxed);
  try {
    start_sysmon(s);
  } catch (const std::system_error&) {
    return;  // no thread to be had: the stacks stay for reuse, and the next return asks again
  }
  s->sysmon_wake.wake();
}

void to_pool(sched* s, G* g) {
  VALGRIND_STACK_DEREGISTER(g->valgrind_id);
  stack_slot one{g->stack_lo, reinterpret_cast<char*>(g + 1)};
  s->stacks.free_batch(g->size_class, &one, 1);
  want_trim(s);
}

// Inlined, and what it ends with: calls that nobody returns from would be left in the return predictor (arch/switch.h, I3).
[[noreturn, gnu::always_inline]] inline void goroutine_exit() {
  M* m = self();
  P* p = m->p;
  G* g = m->curg;
  g->id.store(0, relaxed);
  g->name = nullptr;
  p->ended.store(p->ended.load(relaxed) + 1, release);  // relaxed read: one writer
  if (g->size_class != m->s->default_class) {
    m->more->to_pool = g;
    leave_for_good(m, nullptr);
  }
  P::parts* cache = p->more;
  if (cache->nfree >= p_cache_max) free_cached(m->s, p, p_cache_max / 2);
  G* to = pick_at_once(m);
  if (!to) to = pick_next(m);
  g->next = cache->free;
  cache->free = g;
  ++cache->nfree;
  leave_for_good(m, to);
}

void goroutine_main(void* arg) {
  arrived_fresh();
  G* g = static_cast<G*>(arg);
  g->why.store(wait_reason::none, relaxed);  // relaxed: ours, and reports'
  g->entry(g);
  if (g->locals) [[unlikely]]
    end_locals(g);  // on this stack, and while it is a goroutine like any other: destructors may park
  goroutine_exit();
}

}  // namespace

void free_cached(sched* s, P* p, std::uint32_t keep) {
  P::parts* cache = p->more;
  stack_slot batch[p_cache_max / 2];
  while (cache->nfree > keep) {
    std::uint32_t n = 0;
    for (; n < p_cache_max / 2 && cache->nfree > keep; --cache->nfree) {
      G* g = cache->free;
      cache->free = static_cast<G*>(g->next);
      VALGRIND_STACK_DEREGISTER(g->valgrind_id);
      batch[n++] = {g->stack_lo, reinterpret_cast<char*>(g + 1)};
    }
    s->stacks.free_batch(s->default_class, batch, n);
    want_trim(s);
  }
}

bool warm_stacks(sched* s) {
  const std::uint32_t left = s->warm_wanted.load(relaxed);
  if (left == 0) return false;
  const std::uint32_t n = std::min(left, limits::stack_warm_batch);
  s->warm_wanted.store(left - n, relaxed);  // lost where two write at once: the next batch asks again
  // Those that nobody wants after all stay until the next that goes back to the pool has it trimmed: two batches at most, less than a P keeps.
  return s->stacks.warm(s->default_class, n) != 0;
}

void after_switch(M* m) {
  if (G* g = m->more->to_pool) {
    m->more->to_pool = nullptr;
    to_pool(m->s, g);
  }
  if (G* g = m->more->requeue) {
    m->more->requeue = nullptr;
    if (P* p = std::exchange(m->more->going_to, nullptr)) return push_inbox_of(m->s, p, g);
    queue_local(m, g);
    tell_sysmon_of_waiting(m->p);
  }
}

namespace {

// A slot of the default size, from the P's own.
[[gnu::always_inline]] inline G* take_slot(M* m) {
  P::parts* cache = m->p->more;
  G* g = cache->free;
  if (!g) [[unlikely]]
    return refill(m);
  cache->free = static_cast<G*>(g->next);
  --cache->nfree;
  // The next one's lines, and that of its closure, below: whoever starts one mostly starts more. (28.5 ns a goroutine instead of 30.)
  const auto next = reinterpret_cast<std::uintptr_t>(cache->free);
  for (std::uintptr_t line = next - 64; line != next + 128; line += 64)
    __builtin_prefetch(reinterpret_cast<void*>(line), 1);
  return g;
}

[[gnu::always_inline]] inline void be_born(M* m, G* g, void* place, const void* started_at) {
#if WEFT_ASAN
  __asan_unpoison_memory_region(g->stack_lo, g->stack_size);  // the last goroutine's frames left their red zones
#endif
  g->s = m->s;
  g->affinity.store(place, relaxed);
  g->started_at = started_at;
  g->saved_errno = 0;
  // A dead G has no exceptions, no result, no locals and no name.
  g->closure = g;  // the room below ends here
  g->id.store(new_id(m->p), relaxed);
}

[[noreturn]] WEFT_NOINLINE void throw_outside() { throw std::logic_error("weft::go called outside of weft::run"); }

[[noreturn]] WEFT_NOINLINE void throw_bad_home(int home) {
  throw std::invalid_argument("weft::go: home " + std::to_string(home) + " is not in [-1, " +
                              std::to_string(max_procs) + ")");
}

}  // namespace

G* new_goroutine(M* m, const go_options& o, const void* started_at) {
  sched* s = m->s;
  unsigned size_class = s->default_class;
  if (o.stack_size != 0) size_class = stack_pool::class_of(resolve_stack_size(o.stack_size, 0));
  if (o.home < -1 || o.home >= max_procs) throw_bad_home(o.home);
  G* g;
  if (size_class == s->default_class) {
    g = take_slot(m);
  } else {
    stack_slot one;
    s->stacks.alloc_batch(size_class, &one, 1);
    g = g_at(one, size_class);
  }
  void* place = s;
  if (o.home >= 0) place = proc(s, o.home % s->nprocs.load(relaxed));
  be_born(m, g, place, started_at);
  if (!o.name.empty()) {
    std::size_t n = std::min(o.name.size(), name_max);
    char* name = static_cast<char*>(closure_room(g, n + 1, 1));
    std::memcpy(name, o.name.data(), n);
    name[n] = 0;
    g->name = name;
    g->closure = name;
  }
  return g;
}

WEFT_NOINLINE G* new_goroutine_here(const go_options& o) {
  M* m = self();
  if (!m || !m->curg) throw_outside();
  return new_goroutine(m, o, __builtin_return_address(0));
}

WEFT_NOINLINE G* new_goroutine_here() {
  M* m = self();
  if (!m || !m->curg) [[unlikely]]
    throw_outside();
  G* g = take_slot(m);
  be_born(m, g, m->s, __builtin_return_address(0));
  return g;
}

void throw_no_closure_room(const G* g, std::size_t bytes) {
  throw std::length_error("weft::go: a closure of " + std::to_string(bytes) + " bytes leaves no room on a stack of " +
                          std::to_string(g->stack_size >> 10) + " KiB");
}

void abandon(G* g) noexcept {
  M* m = self();
  g->id.store(0, relaxed);
  g->name = nullptr;
  if (g->size_class != m->s->default_class) return to_pool(m->s, g);
  g->next = m->p->more->free;
  m->p->more->free = g;
  ++m->p->more->nfree;
}

void launch(M* m, G* g, void (*entry)(G*)) {
  P* p = m->p;
  g->entry = entry;
  // run's closure lies on the caller's stack: then the goroutine's own starts right below the G.
  auto* top = static_cast<char*>(g->closure);
  if (top < g->stack_lo || top > reinterpret_cast<char*>(g))
    top = const_cast<char*>(g->name ? g->name : reinterpret_cast<char*>(g));
  arch::make_first_frame(g->ctx, top, goroutine_main, g);
  make_fiber(g);
  p->born.store(p->born.load(relaxed) + 1, relaxed);  // one writer
  if (g->affinity.load(relaxed) != m->s) {
    ready(m, g);  // bound
  } else {
    g->why.store(wait_reason::start, relaxed);  // relaxed: this P's, until it has moved on
    displace_runnext(m, g);
    // Not at each: the fence would be a tenth of a goroutine's life. A P that idles meanwhile looks at the deque before it sleeps, and
    // sysmon at what it overlooks; to that it is left while these are not worth a theft.
    P::parts& mine = *p->more;
    const std::uint32_t spare = waiting_here(p);
    if (spare % limits::help_every == 2 && !mine.thefts.in_doubt())
      call_for_help(m->s, p, spare);
    else if (p->thieves)
      tell_sysmon_of_waiting(p);
    if (mine.spawner != m->curg) {
      mine.spawner = m->curg;
      mine.spawned = 0;
    }
    if (++mine.spawned >= limits::spawn_storm) [[unlikely]] {
      mine.spawned = 0;
      return give_way_to_deque(m);
    }
  }
  cooperate(m);
}

}  // namespace weft::rt

namespace weft::this_goroutine {

std::uint64_t id() {
  rt::M* m = rt::self();
  return m && m->curg ? m->curg->id.load(relaxed) : 0;
}

std::string_view name() {
  rt::M* m = rt::self();
  return m && m->curg && m->curg->name ? m->curg->name : std::string_view{};
}

}  // namespace weft::this_goroutine
