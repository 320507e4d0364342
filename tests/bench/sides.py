"""The four ways to serve pictures and text on one machine that tests/bench/split_study compares."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("SOFTSPLICE_BIN", ROOT / "build" / "bin"))
CPUS = sorted(os.sched_getaffinity(0))
SEQUENCES = 8  # at once, on every side
WEIGHTS = 16, 1  # of decoder and encoder on side C
START_SECONDS = 120

NAMES = {
    "A": "shared: both services on all cores",
    "B": "split: half of the cores for each service",
    "C": "soft split: both on all cores, the decoder with sixteen times the encoder's weight",
    "D": "llama-server",
}


def own_cpu_group():
    """The folder of this process' CPU cgroup, its file for weights, and the usual weight."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "cpu" in controllers.split(","):
            return Path(f"/sys/fs/cgroup/cpu{path}"), "cpu.shares", 1024
    return Path(f"/sys/fs/cgroup{path}"), "cpu.weight", 100


@contextlib.contextmanager
def cpu_groups(weights):
    """New cgroups beside this process with so many times the usual weight: for each, what a command
    is prefixed with to run in it. OSError: they can't be made."""
    own, file, usual = own_cpu_group()
    groups = [own / f"softsplice-study-{weight}" for weight in weights]
    try:
        if file == "cpu.weight":
            (own / "cgroup.subtree_control").write_text("+cpu")
        for group, weight in zip(groups, weights):
            group.mkdir(exist_ok=True)
            (group / file).write_text(str(weight * usual))
        join = 'echo $$ > "$0" && exec "$@"'
        yield [["sh", "-c", join, str(group / "cgroup.procs")] for group in groups]
    finally:
        for group in groups:
            with contextlib.suppress(OSError):
                group.rmdir()


@contextlib.contextmanager
def placement(side):
    """Prefixes of decoder and encoder, and their threads."""
    if side == "A":
        yield [], [], len(CPUS), len(CPUS)
    elif side == "B":
        half = len(CPUS) // 2
        parts = CPUS[half:], CPUS[:half]
        pinned = [["taskset", "-c", ",".join(map(str, part))] for part in parts]
        yield *pinned, *map(len, parts)
    else:
        with contextlib.ExitStack() as stack:
            try:
                decoder, encoder = stack.enter_context(cpu_groups(WEIGHTS))
            except OSError as error:
                print(f"side C: nice 12, about 1 to 15, since cgroups can't be written: {error}")
                decoder, encoder = [], ["nice", "-n", "12"]
            yield decoder, encoder, len(CPUS), len(CPUS)


@contextlib.contextmanager
def running(command, log):
    with open(log, "wb") as output:
        process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(ready, processes, logs):
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if time.monotonic() > deadline or any(p.poll() is not None for p in processes):
            raise RuntimeError("".join(log.read_text(errors="replace")[-2000:] for log in logs))
        time.sleep(0.1)


@contextlib.contextmanager
def services(side, args, folder):
    addresses = [f"unix:{folder}/{name}.sock" for name in ("decoder", "encoder")]
    logs = [folder / f"{name}.log" for name in ("decoder", "encoder")]
    with placement(side) as (decoder, encoder, decoder_threads, encoder_threads):
        decoder += [BIN / "softsplice-decoder", "--model", args.model, "--listen", addresses[0]]
        decoder += ["--encoder", addresses[1], "--threads", decoder_threads]
        decoder += ["--max-sequences", SEQUENCES]
        encoder += [BIN / "softsplice-encoder", "--mmproj", args.mmproj, "--listen", addresses[1]]
        encoder += ["--threads", encoder_threads]

        def ready():
            command = [BIN / "softsplice", "info", "--json", "--server", addresses[0]]
            command += ["--encoder", addresses[1]]
            done = subprocess.run(command, capture_output=True, check=False)
            if done.returncode != 0:
                return False
            return all(about["health"] == "serving" for about in json.loads(done.stdout).values())

        with running(encoder, logs[1]) as one, running(decoder, logs[0]) as other:
            wait_until(ready, [one, other], logs)
            yield ["--server", addresses[0]]


def free_port():
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return any_port.getsockname()[1]


@contextlib.contextmanager
def llama_server(args, folder):
    """As many sequences as a decoder has, each with as much context, and none of the memory in which
    it keeps what nobody asks for again."""
    port = free_port()
    log = folder / "llama-server.log"
    command = [args.llama_server, "--model", args.model, "--mmproj", args.mmproj]
    command += ["--host", "127.0.0.1", "--port", port, "--jinja", "--no-webui"]
    command += ["--threads", len(CPUS), "--threads-batch", len(CPUS), "--flash-attn", "on"]
    command += ["--parallel", SEQUENCES, "--ctx-size", SEQUENCES * args.context, "--cache-ram", 0]
    command += ["--image-min-tokens", args.budget, "--image-max-tokens", args.budget]

    def ready():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as reply:
                return reply.status == 200
        except OSError:
            return False

    with running(command, log) as process:
        wait_until(ready, [process], [log])
        yield ["--llama-server", f"http://127.0.0.1:{port}"]


@contextlib.contextmanager
def serving(side, args):
    """Starts a side; yields the options with which `softsplice bench` finds it. SIGTERM ends the side
    and whoever measures it, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="softsplice-study-") as folder:
        start = llama_server(args, Path(folder)) if side == "D" else services(side, args, Path(folder))
        with start as target:
            yield target
