// SPDX-License-Identifier: MIT
//
// What a user's compiler makes of the inlined operations: codegen_test.py reads the code of these functions.

#include <weft/weft.h>

#include <array>

using wide = std::array<long, 5>;  // more than a register, and than two

extern "C" {

void hot_send(weft::chan<long>& c, long v) { c.send(v); }
long hot_recv(weft::chan<long>& c) { return *c.recv(); }
void hot_send_wide(weft::chan<wide>& c, const wide& v) { c.send(v); }
void hot_recv_wide(weft::chan<wide>& c, wide& to) { to = *c.recv(); }
void hot_pingpong(weft::chan<long>& ping, weft::chan<long>& pong, long n) {
  for (long i = 0; i < n; ++i) {
    ping.recv();
    pong.send(i);
  }
}
void hot_yield() { weft::yield(); }
void hot_lock(weft::mutex& m) { m.lock(); }
void hot_unlock(weft::mutex& m) { m.unlock(); }
bool hot_try_send(weft::chan<long>& c, long v) { return c.try_send(v); }
long hot_try_recv(weft::chan<long>& c) { return c.try_recv() ? 1 : 0; }
// Inlined, whatever the compiler thinks of its size: in a function of its own it would push six registers first.
long hot_select_try(weft::chan<long>& c) {
  long missed = 0;
  for (int i = 0; i < 1000; ++i) weft::select(weft::on_recv(c), weft::otherwise([&] { ++missed; }));
  return missed;
}
long hot_select_in_vain(weft::chan<long>& a, weft::chan<long>& b) {
  long got = 0;
  weft::select(weft::on_recv(a, [&](auto v) { got = *v; }), weft::on_recv(b, [&](auto v) { got = *v; }),
               weft::otherwise([] {}));
  return got;
}
}
