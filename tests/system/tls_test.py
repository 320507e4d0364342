"""TLS, client certificates and tokens on a service's own port: refused, changed, taken away."""

import datetime
import functools
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import pytest
from admin import ADMIN, Metrics
from grpc_health.v1 import health_pb2, health_pb2_grpc
from secure import Access, Authority, Files, TokenList, chain_of, key_of
from services import (
    DECODER,
    ENCODER,
    Client,
    error,
    reflection_request,
    sample,
    start_decoder,
    start_encoder,
)
from support import BIN, MMPROJ, MODEL, PATIENCE, wait_until

QUESTION, ANSWER = "What is two plus three?", "Five."
AUTHORITY = Authority()
GOOD, OTHER = AUTHORITY.issue(), AUTHORITY.issue()
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
EXPIRED = AUTHORITY.issue(not_before=NOW - 2 * DAY, not_after=NOW - DAY)
EARLY = AUTHORITY.issue(not_before=NOW + DAY, not_after=NOW + 2 * DAY)

# What is wrong -> tls.crt, tls.key, ca.crt, and the end of the sentence about it.
CHAIN, KEY = chain_of(GOOD), key_of(GOOD)
SETS = {
    "missing": (None, KEY, "tls.crt can't be read: No such file or directory"),
    "half a certificate": (
        CHAIN[:400],
        KEY,
        "tls.crt holds a certificate that is cut off or damaged",
    ),
    "an empty one": (b"", KEY, "tls.crt holds no certificate (PEM)"),
    "half a key": (
        CHAIN,
        KEY[:100],
        "tls.key holds no private key (PEM, without a passphrase)",
    ),
    "another's key": (CHAIN, key_of(OTHER), "tls.key is not the key of {folder}/tls.crt"),
    "expired": (
        chain_of(EXPIRED),
        key_of(EXPIRED),
        f"tls.crt has expired on {NOW - DAY:%Y-%m-%d %H:%M:%S} UTC",
    ),
    "not yet valid": (
        chain_of(EARLY),
        key_of(EARLY),
        f"tls.crt is not valid before {NOW + DAY:%Y-%m-%d %H:%M:%S} UTC",
    ),
}


def texts(name):
    chain, key, _ = SETS[name]
    found = {"tls.crt": chain, "tls.key": key}
    return {file: text for file, text in found.items() if text is not None}


def refused(*flags, binary="softsplice-encoder", code=2):
    """What a service says that does not start, with a model that is there."""
    model = ("--mmproj", MMPROJ) if binary == "softsplice-encoder" else ("--model", MODEL)
    done = subprocess.run(
        [BIN / binary, *map(str, [*model, *flags])],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "loading" not in done.stderr
    return done.stderr.strip()


@pytest.mark.parametrize("name", SETS)
def test_wrong_files_end_the_start_with_a_sentence(name, tmp_path):
    files = Files(tmp_path / "tls")
    files.put_texts(texts(name))
    line = refused("--listen", f"unix:{tmp_path}/s", *files.server())
    sentence = SETS[name][2].format(folder=files.folder)
    assert line == f"softsplice-encoder: {files.folder}/{sentence}"


def test_flags_that_need_one_another(tmp_path):
    files = Files(tmp_path / "tls", GOOD, AUTHORITY)
    assert "--tls-key" in refused(*files.server()[:2])
    assert "--tls-cert" in refused("--tls-client-ca", files.path("ca.crt"))
    files.put_texts({"tls.crt": CHAIN, "tls.key": KEY, "ca.crt": b"nothing"})
    assert refused(*files.server(clients=True)).endswith("ca.crt holds no certificate (PEM)")
    assert "--encoder-tls-ca" in refused(
        "--encoder-tls-cert", "x", "--encoder-tls-key", "y", binary="softsplice-decoder"
    )
    line = refused(*files.decoder(), binary="softsplice-decoder")
    assert line.endswith("ca.crt holds no certificate (PEM)")


def test_a_wrong_list_of_tokens_is_told_with_its_line(tmp_path):
    path = tmp_path / "tokens"
    listen = ("--listen", f"unix:{tmp_path}/s", "--auth-tokens", path)
    assert "can't be read" in refused(*listen)
    path.write_text("")
    assert refused(*listen).endswith("tokens holds no token")
    path.write_text(f"# me\nme {'0' * 64}\nyou {'0' * 63}\n")
    assert "tokens, line 3, is not a name and the SHA-256 of a token" in refused(*listen)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "unroutable"])
