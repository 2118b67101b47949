// SPDX-License-Identifier: MIT
//
// Which runs there are: the strategies, replay, shrinking, the trace.
//
// Between runs the program's writable data (.data and .bss of the executable) is put back to what it was before the first: so a global
// lock that a broken run left locked, the reclamation epoch, the parking lots and every function's static are new in each run. What
// must survive, the machine itself, is allocated once, outside of it.

#include "explore.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "machine.h"

extern "C" {
// The linker's names for the ends of the executable's writable data.
extern char __data_start[];  // NOLINT(bugprone-reserved-identifier)
extern char _end[];          // NOLINT(bugprone-reserved-identifier)
}

namespace weft::sim {

namespace {

std::uint64_t key_of(decision d, int thread, std::uint32_t local) {
  return std::uint64_t{local} << 16 | static_cast<std::uint64_t>(thread) << 8 | static_cast<std::uint64_t>(d);
}

int nth_bit(std::uint32_t bits, std::uint32_t n) {
  for (; n > 0; --n) bits &= bits - 1;
  return std::countr_zero(bits);
}

// The program's data, as it was before the first run.
class data_image {
 public:
  data_image() : bytes_(static_cast<std::size_t>(_end - __data_start)), copy_(new char[bytes_]) {
    std::memcpy(copy_.get(), __data_start, bytes_);
  }
  void put_back() const {
    std::memcpy(__data_start, copy_.get(), bytes_);
    asm volatile("" ::: "memory");
  }

 private:
  std::size_t bytes_;
  std::unique_ptr<char[]> copy_;
};

template <class T>
T* untouched(std::size_t n) {
  void* p = ::mmap(nullptr, n * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) std::abort();
  return static_cast<T*>(p);
}

machine& get_machine() {
  if (!the_machine) {
    arena_reset();
    the_machine = new machine;
    the_machine->table = untouched<machine::slot>(machine::table_size);
    the_machine->locations = untouched<location>(machine::max_locations);
    the_machine->plains = untouched<plain_location>(machine::max_locations);
  }
  return *the_machine;
}

std::memory_order order_by_name(std::string_view n) {
  if (n == "relaxed") return std::memory_order_relaxed;
  if (n == "acquire") return std::memory_order_acquire;
  if (n == "release") return std::memory_order_release;
  if (n == "acq_rel") return std::memory_order_acq_rel;
  if (n == "seq_cst") return std::memory_order_seq_cst;
  std::fprintf(stderr, "weft-sim: no memory order is called %.*s\n", static_cast<int>(n.size()), n.data());
  std::exit(2);
}

std::string hex(std::uint64_t v) {
  char text[32];
  if (v < 4096)
    std::snprintf(text, sizeof text, "%llu", static_cast<unsigned long long>(v));
  else
    std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(v));
  return text;
}

std::string print_trace(const machine& m) {
  std::string text;
  std::unordered_map<int, int> names;
  int number = 0;
  for (const event& e : m.trace) {
    char head[64];
    std::snprintf(head, sizeof head, "%5d  T%d.%-4u ", ++number, e.thread, e.local);
    std::string line = head;
    std::string at = where(e.where);
    at.resize(std::max<std::size_t>(at.size(), 34), ' ');
    line += at + " ";
    if (e.kind == what::start) {
      line += std::string("# ") + (e.text ? e.text : "") + " " + hex(e.value);
    } else {
      line += to_string(e.kind);
      if (e.location >= 0) {
        auto [it, fresh] = names.emplace(e.location, static_cast<int>(names.size()) + 1);
        line += " x" + std::to_string(it->second);
        if (fresh) line += "[" + where(m.locations[e.location].named) + "]";
      }
      switch (e.kind) {
        case what::load:
          line += " = " + hex(e.value);
          if (e.aside != 0) line += " (" + std::to_string(e.aside) + " newer)";
          break;
        case what::store:
          line += " := " + hex(e.value);
          if (e.aside != 0) line += " (before " + std::to_string(e.aside) + " others)";
          break;
        case what::rmw:
          line += " " + hex(e.value) + " -> " + hex(e.more);
          break;
        case what::cas:
          if (e.failed)
            line += " = " + hex(e.value) + ", not " + hex(e.more) +
                    (e.aside != 0 ? " (" + std::to_string(e.aside) + " newer)" : "");
          else
            line += " " + hex(e.value) + " -> " + hex(e.more);
          break;
        default:
          if (e.value != 0 || e.text) line += " " + hex(e.value);
          break;
      }
      if (e.kind <= what::fence_of_all) line += std::string(" ") + name_of_order(e.order);
      if (e.text) line += std::string(" ") + e.text;
    }
    text += line + "\n";
  }
  return text;
}

}  // namespace

