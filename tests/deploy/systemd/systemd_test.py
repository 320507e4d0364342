"""The units of deploy/systemd: what systemd says of them, and whether the services can live so."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests" / "system"), str(ROOT / "tests" / "support")]
from flags import check_taken, default_of, read_lines, variables_of  # noqa: E402
from services import Client, sample, start_decoder, start_encoder  # noqa: E402
from support import BIN, SANITIZED  # noqa: E402

UNITS = ROOT / "deploy" / "systemd"
SERVICES = ["encoder", "decoder"]
SANDBOX = UNITS / "softsplice-.service.d" / "10-sandbox.conf"
# Of 100, in systemd's own reckoning: a service without any of this has 96.
EXPOSURE = 15
FAREWELL_SECONDS = 10
needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="there is no systemd-analyze"
)


def settings(path):
    """Section -> key -> values, of which an empty one takes back those before it."""
    found = {}
    section = None
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"\[(\w+)\]", line):
            section = found.setdefault(match.group(1), {})
        elif line and not line.startswith("#"):
            key, value = line.split("=", 1)
            section.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("name", SERVICES)
def test_a_unit_has_time_and_descriptors_for_its_flags(name):
    service = settings(UNITS / f"softsplice-{name}.service")["Service"]
    flags = read_lines(UNITS / f"{name}.env")
    prefix = f"SOFTSPLICE_{name.upper()}"
    ending = sum(int(flags[f"{prefix}_{of}_SECONDS"]) for of in ("LAME_DUCK", "DRAIN"))
    assert int(service["TimeoutStopSec"][0]) >= ending + FAREWELL_SECONDS
    connections = default_of(f"softsplice-{name}", "--max-connections")
    assert int(service["LimitNOFILE"][0]) >= connections + 64
    assert service["ExecStart"] == [f"/usr/bin/softsplice-{name}"]
    assert service["EnvironmentFile"] == [f"/etc/softsplice/{name}.env"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_flag_is_taken(name, tmp_path):
    flags = read_lines(UNITS / f"{name}.env")
    assert flags.keys() <= variables_of(f"softsplice-{name}")
    check_taken(f"softsplice-{name}", flags, tmp_path)


@pytest.fixture(name="installed", params=["cpu", "gpu"])
def units(request, tmp_path):
    """The units as the README installs them, but for the programs, which are those that were built."""
    shutil.copytree(UNITS / SANDBOX.parent.name, tmp_path / SANDBOX.parent.name)
    if request.param == "gpu":
        shutil.copy(UNITS / "20-gpu.conf", tmp_path / SANDBOX.parent.name)
    for name in SERVICES:
        unit = (UNITS / f"softsplice-{name}.service").read_text(encoding="utf-8")
        unit = unit.replace("/usr/bin/", f"{BIN}/")
        (tmp_path / f"softsplice-{name}.service").write_text(unit, encoding="utf-8")
    return [tmp_path / f"softsplice-{name}.service" for name in SERVICES]


def analyze(*arguments):
    command = ["systemd-analyze", "--no-pager", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@needs_systemd
def test_systemd_takes_the_units(installed):
    done = analyze("verify", "--man=no", "--recursive-errors=one", *installed)
    assert done.returncode == 0 and not done.stderr, done.stderr


@needs_systemd
def test_systemd_finds_little_exposed(installed):
    for unit in installed:
        done = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", unit)
        assert done.returncode == 0, done.stdout + done.stderr


def members(filter_set):
    """The system calls of a set such as @system-service, without those of the sets within it."""
    lines = analyze("syscall-filter", filter_set).stdout.splitlines()
    names = [line.strip() for line in lines if line.startswith(" ") and "#" not in line]
    return {*(n for n in names if n[0] != "@")}.union(*(members(n) for n in names if n[0] == "@"))


def allowed():
    """The system calls that the sandbox allows."""
    calls = set()
    for value in settings(SANDBOX)["Service"]["SystemCallFilter"]:
        calls = calls - members(value[1:]) if value[0] == "~" else calls | members(value)
    return calls


@needs_systemd
@pytest.mark.skipif(SANITIZED, reason="sanitizers do what the services do not")
@pytest.mark.skipif(not shutil.which("strace"), reason="there is no strace")
def test_the_services_do_nothing_that_is_forbidden(tmp_path):
    def traced(name):
        return ["strace", "-D", "-f", "-qq", "-o", tmp_path / f"{name}.trace"]

    with (
        start_encoder(tmp_path, listen="localhost:0", under=traced("encoder")) as encoder,
        start_decoder(tmp_path, encoder, listen="localhost:0", under=traced("decoder")) as decoder,
    ):
        with Client(decoder) as client:
            for name, question in (
                ("three.png", "How many shapes are there?"),
                ("digits-7.wav", "Transcribe the audio."),
            ):
                assert client.ask(sample(name), question)
        assert decoder.stop() == 0 and encoder.stop() == 0
    families = set(settings(SANDBOX)["Service"]["RestrictAddressFamilies"][0].split())
    for name in SERVICES:
        trace = (tmp_path / f"{name}.trace").read_text(encoding="utf-8", errors="replace")
        called = set(re.findall(r"^\d+ +(\w+)\(", trace, re.MULTILINE))
        assert {"mmap", "epoll_wait", "accept4"} & called
        # What starts the program is systemd's.
        assert called - {"execve"} <= allowed(), called - allowed()
        assert set(re.findall(r"socket\((AF_\w+)", trace)) <= families
        assert not re.search(r"mprotect\(.*PROT_EXEC|mmap\(.*PROT_WRITE\|PROT_EXEC", trace)
