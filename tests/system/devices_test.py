"""Services and command line on a device, which is emulated; and on a machine that has none.

SOFTSPLICE_BIN holds the programs with the emulated device, SOFTSPLICE_REAL_BIN the real ones."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from services import start_decoder, start_encoder
from support import BIN, MMPROJ, MODEL, PATIENCE, SAMPLES, Running, run_cli

SOUND = SAMPLES / "digits-7.wav"
WITHOUT_DEVICE = not Path("/dev/nvidiactl").exists()


def test_both_services_take_the_device_by_themselves(tmp_path):
    with Running(tmp_path, "up", "--model", MODEL, "--mmproj", MMPROJ, "--backend", "auto") as running:
        running.wait_for("Ctrl-C stops both services.")
        info = run_cli(tmp_path, "info")
        assert info.returncode == 0, info.stderr
        assert info.stdout.count("runs on      cuda emulation, device 0") == 2
        devices = re.findall(r"device 0 .*emulation, the model takes (.*) free\n", info.stdout)
        assert len(devices) == 2
        assert "keys and values" in devices[0] and "of 16.0 GiB" in devices[0]
        told = json.loads(run_cli(tmp_path, "info", "--json").stdout)
        (device,) = told["decoder"]["info"]["devices"]
        taken = [int(device[f"{part}_bytes"]) for part in ("weights", "cache", "workspace")]
        assert int(device["model_bytes"]) == sum(taken) and min(taken) > 0
        question = ("--audio", SOUND, "--temperature", "0", "Transcribe the audio.")
        done = run_cli(tmp_path, "chat", *question)
        assert (done.returncode, done.stdout) == (0, "seven\n"), done.stderr
        assert running.stop() == 0


def test_two_ranks_share_the_decoder(tmp_path):
    flags = ("--backend", "cuda", "--tensor-parallel", "2", "--devices", "0,0")
    with Running(tmp_path, "up", "--model", MODEL, "--mmproj", MMPROJ, *flags) as running:
        running.wait_for("Ctrl-C stops both services.")
        info = run_cli(tmp_path, "info")
        assert "cuda emulation, device 0 + cuda emulation, device 0" in info.stdout
        done = run_cli(tmp_path, "chat", "--audio", SOUND, "--temperature", "0", "Transcribe the audio.")
        assert (done.returncode, done.stdout) == (0, "seven\n"), done.stderr
        assert running.stop() == 0


def test_inspect_tells_what_a_file_takes(tmp_path):
    for file, caches in ((MODEL, True), (MMPROJ, False)):
        text = run_cli(tmp_path, "inspect", file).stdout
        assert re.search(r"\nOn a GPU +it takes .*\(weights ", text)
        assert re.search(r"\nGPUs +0: emulation, 16\.0 GiB of 16\.0 GiB free\n", text)
        told = json.loads(run_cli(tmp_path, "inspect", "--json", file).stdout)
        need = told["gpu_memory"]
        assert need["bytes"] == need["weights"] + need["keys_and_values"] + need["workspace"]
        assert (need["keys_and_values"] > 0) == caches
        assert told["gpus"][0]["free_bytes"] <= told["gpus"][0]["bytes"]


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("--backend", "auto", "--device", "3"), "there is no device 3; there are 0 (emulation)"),
        (("--backend", "cuda", "--device", "1"), "there is no device 1; there are 0 (emulation)"),
        (("--device", "-1"), "--device"),
        (("--devices", "0,0"), "--devices: it names 2, --tensor-parallel says 1"),
        (("--tensor-parallel", "2"), "there is no device 1; there are 0 (emulation)"),
        (("--tensor-parallel", "3"), "--tensor-parallel"),
        (("--tensor-parallel", "2", "--backend", "cpu"), "only cuda shares a model out, not cpu (it was asked for)"),
    ],
)
def test_a_wrong_device(tmp_path, flags, text):
    done = decoder(BIN, tmp_path, *flags)
    assert done.returncode in (1, 2)
    assert text in done.stderr


def test_the_processor_if_it_is_asked_for(tmp_path):
    with start_encoder(tmp_path, "--backend", "cpu") as encoder:
        loaded = next(e for e in encoder.events() if e["event"] == "loaded")
        assert loaded["backend"].startswith("cpu ") and loaded["why"] == "it was asked for"


def decoder(programs, folder, *flags):
    return subprocess.run(
        [programs / "softsplice-decoder", "--model", MODEL, "--listen", f"unix:{folder}/s", *flags],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.skipif(not WITHOUT_DEVICE, reason="this machine has a driver")
def test_programs_with_cuda_start_without_a_driver(tmp_path, monkeypatch):
    real = Path(os.environ["SOFTSPLICE_REAL_BIN"])
    done = decoder(real, tmp_path, "--backend", "cuda")
    assert done.returncode == 1
    assert re.search("cannot run cuda: |built without CUDA", done.stderr)
    monkeypatch.setattr("services.BIN", real)
    with start_decoder(tmp_path, None, "--backend", "auto", "--device", "1") as service:
        loaded = next(e for e in service.events() if e["event"] == "loaded")
        assert loaded["backend"].startswith("cpu ")
        assert re.search("cannot run cuda: |built without CUDA", loaded["why"])
