"""Rolling restarts under load: whoever retries as gRPC itself does loses no request."""

import itertools
import select
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from askers import QUESTIONS, Askers
from http2 import PING, Connection, frame, message
from names import Names
from services import DECODER, start_decoder, start_encoder
from support import PATIENCE, wait_until

SHORT = [(("What is two plus three?",), "Five.")]
DRAINS = 5  # of each of two services
QUICK = ("--lame-duck-seconds", 0.3)
STOP_FLAGS = ("--lame-duck-seconds", 1, "--drain-seconds", 10)


class Fleet:
    """Two encoders behind a name and two decoders at two addresses; each can be replaced."""

    def __init__(self, folder, stack):
        self.folder, self.stack = folder, stack
        self.moments = []
        self.hosts = (f"127.0.1.{n}" for n in itertools.count(1))
        self.names = stack.enter_context(Names(encoders_test=[]))
        self.port = 0
        self.encoders = [self.new_encoder(next(self.hosts)) for _ in range(2)]
        self.decoders = [self.new_decoder("127.0.0.1:0") for _ in range(2)]

    def note(self, what):
        self.moments.append(f"{time.monotonic():.2f} {what}")

    def new_encoder(self, host):
        encoder = start_encoder(self.folder, *STOP_FLAGS, listen=f"{host}:{self.port}")
        self.port = encoder.address.rsplit(":", 1)[1]
        self.note(f"encoder {host} serves")
        self.names.records["encoders_test"].append(host)
        return self.stack.enter_context(encoder)

    def new_decoder(self, address):
        name = f"dns://{self.names.address}/encoders.test:{self.port}"
        decoder = start_decoder(self.folder, name, *STOP_FLAGS, listen=address)
        self.note(f"decoder {decoder.address} serves")
        return self.stack.enter_context(decoder)

    def stop(self, service):
        self.note(f"SIGTERM to {service.binary} {service.address}")
        assert service.stop() == 0, service.text()
        self.note(f"{service.binary} {service.address} is gone")

    def move_encoder(self, n):
        """The new one comes at an address of its own, and then the old one goes."""
        old, self.encoders[n] = self.encoders[n], self.new_encoder(next(self.hosts))
        self.names.records["encoders_test"].remove(old.address.rsplit(":", 1)[0])
        self.stop(old)

    def renew_encoder(self, n):
        """The old one goes, and then the new one comes at the same address."""
        host = self.encoders[n].address.rsplit(":", 1)[0]
        self.names.records["encoders_test"].remove(host)
        self.stop(self.encoders[n])
        self.encoders[n] = self.new_encoder(host)
        wait_until(lambda: answers(self.encoders[n]))

    def renew_decoder(self, n):
        """As the above; done when clients have found it."""
        self.stop(self.decoders[n])
        self.decoders[n] = self.new_decoder(self.decoders[n].address)
        wait_until(lambda: answers(self.decoders[n]))
        self.note(f"decoder {self.decoders[n].address} is used")


def answers(service):
    return '"EncodeImage"' in service.text() or '"Generate"' in service.text()


def test_rolling_restarts_lose_nothing(tmp_path):
    with ExitStack() as stack:
        fleet = Fleet(tmp_path, stack)
        target = "ipv4:" + ",".join(decoder.address for decoder in fleet.decoders)
        with Askers(target) as askers, ThreadPoolExecutor(2) as both:
            wait_until(lambda: all(map(answers, fleet.encoders + fleet.decoders)))
            each(fleet.move_encoder)
            each(fleet.renew_decoder)
            fleet.note("the other way round")
            each(fleet.renew_decoder)
            each(fleet.renew_encoder)
            for encoder in (fleet.move_encoder, fleet.renew_encoder):
                fleet.note("both at once")
                list(both.map(each, (encoder, fleet.renew_decoder)))
        report = "\n".join([*map(str, askers.lost), *fleet.moments])
        assert not askers.lost, f"of {askers.answered}\n{report}"
        assert all(askers.answered[expected] > 20 for _, expected in QUESTIONS), askers.answered
        for service in fleet.encoders + fleet.decoders:
            assert service.stop() == 0, service.text()


def test_a_drain_loses_no_call_of_a_busy_connection(tmp_path):
    """Calls so many and so short that some are always on their way to the service that goes."""
    with ExitStack() as stack:
        decoders = [
            stack.enter_context(start_decoder(tmp_path, None, *QUICK, listen="127.0.0.1:0"))
            for _ in range(2)
        ]
        target = "ipv4:" + ",".join(decoder.address for decoder in decoders)
        with Askers(target, SHORT, threads=16) as askers:
            for n in DRAINS * [0, 1]:
                assert decoders[n].stop() == 0, decoders[n].text()
                decoders[n] = stack.enter_context(
                    start_decoder(tmp_path, None, *QUICK, listen=decoders[n].address)
                )
                wait_until(lambda n=n: answers(decoders[n]))
        assert not askers.lost, f"of {askers.answered}: {askers.lost}"


def test_a_client_that_asks_on_can_still_read_its_answers(tmp_path):
    """They came and lie unread when the service says that it will send nothing more; if it reset the
    connection for what comes then, the client's next write would fail, and its library give up."""
    with (
        start_decoder(tmp_path, None, *QUICK, listen="127.0.0.1:0") as decoder,
        Connection(decoder.address) as client,
    ):
        stream = client.open(f"/{DECODER}/GetDecoderInfo")
        client.upload(stream, message(b""), end=True)
        goodbye = select.poll()
        goodbye.register(client.socket, select.POLLRDHUP)
        decoder.process.send_signal(signal.SIGTERM)
        assert goodbye.poll(1000 * PATIENCE)
        for _ in range(3):
            client.socket.send(frame(PING, payload=b"are you?"))
            time.sleep(0.02)
        with pytest.raises(ConnectionResetError, match="the server closed the connection"):
            while True:
                client.receive(PATIENCE)
        assert client.headers[stream]["grpc-status"] == "0"
        client.socket.close()
        assert decoder.process.wait(PATIENCE) == 0


def each(replace):
    for n in range(2):
        replace(n)
