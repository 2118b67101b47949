// SPDX-License-Identifier: MIT
//
// weft: goroutines and channels for C++. The one header to include.
//
//   sched/go.h          run, go, yield, set_procs, options: starting goroutines, and the Ps they run on
//   chan/chan.h         chan<T>, make_chan, send_chan, recv_chan: Go's channels
//   chan/select.h       select: the first of several channel operations that can take place
//   sync/mutex.h, shared_mutex.h, condition_variable.h, once.h, semaphore.h, latch.h, barrier.h
//                       what std calls so, for goroutines
//   chan/timer_chan.h   after, timer, ticker: points of time as channels
//   sync/context.h      context: who has to stop, by when, and why
//   sync/error_group.h  error_group: goroutines of which the first error cancels the rest
//   sync/goroutine_local.h
//                       goroutine_local<T>: a value of its own for each goroutine
//   sync/wait_group.h   wait_group: waiting for a number of things to be done
//
// The other headers that these include are weft's own inside, in namespace weft::rt; they are installed because the fast paths of a
// channel operation are inlined into your code. They promise nothing.

#pragma once

#include "../chan/chan.h"
#include "../chan/select.h"
#include "../chan/timer_chan.h"
#include "../sched/go.h"
#include "../sync/barrier.h"
#include "../sync/condition_variable.h"
#include "../sync/context.h"
#include "../sync/error_group.h"
#include "../sync/goroutine_local.h"
#include "../sync/latch.h"
#include "../sync/mutex.h"
#include "../sync/once.h"
#include "../sync/semaphore.h"
#include "../sync/shared_mutex.h"
#include "../sync/wait_group.h"