std::uint64_t machine::next_random() noexcept {
  // wyrand, as base/rand.h, which this room may not include.
  __extension__ using wide = unsigned __int128;
  rand_state += 0xa0761d6478bd642f;
  const auto product = static_cast<wide>(rand_state) * (rand_state ^ 0xe7037ed1a0b428db);
  return static_cast<std::uint64_t>(product >> 64) ^ static_cast<std::uint64_t>(product);
}

int machine::choose(decision d, int n) {
  int chosen = 0;
  if (replaying) {
    auto it = script.find(key_of(d, now->id, now->local));
    if (it != script.end() && it->second < n) chosen = it->second;
  } else if (how.how == strategy::exhaustive) {
    if (d == decision::early || d == decision::spurious_wake) return 0;
    outside_scope outside;
    if (depth < path.size()) {
      chosen = path[depth].chosen;
      if (path[depth].is_thread || path[depth].n != n)
        fail("the run does not repeat itself: it depends on more than its decisions");
    } else {
      path.push_back(
          {.is_thread = false, .n = n, .chosen = 0, .from = 0, .spent = 0, .options = 0, .sleep = 0, .next = {}});
    }
    ++depth;
  } else {
    switch (d) {
      case decision::early:
        chosen = below(64) == 0;
        break;
      case decision::fail_cas:
        chosen = below(4) == 0 ? static_cast<int>(below(static_cast<std::uint32_t>(n))) : 0;
        break;
      case decision::place:
        chosen = below(4) == 0 ? static_cast<int>(below(static_cast<std::uint32_t>(n))) : 0;
        break;
      case decision::spurious_wake:
      case decision::abort:
        chosen = below(16) == 0;
        break;
      default:
        chosen = below(2) == 0 ? static_cast<int>(below(static_cast<std::uint32_t>(n))) : 0;
        break;
    }
  }
  if (recording && chosen != 0) {
    outside_scope outside;
    recorded.push_back({d, now->id, now->local, chosen});
  }
  return chosen;
}