def test_tokens_do_not_travel_in_plain_text(listen, tmp_path):
    tokens = TokenList(tmp_path / "tokens", "me")
    if listen == "unroutable":
        listen = f"{own_address()}:0"
    line = refused("--listen", listen, "--auth-tokens", tokens.path)
    assert "else tokens travel in plain text" in line
    token = tmp_path / "token"
    token.write_text(tokens["me"])
    flags = ("--encoder", "encoder.example:50051", "--encoder-token-file", token)
    line = refused(*flags, binary="softsplice-decoder")
    assert "else the token travels in plain text" in line


def own_address():
    """One of this machine's that others may reach; where it has none, any that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            pytest.skip("this machine has no address but its own")


def test_plain_connections_on_all_interfaces_are_warned_of(tmp_path):
    warning = "plain connections on all interfaces"
    files = Files(tmp_path / "tls", GOOD)
    for listen, flags, access, warned in (
        ("0.0.0.0:0", (), None, True),
        ("127.0.0.1:0", (), None, False),
        ("0.0.0.0:0", files.server(), Access(AUTHORITY), False),
    ):
        with start_encoder(tmp_path, *flags, listen=listen, access=access) as encoder:
            lines = [e for e in encoder.events() if e["event"] == warning]
            assert [e["level"] for e in lines] == ["warning"] * warned


def reaches(service, access):
    with access.channel(service.address) as channel:
        try:
            health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=PATIENCE
            )
            return True
        except grpc.RpcError as failure:
            assert failure.code() == grpc.StatusCode.UNAVAILABLE, failure
            return False


def test_tls_keeps_others_out(tmp_path):
    files = Files(tmp_path / "tls", GOOD)
    with start_encoder(tmp_path, *files.server(), access=Access(AUTHORITY)) as encoder:
        assert reaches(encoder, Access(AUTHORITY))
        assert not reaches(encoder, Access(Authority()))
        assert not reaches(encoder, Access(AUTHORITY, name="other"))
        assert not reaches(encoder, Access())
        with Client(encoder) as client:
            header, _, _ = client.encode(data=sample("circle-square.png"))
            assert header.rows > 0


def test_client_certificates(tmp_path):
    clients, strangers = Authority(), Authority()
    files = Files(tmp_path / "tls", GOOD, clients)
    alice = Access(AUTHORITY, certificate=clients.issue("alice.example", "second.example"))
    with start_decoder(tmp_path, None, *files.server(clients=True), access=alice) as decoder:
        with Client(decoder) as client:
            assert client.ask(QUESTION) == ANSWER
        assert not reaches(decoder, Access(AUTHORITY))
        assert not reaches(decoder, Access(AUTHORITY, certificate=strangers.issue("alice.example")))
        calls = [e for e in decoder.events() if e.get("method") == "Generate"]
        assert [call["caller"] for call in calls] == ["alice.example"]


def served_certificate(service):
    """What a new connection gets, as DER."""
    host, port = service.address.rsplit(":", 1)
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((host, int(port))))


class Load(threading.Thread):
    """Asks all the time, on a new connection each time or always on one; counts what fails."""

    def __init__(self, service, access, fresh):
        super().__init__()
        self.service, self.access, self.fresh = service, access, fresh
        self.ending, self.asked, self.failures = threading.Event(), 0, []

    def run(self):
        while not self.ending.is_set():
            with Client(self.service, self.access) as client:
                while True:
                    try:
                        assert client.ask(QUESTION) == ANSWER
                    except (grpc.RpcError, AssertionError) as failure:
                        self.failures.append(failure)
                    self.asked += 1
                    if self.fresh or self.ending.is_set():
                        break

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.join()


def test_certificates_change_under_load_and_no_call_fails(tmp_path):
    clients = Authority()
    files = Files(tmp_path / "tls", GOOD, clients)
    access = Access(AUTHORITY, certificate=clients.issue("alice"))
    flags = (*files.server(clients=True), *ADMIN)
    with start_decoder(tmp_path, None, *flags, listen="localhost:0", access=access) as decoder:
        loads = [Load(decoder, access, fresh) for fresh in (True, True, False)]
        with loads[0], loads[1], loads[2]:
            for certificate in (OTHER, AUTHORITY.issue(), GOOD):
                files.put(certificate, clients)
                der = ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())
                wait_until(lambda der=der: served_certificate(decoder) == der)
                asked = [load.asked for load in loads]
                wait_until(lambda a=asked: all(x.asked > n for x, n in zip(loads, a, strict=True)))
        assert [load.failures for load in loads] == [[], [], []]
        # Those that are there stay when other authorities come; new ones need a new certificate.
        others = Authority()
        with Client(decoder) as client:
            files.put(GOOD, others)
            wait_until(lambda: not reaches(decoder, access))
            assert client.ask(QUESTION) == ANSWER
            assert reaches(decoder, Access(AUTHORITY, certificate=others.issue("alice")))
        assert Metrics(decoder)("tls_reload_failures_total") == 0


def test_wrong_files_at_run_time_change_nothing(tmp_path):
    files = Files(tmp_path / "tls", GOOD)
    flags = (*files.server(), *ADMIN)
    with start_encoder(tmp_path, *flags, listen="localhost:0", access=Access(AUTHORITY)) as encoder:
        before = served_certificate(encoder)
        expiry = Metrics(encoder)("tls_certificate_expiry_timestamp_seconds", end="server")
        for failures, name in enumerate(SETS, 1):
            files.put_texts(texts(name))
            wait_until(
                lambda n=failures: Metrics(encoder)("tls_reload_failures_total", end="server") == n
            )
            assert served_certificate(encoder) == before
        messages = [
            e["message"] for e in encoder.events() if e["event"] == "changed files not taken"
        ]
        assert messages == [
            f"{files.folder}/{sentence.format(folder=files.folder)}"
            for _, _, sentence in SETS.values()
        ]
        assert Metrics(encoder)("tls_certificate_expiry_timestamp_seconds") == expiry
        sooner = AUTHORITY.issue(not_after=NOW + DAY)
        files.put(sooner)
        wait_until(lambda: served_certificate(encoder) != before)
        wait_until(
            lambda: (
                abs(
                    Metrics(encoder)("tls_certificate_expiry_timestamp_seconds")
                    - (NOW + DAY).timestamp()
                )
                < 1
            )
        )


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A decoder with tokens on a unix socket, as alice sees it, and its list."""
    folder = tmp_path_factory.mktemp("guarded")
    tokens = TokenList(folder / "tokens", "alice", "bob", "dora", "emil")
    alice = Access(token=tokens["alice"])
    flags = ("--auth-tokens", tokens.path, *ADMIN)
    with start_decoder(folder, None, *flags, access=alice) as decoder:
        yield decoder, tokens


