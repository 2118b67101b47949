#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: install.sh MESON BUILD SOURCE COMPILER...
# Installs BUILD into an empty folder, then compiles, links (shared, then static) and runs SOURCE against it as a stranger
# would: with nothing but what pkg-config says. MESON_EXE_WRAPPER runs it in cross builds, and is empty otherwise.
set -eu

case $1 in --help) sed -n 3,5p "$0" && exit ;; esac
meson=$1 build=$2 source=$3
shift 3

dest=$(mktemp -d)
trap 'rm -rf "$dest"' EXIT
"$meson" install -C "$build" --no-rebuild --quiet --destdir "$dest"

pc=$(find "$dest" -name weft.pc)
[ -n "$pc" ] || { echo 'no weft.pc was installed' >&2; exit 1; }
export PKG_CONFIG_SYSROOT_DIR="$dest" PKG_CONFIG_LIBDIR="${pc%/*}"
libdir=$(pkg-config --variable=libdir weft)
case $libdir in "$dest"*) ;; *) libdir=$dest$libdir ;; esac

# The compiler is "$@"; what pkg-config says is split into words on purpose.
if [ -e "$libdir/libweft.so" ]; then
  "$@" -std=c++20 "$source" -o "$dest/shared" $(pkg-config --cflags --libs weft)
  LD_LIBRARY_PATH=$libdir $MESON_EXE_WRAPPER "$dest/shared"
  echo 'shared: ok'
  rm "$libdir"/libweft.so*
fi
if [ -e "$libdir/libweft.a" ]; then
  "$@" -std=c++20 "$source" -o "$dest/static" $(pkg-config --static --cflags --libs weft)
  $MESON_EXE_WRAPPER "$dest/static"
  echo 'static: ok'
fi
[ -e "$dest/shared" ] || [ -e "$dest/static" ]
