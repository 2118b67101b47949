# SPDX-License-Identifier: MIT
"""The workloads that tools/compare runs, and the peers: how each is built, what it can be asked for, and in which size.

A workload's N is some tenths of a second of it for weft. A peer that would take minutes for that has an N of its own.
"""

import dataclasses
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import typing

PEERS = pathlib.Path(__file__).resolve().parent

# Workload: N, and the figures that count.
WORKLOADS = {
    "pingpong": (2_000_000, "ns_per_op"),
    "pingpong_deep4": (1_000_000, "ns_per_op"),
    "pingpong_1000": (2_000_000, "ns_per_op"),
    "switch": (3_000_000, "ns_per_op"),
    "spawn": (1_000_000, "ns_per_op"),
    "parked": (100_000, "bytes_per_task create_ns"),
    "skynet": (100_000, "ns_per_op"),
    "chan128_1x1": (3_000_000, "ns_per_op"),
    "chan128_4x4": (3_000_000, "ns_per_op"),
    "chan1_1x1": (1_000_000, "ns_per_op"),
    "chan1_4x4": (200_000, "ns_per_op"),
    "select0": (1_000_000, "ns_per_op"),
    "select128": (2_000_000, "ns_per_op"),
    "steal": (25, "ns_per_op"),
    "mutex": (5_000_000, "ns_per_op"),
    "timer": (10_000, "ns_per_op"),
}
ALL = tuple(WORKLOADS)  # unless asked
WORKLOADS |= {  # of interest beside Go alone
    "contended": (500_000, "ns_per_op"),
    "tryselect_recv": (50_000_000, "ns_per_op"),
    "tryselect_send": (50_000_000, "ns_per_op"),
    "tryselect_both": (20_000_000, "ns_per_op"),
    "tryselect_ready": (20_000_000, "ns_per_op"),
    "mutex_alone": (50_000_000, "ns_per_op"),
    "late": (500, "median_ns"),
}
CHANNELS = ("chan128_1x1", "chan128_4x4", "chan1_1x1", "chan1_4x4")
STACKFUL = tuple(w for w in ALL if not w.startswith("select"))

# What OS threads can be asked for in the same time.
THREADS_N = {
    "pingpong": 20_000,
    "pingpong_deep4": 20_000,
    "pingpong_1000": 20_000,
    "switch": 200_000,
    "spawn": 5_000,
    "parked": 5_000,
    "skynet": 1_000,
    "chan128_1x1": 300_000,
    "chan128_4x4": 100_000,
    "chan1_1x1": 20_000,
    "chan1_4x4": 20_000,
    "select0": 50_000,
    "select128": 300_000,
    "steal": 13,
    "timer": 500,
}


class Missing(Exception):
    """Why a peer cannot be built here."""


