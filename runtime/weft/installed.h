// SPDX-License-Identifier: MIT
//
// Where the headers are installed, <weft/weft.h> is this file.

#pragma once

#include "runtime/weft/weft.h"
