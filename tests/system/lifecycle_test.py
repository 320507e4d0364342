"""Start, flags, logs, drain, death and return of both services."""

import os
import re
import signal
import subprocess
import threading
import time

import grpc
import pytest
import services
from grpc_health.v1 import health_pb2, health_pb2_grpc
from http2 import Connection
from services import (
    DECODER,
    ENCODER,
    Client,
    Service,
    error,
    sample,
    start_decoder,
    start_encoder,
)
from support import BIN, MMPROJ, MODEL, PATIENCE, ROOT, wait_until

PICTURE = "circle-square.png"
QUESTION = "What is in this picture?"
ANSWER = "A red circle on the left and a blue square on the right."


def run(binary, *flags, **environment):
    return subprocess.run(
        [BIN / binary, *map(str, flags)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={"PATH": "/usr/bin", **environment},
        check=False,
    )


def fails_to_start(binary, *flags, code=1):
    """That exit code and, besides the log, one line on stderr; returns it."""
    done = run(binary, *flags, "--log-format", "json", "--log-level", "error")
    assert done.returncode == code, done
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"{binary}: "), done.stderr
    return lines[0]


BINARIES = [("softsplice-encoder", "--mmproj"), ("softsplice-decoder", "--model")]


@pytest.mark.parametrize("binary, flag", BINARIES)
def test_help_explains_every_flag(binary, flag):
    done = run(binary, "--help")
    assert done.returncode == 0
    flags = re.findall(r"^\s+(?:-h,)?(--[a-z-]+)(.*)$", done.stdout, re.MULTILINE)
    assert len(flags) > 12
    prefix = binary.upper().replace("-", "_") + "_"
    for name, rest in flags:
        if name not in ("--help", "--version"):
            variable = prefix + name[2:].upper().replace("-", "_")
            assert f"(Env:{variable})" in rest, name
    assert re.fullmatch(rf"{binary} \d+\.\d+\.\d+\n", run(binary, "--version").stdout)


@pytest.mark.parametrize("binary, flag", BINARIES)
@pytest.mark.parametrize(
    "flags, text",
    [
        (["--no-such-flag"], "no-such-flag"),
        (["--threads", "many"], "threads"),
        (["--max-queue", "0"], "max-queue"),
        (["--log-format", "xml"], "log-format"),
        (["stray"], "stray"),
    ],
)
def test_wrong_usage(binary, flag, flags, text):
    done = run(binary, flag, "x.gguf", *flags)
    assert done.returncode == 2 and text in done.stderr


def test_a_model_is_required():
    for binary, flag in BINARIES:
        done = run(binary)
        assert done.returncode == 2 and flag in done.stderr


