#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bench_pingpong's command line: what is asked wrongly gets one line on stderr and exit status 2, what is asked rightly
gets a report, and the JSON has the shape that scripts rely on.

  bench_cli_test.py BENCH_PINGPONG        (under Meson's exe_wrapper, when it names one)
"""
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

COMMAND = []
SMALL = ["-n", "200", "-r", "3"]
TIMEOUT = 120  # seconds; a run of this size takes milliseconds, but under qemu and a sanitizer many more


def bench(*arguments):
    return subprocess.run(COMMAND + list(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=TIMEOUT, check=False)


class WrongArguments(unittest.TestCase):
    def refused(self, *arguments, saying):
        with self.subTest(arguments=arguments):
            expect_refusal(self, "bench_pingpong", bench(*arguments), saying)

    def test_procs(self):
        self.refused("-p", "0", saying="-p: 0 is not in the range")
        self.refused("-p", "-1", saying="-p: -1 is not in the range")
        self.refused("-p", "1000000", saying="-p: 1000000 is not in the range")
        for text in ("x", "", "1x", "1.5", " 1", "1e2", "0x2"):
            self.refused("-p", text, saying="-p: '%s' is not a whole number" % text)
        for text in ("1,", ",1", "1,,2", ","):
            self.refused("-p", text, saying="-p: '' is not a whole number")
        self.refused("-p", "1,0", saying="-p: 0 is not in the range")
        self.refused("-p", "1", "-p", "x", saying="-p: 'x'")
        self.refused("-p", saying="-p")

    def test_round_trips(self):
        for text in ("-1", "0", "99999999999999999999"):
            self.refused("-n", text, saying="-n: %s is not in the range" % text)
        for text in ("x", "", "1e6"):
            self.refused("-n", text, saying="-n: '%s' is not a whole number" % text)
        self.refused("-n", saying="-n")
        self.refused("-n", "1", "-n", "2", saying="-n")

    def test_other_numbers(self):
        self.refused("-r", "0", saying="-r: 0 is not in the range")
        self.refused("--pairs", "0", saying="--pairs: 0 is not in the range")
        self.refused("--depth", "-1", saying="--depth: -1 is not in the range")
        self.refused("--depth=2x", saying="--depth: '2x' is not a whole number")

    def test_place(self):
        self.refused("--place", "foo", saying="--place: 'foo'")
        self.refused("--place", "", saying="--place: ''")
        self.refused("--place", "cross", "-p", "1", saying="--place cross")
        self.refused("--place", "cross", "-p", "2,1", saying="--place cross")
        self.refused("--place", "cross", saying="--place cross")  # the default is -p 1,16

    def test_unknown(self):
        self.refused("--bogus", saying="--bogus")
        self.refused("-q", saying="-q")
        self.refused("extra", saying="extra")
        self.refused("-p", "1", "2", saying="2")
        self.refused("--two\nlines", saying="--two lines")

    def test_json_that_cannot_be_written(self):
        with tempfile.TemporaryDirectory() as folder:
            self.refused(*SMALL, "--json", folder, saying="--json: cannot write to")
            self.refused(*SMALL, "--json", os.path.join(folder, "no", "such"), saying="--json: cannot write to")
        self.refused(*SMALL, "--json", "", saying="--json: cannot write to")

    def test_a_wrong_argument_leaves_no_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "out.json")
            self.refused("--json", path, "-p", "0", saying="-p: 0")
            self.assertFalse(os.path.exists(path))


class RightArguments(unittest.TestCase):
    def accepted(self, *arguments):
        r = bench(*arguments)
        self.assertEqual(r.returncode, 0, r.stderr)
        return r.stdout

    def test_help(self):
        out = self.accepted("--help")
        for flag in ("-p", "-n", "-r", "--place", "--depth", "--pairs", "--json"):
            self.assertRegex(out, r"(?m)^ *%s\b" % re.escape(flag) if flag.startswith("--") else r"(?m)^ *%s " % flag)

    def test_settings_take_turns(self):
        out = self.accepted(*SMALL, "-p", "1,2", "-p", "4")
        turns = re.findall(r"(?m)^-p (\d+) +run (\d+) ", out)
        self.assertEqual(turns, [(p, run) for run in "123" for p in "124"])

    def test_each_setting_has_its_summary_and_the_last_line_compares(self):
        out = self.accepted(*SMALL, "-p", "1,2")
        self.assertEqual(re.findall(r"(?m)^-p (\d+) +min [\d.]+ +median [\d.]+ ", out), ["1", "2"])
        last = out.splitlines()[-1]
        self.assertRegex(last, r"\Acomparison: -p (1|2) is \d+\.\d\dx faster than -p (1|2) ")

    def test_one_setting_has_nothing_to_be_compared_with(self):
        self.assertTrue(self.accepted(*SMALL, "-p", "1").splitlines()[-1].startswith("comparison: none"))

    def test_places_depths_and_pairs(self):
        self.accepted(*SMALL, "-p", "1,2", "--place", "same")
        self.accepted(*SMALL, "-p", "2", "--place", "cross", "--pairs", "3")
        for depth in ("0", "1", "2", "4", "40"):
            self.accepted(*SMALL, "-p", "1", "--depth", depth)

    def test_fewer_round_trips_than_pairs_makes_one_for_each(self):
        self.assertIn(", 5 round trips a run", self.accepted("-n", "2", "-r", "1", "-p", "1", "--pairs", "5"))


class Json(unittest.TestCase):
    def test_shape(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "out.json")
            with open(path, "w") as f:
                f.write("what an earlier run left, and longer than " + "x" * 10_000)
            r = bench(*SMALL, "-p", "1,2", "--place", "same", "--depth", "1", "--pairs", "2", "--json", path)
            self.assertEqual(r.returncode, 0, r.stderr)
            with open(path) as f:
                document = json.load(f)
        self.assertEqual(list(document), ["benchmark", "machine", "revision", "results"])
        self.assertEqual(document["benchmark"], "pingpong")
        machine = document["machine"]
        self.assertEqual(list(machine), ["cpu", "cpus", "kernel", "compiler", "arch"])
        self.assertGreaterEqual(machine.pop("cpus"), 1)
        for value in list(machine.values()) + [document["revision"]]:
            self.assertIsInstance(value, str)
            self.assertTrue(value)
        self.assertEqual([x["p"] for x in document["results"]], [1, 2])
        for x in document["results"]:
            self.assertEqual(list(x), ["p", "place", "depth", "pairs", "n", "ns_per_switch", "min", "median"])
            self.assertEqual((x["place"], x["depth"], x["pairs"], x["n"]), ("same", 1, 2, 200))
            runs = x["ns_per_switch"]
            self.assertEqual(len(runs), 3)
            self.assertTrue(all(isinstance(v, float) and v > 0 for v in runs))
            self.assertEqual(x["min"], min(runs))
            self.assertAlmostEqual(x["median"], statistics.median(runs))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: bench_cli_test.py BENCH_PINGPONG")
    COMMAND = shlex.split(os.environ.get("MESON_EXE_WRAPPER", "")) + [os.path.abspath(sys.argv.pop(1))]
    unittest.main()
