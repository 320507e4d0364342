"""Clients that mean harm, or are broken: whatever they do, both services stay within their memory,
answer health at once, and give right answers afterwards."""

import base64
import contextlib
import math
import resource
import socket
import struct
import threading
import time
import zlib

import grpc
import pytest
from grpc_health.v1 import health_pb2
from http2 import (
    CONTINUATION,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    connect,
    frame,
    message,
)
from secure import encrypted
from services import DECODER, ENCODER, Client, error, sample, start_decoder, start_encoder
from sounds import noise, wav
from support import SANITIZED, error_details_pb2, status_pb2, wait_until

MIB = 1 << 20
# What calls may occupy, and what gRPC may hold of them.
BUDGET = 64 * MIB
FLAGS = ("--max-live-bytes", BUDGET, "--max-live-calls", 100)
# Over both: heaps in pieces, connections, what a reader of files needs.
SLACK = 96 * MIB
# A busy machine, a sanitized build. What it is to find took from 12 s to for ever.
HEALTH_LIMIT = 5

METHODS = {
    ENCODER: ["EncodeImage", "EncodeAudio", "GetEncoderInfo"],
    DECODER: [
        *("Generate", "CountTokens", "GetDecoderInfo"),
        *("CreateSession", "ForkSession", "DeleteSession"),
    ],
}
COMMON = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
]


def paths(service):
    return [f"/{service}/{method}" for method in METHODS[service]] + COMMON


