"""What README says that a service takes at most, under loads that want more."""

import io
import re
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from http2 import connect, message
from PIL import Image
from secure import encrypted
from services import DECODER, ENCODER, Client, start_decoder, start_encoder
from sounds import noise, wav
from support import ROOT, SANITIZED

MIB = 1 << 20
LIVE, CALLS, CONNECTIONS = 16 * MIB, 100, 32
FLAGS = (
    *("--max-live-bytes", LIVE, "--max-live-calls", CALLS, "--max-connections", CONNECTIONS),
    *("--max-request-bytes", 8 * MIB),
)
# README's sum: what calls take in both services, and what is known of media.
CONNECTION, REFUSED, STREAMS, KNOWN = 32 << 10, 8 << 10, 100, 80 * MIB
OF_CALLS = 2 * LIVE + CONNECTIONS * (CONNECTION + REFUSED * max(STREAMS, CALLS // 2))
HEAP, OTHER = 0.25, 64 * MIB

pytestmark = pytest.mark.skipif(SANITIZED, reason="its allocator keeps what was freed")


class Bounded:
    """A service that is to keep to README's sum, of which `own` is what it has of its own."""

    def __init__(self, service, own):
        self.service = service
        self.most = self.peak() + (1 + HEAP) * (OF_CALLS + own) + OTHER

    def peak(self):
        with open(f"/proc/{self.service.process.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmHWM:\s+(\d+) kB", file.read())[1]) << 10

    def check(self):
        assert self.service.process.poll() is None, self.service.text()
        assert self.peak() < self.most


def test_the_sum_is_that_of_the_readme():
    text = (ROOT / "README.md").read_text().split("Whatever comes, a service takes")[1]
    assert f"a quarter of that for a heap in pieces, and {OTHER >> 20} MiB for" in text
    rows = [row.strip("| ").split(" | ") for row in text.split("\n\n")[1].splitlines()[2:]]
    assert [most for _, most in rows] == [
        "2 x `--max-live-bytes`",
        f"`--max-connections` x {CONNECTION >> 10} KiB",
        f"`--max-connections` x {REFUSED >> 10} KiB x half of `--max-live-calls`, "
        f"or x {STREAMS} if that is more",
        "`--cache-bytes` + `--decode-memory-bytes`",
        "`--kv-memory` + `--session-memory`",
        f"{KNOWN >> 20} MiB",
    ]


def finished(call):
    """Whether the service answered; it may refuse what is too much, and gRPC, whose quota is full, end a connection
    without calls while the next ones are being sent."""
    try:
        list(call)
        return True
    except grpc.RpcError as refusal:
        ended = refusal.code() == grpc.StatusCode.UNAVAILABLE
        words = ("Broken pipe", "Connection reset", "Socket closed", "Buffers full")
        if ended and any(word in refusal.details() for word in words):
            return False
        assert refusal.code() in (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.OUT_OF_RANGE,
            grpc.StatusCode.INVALID_ARGUMENT,
        ), refusal
        return False


def png(width, height, colour):
    file = io.BytesIO()
    Image.new("RGB", (width, height), (colour % 256, colour // 256, 7)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(name="transport", params=["plain", "tls"])
def flags_of_it(request, tmp_path):
    """As secure.encrypted."""
    return encrypted(tmp_path) if request.param == "tls" else ([], [], None)


def leave_unfinished(service, path):
    """Uploads that never end, as much of them as is taken."""
    for _ in range(2):
        try:
            with connect(service) as connection:
                for _ in range(8):
                    body = message(bytes(7 * MIB), length=8 * MIB)
                    connection.upload(connection.open(path), body, limit=0.2)
        except OSError:
            continue  # the service may end the connection


def test_a_decoder_keeps_to_its_sum(tmp_path, transport):
    of_encoder, of_decoder, access = transport
    kv, histories = 16 * MIB, 16 * MIB
    own = ("--kv-memory", kv, "--session-memory", histories, "--max-sessions", 2000)
    with (
        start_encoder(tmp_path, *of_encoder, access=access) as encoder,
        start_decoder(tmp_path, encoder, *FLAGS, *own, *of_decoder, access=access) as decoder,
        Client(decoder) as client,
        ThreadPoolExecutor(16) as pool,
    ):
        bounded = Bounded(decoder, kv + histories + KNOWN)
        # Histories of many small parts: twenty times of what they are on the wire.
        turn = client.chat([("user", 7000 * ["x"])])
        turn.max_tokens = 1
        create = client.method(DECODER, "CreateSession")
        kept = 0
        for _ in range(500):
            turn.session_id = create(client.type("CreateSessionRequest")()).session_id
            kept += finished(client.start(turn))
        assert kept > 10
        bounded.check()
        text = "All work and no play makes Jack a dull boy. " * 500
        for parts in (
            lambda i: [png(48, 48, i), "?"],  # different media
            lambda i: [f"{i} {text}"],  # long prompts
            lambda i: [7 * MIB * "x"],
            lambda i: [bytes(7 * MIB)],
        ):
            requests = [client.chat([("user", parts(i))]) for i in range(40)]
            for request in requests:
                request.max_tokens = 1
            list(pool.map(lambda request: finished(client.start(request)), requests))
        leave_unfinished(decoder, f"/{DECODER}/Generate")
        bounded.check()
        assert client.ask("What is two plus three?") == "Five."


def test_an_encoder_keeps_to_its_sum(tmp_path, transport):
    of_encoder, _, access = transport
    cache, decoding = 8 * MIB, 96 * MIB
    own = ("--cache-bytes", cache, "--decode-memory-bytes", decoding)
    flags = (*FLAGS, *own, *of_encoder)
    with start_encoder(tmp_path, *flags, access=access) as encoder, Client(encoder) as client:
        # The largest passes of its towers.
        client.encode(data=png(960, 960, 0), max_soft_tokens=1120)
        client.encode(audio=True, data=wav(noise(30)))
        bounded = Bounded(encoder, cache + decoding)
        encode = client.method(ENCODER, "EncodeImage")
        request = client.type("EncodeImageRequest")
        # Decoded faster than they are encoded: what waits for the tower is large.
        calls = [
            encode(request(data=png(1400, 1400, i), max_soft_tokens=1120), timeout=60)
            for i in range(24)
        ]
        assert all([finished(call) for call in calls[:3]])
        for call in calls:
            call.cancel()
        leave_unfinished(encoder, f"/{ENCODER}/EncodeImage")
        bounded.check()
        assert client.encode(data=png(48, 48, 0))
