#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs a workload of ours and Go's program for it in turn; prints medians, extremes and the ratio.

    bench/peers/compare.py [--rounds R] [--build DIR] NAME P N [NAME P N ...]

Go's programs are in bench/peers/go, built here when go is installed. A ratio is of medians of rounds that took turns; what else runs on the
machine disturbs both, so the least of each is printed as well.
"""
import argparse
import pathlib
import statistics
import subprocess
import sys
import tempfile

here = pathlib.Path(__file__).resolve().parent


def figure(command):
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    fields = dict(field.split("=", 1) for field in out.split())
    return float(next(fields[key] for key in ("ns_per_op", "median_ns", "bytes_per_task") if key in fields))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--build", type=pathlib.Path, default=here.parent.parent / "build")
    parser.add_argument("rows", nargs="+", metavar="NAME P N")
    arguments = parser.parse_args()
    if len(arguments.rows) % 3 != 0:
        parser.error("rows are NAME P N, three words each")
    workload = arguments.build / "bench" / "workload"
    with tempfile.TemporaryDirectory() as folder:
        go = pathlib.Path(folder) / "gobench"
        subprocess.run(["go", "build", "-o", go, "."], cwd=here / "go", check=True)
        print(f"{'workload':18} {'p':>3}  {'Go: median (least)':>24}  {'weft: median (least)':>24}  {'Go / weft':>9}")
        for row in zip(*[iter(arguments.rows)] * 3):
            theirs, ours = [], []
            for _ in range(arguments.rounds):
                theirs.append(figure([go, *row]))
                ours.append(figure([workload, *row]))
            g, w = statistics.median(theirs), statistics.median(ours)
            print(f"{row[0]:18} {row[1]:>3}  {g:14.1f} ({min(theirs):.1f})  {w:14.1f} ({min(ours):.1f})  {g / w:9.2f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
