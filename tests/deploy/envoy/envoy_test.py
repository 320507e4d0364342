"""Two decoders behind Envoy: told to stop, killed, with sessions, with requests of all sizes."""

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest
from google.protobuf import json_format

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests" / "system")]
from askers import QUESTIONS, THREADS, Askers, greedy  # noqa: E402
from names import FakeEncoder, Names  # noqa: E402
from proxy import CONFIGURATION, ENVOY, NAME, Proxy  # noqa: E402
from services import details, error, start_decoder, start_encoder  # noqa: E402
from support import (  # noqa: E402
    PATIENCE,
    decoder_grpc,
    decoder_pb2,
    encoder_grpc,
    encoder_pb2,
    wait_until,
)

GRPCURL = Path(sys.executable).parent / "grpcurl"
HEADER = "x-softsplice-session"
HOSTS = ("127.0.78.1", "127.0.78.2")
PICTURE, COLOUR = QUESTIONS[0]
SUM, FIVE = QUESTIONS[1]
# Envoy ends an answer after 15 s where nobody tells it not to.
LONG = 16
# Nothing by the client's own gRPC: what is repeated, Envoy repeats.
NOT_REPEATED = [("grpc.enable_retries", 0)]
FLAGS = ("--lame-duck-seconds", 5, "--drain-seconds", 2 * LONG)


@pytest.fixture(name="encoder", scope="module")
def slow_encoder(tmp_path_factory):
    """An encoder that takes its time for the picture, which is the only one that it knows."""
    folder = tmp_path_factory.mktemp("e")
    with start_encoder(folder) as real, grpc.insecure_channel(real.address) as channel:
        stub = encoder_grpc.EncoderServiceStub(channel)
        info = stub.GetEncoderInfo(encoder_pb2.GetEncoderInfoRequest())
        rows = list(stub.EncodeImage(encoder_pb2.EncodeImageRequest(data=PICTURE[0])))

    def answer(_):
        time.sleep(LONG)
        yield from rows

    with FakeEncoder(f"unix:{folder}/slow.sock", info, answer) as encoder:
        yield encoder


class Fleet:
    """The decoders, the name that they have together, and Envoy before them."""

    def __init__(self, folder, encoder):
        self.folder, self.encoder = folder, encoder
        with socket.create_server((HOSTS[0], 0)) as free:
            self.port = free.getsockname()[1]
        self.decoders = {}
        self.names = Names(**{NAME: list(HOSTS)})
        try:
            for host in HOSTS:
                self.start(host)
            self.proxy = Proxy(folder, self.names.address, self.port)
        except BaseException:
            self.close()
            raise

    def start(self, host):
        address = f"{host}:{self.port}"
        flags = (*FLAGS, "--advertise", address)
        self.decoders[host] = start_decoder(
            self.folder, self.encoder.address, *flags, listen=address
        )

    def kill(self, host):
        """Until Envoy knows that its connections are gone; that nobody listens it has to find out."""
        self.decoders[host].kill()
        wait_until(lambda: not self.proxy.connections(host))

    def whole(self):
        """Whether calls with the header and calls without it reach both decoders."""
        with grpc.insecure_channel(self.proxy.address) as channel:
            stub = decoder_grpc.DecoderServiceStub(channel)
            request = decoder_pb2.CreateSessionRequest(idle_timeout={"seconds": 1})
            try:
                reached = {
                    (bool(value), stub.CreateSession(request, metadata=value).endpoint)
                    for n in range(10)
                    for value in ((), [(HEADER, str(n))])
                }
            except grpc.RpcError:
                return False
        return len(reached) == 2 * len(HOSTS)

    def direct(self, host):
        """A channel to one decoder."""
        return grpc.insecure_channel(f"{host}:{self.port}")

    def load(self, host):
        with self.direct(host) as channel:
            stub = decoder_grpc.DecoderServiceStub(channel)
            return stub.GetDecoderInfo(decoder_pb2.GetDecoderInfoRequest()).load

    def answers(self, host):
        return self.decoders[host].text().count('"Generate"')

    def close(self):
        for decoder in self.decoders.values():
            decoder.kill()
        if hasattr(self, "proxy"):
            self.proxy.close()
        self.names.close()


