// SPDX-License-Identifier: MIT

#include "chan.h"

#include <string>

namespace weft {

closed_channel::~closed_channel() = default;

namespace rt {

void throw_send_on_closed() { throw closed_channel("weft: send on closed channel"); }

void throw_bad_capacity(std::size_t capacity) {
  throw std::length_error("weft::make_chan: capacity " + std::to_string(capacity) + " is above " +
                          std::to_string(max_capacity));
}

void close_or_throw(chan_core* c) {
  if (!c) throw closed_channel("weft: close of nil channel");
  if (!close_chan(c)) throw closed_channel("weft: close of closed channel");
  cooperate(self());
}

}  // namespace rt
}  // namespace weft
