"""What one client can make an encoder wait for, keep or refuse to others."""

import contextlib
import struct
import subprocess
import time
import zlib
from pathlib import Path

import grpc
import pytest
from services import ENCODER, Client, error, sample, start_encoder
from support import BIN, MMPROJ, PATIENCE, wait_until

EACH = ("--cache-bytes", 0)  # is encoded, also the same one


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def black_png(width, height, depth=8, channels=3, times=1):
    """Its data inflate to `times` as much as it needs."""
    row = bytes((width * channels * depth + 7) // 8 + 1)
    deflate = zlib.compressobj(1)
    data = b"".join(deflate.compress(row) for _ in range(height * times)) + deflate.flush()
    color = {1: 0, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def flac(rate, channels, samples):
    """A FLAC's header: all that is looked at before it is decoded."""
    facts = rate << 44 | (channels - 1) << 41 | 15 << 36 | samples
    info = struct.pack(">HH", 4096, 4096) + bytes(6) + facts.to_bytes(8, "big") + bytes(16)
    return b"fLaC" + b"\x80" + len(info).to_bytes(3, "big") + info


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    with start_encoder(tmp_path_factory.mktemp("u"), *EACH) as service:
        yield service


@pytest.fixture(scope="module")
def client(encoder):
    with Client(encoder) as client:
        yield client


def peak_bytes(service):
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) << 10


def test_rows_of_a_huge_picture_cost_its_header(encoder, client):
    picture = black_png(10_000, 10_000, depth=16)
    before = peak_bytes(encoder)
    header, rows, _ = client.encode(data=picture, header_only=True)
    assert (header.rows, rows) == (256, b"")
    assert peak_bytes(encoder) - before < 100 << 20
    # 100 megapixels, of which stb_image would keep two copies with alpha.
    size = struct.pack("<2H", 10_000, 10_000)
    gif = b"GIF89a" + size + b"\0\0\0," + bytes(4) + size + b"\0\2\1\0\0;"
    code, message, reason, _ = error(lambda: client.encode(data=gif))
    assert (code, reason) == ("RESOURCE_EXHAUSTED", "OVER_LIMIT")
    assert "bytes of memory; at most 1073741824" in message


def test_a_picture_takes_what_its_header_says(encoder, client):
    before = peak_bytes(encoder)
    swollen = black_png(4000, 5000, channels=1, times=12)  # 20 megapixels, 240 MB
    header, _, _ = client.encode(data=swollen, max_soft_tokens=70)
    assert (header.image.source_width, header.image.source_height) == (4000, 5000)
    assert peak_bytes(encoder) - before < 200 << 20


def test_samples_that_no_recording_has_are_refused_by_the_header(client):
    code, message, reason, field = error(
        lambda: client.encode(audio=True, data=flac(655_350, 8, 300 * 655_350))
    )
    assert (code, reason, field) == ("RESOURCE_EXHAUSTED", "OVER_LIMIT", "data")
    assert "8 channels at 655350 Hz" in message


def test_cancelled_calls_leave_the_queue_at_once(client):
    request = client.type("EncodeImageRequest")(data=black_png(5000, 5000), max_soft_tokens=1120)
    method = client.method(ENCODER, "EncodeImage")
    calls = [method(request, timeout=PATIENCE) for _ in range(40)]
    wait_until(lambda: client.info(ENCODER).load.queued > 20)
    assert client.info(ENCODER).load.expected_wait.ToTimedelta().total_seconds() > 0
    begun = time.monotonic()
    client.encode(data=sample("circle-square.png"), header_only=True)  # waits for none of them
    for call in calls:
        call.cancel()
    wait_until(lambda: client.info(ENCODER).load.queued == 0)
    client.encode(data=sample("circle-square.png"), max_soft_tokens=70)
    assert time.monotonic() - begun < 40 * 0.5  # not 40 pictures later


def test_a_wait_that_would_be_too_long_is_told(tmp_path):
    flags = (*EACH, "--max-wait-seconds", "0.1")
    with start_encoder(tmp_path, *flags) as service, Client(service) as client:
        request = client.type("EncodeImageRequest")(
            data=black_png(1000, 1000), max_soft_tokens=1120
        )
        method = client.method(ENCODER, "EncodeImage")
        calls = [method(request, timeout=PATIENCE) for _ in range(30)]
        for call in calls:
            with contextlib.suppress(grpc.RpcError):
                list(call)
        refused = [call for call in calls if call.code() != grpc.StatusCode.OK]
        assert 0 < len(refused) < len(calls)
        for call in refused:
            code, message, reason, _ = error(lambda call=call: list(call))
            assert (code, reason) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL")
            assert "at most 100ms are waited for" in message


def test_a_model_that_gives_no_numbers_does_not_start(tmp_path):
    broken = tmp_path / "nan.gguf"
    content = MMPROJ.read_bytes()
    broken.write_bytes(content[: len(content) // 2] + b"\xff" * (len(content) - len(content) // 2))
    end = subprocess.run(
        [BIN / "softsplice-encoder", "--mmproj", broken, "--listen", "localhost:0"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert end.returncode == 1
    assert "has values that are infinite or no numbers" in end.stderr