int machine::choose_thread(std::uint32_t can, int current) {
  bool goes_on = current >= 0 && (can >> current & 1);
  int by_default = goes_on ? current : std::countr_zero(can);
  int chosen = by_default;
  decision d = current >= 0 ? decision::thread : decision::thread_blocked;
  if (replaying) {
    if (!script.empty()) {
      auto it = script.find(key_of(d, now->id, now->local));
      if (it != script.end() && (can >> it->second & 1)) chosen = it->second;
    }
  } else {
    switch (how.how) {
      case strategy::random:
        if ((can & (can - 1)) == 0) break;
        if (goes_on && stay != 0 && static_cast<int>(next_random() >> 61) < stay) break;
        chosen = nth_bit(can, below(static_cast<std::uint32_t>(std::popcount(can))));
        break;
      case strategy::pct: {
        if (current >= 0) {
          if (lazy != 0 && now->next.kind == what::relax) priority[current] = --lowest;
          while (next_change < changes.size() && changes[next_change] <= steps) {
            ++next_change;
            priority[current] = --lowest;
          }
        }
        // Those who go on for ever, one alone or several by turns, may be waiting for somebody without saying so.
        if (++window > 1000) {
          if ((could & ~ran) != 0)
            for (std::uint32_t rest = ran; rest != 0; rest &= rest - 1) priority[std::countr_zero(rest)] = --lowest;
          window = 0;
          could = ~0U;
          ran = 0;
        }
        chosen = std::countr_zero(can);
        for (std::uint32_t rest = can & (can - 1); rest != 0; rest &= rest - 1) {
          int i = std::countr_zero(rest);
          if (priority[i] > priority[chosen]) chosen = i;
        }
        could &= can;
        ran |= 1U << chosen;
        break;
      }
      case strategy::exhaustive: {
        outside_scope outside;
        bool bounded = how.preemptions >= 0;
        if (depth < path.size()) {
          node& here = path[depth];
          if (!here.is_thread || here.options != can)
            fail("the run does not repeat itself: it depends on more than its decisions");
          chosen = here.chosen;
          preemptions_left = how.preemptions - here.spent;
          if (!bounded) {
            // Those explored before from here need not go first below, as long as nothing happens that they depend on.
            std::uint32_t below_this = 0;
            for (std::uint32_t rest = here.sleep & ~(1U << chosen); rest != 0; rest &= rest - 1) {
              int i = std::countr_zero(rest);
              if (!dependent(here.next[i], here.next[chosen])) below_this |= 1U << i;
            }
            sleep = below_this;
          }
        } else {
          std::uint32_t open = bounded ? can : can & ~sleep;
          if (bounded && goes_on && preemptions_left <= 0) open = 1U << current;
          if (open == 0) {  // all that could follow has been seen, in another order
            pruned = true;
            end_run();
          }
          chosen = goes_on && (open >> current & 1) ? current : std::countr_zero(open);
          node here{.is_thread = true,
                    .n = 0,
                    .chosen = chosen,
                    .from = goes_on ? current : -1,
                    .spent = how.preemptions - preemptions_left,
                    .options = can,
                    .sleep = bounded ? ~open : sleep,
                    .next = {}};
          for (std::uint32_t rest = can; rest != 0; rest &= rest - 1) {
            int i = std::countr_zero(rest);
            here.next[i] = threads[i].next;
          }
          path.push_back(here);
          if (!bounded) {
            std::uint32_t below_this = 0;
            for (std::uint32_t rest = sleep; rest != 0; rest &= rest - 1) {
              int i = std::countr_zero(rest);
              if (!(can >> i & 1) || !dependent(here.next[i], here.next[chosen])) below_this |= 1U << i;
            }
            sleep = below_this;
          }
        }
        if (bounded && goes_on && chosen != current) --preemptions_left;
        ++depth;
        break;
      }
    }
  }
  if (recording && chosen != by_default) {
    outside_scope outside;
    recorded.push_back({d, now->id, now->local, chosen});
  }
  return chosen;
}

namespace {

// The next run of the search: false when all has been seen.
bool next_path(machine& m) {
  while (!m.path.empty()) {
    node& last = m.path.back();
    if (last.is_thread) {
      last.sleep |= 1U << last.chosen;
      std::uint32_t open = last.options & ~last.sleep;
      if (open != 0) {
        last.chosen = std::countr_zero(open);
        return true;
      }
    } else if (last.chosen + 1 < last.n) {
      ++last.chosen;
      return true;
    }
    m.path.pop_back();
  }
  return false;
}

class explorer {
 public:
  explorer(const plan& p, const std::function<void()>& body) : m_(get_machine()) {
    m_.how = p;
    m_.body = &body;
    m_.limit = p.max_steps;
    m_.total_points = 0;
  }
  ~explorer() {
    image_.put_back();
    os::asymmetric_fences = true;
    os::sections = true;
    m_.replaying = m_.recording = m_.tracing = false;
    m_.script.clear();
  }
  explorer(const explorer&) = delete;
  explorer& operator=(const explorer&) = delete;

