"""Decoders and encoders that know each other by certificates and tokens."""

import pytest
from admin import ADMIN, Metrics
from names import Names
from secure import Access, Authority, Files, TokenList
from services import Client, error, sample, start_decoder, start_encoder
from support import wait_until

QUESTION = "What is in this picture?"
SERVERS, CLIENTS = Authority(), Authority()


class Pair:
    """An encoder that wants a certificate and a token, and files of both sides."""

    def __init__(self, folder, listen=None):
        self.folder = folder
        self.server = Files(folder / "server", SERVERS.issue("encoder.test"), CLIENTS)
        self.client = Files(folder / "client", CLIENTS.issue("decoder.test"), SERVERS)
        self.tokens = TokenList(folder / "tokens", "decoder", "probe")
        self.token = folder / "token"
        self.token.write_text(self.tokens["decoder"] + "\n")
        # A test's own look at it.
        self.probe = Access(
            SERVERS, self.tokens["probe"], CLIENTS.issue("probe.test"), name="encoder.test"
        )
        self.encoder = start_encoder(
            folder,
            *self.server.server(clients=True),
            *("--auth-tokens", self.tokens.path, "--cache-bytes", 0, *ADMIN),
            listen=listen or f"unix:{folder}/encoder.sock",
            access=self.probe,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.encoder.kill()

    def decoder(self, address=None, token=True, certificate=True, name="encoder.test"):
        flags = self.client.decoder(certificate)
        flags += ["--encoder-tls-name", name] if name else []
        flags += ["--encoder-token-file", self.token] if token else []
        return start_decoder(self.folder, address or self.encoder, *flags, *ADMIN)


def look(client):
    """The answer about a picture that is encoded anew each time."""
    request = client.chat([("user", [sample("circle-square.png"), QUESTION])])
    request.no_prefix_cache = True
    return client.generate(request)[1]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    with Pair(tmp_path_factory.mktemp("pair")) as made:
        yield made


def test_a_picture_goes_over_both(pair):
    with pair.decoder() as decoder, Client(decoder) as client:
        assert "circle" in look(client)
        calls = [e for e in pair.encoder.events() if e.get("method") == "EncodeImage"]
        assert calls[-1]["caller"] == "decoder" and calls[-1]["code"] == "OK"
        for service in (decoder, pair.encoder):
            assert pair.tokens["decoder"] not in service.text()


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"token": False}, "this service wants a token"),
        ({"certificate": False}, "handshake"),
        ({"name": "another.test"}, "not in peer certificate"),
    ],
)
def test_what_is_missing_is_told_as_the_encoders_state(pair, changes, why):
    with pair.decoder(**changes) as decoder, Client(decoder) as client:
        target = client.info("softsplice.v1.DecoderService").encoders[0]
        assert not target.healthy
        code, message, reason, _ = error(lambda: look(client))
        assert reason in ("ENCODER_UNAVAILABLE", "ENCODER_FAILED")
        if why != "handshake":
            assert why in target.reason and why in message, (target.reason, message)
        assert client.ask("What is two plus three?") == "Five."


def test_a_wrong_authority_is_told(pair, tmp_path):
    wrong = Files(tmp_path / "wrong", authority=Authority())
    with start_decoder(tmp_path, pair.encoder, *wrong.decoder()) as decoder:
        with Client(decoder) as client:
            assert not client.info("softsplice.v1.DecoderService").encoders[0].healthy


def test_a_name_is_what_certificates_are_for(tmp_path):
    """Of several encoders behind a name each has the name's certificate, not its address's."""
    with Names(encoder_test=["127.0.0.1"]) as names:
        with Pair(tmp_path, listen="127.0.0.1:0") as pair:
            port = pair.encoder.address.rsplit(":", 1)[1]
            address = f"dns://{names.address}/encoder.test:{port}"
            with pair.decoder(address, name=None) as decoder, Client(decoder) as client:
                assert "circle" in look(client)


def test_both_sides_change_certificates_and_no_picture_fails(tmp_path):
    with Pair(tmp_path) as pair, pair.decoder() as decoder, Client(decoder) as client:
        before = look(client)

        def changed(service):
            events = [e["event"] for e in service.events()]
            return events.count("changed files taken")

        # New authorities as operators bring them: first both are trusted, then certificates change.
        servers, clients = Authority(), Authority()
        both_servers, both_clients = SERVERS.pem() + servers.pem(), CLIENTS.pem() + clients.pem()
        steps = [
            (pair.server, pair.encoder, SERVERS.issue("encoder.test"), both_clients),
            (pair.client, decoder, clients.issue("decoder.test"), both_servers),
            (pair.server, pair.encoder, servers.issue("encoder.test"), clients.pem()),
            (pair.client, decoder, clients.issue("decoder.test"), servers.pem()),
        ]
        for files, service, certificate, authorities in steps:
            count = changed(service)
            files.put(certificate, authorities)
            while changed(service) == count:
                assert look(client) == before
            for _ in range(3):
                assert look(client) == before
        assert Metrics(decoder)("tls_reload_failures_total") == 0
        assert Metrics(decoder)("encoder_targets", state="healthy") == 1
        assert Metrics(decoder)("encoder_targets") == 1


def test_wrong_files_do_not_end_what_works(tmp_path):
    with Pair(tmp_path) as pair, pair.decoder() as decoder, Client(decoder) as client:
        before = look(client)
        pair.client.put_texts({"tls.crt": b"", "tls.key": b"", "ca.crt": b""})
        wait_until(lambda: Metrics(decoder)("tls_reload_failures_total", end="encoders") == 1)
        assert look(client) == before
        # Well-formed, but none that the encoder's certificate is of: connections that are there stay.
        pair.client.put(CLIENTS.issue("decoder.test"), Authority())
        wait_until(lambda: Metrics(decoder)("encoder_targets", state="away") == 1)
        for _ in range(3):
            assert look(client) == before
        pair.client.put(CLIENTS.issue("decoder.test"), SERVERS)
        wait_until(lambda: Metrics(decoder)("encoder_targets") == 1)
        assert look(client) == before


def test_tokens_change_on_both_sides(tmp_path):
    with Pair(tmp_path) as pair, pair.decoder() as decoder, Client(decoder) as client:
        before = look(client)
        pair.tokens.add("new")
        wait_until(lambda: "changed files taken" in pair.encoder.text())
        pair.token.write_text(pair.tokens["new"])
        wait_until(lambda: "changed files taken" in decoder.text())
        pair.tokens.remove("decoder")
        wait_until(lambda: pair.encoder.text().count("changed files taken") == 2)
        assert look(client) == before
        calls = [e for e in pair.encoder.events() if e.get("method") == "EncodeImage"]
        assert calls[-1]["caller"] == "new"
