"""Prompts with pictures and sounds through both services, token by token as transformers goes on: small models of E4B's shape
and of E2B's."""

import io
import json
import wave

import numpy as np
import pytest
from PIL import Image
from services import Client, start_decoder, start_encoder
from support import ROOT
from synth import IMAGES, SOUNDS, synth_picture, synth_sound

DATA = ROOT / "tests" / "data"
INDEX = json.loads((DATA / "goldens" / "index.json").read_text())
BUDGET = 70  # of the goldens' pictures
NEVER_SAID = ("<image|>", "<audio|>")


def png(name):
    file = io.BytesIO()
    Image.fromarray(synth_picture(*IMAGES[name])).save(file, "PNG")
    return file.getvalue()


def wav(name):
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 16000, 0, "NONE", ""))
        out.writeframes(synth_sound(*SOUNDS[name]).astype("<i2").tobytes())
    return file.getvalue()


@pytest.fixture(scope="module", params=["tiny", "tiny_e2b"])
def model(request, tmp_path_factory):
    """A model's name, and a client of its decoder."""
    folder, files = tmp_path_factory.mktemp("g"), DATA / "models"
    with (
        start_encoder(folder, mmproj=files / f"mmproj-{request.param}-F16.gguf") as encoder,
        start_decoder(folder, encoder, model=files / f"{request.param}-F16.gguf") as decoder,
        Client(decoder) as client,
    ):
        yield request.param, client


def ids_of(client, text):
    request = client.type("CountTokensRequest")(include_token_ids=True)
    request.raw.no_bos = True
    request.raw.parts.add(text_with_special_tokens=text)
    return list(client.method("softsplice.v1.DecoderService", "CountTokens")(request).token_ids)


def raw_prompt(client, tokens, media):
    """The request for a golden's tokens: each run of placeholders, with its markers, is a medium."""
    marks = {kind: [ids_of(client, text)[0] for text in texts] for kind, texts in (
        ("i", ("<|image|>", "<|image>", "<image|>")), ("a", ("<|audio|>", "<|audio>", "<audio|>")))}
    request = client.type("GenerateRequest")()
    request.raw.no_bos = True
    for kind, name in media:
        placeholder, begin, end = marks[kind]
        first = tokens.index(placeholder)
        rows = next(i for i, token in enumerate(tokens[first:]) if token != placeholder)
        assert tokens[first - 1] == begin and tokens[first + rows] == end
        request.raw.parts.add().token_ids.ids.extend(tokens[: first - 1])
        part = request.raw.parts.add().media
        part.data = png(name) if kind == "i" else wav(name)
        part.max_soft_tokens = BUDGET if kind == "i" else 0
        tokens = tokens[first + rows + 1 :]
    request.raw.parts.add().token_ids.ids.extend(tokens)
    return request


def test_greedy_tokens(model):
    name, client = model
    goldens = np.load(DATA / "goldens" / f"{name}-prompts.npz")
    never = {ids_of(client, text)[0] for text in NEVER_SAID}
    compared = 0
    for prompt, about in INDEX[name].items():
        if not prompt.startswith("prompt."):
            continue
        prompt = prompt.removeprefix("prompt.")
        tokens = goldens[f"{prompt}.tokens"].tolist()
        request = raw_prompt(client, tokens, [medium.split("/") for medium in about["media"]])
        want = goldens[f"{prompt}.greedy"].tolist()
        want = want[: next((i for i, token in enumerate(want) if token in never), len(want))]
        request.sampling.temperature = 0
        request.max_tokens = len(want)
        messages = list(client.start(request))
        assert messages[0].started.prompt_tokens == len(tokens), prompt
        said = [token for message in messages for token in message.delta.token_ids]
        assert said == want, prompt
        compared += len(want)
    assert compared > 30