@pytest.fixture(name="fleet", scope="module")
def two_decoders(encoder, tmp_path_factory):
    fleet = Fleet(tmp_path_factory.mktemp("f"), encoder)
    yield fleet
    fleet.close()


@pytest.fixture(autouse=True)
def as_at_the_start(fleet):
    for host, decoder in fleet.decoders.items():
        if decoder.process.poll() is not None:
            fleet.start(host)
    wait_until(fleet.whole)


@pytest.fixture(name="stub")
def through_envoy(fleet):
    with grpc.insecure_channel(fleet.proxy.address, NOT_REPEATED) as channel:
        yield decoder_grpc.DecoderServiceStub(channel)


def under_load(fleet, options=()):
    return Askers(fleet.proxy.address, questions=[(SUM, FIVE)], options=options)


class Call(threading.Thread):
    """One answer, in a thread of its own."""

    def __init__(self, stub, request):
        super().__init__()
        self.call = stub.Generate(request, timeout=PATIENCE)
        self.messages, self.failure = [], None
        self.start()

    def run(self):
        try:
            for message in self.call:
                self.messages.append(message)
        except grpc.RpcError as failure:
            self.failure = failure

    def text(self):
        self.join()
        assert self.failure is None, self.failure
        return "".join(message.delta.text for message in self.messages)


def used(fleet):
    """Waits until each decoder answers again."""
    before = {host: fleet.answers(host) for host in HOSTS}
    wait_until(lambda: all(fleet.answers(host) > before[host] + 2 for host in HOSTS))


