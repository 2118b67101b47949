#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The report, rendered from fixtures and opened in headless Chromium (page_test.mjs). Skipped, by exit status 77, where a tool is missing.

  page_test.py TOP BUILD
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

TOP = BUILD = None
SKIPPED = 77


def render(*arguments):
    command = [TOP / "tools" / "report", *arguments, "--build", BUILD]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=600, check=False)


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.scratch.name)
        fixtures = TOP / "tests" / "report" / "fixtures"
        for name, inputs in (("full", sorted(fixtures.glob("*.json"))), ("empty", [fixtures / "pingpong.json"])):
            done = render(*inputs, "-o", cls.folder / name)
            if done.returncode != 0:
                raise AssertionError(done.stderr)
            cls.said = done.stdout

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def test_in_the_browser(self):
        command = ["node", "--test-reporter=spec", TOP / "tests" / "report" / "page_test.mjs", BUILD / "report-modules" / "node_modules"]
        if int(subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout[1:].split(".")[0]) < 20:
            del command[1]  # prints TAP instead
        command += [shutil.which("chromium"), self.folder]
        done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_the_page_is_one_file_that_names_no_other(self):
        page = (self.folder / "full" / "index.html").read_text(encoding="utf-8")
        markup = re.sub(r"<script.*?</script>", "", page, flags=re.S)
        self.assertEqual(re.findall(r"""(?:src|href)=["'](?!#|data:)([^"']*)""", markup), [])
        self.assertNotIn("@import", markup)

    def test_each_chart_is_there_as_svg_in_both_themes_and_as_png(self):
        charts = self.folder / "full" / "charts"
        ids = {p.stem for p in charts.glob("*.png")}
        self.assertLessEqual({"headline", "procs", "hierarchy", "breakdown", "scaling", "scaling-go", "peers-p1", "peers-p16"}, ids)
        for name in ids:
            self.assertEqual((charts / f"{name}.png").read_bytes()[:8], b"\x89PNG\r\n\x1a\n")
            for svg in (charts / f"{name}.svg", charts / f"{name}-dark.svg"):
                root = xml.etree.ElementTree.parse(svg).getroot()
                self.assertGreater(len(list(root.iter())), 20, svg)
                title = root.find("{http://www.w3.org/2000/svg}title")
                self.assertTrue(title is not None and title.text)
        self.assertEqual({p.name for p in (self.folder / "empty" / "charts").glob("*.png")}, {"procs.png"})

    def test_what_is_missing_is_said_on_the_command_line_too(self):
        for bench in ("bench_hierarchy", "bench_breakdown", "bench_workloads", "tools/compare"):
            self.assertIn(f"not on the page: {bench} was not run", self.said)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: page_test.py TOP BUILD")
    BUILD, TOP = pathlib.Path(sys.argv.pop()).resolve(), pathlib.Path(sys.argv.pop()).resolve()
    missing = [package for tool, package in (("node", "nodejs"), ("npm", "npm"), ("chromium", "chromium")) if not shutil.which(tool)]
    if missing:
        print(f"skipped: install the Debian packages {' '.join(missing)}")
        sys.exit(SKIPPED)
    unittest.main()
