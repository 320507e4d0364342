"""A decoder and its encoders as real processes: they die, hang, come, move and change their model."""

import json
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import grpc
import pytest
from names import FakeEncoder, Names, SlowRoad
from services import DECODER, ENCODER, Client, error, sample, start_decoder, start_encoder
from support import (
    BIN,
    MODEL,
    SAMPLES,
    encoder_pb2,
    foreign_mmproj,
    soft_tokens_pb2,
    wait_until,
)

PICTURE = "circle-square.png"
QUESTION = "What is in this picture?"
ANSWER = next(
    c["expected_text"]
    for c in json.loads((SAMPLES / "expected.json").read_text())
    if c["name"] == "describe-two"
)
HEALTHY, AWAY, FOREIGN = 1, 2, 5


def pictures(client, count=1):
    """A request of so many pictures, and one token of an answer."""
    request = client.chat([("user", [sample(PICTURE)] * count)])
    request.max_tokens = 1
    request.no_prefix_cache = True  # else only the first one asks an encoder
    return request


def states(client):
    return [target.state for target in client.info(DECODER).encoders]


def calls(encoder):
    return len([e for e in encoder.events() if e.get("method") == "EncodeImage"])


def all_at_once(client, requests):
    """Every request's outcome: "OK" or the error."""

    def outcome(request):
        try:
            client.generate(request)
            return "OK"
        except grpc.RpcError as failure:
            return failure.details()

    with ThreadPoolExecutor(len(requests)) as threads:
        return list(threads.map(outcome, requests))


