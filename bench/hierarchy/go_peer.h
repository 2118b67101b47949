// SPDX-License-Identifier: MIT
#pragma once

#include "row.h"

namespace bench::hierarchy {

/// Builds the Go programs into s.files and fills in the go_ fields of s, which say so if it could not be done.
void build_go_peer(setup& s);

}  // namespace bench::hierarchy
