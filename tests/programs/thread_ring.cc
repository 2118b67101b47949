// SPDX-License-Identifier: MIT
//
// Thread ring: a token goes round a ring of goroutines and loses one each step; who gets it at zero says so.
//
//   thread_ring [goroutines] [steps]
#include "program.h"

int main(int argc, char** argv) {
  const int members = programs::size_or(argc, argv, 1, 503);
  const int steps = programs::size_or(argc, argv, 2, 50'000);
  const int last = weft::run([&] {
    auto answer = weft::make_chan<int>();
    const auto first = weft::make_chan<int>();
    auto in = first;
    for (int i = 1; i <= members; ++i) {
      auto out = i == members ? first : weft::make_chan<int>();
      // The last one's neighbour may be gone when the token has stopped: a close goes round behind it.
      weft::go([=] {
        for (int token : in) {
          if (token == 0) {
            answer.send(i);
            break;
          }
          out.send(token - 1);
        }
        try {
          out.close();
        } catch (const weft::closed_channel&) {
        }
      });
      in = out;
    }
    first.send(steps);
    return answer.recv().value();
  });
  return programs::verdict(last == steps % members + 1,
                           "goroutine " + std::to_string(last) + " has the token at the end");
}