@dataclasses.dataclass
class Peer:
    name: str
    build: typing.Callable  # (folder) -> path of the program; raises Missing
    workloads: tuple
    why_not: str  # the others
    procs: typing.Callable = lambda p: True
    n: dict = dataclasses.field(default_factory=dict)  # where it differs from WORKLOADS'
    suffix: str = ""  # of the workload's name, on its command line
    cpus: bool = False  # p is the number of CPUs


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def compile_by(command, name, cwd=None, env=None):
    done = subprocess.run(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        error = next((line.strip() for line in done.stdout.splitlines() if re.search(r"\berror\b", line)), last_line(done.stdout))
        raise Missing(f"its program {name} does not build: {error}")


def need(tool, package):
    if shutil.which(tool) is None:
        raise Missing(f"no {tool}: install the package {package}")


def once(out, command, sources, make):
    """Makes `out` unless it was made by the same command of the same sources."""
    made = out.with_suffix(".made")
    content = " ".join(command).encode() + b"".join(path.read_bytes() for path in sources)
    wanted = hashlib.sha256(content).hexdigest()
    if not (out.exists() and made.exists() and made.read_text(encoding="utf-8") == wanted):
        made.unlink(missing_ok=True)
        make()
        made.write_text(wanted, encoding="utf-8")


def build_go(folder):
    need("go", "golang-go")
    out = folder / "go"
    compile_by(["go", "build", "-o", str(out), "."], "go", cwd=PEERS / "go", env={**os.environ, "GOFLAGS": "-buildvcs=false"})
    return out


def cxx(name, header, package, libraries=()):
    """A builder of bench/peers/NAME/NAME.cc, which includes HEADER of the Debian package PACKAGE."""

    def build(folder):
        compiler = os.environ.get("CXX", "c++").split()
        need(compiler[-1], "g++")
        if header:
            probe = subprocess.run([*compiler, "-x", "c++", "-E", "-"], input=f"#include <{header}>\n", capture_output=True, text=True, check=False)
            if probe.returncode != 0:
                raise Missing(f"no {header}: install the package {package}")
        out = folder / name
        source = PEERS / name / f"{name}.cc"
        command = [*compiler, "-std=c++20", "-O3", "-DNDEBUG", "-pthread", str(source), "-o", str(out), *libraries]
        once(out, command, [source, *sorted(PEERS.glob("*.h"))], lambda: compile_by(command, name))
        return out

    return build


def rust(binary, crate, package):
    def build(folder):
        need("cargo", "cargo")
        crates = pathlib.Path("/usr/share/cargo/registry")
        for wanted, holder in ((crate, package), ("libc", "librust-libc-dev")):
            if not any(crates.glob(f"{wanted}-[0-9]*")):
                raise Missing(f"no crate {wanted}: install the package {holder}")
        target, out = folder / "rust-target", folder / binary
        command = ["cargo", "build", "--release", "--offline", "--quiet", "--bin", binary, "--target-dir", str(target)]
        command += ["--config", 'source.crates-io.replace-with="debian"', "--config", f'source.debian.directory="{crates}"']
        parts = ["Cargo.toml", "src/lib.rs", f"src/bin/{binary}.rs"]

        def make():
            # A copy: cargo would leave its lock file in the tree. And cargo resolves all dependencies of the manifest, so that a peer
            # whose crate is there would fail for want of the other's.
            source = folder / f"{binary}-source"
            shutil.rmtree(source, ignore_errors=True)
            (source / "src" / "bin").mkdir(parents=True)
            for part in parts:
                shutil.copyfile(PEERS / "rust" / part, source / part)
            manifest = source / "Cargo.toml"
            other = {"tokio": "crossbeam-channel", "crossbeam-channel": "tokio"}[crate]
            manifest.write_text(re.sub(rf"^{other} = .*\n", "", manifest.read_text(encoding="utf-8"), flags=re.M), encoding="utf-8")
            compile_by(command, binary, cwd=source)
            shutil.copy2(target / "release" / binary, out)

        once(out, command, [PEERS / "rust" / part for part in parts], make)
        return out

    return build


build_tokio = rust("tokio", "tokio", "librust-tokio-dev")
NO_SELECT = "it has no select"
TOKIO = tuple(w for w in ALL if w not in ("pingpong_deep4", "select0"))
TOKIO_WHY = "its tasks have no stack, so nothing is four frames deep; it has no unbuffered channel to select on"
BOOST_N = {"skynet": 10_000, "steal": 20, "spawn": 300_000, "parked": 20_000, "timer": 2_000}

peers = [
    Peer("go", build_go, tuple(WORKLOADS), ""),
    Peer(
        "boost.fiber",
        cxx("boost_fiber", "boost/fiber/all.hpp", "libboost-fiber-dev", ("-lboost_fiber", "-lboost_context")),
        STACKFUL,
        NO_SELECT,
        n=BOOST_N,
    ),
    Peer(
        "boost.context",
        cxx("boost_context", "boost/context/fiber.hpp", "libboost-context-dev", ("-lboost_context",)),
        ("switch",),
        "it switches stacks and nothing else",
        procs=lambda p: p == 1,
        n={"switch": 20_000_000},
    ),
    Peer(
        "libst",
        cxx("libst", "st.h", "libst-dev", ("-lst",)),
        STACKFUL,
        NO_SELECT,
        procs=lambda p: p == 1,
        n={"switch": 300_000, "skynet": 10_000, "steal": 18, "parked": 20_000, "timer": 2_000},
    ),
    Peer("tokio", build_tokio, TOKIO, TOKIO_WHY),
    Peer("tokio.current_thread", build_tokio, TOKIO, TOKIO_WHY, procs=lambda p: p == 1, suffix=":ct"),
    Peer(
        "crossbeam",
        rust("crossbeam", "crossbeam-channel", "librust-crossbeam-channel-dev"),
        ("pingpong", "pingpong_deep4", "pingpong_1000", *CHANNELS, "select0", "select128"),
        "it is channels alone",
        n=THREADS_N,
        cpus=True,
    ),
    Peer("threads", cxx("threads", "", ""), STACKFUL, NO_SELECT, n=THREADS_N, cpus=True),
]
