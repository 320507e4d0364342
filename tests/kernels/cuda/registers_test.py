#!/usr/bin/env python3
"""Lists each kernel's registers on each architecture that it was built for, and fails where one
keeps something in local memory: spilled registers, or arrays that are not in registers. Takes the
assembler's logs (cmake/nvcc_log).
"""

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
REGISTERS = re.compile(r"Used (\d+) registers")


def kernels(log):
    """(name, architecture, registers, bytes in local memory) of each kernel in a log."""
    name = architecture = local = None
    for line in log.splitlines():
        if match := ENTRY.search(line):
            name, architecture = match.groups()
        elif match := STACK.search(line):
            local = sum(map(int, match.groups()))
        elif (match := REGISTERS.search(line)) and name:
            yield name, architecture, int(match.group(1)), local
            name = None


def demangled(names):
    lines = "\n".join(names)
    done = subprocess.run(["c++filt"], input=lines, capture_output=True, text=True, check=True)
    return [
        re.sub(r"softsplice::cuda::|\(anonymous namespace\)::|(?<=[>\w])\(.*", "", n)
        for n in done.stdout.splitlines()
    ]


def main():
    rows = [row for path in sys.argv[1:] for row in kernels(Path(path + ".log").read_text())]
    if not rows:
        sys.exit("the logs name no kernel")
    table = defaultdict(dict)
    spilled = []
    for name, (_, architecture, registers, local) in zip(demangled([r[0] for r in rows]), rows):
        table[name][architecture] = registers
        if local > 0:
            spilled.append(f"{name} on {architecture}: {local} bytes")
    architectures = sorted({row[1] for row in rows}, key=lambda name: int(name.strip("sm_af")))
    print("registers of a thread\n" + "".join(f"{a:>8}" for a in architectures))
    for name, of in sorted(table.items()):
        print("".join(f"{of.get(a, '-'):>8}" for a in architectures) + f"  {name}")
    if spilled:
        sys.exit("kept in local memory:\n" + "\n".join(spilled))


if __name__ == "__main__":
    main()
