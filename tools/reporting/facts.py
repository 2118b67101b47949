# SPDX-License-Identifier: MIT
"""What was measured, asked for by name.

Each bench gave a JSON document or was not run. A question has a Figure for its answer, with the bench it comes from, or an Absent that says
why there is none. Nothing is guessed, and nothing is taken from a bench of another revision without the page saying so.
"""

import dataclasses
import json
import re

COMMANDS = {
    "pingpong": "build/bench/bench_pingpong -p 1,2,16 -r 5 --json pingpong.json",
    "hierarchy": "build/bench/bench_hierarchy --json hierarchy.json",
    "breakdown": "build/bench/bench_breakdown --json breakdown.json",
    "workloads": "build/bench/bench_workloads --json workloads.json",
    "compare": "tools/compare --json compare.json",
}
BENCHES = tuple(COMMANDS)


class BadInput(Exception):
    """A file that is not a bench's document; the message is one line."""


@dataclasses.dataclass(frozen=True)
class Figure:
    value: float
    unit: str  # ns, x, cycles, bytes, goroutines
    source: str  # which bench, which row
    high: float = None  # when the answer is a range: from value to high
    detail: str = ""  # what must be said beside it

    @property
    def top(self):
        return self.value if self.high is None else self.high


@dataclasses.dataclass(frozen=True)
class Absent:
    why: str


def load(path):
    """(bench, document) of one file."""
    try:
        with open(path, encoding="utf-8") as f:
            document = json.load(f)
    except OSError as e:
        raise BadInput(f"cannot read '{path}': {e.strerror}") from None
    except ValueError as e:
        raise BadInput(f"'{path}' is no JSON: {e}") from None
    if not isinstance(document, dict):
        raise BadInput(f"'{path}' is no bench's document")
    bench = document.get("bench") or document.get("benchmark")  # bench_pingpong's own word is the second
    if bench not in BENCHES:
        raise BadInput(f"'{path}': '{bench}' is none of the benches {' '.join(BENCHES)}")
    if document.get("schema", 1) != 1:
        raise BadInput(f"'{path}': schema {document['schema']} is not known here")
    rows = document.get("results" if bench == "pingpong" else "rows")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadInput(f"'{path}': a list of rows is missing")
    missing = next((k for row in rows for k in NEEDED[bench] if k not in row), None)
    if missing is not None:
        raise BadInput(f"'{path}': a row without '{missing}'")
    return bench, document


NEEDED = {
    "pingpong": ("p", "place", "depth", "pairs", "ns_per_switch", "min", "median"),
    "hierarchy": ("name",),
    "breakdown": ("procs",),
    "workloads": ("workload",),
    "compare": ("workload", "peer", "procs", "metric"),
}


def load_all(paths):
    """bench -> document; naming one bench twice is an error, since a figure has one source."""
    found, origin = {}, {}
    for path in paths:
        bench, document = load(path)
        if bench in found:
            raise BadInput(f"'{origin[bench]}' and '{path}' are both of {bench}")
        found[bench], origin[bench] = document, path
    return found


