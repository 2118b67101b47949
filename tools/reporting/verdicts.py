# SPDX-License-Identifier: MIT
"""Does a claim of the reference experiment hold on this machine? The rules, and nothing else.

R1  A time, a size or a multiple of the switch holds when it lies in the reference's range widened by 1.5 at either end: it was another machine.
    A measured range (the ways to switch threads, say) holds when it meets that range.
R2  A ratio of two runs of the same program, which depends less on the machine, is allowed 1.1.
R3  "Faster", "cheaper": by more than 5 %, which is how far noise reaches. "No more than": not dearer by more than 5 %.
R4  "So many at once" holds when a run with at least so many ended with its sums right.
R5  A statement holds when it holds on each of weft, Go and the machine on which it was measured, and the reason names those on which it does not.
    Measured on none: it cannot be measured here, and the reason is the bench's.
R6  A claim holds when each of its statements that could be measured does, and at least one could.
"""

import re

from facts import Absent, Figure

HOLDS, FAILS, UNKNOWN = "holds", "does not hold", "cannot be measured here"
RULES = [re.sub(r"\s+", " ", rule) for rule in re.findall(r"^R\d .*(?:\n .*)*", __doc__, re.M)]

SLACK, SLACK_OF_RATIOS, NOISE = 1.5, 1.1, 1.05
NOT_OURS = Absent("not taken apart, only weft is")
RUNTIMES = ("weft", "go", "machine")


def text_of(value, unit):
    """A figure for people: three digits, and the unit that suits."""
    if unit == "ns":
        for name, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
            if abs(value) >= size:
                return f"{digits(value / size)} {name}"
        return f"{digits(value)} ns"
    if unit == "bytes":
        for name, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if abs(value) >= size:
                return f"{digits(value / size)} {name}"
        return f"{digits(value)} bytes"
    if unit == "x":
        return f"{digits(value)}x"
    return f"{value:,.0f} {unit}"


def digits(value):
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def figure_text(figure):
    text = text_of(figure.value, figure.unit)
    if figure.high is not None and figure.high != figure.value:
        text += f" to {text_of(figure.high, figure.unit)}"
    return f"{text} ({figure.detail})" if figure.detail else text


def within(figure, low, high, slack):
    return figure.top >= low / slack and figure.value <= high * slack


# ---- the answers: statement -> {"weft" | "go" | "machine": (Figure or Absent, holds or None for the rule by range)}


def factor(facts, runtime):
    one, many = facts.switch(runtime, False), facts.switch(runtime, True)
    if isinstance(one, Absent) or isinstance(many, Absent):
        return one if isinstance(one, Absent) else many
    return Figure(many.value / one.value, "x", f"{many.source} over {one.source}", detail=many.detail)


def added(facts, runtime):
    one, many = facts.switch(runtime, False), facts.switch(runtime, True)
    if isinstance(one, Absent) or isinstance(many, Absent):
        return one if isinstance(one, Absent) else many
    return Figure(many.value - one.value, "ns", f"{many.source} less {one.source}", detail=many.detail)


def multiple(facts, prefix, runtime):
    range_of, switch = facts.latencies(prefix), facts.switch(runtime, False)
    if isinstance(range_of, Absent) or isinstance(switch, Absent):
        return range_of if isinstance(range_of, Absent) else switch
    return Figure(range_of.value / switch.value, "x", f"{range_of.source} over {switch.source}", high=range_of.top / switch.value)


def at_once(facts, peer, least):
    rows = facts.compared("parked", peer, metric="bytes_per_task")
    if isinstance(rows, Absent):
        return rows
    row = max(rows.values(), key=lambda r: r["n"])
    if row["n"] < least:
        return Absent(f"no run had so many: {row['n']:,} at most")
    return Figure(row["n"], "goroutines", "tools/compare: parked", detail=f"{text_of(row['median'], 'bytes')} each")


def handlers(facts, least):
    """weft's handlers, all alive at once, by bench_workloads; or the goroutines that tools/compare parks."""
    rows = facts.workload("handlers")
    if isinstance(rows, Absent):
        parked = at_once(facts, "weft", least)
        return rows if isinstance(parked, Absent) else parked
    row = rows[max(rows)]
    # How many there were, its note says: memory may have been short.
    count = int((re.findall(r"; (\d+)\b", row.get("note", "")) or ["0"])[0])
    if count < least:
        parked = at_once(facts, "weft", least)
        return Absent(f"no run had so many: {count:,} handlers") if isinstance(parked, Absent) else parked
    return Figure(count, "goroutines", "bench_workloads: handlers", detail=f"{digits(row['median'])} ms, p = {row['procs']}")


