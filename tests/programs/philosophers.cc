// SPDX-License-Identifier: MIT
//
// Dining philosophers: forks are channels of capacity one, a place at the table is a token, of which there is one less than forks: so
// somebody always has two forks. All eat as often as they want to, and no fork is ever in two hands.
//
//   philosophers [philosophers] [meals]
#include <atomic>
#include <vector>

#include "program.h"

int main(int argc, char** argv) {
  const int n = std::max(2, programs::size_or(argc, argv, 1, 5));
  const int meals = programs::size_or(argc, argv, 2, 2'000);
  std::atomic<bool> right{true};
  std::atomic<int> eaten{0};
  weft::run([&] {
    std::vector<weft::chan<int>> forks;
    std::vector<std::atomic<int>> held(static_cast<std::size_t>(n));
    auto places = weft::make_chan<int>(static_cast<std::size_t>(n - 1));
    for (int i = 0; i < n; ++i) {
      forks.push_back(weft::make_chan<int>(1));
      forks.back().send(i);
    }
    weft::wait_group all;
    for (int i = 0; i < n; ++i)
      all.go([&, i] {
        for (int m = 0; m < meals; ++m) {
          places.send(i);
          // Whichever of the two is free first.
          std::vector<int> hand;
          const auto take = [&](std::optional<int> f) { hand.push_back(f.value()); };
          auto left = forks[static_cast<std::size_t>(i)];
          auto right_hand = forks[static_cast<std::size_t>((i + 1) % n)];
          while (hand.size() < 2) {
            if (weft::select(weft::on_recv(left, take), weft::on_recv(right_hand, take)) == 0)
              left = {};
            else
              right_hand = {};
          }
          for (const int f : hand)
            if (held[static_cast<std::size_t>(f)].exchange(1) != 0) right = false;
          ++eaten;
          if (m % 3 == 0) weft::yield();
          for (const int f : hand) {
            held[static_cast<std::size_t>(f)] = 0;
            forks[static_cast<std::size_t>(f)].send(f);
          }
          places.recv();
        }
      });
    all.wait();
    for (const auto& f : forks) right = right && f.len() == 1;
  });
  return programs::verdict(right && eaten == n * meals, std::to_string(eaten) + " meals");
}
