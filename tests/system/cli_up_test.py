"""How `softsplice up` begins and ends, which pairs of files and services it takes, and `info`."""

import json
import os
import shutil
import socket

import pytest
import support
from services import Service
from support import BIN, MMPROJ, MODEL, ROOT, SAMPLES, Running, run_cli
from terminal import Terminal

OTHER_WIDTH = ROOT / "tests" / "data" / "models" / "mmproj-tiny-F16.gguf"
PAIR = ("--model", MODEL, "--mmproj", MMPROJ)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# ---- One address


@pytest.mark.parametrize(
    ("decoder", "encoder"),
    [
        ("localhost:{port}", "localhost:{port}"),
        ("127.0.0.1:{port}", "localhost:{port}"),
        ("0.0.0.0:{port}", "127.0.0.1:{port}"),
        ("[::]:{port}", "10.0.0.1:{port}"),
        ("unix:{folder}/a.sock", "unix:{folder}/b/../a.sock"),
    ],
)
def test_one_address_for_both_is_refused(tmp_path, decoder, encoder):
    port = free_port()
    listen, encoder_listen = (a.format(port=port, folder=tmp_path) for a in (decoder, encoder))
    done = run_cli(
        tmp_path, "up", *PAIR, "--listen", listen, "--encoder-listen", encoder_listen
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert f"--listen {listen} and --encoder-listen {encoder_listen} are one address" in done.stderr
    assert os.listdir(tmp_path / "softsplice") == []


# ---- Wrong pairs


def test_a_pair_of_other_widths_is_refused(tmp_path):
    for command in (["up"], ["chat", "Hello"]):
        done = run_cli(tmp_path, *command, "--model", MODEL, "--mmproj", OTHER_WIDTH)
        assert (done.returncode, done.stdout) == (3, "")
        assert "has a width of 192, the soft tokens of" in done.stderr
        assert "of 160" in done.stderr
        for name in ("Gemma 4 E4B-shaped demo", "mmproj-tiny-F16"):
            assert name in done.stderr, done.stderr


def test_files_in_each_others_place_are_refused(tmp_path):
    done = run_cli(tmp_path, "up", "--model", MMPROJ, "--mmproj", MMPROJ)
    assert done.returncode == 3 and f"{MMPROJ} is an mmproj: give it to --mmproj" in done.stderr
    done = run_cli(tmp_path, "up", "--model", MODEL, "--mmproj", MODEL)
    assert done.returncode == 3 and f"{MODEL} is a text model: give it to --model" in done.stderr


def test_info_fails_for_a_pair_that_can_not_work(tmp_path):
    decoder = Service(tmp_path, "softsplice-decoder", "--model", MODEL)
    (tmp_path / "other").mkdir()
    other = Service(tmp_path / "other", "softsplice-encoder", "--mmproj", OTHER_WIDTH)
    with decoder, other:
        where = ("--server", decoder.address, "--encoder", other.address)
        done = run_cli(tmp_path, "info", *where)
        assert done.returncode == 1 and "not of one model" in done.stderr
        assert "192" in done.stderr and "160" in done.stderr
        done = run_cli(tmp_path, "info", "--json", *where)
        assert done.returncode == 1 and "not of one model" in json.loads(done.stdout)["error"]


def test_info_fails_for_an_encoder_of_another_model(tmp_path):
    encoder = Service(tmp_path, "softsplice-encoder", "--mmproj", MMPROJ)
    (tmp_path / "other").mkdir()
    foreign = support.foreign_mmproj(tmp_path)
    other = Service(tmp_path / "other", "softsplice-encoder", "--mmproj", foreign)
    with encoder, other:
        flags = ("--model", MODEL, "--encoder", encoder.address)
        with Service(tmp_path, "softsplice-decoder", *flags) as decoder:

            def info(address):
                return run_cli(tmp_path, "info", "--server", decoder.address, "--encoder", address)

            support.wait_until(lambda: info(encoder.address).returncode == 0)
            done = info(other.address)
            assert done.returncode == 1 and "their fingerprints differ" in done.stderr


# ---- Text alone


def test_text_needs_no_mmproj(tmp_path):
    with Running(tmp_path, "up", "--model", MODEL) as running:
        shown = running.wait_for("Ctrl-C stops it.")
        assert "encoder  none: text only" in shown and "--image" not in shown
        assert len(running.children()) == 1
        done = run_cli(tmp_path, "chat", "--temperature", "0", "Hello")
        assert done.returncode == 0 and done.stdout
        info = run_cli(tmp_path, "info")
        assert info.returncode == 0 and "encoder      none: text only" in info.stdout
        done = run_cli(tmp_path, "chat", "--image", SAMPLES / "small.png", "What?")
        assert done.returncode == 1 and "start `softsplice up` with --mmproj" in done.stderr
        assert running.stop() == 0
    done = run_cli(tmp_path, "chat", "--model", MODEL, "--temperature", "0", "Hello")
    assert done.returncode == 0 and done.stdout


def test_up_without_files_says_where_they_are(tmp_path):
    done = run_cli(tmp_path, "up")
    assert (done.returncode, done.stdout) == (2, "")
    models = (ROOT / "docs" / "models.md").read_text()
    repository, _, rest = done.stderr.partition("ggml-org/")[2].partition(" ")
    assert f"`ggml-org/{repository}`" in models
    for name in [word for word in rest.split() if word.endswith(".gguf")]:
        assert f"`{name}`" in models


# ---- Ends that are not in order


def test_the_folder_of_a_killed_run_goes_at_the_next_start(tmp_path):
    base = tmp_path / "softsplice"
    with Running(tmp_path, "up", *PAIR) as killed:
        killed.wait_for("Ctrl-C stops both services.")
        children = killed.children()
        killed.process.kill()
        killed.process.wait()
    support.wait_until(lambda: not any(map(support.alive, children)))
    (left,) = base.glob("run-*")
    with Running(tmp_path, "up", *PAIR) as running:
        running.wait_for("Ctrl-C stops both services.")
        (own,) = base.glob("run-*")
        assert own != left
        # A run's folder stays while it runs.
        done = run_cli(tmp_path, "chat", "--model", MODEL, "--temperature", "0", "Hello")
        assert done.returncode == 0 and own.is_dir()
        assert running.stop() == 0
    assert list(base.iterdir()) == []


# ---- How far it is


def test_loading_shows_percentages(tmp_path):
    """The services are played: real ones load too fast."""
    programs = tmp_path / "bin"
    programs.mkdir()
    shutil.copy(BIN / "softsplice", programs)
    for name, stage, percent in (("encoder", "first pass", 7), ("decoder", "weights", 42)):
        line = json.dumps({"event": "loading", "stage": stage, "percent": percent})
        service = programs / f"softsplice-{name}"
        service.write_text(f"#!/bin/sh\necho no json >&2\necho '{line}' >&2\nexec sleep 100\n")
        service.chmod(0o755)
    with Terminal(tmp_path, "up", *PAIR, program=programs / "softsplice") as terminal:
        terminal.see("loading demo-text.gguf (weights, 42 %) and demo-mmproj.gguf (first pass, 7 %)")


# ---- What was mistyped


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["caht"], "there is no command caht; did you mean chat?"),
        (["inspcet", "x"], "there is no command inspcet; did you mean inspect?"),
        (["nonsense"], "there is no command nonsense; --help lists all"),
        (["chat", "--imgae", "x.png", "Hello"], "there is no --imgae; did you mean --image?"),
        (["up", "--mmprj", "x"], "there is no --mmprj; did you mean --mmproj?"),
    ],
)
def test_mistyped_words(tmp_path, arguments, said):
    done = run_cli(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