def threads_memory(facts):
    found = facts.workload("memory.thread.resident")
    if not isinstance(found, Absent):
        row = found[min(found, key=str)]
        each, source = row["median"], "bench_workloads: memory.thread.resident"
        count = (re.findall(r"(\d+) threads", row.get("note", "")) or ["some"])[0]
    else:
        rows = facts.compared("parked", "threads", metric="bytes_per_task")
        if isinstance(rows, Absent):
            return found
        row = rows[min(rows)]
        each, source, count = row["median"], "tools/compare: parked", row["n"]
    detail = f"extrapolated from {count} threads, {text_of(each, 'bytes')} resident each; a stack is reserved, but not resident"
    return Figure(each * 100_000, "bytes", source, detail=detail)


def faster(slow, fast, say):
    """Is the second cheaper than the first, by more than noise? A (Figure, bool) whose figure is the ratio."""
    for one in (slow, fast):
        if isinstance(one, Absent):
            return one, None
    ratio = slow.value / fast.value
    figure = Figure(ratio, "x", f"{slow.source} over {fast.source}", detail=say(slow, fast))
    return figure, ratio > NOISE


def two_ps(rows, wide, source):
    """The workload's figure at p = 1 and at the given p."""
    if isinstance(rows, Absent):
        return rows, rows
    p = wide(rows)
    if 1 not in rows or p is None or p == 1:
        why = Absent(f"{source}: measured at p = {', '.join(map(str, sorted(rows)))} only")
        return why, why

    def figure(row):
        unit = "ns" if row["metric"] in ("ns_per_op", "cpu_ns_per_op", "ms") else row["metric"]
        scale = 1e6 if row["metric"] == "ms" else 1
        return Figure(row["median"] * scale, unit, f"{source}: {row['workload']}, p = {row['procs']}", detail=f"p = {row['procs']}")

    return figure(rows[1]), figure(rows[p])


def both(a, b):
    return f"{a.detail}: {text_of(a.value, a.unit)}, {b.detail}: {text_of(b.value, b.unit)}"


def sequential(facts, runtime):
    return faster(facts.switch(runtime, True), facts.switch(runtime, False), both)


def parallel(facts, runtime):
    rows, source = facts.workload("parallel") if runtime == "weft" else None, "bench_workloads"
    if not isinstance(rows, dict):
        rows, source = facts.compared("steal", runtime), "tools/compare"

    def each_cpu(found):
        fitting = [p for p in found if facts.cpus is None or p <= facts.cpus]
        return max(fitting, default=None)

    return faster(*two_ps(rows, each_cpu, source), both)


def io_bound(facts):
    """The overhead, so processor time where it was taken."""
    rows = facts.workload("io.cpu")
    many = two_ps(facts.workload("io") if isinstance(rows, Absent) else rows, max, "bench_workloads")
    if any(isinstance(f, Absent) for f in many):
        return next(f for f in many if isinstance(f, Absent)), None
    one, wide = many
    figure = Figure(wide.value / one.value, "x", f"{wide.source} over {one.source}", detail=both(one, wide))
    return figure, one.value <= wide.value * NOISE


def actors(facts):
    rows = facts.workload("actors")
    if isinstance(rows, Absent):
        return rows
    row = rows.get(1) or rows[min(rows)]
    if row["metric"] != "ns_per_op":
        return Absent(f"{row['workload']} is given in {row['metric']}")
    return Figure(row["median"], "ns", f"bench_workloads: {row['workload']}", detail=f"p = {row['procs']}")


def cheaper(facts, dear, cheap):
    return faster(facts.latency(dear), facts.latency(cheap), lambda a, b: f"{text_of(a.value, 'ns')} became {text_of(b.value, 'ns')}")


