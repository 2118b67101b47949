// SPDX-License-Identifier: MIT
//
// The simulated memory; its model is told in machine.h.

#include <algorithm>
#include <map>
#include <string>

#include "machine.h"

namespace weft::sim {

namespace {

using order_t = std::memory_order;

constexpr order_t rlx = std::memory_order_relaxed;
constexpr order_t acq = std::memory_order_acquire;
constexpr order_t rel = std::memory_order_release;
constexpr order_t acq_rel_ = std::memory_order_acq_rel;
constexpr order_t sc_ = std::memory_order_seq_cst;

bool acquires(order_t o) { return o == acq || o == acq_rel_ || o == sc_; }
bool releases(order_t o) { return o == rel || o == acq_rel_ || o == sc_; }

std::uint64_t peek(const void* at, unsigned bytes) {
  std::uint64_t v = 0;
  std::memcpy(&v, at, bytes);
  return v;
}
void poke(void* at, unsigned bytes, std::uint64_t v) { std::memcpy(at, &v, bytes); }

std::uint64_t masked(std::uint64_t v, unsigned bytes) {
  return bytes == 8 ? v : v & ((std::uint64_t{1} << (8 * bytes)) - 1);
}

std::uint64_t apply(rmw_op op, std::uint64_t old, std::uint64_t v, unsigned bytes) {
  switch (op) {
    case rmw_op::exchange:
      return v;
    case rmw_op::add:
      return masked(old + v, bytes);
    case rmw_op::sub:
      return masked(old - v, bytes);
    case rmw_op::bit_or:
      return old | v;
    case rmw_op::bit_and:
      return old & v;
  }
  return v;
}

std::uintptr_t key_of(const void* p) { return reinterpret_cast<std::uintptr_t>(p); }
constexpr std::uintptr_t plain_key = std::uintptr_t{1} << 63;

std::size_t hash(std::uintptr_t key) {
  return static_cast<std::size_t>((key * 0x9e3779b97f4a7c15) >> 40) & (machine::table_size - 1);
}

// A location of which nothing is known but its value: it was there before all began.
void settle(location& l, const void* p, unsigned bytes, std::uint64_t value) {
  l.at = p;
  l.bytes = bytes;
  l.first = 0;
  l.n = 1;
  l.dead = false;
  l.born_by = -1;
  l.born_at = 0;
  std::memset(l.stale, 0, sizeof l.stale);
  stored& s = l.h[0];
  s.carries = false;
  s.seen = clock::none();
  s.seen.set(0, 0);
  s.value = value;
  s.sc_time = 0;
  s.by = 0;
  s.is_rmw = false;
}

// Opens a place for a new store, behind `place` others.
stored& open_place(location& l, int place) {
  if (l.n == history) {  // the oldest is forgotten
    l.first = (l.first + 1) & (history - 1);
    --l.n;
    --place;
  }
  for (int i = l.n; i > place; --i) l.nth(i) = l.nth(i - 1);
  ++l.n;
  return l.nth(place);
}

int oldest_readable(machine& m, location& l, const vthread& t, bool sc) {
  // Most loads and stores are of what the thread itself used last: no clock need be looked at as a whole.
  if (l.nth(l.n - 1).seen[t.id] <= t.now.hb[t.id]) return l.n - 1;
  clock known = t.now.hb;
  known.join(t.now.sc);
  if (sc) known.join(m.global_sc);
  int i = l.n - 1;
  for (; i > 0; --i) {
    stored& s = l.nth(i);
    if (s.seen.any_known_to(known)) break;
    if (s.sc_time != 0 && (sc || s.sc_time < t.now.fence)) break;
  }
  return i;
}

void mark_seen(machine& m, stored& s, vthread& t, bool sc) {
  int now = t.now.hb[t.id];
  if (s.seen[t.id] > now) s.seen.set(t.id, now);
  if (sc && s.sc_time == 0) s.sc_time = ++m.sc_clock;
}

void take_over(stored& s, vthread& t, bool acquire_it) {
  if (!s.carries) return;
  (acquire_it ? t.now : t.pend).join(s.carried);
}

int newest_or_stale(machine& m, location& l, vthread& t, int low, int last) {
  if (low == last) return last;
  if (m.stale_left == 0 || l.stale[t.id] >= m.how.stale_in_a_row) {
    l.stale[t.id] = 0;
    return last;
  }
  int back = m.choose(decision::read_from, last - low + 1);
  if (back == 0) {
    l.stale[t.id] = 0;
  } else {
    ++l.stale[t.id];
    t.saw_old = true;
    if (m.stale_left > 0) --m.stale_left;
  }
  return last - back;
}

void fill(machine& m, stored& s, vthread& t, std::uint64_t value, order_t o) {
  s.value = value;
  s.by = static_cast<std::int8_t>(t.id);
  s.seen = clock::none();
  s.seen.set(t.id, t.now.hb[t.id]);
  s.sc_time = o == sc_ ? ++m.sc_clock : 0;
  s.is_rmw = false;
  s.carries = true;
  s.carried = releases(o) ? t.now : t.rel;
}

// What a mutant makes of an operation. False: it does not take place.
bool mutate(machine& m, site s, what kind, order_t& o, order_t* fail_order) {
  const mutation& mu = m.mutant;
  if (mu.line != s.line || mu.kind != kind) return true;
  std::string_view file = s.file;
  if (!file.ends_with(mu.file)) return true;
  switch (mu.which) {
    case mutation::slot::order:
      o = mu.to;
      return true;
    case mutation::slot::fail:
      if (fail_order) *fail_order = mu.to;
      return true;
    case mutation::slot::drop:
      return false;
  }
  return true;
}

void saw_site(machine& m, site s, what kind, order_t o, order_t fail_order);

void begin_operation(machine& m, what kind, const void* p, bool write, bool sc, site s) {
  if (!m.undivided) m.point({kind, p, write, sc}, s);
  vthread& t = *m.now;
  t.now.hb.set(t.id, t.now.hb[t.id] + 1);
}

location& reach(machine& m, const void* p, unsigned bytes, site s) {
  location& l = m.at(p, bytes, s);
  vthread& t = *m.now;
  if (l.dead) m.fail("an atomic is used after its end, at " + where(s));
  if (l.born_by >= 0 && t.now.hb[l.born_by] < l.born_at)
    m.fail("data race: an atomic is used at " + where(s) + " by a thread that need not see that it was constructed");
  l.touched.set(t.id, t.now.hb[t.id]);
  return l;
}

}  // namespace

location& machine::at(const void* p, unsigned bytes, site s) {
  std::uintptr_t key = key_of(p);
  for (std::size_t i = hash(key);; i = (i + 1) & (table_size - 1)) {
    slot& e = table[i];
    if (e.run != run) {
      if (nlocations == max_locations) fail("the simulation has run out of locations");
      e = {key, run, nlocations};
      location& l = locations[nlocations++];
      l.touched = clock{};
      l.named = s;
      settle(l, p, bytes, peek(p, bytes));
      return l;
    }
    if (e.key == key) return locations[e.index];
  }
}

location* machine::find(const void* p) noexcept {
  std::uintptr_t key = key_of(p);
  for (std::size_t i = hash(key);; i = (i + 1) & (table_size - 1)) {
    slot& e = table[i];
    if (e.run != run) return nullptr;
    if (e.key == key) return &locations[e.index];
  }
}

plain_location& machine::plain_at(const void* p) {
  std::uintptr_t key = key_of(p) | plain_key;
  for (std::size_t i = hash(key);; i = (i + 1) & (table_size - 1)) {
    slot& e = table[i];
    if (e.run != run) {
      if (nplains == max_locations) fail("the simulation has run out of plain locations");
      e = {key, run, nplains};
      plain_location& l = plains[nplains++];
      l = plain_location{};
      return l;
    }
    if (e.key == key) return plains[e.index];
  }
}

std::uint64_t machine::futex_value(location& l) {
  vthread& t = *now;
  if (l.dead) fail("futex_wait on a word that is gone");
  int last = l.n - 1;
  int from = last > 0 ? newest_or_stale(*this, l, t, oldest_readable(*this, l, t, true), last) : last;
  // Who asked reads nothing older itself from now on.
  t.now.hb.set(t.id, t.now.hb[t.id] + 1);
  mark_seen(*this, l.nth(from), t, false);
  return l.nth(from).value;
}

std::uint64_t load(const void* p, unsigned bytes, order_t o, site s) noexcept {
  if (!inside) return peek(p, bytes);
  machine& m = *the_machine;
  if (m.watching_sites) saw_site(m, s, what::load, o, rlx);
  if (m.mutant.on && !mutate(m, s, what::load, o, nullptr)) return peek(p, bytes);
  begin_operation(m, what::load, p, false, o == sc_, s);
  vthread& t = *m.now;
  location& l = reach(m, p, bytes, s);
  int last = l.n - 1;
  int from = last;
  if (last > 0) from = newest_or_stale(m, l, t, oldest_readable(m, l, t, o == sc_), last);
  stored& st = l.nth(from);
  mark_seen(m, st, t, o == sc_);
  take_over(st, t, acquires(o));
  if (m.tracing) m.note(what::load, s, &l, st.value, 0, static_cast<int>(o), false, last - from);
  return st.value;
}

void store(void* p, unsigned bytes, std::uint64_t v, order_t o, site s) noexcept {
  if (!inside) return poke(p, bytes, v);
  machine& m = *the_machine;
  if (m.watching_sites) saw_site(m, s, what::store, o, rlx);
  if (m.mutant.on && !mutate(m, s, what::store, o, nullptr)) return;
  begin_operation(m, what::store, p, true, o == sc_, s);
  vthread& t = *m.now;
  location& l = reach(m, p, bytes, s);
  int place = l.n;
  if (m.how.reorder_stores && o != sc_ && l.n > 1 && m.stale_left != 0) {
    int low = oldest_readable(m, l, t, false) + 1;
    // Not between a read-modify-write and what it read; nor, with the ring full, before all that is remembered.
    if (low < l.n) {
      int places[history];
      int n = 0;
      for (int i = l.n - 1; i >= low; --i)
        if (!l.nth(i).is_rmw) places[n++] = i;
      if (n > 0) {
        int back = m.choose(decision::place, n + 1);
        if (back != 0) {
          place = places[back - 1];
          if (m.stale_left > 0) --m.stale_left;
        }
      }
    }
  }
  int newer = l.n - place;
  stored& st = open_place(l, place);
  fill(m, st, t, v, o);
  if (newer == 0) poke(p, bytes, v);
  m.wrote(t.id);
  if (m.tracing) m.note(what::store, s, &l, v, 0, static_cast<int>(o), false, newer);
}

std::uint64_t rmw(void* p, unsigned bytes, rmw_op op, std::uint64_t v, order_t o, site s) noexcept {
  if (!inside) {
    std::uint64_t old = peek(p, bytes);
    poke(p, bytes, apply(op, old, v, bytes));
    return old;
  }
  machine& m = *the_machine;
  if (m.watching_sites) saw_site(m, s, what::rmw, o, rlx);
  if (m.mutant.on && !mutate(m, s, what::rmw, o, nullptr)) return peek(p, bytes);
  begin_operation(m, what::rmw, p, true, o == sc_, s);
  vthread& t = *m.now;
  location& l = reach(m, p, bytes, s);
  stored& old = l.nth(l.n - 1);
  std::uint64_t before = old.value;
  mark_seen(m, old, t, o == sc_);
  take_over(old, t, acquires(o));
  bool passes = old.carries;
  view carried = old.carried;
  stored& st = open_place(l, l.n);
  std::uint64_t after = apply(op, before, v, bytes);
  fill(m, st, t, after, o);
  if (passes) st.carried.join(carried);
  st.is_rmw = true;
  poke(p, bytes, after);
  m.wrote(t.id);
  if (m.tracing) m.note(what::rmw, s, &l, before, after, static_cast<int>(o), false, 0);
  return before;
}

bool cas(void* p, unsigned bytes, std::uint64_t& expected, std::uint64_t desired, order_t ok, order_t fail_order,
         bool weak, site s) noexcept {
  if (!inside) {
    std::uint64_t old = peek(p, bytes);
    if (old == expected) {
      poke(p, bytes, desired);
      return true;
    }
    expected = old;
    return false;
  }
  machine& m = *the_machine;
  if (m.watching_sites) saw_site(m, s, what::cas, ok, fail_order);
  bool split = m.mutant.on && !mutate(m, s, what::cas, ok, &fail_order);
  begin_operation(m, what::cas, p, true, ok == sc_ || fail_order == sc_, s);
  vthread& t = *m.now;
  location& l = reach(m, p, bytes, s);
  int last = l.n - 1;
  stored& newest = l.nth(last);
  bool may_succeed = newest.value == expected;
  if (split && !may_succeed) {  // the mutant does not look
    expected = newest.value;
    may_succeed = true;
  }
  // Failure reads as a load does, any value but the expected one.
  int from = last;
  bool fails = !may_succeed;
  bool no_reason = false;
  if (last > 0) {
    int low = oldest_readable(m, l, t, fail_order == sc_);
    int others[history];
    int n = 0;
    for (int i = last; i >= low; --i)
      if (l.nth(i).value != expected) others[n++] = i;
    int options = n + (may_succeed ? 1 : 0);
    if (options > 1 && m.stale_left != 0 && l.stale[t.id] < m.how.stale_in_a_row) {
      int which = m.choose(decision::fail_cas, options);
      if (which != 0) {
        fails = true;
        from = others[may_succeed ? which - 1 : which];
        ++l.stale[t.id];
        t.saw_old = true;
        if (m.stale_left > 0) --m.stale_left;
      } else {
        l.stale[t.id] = 0;
      }
    } else {
      l.stale[t.id] = 0;
    }
  }
  if (!fails && weak && m.spurious_left > 0 && m.choose(decision::fail_cas, 2) != 0) {
    --m.spurious_left;
    fails = true;
    no_reason = true;
  }
  if (fails) {
    stored& st = l.nth(from);
    mark_seen(m, st, t, fail_order == sc_);
    take_over(st, t, acquires(fail_order));
    if (m.tracing)
      m.note(what::cas, s, &l, st.value, expected, static_cast<int>(fail_order), true, last - from,
             no_reason ? "for no reason" : nullptr);
    expected = st.value;
    return false;
  }
  mark_seen(m, newest, t, ok == sc_);
  take_over(newest, t, acquires(ok));
  bool passes = newest.carries;
  view carried = newest.carried;
  stored& st = open_place(l, l.n);
  fill(m, st, t, desired, ok);
  if (passes) st.carried.join(carried);
  st.is_rmw = true;
  poke(p, bytes, desired);
  m.wrote(t.id);
  if (m.tracing) m.note(what::cas, s, &l, expected, desired, static_cast<int>(ok), false, 0);
  return true;
}

void construct(void* p, unsigned bytes) noexcept {
  if (!inside) return;
  machine& m = *the_machine;
  vthread& t = *m.now;
  location& l = m.at(p, bytes, {});
  if (m.stopped == 0 && !l.touched.all_known_to(t.now.hb))
    m.fail("data race: an atomic is constructed where another thread may still use the one before it (" +
           where(l.named) + ")");
  int named = l.named.line;
  settle(l, p, bytes, peek(p, bytes));
  t.now.hb.set(t.id, t.now.hb[t.id] + 1);
  l.born_by = t.id;
  l.born_at = t.now.hb[t.id];
  l.h[0].by = static_cast<std::int8_t>(t.id);
  l.touched = clock{};
  l.touched.set(t.id, l.born_at);
  (void)named;
}

void destroy(void* p) noexcept {
  if (!inside) return;
  machine& m = *the_machine;
  location* l = m.find(p);
  if (!l) return;
  if (m.stopped != 0) return;  // who is stopped for good will not use it
  if (!l->touched.all_known_to(m.now->now.hb))
    m.fail("data race: an atomic ends while another thread may still use it (" + where(l->named) + ")");
  l->dead = true;
}

namespace {

void sc_fence(machine& m, vthread& t) {
  t.now.hb.set(t.id, t.now.hb[t.id] + 1);
  t.now.join(t.pend);
  t.now.sc.join(m.global_sc);
  m.global_sc.join(t.now.hb);
  m.global_sc.join(t.now.sc);
  t.now.fence = ++m.sc_clock;
  t.rel = t.now;
}

}  // namespace

void fence(order_t o, site s) noexcept {
  if (!inside) return;
  machine& m = *the_machine;
  if (m.watching_sites) saw_site(m, s, what::fence, o, rlx);
  if (m.mutant.on && !mutate(m, s, what::fence, o, nullptr)) return;
  m.point({what::fence, nullptr, false, o == sc_}, s);
  vthread& t = *m.now;
  if (o == sc_)
    sc_fence(m, t);
  else {
    if (acquires(o)) t.now.join(t.pend);
    if (releases(o)) t.rel = t.now;
  }
  if (m.tracing) m.note(what::fence, s, nullptr, 0, 0, static_cast<int>(o), false, 0);
}

namespace {

void fence_everybody(site s, bool abort_sections) {
  if (!inside) return;
  machine& m = *the_machine;
  if (m.watching_sites) saw_site(m, s, what::fence_of_all, sc_, rlx);
  order_t o = sc_;
  if (m.mutant.on && !mutate(m, s, what::fence_of_all, o, nullptr)) return;
  m.point({what::fence_of_all, nullptr, true, true}, s);
  vthread& t = *m.now;
  sc_fence(m, t);
  if (m.tracing) m.note(what::fence_of_all, s, nullptr, 0, 0, static_cast<int>(sc_), false, 0, "begins");
  if (os::asymmetric_fences && o == sc_) {
    for (int i = 0; i < m.nthreads; ++i) {
      vthread& other = m.threads[i];
      if (i == t.id) continue;
      // One that has ended went through a fence on its way out.
      if (other.state != thread_state::done) m.point({what::fence_of_all, nullptr, true, true}, s);
      sc_fence(m, other);
      if (abort_sections) other.aborted = true;
      // The caller knows of it when the call returns.
      if (m.tracing)
        m.note(what::fence_of_all, s, nullptr, static_cast<std::uint64_t>(i), 0, static_cast<int>(sc_), false, 0,
               "of thread");
    }
    sc_fence(m, t);
  }
}

}  // namespace

void fence_of_all(site s) noexcept { fence_everybody(s, false); }

bool fence_of_all_sections(site s) noexcept {
  fence_everybody(s, true);
  return true;
}

os::section_result section(os::guarded_word& w, std::uint64_t mine, std::uint64_t expected, std::uint64_t desired,
                           section_commit by, site s) noexcept {
  using enum os::section_result;
  const bool exchange = by == section_commit::exchange;
  if (!inside || !os::sections) return aborted;
  machine& m = *the_machine;
  vthread& t = *m.now;
  t.aborted = false;
  if (w.guard.load(relaxed, s) != mine)
    return aborted;  // relaxed, as arch's and section_impl.h's: BIAS is by the fences
  if (by == section_commit::store && w.word.load(acquire, s) != expected) return differs;
  // The commit: from the look at whether it is aborted to the store nobody else gets in.
  m.point({exchange ? what::cas : what::store, w.word.raw(), true, false}, s);
  if (m.spurious_left > 0 && m.choose(decision::abort, 2) != 0) {
    --m.spurious_left;
    t.aborted = true;
  }
  if (t.aborted) return aborted;
  if (by == section_commit::overwrite && peek(w.word.raw(), sizeof w.word) != expected)
    m.fail("a section at " + where(s) + " overwrote another word than its owner had read");
  m.undivided = true;
  bool stored = true;
  if (exchange)
    stored = w.word.compare_exchange_strong(expected, desired, acq_rel, relaxed, s);
  else
    w.word.store(desired, release, s);
  m.undivided = false;
  return stored ? done : differs;
}

namespace {

// The place, whose last write the running thread has to know of.
plain_location& known_write(machine& m, const void* p, bool write, site s) {
  plain_location& l = m.plain_at(p);
  if (l.written_by >= 0 && m.now->now.hb[l.written_by] < l.written_at)
    m.fail(std::string("data race: ") + (write ? "written" : "read") + " at " + where(s) + ", written at " +
           where(l.write_site) + " by thread " + std::to_string(l.written_by));
  return l;
}

}  // namespace

void plain_access(const void* p, bool write, site s) noexcept {
  if (!inside || !p) return;
  machine& m = *the_machine;
  vthread& t = *m.now;
  t.now.hb.set(t.id, t.now.hb[t.id] + 1);
  if (!s.file) s = t.last_site;  // an operator cannot tell where it is used: behind that atomic, then
  plain_location& l = known_write(m, p, write, s);
  if (write) {
    if (!l.read.all_known_to(t.now.hb)) m.fail("data race: written at " + where(s) + ", read at " + where(l.read_site));
    l.written_by = t.id;
    l.written_at = t.now.hb[t.id];
    l.write_site = s;
    l.read = clock{};
  } else {
    l.read.set(t.id, t.now.hb[t.id]);
    l.read_site = s;
  }
}

int this_moment() noexcept {
  if (!inside) return 0;
  vthread& t = *the_machine->now;
  t.now.hb.set(t.id, t.now.hb[t.id] + 1);
  return t.now.hb[t.id];
}

void plain_read_at(const void* p, int moment, site s) noexcept {
  if (!inside) return;
  plain_location& l = known_write(*the_machine, p, false, s);
  int id = the_machine->now->id;
  if (l.read[id] < moment) l.read.set(id, moment);
  l.read_site = s;
}

namespace {

void saw_site(machine& m, site s, what kind, order_t o, order_t fail_order) {
  outside_scope outside;
  std::uint64_t key = (reinterpret_cast<std::uintptr_t>(s.file) << 20) ^ (static_cast<std::uint64_t>(s.line) << 8) ^
                      static_cast<std::uint64_t>(kind) ^ (static_cast<std::uint64_t>(o) << 56) ^
                      (static_cast<std::uint64_t>(fail_order) << 60);
  auto [it, fresh] = m.seen_keys.emplace(key, m.seen_sites.size());
  if (fresh) m.seen_sites.push_back({s.file, s.line, kind, static_cast<int>(o), static_cast<int>(fail_order), 0});
  ++m.seen_sites[it->second].times;
}

const char* order_name(int o) {
  switch (static_cast<order_t>(o)) {
    case rlx:
      return "relaxed";
    case acq:
      return "acquire";
    case rel:
      return "release";
    case acq_rel_:
      return "acq_rel";
    case sc_:
      return "seq_cst";
    default:
      return "consume";
  }
}

}  // namespace

const char* name_of_order(int o) { return order_name(o); }

std::string machine::sites() const {
  std::map<std::string, std::uint64_t> lines;  // a header's line has a name for each file that includes it
  for (const seen_site& s : seen_sites) {
    std::string line =
        std::string(s.file) + ":" + std::to_string(s.line) + " " + to_string(s.kind) + " " + order_name(s.order);
    if (s.kind == what::cas) line += std::string(" ") + order_name(s.fail);
    lines[line] += s.times;
  }
  std::string text;
  for (const auto& [line, times] : lines) text += line + "\t" + std::to_string(times) + "\n";
  return text;
}

}  // namespace weft::sim

namespace weft::os {

bool asymmetric_fences = true;
bool sections = true;

section_slot* section_slot_of_thread() noexcept {
  static section_slot any = 0;  // the machine knows who runs
  return &any;
}

}  // namespace weft::os