def with_token(token):
    return Access(token=token)


def test_whoever_has_no_token_is_refused_everything_but_health(guarded):
    decoder, tokens = guarded
    before = Metrics(decoder)("requests_rejected_total", reason="unauthenticated")
    strangers = [Access(), with_token("wrong"), with_token(""), with_token(tokens["bob"] + "x")]
    with Client(decoder) as client:
        names = list(client.pool.FindServiceByName(DECODER).methods_by_name)
        requests = {name: client.type(f"{name}Request")() for name in names}
        own = client.channel
        for stranger in strangers:
            with stranger.channel(decoder.address) as client.channel:
                for name, request in requests.items():
                    call = functools.partial(client.method(DECODER, name), request)
                    assert error(call)[:3:2] == ("UNAUTHENTICATED", "UNAUTHENTICATED")
                for version in ("v1", "v1alpha"):
                    assert not sees_contract(client.channel, version)
                for health in ("", "liveness", DECODER):
                    assert health_pb2_grpc.HealthStub(client.channel).Check(
                        health_pb2.HealthCheckRequest(service=health), timeout=PATIENCE
                    ) == health_pb2.HealthCheckResponse(status="SERVING")
        client.channel = own
        assert client.ask(QUESTION) == ANSWER
    after = Metrics(decoder)("requests_rejected_total", reason="unauthenticated")
    assert after - before == len(strangers) * len(names) > 20


