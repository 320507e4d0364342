"""`softsplice bench` on the demo model's services, and on a decoder that refuses or hangs."""

import json

import pytest
import support
from fake_decoder import STARTED, delta, fake_decoder, refuse
from PIL import Image
from services import start_decoder, start_encoder
from support import Running, decoder_pb2, run_bench, run_cli

# More tokens than prompts share by chance: <bos>, the beginning of a turn, parts of a word.
SHARED = 10


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    with start_encoder(folder) as encoder, start_decoder(folder, encoder) as decoder:
        yield decoder


def bench(folder, address, *arguments, code=0):
    return run_bench(folder, "--server", address, *arguments, code=code)


def check(run, requests, tokens):
    """What is true of any run that counts all of `requests`, with `tokens` in each answer."""
    assert (run["completed"], run["failed"], run["abandoned"]) == (requests, 0, 0)
    assert (run["errors"], run["num_prompts"], run["steady"]) == ({}, requests, False)
    assert run["total_output_tokens"] == requests * tokens
    seconds = run["duration"]
    assert run["request_throughput"] == pytest.approx(requests / seconds)
    assert run["output_throughput"] == pytest.approx(requests * tokens / seconds)
    assert 0 < run["mean_ttft_ms"] <= run["mean_e2el_ms"] <= 1000 * seconds
    assert run["median_tpot_ms"] > 0 and run["p99_itl_ms"] >= run["median_itl_ms"]
    parts = sum(run[f"mean_{part}_ms"] for part in ("queued", "encode", "prefill"))
    assert 0 < parts < run["mean_ttft_ms"]


def test_chat_in_a_closed_loop(tmp_path, server):
    arguments = ("w1", "--scale", "0.25", "--users", "3", "--requests", "8", "--whole")
    (run,), text = bench(tmp_path, server.address, *arguments, "--goodput", "ttft:600000")
    check(run, 8, 32)
    # 64 tokens of text to within a few, since words have several tokens, and those of the template.
    assert 8 * 64 * 0.8 < run["total_input_tokens"] < 8 * (64 * 1.2 + 16)
    assert (run["workload"], run["max_concurrency"], run["request_rate"]) == ("w1", 3, None)
    assert run["request_goodput"] == run["request_throughput"]
    assert "w1 with 3 at once" in text and "8 completed, 0 failed" in text
    # The same prompts again are not known from the first time: all share the template's beginning.
    (again,), _ = bench(tmp_path, server.address, *arguments)
    assert again["total_input_tokens"] == run["total_input_tokens"]
    for one in (run, again):
        assert one["total_cached_tokens"] < SHARED * 8


def test_a_sweep_over_rates(tmp_path, server):
    arguments = ("w1", "--scale", "0.05", "--burstiness", "inf", "--requests", "12")
    runs, text = bench(tmp_path, server.address, *arguments, "--rates", "20,40")
    assert [run["request_rate"] for run in runs] == [20, 40]
    for run in runs:
        assert (run["num_prompts"], run["burstiness"]) == (12, "inf")
        assert run["failed"] == 0
        # The first and the last are in ramp and drain, unless so slow a service has no steady state.
        assert 0 < run["completed"] <= (10 if run["steady"] else 12)
    assert text.count(" ramp and drain\n") == 2
    assert "ttft p50" in text.splitlines()[-3] and "w1 at 40/s" in text.splitlines()[-1]


# `rows`: fewer than the media of a request have: 63 for a picture of 4 to 3, 25 for a second.
@pytest.mark.parametrize(
    ("workload", "scale", "rows"), [("w3", 0.1, 60), ("w4", 0.1, 4 * 60), ("w5", 0.2, 25)]
)
def test_media_are_encoded(tmp_path, server, workload, scale, rows):
    arguments = (workload, "--scale", scale, "--budget", "70", "--requests", "2", "--whole")
    (run,), _ = bench(tmp_path, server.address, *arguments)
    check(run, 2, round(128 * scale))
    text = 2 * round(32 * scale)
    assert run["total_input_tokens"] > text + 2 * rows
    assert run["total_cached_tokens"] < SHARED * 2


def test_later_turns_hold_the_earlier_ones(tmp_path, server):
    arguments = ("w6", "--scale", "0.25", "--budget", "70", "--think", "0", "--requests", "8")
    (run,), _ = bench(tmp_path, server.address, *arguments, "--whole")
    check(run, 8, 16)
    # All 8 turns, of 16 tokens read and 16 written at least, are in the last prompt.
    assert run["total_input_tokens"] > sum(turn * 32 for turn in range(8))
    assert run["total_cached_tokens"] > run["total_input_tokens"] / 2
    (fresh,), _ = bench(tmp_path, server.address, *arguments, "--whole", "--no-prefix-cache")
    assert fresh["total_cached_tokens"] == 0


