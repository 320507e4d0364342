"""What the system tests share: the contract's classes, the built programs, running `softsplice`."""

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import grpc

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("SOFTSPLICE_BIN", ROOT / "build" / "bin"))
SANITIZED = b"__asan_init" in (BIN / "softsplice-encoder").read_bytes()
DEMO = ROOT / "tests" / "data" / "demo"
SAMPLES = DEMO / "samples"
MODEL = DEMO / "demo-text.gguf"
MMPROJ = DEMO / "demo-mmproj.gguf"
# A sanitized build on a busy machine is slow.
PATIENCE = 120

sys.path.insert(0, str(ROOT / "proto"))
sys.path.insert(0, str(ROOT / "tests" / "support"))
decoder_pb2, decoder_grpc = grpc.protos_and_services("softsplice/v1/decoder.proto")
encoder_pb2, encoder_grpc = grpc.protos_and_services("softsplice/v1/encoder.proto")
from reasons import catalogue  # noqa: E402, F401

soft_tokens_pb2 = grpc.protos("softsplice/v1/soft_tokens.proto")
error_details_pb2 = grpc.protos("google/rpc/error_details.proto")
status_pb2 = grpc.protos("google/rpc/status.proto")


def environment(runtime):
    """The test's own folder for sockets, and no settings of the person who runs it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SOFTSPLICE_")}
    return {**kept, "XDG_RUNTIME_DIR": str(runtime), "NO_COLOR": "1"}


def run_cli(runtime, *arguments, stdin="", typed=None, **more_environment):
    """Runs `softsplice` to its end. stdin: text or bytes; `typed` is lines that a person types on a
    terminal instead, then Ctrl-D, while what is written goes elsewhere."""
    with typing(typed) if typed is not None else contextlib.nullcontext() as terminal:
        done = subprocess.run(
            [BIN / "softsplice", *map(str, arguments)],
            env={**environment(runtime), **more_environment},
            stdin=terminal,
            input=None if terminal else stdin if isinstance(stdin, bytes) else stdin.encode(),
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
    done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
    return done


@contextlib.contextmanager
def typing(lines):
    """A terminal on which `lines` are typed, and then Ctrl-D."""
    ours, theirs = pty.openpty()
    modes = termios.tcgetattr(theirs)
    modes[3] &= ~termios.ECHO  # nobody looks
    termios.tcsetattr(theirs, termios.TCSANOW, modes)
    text = (lines if lines.endswith("\n") else lines + "\n").encode() + b"\x04"
    typist = threading.Thread(target=os.write, args=(ours, text), daemon=True)
    typist.start()
    yield theirs
    os.close(theirs)
    os.close(ours)


def run_bench(folder, *arguments, code=0):
    """`softsplice bench`: the runs' JSON, and what was printed."""
    file = folder / "bench.json"
    done = run_cli(folder, "bench", "--json", file, *arguments)
    assert done.returncode == code, done.stderr + done.stdout
    return [json.loads(line) for line in file.read_text().splitlines()], done.stdout


class Killed:
    """Holds a process that does not outlive it."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Running(Killed):
    """`softsplice` in the background, read line by line or as a stream of characters."""

    def __init__(self, runtime, *arguments, stdin=None, stdout=subprocess.PIPE, stderr=None):
        self.process = subprocess.Popen(
            [BIN / "softsplice", *map(str, arguments)],
            env=environment(runtime),
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=stdout,
            stderr=subprocess.PIPE if stderr is None else stderr,
            start_new_session=True,
        )
        self.output = ""

    def wait_for(self, text, source=None):
        """Reads stdout (or the file descriptor `source`) until `text` has come."""
        descriptor = self.process.stdout.fileno() if source is None else source
        deadline = time.monotonic() + PATIENCE
        while text not in self.output:
            ready, _, _ = select.select([descriptor], [], [], max(0, deadline - time.monotonic()))
            chunk = os.read(descriptor, 4096) if ready else b""
            assert chunk, f"no {text!r} in {self.output!r}"
            self.output += chunk.decode("utf-8", "replace")
        return self.output

    def stop(self, number=signal.SIGINT):
        """Sends a signal; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def children(self):
        pid = self.process.pid
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def foreign_mmproj(folder):
    """The demo's encoder with one weight a little different: another model."""
    path = folder / "other-mmproj.gguf"
    data = bytearray(MMPROJ.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)
    return path


def alive(pid):
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def waits_in(pid, call):
    """Whether a process' main thread waits in a system call with `call` in its name."""
    return call in Path(f"/proc/{pid}/wchan").read_text()


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)
