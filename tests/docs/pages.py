"""Code blocks of the documents, run in a folder that looks like a checkout beside a running service.

Blocks marked sh and python are run, unless the line above says `<!-- not run: why -->`."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "system"))
from support import BIN, MMPROJ, MODEL, PATIENCE, SAMPLES, Running  # noqa: E402

# What documents call their files.
FILES = {
    "text.gguf": MODEL,
    "mmproj.gguf": MMPROJ,
    "photo.jpg": SAMPLES / "three.png",
    "talk.mp3": SAMPLES / "digits-314.mp3",
    "clip.mp4": ROOT / "tests" / "data" / "video" / "short.mp4",
    "notes.txt": ROOT / "CONTRIBUTING.md",
}
BLOCK = re.compile(r"(<!-- not run: [^\n]+ -->\n)?```(sh|python)\n(.*?)```\n", re.DOTALL)
ENCODER, DECODER = "localhost:50051", "localhost:50052"


def pages():
    found = [ROOT / "README.md", ROOT / "examples/README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [path.relative_to(ROOT).as_posix() for path in found]


def blocks(page, section=""):
    """(language, text) of the blocks to run, below a heading if one is named."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if section:
        text = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return [(language, body) for skip, language, body in BLOCK.findall(text) if not skip]


def free_ports(count):
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class Desk:
    """The folder, and both services on the demo model. Ports of the documents stand for free ones."""

    def __init__(self, folder):
        self.folder = folder
        self.ports = dict(zip(("50051", "50052"), free_ports(2), strict=True))
        for path in ROOT.iterdir():
            if path.name not in ("build", ".git"):
                (folder / path.name).symlink_to(path)
        (folder / "build").mkdir()
        (folder / "build" / "bin").symlink_to(BIN)
        for name, path in FILES.items():
            (folder / name).symlink_to(path)
        self.services = Running(
            folder, "up", "--model", MODEL, "--mmproj", MMPROJ,
            "--listen", self.translate(DECODER), "--encoder-listen", self.translate(ENCODER),
        )  # fmt: skip
        self.services.wait_for("Ctrl-C stops both services.")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.services.stop()

    def translate(self, text):
        """With the ports that are used here."""
        for port in re.findall(r"localhost:(500\d\d)", text):
            if port not in self.ports:
                (self.ports[port],) = free_ports(1)
        return re.sub(r"localhost:(500\d\d)", lambda f: f"localhost:{self.ports[f[1]]}", text)

    def environment(self):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SOFTSPLICE_")}
        return {
            **kept,
            "PATH": f"{BIN}:{Path(sys.executable).parent}:{kept['PATH']}",
            "XDG_RUNTIME_DIR": str(self.folder),
            "SOFTSPLICE_SERVER": self.translate(DECODER),
            "SOFTSPLICE_ENCODER": self.translate(ENCODER),
            "CMAKE_CXX_COMPILER_LAUNCHER": "ccache",
            "CMAKE_GENERATOR": "Ninja",
        }

    def finds(self, program):
        return shutil.which(program, path=self.environment()["PATH"])

    def run(self, language, text):
        """What it prints; what a block leaves running is ended with it."""
        text = self.translate(text)
        end = "trap 'kill $(jobs -p) 2> /dev/null || true; wait' EXIT\nset -euo pipefail\n"
        command = ["bash", "-c", end + text] if language == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout
