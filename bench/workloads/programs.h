// SPDX-License-Identifier: MIT
#pragma once

// The workloads whose time is taken, each called by a goroutine; what watches memory is in memory.h. Each checks its own sums.

#include <cstdint>
#include <optional>

#include "../experiments.h"

namespace bench::workloads {

/// Two goroutines that can never run at once: bench_pingpong's. n round trips; one op is a switch.
result sequential(std::int64_t n);

/// CPU-bound fork and join: n numbers mixed and summed, in halves of halves, each half a goroutine, down to a 256th of the whole, which
/// takes some hundred microseconds. No memory is shared but the results. One op is one number.
result parallel(std::int64_t n);

/// I/O-bound. weft has no network poller yet, so this is a stand-in: a thousand goroutines (or n, if fewer) make n requests in all; for
/// each they sleep a millisecond, as if for an answer from elsewhere, then read 4 KiB by pread from a file in the page cache, which keeps
/// their P for the time of the system call, and check them. One op is a request.
result io(std::int64_t n);

/// n handlers at once: all are started and wait at a gate, it opens, and each does a little work and sends its answer through one channel.
/// One op is a handler's life.
result handlers(std::int64_t n);

/// Actors: a tree, eight children each, three levels below the root, each actor a goroutine with a mailbox of 16. n messages to the root;
/// each goes down to all leaves, and the sums come up. One op is one message between two actors.
result actors(std::int64_t n);

/// Processor time of the whole process, ns.
std::int64_t process_cpu_ns();

}  // namespace bench::workloads
