#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The rules by which the report judges claims, its reading of the benches' files, and its command line; no browser, no Node.

  verdicts_test.py TOP
"""
import importlib.machinery
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

TOP = None
HOLDS, FAILS, UNKNOWN = "holds", "does not hold", "cannot be measured here"


def fixture(bench):
    return json.loads((TOP / "tests" / "report" / "fixtures" / f"{bench}.json").read_text(encoding="utf-8"))


def tool(name):
    loader = importlib.machinery.SourceFileLoader(f"tool_{name}", str(TOP / "tools" / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def everything():
    return {bench: fixture(bench) for bench in facts.BENCHES}


def judged(documents, missing=None):
    """Statement or claim -> what was judged of it."""
    claims = json.loads((TOP / "tools" / "reporting" / "claims.json").read_text(encoding="utf-8"))
    found = {}
    for claim in verdicts.judge(claims, facts.Facts(documents, missing)):
        found[claim["claim"]] = claim
        found |= {s["id"]: s for s in claim["statements"]}
    return found


def latency(documents, name, median):
    row = next(r for r in documents["hierarchy"]["rows"] if r["name"] == name)
    row["ns"] = {"min": median, "median": median, "p99": median}


class Rules(unittest.TestCase):
    def test_a_figure_holds_within_the_range_widened_by_half(self):
        for median, verdict in ((9.9, FAILS), (25 / 1.5, HOLDS), (30, HOLDS), (75, HOLDS), (75.1, FAILS)):
            documents = everything()
            latency(documents, "mutex.uncontended", median)
            self.assertEqual(judged(documents)["C4.6"]["verdict"], verdict, median)

    def test_a_measured_range_holds_when_it_meets_the_references(self):
        for futex, verdict in ((100, HOLDS), (5000, FAILS)):
            documents = everything()
            for row in documents["hierarchy"]["rows"]:
                if row["name"].startswith("thread."):
                    latency(documents, row["name"], 5000)
            latency(documents, "thread.futex.same_core", futex)
            self.assertEqual(judged(documents)["C4.9"]["verdict"], verdict, futex)

    def test_starting_a_process_is_no_switch(self):
        documents = everything()
        for row in documents["hierarchy"]["rows"]:
            if row["name"].startswith("process."):
                latency(documents, row["name"], 7000 if ".start" in row["name"] else 100)
        self.assertEqual(judged(documents)["C4.10"]["verdict"], FAILS)

    def test_the_factor_of_one_p_is_judged_more_strictly(self):
        for many, verdict in ((12.2, FAILS), (13, HOLDS), (15.2, HOLDS), (16.2, FAILS)):
            documents = everything()
            del documents["compare"]
            documents["hierarchy"]["rows"] = [r for r in documents["hierarchy"]["rows"] if not r["name"].startswith("go.")]
            for row in documents["pingpong"]["results"]:
                row["median"] = 10 if row["p"] == 1 else many
            self.assertEqual(judged(documents)["C1.3"]["verdict"], verdict, many)

    def test_faster_means_by_more_than_noise(self):
        for many, verdict in ((10.4, FAILS), (10.6, HOLDS), (9, FAILS)):
            documents = everything()
            for row in documents["pingpong"]["results"]:
                row["median"] = 10 if row["p"] == 1 else many
            self.assertEqual(judged(documents)["C7.1"]["verdict"], verdict, many)

    def test_a_statement_fails_when_one_of_the_runtimes_refutes_it_and_says_which(self):
        statement = judged(everything())["C1.1"]
        self.assertEqual(statement["holds_on"], {"weft": False, "go": True})
        self.assertEqual(statement["verdict"], FAILS)
        self.assertEqual(statement["why"], "not on weft (below); it does on Go")

    def test_a_runtime_without_a_figure_does_not_decide(self):
        documents = everything()
        documents["compare"]["rows"] = [r for r in documents["compare"]["rows"] if r["peer"] != "go"]
        documents["compare"]["skipped"] = [{"peer": "go", "why": "no go: install the package golang-go"}]
        documents["hierarchy"]["rows"] = [r for r in documents["hierarchy"]["rows"] if not r["name"].startswith("go.")]
        for row in documents["pingpong"]["results"]:
            row["median"] = 110
        statement = judged(documents)["C1.1"]
        self.assertEqual(statement["verdict"], HOLDS)
        self.assertIsNone(statement["go"])
        self.assertIn("no go: install the package golang-go", statement["why"])

    def test_a_claim_holds_when_all_that_could_be_measured_holds(self):
        documents = everything()
        self.assertEqual(judged(documents)["C8"]["verdict"], HOLDS)
        latency(documents, "counter.batched", 200)  # dearer than contended: not cured
        found = judged(documents)
        self.assertEqual(found["C8"]["verdict"], FAILS)
        self.assertIn("Batching", found["C8"]["why"])
        documents = everything()
        for row in documents["hierarchy"]["rows"]:
            if row["name"] == "counter.contended":
                del row["ns"]
                row["unavailable"] = "one CPU"
        found = judged(documents)
        self.assertEqual((found["C8.1"]["verdict"], found["C8.2"]["verdict"], found["C8"]["verdict"]), (UNKNOWN, UNKNOWN, HOLDS))
        self.assertIn("one CPU", found["C8.1"]["why"])

    def test_so_many_at_once_needs_a_run_with_so_many(self):
        found = judged(everything())
        self.assertEqual(found["C6.1"]["verdict"], HOLDS)
        self.assertEqual(found["C6.2"]["verdict"], UNKNOWN)
        documents = everything()
        for row in documents["compare"]["rows"]:
            if row["workload"] == "parked":
                row["n"] = 1_000_000
        self.assertEqual(judged(documents)["C6.2"]["verdict"], HOLDS)

    def test_what_is_extrapolated_says_so(self):
        self.assertIn("extrapolated from", judged(everything())["C6.3"]["machine"])

    def test_a_part_that_was_not_measured_is_not_judged(self):
        found = judged(everything())
        self.assertEqual(found["C2.5"]["verdict"], UNKNOWN)
        self.assertIn("perf counts nothing here", found["C2.5"]["why"])
        self.assertEqual(found["C2.4"]["holds_on"], {"weft": False, "go": None})

    def test_parallel_work_is_judged_at_no_more_ps_than_cpus(self):
        documents = everything()
        for row in documents["workloads"]["rows"]:
            if row["workload"] == "parallel":
                row["median"] = {1: 100, 2: 100, 4: 100, 16: 10}[row["procs"]]  # four CPUs: 16 Ps prove nothing
        self.assertEqual(judged(documents)["C7.2"]["holds_on"]["weft"], False)

    def test_every_statement_has_an_answer_and_every_claim_its_fields(self):
        claims = json.loads((TOP / "tools" / "reporting" / "claims.json").read_text(encoding="utf-8"))
        self.assertEqual([c["claim"] for c in claims], [f"C{k}" for k in range(1, 9)])
        stated = {s["id"] for c in claims for s in c["statements"]}
        self.assertEqual(stated, set(verdicts.answers(facts.Facts(everything()))))
        for claim in verdicts.judge(claims, facts.Facts(everything())):
            for key in ("claim", "text", "reference", "weft", "go", "verdict", "why"):
                self.assertIn(key, claim)
            self.assertIn(claim["verdict"], (HOLDS, FAILS, UNKNOWN))


class MissingInputs(unittest.TestCase):
    def test_nothing_run_nothing_judged(self):
        found = judged({})
        for name, told in found.items():
            self.assertEqual(told["verdict"], UNKNOWN, name)
            self.assertIsNone(told["weft"])
            self.assertTrue(told["why"], name)
        self.assertIn("bench_hierarchy was not run", found["C4"]["why"])
        self.assertIn("bench_breakdown was not run", found["C3"]["why"])

    def test_each_bench_alone_may_be_missing(self):
        for bench in facts.BENCHES:
            documents = everything()
            del documents[bench]
            found = judged(documents, {bench: f"{bench} failed: no luck"})
            self.assertEqual(len(found), len(judged(everything())))
        self.assertIn("hierarchy failed: no luck", judged({}, {"hierarchy": "hierarchy failed: no luck"})["C4.1"]["why"])

    def test_a_peer_that_failed_is_the_reason(self):
        documents = everything()
        for row in documents["compare"]["rows"]:
            if row["peer"] == "go" and row["workload"] == "parked":
                row.update(median=None, ratio=None, runs=[], failed="crashed: signal 11")
        self.assertIn("crashed: signal 11", judged(documents)["C6.1"]["why"])


class Files(unittest.TestCase):
    def refused(self, content, saying):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "x.json"
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
            with self.assertRaisesRegex(facts.BadInput, saying) as caught:
                facts.load(path)
            self.assertNotIn("\n", str(caught.exception))

    def test_what_is_no_benchs_document_is_refused(self):
        self.refused("{", "is no JSON")
        self.refused([], "is no bench's document")
        self.refused({"bench": "magic", "rows": []}, "'magic' is none of the benches")
        self.refused({"bench": "hierarchy", "schema": 2, "rows": []}, "schema 2")
        self.refused({"bench": "hierarchy", "schema": 1}, "list of rows")
        self.refused({"bench": "compare", "schema": 1, "rows": [{"workload": "pingpong"}]}, "a row without 'peer'")
        with self.assertRaisesRegex(facts.BadInput, "cannot read '/no/such'"):
            facts.load("/no/such")

    def test_one_bench_has_one_source(self):
        path = TOP / "tests" / "report" / "fixtures" / "pingpong.json"
        with self.assertRaisesRegex(facts.BadInput, "both of pingpong"):
            facts.load_all([path, path])


class CommandLine(unittest.TestCase):
    def refused(self, *arguments, saying, path=None):
        env = None if path is None else {"PATH": path}
        command = [sys.executable, str(TOP / "tools" / "report"), *map(str, arguments)]
        r = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=env)
        self.assertEqual(r.returncode, 2, r.stderr)
        self.assertRegex(r.stderr, r"\Areport: [^\n]+\n\Z", "exactly one line")
        self.assertIn(saying, r.stderr)

    def test_wrong_arguments(self):
        self.refused(saying="nothing to render")
        self.refused("--bogus", "x.json", saying="--bogus")
        self.refused("x.json", "-o", saying="-o")
        self.refused("/no/such.json", saying="cannot read '/no/such.json'")
        self.refused("--run", "--benches", "magic", saying="'magic' is none of")
        self.refused("x.json", "--benches", "compare", saying="--benches: goes with --run")

    def test_missing_tools_are_named_with_their_package(self):
        fixture_path = TOP / "tests" / "report" / "fixtures" / "pingpong.json"
        with tempfile.TemporaryDirectory() as tools:
            self.refused(fixture_path, "-o", tools, saying="no node: install the Debian package nodejs", path=tools)
            node = pathlib.Path(tools) / "node"
            for version, saying in (("v16.1.0", "too old: 18 is needed"), ("v18.20.0", "no chromium: install the Debian package chromium")):
                node.write_text(f"#!/bin/sh\necho {version}\n", encoding="utf-8")
                node.chmod(0o755)
                self.refused(fixture_path, "-o", tools, saying=saying, path=tools)
            self.refused(fixture_path, "-o", tools, "--no-png", saying="no npm: install the Debian package npm", path=tools)

    def test_help(self):
        r = subprocess.run([sys.executable, TOP / "tools" / "report", "--help"], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(r.returncode, 0)
        for flag in ("--run", "--benches", "--readme", "--no-png", "-o"):
            self.assertIn(flag, r.stdout)


class Running(unittest.TestCase):
    """--run, with programs that are not benches."""

    def run_with(self, programs):
        report = tool("report")
        with tempfile.TemporaryDirectory() as folder:
            build = pathlib.Path(folder)
            (build / "bench").mkdir()
            for name, script in programs.items():
                path = build / "bench" / f"bench_{name}"
                path.write_text(f"#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done\n{script}\n", encoding="utf-8")  # $1: the file
                path.chmod(0o755)
            return report.run_benches(build, build / "data", ["pingpong", "hierarchy", "breakdown"])

    def test_what_is_not_built_is_skipped_and_what_fails_is_named(self):
        good = TOP / "tests" / "report" / "fixtures" / "pingpong.json"
        documents, missing = self.run_with({"pingpong": f'cp "{good}" "$1"', "hierarchy": "echo 'no clock' >&2; exit 2"})
        self.assertEqual(list(documents), ["pingpong"])
        self.assertEqual(missing["hierarchy"], "bench_hierarchy failed: no clock")
        self.assertEqual(missing["breakdown"], "bench_breakdown is not built")
        self.assertEqual(missing["compare"], "tools/compare was not run")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: verdicts_test.py TOP")
    TOP = pathlib.Path(sys.argv.pop(1)).resolve()
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(TOP / "tools" / "reporting"))
    import facts
    import verdicts

    unittest.main()
