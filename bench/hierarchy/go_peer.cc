// SPDX-License-Identifier: MIT
//
// The goroutine rows in Go: the programs of bench/peers/go, which are those of experiments.h. They are built once, before
// anything is measured, into the run's own folder; a turn runs them a few times, each time a process that takes its own
// time, so start and end of the process are not in the figure.

#include "go_peer.h"

#include <fmt/format.h>
#include <sys/wait.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include <weft/weft.h>

#include "os.h"
#include "row.h"

namespace bench::hierarchy {
namespace {

constexpr std::chrono::seconds build_time{25}, run_time{8};

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

bool succeeded(const program_output& o) { return !o.timed_out && WIFEXITED(o.status) && WEXITSTATUS(o.status) == 0; }

class in_go final : public experiment {
 public:
  in_go(const setup& s, std::string_view workload, int procs, std::int64_t n)
      : command_{s.go_peer, std::string(workload), std::to_string(procs), std::to_string(n)} {
    if (!s.go_missing.empty()) throw unavailable(s.go_missing);
    detail = s.go_version;
  }

  // One process, whatever the caller wants: its length is chosen, so that starting cold does not show.
  double run(std::int64_t) override {
    const program_output o = run_program(command_, "", {}, run_time, offspring::none);
    constexpr std::string_view key = "ns_per_op=";
    if (o.timed_out) throw std::runtime_error(fmt::format("{} took more than {} s", command_[0], run_time.count()));
    if (!succeeded(o) || !o.text.starts_with(key)) {
      throw std::runtime_error(fmt::format("{} {}: {}", command_[0], command_[1], first_line(o.text)));
    }
    return std::strtod(o.text.c_str() + key.size(), nullptr);
  }

  void warm_up(std::int64_t) override {}  // each process warms up by itself

 private:
  std::vector<std::string> command_;
};

enum class width { one, all };

auto made(std::string_view workload, width w, std::int64_t n) {
  return [=](const setup& s) {
    const int procs = w == width::one ? 1 : static_cast<int>(weft::num_cpus());
    auto e = std::make_unique<in_go>(s, workload, procs, s.quick ? n / 20 : n);
    if (w == width::all) e->detail += fmt::format("; N is {}", procs);
    return e;
  };
}

}  // namespace

void build_go_peer(setup& s) {
  const auto missing = [&s](std::string why) { s.go_missing = std::move(why); };
  const program_output version =
      run_program({"go", "version"}, "", {{"GOTOOLCHAIN", "local"}}, build_time, offspring::some);
  if (!succeeded(version)) return missing("Go is not installed: " + first_line(version.text));

  // Nothing is fetched. What is built is cached where Go usually does that, or, where it cannot, in this run's folder.
  const std::string program = s.files + "/gobench";
  program_output built;
  for (const bool usual_cache : {true, false}) {
    std::vector<std::pair<std::string, std::string>> environment{{"GOTOOLCHAIN", "local"}, {"GOPROXY", "off"}};
    if (!usual_cache) environment.emplace_back("GOCACHE", s.files + "/go-cache");
    built = run_program({"go", "build", "-buildvcs=false", "-o", program, "."}, WEFT_GO_PEER, environment, build_time,
                        offspring::some);
    if (built.timed_out || succeeded(built)) break;
  }
  if (built.timed_out) {
    return missing(fmt::format("go build in {} took more than {} s; once done by hand, it is cached", WEFT_GO_PEER,
                               build_time.count()));
  }
  if (!succeeded(built)) return missing(fmt::format("go build in {}: {}", WEFT_GO_PEER, first_line(built.text)));
  s.go_peer = program;
  s.go_version = first_line(version.text);
  constexpr std::string_view words = "go version ";
  if (s.go_version.starts_with(words)) s.go_version.erase(0, words.size());
}

// With N Ps a Go process needs some tens of milliseconds until it has its threads and its goroutines where they stay: shorter ones tell of how it
// begins. (Gosched at 2, 25 processes: 40,000 calls each 66 to 187 ns, median 123; a million 61 to 114, median 65.)
rows go_peer_rows() {
  const char* const level = isolation::goroutine;
  return {
      {"go.yield.p1", "Go: two goroutines that only call runtime.Gosched, GOMAXPROCS = 1; total time / all calls",
       level, one_by_one, made("switch", width::one, 40'000)},
      {"go.yield.pn", "Go: two goroutines that only call runtime.Gosched, GOMAXPROCS = N; total time / all calls",
       level, one_by_one, made("switch", width::all, 600'000)},
      {"go.channel.p1", "Go: two goroutines, two unbuffered channels, GOMAXPROCS = 1; half a round trip", level,
       one_by_one, made("pingpong", width::one, 20'000)},
      {"go.channel.pn", "Go: two goroutines, two unbuffered channels, GOMAXPROCS = N; half a round trip", level,
       one_by_one, made("pingpong", width::all, 100'000)},
  };
}

}  // namespace bench::hierarchy
