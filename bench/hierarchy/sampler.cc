// SPDX-License-Identifier: MIT
#include "sampler.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <memory>
#include <numeric>
#include <random>

#include "../experiments.h"

namespace bench::hierarchy {

double quantile(const std::vector<double>& sorted, double share) {
  const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  return sorted[std::clamp<std::size_t>(rank, 1, sorted.size()) - 1];
}

// The k-th least and the k-th greatest of n, for the k that leaves 2.5 % on either side: n / 2 less 0.98 roots of n.
interval median_interval(std::vector<double> turns) {
  std::sort(turns.begin(), turns.end());
  const auto n = static_cast<double>(turns.size());
  const auto k = static_cast<std::size_t>(std::max(0.0, std::floor(n / 2 - 0.98 * std::sqrt(n))));
  return {turns[k == 0 ? 0 : k - 1], turns[turns.size() - std::max<std::size_t>(k, 1)]};
}

namespace {

// ---- what goes between the main process and a worker ----------------------------------------------------------------

enum class answer_kind : std::uint32_t { ready, samples, unavailable, failed };

struct answer_head {
  answer_kind kind;
  std::uint32_t bytes;
};

void send_answer(int to, answer_kind kind, const void* data, std::size_t bytes) {
  const answer_head head{kind, static_cast<std::uint32_t>(bytes)};
  if (!write_all(to, &head, sizeof head) || !write_all(to, data, bytes)) _exit(1);  // nobody is there to be told
}

// ---- the worker -----------------------------------------------------------------------------------------------------

using nanoseconds = std::chrono::nanoseconds;

// So many that a batch lasts about as long as the row wants. Of three tries the shortest counts: the first use of anything
// is slow.
std::int64_t batch_size(experiment& e, nanoseconds wanted) {
  constexpr std::int64_t most = std::int64_t{1} << 40;
  for (std::int64_t n = 1;; n *= 2) {
    nanoseconds took = nanoseconds::max();
    for (int i = 0; i < 3; ++i) {
      const bench::stopwatch watch;
      e.run(n);
      took = std::min(took, watch.elapsed());
    }
    if (took >= wanted || n >= most) return n;
    if (took >= wanted / 4) {
      return std::max<std::int64_t>(1, n * wanted.count() / took.count());
    }
  }
}

void serve(const row& r, const setup& s, const plan& p, int from, int to) {
  const std::unique_ptr<experiment> e = r.make(s);
  std::int64_t n = 1;
  if (r.batch != one_by_one) e->within([&] { n = batch_size(*e, r.batch); });
  const std::string found = e->detail + '\0' + e->isolation;
  send_answer(to, answer_kind::ready, found.data(), found.size());

  for (char order = 0; read_all(from, &order, 1);) {
    std::vector<double> samples;
    e->within([&] {
      e->warm_up(n);
      const bench::stopwatch watch;
      do {
        samples.push_back(e->run(n));
      } while (watch.elapsed() < p.turn);
    });
    send_answer(to, answer_kind::samples, samples.data(), samples.size() * sizeof samples[0]);
  }
}

[[noreturn]] void worker_main(const row& r, const setup& s, const plan& p, int from, int to) {
  answer_kind kind = answer_kind::failed;
  std::string why;
  try {
    serve(r, s, p, from, to);
    _exit(0);
  } catch (const unavailable& u) {
    kind = answer_kind::unavailable;
    why = u.what();
  } catch (const std::exception& x) {
    why = x.what();
  }
  send_answer(to, kind, why.data(), why.size());
  _exit(0);
}

// ---- the main process -----------------------------------------------------------------------------------------------

class worker {
 public:
  worker(const row& r, const setup& s, const plan& p) {
    pipe_ends down = make_pipe(), up = make_pipe();
    const pid_t parent = getpid();
    std::fflush(nullptr);
    pid_ = static_cast<pid_t>(checked(fork(), "fork"));
    if (pid_ == 0) {
      setpgid(0, 0);  // a group of its own: the watchdog's handle, and no ^C of the terminal's
      die_with_parent(parent);
      down.write.close();
      up.read.close();
      worker_main(r, s, p, down.read.get(), up.write.get());
    }
    setpgid(pid_, pid_);
    down_ = std::move(down.write);
    up_ = std::move(up.read);
  }
  ~worker() { kill_all(); }
  worker(const worker&) = delete;
  worker& operator=(const worker&) = delete;

  bool order_turn() const { return write_all(down_.get(), "t", 1); }

  struct answer {
    answer_kind kind;
    std::string bytes;
  };

  /// The next answer; in place of one that does not come, a `failed` that says why.
  answer await(std::chrono::milliseconds patience) {
    const auto end = std::chrono::steady_clock::now() + patience;
    answer_head head{};
    std::string bytes;
    if (!get(&head, sizeof head, end)) return {answer_kind::failed, lost(end)};
    bytes.resize(head.bytes);
    if (!get(bytes.data(), bytes.size(), end)) return {answer_kind::failed, lost(end)};
    return {head.kind, std::move(bytes)};
  }

