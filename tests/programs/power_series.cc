// SPDX-License-Identifier: MIT
//
// Power series as streams of rational coefficients, after McIlroy, "Squinting at Power Series": each operation is a goroutine, or a
// web of them, that reads its operands' coefficients as they are asked for.
//
//   power_series [coefficients]      up to 20: beyond that, exp's denominators leave 64 bits
#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "program.h"

namespace {

struct rational {
  std::int64_t n = 0;
  std::int64_t d = 1;
  bool operator==(const rational&) const = default;
};

using wide = __int128;

rational make(wide n, wide d) {
  wide a = n < 0 ? -n : n;
  wide b = d;
  while (b != 0) a = std::exchange(b, a % b);
  // Streams run ahead of who reads them, as far as the scheduler lets them: past the 20th coefficient exp's leave 64 bits. Nobody looks at
  // those, and none before them depends on them.
  constexpr wide most = INT64_MAX;
  if (n / a > most || n / a < -most || d / a > most) return {};
  return {static_cast<std::int64_t>(n / a), static_cast<std::int64_t>(d / a)};
}
rational operator+(rational a, rational b) { return make(wide{a.n} * b.d + wide{b.n} * a.d, wide{a.d} * b.d); }
rational operator-(rational a) { return {-a.n, a.d}; }
rational operator*(rational a, rational b) { return make(wide{a.n} * b.n, wide{a.d} * b.d); }
rational inverse(rational a) { return a.n < 0 ? rational{-a.d, -a.n} : rational{a.d, a.n}; }

// A series is where its coefficients come from. When nobody wants more of them, `done` is closed and all end.
using series = weft::chan<rational>;

class workshop {
 public:
  void close() const { done_.close(); }

  // Starts body(out); put and get in it end it, by an exception, when the workshop closes.
  template <class F>
  series make(F body) {
    auto out = weft::make_chan<rational>();
    weft::go([out, body] {
      try {
        body(out);
      } catch (const over&) {
      }
    });
    return out;
  }

  rational get(const series& s) const { return get(s, done_); }
  static rational get(const series& s, const weft::chan<int>& done) {
    rational v;
    bool closed = false;
    weft::select(weft::on_recv(s, [&](auto got) { v = *got; }), weft::on_recv(done, [&](auto) { closed = true; }));
    if (closed) throw over{};
    return v;
  }
  static void put(const series& s, rational v, const weft::chan<int>& done) {
    bool closed = false;
    weft::select(weft::on_send(s, v), weft::on_recv(done, [&](auto) { closed = true; }));
    if (closed) throw over{};
  }