class Facts:
    def __init__(self, documents, why_missing=None):
        self.documents = documents
        self.why_missing = why_missing or {}
        machine = next((d.get("machine") for d in documents.values() if d.get("machine")), {})
        self.cpus = machine.get("cpus")

    def rows(self, bench):
        """The bench's rows, or Absent."""
        if bench not in self.documents:
            name = "tools/compare" if bench == "compare" else f"bench_{bench}"
            return Absent(self.why_missing.get(bench) or f"{name} was not run")
        return self.documents[bench]["results" if bench == "pingpong" else "rows"]

    # ---- the hierarchy

    def latency(self, name, unit="ns"):
        rows = self.rows("hierarchy")
        if isinstance(rows, Absent):
            return rows
        for row in rows:
            if row["name"] == name:
                if "unavailable" in row:
                    return Absent(f"{name}: {row['unavailable']}")
                if unit not in row:
                    return Absent(f"{name}: not given in {unit}")
                return Figure(row[unit]["median"], unit, f"bench_hierarchy: {name}")
        return Absent(f"bench_hierarchy has no row {name}")

    def latencies(self, prefix):
        """The range of all switches under a prefix: the ways to do one thing. Starts, and a guest's exits, are other things."""
        rows = self.rows("hierarchy")
        if isinstance(rows, Absent):
            return rows
        named = [r for r in rows if r["name"].startswith(prefix) and not re.search(r"\.(start|exit_entry)", r["name"])]
        measured = [r["ns"]["median"] for r in named if "ns" in r]
        if not measured:
            return Absent(named[0].get("unavailable", "not measured") if named else f"bench_hierarchy has no row {prefix}*")
        return Figure(min(measured), "ns", f"bench_hierarchy: {prefix}*", high=max(measured))

    # ---- switches and workloads

    def compared(self, workload, peer, procs=None, metric="ns_per_op"):
        """Rows of tools/compare that have a median, by number of Ps; all of them, or one."""
        rows = self.rows("compare")
        if isinstance(rows, Absent):
            return rows
        mine = [r for r in rows if r["workload"] == workload and r["peer"] == peer and r["metric"] == metric]
        failed = next((r["failed"] for r in mine if "failed" in r), None)
        good = {r["procs"]: r for r in mine if r.get("median") is not None}
        if not good or (procs is not None and procs not in good):
            skipped = next((s["why"] for s in self.documents["compare"].get("skipped", []) if s["peer"] == peer), None)
            return Absent(failed or skipped or f"tools/compare has no {workload} for {peer}" + (f" at p = {procs}" if procs else ""))
        return good if procs is None else good[procs]

    def switches(self, runtime):
        """p -> Figure of a ping-pong switch, all from one bench; Absent if none has it."""
        whys = []
        if runtime == "weft":
            rows = self.rows("pingpong")
            if not isinstance(rows, Absent):
                plain = [r for r in rows if (r["place"], r["depth"], r["pairs"]) == ("auto", 0, 1)]
                if plain:
                    return {r["p"]: Figure(r["median"], "ns", f"bench_pingpong -p {r['p']}") for r in plain}
                whys.append("bench_pingpong was run, but not the plain experiment")
            else:
                whys.append(rows.why)
        rows = self.compared("pingpong", runtime)
        if not isinstance(rows, Absent):
            return {p: Figure(r["median"], "ns", f"tools/compare: pingpong, p = {p}") for p, r in rows.items()}
        whys.append(rows.why)
        name = "goroutine.channel" if runtime == "weft" else f"{runtime}.channel"
        one, many = self.latency(f"{name}.p1"), self.latency(f"{name}.pn")
        found = {p: f for p, f in ((1, one), (self.cpus or 2, many)) if isinstance(f, Figure)}
        if found:
            return found
        return Absent("; ".join(dict.fromkeys([*whys, one.why])))

    def switch(self, runtime, many):
        """A switch at p = 1, or at the most Ps there are figures for."""
        found = self.switches(runtime)
        if isinstance(found, Absent):
            return found
        p = max(found) if many else 1
        if p not in found or (many and p == 1):
            return Absent(f"{runtime}: measured at p = {', '.join(map(str, sorted(found)))} only")
        return dataclasses.replace(found[p], detail=f"p = {p}")

    def part(self, many, names):
        """A part of the switch, by bench_breakdown; the last words are for a part that it names otherwise."""
        rows = self.rows("breakdown")
        if isinstance(rows, Absent):
            return rows
        fitting = [r for r in rows if (r["procs"] > 1) == many]
        if not fitting:
            return Absent("bench_breakdown has no row for p " + ("> 1" if many else "= 1"))
        row = max(fitting, key=lambda r: r["procs"])
        for part in row.get("parts", []):
            if part["name"] in names:
                if part.get("ns") is None:
                    return Absent(f"{part['name']}: {part.get('unavailable') or part.get('method') or 'not measured'}")
                share = f"{100 * part['ns'] / row['whole_ns']:.0f} % of {row['whole_ns']:.3g} ns" if row.get("whole_ns") else ""
                return Figure(part["ns"], "ns", f"bench_breakdown: {part['name']}, p = {row['procs']}", detail=share)
        return Absent(f"bench_breakdown has no part {names[0]}")

    def workload(self, name):
        """procs (None where it does not matter) -> row of that workload; only rows that have a median."""
        rows = self.rows("workloads")
        if isinstance(rows, Absent):
            return rows
        mine = [r for r in rows if r["workload"] == name]
        good = {r.get("procs"): r for r in mine if r.get("median") is not None}
        if good:
            return good
        return Absent(f"{name}: {mine[0].get('unavailable') or 'not measured'}" if mine else f"bench_workloads has no workload {name}")