  void kill_all() {
    if (pid_ <= 0) return;
    kill(-pid_, SIGKILL);
    while (waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
    }
    // What it had made is ours now (take_samples has asked for that), and was killed with it.
    while (waitpid(-pid_, nullptr, 0) > 0 || errno == EINTR) {
    }
    pid_ = 0;
  }

 private:
  using time_point = std::chrono::steady_clock::time_point;

  bool get(void* data, std::size_t size, time_point end) {
    for (auto* at = static_cast<char*>(data); size > 0;) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now()).count();
      pollfd p{.fd = up_.get(), .events = POLLIN, .revents = 0};
      const int ready = left > 0 ? poll(&p, 1, static_cast<int>(left)) : 0;
      if (ready < 0 && errno == EINTR) continue;
      if (ready <= 0) return false;
      const ssize_t n = read(up_.get(), at, size);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      at += n;
      size -= static_cast<std::size_t>(n);
    }
    return true;
  }

  std::string lost(time_point end) {
    const bool late = std::chrono::steady_clock::now() >= end;
    if (!late) {
      // Its end of the pipe is closed, so it has ended or is about to; let it, or the signal would be ours.
      siginfo_t info;
      waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT);
    }
    kill_all();
    if (late) return "gave no answer in time, and was killed";
    if (WIFSIGNALED(status_)) return fmt::format("its process died of signal {}", WTERMSIG(status_));
    return fmt::format("its process ended with status {}", WEXITSTATUS(status_));
  }

  pid_t pid_ = 0;
  int status_ = 0;
  fd down_, up_;
};

// A detail goes in round brackets behind the method.
void take_found(outcome& o, const std::string& found) {
  const auto zero = found.find('\0');
  const std::string detail = found.substr(0, zero), isolation = found.substr(zero + 1);
  if (!detail.empty()) o.method += fmt::format(" ({})", detail);
  if (!isolation.empty()) o.isolation = isolation;
}

void take_turn(worker& w, outcome& o, const plan& p, int round) {
  const auto failed = [&](const std::string& why) { o.missing = fmt::format("failed in round {}: {}", round, why); };
  w.order_turn();  // if nobody reads it, the answer tells why
  const worker::answer a = w.await(p.turn + p.patience);
  if (a.kind != answer_kind::samples) return failed(a.bytes);
  std::vector<double> samples(a.bytes.size() / sizeof(double));
  memcpy(samples.data(), a.bytes.data(), samples.size() * sizeof(double));
  if (std::any_of(samples.begin(), samples.end(), [](double x) { return !std::isfinite(x) || x <= 0; })) {
    return failed("a sample is no positive number");
  }
  o.samples.insert(o.samples.end(), samples.begin(), samples.end());
  std::sort(samples.begin(), samples.end());
  o.turns.push_back(quantile(samples, 0.5));
}

bool due(const outcome& o, int round) {
  constexpr std::size_t few = 15;
  return round % 4 == 0 || o.turns.size() < few || !median_interval(o.turns).steady();
}

}  // namespace

sampling take_samples(const std::vector<row>& all, const setup& s, const plan& p) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  signal(SIGPIPE, SIG_IGN);

  sampling result;
  std::vector<std::unique_ptr<worker>> workers;
  for (const row& r : all) {
    outcome o{.of = &r, .method = r.method, .isolation = r.isolation, .samples = {}, .turns = {}, .missing = {}};
    auto w = std::make_unique<worker>(r, s, p);
    const worker::answer a = w->await(p.patience);
    if (a.kind == answer_kind::ready) {
      take_found(o, a.bytes);
    } else {
      o.missing = a.kind == answer_kind::unavailable ? a.bytes : fmt::format("failed while preparing: {}", a.bytes);
      w = nullptr;
    }
    workers.push_back(std::move(w));
    result.outcomes.push_back(std::move(o));
  }

  std::vector<std::size_t> order(all.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::mt19937 random(1);  // a fixed seed: two runs take the same turns
  const bench::stopwatch watch;
  while (result.rounds < p.rounds &&
         (result.rounds == 0 || (watch.elapsed() < p.measuring && std::chrono::steady_clock::now() < p.latest))) {
    ++result.rounds;
    std::shuffle(order.begin(), order.end(), random);
    for (const std::size_t k : order) {
      if (!workers[k] || !due(result.outcomes[k], result.rounds)) continue;
      take_turn(*workers[k], result.outcomes[k], p, result.rounds);
      if (!result.outcomes[k].measured()) workers[k] = nullptr;
    }
  }

  workers.clear();
  for (outcome& o : result.outcomes) std::sort(o.samples.begin(), o.samples.end());
  return result;
}

}  // namespace bench::hierarchy