  void one(std::uint64_t seed) {
    image_.put_back();
    os::asymmetric_fences = m_.how.asymmetric;
    os::sections = m_.how.sections;
    m_.undivided = false;
    arena_reset();
    m_.rand_state = seed;
    m_.stay = (m_.next_random() & 1) != 0 ? 6 : 0;
    m_.spurious_left = m_.how.spurious;
    m_.stale_left = m_.how.stale;
    m_.preemptions_left = m_.how.preemptions;
    m_.depth = 0;
    m_.sleep = 0;
    m_.recorded.clear();
    if (m_.how.how == strategy::pct) {
      for (int i = 0; i < max_threads; ++i) m_.priority[i] = i + 1;
      for (std::uint32_t i = max_threads; i > 1; --i) std::swap(m_.priority[i - 1], m_.priority[m_.below(i)]);
      m_.lowest = 0;
      m_.changes.clear();
      m_.next_change = 0;
      m_.window = 0;
      m_.could = ~0U;
      m_.ran = 0;
      for (int i = 1; i < m_.how.depth; ++i)
        m_.changes.push_back(1 + m_.below(static_cast<std::uint32_t>(std::max<std::uint64_t>(m_.length, 1))));
      std::sort(m_.changes.begin(), m_.changes.end());
    }
    m_.start_run();
  }

  void replay(const std::vector<deviation>& script, bool trace) {
    m_.script.clear();
    for (const deviation& d : script) m_.script[key_of(d.kind, d.thread, d.local)] = d.value;
    m_.replaying = true;
    m_.tracing = trace;
    one(0);
    m_.replaying = m_.tracing = false;
  }

  void measure() {  // how long a run is in which nothing is interrupted
    m_.replaying = true;
    m_.script.clear();
    one(0);
    m_.replaying = false;
    m_.length = m_.steps;
  }

  // `seed` has failed (random, pct), or the path has: explains it.
  void explain(report& r, std::uint64_t seed) {
    m_.recording = true;
    one(seed);
    m_.recording = false;
    std::vector<deviation> script = m_.recorded;
    replay(script, false);
    if (!m_.failed) {  // cannot be told by deviations alone: trace the run itself
      m_.tracing = true;
      one(seed);
      m_.tracing = false;
      r.trace = print_trace(m_);
      r.deviations = static_cast<int>(script.size());
      return;
    }
    if (m_.how.shrink) shrink(script);
    replay(script, true);
    r.trace = print_trace(m_);
    r.message = m_.message;
    r.deviations = static_cast<int>(script.size());
  }

  machine& m() { return m_; }

 private:
  // Takes back as many deviations as can be, in halves, quarters, and so on.
  void shrink(std::vector<deviation>& script) {
    int budget = 3000;
    bool again = true;
    while (again && budget > 0) {
      again = false;
      for (std::size_t chunk = std::max<std::size_t>(script.size() / 2, 1); budget > 0; chunk /= 2) {
        for (std::size_t at = 0; at < script.size() && budget > 0;) {
          std::vector<deviation> fewer(script.begin(), script.begin() + static_cast<std::ptrdiff_t>(at));
          std::size_t end = std::min(at + chunk, script.size());
          fewer.insert(fewer.end(), script.begin() + static_cast<std::ptrdiff_t>(end), script.end());
          --budget;
          replay(fewer, false);
          if (m_.failed) {
            script = std::move(fewer);
            again = true;
          } else {
            at = end;
          }
        }
        if (chunk <= 1) break;
      }
    }
  }

  machine& m_;
  data_image image_;
};

void count_stop(const machine& m, const plan& p, report& r) {
  if (p.stop_thread < 0 || p.stop_thread >= m.nthreads) return;
  r.stop_points = std::max(r.stop_points, m.threads[p.stop_thread].local);
  r.stopped_at = where(m.threads[p.stop_thread].last_site);
}

}  // namespace

