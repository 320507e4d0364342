"""The flags of both services, as variables of their environment."""

import functools
import os
import re
import subprocess
from pathlib import Path

BIN = Path(os.environ.get("SOFTSPLICE_BIN", Path(__file__).resolve().parents[2] / "build" / "bin"))


@functools.cache
def help_of(binary):
    done = subprocess.run([BIN / binary, "--help"], capture_output=True, text=True, check=True)
    return done.stdout


def variables_of(binary):
    """The variables that it knows."""
    return set(re.findall(r"\(Env:(\w+)\)", help_of(binary)))


def default_of(binary, flag):
    """The number that stands for `flag` in its --help."""
    return int(re.search(rf"{flag} [^=]*=(\d+) ", help_of(binary)).group(1))


def read_lines(path):
    """The variables of a file with lines such as NAME=VALUE."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def check_taken(binary, variables, folder):
    """That it takes all values: wrong usage ends with 2; what is missing is the model alone, which
    `folder` does not have, and of which the last line tells."""
    model = str(folder / "missing.gguf")
    changed = {"MMPROJ": model, "MODEL": model, "MODEL_WAIT_SECONDS": "0", "BACKEND": "cpu"}
    prefix = binary.upper().replace("-", "_") + "_"
    values = {k: changed.get(k.removeprefix(prefix), v) for k, v in variables.items()}
    done = subprocess.run([BIN / binary], env=values, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and model in done.stderr.splitlines()[-1], done