def answers(facts):
    def on(weft=None, go=None, machine=None):
        given = {"weft": weft, "go": go, "machine": machine}
        return {who: answer if isinstance(answer, tuple) else (answer, None) for who, answer in given.items() if answer is not None}

    def part(many, *names):
        return on(facts.part(many, names), NOT_OURS)

    machine = {
        "C4.1": "cpu.cycle", "C4.2": "load.l1", "C4.3": "load.l2", "C4.4": "load.l3", "C4.5": "load.dram",
        "C4.6": "mutex.uncontended", "C4.7": "syscall.empty", "C8.1": "counter.contended",
    }  # fmt: skip
    table = {statement: on(machine=facts.latency(name)) for statement, name in machine.items()}
    isolation = {"C5.1": "thread.", "C5.2": "process.", "C5.3": "container.", "C5.4": "vm."}
    for statement, prefix in isolation.items():
        table[statement] = on(multiple(facts, prefix, "weft"), multiple(facts, prefix, "go"))
    return table | {
        "C1.1": on(facts.switch("weft", False), facts.switch("go", False)),
        "C1.2": on(facts.switch("weft", True), facts.switch("go", True)),
        "C1.3": on(factor(facts, "weft"), factor(facts, "go")),
        "C2.1": on(added(facts, "weft"), added(facts, "go")),
        "C2.2": part(True, "cache-line transfer"),
        "C2.3": part(True, "rmw and fence"),
        "C2.4": part(True, "os noise"),
        "C2.5": part(True, "migration"),
        "C2.6": part(True, "extra runtime work"),
        "C3.1": part(False, "channel synchronisation"),
        "C3.2": part(False, "save"),
        "C3.3": part(False, "scheduler decision"),
        "C3.4": part(False, "restore"),
        "C3.5": part(False, "barriers"),
        "C3.6": part(False, "resume"),
        "C4.8": on(facts.latency("goroutine.channel.p1", "cycles"), facts.latency("go.channel.p1", "cycles")),
        "C4.9": on(machine=facts.latencies("thread.")),
        "C4.10": on(machine=facts.latencies("process.")),
        "C5.5": on(machine=facts.latency("container.start")),
        "C5.6": on(machine=facts.latency("vm.start")),
        "C6.1": on(handlers(facts, 100_000), at_once(facts, "go", 100_000)),
        "C6.2": on(handlers(facts, 1_000_000), at_once(facts, "go", 1_000_000)),
        "C6.3": on(machine=threads_memory(facts)),
        "C7.1": on(sequential(facts, "weft"), sequential(facts, "go")),
        "C7.2": on(parallel(facts, "weft"), parallel(facts, "go")),
        "C7.3": on(io_bound(facts), Absent("not run on Go")),
        "C7.4": on(actors(facts), Absent("not run on Go")),
        "C7.5": on(Absent("weft has no network poller yet"), Absent("there is no web server here to run on Go")),
        "C8.2": on(machine=cheaper(facts, "counter.contended", "counter.batched")),
        "C8.3": on(machine=facts.latency("file.write_4k")),
        "C8.4": on(machine=cheaper(facts, "file.write_64b", "file.write_64b_buffered")),
    }


# ---- the verdicts


def judge_one(statement, figure, holds):
    """True, False, or None when there is no figure."""
    if isinstance(figure, Absent):
        return None
    if holds is not None:
        return holds
    if "high" not in statement:
        return figure.value >= statement["low"]
    slack = SLACK_OF_RATIOS if statement["id"] == "C1.3" else SLACK
    return within(figure, statement["low"], statement["high"], slack)


def side(statement, answered):
    """On which side of the reference's range the figure lies, where there is one."""
    figure, holds = answered
    if holds is not None or "high" not in statement:
        return ""
    return " (below)" if figure.top < statement["low"] else " (above)"


def judge_statement(statement, answer):
    held = {who: judge_one(statement, *answer[who]) for who in answer}
    told = {"id": statement["id"], "text": statement["text"], "reference": statement["reference"]}
    for who in RUNTIMES:
        figure = answer.get(who, (None, None))[0]
        told[who] = figure_text(figure) if isinstance(figure, Figure) else None
    told["holds_on"] = {who: held[who] for who in answer}
    told["sources"] = {who: answer[who][0].source for who in answer if isinstance(answer[who][0], Figure)}
    names = {"weft": "weft", "go": "Go", "machine": "this machine"}
    refuted = [names[who] + side(statement, answer[who]) for who in answer if held[who] is False]
    confirmed = [names[who] for who in answer if held[who]]
    silent = dict.fromkeys(f"{names[who]}: {answer[who][0].why}" for who in answer if held[who] is None)
    if refuted:
        told["verdict"] = FAILS
        told["why"] = f"not on {' nor on '.join(refuted)}" + (f"; it does on {' and on '.join(confirmed)}" if confirmed else "")
    elif confirmed:
        told["verdict"] = HOLDS
        told["why"] = f"on {' and on '.join(confirmed)}"
    else:
        told["verdict"] = UNKNOWN
        told["why"] = "; ".join(dict.fromkeys(answer[who][0].why for who in answer))
        return told
    if silent:
        told["why"] += "; no figure for " + "; ".join(silent)
    return told


def judge_claim(claim, table):
    statements = [judge_statement(s, table[s["id"]]) for s in claim["statements"]]
    by = {verdict: [s for s in statements if s["verdict"] == verdict] for verdict in (HOLDS, FAILS, UNKNOWN)}
    told = {key: claim[key] for key in ("claim", "title", "text")}
    told["reference"] = "; ".join(f"{s['text']}: {s['reference']}" for s in statements)
    for who in RUNTIMES:
        told[who] = "; ".join(f"{s['text']}: {s[who]}" for s in statements if s[who]) or None
    if by[FAILS]:
        told["verdict"] = FAILS
        told["why"] = "; ".join(f"{s['text']}: {s['why']}" for s in by[FAILS])
    elif by[HOLDS]:
        told["verdict"] = HOLDS
        told["why"] = f"{len(by[HOLDS])} of {len(statements)} statements hold"
        if by[UNKNOWN]:
            told["why"] += ", the rest cannot be measured here"
    else:
        told["verdict"] = UNKNOWN
        told["why"] = "; ".join(dict.fromkeys(s["why"] for s in statements))
    told["statements"] = statements
    return told


def judge(claims, facts):
    table = answers(facts)
    return [judge_claim(claim, table) for claim in claims]
