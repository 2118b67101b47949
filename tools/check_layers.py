#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks that includes point left only, and that runtime/os/ stays the only door to threads, atomics and the kernel.

    arch <- runtime/os <- runtime/base <- runtime/sched <- runtime/{chan,sync,net} <- runtime/weft <- bench, tests, tools
    bench <- tests

Also: the SPDX line comes first, headers say #pragma once, every quoted include exists, and in arch/ and runtime/ it is
relative to its file, so that the installed tree works wherever it is put. Every source, and every header that weft.h leads to,
is named in a meson.build: one that is not is never built, tested or installed. And in a git checkout, no tracked file is binary:
what a build or a tool left is not source, and pictures here are SVG.
"""

import argparse
import functools
import os
import pathlib
import re
import subprocess
import sys
import tempfile

# Room -> what it may include besides itself.
LEFT = {"arch": []}
LEFT["runtime/os"] = ["arch"]
LEFT["runtime/base"] = LEFT["runtime/os"] + ["runtime/os"]
LEFT["runtime/sched"] = LEFT["runtime/base"] + ["runtime/base"]
LEFT["runtime/chan"] = LEFT["runtime/sched"] + ["runtime/sched"]
LEFT["runtime/sync"] = LEFT["runtime/net"] = LEFT["runtime/chan"] + ["runtime/chan"]
LEFT["runtime/weft"] = LEFT["runtime/sync"] + ["runtime/sync", "runtime/net"]
LEFT["bench"] = LEFT["tests"] = LEFT["tools"] = LEFT["runtime/weft"] + ["runtime/weft"]
LEFT["tests"] = LEFT["tests"] + ["bench"]  # whose parts they test as well

FORWARDER = "runtime/weft/installed.h"  # its include is written for the place where it is installed

SUFFIXES = {".h", ".cc", ".S"}
DOOR = re.compile(
    r"\bstd::(?:atomic\w*|j?thread|this_thread|(?:\w+_)?mutex|condition_variable\w*|call_once)\b"
    r"|\bthread_local\b|\b__thread\b|\bsyscall\s*\("
    r"|#\s*include\s*<(?:atomic|thread|mutex|shared_mutex|condition_variable|sys/syscall\.h)>"
)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<(weft/[^>]+)>)', re.M)
SPDX = re.compile(r"\A(?:#!.*\n)?(?://|#) SPDX-License-Identifier: MIT\n")
# A comment, or a literal (kept apart so that "//" inside one opens no comment; 1'000 is no literal).
TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|(?<!\w)\'(?:\\.|[^\'\\\n])*\'', re.S)


def blank(match, keep_strings):
    text = match.group(0)
    if text[0] != "/" and keep_strings:
        return text
    return "".join(c if c == "\n" else " " for c in text)


def room_of(path):
    return next((room for room in LEFT if path.startswith(room + "/")), None)


def is_named(root, path):
    """Whether a meson.build beside the file or above it names the file; tests are named without their suffix."""
    name = re.compile(f"['/](?:{re.escape(path.name)}|{re.escape(path.stem)})'")
    listings = (root / folder / "meson.build" for folder in path.parents)
    return any(name.search(listing.read_text()) for listing in listings if listing.is_file())


@functools.cache
def public_headers(root):
    """What a user's <weft/weft.h> includes, directly or not: these are installed, the others are private."""
    found, todo = set(), [pathlib.PurePosixPath("runtime/weft/weft.h")]
    while todo:
        path = todo.pop()
        if path in found or not (root / path).is_file():
            continue
        found.add(path)
        for name in re.findall(r'^#include "([^"]+)"', (root / path).read_text(), re.M):
            todo.append(pathlib.PurePosixPath(os.path.normpath(path.parent / name)))
    return {pathlib.Path(path) for path in found if path.parts[0] == "runtime"}


def check_file(root, path):
    """Yields (line, message) for one file; path is relative to root."""
    name = path.as_posix()
    text = (root / path).read_text()
    if not SPDX.match(text):
        yield 1, "the first line is not the SPDX line"
    if path.suffix not in SUFFIXES:
        return
    if path.suffix == ".h" and not re.search(r"^#pragma once$", text, re.M):
        yield 1, "no #pragma once"

    if (path.suffix != ".h" or path in public_headers(root)) and not is_named(root, path):
        yield 1, "no meson.build names it"

    room = room_of(name)
    sealed = name.startswith(("arch/", "runtime/"))

    def line_at(match):
        return text.count("\n", 0, match.start()) + 1

    no_comments = TOKEN.sub(lambda m: blank(m, keep_strings=True), text)
    for match in INCLUDE.finditer(no_comments):
        quoted, angled = match.groups()
        if angled or name == FORWARDER:
            bases = [root / "runtime", root]
        else:
            bases = [(root / path).parent] + ([] if sealed else [root, root / "runtime"])
        targets = [base / (quoted or angled) for base in bases]
        target = next((t.resolve() for t in targets if t.is_file()), None)
        if target is None:
            # Bench and tests may include what the build generates beside them.
            if sealed or not (targets[0].parent / (targets[0].name + ".in")).is_file():
                yield line_at(match), f"include of {quoted or angled}: no such file" + (" relative to this one" if sealed else "")
            continue
        there = room_of(target.relative_to(root.resolve()).as_posix())
        if there != room and there not in LEFT[room]:
            yield line_at(match), f"{room} may not include {there} ({quoted or angled})"

    if sealed and room != "runtime/os":
        for match in DOOR.finditer(TOKEN.sub(lambda m: blank(m, keep_strings=False), text)):
            # std::unique_lock, std::call_once's habits and std::cv_status are the vocabulary of what is to look like std's.
            if room == "runtime/sync" and match.group(0) in ("#include <mutex>", "#include <condition_variable>"):
                continue
            yield line_at(match), f"`{match.group(0)}` outside runtime/os/"


