// SPDX-License-Identifier: MIT
#pragma once

// How long a process takes to start: from just before clone3 until the first instruction of a static program (payload.c,
// which does nothing but write down the cycle counter), or until its end has been waited for. One start is one sample.
//
// Both processes are kept on one CPU, or it would be a matter of chance whether another one must be woken first.
//
// Inside the time, behind walls::namespaces: the making of the control groups and the putting into them, the namespaces,
// the id maps, the private mounts, and the exec. Outside: the removal of the groups; and all that a container manager does
// besides: an image, a root file system of its own, a network that leads anywhere, seccomp filters, a daemon asked over a
// socket. That is what the 100 to 500 ms that one reads of are made of.

#include <memory>

#include "child.h"
#include "row.h"

namespace bench::hierarchy {

enum class until { first_instruction, exit };

std::unique_ptr<experiment> start_of_child(const setup& s, walls around, until end);

}  // namespace bench::hierarchy