  series constant_term(rational c) {  // c + 0x + 0x^2 + ...
    return make([d = done_, c](const series& out) {
      put(out, c, d);
      for (;;) put(out, {}, d);
    });
  }
  series add(series a, series b) {
    return make([d = done_, a, b](const series& out) {
      for (;;) put(out, get(a, d) + get(b, d), d);
    });
  }
  series scale(rational c, series a) {
    return make([d = done_, c, a](const series& out) {
      for (;;) put(out, c * get(a, d), d);
    });
  }
  series shift(rational c, series a) {  // c + x a
    return make([d = done_, c, a](const series& out) {
      put(out, c, d);
      for (;;) put(out, get(a, d), d);
    });
  }
  // Two readers of one series, who may be at different places: what one has had waits in a queue for the other.
  std::pair<series, series> split(series a) {
    auto left = weft::make_chan<rational>();
    auto right = weft::make_chan<rational>();
    weft::go([d = done_, a, left, right] {
      std::vector<rational> ahead;
      std::size_t l = 0;
      std::size_t r = 0;
      const series nobody;
      for (bool on = true; on;) {
        const bool for_left = l < ahead.size();
        const bool for_right = r < ahead.size();
        // Never waits for the next one only: it may depend on what the slower reader is about to have.
        weft::select(weft::on_send(for_left ? left : nobody, for_left ? ahead[l] : rational{}, [&] { ++l; }),
                     weft::on_send(for_right ? right : nobody, for_right ? ahead[r] : rational{}, [&] { ++r; }),
                     weft::on_recv(for_left && for_right ? nobody : a, [&](auto v) { ahead.push_back(v.value()); }),
                     weft::on_recv(d, [&](auto) { on = false; }));
      }
    });
    return {left, right};
  }
  // (f + xF)(g + xG) = fg + x(fG + gF + xFG)
  series multiply(series a, series b) {
    return make([this, d = done_, a, b](const series& out) {
      const rational f = get(a, d);
      const rational g = get(b, d);
      put(out, f * g, d);
      auto [f1, f2] = split(a);
      auto [g1, g2] = split(b);
      const series sum = add(add(scale(f, g1), scale(g, f1)), shift({}, multiply(f2, g2)));
      for (;;) put(out, get(sum, d), d);
    });
  }
  series integrate(rational c, series a) {
    return make([d = done_, c, a](const series& out) {
      put(out, c, d);
      for (std::int64_t n = 1;; ++n) put(out, rational{1, n} * get(a, d), d);
    });
  }
  // 1/F: r = 1/f, then -r(F'R)
  series reciprocal(series a) {
    return make([this, d = done_, a](const series& out) {
      const rational r = inverse(get(a, d));
      put(out, r, d);
      // R = r + x(-r)(F' R): the series feeds on itself.
      auto self = weft::make_chan<rational>();
      auto [own, shown] = split(self);
      const series rest = scale(-r, multiply(a, own));
      weft::go([d, self, rest, r] {
        try {
          put(self, r, d);
          for (;;) put(self, get(rest, d), d);
        } catch (const over&) {
        }
      });
      get(shown, d);
      for (;;) put(out, get(shown, d), d);
    });
  }
  // exp(F) with F(0) = 0: X = 1 + integral of X F'
  series exponential(series derivative) {
    return make([this, d = done_, derivative](const series& out) {
      auto self = weft::make_chan<rational>();
      auto [own, shown] = split(self);
      const series x = integrate({1, 1}, multiply(own, derivative));
      weft::go([d, self, x] {
        try {
          for (;;) put(self, get(x, d), d);
        } catch (const over&) {
        }
      });
      for (;;) put(out, get(shown, d), d);
    });
  }
  // tan = integral of 1 + tan^2
  series tangent() {
    return make([this, d = done_](const series& out) {
      auto self = weft::make_chan<rational>();
      auto [once, twice] = split(self);
      auto [again, shown] = split(twice);
      const series x = integrate({}, add(constant_term({1, 1}), multiply(once, again)));
      weft::go([d, self, x] {
        try {
          for (;;) put(self, get(x, d), d);
        } catch (const over&) {
        }
      });
      for (;;) put(out, get(shown, d), d);
    });
  }

 private:
  struct over {};
  weft::chan<int> done_ = weft::make_chan<int>();
};

std::vector<rational> first(const workshop& w, const series& s, int n) {
  std::vector<rational> all;
  for (int i = 0; i < n; ++i) all.push_back(w.get(s));
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  const int n = programs::size_or(argc, argv, 1, 8);
  bool right = n <= 20;
  weft::run([&] {
    // The workshop outlives those who use it: they hold `this` only until it has closed, and are waited for.
    auto w = std::make_unique<workshop>();
    // exp x: 1/n!
    std::int64_t factorial = 1;
    const auto e = first(*w, w->exponential(w->constant_term({1, 1})), n);
    for (int i = 0; i < n; ++i) {
      if (i > 0) factorial *= i;
      right = right && e[static_cast<std::size_t>(i)] == rational{1, factorial};
    }
    // tan x
    const std::vector<rational> tan = {{}, {1, 1},    {}, {1, 3},     {}, {2, 15},
                                       {}, {17, 315}, {}, {62, 2835}, {}, {1382, 155925}};
    const int shown = std::min<int>(n, static_cast<int>(tan.size()));
    right = right && first(*w, w->tangent(), shown) == std::vector<rational>(tan.begin(), tan.begin() + shown);
    // 1/(1 - x) is 1 for ever; its square counts; times (1 - x) it is 1.
    const auto one_minus_x = [&] { return w->shift({1, 1}, w->constant_term({-1, 1})); };
    for (const auto& c : first(*w, w->reciprocal(one_minus_x()), n)) right = right && c == rational{1, 1};
    const auto count = first(*w, w->multiply(w->reciprocal(one_minus_x()), w->reciprocal(one_minus_x())), n);
    for (int i = 0; i < n; ++i) right = right && count[static_cast<std::size_t>(i)] == rational{i + 1, 1};
    const auto one = first(*w, w->multiply(one_minus_x(), w->reciprocal(one_minus_x())), n);
    for (int i = 0; i < n; ++i) right = right && one[static_cast<std::size_t>(i)] == rational{i == 0, 1};
    const auto goroutines = weft::num_goroutines();
    std::printf("%lld goroutines\n", static_cast<long long>(goroutines));
    w->close();
    while (weft::num_goroutines() > 1) weft::yield();
  });
  return programs::verdict(right, std::to_string(n) + " coefficients of exp, tan and 1/(1 - x)");
}
