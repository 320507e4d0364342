"""What services say about their model file when it can't be served, from the start or any more."""

import shutil
import subprocess

import pytest
import rewritten
from services import DECODER, ENCODER, Client, sample, start_decoder, start_encoder
from support import BIN, MMPROJ, MODEL, PATIENCE, ROOT, wait_until

OTHER = ROOT / "tests/data/models/tiny-F16.gguf"


def test_a_model_that_is_overwritten_in_place_ends_the_service(tmp_path):
    path = tmp_path / "model.gguf"
    shutil.copyfile(MODEL, path)
    with start_decoder(tmp_path, None, model=path) as decoder:
        with open(path, "r+b") as file:
            file.seek(-1, 2)
            file.write(b"x")
        assert decoder.process.wait(PATIENCE) == 1
        assert f"{path}: was changed while it was in use" in decoder.text()


def test_a_model_that_is_cut_ends_the_service(tmp_path):
    path = tmp_path / "model.gguf"
    shutil.copyfile(MODEL, path)
    with start_decoder(tmp_path, None, model=path) as decoder:
        with open(path, "r+b") as file:
            file.truncate(100)
        assert decoder.process.wait(PATIENCE) == 1
        assert "model" in decoder.text().splitlines()[-1]


def test_a_model_that_is_replaced_goes_on_being_served(tmp_path):
    path = tmp_path / "model.gguf"
    shutil.copyfile(MODEL, path)
    with start_decoder(tmp_path, None, model=path) as decoder:
        shutil.copyfile(OTHER, tmp_path / "new.gguf")
        (tmp_path / "new.gguf").rename(path)
        decoder.wait_serving()
        assert decoder.stop() == 0


WAITERS = [("softsplice-encoder", "--mmproj", MMPROJ), ("softsplice-decoder", "--model", MODEL)]


@pytest.fixture(name="waiter", params=WAITERS, ids=lambda waiter: waiter[0])
def a_service_without_its_model(request, tmp_path):
    """(process, where its model is looked for, the model, how its log is read)."""
    binary, flag, model = request.param
    path, log = tmp_path / "model.gguf", tmp_path / "log"
    command = [BIN / binary, flag, path, "--listen", f"unix:{tmp_path}/s"]
    with open(log, "wb") as file:
        process = subprocess.Popen([*command, "--model-wait-seconds", "300"], stderr=file)
    wait_until(lambda: '"waiting for the model"' in log.read_text())
    yield process, path, model, log.read_text
    process.kill()
    process.wait()


def test_a_model_that_comes_late_is_waited_for(waiter):
    process, path, model, log = waiter
    unfinished = path.with_suffix(".tmp")
    shutil.copyfile(model, unfinished)
    assert '"loading"' not in log()
    unfinished.rename(path)
    wait_until(lambda: '"serving"' in log())
    process.terminate()
    assert process.wait(PATIENCE) == 0


def test_a_stop_signal_ends_the_wait_for_a_model(waiter):
    process, _, _, log = waiter
    process.terminate()
    assert process.wait(PATIENCE) == 0
    assert '"stopped"' in log().splitlines()[-1] and '"loading"' not in log()


