// SPDX-License-Identifier: MIT
//
// Chameneos-redux: creatures meet in pairs at one place and change colour by each other's. The place is a goroutine: the first who comes
// is kept until the second does.
//
//   chameneos [meetings]
#include <array>
#include <numeric>
#include <vector>

#include "program.h"

namespace {

enum colour : int { blue, red, yellow };

colour after_meeting(colour mine, colour other) { return mine == other ? mine : static_cast<colour>(3 - mine - other); }

struct visit {
  int who;
  colour wears;
  weft::chan<std::pair<int, colour>> answer;
};

struct creature {
  int met = 0;
  int met_itself = 0;
};

bool party(const std::vector<colour>& wear, int meetings) {
  auto place = weft::make_chan<visit>();
  std::vector<creature> all(wear.size());
  weft::wait_group creatures;
  for (std::size_t i = 0; i < wear.size(); ++i)
    creatures.go([&, i] {
      colour mine = wear[i];
      auto answer = weft::make_chan<std::pair<int, colour>>();
      for (;;) {
        place.send({static_cast<int>(i), mine, answer});
        auto other = answer.recv();
        if (!other) return;  // the party is over
        mine = after_meeting(mine, other->second);
        ++all[i].met;
        if (other->first == static_cast<int>(i)) ++all[i].met_itself;
      }
    });
  for (int i = 0; i < meetings; ++i) {
    auto a = place.recv();
    auto b = place.recv();
    a->answer.send({b->who, b->wears});
    b->answer.send({a->who, a->wears});
  }
  for (std::size_t i = 0; i < wear.size(); ++i) place.recv()->answer.close();
  creatures.wait();
  long long total = 0;
  for (const auto& c : all) {
    if (c.met_itself != 0) return false;
    total += c.met;
  }
  return total == 2LL * meetings;
}

}  // namespace

int main(int argc, char** argv) {
  const int meetings = programs::size_or(argc, argv, 1, 10'000);
  bool right =
      after_meeting(blue, red) == yellow && after_meeting(red, yellow) == blue && after_meeting(red, red) == red;
  weft::run([&] {
    right = right && party({blue, red, yellow}, meetings);
    right = right && party({blue, red, yellow, red, yellow, blue, red, yellow, red, blue}, meetings);
  });
  return programs::verdict(right, std::to_string(meetings) + " meetings, twice");
}
