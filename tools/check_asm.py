#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Reads the ELF objects made from .S files and checks what a compiler does by itself and a human forgets.

Every object: .note.GNU-stack without the executable flag; .note.gnu.property with IBT (x86-64) or BTI and PAC (AArch64).
Every global function: type, size, hidden visibility, a landing pad as its first instruction, an FDE over all its bytes.
"""

import argparse
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

X86_64, AARCH64 = 62, 183
NAMES = {X86_64: "x86-64", AARCH64: "AArch64"}
# .note.gnu.property: (type, bits that must be set), see the psABI and "ELF for the Arm 64-bit Architecture".
PROPERTY = {X86_64: (0xC0000002, 1, "IBT"), AARCH64: (0xC0000000, 3, "BTI and PAC")}
LANDING = {
    X86_64: {b"\xf3\x0f\x1e\xfa": "endbr64"},
    AARCH64: {
        struct.pack("<I", 0xD503245F): "bti c",
        struct.pack("<I", 0xD503249F): "bti j",
        struct.pack("<I", 0xD50324DF): "bti jc",
        struct.pack("<I", 0xD503233F): "paciasp",
        struct.pack("<I", 0xD503237F): "pacibsp",
    },
}
SHF_EXECINSTR, SHT_SYMTAB, STB_GLOBAL, STT_FUNC, STV_HIDDEN = 4, 2, 1, 2, 2


class Elf:
    """As much of a 64-bit little-endian relocatable object as is needed here."""

    def __init__(self, path):
        self.data = data = path.read_bytes()
        if data[:6] != b"\x7fELF\x02\x01":
            raise ValueError(f"{path}: not a 64-bit little-endian ELF file")
        self.machine = struct.unpack_from("<H", data, 18)[0]
        (table,) = struct.unpack_from("<Q", data, 40)
        size, count, names = struct.unpack_from("<HHH", data, 58)
        # name, type, flags, address, offset, size, link, info, alignment, entry size
        raw = [struct.unpack_from("<IIQQQQIIQQ", data, table + i * size) for i in range(count)]
        self.sections = [(self.string(raw[names][4], s[0]), s) for s in raw]

    def string(self, table, offset):
        start = table + offset
        return self.data[start : self.data.index(b"\0", start)].decode()

    def contents(self, section):
        return self.data[section[4] : section[4] + section[5]]

    def section(self, wanted):
        return next((s for name, s in self.sections if name == wanted), None)

    def globals_in_code(self):
        """Yields (name, type, visibility, section, value, size) of what is global and lies in an executable section."""
        for _, table in self.sections:
            if table[1] != SHT_SYMTAB:
                continue
            strings = self.sections[table[6]][1][4]
            for offset in range(table[4], table[4] + table[5], 24):
                name, info, other, index, value, size = struct.unpack_from("<IBBHQQ", self.data, offset)
                if info >> 4 != STB_GLOBAL or not 0 < index < len(self.sections):
                    continue
                section = self.sections[index][1]
                if section[2] & SHF_EXECINSTR:
                    yield self.string(strings, name), info & 15, other & 3, section, value, size


def properties(note):
    """type -> bits of a .note.gnu.property section."""
    found = {}
    if len(note) >= 16 and note[12:16] == b"GNU\0":
        offset, end = 16, 16 + struct.unpack_from("<I", note, 4)[0]
        while offset + 8 <= min(end, len(note)):
            kind, size = struct.unpack_from("<II", note, offset)
            if size == 4:
                found[kind] = struct.unpack_from("<I", note, offset + 8)[0]
            offset += 8 + (size + 7 & ~7)
    return found


def fde_ranges(path):
    dump = subprocess.run(["readelf", "--debug-dump=frames", path], check=True, capture_output=True, text=True).stdout
    return [(int(a, 16), int(b, 16)) for a, b in re.findall(r" FDE .*pc=([0-9a-f]+)\.\.([0-9a-f]+)", dump)]


def check_object(path):
    elf = Elf(path)
    if elf.machine not in NAMES:
        return [f"machine {elf.machine} has no port"]
    findings = []
    stack = elf.section(".note.GNU-stack")
    if stack is None:
        findings.append("no .note.GNU-stack: the linker would make every stack executable")
    elif stack[2] & SHF_EXECINSTR:
        findings.append(".note.GNU-stack asks for an executable stack")

    kind, bits, meaning = PROPERTY[elf.machine]
    note = elf.section(".note.gnu.property")
    if note is None:
        findings.append("no .note.gnu.property")
    elif properties(elf.contents(note)).get(kind, 0) & bits != bits:
        findings.append(f".note.gnu.property does not say {meaning}")

    fdes = fde_ranges(path)
    for name, kind, visibility, section, value, size in elf.globals_in_code():
        if kind != STT_FUNC:
            findings.append(f"{name}: no .type")
        if size == 0:
            findings.append(f"{name}: no .size")
        if visibility != STV_HIDDEN:
            findings.append(f"{name}: not hidden")
        if elf.contents(section)[value : value + 4] not in LANDING[elf.machine]:
            findings.append(f"{name}: does not start with {' / '.join(LANDING[elf.machine].values())}")
        if not any(begin <= value and value + max(size, 1) <= end for begin, end in fdes):
            findings.append(f"{name}: no FDE covers it")
    return findings


TEMPLATE = """
.text
.globl weft_f
.hidden weft_f
.type weft_f, %function
weft_f:
.cfi_startproc
{landing}
ret
.cfi_endproc
.size weft_f, . - weft_f
.section .note.GNU-stack, "", %progbits
.section .note.gnu.property, "a"
.balign 8
.long 4, 16, 5
.asciz "GNU"
.long {kind}, 4, {bits}, 0
"""


def self_test(compiler):
    """Assembles a good object, then one per defect, and sees each defect, and nothing else, found."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = pathlib.Path(folder, "f.S"), pathlib.Path(folder, "f.o")

        def findings(text):
            source.write_text(text)
            subprocess.run([*compiler, "-c", source, "-o", target], check=True)
            return check_object(target)

        source.write_text("")
        subprocess.run([*compiler, "-c", source, "-o", target], check=True)
        machine = Elf(target).machine
        kind, bits, _ = PROPERTY[machine]
        landing = "endbr64" if machine == X86_64 else "hint 34"
        good = TEMPLATE.format(landing=landing, kind=kind, bits=bits)
        assert findings(good) == [], findings(good)
        defects = {
            (".hidden weft_f", ""): "not hidden",
            (".type weft_f, %function", ""): "no .type",
            (".size weft_f, . - weft_f", ""): "no .size",
            (landing, "nop"): "does not start with",
            (".cfi_endproc", ".cfi_endproc\nnop"): "no FDE covers it",
            ('.section .note.GNU-stack, "", %progbits', ""): "no .note.GNU-stack",
            ('GNU-stack, ""', 'GNU-stack, "x"'): "asks for an executable stack",
            ('.section .note.gnu.property, "a"', ""): "no .note.gnu.property",
            (f", 4, {bits}, 0", ", 4, 0, 0"): "does not say",
        }
        for (old, new), expected in defects.items():
            assert old in good
            found = findings(good.replace(old, new))
            assert len(found) == 1 and expected in found[0], (old, found)
    print(f"self-test: {len(defects)} planted defects found ({NAMES[machine]})")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=pathlib.Path, help="where the objects lie (*.S.o, at any depth)")
    parser.add_argument("--self-test", nargs="+", metavar="COMPILER", help="plant one defect of each kind and see it found")
    args = parser.parse_args()
    if args.self_test:
        return self_test(args.self_test)
    if args.folder is None:
        parser.error("a folder or --self-test")
    objects = sorted(args.folder.rglob("*.S.o"))
    findings = [f"{path.name}: {text}" for path in objects for text in check_object(path)]
    print("\n".join(findings + [f"{len(objects)} objects, {len(findings)} findings"]))
    return 1 if findings or not objects else 0


if __name__ == "__main__":
    sys.exit(main())
