"""What a service takes of the machine's memory is told before it is taken, and refused where it is not there."""

import contextlib
import os
import struct
import subprocess
import time
from pathlib import Path

import pytest
from services import Client, Service
from support import BIN, MMPROJ, MODEL, PATIENCE, run_cli

SERVICES = [("softsplice-decoder", "--model", MODEL), ("softsplice-encoder", "--mmproj", MMPROJ)]
PAGE = 4096


@contextlib.contextmanager
def memory_group(limit):
    """What a command is prefixed with to run in a cgroup of `limit` bytes."""
    version_1 = Path("/sys/fs/cgroup/memory")
    root, file = (
        (version_1, "memory.limit_in_bytes") if version_1.is_dir() else (version_1.parent, "memory.max")
    )
    group = root / f"softsplice-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / file).write_text(str(limit))
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"no memory cgroup can be made here: {error}")
    try:
        yield ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs")]
    finally:
        deadline = time.monotonic() + PATIENCE
        while (group / "cgroup.procs").read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        group.rmdir()


def need(tmp_path, model):
    done = run_cli(tmp_path, "inspect", "--memory", model)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize(("binary", "flag", "model"), SERVICES)
def test_it_starts_with_what_inspect_tells(tmp_path, binary, flag, model):
    limit = -(-need(tmp_path, model) // PAGE) * PAGE
    with memory_group(limit) as prefix, Service(tmp_path, binary, flag, model, under=prefix) as service:
        with Client(service) as client:
            if binary == "softsplice-decoder":
                assert client.ask("What is two plus three?") == "Five."
        loading = [e for e in service.events() if e["event"] == "loading"]
        assert [e["stage"] for e in loading if "stage" in e][-1] == "first pass"
        assert "weights" in next(e["memory"] for e in service.events() if e["event"] == "loaded")


@pytest.mark.parametrize(("binary", "flag", "model"), SERVICES)
def test_with_less_it_says_what_is_missing(tmp_path, binary, flag, model):
    # The told number has room for what the process itself takes first, which is some of these.
    limit = need(tmp_path, model) - (64 << 20)
    with memory_group(limit) as prefix:
        done = subprocess.run(
            [*prefix, BIN / binary, flag, model, "--listen", f"unix:{tmp_path}/s.sock"],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    assert done.returncode == 1
    assert "the model needs " in done.stderr and " and 256.0 MiB to spare; the memory cgroup " in done.stderr
    assert "take a file of smaller types" in done.stderr


def test_a_file_that_is_no_model_needs_none(tmp_path):
    other = tmp_path / "other.gguf"
    other.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 0))  # no tensors, no metadata
    done = run_cli(tmp_path, "inspect", "--memory", other)
    assert (done.returncode, done.stdout) == (1, "")
    assert "can't be served" in done.stderr