def test_sessions_get_new_turns_only(tmp_path, server):
    arguments = ("w7", "--scale", "0.05", "--requests", "12", "--users", "2", "--whole")
    (whole,), _ = bench(tmp_path, server.address, *arguments)
    (run,), _ = bench(tmp_path, server.address, *arguments, "--sessions")
    check(run, 12, 3)
    assert (whole["sessions"], run["sessions"]) == (False, True)
    # What is read is what would be if it were sent whole, to within what a sampled answer's text
    # makes of its tokens.
    assert run["total_input_tokens"] == pytest.approx(whole["total_input_tokens"], rel=0.05)


def test_a_system_turn_is_shared(tmp_path, server):
    arguments = ("w7", "--scale", "0.125", "--requests", "18", "--users", "1", "--whole")
    (run,), _ = bench(tmp_path, server.address, *arguments)
    check(run, 18, 8)
    assert run["total_cached_tokens"] > run["total_input_tokens"] / 2


def test_a_mix_with_pictures(tmp_path, server):
    arguments = ("w8", "--scale", "0.1", "--budget", "70", "--requests", "6", "--whole")
    (none,), _ = bench(tmp_path, server.address, *arguments, "--image-share", "0")
    assert none["total_input_tokens"] < 6 * 60
    (all_of_them,), _ = bench(tmp_path, server.address, *arguments, "--image-share", "1")
    assert all_of_them["total_input_tokens"] > 6 * 60


def trace(folder, *requests):
    """Of (timestamp, input_length, output_length, hash_ids) each."""
    names = ("timestamp", "input_length", "output_length", "hash_ids")
    path = folder / "trace.jsonl"
    path.write_text("".join(json.dumps(dict(zip(names, one, strict=True))) + "\n" for one in requests))
    return path


def test_a_trace_is_sent_as_it_came(tmp_path, server):
    path = trace(tmp_path, (500, 600, 4, [1, 2]), (500, 40, 4, []), (1500, 620, 4, [1, 3]))
    arguments = ("--trace", path, "--trace-speed", "2", "--whole")
    (run,), text = bench(tmp_path, server.address, *arguments)
    check(run, 3, 4)
    assert (run["workload"], run["trace_speed"], run["request_rate"]) == ("trace", 2, None)
    assert run["duration"] > 0.5 and "trace at 2 times its speed" in text
    assert 1260 * 0.8 < run["total_input_tokens"] < 1260 * 1.2 + 3 * 16
    # The first block of the third prompt is the first one's.
    assert run["total_cached_tokens"] > 400
    (some,), _ = bench(tmp_path, server.address, *arguments, "--requests", "2")
    assert some["num_prompts"] == 2


def test_a_trace_that_is_none_is_told_before_anything_is_sent(tmp_path, decoder):
    for one, words in (((5, 0, 4, []), "input_length"), ((5, 9, 4, 7), "hash_ids")):
        path = trace(tmp_path, (0, 9, 4, []), one)
        done = run_cli(tmp_path, "bench", "--server", decoder.address, "--trace", path)
        assert (done.returncode, decoder.requests) == (1, [])
        assert "line 2 of the trace" in done.stderr and words in done.stderr


def test_what_does_not_fit_is_told_before_anything_is_sent(tmp_path, server):
    done = run_cli(tmp_path, "bench", "--server", server.address, "w2", "--scale", "100")
    assert done.returncode == 1
    assert "w2 needs about" in done.stderr and "--scale" in done.stderr


def test_a_file_that_cant_be_written_is_told_before_anything_is_sent(tmp_path, decoder):
    file = tmp_path / "nowhere" / "bench.json"
    done = run_cli(tmp_path, "bench", "--server", decoder.address, "--json", file)
    assert (done.returncode, decoder.requests) == (1, [])
    assert "can't write" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["w9"], "no workload w9"),
        (["--goodput", "speed:9"], "speed:9 is not ttft"),
        (["--goodput", "ttft:soon"], "ttft:soon is not"),
        (["--rate", "1", "--burstiness", "0"], "0 is not above 0"),
        (["w1", "--trace", "trace.jsonl"], "workload excludes --trace"),
        (["--trace-speed", "2"], "--trace-speed requires --trace"),
        (["--burstiness", "2"], "--burstiness requires --rate"),
        (["--rate", "2", "--users", "2"], "excludes"),
        (["--rate", "0"], "--rate"),
        (["--llama-server", "http://localhost"], "excludes"),
    ],
)
def test_wrong_usage(tmp_path, server, arguments, text):
    done = run_cli(tmp_path, "bench", "--server", server.address, *arguments)
    assert done.returncode == 2 and text in done.stderr, done.stderr


def test_plots(tmp_path, server):
    for users in ("2", "1,2,3"):
        file = tmp_path / f"it's {users}.png"
        arguments = ("w1", "--scale", "0.05", "--requests", "6", "--users", users, "--plot", file)
        bench(tmp_path, server.address, *arguments)
        with Image.open(file) as image:
            # Lines of several colours on a background.
            assert image.width == 900 and len(image.convert("RGB").getcolors(1 << 20)) > 5


def test_without_gnuplot_nothing_is_sent(tmp_path, decoder):
    arguments = ("bench", "--server", decoder.address, "--plot", tmp_path / "bench.png")
    done = run_cli(tmp_path, *arguments, PATH=str(tmp_path))
    assert (done.returncode, decoder.requests) == (1, [])
    assert "gnuplot-nox" in done.stderr