def sees_contract(channel, version="v1"):
    try:
        reflection_request(channel, version, list_services="")
        return True
    except grpc.RpcError as failure:
        assert failure.code() == grpc.StatusCode.UNAUTHENTICATED
        return False


def test_callers_have_names_in_the_log_and_tokens_are_nowhere(guarded):
    decoder, tokens = guarded
    with Client(decoder, with_token(tokens["bob"])) as client:
        assert client.ask("What is three plus three?") == "Six."
    calls = [e for e in decoder.events() if e.get("method") == "Generate" and e["code"] == "OK"]
    assert calls[-1]["caller"] == "bob"
    for token in tokens.tokens.values():
        assert token not in decoder.text() and token not in Metrics(decoder).text
    assert "bob" not in Metrics(decoder).text


def test_names_share_neither_sessions_nor_what_was_read(guarded):
    decoder, tokens = guarded
    accesses = [with_token(tokens[name]) for name in ("dora", "emil")]
    with Client(decoder, accesses[0]) as dora, Client(decoder, accesses[1]) as emil:
        create = dora.method(DECODER, "CreateSession")
        session = create(dora.type("CreateSessionRequest")()).session_id

        def request(client):
            made = client.chat([("user", ["Is this a zebra? " * 60])])
            made.session_id = session
            return made

        assert error(lambda: emil.generate(request(emil)))[2] == "SESSION_EXPIRED"
        drop = emil.type("DeleteSessionRequest")(session_id=session)
        assert error(lambda: emil.method(DECODER, "DeleteSession")(drop))[2] == "SESSION_EXPIRED"
        started, _, _ = dora.generate(request(dora))
        assert started.cached_tokens == 0

        def cached(client):
            started, _, _ = client.generate(client.chat([("user", ["Is this a zebra? " * 60])]))
            return started.cached_tokens

        assert cached(dora) > 100
        assert cached(emil) == 0
        assert cached(emil) > 100


def test_tokens_come_and_go_while_it_runs(guarded):
    decoder, tokens = guarded

    def may_call(token):
        with with_token(token).channel(decoder.address) as channel:
            return sees_contract(channel)

    tokens.add("carol")
    assert not may_call(tokens["carol"])
    wait_until(lambda: may_call(tokens["carol"]))
    carol = tokens["carol"]
    # A list that is wrong changes nothing, whatever it holds before the line that is.
    tokens.path.write_text(f"{tokens.path.read_text().splitlines()[1]}\nnonsense\n")
    wait_until(lambda: "line 2, is not a name" in decoder.text())
    assert may_call(carol) and may_call(tokens["bob"])
    tokens.remove("carol")
    wait_until(lambda: not may_call(carol))
    assert may_call(tokens["bob"])


def test_reflection_can_be_turned_off(tmp_path):
    with start_encoder(tmp_path, "--reflection", "off") as encoder:
        with grpc.insecure_channel(encoder.address) as channel:
            call = functools.partial(reflection_request, channel, "v1", list_services="")
            assert error(call)[0] == "UNIMPLEMENTED"
        assert encoder.serving(ENCODER)


def test_grpcurl_over_tls_with_a_token(tmp_path):
    files = Files(tmp_path / "tls", GOOD, AUTHORITY)
    tokens = TokenList(tmp_path / "tokens", "me")
    flags = (*files.server(), "--auth-tokens", tokens.path)
    access = Access(AUTHORITY, token=tokens["me"])

    def grpcurl(*arguments):
        command = [Path(sys.executable).parent / "grpcurl", "-cacert", files.path("ca.crt")]
        return subprocess.run(
            [*command, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    with start_encoder(tmp_path, *flags, listen="localhost:0", access=access) as encoder:
        header = ("-H", f"authorization: Bearer {tokens['me']}")
        method = f"{ENCODER}/GetEncoderInfo"
        done = grpcurl(*header, encoder.address, method)
        assert done.returncode == 0 and '"encoder_fingerprint"' in done.stdout, done.stderr
        done = grpcurl(encoder.address, method)
        assert done.returncode != 0 and "wants a token" in done.stderr
        done = grpcurl(encoder.address, "grpc.health.v1.Health/Check")
        assert done.returncode != 0 and "wants a token" in done.stderr  # it asks reflection first
