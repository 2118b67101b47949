#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks what a shared library exports: names in namespace weft, what the compiler makes for those, and C names weft_*."""

import argparse
import re
import subprocess
import sys
import tempfile

OURS = re.compile(
    r"^(?:(?:typeinfo|typeinfo name|vtable|VTT|guard variable|(?:non-virtual|virtual) thunk|TLS (?:init|wrapper) function)"
    r" (?:for|to) )?weft::|^weft_\w+$"
)


def exports(library):
    command = ["nm", "--dynamic", "--defined-only", "--demangle", library]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [name for _, kind, name in (line.split(None, 2) for line in lines) if kind != "A"]  # A: a version's name


def self_test(compiler):
    source = """
        namespace weft { struct error { virtual ~error(); }; error::~error() {} int go() { return 1; } }
        extern "C" void weft_c() {}
        void stray() {}
    """
    with tempfile.NamedTemporaryFile(suffix=".so") as library:
        command = [*compiler, "-shared", "-fPIC", "-x", "c++", "-", "-o", library.name]
        subprocess.run(command, input=source, check=True, text=True)
        names = exports(library.name)
    strays = [name for name in names if not OURS.match(name)]
    assert strays == ["stray()"] and len(names) >= 6, names
    print("self-test: the planted export was found")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", nargs="?", help="libweft.so")
    parser.add_argument("--self-test", nargs="+", metavar="COMPILER", help="plant a stray export and see it found")
    args = parser.parse_args()
    if args.self_test:
        return self_test(args.self_test)
    if args.library is None:
        parser.error("a library or --self-test")
    names = exports(args.library)
    strays = [name for name in names if not OURS.match(name)]
    print("\n".join(strays + [f"{len(names)} exported names, {len(strays)} of them not weft's"]))
    return 1 if strays or not names else 0


if __name__ == "__main__":
    sys.exit(main())
