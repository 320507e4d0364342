"""`softsplice bench --llama-server` on a server that a test plays."""

import base64
import json

import pytest
import support
from fake_llama_server import chunk, fake_llama_server
from support import Running, run_bench, run_cli


@pytest.fixture
def server():
    with fake_llama_server() as fake:
        yield fake


def bench(folder, server, *arguments, code=0):
    return run_bench(folder, "--llama-server", server.url, *arguments, code=code)


def test_a_chat_and_its_figures(tmp_path, server):
    (run,), text = bench(tmp_path, server, "w1", "--requests", "2", "--seed", "9", "--whole")
    assert (run["backend"], run["model_id"], run["version"]) == (
        "llama-server",
        "fake.gguf",
        "b1-fake",
    )
    assert (run["completed"], run["failed"]) == (2, 0)
    assert (run["total_input_tokens"], run["total_cached_tokens"]) == (2 * 7, 2 * 3)
    assert run["total_output_tokens"] == 2 * 3
    assert run["median_prefill_ms"] == 5.5
    assert "reading the prompt" in text and "in the queue" not in text
    assert 0 < run["mean_ttft_ms"] <= run["mean_e2el_ms"]
    # Two tokens came in the message after the first token's.
    assert run["median_itl_per_token_ms"] == pytest.approx(run["median_itl_ms"] / 2)
    (first, second) = server.bodies
    assert (first["max_tokens"], first["seed"], first["stream"]) == (128, 9, True)
    assert (first["ignore_eos"], first["cache_prompt"]) == (True, True)
    (message,) = first["messages"]
    (part,) = message["content"]
    assert (message["role"], part["type"], len(part["text"].split())) == ("user", "text", 256)
    assert second["messages"] != first["messages"]


def test_media_are_sent_along(tmp_path, server):
    bench(tmp_path, server, "w3", "--requests", "1")
    bench(tmp_path, server, "w5", "--scale", "0.1", "--requests", "1", "--no-prefix-cache")
    picture, sound = (body["messages"][0]["content"][0] for body in server.bodies)
    prefix, data = picture["image_url"]["url"].split(",")
    assert (picture["type"], prefix) == ("image_url", "data:image/bmp;base64")
    assert base64.b64decode(data).startswith(b"BM")
    assert (sound["type"], sound["input_audio"]["format"]) == ("input_audio", "wav")
    assert base64.b64decode(sound["input_audio"]["data"]).startswith(b"RIFF")
    assert [body["cache_prompt"] for body in server.bodies] == [True, False]


def test_later_turns_hold_the_earlier_ones(tmp_path, server):
    bench(tmp_path, server, "w7", "--scale", "0.1", "--requests", "6", "--users", "1")
    last = server.bodies[-1]["messages"]
    assert [m["role"] for m in last] == ["system"] + 5 * ["user", "assistant"] + ["user"]
    assert last[2]["content"] == [{"type": "text", "text": "Yes."}]


def test_errors_are_counted(tmp_path, server):
    server.script = lambda body: 503 if len(server.bodies) == 1 else [chunk(1, "No")]
    arguments = ("--rate", "1000", "--requests", "2", "--whole")
    (run,), _ = bench(tmp_path, server, *arguments)
    assert (run["completed"], run["errors"]) == (1, {"HTTP 503 unavailable_error": 1})
    error = {"error": {"code": 500, "message": "no", "type": "server_error"}}
    server.script = lambda body: [chunk(1, "No"), error]
    (run,), _ = bench(tmp_path, server, *arguments, code=1)
    assert run["errors"] == {"HTTP 500 server_error": 2}
    server.hang_after(chunk(1, "No"))
    (run,), _ = bench(tmp_path, server, *arguments, "--timeout", "0.5", code=1)
    assert run["errors"] == {"DEADLINE_EXCEEDED": 2}


def test_an_answer_without_an_end_failed(tmp_path, server):
    def script(body):
        yield chunk(1, "No")
        raise BrokenPipeError

    server.script = script
    (run,), _ = bench(tmp_path, server, "--requests", "1", code=1)
    assert run["errors"] == {"no end of the answer": 1}


def test_ctrl_c_ends_what_hangs(tmp_path, server):
    server.hang_after(chunk(1, "No"))
    file = tmp_path / "bench.json"
    arguments = ("bench", "--llama-server", server.url, "--whole", "--json", file)
    with Running(tmp_path, *arguments) as running:
        support.wait_until(lambda: server.bodies)
        assert running.stop() == 130
    assert json.loads(file.read_text())["abandoned"] == 1
    assert server.left.wait(support.PATIENCE)


def test_nobody_there(tmp_path):
    done = run_cli(tmp_path, "bench", "--llama-server", "http://127.0.0.1:9")
    assert done.returncode == 3
    assert "http://127.0.0.1:9/props" in done.stderr
