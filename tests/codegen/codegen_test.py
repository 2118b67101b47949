#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Reads the code that the compiler has made of the hot paths: how many locked instructions, fences and instructions are in it, and that
what is rare is called and not inlined.

  codegen_test.py OBJDUMP HOT_PATHS_OBJECT LIBRARY_OBJECT...      or  --self-test

Why: nobody sees it in a review when a fence slips into a switch (18 ns), or a slow path into every send; a bench on a noisy machine
does not either. The limits are what the code has now and a little room for other compilers. Who raises one says why, with a figure.

A locked instruction: on x86-64 the prefix, or xchg with memory; on AArch64 a load-exclusive (one of each loop), an LSE atomic, or a call of
gcc's out-of-line one. Counted is what stands there, on whatever path: a send has three (it parks, or takes a partner, or moves the
ring's word) and runs one.
"""

import re
import subprocess
import sys

# Function: (locked, fences, instructions), each at most; what it must call. On AArch64 instructions are a fifth more.
HOT = {
    # 280 before they told a seated waiter from a direct one (chan/word.h), 300 before each move had a section beside its compare-and-swap
    # (sched/biased.h): eighty instructions more that lie there, for half of the time of a ping-pong. 380 before the park at a ring's end was inlined
    # as well: forty more, for two thirds of the time of a channel of capacity 1.
    "hot_send": (3, 0, 450, ["weft::rt::send_slow", "weft::rt::park_elsewhere", "weft::rt::ready_slow"]),
    "hot_recv": (3, 0, 450, ["weft::rt::receive_slow", "weft::rt::park_elsewhere", "weft::rt::ready_slow"]),
    "hot_send_wide": (3, 0, 460, ["weft::rt::send_slow"]),
    "hot_recv_wide": (3, 0, 465, ["weft::rt::receive_slow"]),
    "hot_pingpong": (6, 0, 890, ["weft::rt::send_slow", "weft::rt::receive_slow"]),
    # The frequent case, with the move that takes the ring's oldest and the switch. Inlined, as nobody returns from it behind a switch, and who has
    # nothing in registers saves nothing: 7.3 -> 5.7 ns.
    "hot_yield": (1, 0, 205, ["weft::rt::yield_slow"]),
    "hot_lock": (1, 0, 40, ["weft::mutex::lock_slow"]),
    # The fence stands where membarrier is missing: behind a branch that is not taken.
    "hot_unlock": (1, 1, 55, ["weft::mutex::unlock_slow"]),
    # A ring's move, and a lone partner's; each also without a locked instruction.
    "hot_try_send": (2, 0, 290, ["try_send_slow", "weft::rt::cooperate_slow"]),
    "hot_try_recv": (2, 0, 320, ["try_receive_slow", "weft::rt::cooperate_slow"]),
    "hot_select_try": (2, 0, 335, ["select_out_of_line", "weft::rt::cooperate_slow"]),
    # Two cases, each with the move of a ring's word, a lone partner and a retry.
    "hot_select_in_vain": (6, 0, 585, ["weft::rt::select_out_of_line"]),
}
# In the library: what a switch runs through when it is not inlined. The commit is in weft_switch_cas.
LIBRARY = {
    "weft::rt::park_slow(": (0, 0, 130, ["weft::rt::park_into_slow"]),
    "weft::rt::run_from_scheduler(": (0, 0, 40, []),
    # 80 before it decided between ring and deque: 20 instructions more a goroutine, for trees that are walked in depth (sched/deque.h). 120 before
    # what it does with the last runnext stood in it: with pick_at_once in goroutine_main a quarter less for a goroutine to run through. 165 before it
    # made the first frame itself.
    "weft::rt::launch(": (0, 0, 185, ["weft::rt::queue_started", "weft::rt::queue_local"]),
    "weft::rt::(anonymous namespace)::goroutine_main(": (0, 0, 150, ["weft::rt::pick_next"]),
    # The last one's exchange, twice; and the fence where membarrier is missing, behind a branch that is not taken.
    "weft::rt::deque::pop(": (2, 1, 110, ["reclaim", "settle"]),
    "weft_first_frame": (0, 0, 12, []),
    "weft_switch": (0, 0, 40, []),
    "weft_switch_cas": (1, 0, 60, []),
}

LOCKED = {
    "x86-64": re.compile(r"lock (?!or[lq]?\s+\$0x0,(0x[0-9a-f]+|-0x[0-9a-f]+)?\(%rsp\))|xchg\s+.*\("),
    "aarch64": re.compile(r"ld[a]?xr|cas[abhl]*\s|swp|ldadd|ldset|ldclr|ldeor"),
}
FENCE = {
    "x86-64": re.compile(r"[mls]fence|lock or[lq]?\s+\$0x0,(0x[0-9a-f]+|-0x[0-9a-f]+)?\(%rsp\)"),
    "aarch64": re.compile(r"d[ms]b\s"),
}
RETURN = re.compile(r"ret")
CALL = re.compile(r"call|blr?\s")


class function:
    def __init__(self):
        self.instructions = []
        self.names = []  # of the relocations: whom it calls, or jumps to


def read(text):
    """Architecture and functions of `objdump -drC --no-show-raw-insn`."""
    machine = "aarch64" if "aarch64" in text else "x86-64"
    functions = {}
    now = None
    for line in text.splitlines():
        if m := re.match(r"[0-9a-f]+ <(.+)>:$", line):
            now = functions.setdefault(m[1], function())
        elif now and (m := re.match(r"\s+[0-9a-f]+: (R_\S+)\s+(.+)", line)):
            now.names.append(m[2])
        elif now and (m := re.match(r"\s+[0-9a-f]+:\t(.+)", line)):
            now.instructions.append(m[1].replace("\t", " "))
    return machine, functions


def complaints(machine, name, f, locked, fences, instructions, calls):
    if machine == "aarch64":
        instructions += instructions // 5
    outlined = [n for n in f.names if re.match(r"__aarch64_(cas|swp|ld)", n)]
    for what, most, found in (
        ("locked instructions", locked, [i for i in f.instructions if LOCKED[machine].match(i)] + outlined),
        ("fences", fences, [i for i in f.instructions if FENCE[machine].match(i)]),
    ):
        if len(found) > most:
            yield f"{name}: {len(found)} {what}, at most {most}: {'; '.join(found)}"
    if len(f.instructions) > instructions:
        yield f"{name}: {len(f.instructions)} instructions, at most {instructions}: has a slow path been inlined?"
    for call in calls:
        if not any(call in n for n in f.names + f.instructions):  # of its own section it is named where it is called
            yield f"{name}: does not call {call}: has it been inlined?"


def check(machine, functions, table):
    for wanted, limits in table.items():
        found = [n for n in functions if n == wanted or (wanted.endswith("(") and n.startswith(wanted))]
        if not found:
            yield f"{wanted}: not found"
        for name in found:
            yield from complaints(machine, name, functions[name], *limits)
    # A ret that comes out at another goroutine is mispredicted, at every switch. (The one in weft_switch_cas: it did not switch.)
    for name, most in (("weft_switch", 0), ("weft_switch_cas", 1)):
        if name in table and name in functions and machine == "x86-64":
            if sum(bool(RETURN.match(i)) for i in functions[name].instructions) > most:
                yield f"{name}: ends in ret, and not in a jump"
    # A call that nobody returns from stays in the return predictor, and who waited for this goroutine has each of its own missed (arch/switch.h, I3).
    for name, f in functions.items():
        if name == "weft_first_frame" and name in table and any(CALL.match(i) for i in f.instructions):
            yield f"{name}: calls, and is not returned to"
        for gone in ("weft_jump", "leave_for_good", "goroutine_exit"):
            if "goroutine_main(" in name and any(gone in n for n in f.names + f.instructions):
                yield f"{name}: calls {gone}, which does not return"


def disassemble(objdump, objects):
    machine, functions = "x86-64", {}
    for path in objects:
        done = subprocess.run([objdump, "-drC", "--no-show-raw-insn", path], capture_output=True, text=True, check=True)
        machine, some = read(done.stdout)
        functions.update(some)
    return machine, functions


def self_test():
    good = """
