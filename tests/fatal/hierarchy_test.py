#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bench_hierarchy as a command: wrong arguments, the list, a quick run's table and JSON, the comparison, and that nothing is left of a run,
ended or killed.

  hierarchy_test.py BENCH_HIERARCHY        (under Meson's exe_wrapper, when it names one)
"""
import glob
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from refusal import expect_refusal

COMMAND = []
TIMEOUT = 300  # seconds; a quick run takes a few, but under qemu and with a cold cache of Go's many more

# What other programs rely on. A new row is added here; a name never changes.
NAMES = """
cpu.cycle load.l1 load.l2 load.l3 load.dram
mutex.uncontended mutex.uncontended_weft counter.contended counter.batched
syscall.empty file.read_4k file.write_4k file.write_4k_fsync file.write_64b file.write_64b_buffered
switch.raw switch.raw_inlined
goroutine.yield.p1 goroutine.yield.pn goroutine.channel.p1 goroutine.channel.pn
go.yield.p1 go.yield.pn go.channel.p1 go.channel.pn
thread.futex.same_core thread.futex.cross_core thread.pipe.same_core thread.pipe.cross_core
thread.condvar.same_core thread.condvar.cross_core
process.pipe.same_core process.pipe.cross_core process.futex.same_core process.futex.cross_core
process.start process.start_to_exit
container.pipe.same_core container.pipe.cross_core container.futex.same_core container.futex.cross_core
container.start container.start_to_exit
vm.exit_entry vm.pingpong.same_core vm.pingpong.cross_core vm.start
""".split()

# Needs no privilege and no second CPU: a figure on every machine.
ALWAYS = """
cpu.cycle mutex.uncontended mutex.uncontended_weft syscall.empty file.read_4k file.write_4k file.write_64b file.write_64b_buffered
switch.raw switch.raw_inlined goroutine.yield.p1 goroutine.yield.pn goroutine.channel.p1 goroutine.channel.pn
thread.futex.same_core thread.pipe.same_core thread.condvar.same_core process.pipe.same_core process.futex.same_core
""".split()


def bench(*arguments, **more):
    return subprocess.run(COMMAND + list(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=TIMEOUT, check=False, **more)


def leftovers(pid, folder):
    """Folders, control groups and processes whose names tell that they are of that run."""
    name = "weft-hierarchy-%d." % pid
    left = glob.glob(os.path.join(folder, name + "*")) + glob.glob(os.path.join("/var/tmp", name + "*"))
    for top in ("/sys/fs/cgroup",):
        for path, folders, _ in os.walk(top):
            left += [os.path.join(path, f) for f in folders if f.startswith(name)]
    for stat in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(stat) as f:
                fields = f.read().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it has just ended
        if int(fields[3]) == pid and fields[0] != "Z":  # of the session that the run was given
            left.append(stat)
    return left


class WrongArguments(unittest.TestCase):
    def refused(self, *arguments, saying):
        with self.subTest(arguments=arguments):
            expect_refusal(self, "bench_hierarchy", bench(*arguments), saying)

    def test_unknown(self):
        self.refused("--bogus", saying="--bogus")
        self.refused("extra", saying="extra")

    def test_seconds(self):
        self.refused("--seconds", "0", saying="--seconds: 0 is not in the range")
        self.refused("--seconds", "x", saying="--seconds: 'x' is not a whole number")
        self.refused("--seconds", saying="--seconds")

    def test_only(self):
        self.refused("--only", "(", saying="--only: '(' is no regular expression")
        self.refused("--only", "nothing_has_this_name", saying="--only: no row's name matches")
        self.refused("--only", "nothing_has_this_name", "--list", saying="--only: no row's name matches")
        self.refused("--only", saying="--only")

    def test_json_that_cannot_be_written(self):
        with tempfile.TemporaryDirectory() as folder:
            self.refused("--quick", "--json", folder, saying="--json: cannot write to")
            self.refused("--quick", "--json", os.path.join(folder, "no", "such"), saying="--json: cannot write to")
        self.refused("--quick", "--json", "", saying="--json: cannot write to")

    def test_dir(self):
        self.refused("--quick", "--dir", "/no/such/folder", saying="--dir: cannot write to '/no/such/folder'")
        self.refused("--quick", "--dir", "/dev/null", saying="--dir: cannot write to '/dev/null'")

    def test_compare(self):
        self.refused("--compare", "a.json", saying="--compare")
        self.refused("--compare", "/no/such.json", "/no/such.json", saying="--compare: cannot read '/no/such.json'")
        with tempfile.TemporaryDirectory() as folder:
            for text in ("", "{", "[]", "{}", '{"bench":"hierarchy"}', '{"bench":"hierarchy","rows":[{}]}', '{"bench":"other","rows":[]}'):
                path = os.path.join(folder, "bad.json")
                with open(path, "w") as f:
                    f.write(text)
                self.refused("--compare", path, path, saying="--compare: '%s'" % path)

    def test_a_wrong_argument_leaves_no_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "out.json")
            self.refused("--json", path, "--only", "(", saying="--only")
            self.assertEqual(os.listdir(folder), [])


class List(unittest.TestCase):
    def test_names_are_stable(self):
        r = bench("--list")
        self.assertEqual(r.returncode, 0, r.stderr)
        lines = [line.split(None, 1) for line in r.stdout.splitlines()]
        self.assertEqual([name for name, _ in lines], NAMES)
        for _, method in lines:
            self.assertGreater(len(method), 10)

    def test_only_chooses(self):
        r = bench("--list", "--only", r"^load\.l\d$")
        self.assertEqual([line.split()[0] for line in r.stdout.splitlines()], ["load.l1", "load.l2", "load.l3"])

    def test_help(self):
        r = bench("--help")
        self.assertEqual(r.returncode, 0, r.stderr)
        for flag in ("--quick", "--seconds", "--only", "--list", "--json", "--dir", "--compare"):
            self.assertRegex(r.stdout, r"(?m)^ *%s\b" % flag)


class Quick(unittest.TestCase):
    """One run of all rows, looked at from several sides."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = os.path.join(cls.folder.name, "out.json")
        with open(cls.path, "w") as f:
            f.write("what an earlier run left, and longer than " + "x" * 100_000)
        run = subprocess.Popen(COMMAND + ["--quick", "--json", cls.path, "--dir", cls.folder.name], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, start_new_session=True)
        cls.out, cls.err = run.communicate(timeout=TIMEOUT)
        cls.status = run.returncode
        cls.left = leftovers(run.pid, cls.folder.name)
        with open(cls.path) as f:
            cls.text = f.read()

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def setUp(self):
        self.assertEqual(self.status, 0, self.err)
        self.assertEqual(self.err, "")
        self.document = json.loads(self.text)

    def test_nothing_is_left(self):
        self.assertEqual(self.left, [])

    def test_the_document(self):
        self.assertEqual(list(self.document), ["bench", "schema", "machine", "revision", "settings", "rows"])
        self.assertEqual((self.document["bench"], self.document["schema"]), ("hierarchy", 1))
        self.assertEqual(list(self.document["machine"]), ["cpu", "cpus", "kernel", "compiler", "arch"])
        self.assertTrue(self.document["revision"])
        settings = self.document["settings"]
        self.assertIs(settings["quick"], True)
        self.assertEqual(settings["rounds"], 2)
        self.assertGreater(settings["ticks_per_ns"], 0)

    def test_every_row_once_with_figures_or_a_reason(self):
        self.assertEqual([row["name"] for row in self.document["rows"]], NAMES)
        rate = self.document["settings"]["ticks_per_ns"]
        for row in self.document["rows"]:
            with self.subTest(row=row["name"]):
                self.assertNotIn("\n", row["method"])
                self.assertTrue(row["method"] and row["isolation"])
                if "unavailable" in row:
                    self.assertEqual(list(row), ["name", "method", "isolation", "unavailable"])
                    self.assertTrue(row["unavailable"])
                    continue
                self.assertEqual(list(row), ["name", "method", "isolation", "ns", "cycles", "multiplier", "samples", "turns"])
                low, high = row["turns"]["median_ci95"]
                self.assertGreaterEqual(row["turns"]["count"], 1)
                self.assertLessEqual(low, high)
                self.assertLessEqual(row["ns"]["min"], low)
                self.assertGreaterEqual(row["samples"], 2)
                for figures in (row["ns"], row["cycles"]):
                    self.assertEqual(list(figures), ["min", "median", "p99"])
                    self.assertLess(0, figures["min"])
                    self.assertLessEqual(figures["min"], figures["median"])
                    self.assertLessEqual(figures["median"], figures["p99"])
                self.assertAlmostEqual(row["cycles"]["median"] / row["ns"]["median"], rate, places=6)

    def test_what_any_machine_can_do_was_done(self):
        missing = {row["name"]: row["unavailable"] for row in self.document["rows"]
                   if row["name"] in ALWAYS and "unavailable" in row}
        self.assertEqual(missing, {})

    def test_what_went_wrong_is_not_called_unavailable(self):
        """A reason may be that the machine has or allows too little; a row that failed or hung is a defect. (qemu lacks system calls.)"""
        if os.environ.get("MESON_EXE_WRAPPER"):
            self.skipTest("emulated")
        failed = {row["name"]: row["unavailable"] for row in self.document["rows"] if row.get("unavailable", "").startswith("failed")}
        self.assertEqual(failed, {})

    def test_multiples_are_over_the_goroutine_switch(self):
        rows = {row["name"]: row for row in self.document["rows"]}
        unit = rows["goroutine.channel.p1"]["ns"]["median"]
        for row in rows.values():
            if "ns" in row:
                self.assertAlmostEqual(row["multiplier"], row["ns"]["median"] / unit)

    def test_the_table_has_every_row(self):
        lines = self.out.splitlines()
        for row in self.document["rows"]:
            of_row = [line for line in lines if line.split()[:1] == [row["name"]]]
            self.assertEqual(len(of_row), 1, row["name"])
            if "unavailable" in row:
                self.assertIn("unavailable: " + row["unavailable"], of_row[0])
            self.assertIn("    " + row["method"], lines)

    def test_no_kvm_is_a_reason_with_the_kernels_words(self):
        if os.path.exists("/dev/kvm") or self.document["machine"]["arch"] != "x86_64":
            self.skipTest("only where /dev/kvm is missing")
        for row in self.document["rows"]:
            if row["name"].startswith("vm."):
                self.assertEqual(row["unavailable"], "/dev/kvm: No such file or directory")

    def test_compared_with_itself_it_agrees(self):
        r = bench("--compare", self.path, self.path)
        self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
        self.assertIn(", 0 do not;", r.stdout)


class Compare(unittest.TestCase):
    @staticmethod
    def row(name, median, *known):
        if median is None:
            return {"name": name, "unavailable": "why"}
        return {"name": name, "ns": {"median": median}, **({"turns": {"count": 9, "median_ci95": known}} if known else {})}

    def compared(self, a, b):
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for name, rows in (("a", a), ("b", b)):
                paths.append(os.path.join(folder, name))
                with open(paths[-1], "w") as f:
                    json.dump({"bench": "hierarchy", "rows": [self.row(*r) for r in rows]}, f)
            return bench("--compare", *paths)

    def test_within_a_tenth(self):
        self.assertEqual(self.compared([("x", 100.0)], [("x", 109.0)]).returncode, 0)
        self.assertEqual(self.compared([("x", 109.0)], [("x", 100.0)]).returncode, 0)

    def test_apart(self):
        for a, b in ((100.0, 112.0), (112.0, 100.0)):
            r = self.compared([("x", a), ("y", 10.0)], [("x", b), ("y", 10.0)])
            self.assertEqual(r.returncode, 1)
            self.assertRegex(r.stdout, r"(?m)^x .* apart$")
            self.assertIn("1 rows agree", r.stdout)

    def test_who_was_not_steady_is_said(self):
        r = self.compared([("x", 100.0), ("y", 100.0, 99.0, 101.0)], [("x", 120.0), ("y", 120.0, 100.0, 130.0)])
        self.assertRegex(r.stdout, r"(?m)^x .* apart$")
        self.assertRegex(r.stdout, r"(?m)^y .* apart; B was not steady, \+- 13\.0 %$")

    def test_below_five_ns_nothing_counts(self):
        self.assertEqual(self.compared([("x", 2.0)], [("x", 4.0)]).returncode, 0)

    def test_what_is_not_in_both_is_said(self):
        r = self.compared([("x", None), ("y", 7.0)], [("x", 7.0)])
        self.assertEqual(r.returncode, 0)
        self.assertIn("2 are not in both runs", r.stdout)


class Only(unittest.TestCase):
    def test_without_the_goroutine_there_are_no_multiples(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "out.json")
            r = bench("--quick", "--only", "^cpu", "--json", path)
            self.assertEqual(r.returncode, 0, r.stderr)
            with open(path) as f:
                rows = json.load(f)["rows"]
        self.assertEqual([row["name"] for row in rows], ["cpu.cycle"])
        self.assertIsNone(rows[0]["multiplier"])


class Killed(unittest.TestCase):
    def killed_by(self, number):
        with tempfile.TemporaryDirectory() as folder:
            run = subprocess.Popen(COMMAND + ["--seconds", "600", "--dir", folder, "--only", "^(thread|process|container|counter)"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
            end = time.monotonic() + TIMEOUT
            while not leftovers(run.pid, folder) and time.monotonic() < end:
                time.sleep(0.01)
            time.sleep(1)  # into the preparing of rows, or past it: any moment will do
            self.assertNotEqual(leftovers(run.pid, folder), [], "the test sees what it looks for")
            run.send_signal(number)
            self.assertEqual(run.wait(timeout=TIMEOUT), -number)
            while (left := leftovers(run.pid, folder)) and time.monotonic() < end:
                time.sleep(0.01)
            self.assertEqual(left, [])
            self.assertEqual(os.listdir(folder), [])

    def test_at_once(self):
        self.killed_by(signal.SIGKILL)

    def test_by_the_keyboard(self):
        self.killed_by(signal.SIGINT)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: hierarchy_test.py BENCH_HIERARCHY")
    COMMAND = shlex.split(os.environ.get("MESON_EXE_WRAPPER", "")) + [os.path.abspath(sys.argv.pop(1))]
    unittest.main()