class Victim:
    """A service under attack: asks its health and looks at its memory all the while."""

    def __init__(self, service):
        self.service = service
        self.address = service.address
        self.peak = self.start = self.resident()
        self.slowest = 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *problem):
        self.done.set()
        self.thread.join()
        if problem[0] is None:
            assert self.service.process.poll() is None, self.service.text()
            assert self.slowest < HEALTH_LIMIT
            if not SANITIZED:
                assert self.peak < self.start + 2 * BUDGET + SLACK

    def watch(self):
        while not self.done.wait(0.05):
            begin = time.monotonic()
            while not self.lives() and time.monotonic() < begin + HEALTH_LIMIT:
                time.sleep(0.01)
            self.slowest = max(self.slowest, time.monotonic() - begin)
            self.peak = max(self.peak, self.resident())

    def lives(self):
        """Over its budget the service ends connections, ours too; whoever asks comes again. (Not
        with gRPC's wait_for_ready: that one tries again inside, for ever and in growing memory.)"""
        request = health_pb2.HealthCheckRequest(service="liveness").SerializeToString()
        try:
            with connect(self.service) as connection:
                path = "/grpc.health.v1.Health/Check"
                headers, _ = connection.call(path, message(request), limit=HEALTH_LIMIT)
        except OSError:
            return False
        return headers.get("grpc-status") == "0"

    def resident(self):
        with open(f"/proc/{self.service.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * 4096


@pytest.fixture(scope="module", params=["plain", "tls"])
def pair(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("s")
    of_encoder, of_decoder, access = encrypted(folder) if request.param == "tls" else ([], [], None)
    with start_encoder(folder, *FLAGS, *of_encoder, access=access) as encoder:
        with start_decoder(folder, encoder, *FLAGS, *of_decoder, access=access) as decoder:
            yield {ENCODER: encoder, DECODER: decoder}


@pytest.fixture(params=[ENCODER, DECODER])
def name(request):
    return request.param


@pytest.fixture
def victim(pair, name):
    with Victim(pair[name]) as under_attack:
        yield under_attack
        answers_still_right(pair)


def answers_still_right(pair):
    def answer():
        try:
            with Client(pair[DECODER]) as client:
                return client.ask(sample("circle-square.png"), "What is in this picture?")
        except grpc.RpcError as busy:  # with what was given up a moment ago
            assert busy.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            time.sleep(0.5)  # a client that learns all types anew is large
            return None

    right = "A red circle on the left and a blue square on the right."
    wait_until(lambda: answer() == right)


def reason(headers):
    encoded = headers.get("grpc-status-details-bin", "")
    details = status_pb2.Status.FromString(base64.b64decode(encoded + "=" * (-len(encoded) % 4)))
    for detail in details.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info.reason
    return ""


@pytest.fixture(scope="module")
def bombs():
    """Half a gigabyte of nothing, in gRPC's two compressions."""
    made = {}
    for encoding, bits in (("gzip", 31), ("deflate", 15)):
        compressor = zlib.compressobj(1, wbits=bits)
        zeros = bytes(16 * MIB)
        data = b"".join(compressor.compress(zeros) for _ in range(32)) + compressor.flush()
        made[encoding] = message(data, compressed=True)
    return made


def test_nothing_is_inflated(victim, name, bombs):
    for path in paths(name):
        for encoding, bomb in bombs.items():
            with connect(victim.service) as connection:
                headers, ended = connection.call(path, bomb, ("grpc-encoding", encoding))
                assert ended, path
                # The small ones are told their message is too large.
                assert headers["grpc-status"] in ("12", "8"), (path, headers)
                assert reason(headers) in ("COMPRESSED_REQUEST", "OVER_LIMIT"), path


def keep_going(attack):
    """The server may end the connection at any moment."""
    try:
        attack()
    except OSError:
        pass


def test_uploads_that_never_end(victim, name):
    def attack():
        with connect(victim.service) as connection:
            body = bytes(31 * MIB)
            for path in 4 * paths(name):
                stream = connection.open(path)
                connection.upload(stream, message(body, length=32 * MIB), limit=0.5)

    for _ in range(2):
        keep_going(attack)


def test_a_message_that_says_it_is_endless(victim, name):
    def attack():
        with connect(victim.service) as connection:
            stream = connection.open(paths(name)[0])
            connection.upload(stream, message(b"", length=2**32 - 1))
            for _ in range(6 * BUDGET // MIB):
                connection.upload(stream, bytes(MIB), limit=1)

    keep_going(attack)


def test_large_texts(victim, pair, name):
    """The largest that parse, several at once."""
    with Client(pair[DECODER]) as client, victim.service.channel() as channel:
        text = "All work and no play makes Jack a dull boy. " * (16 * MIB // 44)
        if name == DECODER:
            requests = {"Generate": client.chat([("user", [text])])}
            requests["CountTokens"] = client.type("CountTokensRequest")()
            requests["CountTokens"].raw.parts.add(text=text)
        else:
            data = client_type(pair, "EncodeImageRequest")(data=b"\x89PNG" + text.encode())
            requests = {"EncodeImage": data}
        calls = []
        for method, request in requests.items():
            start = channel.unary_stream(f"/{name}/{method}", request_serializer=None)
            calls += [start(request.SerializeToString(), timeout=60) for _ in range(3)]
        for call in calls:
            with pytest.raises(grpc.RpcError) as failure:
                list(call)
            assert failure.value.code() in (
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                grpc.StatusCode.OUT_OF_RANGE,
                grpc.StatusCode.INVALID_ARGUMENT,
            )


ONE_TOKEN = 300  # of no meaning
NO_TOKEN_LEFT = [
    # Finite biases that add up to minus infinity, and those that a penalty makes infinite, once the
    # one token that is not banned was chosen.
    dict(bias=[-3e38, -3e38]),
    dict(bias=[-3e38], repetition_penalty=100),
    dict(bias=[-math.inf], left=ONE_TOKEN, repetition_penalty=100),
    # Neither a number nor a ban, as they are or in sum.
    dict(bias=[math.inf, -math.inf]),
    dict(bias=[3e38, 3e38, -math.inf]),
    dict(bias=[math.inf]),
    dict(bias=[3e38, 3e38], frequency_penalty=-100),
    dict(bias=[-math.inf]),
]


@pytest.mark.parametrize("options", NO_TOKEN_LEFT)
def test_biases_that_leave_no_token(pair, options):
    """On every token: an answer, or an error of the client's."""
    biases, left = options["bias"], options.get("left")
    rest = {name: value for name, value in options.items() if name not in ("bias", "left")}
    with Victim(pair[DECODER]), Client(pair[DECODER]) as client:
        vocabulary = client.info(DECODER).vocabulary_size
        for tokens in (vocabulary, vocabulary // len(biases)):
            request = client.chat([("user", ["Count from one to nine."])])
            request.max_tokens = 3
            request.sampling.temperature = 1
            for name, value in rest.items():
                setattr(request.sampling, name, value)
            for token in range(tokens):
                for bias in biases if token != left else [-3e38]:
                    request.sampling.logit_bias.add(token_id=token, bias=bias)
            try:
                answer = list(client.start(request))
            except grpc.RpcError as refusal:
                assert refusal.code() == grpc.StatusCode.INVALID_ARGUMENT, refusal.details()
                continue
            ids = [token for event in answer for token in event.delta.token_ids]
            for token in ids:
                assert -math.inf not in biases or token >= tokens or token == left, "it was banned"
    answers_still_right(pair)


@pytest.mark.skipif(SANITIZED, reason="its allocator keeps what was freed")
def test_the_memory_of_a_burst_is_given_back(tmp_path):
    """Messages of many small values, several at once, leave a heap in pieces."""
    with start_decoder(tmp_path, None) as decoder, Client(decoder) as client:
        request = client.type("GenerateRequest")()
        parts = request.chat.messages.add(role="ROLE_USER").parts
        for _ in range(200_000):
            parts.add(text="x")
        with Victim(decoder) as victim:
            calls = [client.start(request) for _ in range(16)]
            most = 0
            for call in calls:
                assert error(lambda call=call: call)[2] == "PROMPT_TOO_LONG"
                most = max(most, victim.resident() - victim.start)
            assert most > 32 * MIB  # or there is nothing to be seen
            wait_until(lambda: victim.resident() < victim.start + most // 2)


def client_type(pair, kind):
    with Client(pair[ENCODER]) as client:
        return client.type(kind)


def test_answers_that_nobody_reads(victim, pair, name):
    """Streams without a window: not a byte of an answer can be sent."""
    with Client(pair[name]) as client:
        if name == DECODER:
            request = client.chat([("user", ["Count from one to nine."])])
            path = f"/{DECODER}/Generate"
        else:
            request = client.type("EncodeImageRequest")(data=sample("circle-square.png"))
            path = f"/{ENCODER}/EncodeImage"
    data = message(request.SerializeToString())

    def attack():
        with connect(victim.service, window=0) as connection:
            for _ in range(150):
                connection.upload(connection.open(path), data, end=True)
            # The rest of them is told that the service is busy.
            wait_until(lambda: connection.receive(0.1) or len(connection.ended) >= 50)

    keep_going(attack)


def test_long_answers_that_nobody_reads(pair):
    """Of each token much is told; what is not taken costs a megabyte a call, not the whole answer."""
    decoder = pair[DECODER]
    with Client(decoder) as client, connect(decoder, window=0) as connection:
        request = client.chat([("user", ["Count from one to nine."])])
        request.logprobs = 20
        for token in range(client.info(DECODER).vocabulary_size):
            if token != ONE_TOKEN:  # no other, and so no end
                request.sampling.logit_bias.add(token_id=token, bias=-math.inf)
        data = message(request.SerializeToString())
        with Victim(decoder) as victim:
            for _ in range(8):
                connection.upload(connection.open(f"/{DECODER}/Generate"), data, end=True)
            most = victim.start + 64 * MIB
            wait_until(
                lambda: (
                    connection.receive(0)
                    or victim.resident() > most
                    or client.info(DECODER).load.held == 8
                )
            )
            assert SANITIZED or victim.resident() < most


def test_sounds_that_nobody_reads(tmp_path):
    """All places of the queue hold sounds whose next segment nobody asks for: they are given up."""
    flags = ("--max-queue", 3, "--cache-bytes", 0)  # sounds that are kept wait for nobody
    with start_encoder(tmp_path, *flags) as encoder, Client(encoder) as client:
        sound = wav(noise(95))
        request = client.type("EncodeAudioRequest")(data=sound, data_type=1)
        data = message(request.SerializeToString())
        with Victim(encoder), connect(encoder, window=0) as connection:
            for _ in range(3):
                connection.upload(connection.open(f"/{ENCODER}/EncodeAudio"), data, end=True)
            wait_until(lambda: connection.receive(0) or client.info(ENCODER).load.parked == 3)
            with pytest.raises(grpc.RpcError) as busy:
                client.encode(data=sample("circle-square.png"))
            assert busy.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            wait_until(lambda: connection.receive(0) or client.info(ENCODER).load.parked == 0)
            assert client.encode(data=sample("circle-square.png"))


def test_more_streams_than_calls_fit(victim, name):
    def attack():
        with connect(victim.service) as connection:
            for _ in range(2500):
                for path in paths(name):
                    connection.open(path)
            connection.receive(1)

    keep_going(attack)


def test_rapid_resets(victim, name):
    def attack():
        with connect(victim.service) as connection:
            for _ in range(5000):
                stream = connection.open(paths(name)[0])
                connection.send(frame(RST_STREAM, stream=stream, payload=struct.pack(">I", 8)))
                if stream % 100 == 1:
                    connection.receive(0)

    keep_going(attack)


@pytest.mark.parametrize("flood", [frame(PING, payload=bytes(8)), frame(SETTINGS)])
def test_floods_of_control_frames(victim, flood):
    def attack():
        with connect(victim.service) as connection:
            for _ in range(100):
                connection.send(200 * flood)
                connection.receive(0)

    keep_going(attack)


def test_headers_without_end(victim, name):
    def attack(size):
        with connect(victim.service) as connection:
            headers, _ = connection.call(
                paths(name)[0], message(b""), ("x-large", size * "x"), limit=10
            )
            assert headers.get("grpc-status") != "0"

    for size in (20_000, MIB):
        keep_going(lambda size=size: attack(size))

    def drip():
        with connect(victim.service) as connection:
            connection.send(frame(HEADERS, stream=1, payload=bytes(10)))
            for _ in range(1000):
                connection.send(frame(CONTINUATION, stream=1, payload=bytes(16)))

    keep_going(drip)


def test_what_is_no_http(victim):
    for data in (
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(100_000),
        b"\xff" * 100_000,
        b"PRI * HTTP/2.0\r\n",
        b"\x16\x03\x01\x3f\xff\x01" + bytes(1000),  # a beginning of TLS
    ):
        with socket.socket(socket.AF_UNIX) as plain:
            plain.connect(victim.address.removeprefix("unix:"))
            try:
                plain.sendall(data)
            except OSError:
                continue


def test_two_thousand_idle_connections(victim):
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
    connections = []
    try:
        for _ in range(2000):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(victim.address.removeprefix("unix:"))
            connections.append(connection)
        assert victim.service.serving()
    finally:
        for connection in connections:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)


def test_all_descriptors_that_are_allowed_are_used(tmp_path):
    with start_encoder(tmp_path, under=["prlimit", "--nofile=128:1000"]) as encoder:
        with contextlib.ExitStack() as stack:
            for _ in range(300):
                connection = stack.enter_context(socket.socket(socket.AF_UNIX))
                connection.connect(encoder.address.removeprefix("unix:"))
            assert encoder.serving()
        assert "connections refused" not in encoder.text()


def test_more_connections_than_descriptors(tmp_path):
    """Most are turned away; afterwards it hears again."""
    with start_encoder(tmp_path, under=["prlimit", "--nofile=128"]) as encoder:
        for _ in range(2):
            told = encoder.text().count("connections refused")
            connections = []
            for _ in range(200):
                connections.append(socket.socket(socket.AF_UNIX))
                connections[-1].connect(encoder.address.removeprefix("unix:"))
            wait_until(lambda told=told: encoder.text().count("connections refused") > told)
            for connection in connections:
                connection.close()
            wait_until(encoder.serving)
