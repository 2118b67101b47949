// SPDX-License-Identifier: MIT

#include "gather.h"

#include <algorithm>
#include <utility>

#include "world.h"

namespace weft::rt {

namespace {

constexpr std::uint64_t id_bits = 0xffff;
static_assert(max_procs <= id_bits);

// The P's address, of 48 bits, and its number: so it can be found without being touched, as it may be another run's, or gone.
std::uint64_t name_of(const P* p) { return guard_of(p) << 16 | static_cast<std::uint64_t>(p->id); }

// Null: none, or not in use in this run.
P* p_of(const sched* s, std::uint64_t name) {
  const auto id = static_cast<int>(name & id_bits);
  if (name == 0 || id >= s->nprocs.load(relaxed)) return nullptr;  // relaxed: a hint; go_to's inbox is drained (SHRINK)
  P* p = proc(s, id);
  return name_of(p) == name ? p : nullptr;
}

// Runtime calls on p so far, in units of the budget, modulo 2^32.
std::uint32_t calls(const P* p) {
  constexpr auto slice = static_cast<std::uint32_t>(limits::slice);
  return p->rounds.load(relaxed) * slice + slice - static_cast<std::uint32_t>(p->budget.load(relaxed));
}

// So many calls in that time: a P at which little else is done, where a line takes so long.
bool is_dense(std::uint32_t calls, std::int64_t ns, std::int64_t line_ns) {
  return ns <=
         calls * std::clamp(limits::gather_lines * line_ns, limits::gather_dense_min_ns, limits::gather_dense_max_ns);
}

// m's P, since m last paused or stole.
bool was_dense(M* m, std::int64_t now) {
  const M::parts& mine = *m->more;
  return mine.dense_on == m->p && is_dense(calls(m->p) - mine.dense_calls + 1, now - mine.dense_ns, mine.line_ns);
}

// m's goroutine was taken from where all is dense, or with one that was.
bool was_stolen(const M* m, const P* home) {
  return m->more->robbed_ring == home && home->more->looked_dense.load(relaxed);
}

bool may_move(const M* m) {
  const G* g = m->curg;
  return g && m->no_switch == 0 && g->affinity.load(relaxed) == m->s && m->s->nprocs.load(relaxed) > 1;
}

void begin_interval(M* m, std::int64_t now) {
  M::parts& mine = *m->more;
  mine.dense_on = m->p;
  mine.dense_calls = calls(m->p);
  mine.dense_ns = now;
}

void set(atomic<std::uint16_t>& counter, int n) { counter.store(static_cast<std::uint16_t>(n), relaxed); }

// Not again before it has cost a twentieth of the time.
void give_bias(M* m, biased_word& w, gathering& at, std::int64_t now) {
  w.history.store(0, relaxed);  // what there was before the home says nothing
  bias_to(m, w);
  at.not_before_ns.store(now + limits::gather_bias_share * (os::now_ns() - now), relaxed);
}

void make_home(M* m, biased_word& w, gathering& at, std::int64_t now) {
  at.since_ns.store(now, relaxed);
  at.score.store(0, relaxed);
  at.home.store(name_of(m->p), relaxed);
  give_bias(m, w, at, now);
}

// Without a home.
void count_loss(M* m, biased_word& w, gathering& at, bool dense, std::int64_t now) {
  if (now < at.not_before_ns.load(relaxed)) return;
  int n = at.score.load(relaxed);
  if (!dense) {
    if (n != 0) set(at.score, n - 1);
    return;
  }
  if (n == 0 || now - at.since_ns.load(relaxed) > limits::gather_fights_ns) {
    n = 0;
    at.since_ns.store(now, relaxed);
  }
  n += limits::gather_per_fight;
  set(at.score, n);
  if (n >= limits::gather_fights * limits::gather_per_fight) make_home(m, w, at, now);
}

void dissolve(gathering& at, std::int64_t now) {
  at.score.store(0, relaxed);
  at.home.store(0, relaxed);
  const bool lasted = now - at.since_ns.load(relaxed) >= limits::gather_lasts_ns;
  const int broken = lasted ? 0 : at.broken.load(relaxed);
  set(at.broken, std::min(broken + 1, limits::gather_doublings));
  at.not_before_ns.store(now + (limits::gather_again_ns << broken), relaxed);
}

// Of a home elsewhere.
void count_visit(gathering& at, bool dense, std::int64_t now) {
  const int n = at.score.load(relaxed);
  if (dense) {
    if (n != 0) set(at.score, n - 1);
  } else if (n + 1 < limits::gather_sparse) {
    set(at.score, n + 1);
  } else {
    dissolve(at, now);
  }
}

bool may_home_move(const gathering& at, std::int64_t now) {
  return now - at.since_ns.load(relaxed) >= limits::gather_move_ns << at.moves.load(relaxed);
}

}  // namespace

bool gather(M* m, biased_word& w, gathering& at, bool lost) {
  if (!may_move(m)) return false;
  const std::int64_t now = os::now_ns();
  const std::uint64_t name = at.home.load(relaxed);
  if (name == 0) {
    if (lost) count_loss(m, w, at, was_dense(m, now), now);
    return false;
  }
  P* home = p_of(m->s, name);
  if (home == m->p) {
    // Somebody fights us here, and the bias is gone.
    if (lost && now >= at.not_before_ns.load(relaxed) && !has_bias(w)) give_bias(m, w, at, now);
    return false;
  }
  const bool stolen = home && was_stolen(m, home);
  const bool dense = stolen || (home && was_dense(m, now));
  count_visit(at, dense, now);
  if (!dense) return false;
  if (stolen && !m->more->went_home) {
    if (may_home_move(at, now)) {
      set(at.moves, std::min(at.moves.load(relaxed) + 1, limits::gather_doublings));
      make_home(m, w, at, now);
      return false;
    }
    m->more->went_home = true;
    home->more->ring_thefts.extend(now, limits::stay_away_first_ns, limits::gather_bar_max_ns);
  }
  go_to(m, home);
  return true;
}

void gather_look(M* m, const biased_word& w) {
  const std::int64_t start = os::now_ns();
  (void)w.load(relaxed);  // relaxed: for the time that it takes
  const std::int64_t now = os::now_ns();
  // What the kernel did in between does not count for more than a line that is far.
  std::int64_t& line = m->more->line_ns;
  line += (std::min(now - start, limits::gather_dense_max_ns) - line) / 8;
  begin_interval(m, now);
}

void gather_stolen(M* m, P* from, std::int64_t now) {
  P::parts& theirs = *from->more;
  const std::int64_t since = now - theirs.looked_ns.load(relaxed);
  if (since > limits::gather_trial_ns) {
    const std::uint32_t n = calls(from);
    theirs.looked_dense.store(is_dense(n - theirs.looked_calls.load(relaxed), since, m->more->line_ns), relaxed);
    theirs.looked_calls.store(n, relaxed);
    theirs.looked_ns.store(now, relaxed);
  }
  begin_interval(m, now);
}

}  // namespace weft::rt
