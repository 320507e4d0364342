"""The split study, cut to seconds, on the demo model and on a llama-server that is none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

HERE = Path(__file__).resolve().parent
SYSTEM = HERE.parent / "system"
DEMO = HERE.parent / "data" / "demo"


@pytest.fixture
def llama_server(tmp_path):
    """A program that takes llama-server's options and plays one."""
    program = tmp_path / "llama-server"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(SYSTEM)!r})\n"
        "from fake_llama_server import FakeLlamaServer\n"
        "port = int(sys.argv[sys.argv.index('--port') + 1])\n"
        "FakeLlamaServer(port).serve_forever()\n"
    )
    program.chmod(0o755)
    return program


def study(folder, *arguments):
    files = ("--json", folder / "study.json", "--plot", folder / "study.png")
    command = [HERE / "split_study", DEMO / "demo-text.gguf", DEMO / "demo-mmproj.gguf"]
    done = subprocess.run(
        [sys.executable, *map(str, (*command, *files, *arguments))],
        capture_output=True,
        text=True,
        check=False,
    )
    return done, folder / "study.json", folder / "study.png"


def test_all_sides(tmp_path, llama_server):
    sides = "ABCD" if len(os.sched_getaffinity(0)) > 1 else "ACD"
    arguments = ("--shares", "0,1", "--rates", "0.5", "--scale", "0.1", "--budget", "70")
    time = ("--minutes", "0.2", "--sides", sides, "--llama-server", llama_server)
    done, figures, picture = study(tmp_path, *arguments, *time)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(figures.read_text())
    points = results["points"]
    assert [(p["share"], p["side"]) for p in points] == [(s, side) for s in (0, 1) for side in sides]
    for point in points:
        assert point["rate"] == 0.5 * results["capacity"][str(point["share"])]
        assert point["backend"] == ("llama-server" if point["side"] == "D" else "softsplice")
        assert point["completed"] > 0
    assert "good requests/s at the best rate (ttft:" in done.stdout
    with Image.open(picture) as image:
        assert image.size == (1290, 400)


def test_a_side_without_a_good_request_is_asked_no_more(tmp_path):
    arguments = ("--shares", "0", "--rates", "1,0.5", "--scale", "0.1", "--minutes", "0.1", "--sides", "A")
    done, figures, _ = study(tmp_path, *arguments, "--goodput", "ttft:0.001")
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(figures.read_text())
    (point,) = results["points"]
    assert point["rate"] == 0.5 * results["capacity"]["0.0"]
    assert point["completed"] > 0 and point["request_goodput"] == 0


def test_wrong_usage(tmp_path):
    done, *_ = study(tmp_path, "--sides", "AX")
    assert done.returncode == 2 and "there is no side X" in done.stderr