def test_nobody_there(tmp_path):
    done = run_cli(tmp_path, "bench", "--server", f"unix:{tmp_path}/nobody.sock")
    assert done.returncode == 3
    assert "nothing answers" in done.stderr


@pytest.fixture
def decoder(tmp_path):
    with fake_decoder(tmp_path) as fake:
        yield fake


def answer(tokens):
    message = delta("Yes.")
    message.delta.token_ids.extend(range(tokens))
    usage = decoder_pb2.Usage(prompt_tokens=7, cached_tokens=3, completion_tokens=tokens)
    return [
        STARTED,
        message,
        decoder_pb2.GenerateResponse(finished=decoder_pb2.Finished(usage=usage)),
    ]


def test_stop_tokens_are_banned_and_lengths_are_asked_for(tmp_path, decoder):
    decoder.script = lambda *_: answer(3)
    (run,), _ = bench(tmp_path, decoder.address, "--requests", "1", "--seed", "9")
    (request,) = decoder.requests
    banned = {bias.token_id: bias.bias for bias in request.sampling.logit_bias}
    assert banned == {decoder.TOKEN: float("-inf")}
    assert (request.max_tokens, request.sampling.seed) == (128, 9)
    assert (run["total_input_tokens"], run["total_cached_tokens"]) == (7, 3)
    assert run["total_output_tokens"] == 3


def test_sessions_are_made_once_and_deleted(tmp_path, decoder):
    decoder.sessions = set()
    decoder.script = lambda *_: answer(3)
    arguments = ("w7", "--requests", "12", "--users", "1", "--sessions")
    bench(tmp_path, decoder.address, *arguments)
    first, second = decoder.requests[:6], decoder.requests[6:]
    for turns in (first, second):
        assert len({request.session_id for request in turns}) == 1
        assert [len(request.chat.messages) for request in turns] == [2, 1, 1, 1, 1, 1]
    assert decoder.deleted == [first[0].session_id, second[0].session_id]
    assert decoder.sessions == set()


def test_where_there_are_no_sessions_requests_fail(tmp_path, decoder):
    arguments = ("--requests", "1", "--sessions")
    (run,), _ = bench(tmp_path, decoder.address, *arguments, code=1)
    assert (run["errors"], decoder.requests) == ({"UNIMPLEMENTED": 1}, [])


def test_a_session_of_a_failed_turn_is_deleted(tmp_path, decoder):
    decoder.sessions = set()
    decoder.script = lambda request, context: refuse(context)
    bench(tmp_path, decoder.address, "w7", "--requests", "1", "--sessions", code=1)
    assert (len(decoder.deleted), decoder.sessions) == (1, set())


def test_refusals_are_counted_by_reason(tmp_path, decoder):
    decoder.script = lambda request, context: (
        refuse(context) if len(decoder.requests) > 2 else answer(1)
    )
    arguments = ("--rate", "1000", "--requests", "5", "--whole")
    (run,), text = bench(tmp_path, decoder.address, *arguments)
    assert (run["completed"], run["failed"]) == (2, 3)
    assert run["errors"] == {"RESOURCE_EXHAUSTED QUEUE_FULL": 3}
    assert "3 failed (3 RESOURCE_EXHAUSTED QUEUE_FULL)" in text
    (run,), _ = bench(tmp_path, decoder.address, *arguments, code=1)
    assert (run["completed"], run["failed"]) == (0, 5)


def test_the_duration_ends_the_wait_for_an_arrival(tmp_path, decoder):
    # The first one is due after some hours.
    arguments = ("--rate", "1e-5", "--duration", "0.5")
    (run,), _ = bench(tmp_path, decoder.address, *arguments, code=1)
    assert (run["num_prompts"], decoder.requests) == (0, [])


def test_a_request_that_hangs_ends_at_its_timeout(tmp_path, decoder):
    decoder.hang_after(STARTED)
    arguments = ("--requests", "1", "--timeout", "0.5")
    (run,), _ = bench(tmp_path, decoder.address, *arguments, code=1)
    assert run["errors"] == {"DEADLINE_EXCEEDED": 1}


def test_ctrl_c_shows_what_was_measured(tmp_path, decoder):
    decoder.script = lambda *_: answer(4)
    file = tmp_path / "bench.json"
    arguments = ("bench", "--server", decoder.address, "--whole", "--json", file)
    with Running(tmp_path, *arguments) as running:
        support.wait_until(lambda: len(decoder.requests) >= 10)
        decoder.hang_after(*answer(4)[:2])
        count = len(decoder.requests)
        support.wait_until(lambda: len(decoder.requests) > count)
        assert running.stop() == 130
        assert b"completed, 0 failed" in running.process.stdout.read()
    run = json.loads(file.read_text())
    assert run["completed"] >= 9 and (run["failed"], run["abandoned"]) == (0, 1)
    assert decoder.cancelled.wait(support.PATIENCE)
