"""What both services tell Prometheus and probes, with real requests over real sockets."""

import contextlib
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from admin import ADMIN, Metrics, address, get
from services import Client, error, sample, start_decoder, start_encoder
from support import BIN, MMPROJ, PATIENCE, ROOT, wait_until

PICTURE = "circle-square.png"
SOUND = "digits-86.wav"
VIDEO = ROOT / "tests" / "data" / "video" / "few.webm"

# Edges of histograms, in seconds: of calls, waits, steps. Of sizes.
D = [0.01 * 2**i for i in range(17)]
T = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
T += [20, 40, 80, 160]
S = [0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2]
S += [0.3, 0.4, 0.5, 0.75, 1, 2.5]
N = [4**i for i in range(9)]

MODALITY = {"modality": {"text", "image", "audio", "video", "mixed"}}
STAGE = {"stage": {"prefill", "decode"}}
KIND = {"kind": {"image", "audio", "video"}}
CODES = {"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND"}
CODES |= {"ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"}
CODES |= {"ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
CODES |= {"UNAUTHENTICATED"}
DECODER_METHODS = {"Generate", "CountTokens", "CreateSession", "ForkSession", "DeleteSession"}
DECODER_METHODS |= {"GetDecoderInfo"}
ENCODER_METHODS = {"EncodeImage", "EncodeAudio", "EncodeVideo", "GetEncoderInfo"}

# Names are for good: family -> (type or edges, labels and their values; None: any value).
BOTH = {
    "build_info": ("gauge", dict.fromkeys(["version", "backend", "model", "fingerprint"])),
    "ready": ("gauge", {}),
    "draining": ("gauge", {}),
    "model_load_seconds": ("gauge", {}),
    "requests_rejected_total": (
        "counter",
        {"reason": {"queue_full", "server_busy", "too_large", "draining", "unauthenticated"}},
    ),
    "tls_reload_failures_total": ("counter", {"end": {"server"}}),
    "requests_waiting": ("gauge", {}),
    "requests_running": ("gauge", {}),
    "queue_capacity": ("gauge", {}),
    "engine_last_step_timestamp_seconds": ("gauge", {}),
    "device_errors_total": ("counter", {"kind": {"out_of_memory", "rank_failed", "device_error"}}),
}
DECODER = BOTH | {
    "tls_reload_failures_total": ("counter", {"end": {"server", "encoders"}}),
    "requests_total": ("counter", {"method": DECODER_METHODS, "code": CODES}),
    "request_duration_seconds": (D, {"method": DECODER_METHODS}),
    "queue_seconds": (T, {"method": {"Generate"}}),
    "engine_step_seconds": (S, STAGE),
    "batch_rows": (N, STAGE),
    "time_to_first_token_seconds": (T, MODALITY),
    "prefill_seconds": (T, MODALITY),
    "inter_token_seconds": (S, MODALITY),
    "time_per_output_token_seconds": (S, MODALITY),
    "prompt_tokens_total": ("counter", {}),
    "cached_prompt_tokens_total": ("counter", {}),
    "output_tokens_total": ("counter", {"channel": {"answer", "thought"}}),
    "finished_total": (
        "counter",
        {"reason": {"stop", "stop_string", "max_tokens", "context_full", "tool_call"}},
    ),
    "prompt_tokens": (N, {}),
    "output_tokens": (N, {}),
    "kv_bytes": ("gauge", {"state": {"used", "cached"}}),
    "kv_capacity_bytes": ("gauge", {}),
    "prefix_cache_missed_tokens_total": ("counter", {"reason": {"new", "evicted", "window"}}),
    "prefix_cache_evictions_total": ("counter", {"kind": {"block", "resume_point"}}),
    "prefix_cache_resume_points": ("gauge", {}),
    "sessions": ("gauge", {}),
    "encoder_targets": ("gauge", {"state": {"healthy", "full", "failing", "away", "foreign"}}),
    "encoder_retries_total": ("counter", {"reason": {"full", "failing", "away", "foreign"}}),
    "encode_wait_seconds": (T, KIND),
}
ENCODER = BOTH | {
    "requests_total": ("counter", {"method": ENCODER_METHODS, "code": CODES}),
    "request_duration_seconds": (D, {"method": ENCODER_METHODS}),
    "queue_seconds": (T, {"method": ENCODER_METHODS - {"GetEncoderInfo"}}),
    "encode_seconds": (T, KIND | {"stage": {"queue", "preprocess", "forward", "send"}}),
    "encoded_rows_total": ("counter", KIND),
    "encode_backlog_seconds": ("gauge", {}),
    "media_rejected_total": (
        "counter",
        KIND | {"reason": {"invalid_media", "over_limit", "no_tower"}},
    ),
    "cache_hits_total": ("counter", {}),
    "cache_misses_total": ("counter", {}),
    "cache_bytes": ("gauge", {}),
}
PROCESS = {
    "process_cpu_seconds_total": "counter",
    "process_resident_memory_bytes": "gauge",
    "process_virtual_memory_bytes": "gauge",
    "process_open_fds": "gauge",
    "process_max_fds": "gauge",
    "process_start_time_seconds": "gauge",
}


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    folder = tmp_path_factory.mktemp("services")
    with start_encoder(folder, *ADMIN) as encoder:
        with start_decoder(folder, encoder, *ADMIN) as decoder:
            yield encoder, decoder


@pytest.fixture(scope="module")
def client(services):
    with Client(services[1]) as client:
        yield client


def endless(client):
    """An answer that goes on until the context is full: nothing may end it."""
    count = client.type("CountTokensRequest")(include_token_ids=True)
    count.raw.no_bos = True
    count.raw.parts.add(text_with_special_tokens="<eos><turn|><|tool_response>")
    request = client.chat([("user", ["Count from one to nine."])])
    for token in client.method("softsplice.v1.DecoderService", "CountTokens")(count).token_ids:
        request.sampling.logit_bias.add(token_id=token, bias=float("-inf"))
    return request


def test_names_labels_and_edges(services, client):
    client.ask("What is two plus three?")
    for service, families in zip(services, (ENCODER, DECODER), strict=True):
        metrics = Metrics(service)
        types = {name: kind for name, (kind, _) in families.items()}
        types = {f"softsplice_{name}": kind for name, kind in types.items()} | PROCESS
        told = dict(metrics.types)
        for family, kind in types.items():
            if isinstance(kind, list):
                assert metrics.edges(family) == kind, family
                types[family] = "histogram"
        assert told == types
        for name, (_, labels) in families.items():
            there = metrics.labels(f"softsplice_{name}")
            assert there.keys() == labels.keys(), name
            for label, values in labels.items():
                assert values is None or there[label] == values, name


def test_a_process_tells_what_it_is(services):
    encoder, decoder = (Metrics(service) for service in services)
    for metrics, service in ((encoder, services[0]), (decoder, services[1])):
        assert metrics("ready") == 1 and metrics("draining") == 0
        assert 0 < metrics("model_load_seconds") < PATIENCE
        assert abs(metrics("engine_last_step_timestamp_seconds") - time.time()) < PATIENCE
        start = metrics.samples["process_start_time_seconds", frozenset()]
        assert abs(start - service.log.stat().st_ctime) < 2 * PATIENCE
        resident = metrics.samples["process_resident_memory_bytes", frozenset()]
        assert 1 << 20 < resident < 4 << 30
        assert 3 < metrics.samples["process_open_fds", frozenset()] < 200
    fingerprint = encoder.labels("softsplice_build_info")["fingerprint"]
    assert decoder.labels("softsplice_build_info")["fingerprint"] == fingerprint
    assert len(fingerprint.pop()) == 64
    assert decoder("encoder_targets", state="healthy") == 1


def test_counters_agree_with_what_was_sent(services, client):
    encoder_before, before = (Metrics(service) for service in services)
    prompt, cached, answer = 0, 0, 0
    media = [[], [sample(PICTURE)], [sample(SOUND)], [sample(PICTURE), sample(SOUND)]]
    media += [[sample("digits-314.wav")]]
    for parts in media:
        request = client.chat([("user", [*parts, "What is this?"])])
        started, _, finished = client.generate(request)
        assert finished.reason == 1  # the model ended its turn
        prompt += started.prompt_tokens
        cached += started.cached_tokens
        answer += finished.usage.completion_tokens
    encoder, after = (Metrics(service) for service in services)

    def more(name, of=(before, after), **labels):
        return of[1](name, **labels) - of[0](name, **labels)

    assert more("requests_total", method="Generate", code="OK") == 5
    assert more("requests_total", method="Generate") == 5
    assert more("request_duration_seconds_count", method="Generate") == 5
    assert more("finished_total", reason="stop") == more("finished_total") == 5
    assert more("prompt_tokens_total") == more("prompt_tokens_sum") == prompt
    assert more("cached_prompt_tokens_total") == cached
    assert more("output_tokens_total") == more("output_tokens_sum") == answer
    assert more("queue_seconds_count") == 5
    for modality, requests in (("text", 1), ("image", 1), ("audio", 2), ("mixed", 1)):
        for family in ("time_to_first_token", "prefill", "time_per_output_token"):
            assert more(f"{family}_seconds_count", modality=modality) == requests
    assert more("inter_token_seconds_count") == answer - 5
    # A prompt of several chunks has several steps; each other token has one of its own.
    assert more("engine_step_seconds_count", stage="prefill") >= 5
    assert (
        more("engine_step_seconds_count", stage="decode") == answer - 5 + 5
    )  # and the stop tokens
    rows = prompt - cached + answer
    assert more("batch_rows_sum") == rows
    assert after("kv_bytes", state="used") == 0 < after("kv_bytes", state="cached")
    assert after("kv_bytes") <= after("kv_capacity_bytes")

    # Both media came twice: the decoder knew them, or the encoder did.
    encoders = (encoder_before, encoder)
    for kind, method, count in (("image", "EncodeImage", 1), ("audio", "EncodeAudio", 2)):
        asked = more("requests_total", encoders, method=method)
        assert count <= asked
        assert more("encode_wait_seconds_count", kind=kind) == asked
        assert more("encode_seconds_count", encoders, kind=kind, stage="queue") == asked
        assert more("encode_seconds_count", encoders, kind=kind, stage="send") == asked
        assert more("encode_seconds_count", encoders, kind=kind, stage="forward") == count
        assert more("encoded_rows_total", encoders, kind=kind) > 0
    assert more("cache_misses_total", encoders) == 3
    assert encoder("cache_bytes") > 0


def test_a_video_counts_as_one(services, client):
    encoder_before, before = (Metrics(service) for service in services)
    request = client.chat([("user", [VIDEO.read_bytes(), "What happens?"])])
    request.max_tokens = 1
    rows = client.generate(request)[0].media[0].header.rows
    encoder, after = (Metrics(service) for service in services)

    def more(of, name, **labels):
        return of[1](name, **labels) - of[0](name, **labels)

    at_encoder = (encoder_before, encoder)
    assert more(at_encoder, "requests_total", method="EncodeVideo") == 1
    assert more(at_encoder, "encoded_rows_total") == rows
    assert more(at_encoder, "encoded_rows_total", kind="video") == rows
    for stage in ("queue", "preprocess", "forward", "send"):
        assert more(at_encoder, "encode_seconds_count", kind="video", stage=stage) == 1
    assert more((before, after), "encode_wait_seconds_count", kind="video") == 1
    assert more((before, after), "time_to_first_token_seconds_count", modality="video") == 1


def test_refusals(services, client):
    encoder_before, before = (Metrics(service) for service in services)
    failures = [
        (lambda: client.ask(b"\xff\xd8\xff but no JPEG", "What is this?"), "INVALID_ARGUMENT"),
        (lambda: client.ask("word " * 20000), "OUT_OF_RANGE"),
    ]
    for call, code in failures:
        assert error(call)[0] == code
    encoder, after = (Metrics(service) for service in services)
    for _, code in failures:
        labels = {"method": "Generate", "code": code}
        assert after("requests_total", **labels) - before("requests_total", **labels) == 1
    too_large = {"reason": "too_large"}
    assert after("requests_rejected_total", **too_large) == 1 + before(
        "requests_rejected_total", **too_large
    )
    assert after("finished_total") == before("finished_total")
    bad = {"kind": "image", "reason": "invalid_media"}
    assert encoder("media_rejected_total", **bad) == 1 + encoder_before(
        "media_rejected_total", **bad
    )


def load(decoder):
    metrics = Metrics(decoder)
    return metrics("requests_running"), metrics("requests_waiting")


def test_a_full_queue(tmp_path):
    # A context that does not fill while this machine is busy with other tests.
    flags = ("--max-sequences", 1, "--max-queue", 1, "--context", 65536, *ADMIN)
    with start_decoder(tmp_path, None, *flags) as decoder, Client(decoder) as client:
        calls = [client.start(endless(client)) for _ in range(2)]
        # Both of one scrape: the one that runs waited, too, for an instant.
        wait_until(lambda: load(decoder) == (1, 1))
        assert error(lambda: client.ask("Hello!"))[2] == "QUEUE_FULL"
        metrics = Metrics(decoder)
        assert metrics("requests_running") == metrics("queue_capacity") == 1
        assert metrics("requests_rejected_total", reason="queue_full") == 1
        assert metrics("kv_bytes", state="used") > 0
        for call in calls:
            call.cancel()
        wait_until(lambda: load(decoder) == (0, 0))
        # There are none, and nobody is told of any.
        assert "softsplice_encoder_targets" not in metrics.types


def test_a_caller_leaves_nothing_of_its_own(services, client):
    session = client.method("softsplice.v1.DecoderService", "CreateSession")(
        client.type("CreateSessionRequest")()
    ).session_id
    request = client.chat([("user", ["Is this a zebra?"])])
    request.session_id = session
    request.stop.append("zebra")
    client.generate(request, metadata=[("x-request-id", "zebra-1")])
    request.chat.messages[0].parts.add().media.mime_type = "image/zebra"
    error(lambda: client.start(request))
    for service in services:
        text = Metrics(service).text
        assert "zebra" not in text and session not in text and str(service.log.parent) not in text
    assert Metrics(services[1])("sessions") == 1


def test_many_who_wait_do_not_keep_probes_waiting(tmp_path):
    flags = ("--max-sequences", 1, "--max-wait-seconds", 1e6, *ADMIN)
    with start_decoder(tmp_path, None, *flags) as decoder, Client(decoder) as client:
        calls = [client.start(endless(client)) for _ in range(64)]
        wait_until(lambda: load(decoder) == (1, 63))
        assert get(decoder, "/livez") == (200, "alive\n")
        assert get(decoder, "/readyz") == (200, "ready\n")
        assert decoder.serving("liveness")
        for call in calls:
            call.cancel()


def test_scrapes_go_on_in_a_drain(tmp_path):
    with start_decoder(tmp_path, None, "--drain-seconds", PATIENCE, *ADMIN) as decoder:
        with Client(decoder) as client:
            request = endless(client)
            call = client.start(request)
            assert any(message.HasField("started") for message in call)
            decoder.process.send_signal(signal.SIGTERM)
            wait_until(lambda: Metrics(decoder)("draining") == 1)
            metrics = Metrics(decoder)
            assert metrics("ready") == 0 and metrics("requests_running") == 1
            assert get(decoder, "/readyz") == (503, "draining\n")
            assert get(decoder, "/livez") == (200, "alive\n")
            call.cancel()
            assert decoder.process.wait(PATIENCE) == 0


def threads_of(pid):
    """The states of a process's threads."""
    stats = Path(f"/proc/{pid}/task").glob("*/stat")
    return {stat.read_text().rsplit(")", 1)[1].split()[0] for stat in stats}


def test_a_frozen_process_answers_nobody(tmp_path):
    with start_encoder(tmp_path, *ADMIN) as encoder:
        host, port = address(encoder).rsplit(":", 1)
        encoder.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: threads_of(encoder.process.pid) == {"T"})
        with socket.create_connection((host, port)) as probe:
            probe.sendall(b"GET /livez HTTP/1.1\r\n\r\n")
            probe.settimeout(1)
            with pytest.raises(TimeoutError):
                probe.recv(1)
            encoder.process.send_signal(signal.SIGCONT)
            probe.settimeout(PATIENCE)
            assert probe.recv(12) == b"HTTP/1.1 200"


def test_an_address_that_is_taken_ends_the_start_at_once(tmp_path):
    with start_encoder(tmp_path, *ADMIN) as encoder:
        taken = address(encoder)
        done = subprocess.run(
            [BIN / "softsplice-encoder", "--mmproj", MMPROJ, "--admin-listen", taken]
            + ["--listen", f"unix:{tmp_path}/other.sock"],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 1
        assert f"can't listen on {taken}: the address is in use" in done.stderr
        assert "loading" not in done.stderr


def test_hostile_scrapers_disturb_nobody(services, client):
    """Those who connect and say nothing, and those who ask all the time."""
    service = services[1]
    host, port = address(service).rsplit(":", 1)
    silent = [socket.create_connection((host, port)) for _ in range(50)]
    stop = threading.Event()

    def hammer():
        while not stop.is_set():
            with contextlib.suppress(ConnectionError):
                with socket.create_connection((host, port)) as one:
                    one.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")

    threads = [threading.Thread(target=hammer) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert client.ask("What is two plus three?") == "Five."
    assert service.serving()
    stop.set()
    for thread in threads:
        thread.join()
    for one in silent:
        one.close()
    assert Metrics(service)("ready") == 1