def test_unusable_files(tmp_path):
    truncated = tmp_path / "truncated.gguf"
    other = tmp_path / "other.gguf"
    locked = tmp_path / "folder.gguf"
    locked.mkdir()
    socket = f"unix:{tmp_path}/x.sock"
    for (binary, flag), good, wrong in zip(BINARIES, (MMPROJ, MODEL), (MODEL, MMPROJ), strict=True):
        data = good.read_bytes()
        for cut in (0, 3, 1000, len(data) // 2, len(data) - 1):
            truncated.write_bytes(data[:cut])
            line = fails_to_start(binary, flag, truncated, "--listen", socket)
            assert str(truncated) in line
        other.write_bytes(data.replace(b"gemma4", b"gemma9").replace(b"clip", b"clop"))
        assert str(other) in fails_to_start(binary, flag, other, "--listen", socket)
        # The text model where the picture encoder should be, and the reverse.
        line = fails_to_start(binary, flag, wrong, "--listen", socket)
        assert str(wrong) in line and ("mmproj" in line or "text model" in line), line
        assert "missing" in fails_to_start(binary, flag, tmp_path / "missing", "--listen", socket)
        assert str(locked) in fails_to_start(binary, flag, locked, "--listen", socket)


def test_address_in_use(tmp_path):
    with start_encoder(tmp_path, listen="127.0.0.1:0") as encoder:
        address = encoder.address
    # The port is free again; a service that has it keeps it.
    with start_encoder(tmp_path, listen=address) as encoder:
        for taken in (address, address.replace("127.0.0.1", "localhost")):
            line = fails_to_start("softsplice-encoder", "--mmproj", MMPROJ, "--listen", taken)
            assert line.endswith(f"can't listen on {taken}: the address is in use")
        assert encoder.serving()
    with start_encoder(tmp_path) as encoder:
        line = fails_to_start("softsplice-decoder", "--model", MODEL, "--listen", encoder.address)
        assert "in use" in line
        assert encoder.serving()
        encoder.kill()
    # What a killed server leaves behind does not stop the next one.
    with start_encoder(tmp_path) as encoder:
        assert encoder.serving()
    flags = ("softsplice-encoder", "--mmproj", MMPROJ, "--listen")
    for nonsense, code in (("here", 2), ("localhost:http", 2), ("unix:/no/such/folder/s.sock", 1)):
        assert nonsense in fails_to_start(*flags, nonsense, code=code)


UNITS = {"GiB": 1 << 30, "MiB": 1 << 20, "minutes": 60}


def test_limits_are_those_of_the_readme():
    """The table's rows that name a flag, beside the defaults of that flag."""
    table = (ROOT / "README.md").read_text().split("## Limits")[1].split("\n\n")[1]
    helps = {name: run(f"softsplice-{name}", "--help").stdout for name in ("encoder", "decoder")}
    compared = set()
    for row in table.splitlines()[2:]:
        _, default, where = [cell.strip() for cell in row.strip("|").split("|")]
        flag = re.search(r"--[a-z-]+", where)
        for name, text in helps.items():
            if flag is None or ("both services" not in where and name not in where):
                continue
            value = re.search(rf"([0-9.,]+) ?(\w+)? \({name}\)", default) or re.match(
                r"([0-9.,]+) ?(\w+)?", default
            )
            wanted = int(value[1].replace(",", "")) * UNITS.get(value[2], 1)
            (told,) = re.findall(rf"^ +{flag[0]} [A-Z]+(?::[^=\n]*)?(?:=(\S+))?", text, re.MULTILINE)
            compared.add(flag[0])
            if told:
                assert float(told) == wanted, row
            else:
                assert "Not set: " + default.split(",")[0] in text, row
    assert len(compared) >= 14, compared


def test_environment_variables(tmp_path):
    variables = {"SOFTSPLICE_ENCODER_MAX_QUEUE": "7", "SOFTSPLICE_ENCODER_MMPROJ": str(MMPROJ)}
    with Service(tmp_path, "softsplice-encoder", environment=variables) as encoder:
        with Client(encoder) as client:
            assert client.info(ENCODER).limits.max_queue == 7
    done = run("softsplice-encoder", SOFTSPLICE_ENCODER_MAX_QUEUE="0")
    assert done.returncode == 2


def test_health_names_the_service(tmp_path):
    with start_encoder(tmp_path) as encoder, start_decoder(tmp_path, encoder) as decoder:
        assert encoder.serving("") and encoder.serving(ENCODER) and not encoder.serving(DECODER)
        assert decoder.serving("") and decoder.serving(DECODER)


def test_logs_are_json_without_content(tmp_path):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = [("x-request-id", "my-request"), ("traceparent", f"00-{trace}-00f067aa0ba902b7-01")]
    with start_encoder(tmp_path) as encoder, start_decoder(tmp_path, encoder) as decoder:
        with Client(decoder) as client:
            request = client.chat([("user", [sample(PICTURE), QUESTION])])
            request.stop.append("a secret")
            call = client.start(request, metadata=headers)
            started = next(m for m in call if m.HasField("started")).started
            assert started.request_id == "my-request"
            assert dict(call.initial_metadata())["x-request-id"] == "my-request"
            list(call)
            request.chat.messages[0].parts[0].media.mime_type = "image/gif; secret"
            error(lambda: client.start(request))
        for service in (encoder, decoder):
            assert service.stop() == 0
            assert "secret" not in service.text() and "picture?" not in service.text()
            calls = [
                e
                for e in service.events()
                if e["event"] == "call" and not e["method"].startswith("Get")
            ]
            assert {"time", "level", "service", "method", "code"} <= calls[0].keys()
            # The encoder was told whose request it works for.
            assert calls[0]["request_id"] == "my-request" and calls[0]["trace_id"] == trace
            assert [c["code"] for c in calls] == ["OK", "INVALID_ARGUMENT"]
            assert all(0 < c["received_seconds"] <= c["duration_seconds"] for c in calls)
        assert calls[0]["prompt_tokens"] == started.prompt_tokens and calls[0]["completion_tokens"] > 5
        assert calls[0]["encode_seconds"] > 0


def test_text_logs(tmp_path):
    with start_encoder(tmp_path, "--log-format", "text") as encoder:
        assert "info    serving address=unix:" in encoder.text()


def slow_request(client):
    """Some seconds of text."""
    request = client.chat([("user", ["Count from one to nine."])])
    request.max_tokens = 1500
    request.sampling.temperature = 2
    request.sampling.seed = 1
    # Without the tokens that end a turn.
    for token in stop_tokens(client):
        request.sampling.logit_bias.add(token_id=token, bias=float("-inf"))
    return request


def stop_tokens(client):
    count = client.type("CountTokensRequest")(include_token_ids=True)
    count.raw.no_bos = True
    count.raw.parts.add(text_with_special_tokens="<eos><turn|><|tool_response>")
    ids = client.method(DECODER, "CountTokens")(count).token_ids
    assert len(ids) == 3
    return ids


def test_cancel_frees_the_engine(tmp_path):
    with start_decoder(tmp_path, None) as decoder, Client(decoder) as client:
        call = client.start(slow_request(client))
        for _ in range(3):
            next(call)
        assert client.info(DECODER).load.running == 1
        call.cancel()
        wait_until(lambda: client.info(DECODER).load.running == 0)
        assert client.info(DECODER).load.kv_bytes_used == 0
        # A client that is gone without a word.
        gone = grpc.insecure_channel(decoder.address)
        call = client.start(slow_request(client))
        next(call)
        with Client(decoder) as leaving:
            next(leaving.start(slow_request(leaving)))
        gone.close()
        call.cancel()
        wait_until(lambda: client.info(DECODER).load.running == 0)
        assert client.info(DECODER).load.queued == 0
        assert client.ask("What is two plus three?") == "Five."


def test_a_cancelled_turn_leaves_its_session_as_it_was(tmp_path):
    """Again and again: the engine may be about to give a token, or to end."""
    question = [("user", ["What is two plus three?"])]
    then = [("user", ["Count from one to five."])]
    with start_decoder(tmp_path, None) as decoder, Client(decoder) as client:
        create = client.method(DECODER, "CreateSession")
        for _ in range(20):
            session = create(client.type("CreateSessionRequest")()).session_id

            def in_session(request, session=session):
                request.session_id = session
                return request

            answer = client.generate(in_session(client.chat(question)))[1]
            call = client.start(in_session(slow_request(client)))
            for _ in range(3):
                next(call)
            call.cancel()
            wait_until(lambda: client.info(DECODER).load.running == 0)
            started, text, _ = client.generate(in_session(client.chat(then)))
            whole, whole_text, _ = client.generate(client.chat([*question, ("model", [answer]), *then]))
            assert (started.prompt_tokens, text) == (whole.prompt_tokens, whole_text)


def test_several_requests_run_at_once(tmp_path):
    flags = ("--max-sequences", 2, "--context", 2048)
    with start_decoder(tmp_path, None, *flags) as decoder, Client(decoder) as client:

        def load():
            load = client.info(DECODER).load
            return load.running, load.queued

        assert client.info(DECODER).max_sequences == 2
        calls = [client.start(slow_request(client)) for _ in range(3)]
        wait_until(lambda: load() == (2, 1))
        calls[0].cancel()
        wait_until(lambda: load() == (2, 0))
        for call in calls[1:]:
            call.cancel()
        wait_until(lambda: load() == (0, 0))
        assert client.info(DECODER).load.kv_bytes_used == 0


def test_whoever_waits_hears_who_is_before_it(tmp_path):
    flags = ("--max-sequences", 1, "--chunk", 1, "--max-wait-seconds", 1e6)
    with start_decoder(tmp_path, None, *flags) as decoder, Client(decoder) as client:
        request = slow_request(client)
        request.max_tokens = 0
        before = [client.start(request) for _ in range(3)]
        wait_until(lambda: client.info(DECODER).load.queued == 2)
        waiting = client.start(client.chat([("user", ["one two three four " * 1500])]))
        queued = next(waiting).progress
        assert queued.stage == 3 and 1 <= queued.queue_position <= 3
        for call in (waiting, *before):
            call.cancel()


def test_too_little_memory_for_keys_and_values(tmp_path):
    flags = ("--model", MODEL, "--listen", f"unix:{tmp_path}/d", "--kv-memory", 1000)
    line = fails_to_start("softsplice-decoder", *flags)
    assert re.search(r"at least \d+ bytes; there are 1000: raise --kv-memory", line), line


def test_drain_lets_calls_end(tmp_path):
    flags = ("--drain-seconds", PATIENCE)
    with start_decoder(tmp_path, None, *flags) as decoder, Client(decoder) as client:
        request = slow_request(client)
        request.max_tokens = 200
        call = client.start(request)
        assert next(call).HasField("started")
        decoder.process.send_signal(signal.SIGTERM)
        messages = list(call)
        assert messages[-1].finished.reason == 3
        assert decoder.process.wait(PATIENCE) == 0
        events = [e["event"] for e in decoder.events()]
        assert events[-3:] in (["draining", "call", "stopped"], ["call", "draining", "stopped"])


def test_a_lame_duck_still_answers(tmp_path):
    flags = ("--lame-duck-seconds", 3, "--drain-seconds", 0)
    with start_decoder(tmp_path, None, *flags) as decoder, Client(decoder) as client:
        decoder.process.send_signal(signal.SIGHUP)
        wait_until(lambda: not decoder.serving(DECODER))
        assert decoder.serving("liveness")
        assert client.ask("What is two plus three?") == "Five."
        assert decoder.process.wait(PATIENCE) == 0
        events = [e["event"] for e in decoder.events() if e["event"] != "call"]
        assert events[-3:] == ["lame duck", "draining", "stopped"]


def test_a_drain_waits_for_calls_alone(tmp_path):
    """Neither for connections, be they idle or dead, nor for those who watch its health."""
    with start_decoder(tmp_path, None, "--drain-seconds", PATIENCE) as decoder:
        with grpc.insecure_channel(decoder.address) as channel, Connection(decoder.address):
            request = health_pb2.HealthCheckRequest(service=DECODER)
            watch = health_pb2_grpc.HealthStub(channel).Watch(request)
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
            forever = threading.Event()
            reflection = services.reflection_call(channel, "v1", iter(forever.wait, True))
            begin = time.monotonic()
            assert decoder.stop() == 0
            assert time.monotonic() - begin < 20
            assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
            for call in (watch, reflection):
                assert error(lambda call=call: call)[0] == "UNAVAILABLE"
            forever.set()


def test_a_log_that_nobody_reads(tmp_path):
    reader, writer = os.pipe()
    with start_encoder(tmp_path, "--log-format", "text", stderr=writer) as encoder:
        os.close(writer)
        with Client(encoder) as client:
            # Twice what the pipe and the queue of lines hold: a line for each call that fails.
            long = [("traceparent", f"00-{32 * '4'}-{16 * 'f'}-01"), ("x-request-id", 64 * "x")]
            encode = client.method(ENCODER, "EncodeImage")
            for _ in range(10_000):
                with pytest.raises(grpc.RpcError):
                    list(
                        encode(client.type("EncodeImageRequest")(), metadata=long, timeout=PATIENCE)
                    )
        assert encoder.serving()
        assert encoder.stop() == 0
    os.close(reader)


def test_a_log_whose_reader_is_gone(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    with start_encoder(tmp_path, stderr=writer) as encoder, Client(encoder) as client:
        os.close(writer)
        for _ in range(3):
            assert client.info(ENCODER)
        assert encoder.stop() == 0


def test_drain_has_a_limit(tmp_path):
    with start_decoder(tmp_path, None, "--drain-seconds", 0.2) as decoder:
        with Client(decoder) as client:
            request = slow_request(client)
            # Held by a client that does not read on: only the limit ends it.
            request.max_tokens = 0
            call = client.start(request)
            next(call)
            begin = time.monotonic()
            assert decoder.stop() == 0
            assert time.monotonic() - begin < 20
            with pytest.raises(grpc.RpcError):
                list(call)


def test_a_decoder_does_not_hold_up_an_encoders_drain(tmp_path):
    with start_encoder(tmp_path, "--drain-seconds", 60) as encoder:
        with start_decoder(tmp_path, encoder) as decoder, Client(decoder) as client:
            assert client.ask(sample(PICTURE), QUESTION) == ANSWER
            begin = time.monotonic()
            assert encoder.stop() == 0
            assert time.monotonic() - begin < 20


def test_second_signal_ends_at_once(tmp_path):
    with start_decoder(tmp_path, None, "--drain-seconds", 600) as decoder, Client(decoder) as client:
        request = slow_request(client)
        request.max_tokens = 0
        call = client.start(request)
        next(call)
        decoder.process.send_signal(signal.SIGINT)
        wait_until(lambda: "draining" in decoder.text())
        decoder.process.send_signal(signal.SIGINT)
        assert decoder.process.wait(20) == 128 + signal.SIGINT


def test_an_encoder_dies_and_comes_back(tmp_path):
    with start_decoder(tmp_path, f"unix:{tmp_path}/encoder.sock") as decoder:
        with Client(decoder) as client:
            request = client.chat([("user", [sample(PICTURE), QUESTION])])
            request.no_prefix_cache = True  # else the picture is encoded once
            for _ in range(3):
                # None there: an error that says so, never an answer without the picture.
                code, message, reason, field = error(lambda: client.start(request))
                assert (code, reason) == ("UNAVAILABLE", "ENCODER_UNAVAILABLE"), message
                assert "encoder.sock" in message and field == "chat.messages[0].parts[0].media"
                assert client.ask("What is two plus three?") == "Five."
                with start_encoder(tmp_path) as encoder:
                    wait_until(lambda: client.info(DECODER).encoders[0].healthy)
                    assert client.generate(request)[1] == ANSWER
                    encoder.kill()


def test_an_encoder_dies_while_it_encodes(tmp_path):
    with start_encoder(tmp_path) as encoder, start_decoder(tmp_path, encoder) as decoder:
        with Client(decoder) as client, Client(encoder) as encoder_client:
            request = client.chat([("user", [sample(PICTURE), QUESTION])])
            request.chat.messages[0].parts[0].media.max_soft_tokens = 1120
            outcome = []
            thread = threading.Thread(
                target=lambda: outcome.append(error(lambda: client.start(request)))
            )
            # Stopped, it can't be done before it is killed.
            encoder.process.send_signal(signal.SIGSTOP)
            thread.start()
            wait_until(lambda: client.info(DECODER).encoders[0].in_flight == 1)
            encoder.kill()
            thread.join(PATIENCE)
            assert outcome and outcome[0][0] == "UNAVAILABLE", outcome
            encoder_client.channel.close()
        with start_encoder(tmp_path), Client(decoder) as client:
            wait_until(lambda: client.info(DECODER).encoders[0].healthy)
            assert client.ask(sample(PICTURE), QUESTION) == ANSWER


def test_two_encoders_share_and_replace_each_other(tmp_path):
    flags = [f"unix:{tmp_path}/one.sock", f"unix:{tmp_path}/two.sock"]
    with start_encoder(tmp_path, listen=flags[0]) as one, start_encoder(tmp_path, listen=flags[1]):
        with start_decoder(tmp_path, ",".join(flags)) as decoder, Client(decoder) as client:
            assert [e.healthy for e in client.info(DECODER).encoders] == [True, True]
            for _ in range(4):
                assert client.ask(sample(PICTURE), QUESTION) == ANSWER
            calls = [e for e in one.events() if e["event"] == "call"]
            assert 1 <= len(calls) <= 3
            one.kill()
            for _ in range(4):
                assert client.ask(sample(PICTURE), QUESTION) == ANSWER


def test_a_full_queue_is_told(tmp_path):
    flags = ("--max-queue", 1, "--max-sequences", 1)
    with start_decoder(tmp_path, None, *flags) as decoder, Client(decoder) as client:
        request = slow_request(client)
        running = client.start(request)
        next(running)
        waiting = client.start(request)
        wait_until(lambda: client.info(DECODER).load.queued == 1)
        code, _, reason, _ = error(lambda: client.start(request))
        assert (code, reason) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL")
        running.cancel()
        waiting.cancel()
        wait_until(lambda: client.info(DECODER).load.running == 0)
        assert client.ask("What is two plus three?") == "Five."
