#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bench_breakdown and bench_workloads: what is asked wrongly gets one line on stderr and exit status 2; a short run measures everything
that a long one does, and its JSON holds it. Nothing here looks at how long anything took.

  bench_parts_test.py BENCH_BREAKDOWN BENCH_WORKLOADS        (under Meson's exe_wrapper, when it names one)
"""
import itertools
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import unittest

from refusal import expect_refusal

WRAPPER = shlex.split(os.environ.get("MESON_EXE_WRAPPER", ""))
PROGRAMS = {}  # name: path
TIMEOUT = 600  # seconds; natively such a run takes one, with callgrind ten; on a machine that is busy many more

SIX = ["channel synchronisation", "save", "scheduler decision", "restore", "barriers", "resume"]
FIVE_MORE = ["cache-line transfer", "rmw and fence", "os noise", "migration", "extra runtime work"]


def run(program, *arguments, environment=None):
    return subprocess.run(WRAPPER + [PROGRAMS[program]] + list(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=TIMEOUT, check=False, env=environment)


class Case(unittest.TestCase):
    def refused(self, program, *arguments, saying):
        with self.subTest(program=program, arguments=arguments):
            expect_refusal(self, program, run(program, *arguments), saying)

    def document(self, program, *arguments, environment=None):
        """The JSON of a run, which leaves nothing of an earlier one, and what it printed."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "out.json")
            with open(path, "w") as f:
                f.write("what an earlier run left, and longer than " + "x" * 100_000)
            r = run(program, *arguments, "--json", path, environment=environment)
            self.assertEqual(r.returncode, 0, r.stderr)
            with open(path) as f:
                document = json.load(f)
        self.assertEqual(document["bench"], program[len("bench_"):])
        self.assertEqual(document["schema"], 1)
        self.assertEqual(list(document["machine"]), ["cpu", "cpus", "kernel", "compiler", "arch"])
        self.assertTrue(document["revision"])
        return document, r.stdout


class WrongArguments(Case):
    def test_both(self):
        for program in PROGRAMS:
            for flag in ("-p", "-r"):
                self.refused(program, flag, "0", saying=flag + ": 0 is not in the range")
                self.refused(program, flag, "x", saying=flag + ": 'x' is not a whole number")
                self.refused(program, flag, saying=flag)
            self.refused(program, "-p", "1,", saying="-p: '' is not a whole number")
            self.refused(program, "-p", "1000000", saying="-p: 1000000 is not in the range")
            self.refused(program, "--bogus", saying="--bogus")
            self.refused(program, "extra", saying="extra")
            self.refused(program, "--quick", "--json", "", saying="--json: cannot write to")
            with tempfile.TemporaryDirectory() as folder:
                self.refused(program, "--quick", "--json", folder, saying="--json: cannot write to")
                self.refused(program, "--quick", "--json", os.path.join(folder, "no", "such"), saying="--json: cannot write to")
                path = os.path.join(folder, "out.json")
                self.refused(program, "--json", path, "-r", "0", saying="-r: 0")
                self.assertFalse(os.path.exists(path), "a wrong argument leaves no file")

    def test_breakdown(self):
        for variant in ("", "x", "11111", "211111", "1111111"):
            self.refused("bench_breakdown", "--count", variant, saying="--count: '%s'" % variant)
        self.refused("bench_breakdown", "--count", "whole", "--switches", "1", saying="--switches: 1 is not in the range")

    def test_workloads(self):
        for names, bad in (("x", "x"), ("", ""), ("parallel,", ""), ("parallel,io.cpu", "io.cpu")):
            self.refused("bench_workloads", "--only", names, saying="--only: '%s' is none of sequential, parallel" % bad)

    def test_help(self):
        for program, flags in (("bench_breakdown", ("-p", "-r", "--json", "--quick", "--no-instructions")),
                               ("bench_workloads", ("-p", "-r", "--json", "--quick", "--only"))):
            r = run(program, "--help")
            self.assertEqual((r.returncode, r.stderr), (0, ""))
            for flag in flags:
                self.assertRegex(r.stdout, r"(?m)^ *%s " % flag)


class Breakdown(Case):
    def adds_up(self, row):
        parts = [p["ns"] for p in row["parts"] if p["ns"] is not None]
        self.assertAlmostEqual(sum(parts) + row["unexplained_ns"], row["whole_ns"], delta=1e-6 * row["whole_ns"])
        self.assertEqual(row["within_10_percent"], abs(row["unexplained_ns"]) < row["whole_ns"] / 10)
        for p in row["parts"]:
            self.assertTrue(p["method"])
            if p["ns"] is None:
                self.assertTrue(p["unavailable"], "a part that cannot be measured says why")
            if p["instructions"] is None:
                self.assertTrue(p["instructions_unavailable"])

    def test_parts_add_up_to_the_whole(self):
        document, out = self.document("bench_breakdown", "--quick", "-r", "3", "-p", "1,2,3,2", "--no-instructions")
        self.assertEqual([r["procs"] for r in document["rows"]], [1, 2, 3])
        for row in document["rows"]:
            self.assertGreater(row["whole_ns"], 0)
            self.assertEqual([p["name"] for p in row["parts"]], SIX if row["procs"] == 1 else SIX + FIVE_MORE)
            self.adds_up(row)
            self.assertRegex(out, r"(?m)^-p %d: a switch takes [\d.]+ ns" % row["procs"])
            for p in row["parts"][:6]:
                self.assertIsNotNone(p["ns"])
                self.assertIsNotNone(p["left_out_ns"])
                self.assertIsNotNone(p["doubled_ns"])
        self.assertEqual(out.count("  unexplained "), 3)
        self.assertEqual(document["settings"]["instructions"], "unavailable: --no-instructions")

        # The six are what their means over all orders make of the variants, worked out here in another way: order by order.
        ns = document["variants"]
        self.assertEqual(len(ns), 64 + 1 + 6)
        self.assertTrue(all(v > 0 for v in ns.values()))
        worth = [0.0] * 6
        orders = list(itertools.permutations(range(6)))
        for order in orders:
            there = ["0"] * 6
            for k in order:
                before = ns["".join(there)]
                there[k] = "1"
                worth[k] += (ns["".join(there)] - before) / len(orders)
        for part, value in zip(document["rows"][0]["parts"], worth):
            self.assertAlmostEqual(part["ns"], value, places=6)

        # What is not in a sum is there, or says why not.
        names = {c["name"] for c in document["context"]}
        for name in ("path.one_stack", "path.two_stacks", "path.nothing", "switch.one_target", "switch.at_random",
                     "cache_line.one_way", "pinned.idle_core", "pinned.busy_core", "pair.cross", "moves_per_switch"):
            self.assertIn(name, names)
        for c in document["context"]:
            self.assertTrue("ns" in c or "per_switch" in c or c["unavailable"], c)

    def test_one_p_is_measured_even_when_not_asked_for(self):
        document, _ = self.document("bench_breakdown", "--quick", "-r", "1", "-p", "2", "--no-instructions")
        self.assertEqual([r["procs"] for r in document["rows"]], [2])
        self.adds_up(document["rows"][0])

    def test_instructions_are_counted_or_it_says_why_not(self):
        document, out = self.document("bench_breakdown", "--quick", "-r", "1", "-p", "1")
        row = document["rows"][0]
        self.adds_up(row)
        source = document["settings"]["instructions"]
        if source in ("callgrind", "perf"):
            counts = [p["instructions"] for p in row["parts"]]
            self.assertAlmostEqual(sum(counts) + row["unexplained_instructions"], row["whole_instructions"], places=6)
            # In this order of magnitude, for all compilers and processors; and what is locked is no more instructions.
            self.assertTrue(20 < row["whole_instructions"] < 2000, row)
            self.assertTrue(all(0 <= c < row["whole_instructions"] for c in counts), counts)
        else:
            self.assertRegex(source, r"\Aunavailable: .")
            self.assertIn("instructions unavailable: ", out)

    def test_without_valgrind(self):
        if WRAPPER:
            self.skipTest("the wrapper itself needs PATH")
        document, _ = self.document("bench_breakdown", "--quick", "-r", "1", "-p", "1", environment={"PATH": "/nonexistent"})
        source = document["settings"]["instructions"]
        self.assertTrue(source == "perf" or source.startswith("unavailable: valgrind cannot be run"), source)
        self.adds_up(document["rows"][0])

    def test_each_variant_can_be_run_alone(self):
        for variant in ("whole", "111111", "000000", "101010", "010101", "111111+", "211111+", "111112+"):
            r = run("bench_breakdown", "--count", variant, "--switches", "1000")
            self.assertEqual((r.returncode, r.stdout, r.stderr), (0, "", ""), variant)


class Workloads(Case):
    TIMED = {"sequential": "ns_per_op", "parallel": "ms", "io": "ns_per_op", "io.cpu": "cpu_ns_per_op", "handlers": "ms",
             "actors": "ns_per_op"}
    GOROUTINES = ["memory.goroutine.resident", "memory.goroutine.virtual", "memory.goroutine.kernel"]
    THREADS = ["memory.thread.resident", "memory.thread.virtual", "memory.thread.kernel"]
    EXTRAPOLATED = ["memory.thread.resident.extrapolated", "memory.thread.virtual.extrapolated"]

    def test_all_workloads_at_all_ps(self):
        document, out = self.document("bench_workloads", "--quick", "-r", "2", "-p", "1,2,4")
        rows = {(r["workload"], r["procs"]): r for r in document["rows"]}
        self.assertEqual(len(rows), len(document["rows"]), "no row twice")
        wanted = {(w, p) for w in list(self.TIMED) + self.GOROUTINES for p in (1, 2, 4)}
        wanted |= {(w, None) for w in self.THREADS + self.EXTRAPOLATED}
        self.assertEqual(set(rows), wanted)
        for (workload, _), r in rows.items():
            self.assertEqual(len(r["runs"]), 2)
            self.assertAlmostEqual(r["median"], statistics.median(r["runs"]))
            self.assertEqual(r["better"], "lower")
            self.assertTrue(r["note"])
            self.assertEqual(r["metric"], self.TIMED.get(workload, "bytes_of_100000" if "extrapolated" in workload else
                                                         "bytes_per_task"))
            if workload in self.TIMED:
                self.assertGreater(min(r["runs"]), 0)
        for kind in ("resident", "virtual"):
            thread = rows["memory.thread." + kind, None]
            far = rows["memory.thread.%s.extrapolated" % kind, None]
            self.assertIn("extrapolated", far["note"])
            for one, all_of_them in zip(thread["runs"], far["runs"]):
                self.assertAlmostEqual(all_of_them, 100_000 * one, delta=1)
        self.assertGreater(rows["memory.thread.virtual", None]["median"], 64 << 10, "a stack is more than that")

        cpus = document["machine"]["cpus"]
        self.assertEqual([v["workload"] for v in document["verdicts"]], list(self.TIMED))
        for v in document["verdicts"]:
            medians = {p: rows[v["workload"], p]["median"] for p in (1, 2, 4)}
            self.assertEqual(medians[v["best_procs"]], min(medians.values()))
            self.assertTrue(v["text"])
            if cpus > 1 and cpus in medians:
                self.assertAlmostEqual(v["ratio_p1_to_cpus"], medians[1] / medians[cpus])
            else:
                self.assertIsNone(v["ratio_p1_to_cpus"])
            self.assertRegex(out, r"(?m)^  %s +best at -p %d; " % (re.escape(v["workload"]), v["best_procs"]))
        self.assertEqual(len(document["remarks"]), 4)

    def test_only(self):
        document, _ = self.document("bench_workloads", "--quick", "-r", "1", "-p", "3", "--only", "actors,sequential")
        self.assertEqual([(r["workload"], r["procs"]) for r in document["rows"]], [("sequential", 3), ("actors", 3)])
        self.assertTrue(all(v["ratio_p1_to_cpus"] is None for v in document["verdicts"]))

    def test_the_default_goes_beyond_the_cpus(self):
        document, _ = self.document("bench_workloads", "--quick", "-r", "1", "--only", "sequential")
        procs = document["settings"]["procs"]
        cpus = document["machine"]["cpus"]
        self.assertEqual(procs, sorted(set(procs)))
        self.assertTrue({1, 2, 4, 8, 16, cpus} <= set(procs))
        self.assertGreaterEqual(procs[-1], 2 * cpus)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: bench_parts_test.py BENCH_BREAKDOWN BENCH_WORKLOADS")
    for argument in (sys.argv.pop(1), sys.argv.pop(1)):
        PROGRAMS[os.path.basename(argument)] = os.path.abspath(argument)
    unittest.main()
