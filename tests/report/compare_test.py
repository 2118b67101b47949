#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tools/compare with runtimes that are shell scripts: order of runs, medians and ratios, what becomes of a peer that is missing, crashes, hangs
or is wrong, the JSON, and the command line.

  compare_test.py TOP
"""
import contextlib
import importlib.machinery
import importlib.util
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

TOP = None
MACHINE = {"cpu": "none", "cpus": 1, "kernel": "none", "compiler": "none", "arch": "none"}


def compare():
    """A fresh copy of the tool."""
    loader = importlib.machinery.SourceFileLoader("tool_compare", str(TOP / "tools" / "compare"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.modules[loader.name] = module  # dataclasses look it up
    loader.exec_module(module)
    return module


class Case(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        (self.folder / "bench").mkdir()
        self.tool = compare()
        self.log = self.folder / "log"
        self.program("bench/bench_pingpong", f"while [ $# -gt 1 ]; do shift; done; echo '{json.dumps({'machine': MACHINE, 'revision': 'none'})}' > $1")
        self.program("bench/workload", "echo ns_per_op=10")

    def program(self, name, script):
        path = self.folder / name
        path.write_text(f'#!/bin/sh\necho "$(basename $0) $*" >> {self.log}\n{script}\n', encoding="utf-8")
        path.chmod(0o755)
        return path

    def peer(self, name, script, **more):
        path = self.program(name, script)
        return self.tool.Peer(name, lambda folder: path, more.pop("workloads", ("pingpong", "spawn")), "it cannot", **more)

    def run_with(self, peers, *arguments):
        """(exit status, what was printed, the JSON)"""
        self.tool.peers = peers
        out = self.folder / "out.json"
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
            status = self.tool.main(["--build", str(self.folder), "--json", str(out), *arguments])
        return status, printed.getvalue(), json.loads(out.read_text(encoding="utf-8"))


class Measuring(Case):
    def test_rounds_take_turns_and_the_median_counts(self):
        counting = f"n=$(grep -c '^slow' {self.log}); set -- 30 90 50; shift $((n - 1)); echo ns_per_op=$1"
        status, _, told = self.run_with([self.peer("slow", counting), self.peer("b", "echo ns_per_op=5")], "--rounds", "3", "--workloads", "pingpong=7", "--procs", "1")
        self.assertEqual(status, 0)
        order = [line.split()[0] for line in self.log.read_text().splitlines() if not line.startswith("bench_pingpong")]
        self.assertEqual(order, ["workload", "slow", "b"] * 3)
        rows = {r["peer"]: r for r in told["rows"]}
        self.assertEqual(rows["slow"]["runs"], [30, 90, 50])
        self.assertEqual((rows["weft"]["median"], rows["slow"]["median"], rows["b"]["median"]), (10, 50, 5))
        self.assertEqual((rows["weft"]["ratio"], rows["slow"]["ratio"], rows["b"]["ratio"]), (1, 5, 0.5))

    def test_the_json_has_the_shape_that_the_report_reads(self):
        _, _, told = self.run_with([self.peer("a", "echo ns_per_op=5")], "--rounds", "1", "--workloads", "pingpong=7", "--procs", "1,2")
        self.assertEqual((told["bench"], told["schema"], told["machine"], told["revision"]), ("compare", 1, MACHINE, "none"))
        for row in told["rows"]:
            self.assertEqual(list(row), ["workload", "peer", "procs", "n", "metric", "runs", "median", "ratio"])
        self.assertEqual([(r["peer"], r["procs"], r["n"]) for r in told["rows"]], [("weft", 1, 7), ("a", 1, 7), ("weft", 2, 7), ("a", 2, 7)])

    def test_a_workload_that_is_asked_for_in_several_sizes_has_a_row_for_each(self):
        script = "echo ns_per_op=$3"  # the size comes third
        self.program("bench/workload", script)
        words = "spawn=9,pingpong=1000,pingpong,pingpong=1000000,select0=3,select0=4"
        _, printed, told = self.run_with([self.peer("a", script)], "--rounds", "1", "--workloads", words, "--procs", "1")
        usual = self.tool.WORKLOADS["pingpong"][0]
        rows = [("spawn", 9), ("pingpong=1000", 1000), ("pingpong", usual), ("pingpong=1000000", 1_000_000), ("select0=3", 3), ("select0=4", 4)]
        wanted = [(label, peer, n, n) for label, n in rows for peer in ("weft", "a") if peer == "weft" or "select0" not in label]
        self.assertEqual([(r["workload"], r["peer"], r["n"], r["median"]) for r in told["rows"]], wanted)
        table = [line.split() for line in printed.splitlines() if line.endswith("ns_per_op")]
        self.assertEqual([(line[0], line[2], float(line[3])) for line in table], [(label, peer, n) for label, peer, n, _ in wanted])
        self.assertEqual(len({line.index(" weft ") for line in printed.splitlines() if " weft " in line and "runtime" not in line}), 1, "columns")
        self.assertEqual([a["workload"] for a in told["absent"]], ["select0"], "said once")

    def test_one_size_asked_for_twice_is_measured_twice(self):
        _, _, told = self.run_with([self.peer("a", "echo ns_per_op=5")], "--rounds", "1", "--workloads", "spawn=7,spawn=7", "--procs", "1")
        self.assertEqual([(r["workload"], r["peer"]) for r in told["rows"]], [("spawn=7", "weft"), ("spawn=7", "a")] * 2)

    def test_a_peer_that_fails_is_reported_and_not_asked_again(self):
        bad = {
            "crashes": ("kill -SEGV $$", "crashed: signal 11"),
            "wrong": ("echo a sum is wrong >&2; exit 1", "exit status 1: a sum is wrong"),
            "silent": ("true", "no ns_per_op= in what it printed"),
            "words": ("echo ns_per_op=many", "no ns_per_op="),
        }
        peers = [self.peer(name, script) for name, (script, _) in bad.items()] + [self.peer("good", "echo ns_per_op=1")]
        status, printed, told = self.run_with(peers, "--rounds", "2", "--workloads", "pingpong", "--procs", "1")
        self.assertEqual(status, 0, "a peer's failure is not ours")
        rows = {r["peer"]: r for r in told["rows"]}
        for name, (_, why) in bad.items():
            self.assertIn(why, rows[name]["failed"])
            self.assertEqual((rows[name]["median"], rows[name]["ratio"], rows[name]["runs"]), (None, None, []))
            self.assertRegex(printed, rf"(?m)^pingpong .* {name} +failed: {why}")
            self.assertEqual(sum(line.startswith(name) for line in self.log.read_text().splitlines()), 1)
        self.assertEqual(len(rows["good"]["runs"]), 2)

    def test_a_peer_that_hangs_is_stopped_and_reported(self):
        with self.assertRaisesRegex(self.tool.Failed, "hung: no result after 0.1 s"):
            self.tool.run_once([str(self.program("hangs", "exec sleep 600"))], ["ns_per_op"], 0.1)

    def test_a_failure_of_weft_leaves_no_ratio_and_shows_in_the_exit_status(self):
        self.program("bench/workload", "exit 3")
        status, _, told = self.run_with([self.peer("a", "echo ns_per_op=5")], "--rounds", "1", "--workloads", "spawn", "--procs", "1")
        self.assertEqual(status, 1)
        rows = {r["peer"]: r for r in told["rows"]}
        self.assertIn("exit status 3", rows["weft"]["failed"])
        self.assertEqual((rows["a"]["median"], rows["a"]["ratio"]), (5, None))

    def test_what_cannot_be_built_is_named_and_skipped(self):
        def missing(folder):
            raise self.tool.Missing("no st.h: install the package libst-dev")

        absent = self.tool.Peer("absent", missing, ("pingpong",), "")
        status, printed, told = self.run_with([absent, self.peer("a", "echo ns_per_op=5")], "--rounds", "1", "--workloads", "pingpong", "--procs", "1")
        self.assertEqual(status, 0)
        self.assertEqual(told["skipped"], [{"peer": "absent", "why": "no st.h: install the package libst-dev"}])
        self.assertIn("skipped absent: no st.h: install the package libst-dev", printed)
        self.assertNotIn("absent", {r["peer"] for r in told["rows"]})

    def test_what_a_peer_does_not_have_is_named_with_the_reason(self):
        _, printed, told = self.run_with([self.peer("a", "echo ns_per_op=5")], "--rounds", "1", "--workloads", "select0,spawn", "--procs", "1")
        self.assertEqual(told["absent"], [{"peer": "a", "workload": "select0", "why": "it cannot"}])
        self.assertIn("not in a: select0 (it cannot)", printed)
        self.assertEqual([(r["workload"], r["peer"]) for r in told["rows"]], [("select0", "weft"), ("spawn", "weft"), ("spawn", "a")])

    def test_several_figures_of_one_run(self):
        self.program("bench/workload", "echo bytes_per_task=100.0 create_ns=7.5 after_bytes=-3")
        peer = self.peer("a", "echo bytes_per_task=50 create_ns=15", workloads=("parked",))
        _, _, told = self.run_with([peer], "--rounds", "1", "--workloads", "parked", "--procs", "1")
        ratios = {(r["peer"], r["metric"]): r["ratio"] for r in told["rows"]}
        self.assertEqual(ratios, {("weft", "bytes_per_task"): 1, ("a", "bytes_per_task"): 0.5, ("weft", "create_ns"): 1, ("a", "create_ns"): 2})

    def test_only_some_peers_and_only_where_p_suits(self):
        peers = [self.peer("one", "echo ns_per_op=5", procs=lambda p: p == 1), self.peer("other", "echo ns_per_op=5"), self.peer("wide", "echo ns_per_op=5", cpus=True)]
        _, _, told = self.run_with(peers, "--rounds", "1", "--workloads", "pingpong", "--procs", "1,1024", "--only", "^(one|wide)$")
        self.assertEqual([(r["peer"], r["procs"]) for r in told["rows"]], [("weft", 1), ("one", 1), ("wide", 1), ("weft", 1024)])

    def test_os_threads_get_as_many_cpus_as_p(self):
        peer = self.peer("wide", "echo ns_per_op=$(nproc)", cpus=True)
        _, _, told = self.run_with([peer], "--rounds", "1", "--workloads", "pingpong", "--procs", "1")
        self.assertEqual(told["rows"][1]["runs"], [1])


class CommandLine(unittest.TestCase):
    def run_tool(self, *arguments):
        return subprocess.run([sys.executable, TOP / "tools" / "compare", *arguments], capture_output=True, text=True, timeout=60, check=False)

    def test_wrong_arguments(self):
        for arguments, saying in (
            (("--procs", "0"), "--procs: 0 is not in the range"),
            (("--procs", "1,,2"), "--procs: '' is not a whole number"),
            (("--procs", "1e2"), "--procs: '1e2' is not a whole number"),
            (("--rounds", "0"), "--rounds: 0"),
            (("--rounds",), "--rounds"),
            (("--timeout", "x"), "--timeout: 'x'"),
            (("--workloads", "magic"), "'magic' is none of"),
            (("--workloads", "spawn=0"), "--workloads spawn: 0"),
            (("--only", "["), "no regular expression"),
            (("--only", "no_such_peer"), "no peer's name matches"),
            (("--json", "/no/such/file"), "--json: cannot write to '/no/such/file'"),
            (("--build", "/no/such"), "no /no/such/bench/workload: build it by"),
            (("--bogus",), "--bogus"),
        ):
            with self.subTest(arguments=arguments):
                r = self.run_tool(*arguments)
                self.assertEqual((r.returncode, r.stdout), (2, ""), r.stderr)
                self.assertRegex(r.stderr, r"\Acompare: [^\n]+\n\Z", "exactly one line")
                self.assertIn(saying, r.stderr)

    def test_a_relative_build_folder_is_of_the_caller(self):
        """Peers are built from folders of their own: what they wrote to a relative one landed among their sources."""
        self.assertEqual(compare().parse(["--build", "some/where"]).build, pathlib.Path("some/where").absolute())

    def test_help(self):
        r = self.run_tool("--help")
        self.assertEqual(r.returncode, 0)
        for flag in ("--json", "--rounds", "--only", "--workloads", "--procs", "--build-only"):
            self.assertIn(flag, r.stdout)


class Programs(unittest.TestCase):
    def test_weft_knows_every_workload_and_so_does_go(self):
        tool = compare()
        ours = (TOP / "bench" / "workload.cc").read_text(encoding="utf-8")
        theirs = (TOP / "bench" / "peers" / "go" / "main.go").read_text(encoding="utf-8")
        for name in tool.WORKLOADS:
            self.assertIn(f'{{"{name}",', ours)
            self.assertIn(f'"{name}":', theirs)

    def test_each_peer_knows_the_workloads_that_it_is_asked_for(self):
        tool = compare()
        sources = {
            "boost.fiber": ("programs.h",), "libst": ("programs.h",), "threads": ("programs.h",),
            "boost.context": ("boost_context/boost_context.cc",), "tokio": ("rust/src/bin/tokio.rs",), "crossbeam": ("rust/src/bin/crossbeam.rs",),
        }  # fmt: skip
        for peer in tool.peers:
            for source in sources.get(peer.name, ()):
                text = (TOP / "bench" / "peers" / source).read_text(encoding="utf-8")
                for name in peer.workloads:
                    self.assertIn(f'"{name}"', text, peer.name)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: compare_test.py TOP")
    TOP = pathlib.Path(sys.argv.pop(1)).resolve()
    sys.dont_write_bytecode = True
    unittest.main()