x.o:     file format elf64-x86-64

0000000000000000 <hot_lock>:
   0:\tlock cmpxchg %edx,(%rdi)
   4:\tjmp    9 <hot_lock+0x9>
   \t\t\t5: R_X86_64_PLT32\tweft::mutex::lock_slow(long)-0x4
   9:\txchg   %ax,%ax
"""
    table = {"hot_lock": HOT["hot_lock"]}
    assert list(check(*read(good), table)) == [], list(check(*read(good), table))
    for bad, said in (
        (good.replace("xchg   %ax,%ax", "xchg   %eax,(%rdi)"), "2 locked instructions, at most 1"),
        (good.replace("xchg   %ax,%ax", "mfence"), "1 fences, at most 0"),
        (good.replace("xchg   %ax,%ax", "lock orl $0x0,(%rsp)"), "1 fences, at most 0"),
        (good.replace("lock_slow", "look"), "does not call weft::mutex::lock_slow"),
        (good + "   a:\tnop\n" * 40, "43 instructions, at most 40"),
        (good.replace("<hot_lock>:", "<cold>:"), "hot_lock: not found"),
        (good.replace("x86-64", "littleaarch64").replace("xchg   %ax,%ax", "dmb\tish"), "1 fences, at most 0"),
    ):
        got = list(check(*read(bad), table))
        assert any(said in line for line in got), (said, got)
    switch = "x.o: file format elf64-x86-64\n0000000000000000 <weft_switch>:\n   0:\tret\n"
    assert "ends in ret" in list(check(*read(switch), {"weft_switch": LIBRARY["weft_switch"]}))[0]
    for bad in (
        switch.replace("weft_switch", "weft_first_frame").replace("ret", "call   *0x8(%rsp)"),
        switch.replace("weft_switch", "weft_first_frame").replace("ret", "blr x9").replace("x86-64", "littleaarch64"),
        switch.replace("weft_switch", "goroutine_main(void*)").replace("ret", "call 30 <weft_jump>"),
    ):
        assert "return" in list(check(*read(bad), {"weft_first_frame": LIBRARY["weft_first_frame"]}))[-1], bad
    print("codegen: the self-test went well")
    return 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    objdump, hot, *library = sys.argv[1:]
    machine, functions = disassemble(objdump, [hot])
    wrong = list(check(machine, functions, HOT))
    for name in HOT:
        if name in functions:
            print(f"{name}: {len(functions[name].instructions)} instructions")
    machine, functions = disassemble(objdump, library)
    wrong += check(machine, functions, LIBRARY)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