@pytest.mark.parametrize("binary, flag, _", WAITERS)
def test_a_model_that_does_not_come_is_named(tmp_path, binary, flag, _):
    path = tmp_path / "model.gguf"
    command = [BIN / binary, flag, path, "--listen", f"unix:{tmp_path}/s"]
    done = subprocess.run(
        [*command, "--model-wait-seconds", "0.1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"{path}: can't be read" in done.stderr and "within 100ms" in done.stderr


def test_a_name_that_is_no_utf8_is_told_as_text(tmp_path):
    """A default client would not parse what holds it as it is."""

    def renamed(model):
        path = tmp_path / f"renamed-{model.name}"
        name = b"Gemma 4 E4B-shaped demo"
        path.write_bytes(model.read_bytes().replace(name, b"\xffemma 4 E4B-shaped dem\xc3"))
        return path

    with (
        start_encoder(tmp_path, mmproj=renamed(MMPROJ)) as encoder,
        start_decoder(tmp_path, encoder, model=renamed(MODEL)) as decoder,
    ):
        for name, service in ((ENCODER, encoder), (DECODER, decoder)):
            with Client(service) as client:
                assert client.info(name).model_name == "\ufffdemma 4 E4B-shaped dem\ufffd"


def test_a_context_over_the_models_own_is_the_models(tmp_path):
    with start_decoder(tmp_path, None, "--context", 10**6) as decoder, Client(decoder) as client:
        (told,) = [e for e in decoder.events() if "the context is what" in e["event"]]
        assert told["level"] == "warning" and told["wanted"] == 10**6
        assert client.info(DECODER).context_length == told["context"] < 10**6


def test_a_model_of_nans_is_not_served(tmp_path):
    data = bytearray(MODEL.read_bytes())
    half = len(data) // 2 // 2 * 2
    data[half:] = b"\xff\x7f" * ((len(data) - half) // 2) + data[len(data) // 2 * 2 :]
    path = tmp_path / "nan.gguf"
    path.write_bytes(data)
    command = [BIN / "softsplice-decoder", "--model", path, "--listen", f"unix:{tmp_path}/s"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert f"{path}: the model's logits are not finite" in done.stderr


def first_token(folder, model, *flags):
    """Id and log probability of the answer's first token, about a picture."""
    with (
        start_encoder(folder) as encoder,
        start_decoder(folder, encoder, *flags, model=model) as decoder,
    ):
        with Client(decoder) as client:
            request = client.chat(
                [("user", [sample("circle-square.png"), "What is in this picture?"])]
            )
            request.max_tokens, request.logprobs = 1, 1
            deltas = [event.delta for event in client.start(request)]
            return [
                (delta.token_ids[0], delta.logprobs[0].chosen.logprob)
                for delta in deltas
                if delta.token_ids
            ]


def test_a_head_of_its_own_is_used(tmp_path):
    """The references know such files: llama.cpp's output.weight, transformers' untied lm_head."""
    model = rewritten.untied_head().write(tmp_path / "model.gguf")
    ((plain, probability),) = first_token(tmp_path, MODEL)
    ((moved, same_probability),) = first_token(tmp_path, model)
    assert moved == plain + 7
    assert same_probability == pytest.approx(probability, abs=1e-4)


def test_what_a_tokenizer_pads_with_changes_nothing(tmp_path):
    model = rewritten.padding_is_eos().write(tmp_path / "model.gguf")
    assert first_token(tmp_path, model) == first_token(tmp_path, MODEL)


@pytest.mark.parametrize(
    "make, message",
    [
        (rewritten.scaled_positions, "gemma4.rope.scaling.type is linear with a factor of 8"),
        (rewritten.with_a_bias, 'tensor "blk.0.attn_q.bias" is of a kind that'),
        (rewritten.without_a_tensor, "blk.5.ffn_down.weight"),
        (rewritten.other_tokenizer, 'tokenizer.ggml.model is "llama"'),
        (rewritten.in_mxfp4, "MXFP4"),
    ],
)
def test_what_would_change_the_answers_is_refused(tmp_path, make, message):
    """And `softsplice inspect` says so before."""
    model = make().write(tmp_path / "model.gguf")
    command = [BIN / "softsplice-decoder", "--model", model, "--listen", f"unix:{tmp_path}/s"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1 and message in done.stderr.splitlines()[-1], done.stderr
    inspect = [BIN / "softsplice", "inspect", model]
    done = subprocess.run(inspect, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1, done.stdout
    (use,) = (line for line in done.stdout.splitlines() if line.startswith("Use"))
    assert "can't be served" in use and message in use


def test_what_is_not_read_is_named(tmp_path):
    model = rewritten.with_unknown_names().write(tmp_path / "model.gguf")
    with start_decoder(tmp_path, None, model=model) as decoder:
        (warning,) = (e for e in decoder.events() if "is not read" in e["event"])
        assert warning["level"] == "warning"
        assert warning["names"] == "gemma4.attention.novelty, novel.weight"
    with start_decoder(tmp_path, None) as decoder:
        assert "is not read" not in decoder.text()
    inspect = [BIN / "softsplice", "inspect", model]
    done = subprocess.run(inspect, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0 and "gemma4.attention.novelty, novel.weight" in done.stdout
