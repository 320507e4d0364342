"""Somebody sets the wall clock of the machine, by an hour either way, while services run."""

import ctypes
import json
import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from services import DECODER, ENCODER, Client, sample, start_decoder, start_encoder
from support import SAMPLES, SANITIZED, wait_until

HOUR = 3600
HEALTHY, AWAY = 1, 2
PICTURE = "circle-square.png"
QUESTION = "What is in this picture?"
ANSWER = next(
    c["expected_text"]
    for c in json.loads((SAMPLES / "expected.json").read_text())
    if c["name"] == "describe-two"
)
LIBRARY = Path(os.environ["CLOCK_SHIFT_LIBRARY"])
pytestmark = pytest.mark.skipif(SANITIZED, reason="a sanitizer must be the first library")


class Clock:
    """The wall clock of services that are started with `environment`."""

    def __init__(self, folder):
        path = folder / "clock"
        path.write_bytes(bytes(8))
        with open(path, "r+b") as file:
            self.shift = ctypes.c_int64.from_buffer(mmap.mmap(file.fileno(), 8))
        self.environment = {"LD_PRELOAD": str(LIBRARY), "CLOCK_SHIFT": str(path)}

    def set(self, seconds):
        self.shift.value = seconds


@pytest.fixture
def clock(tmp_path):
    return Clock(tmp_path)


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_requests_under_way_go_on(tmp_path, clock, step):
    with (
        start_encoder(tmp_path, environment=clock.environment) as encoder,
        start_decoder(tmp_path, encoder, environment=clock.environment) as decoder,
        Client(decoder) as client,
        ThreadPoolExecutor(1) as thread,
    ):
        request = client.chat([("user", [*[sample(PICTURE)] * 24, "How many?"])])
        for part in request.chat.messages[0].parts[:-1]:
            part.media.max_soft_tokens = 280
        request.max_tokens = 1
        answer = thread.submit(client.generate, request)
        wait_until(lambda: encoder.text().count('"EncodeImage"') > 2)
        clock.set(step)
        started, _, _ = answer.result()
        assert encoder.text().count('"EncodeImage"') == len(started.media) == 24
        assert client.ask(sample(PICTURE), QUESTION) == ANSWER
        assert encoder.serving(ENCODER) and decoder.serving(DECODER)
        assert client.info(DECODER).encoders[0].state == HEALTHY


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_an_encoder_that_was_away_is_found(tmp_path, clock, step):
    address = f"unix:{tmp_path}/encoder.sock"
    with (
        start_decoder(tmp_path, address, environment=clock.environment) as decoder,
        Client(decoder) as client,
    ):
        assert client.info(DECODER).encoders[0].state == AWAY
        clock.set(step)
        with start_encoder(tmp_path, listen=address):
            wait_until(lambda: client.info(DECODER).encoders[0].state == HEALTHY)
            assert client.ask(sample(PICTURE), QUESTION) == ANSWER
