"""Videos through both services beside transformers' processor and model: frames, times, rows, prompts and answers.

The expected values are of tests/data/video/make_goldens.py."""

import json
import sys

import numpy as np
import pytest
from services import DECODER, Client, start_decoder, start_encoder
from support import ROOT

sys.path.insert(0, str(ROOT / "tests" / "goldens"))
import compare  # noqa: E402

VIDEOS = ROOT / "tests" / "data" / "video"
MODELS = ROOT / "tests" / "data" / "models"
FACTS = json.loads((VIDEOS / "goldens.json").read_text())
GOLDENS = dict(np.load(VIDEOS / "goldens.npz"))
PLACEHOLDERS = FACTS["placeholders"]  # where rows are; our service says padding there
# Of rows of a sound that the official way brings to 16 kHz by swresample and we by soxr, and of logits behind them.
RESAMPLED = 0.1
F32 = 1
VIDEO = 3


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("g")
    mmproj, model = MODELS / "mmproj-tiny-F16.gguf", MODELS / "tiny-F16.gguf"
    with start_encoder(folder, mmproj=mmproj) as encoder:
        with start_decoder(folder, encoder, "--kv", "f32", model=model) as decoder:
            with Client(encoder) as encoder_client, Client(decoder) as decoder_client:
                yield encoder_client, decoder_client


def encode(pair, clip, **options):
    """Header and rows [n, width] of one of the clips."""
    facts = FACTS["clips"][clip]
    header, data, _ = pair[0].encode(
        video=True,
        data=(VIDEOS / facts["file"]).read_bytes(),
        max_frames=facts["max_frames"],
        max_soft_tokens=facts["max_soft_tokens"],
        data_type=F32,
        **options,
    )
    return header, np.frombuffer(data, np.float32).reshape(header.rows, header.dim)


@pytest.mark.parametrize("clip", FACTS["clips"])
def test_frames_are_those_that_the_official_processor_takes(pair, clip):
    facts = FACTS["clips"][clip]
    header, _ = encode(pair, clip, without_sound=True)
    assert (header.modality, header.rows) == (VIDEO, facts["rows"])
    frames, each = header.video.frames, facts["rows"] // len(facts["times"])
    assert [(f.first_row, f.rows) for f in frames] == [
        (each * i, each) for i in range(len(facts["times"]))
    ]
    layout = header.video.frame
    assert [layout.source_width, layout.source_height] == facts["source_wh"]
    assert [layout.resized_width, layout.resized_height] == facts["resized_wh"]
    assert layout.grid_rows * layout.grid_columns == each
    assert layout.max_soft_tokens == facts["max_soft_tokens"]


@pytest.mark.parametrize("clip", FACTS["clips"])
def test_times_are_the_official_ones(pair, clip):
    """To the nanosecond, and on the same side of each second: prompts show whole ones."""
    facts = FACTS["clips"][clip]
    video = encode(pair, clip, without_sound=True)[0].video
    assert [f.time.seconds for f in video.frames] == [int(t) for t in facts["times"]]
    assert [f.time.ToNanoseconds() for f in video.frames] == pytest.approx(
        [t * 1e9 for t in facts["times"]], rel=0, abs=1
    )
    assert video.duration.ToNanoseconds() / 1e9 == pytest.approx(facts["duration"], abs=1e-6)


@pytest.mark.parametrize("clip", FACTS["clips"])
def test_rows_of_frames_are_the_official_ones(pair, clip):
    """The official video processor resizes by torchvision, whose pixels differ a little from those of Pillow,
    by which pictures are resized, ours and transformers'."""
    _, rows = encode(pair, clip, without_sound=True)
    assert compare.soft_error(rows, GOLDENS, f"{clip}.official") <= compare.FAST
    assert compare.soft_error(rows, GOLDENS, f"{clip}.pillow") <= compare.EXACT


@pytest.mark.parametrize("clip", [c for c in FACTS["clips"] if f"{c}.sound.shape" in GOLDENS])
def test_rows_of_the_sound_are_the_official_ones(pair, clip):
    header, rows = encode(pair, clip)
    (segment,) = header.video.sound
    first = FACTS["clips"][clip]["rows"]
    assert (segment.first_row, first + segment.rows) == (first, header.rows)
    assert compare.soft_error(rows[first:], GOLDENS, f"{clip}.soxr") <= compare.FAST_TOWER
    assert compare.soft_error(rows[first:], GOLDENS, f"{clip}.sound") <= RESAMPLED


def request_of(decoder, prompt):
    """A GenerateRequest of one of the prompts."""
    request = decoder.type("GenerateRequest")()
    message = request.chat.messages.add(role="ROLE_USER")
    for part in FACTS["prompts"][prompt]:
        if "text" in part:
            message.parts.add(text=part["text"])
        elif "picture" in part:
            message.parts.add().media.data = (VIDEOS / part["picture"]).read_bytes()
        else:
            media = message.parts.add().media
            media.data = (VIDEOS / part["video"]).read_bytes()
            media.without_sound = not part["sound"]
    return request


@pytest.mark.parametrize("prompt", FACTS["prompts"])
def test_prompts_are_the_official_ones(pair, prompt):
    """Token by token: times, markers, and as many places as there are rows."""
    _, decoder = pair
    count = decoder.type("CountTokensRequest")(
        chat=request_of(decoder, prompt).chat, include_token_ids=True
    )
    ids = list(decoder.method(DECODER, "CountTokens")(count).token_ids)
    assert ids == [0 if t in PLACEHOLDERS else t for t in GOLDENS[f"{prompt}.tokens"].tolist()]


@pytest.mark.parametrize("prompt", FACTS["prompts"])
def test_answers_are_the_official_ones(pair, prompt):
    _, decoder = pair
    request = request_of(decoder, prompt)
    want = GOLDENS[f"{prompt}.greedy"].tolist()
    request.sampling.temperature = 0
    request.max_tokens = len(want)
    request.logprobs = 20
    whole = decoder.type("Delta")()
    for message in decoder.start(request):
        whole.MergeFrom(message.delta)
    assert list(whole.token_ids) == want
    first = {entry.token_id: entry.logprob for entry in whole.logprobs[0].alternatives}
    assert len(first) == 20
    logits = GOLDENS[f"{prompt}.logits"].astype(np.float64)
    logprobs = logits - np.log(np.sum(np.exp(logits)))
    error = compare.relative_error(list(first.values()), logprobs[list(first)])
    resampled = prompt == "text_video_sound"  # 48 kHz
    assert error <= (compare.FAST if resampled else compare.EXACT_MEDIA_PROMPT)
