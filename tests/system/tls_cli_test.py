"""`softsplice` over TLS and with tokens: what goes, and what it says when something is wrong."""

import contextlib
import datetime
import json
import socket
import ssl
import threading

import pytest
from secure import Access, Authority, Files, TokenList
from services import sample, start_decoder, start_encoder
from support import SAMPLES, run_bench, run_cli

AUTHORITY, CLIENTS = Authority(), Authority()
QUESTION, ANSWER = "What is two plus three?", "Five."


class Place:
    """Both services on TCP, the decoder's certificate being for localhost and decoder.test."""

    def __init__(self, folder):
        self.folder = folder
        certificate = AUTHORITY.issue("localhost", "decoder.test")
        self.files = Files(folder / "tls", certificate, AUTHORITY)
        self.tokens = TokenList(folder / "tokens", "me")
        self.token = folder / "token"
        self.token.write_text(self.tokens["me"])
        access = Access(AUTHORITY, self.tokens["me"])
        flags = (*self.files.server(), "--auth-tokens", self.tokens.path)
        with contextlib.ExitStack() as stack:
            listen = {"listen": "localhost:0", "access": access}
            self.encoder = stack.enter_context(start_encoder(folder, *flags, **listen))
            self.decoder = stack.enter_context(start_decoder(folder, None, *flags, **listen))
            self.stack = stack.pop_all()
        self.server = f"https://{self.decoder.address}"
        self.ca = ("--ca", self.files.path("ca.crt"))
        self.mine = (*self.ca, "--token-file", self.token)

    def run(self, *arguments, **environment):
        return run_cli(self.folder, *arguments, **environment)

    def chat(self, *arguments, server=None, **environment):
        where = ("--server", server or self.server)
        return self.run("chat", *where, *arguments, "--temperature", 0, QUESTION, **environment)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = Place(tmp_path_factory.mktemp("place"))
    with made.stack:
        yield made


def test_every_command_goes_over_tls_with_a_token(place, tmp_path):
    done = place.chat(*place.mine)
    assert (done.returncode, done.stdout.strip()) == (0, ANSWER), done.stderr
    encoder = f"https://{place.encoder.address}"
    done = place.run("info", "--server", place.server, "--encoder", encoder, "--json", *place.mine)
    assert done.returncode == 0, done.stderr
    assert {part["health"] for part in json.loads(done.stdout).values()} == {"serving"}
    picture, out = SAMPLES / "circle-square.png", tmp_path / "rows.soft"
    done = place.run("encode", picture, "-o", out, "--encoder", encoder, *place.mine)
    assert done.returncode == 0 and out.stat().st_size > len(sample("circle-square.png")) // 100
    runs, _ = run_bench(
        tmp_path, "w1", "--server", place.server, *place.mine, *("--requests", 2, "--scale", 0.02)
    )
    assert runs[0]["completed"] == 2


def test_variables_say_it_too(place):
    done = place.chat(
        SOFTSPLICE_CA=str(place.files.path("ca.crt")), SOFTSPLICE_TOKEN_FILE=str(place.token)
    )
    assert done.stdout.strip() == ANSWER, done.stderr


def test_a_name_may_stand_for_the_address(place):
    server = place.server.replace("localhost", "127.0.0.1")
    done = place.chat(*place.mine, server=server)
    assert done.returncode == 1
    assert "has no certificate for 127.0.0.1, but for localhost, decoder.test" in done.stderr
    assert "--tls-name" in done.stderr
    done = place.chat(*place.mine, "--tls-name", "decoder.test", server=server)
    assert done.stdout.strip() == ANSWER


def test_no_token(place):
    done = place.chat(*place.ca)
    assert done.returncode == 1
    assert "UNAUTHENTICATED: this service wants a token" in done.stderr
    assert "--token-file" in done.stderr


def test_a_wrong_token(place, tmp_path):
    token = tmp_path / "token"
    token.write_text("guess")
    done = place.chat(*place.ca, "--token-file", token)
    assert "the token is none that this service knows" in done.stderr
    token.write_text("two words")
    done = place.chat(*place.ca, "--token-file", token)
    assert done.returncode == 1 and "token holds no token" in done.stderr


def test_an_authority_that_is_not_known(place, tmp_path):
    (tmp_path / "ca").write_bytes(Authority().pem())
    for options in ((), ("--ca", tmp_path / "ca")):
        done = place.chat(*options)
        assert done.returncode == 1
        assert "certificate of no authority that is trusted here; name it with --ca" in done.stderr
    (tmp_path / "ca").write_text("no PEM")
    done = place.chat("--ca", tmp_path / "ca")
    assert "ca holds no certificate (PEM)" in done.stderr


def test_plain_text_where_tls_is_spoken_and_the_other_way_round(place, tmp_path):
    done = place.chat(*place.ca, server=place.decoder.address)
    assert done.returncode == 1
    assert f"speaks TLS; write https://{place.decoder.address}" in done.stderr
    with start_decoder(tmp_path, None, listen="localhost:0") as plain:
        done = place.chat(*place.ca, server=f"https://{plain.address}")
        assert done.returncode == 1 and "does not speak TLS" in done.stderr


def test_a_token_does_not_travel_in_plain_text(place):
    done = place.chat(*place.mine, server="decoder.example:50052")
    assert done.returncode == 1
    assert "in plain text; write https://decoder.example:50052" in done.stderr


def test_client_certificates(place, tmp_path):
    files = Files(tmp_path / "tls", AUTHORITY.issue(), CLIENTS)
    mine = Files(tmp_path / "mine", CLIENTS.issue("me.test"))
    strange = Files(tmp_path / "strange", Authority().issue("me.test"))
    access = Access(AUTHORITY, certificate=CLIENTS.issue("probe.test"))
    flags = files.server(clients=True)

    def pair(of):
        return ("--cert", of.path("tls.crt"), "--key", of.path("tls.key"))

    with start_decoder(tmp_path, None, *flags, listen="localhost:0", access=access) as decoder:
        server = f"https://{decoder.address}"
        done = place.chat(*place.ca, *pair(mine), server=server)
        assert done.stdout.strip() == ANSWER, done.stderr
        done = place.chat(*place.ca, server=server)
        assert done.returncode == 1
        assert "wants a client's certificate; give --cert and --key" in done.stderr
        done = place.chat(*place.ca, *pair(strange), server=server)
        assert done.returncode == 1 and "refuses the connection" in done.stderr
    done = place.chat(*place.ca, "--cert", mine.path("tls.crt"), server=server)
    assert done.returncode == 2 and "--key" in done.stderr


@contextlib.contextmanager
def tls_server(certificate, folder):
    """Shakes hands and says nothing more."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = Files(folder / "server", certificate)
    context.load_cert_chain(files.path("tls.crt"), files.path("tls.key"))
    context.set_alpn_protocols(["h2"])
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), connection:
                context.wrap_socket(connection, server_side=True).close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"https://localhost:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def test_a_certificate_that_has_expired(place, tmp_path):
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    expired = AUTHORITY.issue(not_before=now - 2 * day, not_after=now - day)
    with tls_server(expired, tmp_path) as server:
        done = place.chat(*place.ca, server=server)
        assert done.returncode == 1
        assert "certificate has expired" in done.stderr and "renew" in done.stderr


def test_nobody_there(place):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"https://127.0.0.1:{listener.getsockname()[1]}"
    done = place.chat(*place.ca, server=address)
    assert done.returncode == 3 and f"nothing answers at {address}" in done.stderr
