"""The demo model's answers over gRPC, on the default path, beside the reference's."""

import json

import pytest
import services
from services import DECODER, Client, start_decoder, start_encoder
from support import DEMO, SAMPLES

# A turn this close to a tie may fall either way.
MARGIN = 0.5


def load(folder):
    return [(folder, case) for case in json.loads((folder / "expected.json").read_text())]


def has_sound(case):
    return any(p["type"] == "audio" for turn in case["turns"] for p in turn["parts"])


def cases():
    """All of them; those with sounds are shown as skipped."""
    for folder in (SAMPLES, DEMO / "unseen"):
        for _, case in load(folder):
            skip = [pytest.mark.skip("no sounds yet")] if has_sound(case) else []
            yield pytest.param(folder, case, id=case["name"], marks=skip)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a")
    with start_encoder(folder) as encoder, start_decoder(folder, encoder) as decoder:
        with Client(encoder) as encoder_client, Client(decoder) as decoder_client:
            yield encoder_client, decoder_client, encoder


def parts_of(folder, turn, read):
    return [
        p["text"] if p["type"] == "text" else read((folder / p["file"]).read_bytes())
        for p in turn["parts"]
    ]


def check(client, folder, case, read):
    """Asks all turns; the reference's answers are the history, as when they were made."""
    turns = []
    for turn in case["turns"]:
        turns.append(("user", parts_of(folder, turn, read)))
        started, text, finished = client.generate(client.chat(turns))
        if turn["smallest_margin"] >= MARGIN:
            assert text == turn["expected_text"], case["name"]
            assert finished.reason == 1
        turns.append(("model", [turn["expected_text"]]))
    if "prompt_tokens_last_turn" in case:
        # The file's template ends in this, the reference's prompts did not; the model knows both.
        count = client.type("CountTokensRequest")()
        count.raw.no_bos = True
        count.raw.parts.add(text_with_special_tokens="<|channel>thought\n<channel|>")
        empty_thought = client.method(DECODER, "CountTokens")(count).tokens
        assert started.prompt_tokens == case["prompt_tokens_last_turn"] + empty_thought


@pytest.mark.parametrize("folder, case", list(cases()))
def test_media(pair, folder, case):
    check(pair[1], folder, case, lambda data: data)


def test_soft_tokens_of_the_client(pair):
    encoder, decoder, _ = pair
    for folder, case in load(SAMPLES)[:8]:
        check(decoder, folder, case, lambda data: encoder.soft_tokens(data=data))


def test_soft_tokens_of_another_process(pair, tmp_path):
    _, decoder, _ = pair
    with start_encoder(tmp_path, "--threads", 1) as other, Client(other) as encoder:
        for folder, case in load(SAMPLES)[:8]:
            check(decoder, folder, case, lambda data: encoder.soft_tokens(data=data, data_type=1))


def test_the_way_does_not_change_the_logits(pair, tmp_path):
    """Media, soft tokens and soft tokens of an encoder with other threads: equal to the bit."""
    encoder, decoder, _ = pair
    picture = services.sample("circle-square.png")
    with start_encoder(tmp_path, "--threads", 1) as other, Client(other) as single:
        ways = [picture, encoder.soft_tokens(data=picture), single.soft_tokens(data=picture)]
    assert ways[1].SerializeToString() == ways[2].SerializeToString()
    answers = []
    for way in ways:
        request = decoder.chat([("user", [way, "What is in this picture?"])])
        request.sampling.temperature = 0
        request.logprobs = 3
        messages = list(decoder.start(request))
        answers.append([m.delta for m in messages if m.HasField("delta")])
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize("chunk", [1, 7, 32, 512])
def test_chunks_do_not_change_the_answer(pair, tmp_path, chunk):
    """The demo model's window is 128: these prompts cross it several times."""
    with start_decoder(tmp_path, pair[2], "--chunk", chunk) as service:
        with Client(service) as client:
            for folder, case in load(SAMPLES):
                if case["name"] in ("describe-two", "describe-portrait", "count"):
                    check(client, folder, case, lambda data: data)
