#!/usr/bin/env python3
"""Lists each kernel's registers, and fails where one keeps something in local memory: spilled
registers, or arrays that are not in registers. Takes the assembler's logs (cmake/nvcc_log).
"""

import re
import subprocess
import sys
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
    names = demangled([row[0] for row in rows])
    spilled = 0
    for name, (_, architecture, registers, local) in sorted(zip(names, rows)):
        spilled += local > 0
        print(f"{registers:4} registers {local:5} bytes local  {architecture}  {name}")
    if not rows:
        sys.exit("the logs name no kernel")
    if spilled:
        sys.exit(f"{spilled} kernels keep something in local memory")


if __name__ == "__main__":
    main()
