"""The Debian package of the built programs: what is in it, what it depends on, and that it works.

And that a packager builds without what only tests need."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "system"))
from support import BIN, MMPROJ, MODEL, SAMPLES, SANITIZED  # noqa: E402

PROGRAMS = ["softsplice", "softsplice-encoder", "softsplice-decoder"]
COMMANDS = ["up", "chat", "encode", "info", "inspect", "bench"]
NOTICES = ROOT / "deploy" / "package" / "notices"
CONFIGURE = ["cmake", "-G", "Ninja", "-S", ROOT]
pytestmark = [
    pytest.mark.skipif(SANITIZED, reason="packages are not made of sanitized programs"),
    pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb is not installed"),
]


@pytest.fixture(name="package", scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package")
    subprocess.run(["cpack", "-B", folder], cwd=BIN.parent, capture_output=True, check=True)
    (package,) = folder.glob("softsplice_*_*.deb")
    return package


def field(package, name):
    done = subprocess.run(["dpkg-deb", "-f", package, name], capture_output=True, check=True)
    return done.stdout.decode().strip()


def test_it_holds_what_an_installation_needs(package):
    done = subprocess.run(
        ["dpkg-deb", "-c", package],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    entries = [line.split(maxsplit=5) for line in done.stdout.splitlines()]
    files = {name.removeprefix("./"): mode for mode, _, _, _, _, name in entries if mode[0] != "d"}
    assert all(owner == "root/root" for _, owner, *_ in entries)
    executable = {name for name, mode in files.items() if mode == "-rwxr-xr-x"}
    assert {f"usr/bin/{name}" for name in PROGRAMS} <= executable
    assert "usr/libexec/softsplice/softsplice-ffmpeg" in executable
    documents = "usr/share/doc/softsplice"
    protos = [p.relative_to(ROOT).as_posix() for p in (ROOT / "proto/softsplice").rglob("*.proto")]
    expected = [
        *(f"{documents}/{name}" for name in ("README.md", "CHANGELOG.md", "NOTICE", "copyright")),
        *(f"usr/share/softsplice/{name}" for name in protos),
        *(f"usr/share/man/man1/{name}.1" for name in PROGRAMS),
        *(f"usr/share/man/man1/softsplice-{name}.1" for name in COMMANDS),
        *(f"usr/share/bash-completion/completions/{name}" for name in PROGRAMS),
        *(f"usr/share/zsh/vendor-completions/_{name}" for name in PROGRAMS),
        *(f"usr/share/fish/vendor_completions.d/{name}.fish" for name in PROGRAMS),
    ]
    deployments = (f"deploy/{name}" for name in ("systemd", "compose", "envoy", "k8s"))
    for folder in ("docs", "examples", *deployments):
        paths = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
        expected += [f"{documents}/{path.relative_to(ROOT)}" for path in paths]
    assert set(expected) <= set(files)
    assert not [name for name in files if "__pycache__" in name or name.startswith("usr/local")]


def version_of(program):
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_it_depends_on_the_libraries_that_its_programs_name(package):
    depends = field(package, "Depends")
    for library in (
        "libc6", "libgrpc++1.51", "libprotobuf32", "libsndfile1", "libturbojpeg0", "libheif1", "libavif15", "libavformat59", "libswscale6",
    ):  # fmt: skip
        assert re.search(rf"(^|, ){re.escape(library)} \(>= ", depends), depends
    assert "-dev" not in depends


def test_its_programs_run_from_wherever_they_are(package, tmp_path):
    subprocess.run(["dpkg-deb", "-x", package, tmp_path], check=True)
    binaries = tmp_path / "usr" / "bin"
    for name in PROGRAMS:
        assert version_of(binaries / name) == [name, field(package, "Version")]
        assert b".debug_info" not in (binaries / name).read_bytes()
    # The command starts the services that lie beside it.
    chat = ["chat", "--model", MODEL, "--mmproj", MMPROJ, "--image", SAMPLES / "three.png"]
    chat += ["--temperature", "0", "How many shapes are there?"]
    done = subprocess.run(
        [binaries / "softsplice", *chat],
        env={"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "Three.\n"


def test_the_notice_is_of_these_programs(tmp_path):
    """It is to be written anew (deploy/package/notices) when a library comes or goes."""
    if not Path("/usr/share/doc/libgrpc++1.51/copyright").exists():
        pytest.skip("this system has no /usr/share/doc")
    made = tmp_path / "NOTICE"
    subprocess.run([NOTICES, "--out", made, BIN.parent], check=True)
    assert made.read_text(encoding="utf-8") == (ROOT / "NOTICE").read_text(encoding="utf-8")


def test_a_packager_needs_nothing_of_the_tests(tmp_path):
    options = ["-DSOFTSPLICE_BUILD_TESTS=OFF", "-DCMAKE_DISABLE_FIND_PACKAGE_GTest=ON"]
    subprocess.run([*CONFIGURE, "-B", tmp_path, *options], capture_output=True, check=True)
    commands = json.loads((tmp_path / "compile_commands.json").read_text(encoding="utf-8"))
    files = [Path(command["file"]) for command in commands]
    folders = {f.relative_to(ROOT).parts[0] for f in files if f.is_relative_to(ROOT)}
    assert "decoder_svc" in folders and "tests" not in folders