@pytest.fixture(name="other_mmproj")
def another_model(tmp_path):
    return foreign_mmproj(tmp_path)


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--encoder", ""], '"" names no encoder'),
        (["--encoder", "foo"], "has no port"),
        (["--encoder", "a:1,,b:2"], '"" names no encoder'),
        (["--encoder", "http://a:1"], "begins with http://"),
        (["--encoder-fingerprint", "12"], "64 hexadecimal digits"),
    ],
)
def test_what_is_no_encoder_is_refused_at_the_start(flags, words):
    done = subprocess.run(
        [BIN / "softsplice-decoder", "--model", MODEL, *flags],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and words in done.stderr, done.stderr


def test_killed_encoders_lose_no_request_while_there_is_another(tmp_path):
    addresses = [f"unix:{tmp_path}/{n}.sock" for n in range(2)]
    encoders = [start_encoder(tmp_path, listen=address) for address in addresses]
    with start_decoder(tmp_path, ",".join(addresses)) as decoder, Client(decoder) as client:
        outcomes = []
        thread = threading.Thread(
            target=lambda: outcomes.extend(all_at_once(client, [pictures(client, 8)] * 4))
        )
        thread.start()
        for n in range(2):
            wait_until(lambda n=n: calls(encoders[n]) > 2)
            encoders[n].kill()
            wait_until(lambda n=n: states(client)[n] == AWAY)
            encoders[n] = start_encoder(tmp_path, listen=addresses[n])
            wait_until(lambda n=n: states(client)[n] == HEALTHY)
        thread.join()
        assert outcomes == ["OK"] * 4
        for encoder in encoders:
            encoder.kill()


def test_a_stopped_encoder_holds_nothing_up(tmp_path):
    addresses = [f"unix:{tmp_path}/{n}.sock" for n in range(2)]
    with (
        start_encoder(tmp_path, listen=addresses[0]) as stopped,
        start_encoder(tmp_path, listen=addresses[1]),
        start_decoder(tmp_path, ",".join(addresses)) as decoder,
        Client(decoder) as client,
    ):
        # It takes calls and never answers one.
        stopped.process.send_signal(signal.SIGSTOP)
        assert all_at_once(client, [pictures(client)] * 4) == ["OK"] * 4
        target = client.info(DECODER).encoders[0]
        assert (target.state, target.healthy) == (AWAY, False) and "answer" in target.reason
        stopped.process.send_signal(signal.SIGCONT)
        wait_until(lambda: states(client) == [HEALTHY, HEALTHY])


def test_another_model_on_the_same_address(tmp_path, other_mmproj):
    address = f"unix:{tmp_path}/encoder.sock"
    with start_decoder(tmp_path, address) as decoder, Client(decoder) as client:
        with start_encoder(tmp_path, listen=address) as encoder:
            wait_until(lambda: states(client) == [HEALTHY])
            first = client.info(DECODER).encoder_fingerprint
            encoder.kill()
        with start_encoder(tmp_path, listen=address, mmproj=other_mmproj):
            # There is no other to ask: its rows are taken, and the log says so.
            wait_until(lambda: client.info(DECODER).encoder_fingerprint not in (b"", first))
            second = client.info(DECODER).encoder_fingerprint
            client.generate(pictures(client))
        change = [e for e in decoder.events() if e["event"] == "the encoders' model is another now"]
        assert [(e["before"], e["fingerprint"]) for e in change] == [(first.hex(), second.hex())]
        assert change[0]["level"] == "warning"


def test_two_models_behind_one_name_are_not_mixed(tmp_path, other_mmproj):
    with start_encoder(tmp_path, listen="127.0.0.2:0") as encoder:
        port = encoder.address.rsplit(":", 1)[1]
        with (
            start_encoder(tmp_path, listen=f"127.0.0.3:{port}", mmproj=other_mmproj) as foreign,
            Names(encoders_test=["127.0.0.2"]) as names,
            start_decoder(tmp_path, f"dns://{names.address}/encoders.test:{port}") as decoder,
            Client(decoder) as client,
        ):
            with Client(encoder) as encoder_client:
                fingerprint = encoder_client.info(ENCODER).encoder_fingerprint
            wait_until(lambda: states(client) == [HEALTHY])
            names.records["encoders_test"] = ["127.0.0.3", "127.0.0.2"]
            wait_until(lambda: sorted(states(client)) == [HEALTHY, FOREIGN])
            assert all_at_once(client, [pictures(client)] * 8) == ["OK"] * 8
            assert client.info(DECODER).encoder_fingerprint == fingerprint
            out = next(t for t in client.info(DECODER).encoders if t.state == FOREIGN)
            assert out.address == f"127.0.0.3:{port}" and fingerprint.hex() in out.reason
            assert out.name == f"dns://{names.address}/encoders.test:{port}"
            assert calls(encoder) == 8 and calls(foreign) == 0


def test_new_encoders_behind_a_name_are_used_and_old_ones_left(tmp_path):
    with start_encoder(tmp_path, listen="127.0.0.2:0") as old:
        port = old.address.rsplit(":", 1)[1]
        with (
            Names(encoders_test=["127.0.0.2"]) as names,
            start_decoder(tmp_path, f"dns://{names.address}/encoders.test:{port}") as decoder,
            Client(decoder) as client,
            start_encoder(tmp_path, listen=f"127.0.0.3:{port}") as new,
        ):
            assert client.ask(sample(PICTURE), QUESTION) == ANSWER
            # Scaled up.
            names.records["encoders_test"].append("127.0.0.3")
            start = time.monotonic()
            wait_until(lambda: states(client) == [HEALTHY, HEALTHY])
            assert time.monotonic() - start < 10
            assert all_at_once(client, [pictures(client)] * 8) == ["OK"] * 8
            assert calls(old) > 1 and calls(new) > 0
            # The first has moved away: what it still has is no reason to ask it.
            names.records["encoders_test"].remove("127.0.0.2")
            wait_until(lambda: len(states(client)) == 1)
            used = calls(old)
            assert all_at_once(client, [pictures(client)] * 4) == ["OK"] * 4
            assert calls(old) == used
            # Without DNS the known ones are used on.
            names.close()
            wait_until(lambda: "can't be looked up" in decoder.text())
            assert client.ask(sample(PICTURE), QUESTION) == ANSWER


def succeeds(client):
    try:
        client.generate(pictures(client))
        return True
    except grpc.RpcError:
        return False


def test_a_replaced_encoder_is_found_at_its_new_address(tmp_path):
    with ExitStack() as stack:
        encoder = stack.enter_context(start_encoder(tmp_path, listen="127.0.0.2:0"))
        port = encoder.address.rsplit(":", 1)[1]
        names = stack.enter_context(Names(encoders_test=["127.0.0.2"]))
        name = f"dns://{names.address}/encoders.test:{port}"
        client = stack.enter_context(Client(stack.enter_context(start_decoder(tmp_path, name))))
        # The second within seconds of the first.
        for address in ("127.0.0.3", "127.0.0.4"):
            replacement = start_encoder(tmp_path, listen=f"{address}:{port}")
            stack.enter_context(replacement)
            encoder.kill()
            start = time.monotonic()
            names.records["encoders_test"] = [address]
            wait_until(lambda: succeeds(client))
            assert time.monotonic() - start < 10
            encoder = replacement


def test_a_name_of_ipv6_addresses_only(tmp_path):
    try:
        encoder = start_encoder(tmp_path, listen="[::1]:0")
    except AssertionError:
        pytest.skip("no IPv6 here")
    port = encoder.address.rsplit(":", 1)[1]
    with (
        encoder,
        Names(encoders_test=["::1"]) as names,
        start_decoder(tmp_path, f"dns://{names.address}/encoders.test:{port}") as decoder,
        Client(decoder) as client,
    ):
        assert client.ask(sample(PICTURE), QUESTION) == ANSWER
        assert client.info(DECODER).encoders[0].address == f"[::1]:{port}"


def test_an_encoder_whose_connections_take_their_time(tmp_path):
    with (
        start_encoder(tmp_path) as encoder,
        SlowRoad(encoder.address) as road,
        start_decoder(tmp_path, road.address) as decoder,
        Client(decoder) as client,
    ):
        wait_until(lambda: states(client) == [HEALTHY])
        assert client.ask(sample(PICTURE), QUESTION) == ANSWER


def failing(code, text="oops"):
    return lambda context: context.abort(code, text)


@pytest.mark.parametrize(
    "answer",
    [failing(grpc.StatusCode.INTERNAL), failing(grpc.StatusCode.RESOURCE_EXHAUSTED), lambda _: ()],
    ids=["internal", "exhausted", "empty"],
)
def test_a_bad_encoder_beside_a_good_one(tmp_path, answer):
    with start_encoder(tmp_path) as good, Client(good) as good_client:
        like = good_client.info(ENCODER)
        with (
            FakeEncoder(f"unix:{tmp_path}/bad.sock", like, answer) as bad,
            start_decoder(tmp_path, f"{bad.address},{good.address}") as decoder,
            Client(decoder) as client,
        ):
            outcomes = all_at_once(client, [pictures(client)] * 40)
            assert outcomes.count("OK") >= 38, outcomes
            assert 0 < bad.calls < 20
            target = client.info(DECODER).encoders[0]
            assert target.state != HEALTHY and target.reason


@pytest.mark.parametrize("rows", [2**31 - 1, 2**32 - 1])
def test_an_encoder_that_promises_billions_of_rows(tmp_path, rows):
    with start_encoder(tmp_path) as good, Client(good) as good_client:
        like = good_client.info(ENCODER)
    header = soft_tokens_pb2.SoftTokensHeader(
        modality=1,
        rows=rows,
        dim=like.dim,
        data_type=1,
        encoder_fingerprint=like.encoder_fingerprint,
    )

    def answer(_):
        yield encoder_pb2.EncodeImageResponse(header=header)
        yield encoder_pb2.EncodeImageResponse(summary=encoder_pb2.EncodeSummary())

    with (
        FakeEncoder(f"unix:{tmp_path}/bad.sock", like, answer) as bad,
        start_decoder(tmp_path, bad.address) as decoder,
        Client(decoder) as client,
    ):
        request = pictures(client)
        code, message, reason, _ = error(lambda: client.start(request))
        assert (code, reason) == ("INTERNAL", "BAD_ENCODER_ANSWER") and str(rows) in message
        count = client.type("CountTokensRequest")(chat=request.chat)
        code, _, reason, _ = error(lambda: client.method(DECODER, "CountTokens")(count, timeout=60))
        assert (code, reason) == ("INTERNAL", "BAD_ENCODER_ANSWER")
        assert decoder.serving()


def test_requests_of_many_media_take_turns_with_those_of_one(tmp_path):
    with (
        start_encoder(tmp_path, "--max-queue", 2) as encoder,
        start_decoder(tmp_path, encoder, "--max-queue", 64) as decoder,
        Client(decoder) as client,
    ):
        requests = [pictures(client, count) for count in [1] * 12 + [4, 16] + [1] * 12]
        assert all_at_once(client, requests) == ["OK"] * len(requests)
