#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: format.sh CLANG_FORMAT TOP: fails, naming file and line, where clang-format would change something.
set -eu

case $1 in --help) sed -n 3p "$0" && exit ;; esac
cd "$2"
find arch runtime bench tests \( -name '*.h' -o -name '*.cc' \) -exec "$1" --dry-run -Werror {} +
