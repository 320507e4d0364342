"""The demo model's answers over gRPC, on the default path, beside the reference's."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import services
from services import DECODER, Client, start_decoder, start_encoder
from support import DEMO, SAMPLES

# A turn this close to a tie may fall either way.
MARGIN = 0.5


def load(folder):
    return [(folder, case) for case in json.loads((folder / "expected.json").read_text())]


def cases():
    for folder in (SAMPLES, DEMO / "unseen", DEMO / "sounds"):
        for _, case in load(folder):
            yield pytest.param(folder, case, id=case["name"])


def some(*names):
    return [(folder, case) for folder, case in load(SAMPLES) if case["name"] in names]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a")
    with start_encoder(folder) as encoder, start_decoder(folder, encoder) as decoder:
        with Client(encoder) as encoder_client, Client(decoder) as decoder_client:
            yield encoder_client, decoder_client, encoder


def parts_of(folder, turn, read):
    return [
        p["text"] if p["type"] == "text" else read(p["type"], (folder / p["file"]).read_bytes())
        for p in turn["parts"]
    ]


def as_media(kind, data):
    return data


def as_soft_tokens(encoder, **options):
    return lambda kind, data: encoder.soft_tokens(audio=kind == "audio", data=data, **options)


def check(client, folder, case, read=as_media):
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
    check(pair[1], folder, case)


SOUND_CASES = ("digits-314", "digits-86", "digits-mp3", "picture-and-sound", "sound-after-picture")


def test_soft_tokens_of_the_client(pair):
    encoder, decoder, _ = pair
    for folder, case in load(SAMPLES)[:8] + some(*SOUND_CASES):
        check(decoder, folder, case, as_soft_tokens(encoder))


def test_soft_tokens_of_another_process(pair, tmp_path):
    _, decoder, _ = pair
    with start_encoder(tmp_path, "--threads", 1) as other, Client(other) as encoder:
        for folder, case in load(SAMPLES)[:8] + some(*SOUND_CASES):
            check(decoder, folder, case, as_soft_tokens(encoder, data_type=1))


@pytest.mark.parametrize(
    "file, question",
    [
        ("samples/circle-square.png", "What is in this picture?"),
        ("samples/digits-9025.wav", "What digits do you hear?"),
        ("sounds/long-86-7.opus", "Transcribe the audio."),
    ],
)
def test_the_way_does_not_change_the_logits(pair, tmp_path, file, question):
    """Media, soft tokens and soft tokens of an encoder with other threads: equal to the bit."""
    encoder, decoder, _ = pair
    data = (DEMO / file).read_bytes()
    options = dict(data=data, audio="digits" in file or "long" in file)
    with start_encoder(tmp_path, "--threads", 1) as other, Client(other) as single:
        ways = [data, encoder.soft_tokens(**options), single.soft_tokens(**options)]
    assert ways[1].SerializeToString() == ways[2].SerializeToString()
    answers = []
    for way in ways:
        request = decoder.chat([("user", [way, question])])
        request.sampling.temperature = 0
        request.logprobs = 3
        # Deltas that wait for the client are joined.
        whole = decoder.type("Delta")()
        text = ""
        for message in decoder.start(request):
            text += message.delta.text
            whole.MergeFrom(message.delta)
        whole.text = text
        answers.append(whole)
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize("chunk", [1, 7, 32, 512])
def test_chunks_do_not_change_the_answer(pair, tmp_path, chunk):
    """The demo model's window is 128: these prompts cross it several times."""
    with start_decoder(tmp_path, pair[2], "--chunk", chunk) as service:
        with Client(service) as client:
            for folder, case in some(
                "describe-two", "describe-portrait", "count", "digits-9025", "picture-and-sound"
            ):
                check(client, folder, case)


def test_a_hundred_sounds_in_one_conversation(pair):
    """Each answer as the reference's; what was heard before goes along as soft tokens."""
    encoder, decoder, _ = pair
    (case,) = json.loads((DEMO / "sounds" / "hundred.json").read_text())
    kept = {}
    turns, heard = [], 0
    for turn in case["turns"]:
        file, question = turn["parts"][0]["file"], turn["parts"][1]["text"]
        data = (DEMO / "sounds" / file).read_bytes()
        _, text, _ = decoder.generate(decoder.chat([*turns, ("user", [data, question])]))
        if turn["smallest_margin"] >= MARGIN:
            assert text == turn["expected_text"], len(turns)
            heard += 1
        if file not in kept:
            kept[file] = encoder.soft_tokens(audio=True, data=data)
        turns += [("user", [kept[file], question]), ("model", [turn["expected_text"]])]
    assert heard > 80
    # All at once, every sound as it is.
    as_files = [
        (role, [(DEMO / "sounds" / turn["parts"][0]["file"]).read_bytes(), parts[1]])
        if role == "user"
        else (role, parts)
        for turn in case["turns"]
        for role, parts in (("user", [None, turn["parts"][1]["text"]]), ("model", ["ok"]))
    ]
    started, text, _ = decoder.generate(decoder.chat([*as_files, ("user", ["Hello!"])]))
    assert len(started.media) == 100 and text
    assert encoder.info(services.ENCODER).load.queued == 0


def test_together_as_alone(pair):
    """Small, large, small, pictures and sounds at the same time: the same rows to the bit."""
    encoder, _, _ = pair
    jobs = [
        (name.endswith(("wav", "mp3", "opus")), (DEMO / name).read_bytes())
        for name in (
            *("samples/digits-7.wav", "sounds/long-86-7.opus", "samples/small.png"),
            *("sounds/spoken-4.mp3", "samples/wide.jpg", "samples/digits-9025.wav"),
        )
    ]

    def rows(job):
        return encoder.encode(audio=job[0], data=job[1], data_type=1)[1]

    alone = [rows(job) for job in jobs]
    assert all(np.isfinite(np.frombuffer(data, np.float32)).all() for data in alone)
    with ThreadPoolExecutor(6) as pool:
        for _ in range(3):
            assert list(pool.map(rows, jobs)) == alone