report explore(const plan& p, const std::function<void()>& body) {
  get_machine();
  plan mine = p;
  const char* only = std::getenv("WEFT_SIM_SEED");
  bool single = only && *only && p.how != strategy::exhaustive && !p.expect_failure;
  if (single) {
    mine.seed = std::strtoull(only, nullptr, 10);
    mine.schedules = 1;
  }
  static const bool from_environment = [] {
    if (const char* spec = std::getenv("WEFT_SIM_MUTANT")) set_mutant(spec);
    return true;
  }();
  (void)from_environment;
  explorer e(mine, body);
  machine& m = e.m();
  report r;
  auto start = std::chrono::steady_clock::now();
  m.path.clear();
  if (mine.how == strategy::pct) {
    e.measure();
    if (m.failed) {  // it fails without any ado
      r.failed = true;
      r.message = m.message;
      r.schedules = 1;
      e.replay({}, true);
      r.trace = print_trace(m);
    }
  }
  for (std::uint64_t i = 0; i < mine.schedules && !r.failed; ++i) {
    std::uint64_t seed = mine.seed + i;
    e.one(seed);
    ++r.schedules;
    r.pruned += m.pruned;
    count_stop(m, mine, r);
    if (m.failed) {
      r.points = m.total_points;
      r.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      r.failed = true;
      r.message = m.message;
      r.seed = seed;
      if (!std::getenv("WEFT_SIM_BRIEF")) e.explain(r, seed);
      break;
    }
    if (mine.how == strategy::exhaustive && !next_path(m)) {
      r.complete = true;
      break;
    }
  }
  if (!r.failed) {
    r.points = m.total_points;
    r.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  if (single && !r.failed) {
    m.tracing = true;
    e.one(mine.seed);
    m.tracing = false;
    std::fprintf(stderr, "%s", print_trace(m).c_str());
  }
  if (r.failed && !p.expect_failure) {
    std::fprintf(stderr, "weft-sim: %s\n%s", r.message.c_str(), r.trace.c_str());
    std::fprintf(stderr, "weft-sim: %s\nschedule %llu, %d decisions off the default", r.message.c_str(),
                 static_cast<unsigned long long>(r.schedules), r.deviations);
    if (mine.how != strategy::exhaustive)
      std::fprintf(stderr, "; to replay: WEFT_SIM_SEED=%llu", static_cast<unsigned long long>(r.seed));
    std::fprintf(stderr, "\n");
  }
  return r;
}

report trace_of(const plan& p, const std::function<void()>& body) {
  explorer e(p, body);
  machine& m = e.m();
  report r;
  m.path.clear();
  if (p.how == strategy::pct) e.measure();
  m.tracing = true;
  e.one(p.seed);
  m.tracing = false;
  r.failed = m.failed;
  r.message = m.message;
  r.schedules = 1;
  r.points = m.steps;
  r.trace = print_trace(m);
  return r;
}

void watch_sites(bool on) { get_machine().watching_sites = on; }

std::string sites_seen() {
  machine& m = get_machine();
  std::string text = m.sites();
  m.seen_sites.clear();
  m.seen_keys.clear();
  return text;
}

void set_mutant(const std::string& spec) {
  mutation& mu = get_machine().mutant;
  mu = {};
  if (spec.empty()) return;
  std::size_t a = spec.find(':');
  std::size_t b = spec.find(':', a + 1);
  std::size_t c = spec.find(':', b + 1);
  if (a == std::string::npos || b == std::string::npos || c == std::string::npos) {
    std::fprintf(stderr, "weft-sim: a mutant is file:line:kind:order, not %s\n", spec.c_str());
    std::exit(2);
  }
  mu.file = spec.substr(0, a);
  // The compiler says runtime/weft/../chan/chan.h.
  if (mu.file.starts_with("runtime/")) mu.file.erase(0, 7);
  mu.line = std::atoi(spec.substr(a + 1, b - a - 1).c_str());
  std::string kind = spec.substr(b + 1, c - b - 1);
  std::string to = spec.substr(c + 1);
  for (what w : {what::load, what::store, what::rmw, what::cas, what::fence, what::fence_of_all})
    if (kind == to_string(w)) mu.kind = w;
  if (to == "drop") {
    mu.which = mutation::slot::drop;
  } else if (to.starts_with("fail:")) {
    mu.which = mutation::slot::fail;
    mu.to = order_by_name(to.substr(5));
  } else {
    mu.to = order_by_name(to);
  }
  mu.on = true;
}

}  // namespace weft::sim