def check_tree(root):
    findings = []
    files = 0
    for top in sorted({room.split("/")[0] for room in LEFT}):
        for full in sorted((root / top).rglob("*")):
            path = full.relative_to(root)
            if not full.is_file() or not (full.suffix in SUFFIXES | {".py"} or full.name == "meson.build"):
                continue
            files += 1
            if full.suffix in SUFFIXES and room_of(path.as_posix()) is None:
                findings.append(f"{path}: in no known room")
                continue
            findings += [f"{path}:{line}: {message}" for line, message in check_file(root, path)]
    return files, findings


def binaries(root):
    """Tracked files with a byte of zero in them, by which git, too, tells what is no text. None where there is no checkout of git."""
    try:
        done = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return []
    tracked = done.stdout.split("\0")[:-1] if done.returncode == 0 else []
    return [name for name in tracked if (root / name).is_file() and b"\0" in (root / name).read_bytes()]


def self_test():
    """A clean tree passes; each planted defect, and nothing else, is found."""
    spdx = "// SPDX-License-Identifier: MIT\n"
    head = spdx + "#pragma once\n"
    clean = {
        "arch/switch.h": head,
        "runtime/os/atomic.h": head + "#include <atomic>\nextern thread_local int x;\n",
        "runtime/base/check.h": head + '#include "../os/atomic.h"\n',
        "runtime/sched/go.h": head + '#include "../../arch/switch.h"\n// std::mutex\nconst char* s = "syscall(";\n',
        "runtime/chan/chan.h": head + '#include "../sched/go.h"\n',
        "runtime/sync/wait_group.h": head + '#include "../chan/chan.h"\n',
        "runtime/weft/weft.h": head + '#include "../sync/wait_group.h"\n',
        "bench/pingpong.cc": spdx + "#include <weft/weft.h>\n#include <atomic>\n",
        "tests/unit/go_test.cc": spdx,
        "tests/meson.build": "# SPDX-License-Identifier: MIT\n'go_test': []\n",
    }
    defects = {
        "runtime/os/mem.h": (head + '#include "../base/check.h"\n', "runtime/os may not include runtime/base"),
        "runtime/base/env.h": (head + '#include "../sched/go.h"\n', "may not include runtime/sched"),
        "arch/up.h": (head + '#include "../runtime/os/atomic.h"\n', "arch may not include runtime/os"),
        "runtime/chan/up.h": (head + '#include "../sync/wait_group.h"\n', "may not include runtime/sync"),
        "runtime/sched/root.h": (head + '#include "arch/switch.h"\n', "no such file relative to this one"),
        "runtime/sched/angle.cc": (spdx + "#include <weft/weft.h>\n", "may not include runtime/weft"),
        "runtime/sched/a.cc": (spdx + "std::atomic<int> a;\n", "std::atomic"),
        "runtime/sched/b.cc": (spdx + "/* */ std::mutex m;\n", "std::mutex"),
        "runtime/sched/c.cc": (spdx + "static thread_local int x;\n", "thread_local"),
        "runtime/sched/d.cc": (spdx + 'auto s = "//"; long r = syscall(1);\n', "syscall("),
        "runtime/sched/e.cc": (spdx + "#include <thread>\n", "<thread>"),
        "runtime/sched/f.cc": ("int x;\n", "SPDX"),
        "runtime/sched/g.h": (spdx, "#pragma once"),
        "runtime/sched/unlisted.cc": (spdx, "no meson.build names it"),
        "tests/unit/unlisted_test.cc": (spdx, "no meson.build names it"),
        "runtime/stray/h.h": (head, "no known room"),
    }
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)

        def put(name, text):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)

        names = [f"'{name}'\n" for name in (clean | defects) if "unlisted" not in name and "tests" not in name]
        put("meson.build", "# SPDX-License-Identifier: MIT\n" + "".join(names))
        for name, text in clean.items():
            put(name, text)
        _, findings = check_tree(root)
        assert findings == [], findings
        for name, (text, expected) in defects.items():
            put(name, text)
            _, findings = check_tree(root)
            assert len(findings) == 1 and name in findings[0] and expected in findings[0], (name, findings)
            (root / name).unlink()

        assert binaries(root) == []
        put("a.out", "\x7fELF\0")
        if subprocess.run("git init -q && git add -A", shell=True, cwd=root, check=False).returncode == 0:
            assert binaries(root) == ["a.out"], binaries(root)
    print(f"self-test: {len(defects) + 1} planted defects found")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", default=".", type=pathlib.Path, help="top of the source tree (default: here)")
    parser.add_argument("--self-test", action="store_true", help="plant one defect of each kind and see it found")
    args = parser.parse_args()
    if args.self_test:
        return self_test()
    files, findings = check_tree(args.root)
    findings += [f"{name}: a binary that git tracks" for name in binaries(args.root)]
    print("\n".join(findings + [f"{files} files, {len(findings)} findings"]))
    return 1 if findings or not files else 0


if __name__ == "__main__":
    sys.exit(main())
