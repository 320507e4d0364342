"""Checks and measures Softsplice on a GPU, step by step. Each step has a time limit of its own, and one that fails does not
keep the others from being run. Needs python3 with numpy and Pillow, and what tests/gpu/pack made; no network. All that is
found is in OUT/results.json at once, and printed as a table in the end. Exits with 1 when something failed."""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import floors
import steps
from results import Results
from steps import tail

ROOT = Path(__file__).resolve().parents[2]
PACKED = ROOT / "build-gpu/packed.tar.xz"
EMULATION = 15  # times as long may a step take without a GPU


class Failed(Exception):
    """Why a step cannot go on."""


class Run:
    """What the steps share: the programs, a folder for large files, the time that is left, and the results."""

    def __init__(self, args, folder, results):
        self.emulated, self.out, self.folder, self.results = args.emulated, args.out, folder, results
        self.bin = args.bin or self._unpack()
        self.op_tests = args.op_test or sorted(self.bin.glob("kernels_*_test"))
        self.deadline = 0.0
        self.environment = dict(os.environ)
        if (self.bin / "../lib").is_dir():
            theirs = self.environment.get("LD_LIBRARY_PATH")  # where the driver may be
            self.environment["LD_LIBRARY_PATH"] = ":".join(filter(None, (str(self.bin / "../lib"), theirs)))

    def _unpack(self):
        if not PACKED.exists():
            sys.exit(f"{PACKED} is missing; tests/gpu/pack makes it")
        with tarfile.open(PACKED) as archive:
            archive.extractall(self.folder)
        return self.folder / "bin"

    @property
    def card(self):
        return self.results.about.get("card", "")

    def program(self, name):
        """Without kernels of its own a program has no emulated twin."""
        path = self.bin / name
        return path if path.exists() else self.bin / "../bin" / name

    def find(self, tool):
        path = shutil.which(tool) or shutil.which(tool, path="/usr/local/cuda/bin")
        if path is None:
            raise Failed(f"there is no {tool} on this machine")
        return path

    def try_call(self, command, seconds=None):
        """The output and the exit code, which is None where the time was up."""
        left = self.deadline - time.monotonic()
        limit = left if seconds is None else min(left, seconds)
        with self._start(command, subprocess.PIPE) as process:
            try:
                return process.communicate(timeout=max(limit, 0))[0], process.returncode
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                text = process.communicate()[0]
        if time.monotonic() >= self.deadline:
            raise Failed(f"the step's time was up in {Path(command[0]).name}: {tail(text)}")
        return text, None

    def call(self, command):
        text, code = self.try_call(command)
        if code != 0:
            raise Failed(f"{Path(command[0]).name}: exit {code}: {tail(text)}")
        return text

    @contextlib.contextmanager
    def background(self, command):
        """Yields a function that raises once the program has ended."""
        log = self.out / f"{Path(command[0]).name}.log"
        with log.open("w") as file, self._start(command, file) as process:

            def check():
                if process.poll() is not None:
                    raise Failed(f"{log.stem}: exit {process.returncode}: {tail(log.read_text())}")

            yield check
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)

    @contextlib.contextmanager
    def _start(self, command, output):
        """A program with all that it starts: none of it outlives the block."""
        arguments = [str(argument) for argument in command]
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, text=True, env=self.environment, cwd=ROOT, start_new_session=True
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def dump(self, jobs):
        """Of each job its arrays, as bytes by name."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            for i, job in enumerate(jobs):
                job["out"] = f"{folder}/{i}"
            (Path(folder) / "jobs.json").write_text(json.dumps(jobs))
            lines = self.call([self.program("softsplice-dump"), f"{folder}/jobs.json"]).splitlines()
            outputs = [json.loads(line) for line in lines if line.startswith("{")]
            for output in outputs:
                if "error" in output:
                    raise Failed(output["error"])
            return [{name: Path(f"{folder}/{i}.{name}.bin").read_bytes() for name in o["arrays"]} for i, o in enumerate(outputs)]

    def measure(self, name, arguments, seconds):
        """What softsplice-measure found in so many seconds."""
        text, code = self.try_call([self.program("softsplice-measure"), "--backend", "cuda", *arguments], seconds)
        if code != 0:
            self.results.check(6, name, False, f"not to its end in {seconds} s" if code is None else tail(text))
        found = [line for line in text.splitlines() if line.startswith("{") and line.endswith("}")]
        return json.loads(found[-1]) if found else {}

    def random_model(self, weights, layers=42):
        path = self.folder / f"random-{layers}-{weights}.gguf"
        if not path.exists():
            self.call([self.program("softsplice-random-model"), "--text", path, "--type", weights, "--layers", layers])
        return path

    def random_mmproj(self):
        path = self.folder / "random-mmproj.gguf"
        # As files made from the model's own weights: their float16 is bfloat16, of which half the products are made.
        self.call([self.program("softsplice-random-model"), "--mmproj", path, "--mmproj-type", "BF16"])
        return path

    def rate(self, name, value, floor, *work):
        """A row of step 6, where there is a value."""
        if value is not None:
            known = floors.bandwidth(self.card) is not None
            self.results.figure(6, name, value, "tok/s", floor(self.card, *work) if known else None)


def roomy():
    """Memory as a folder, where there is plenty of it for the largest files; else the usual place."""
    memory = Path("/dev/shm")
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    plenty = available > 64e9 and memory.is_dir() and shutil.disk_usage(memory).free > 32e9
    return memory if plenty else None


def about(emulated):
    """The date, and the card and its state as the driver tells them."""
    query = "name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit,memory.total"
    if emulated:
        card = "an emulated device"
    elif shutil.which("nvidia-smi") is None:
        card = "no card: there is no nvidia-smi"
    else:
        done = subprocess.run(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"], capture_output=True, text=True, timeout=20)
        card = done.stdout.strip() or done.stderr.strip()
    return dict(date=time.strftime("%F"), card=card)


def run_step(run, number):
    seconds, step, _ = steps.STEPS[number]
    print(f"-- step {number}: {step.__doc__.split(': ', 1)[1]}", flush=True)
    run.deadline = time.monotonic() + seconds * (EMULATION if run.emulated else 1)
    try:
        step(run)
    except Exception as error:  # whatever it is, the next step may find something
        run.results.check(number, step.__name__, False, f"{type(error).__name__}: {error}")


def main():
    parser = argparse.ArgumentParser(prog="tests/gpu/run", description=__doc__)
    numbers = list(steps.STEPS)
    parser.add_argument("--out", type=Path, default=ROOT / "build-gpu/results", help="folder for results.json and logs (default: build-gpu/results)")
    parser.add_argument("--steps", type=lambda text: [int(n) for n in text.split(",")], default=numbers, help="only these, such as 1,2,6")
    parser.add_argument("--emulated", action="store_true", help="without a GPU: the steps that can be run so, on build/emulated")
    parser.add_argument("--bin", type=Path, help="folder of the programs (default: those that were packed)")
    parser.add_argument("--op-test", type=Path, action="append", help="tests of ops (default: all of the programs' folder)")
    args = parser.parse_args()
    if unknown := set(args.steps) - set(numbers):
        parser.error(f"there is no step {min(unknown)}")
    if args.emulated:
        args.bin = args.bin or ROOT / "build/emulated"
    args.out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left behind
    results = Results(args.out / "results.json", about(args.emulated))
    with tempfile.TemporaryDirectory(prefix="softsplice-gpu-", dir=roomy()) as folder:
        run = Run(args, Path(folder), results)
        for number in args.steps:
            if steps.STEPS[number][2] or not args.emulated:
                run_step(run, number)
    print(f"\n{results.about['card']}, {results.about['date']}\n{results.table()}")
    return 1 if results.failed() else 0


if __name__ == "__main__":
    sys.exit(main())