def test_the_configuration_is_valid_as_it_is():
    options = ["--mode", "validate", "--disable-hot-restart"]
    command = [ENVOY, "-c", CONFIGURATION, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for sign in ("[warning]", "[error]", "deprecated"):
        assert sign not in done.stderr.lower(), done.stderr


def test_decoders_that_are_told_to_stop_lose_nothing(fleet, stub):
    """Not even an answer that takes longer than Envoy would allow, of a decoder that was told to stop."""
    start = time.monotonic()
    long = Call(stub, greedy(*PICTURE))
    # Once its answer has begun no other decoder can give it.
    wait_until(lambda: long.messages)
    (owner,) = [host for host in HOSTS if fleet.load(host).encoding]
    with under_load(fleet, NOT_REPEATED) as askers:
        for host in (owner, *(host for host in HOSTS if host != owner)):
            used(fleet)
            assert fleet.decoders[host].stop() == 0
            fleet.start(host)
            wait_until(fleet.whole)
        used(fleet)
    assert long.text() == COLOUR and time.monotonic() - start > LONG
    assert not askers.lost, f"of {askers.answered}: {askers.lost}"


def test_a_killed_decoder_takes_its_own_answers_with_it_and_no_others(fleet):
    with under_load(fleet) as askers:
        for host in HOSTS:
            used(fleet)
            fleet.kill(host)
            before = askers.answered[FIVE]
            wait_until(lambda before=before: askers.answered[FIVE] > before + 5 * THREADS)
            fleet.start(host)
            wait_until(fleet.whole)
        used(fleet)
    # Each thread had one at most that had begun, each time. Envoy can end such a one by a reset only;
    # whatever else failed the clients' own retries have got from the other decoder.
    assert len(askers.lost) <= 2 * THREADS, askers.lost
    for _, _, (code, message, *_) in askers.lost:
        assert code == "INTERNAL" and "RST_STREAM" in message, askers.lost


def test_nobody_is_asked_when_nobody_is_there(fleet, stub):
    for host in HOSTS:
        fleet.kill(host)
    nobody = ("UNAVAILABLE", "no healthy upstream")
    wait_until(lambda: error(lambda: stub.Generate(greedy(*SUM)))[:2] == nobody)


class Session:
    """A session by a value of its client's for the header."""

    def __init__(self, stub, value):
        self.stub, self.metadata = stub, [(HEADER, value)]
        self.create()

    def create(self):
        request = decoder_pb2.CreateSessionRequest()
        made = self.stub.CreateSession(request, metadata=self.metadata, timeout=PATIENCE)
        self.id, self.owner = made.session_id, made.endpoint.split(":")[0]

    def ask(self, stub=None, metadata=True):
        request = greedy(*SUM)
        request.session_id = self.id
        call = (stub or self.stub).Generate(
            request, metadata=self.metadata if metadata else (), timeout=PATIENCE
        )
        return "".join(message.delta.text for message in call)


def endpoint_of(call):
    """Where the session lives that was asked for in the wrong place."""
    with pytest.raises(grpc.RpcError) as raised:
        call()
    info, _ = details(raised.value)
    assert info.reason == "SESSION_ELSEWHERE"
    return info.metadata["endpoint"].split(":")[0]


def test_calls_with_the_header_stay_with_their_sessions_decoder(fleet, stub):
    sessions = [Session(stub, f"caller {n}") for n in range(16)]
    assert {session.owner for session in sessions} == set(HOSTS)
    for session in sessions:
        assert session.ask() == session.ask() == FIVE
    fleet.kill(HOSTS[0])
    for session in sessions:
        if session.owner == HOSTS[1]:
            assert session.ask() == FIVE
            continue
        assert endpoint_of(session.ask) == HOSTS[0]
        session.create()
        assert session.owner == HOSTS[1] and session.ask() == FIVE
    fleet.start(HOSTS[0])
    wait_until(fleet.whole)
    back = [Session(stub, f"caller {n}") for n in range(16)]
    with fleet.direct(HOSTS[1]) as channel:
        owner = decoder_grpc.DecoderServiceStub(channel)
        for session, new in zip(sessions, back, strict=True):
            if new.owner == HOSTS[0]:
                assert endpoint_of(session.ask) == HOSTS[1]
                assert session.ask(owner) == FIVE
            else:
                assert session.ask() == FIVE


def test_calls_without_the_header_hear_where_their_session_is(fleet, stub):
    session = Session(stub, "any")
    elsewhere = []

    def asked_in_the_wrong_place():
        try:
            assert session.ask(metadata=False) == FIVE
        except grpc.RpcError as failure:
            elsewhere.append(details(failure)[0])
        return elsewhere

    wait_until(asked_in_the_wrong_place)
    assert elsewhere[0].reason == "SESSION_ELSEWHERE"
    assert elsewhere[0].metadata["endpoint"] == f"{session.owner}:{fleet.port}"


WRONG = ("INVALID_FIELD", "sampling.temperature")


def large(size):
    """A request of about so many bytes, of which one field is wrong."""
    half = bytes(size // 2)
    request = greedy(half, half)
    request.sampling.temperature = -1
    return request


def test_requests_have_the_decoders_own_limit(fleet, stub):
    most = 64 << 20
    with fleet.direct(HOSTS[0]) as channel:
        direct = decoder_grpc.DecoderServiceStub(channel)
        for size in (most - 4096, most + 4096):
            request = large(size)
            expected = error(lambda request=request: direct.Generate(request))
            assert (expected[2:] == WRONG) == (size < most)
            assert expected[2] == "OVER_LIMIT" or size < most
            assert error(lambda request=request: stub.Generate(request)) == expected


def test_what_a_decoder_does_not_take_another_gets(fleet, stub):
    """The largest requests, and reflection, too."""
    request = large((64 << 20) - 4096)
    for host in HOSTS:
        fleet.kill(host)
        for _ in range(4):
            assert error(lambda: stub.Generate(request))[2:] == WRONG
            assert grpcurl(fleet, "list").split() == SERVICES
        fleet.start(host)
        wait_until(fleet.whole)


SERVICES = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "softsplice.v1.DecoderService",
]


def grpcurl(fleet, *arguments, data=None):
    options = ["-plaintext", *(["-d", "@"] if data else [])]
    done = subprocess.run(
        [GRPCURL, *options, fleet.proxy.address, *arguments],
        input=data,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_grpcurl_asks(fleet):
    assert "stream .softsplice.v1.GenerateResponse" in grpcurl(
        fleet, "describe", "softsplice.v1.DecoderService.Generate"
    )
    request = json_format.MessageToJson(greedy(*SUM))
    answer = grpcurl(fleet, "softsplice.v1.DecoderService/Generate", data=request)
    assert '"text": "Five' in answer and "FINISH_REASON_STOP" in answer
