"""Everything that a client can get wrong: its own clear error, and the next request works."""

import math
import struct
import zlib

import grpc
import numpy as np
import pytest
import services
from google.protobuf import text_format
from services import DECODER, ENCODER, Client, error, sample, start_decoder, start_encoder
from sounds import noise, wav, zeros
from support import ROOT, wait_until

PICTURE = "circle-square.png"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("b")
    with start_encoder(folder) as encoder, start_decoder(folder, encoder, "--context", 2048) as d:
        with Client(encoder) as encoder_client, Client(d) as decoder_client:
            yield encoder_client, decoder_client


@pytest.fixture
def encoder(pair):
    yield pair[0]
    header, data, _ = pair[0].encode(data=sample(PICTURE), max_soft_tokens=70)
    assert len(data) == header.rows * header.dim * 2
    # Where one medium of several is refused, the passes of the others end a moment later.
    wait_until(lambda: pair[0].info(ENCODER).load.encoding == 0)
    assert pair[0].info(ENCODER).load.queued == 0


@pytest.fixture
def decoder(pair):
    yield pair[1]
    assert pair[1].ask("What is two plus three?") == "Five."
    load = pair[1].info(DECODER).load
    assert (load.queued, load.running) == (0, 0)


@pytest.fixture(scope="module")
def soft(pair):
    """Good soft tokens; each test spoils a copy."""
    made = pair[0].soft_tokens(data=sample(PICTURE), max_soft_tokens=70)

    def copy():
        fresh = type(made)()
        fresh.CopyFrom(made)
        return fresh

    return copy


def png_header(width, height):
    """A PNG that declares a size and ends there."""
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + body
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(body))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
    )


def png(width, height):
    """A whole grey PNG."""
    body = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\x80" * width) * height)
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", body), (b"IDAT", pixels), (b"IEND", b"")):
        chunk = kind + content
        data += struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data


BAD_PICTURES = {
    "empty": (dict(data=b""), "INVALID_ARGUMENT", "data"),
    "garbage": (dict(data=bytes(range(256)) * 40), "INVALID_ARGUMENT", "data"),
    "text": (dict(data=b"hello, I am a picture"), "INVALID_ARGUMENT", "data"),
    "truncated png": (dict(data=sample(PICTURE)[:1000]), "INVALID_ARGUMENT", "data"),
    "truncated jpeg": (dict(data=sample("triangle.jpg")[:300]), "INVALID_ARGUMENT", "data"),
    "huge header": (dict(data=png_header(50_000, 50_000)), "RESOURCE_EXHAUSTED", "data"),
    "no pixels": (dict(data=png_header(0, 10)), "INVALID_ARGUMENT", "data"),
    "wrong mime": (
        dict(data=sample(PICTURE), mime_type="image/jpeg"),
        "INVALID_ARGUMENT",
        "mime_type",
    ),
    "unknown mime": (
        dict(data=sample(PICTURE), mime_type="image/tiff"),
        "INVALID_ARGUMENT",
        "mime_type",
    ),
    "budget": (dict(data=sample(PICTURE), max_soft_tokens=100), "INVALID_ARGUMENT", "max_soft_tokens"),
    "huge budget": (
        dict(data=sample(PICTURE), max_soft_tokens=2**32 - 1),
        "INVALID_ARGUMENT",
        "max_soft_tokens",
    ),
}


SOUND = "digits-7.wav"
NAN = np.where(np.arange(16000) == 9000, np.nan, 0.1).astype(np.float32)
PCM = dict(data=sample(SOUND)[44:])
# All with a mime type, so that they are sounds in a prompt too.
BAD_SOUNDS = {
    "empty": (dict(data=b"", mime_type="audio/wav"), "INVALID_ARGUMENT", "data"),
    "garbage": (
        dict(data=bytes(range(256)) * 40, mime_type="audio/flac"),
        "INVALID_ARGUMENT",
        "data",
    ),
    "text": (dict(data=b"hello, I am a sound", mime_type="audio/mpeg"), "INVALID_ARGUMENT", "data"),
    "picture": (dict(data=sample(PICTURE), mime_type="audio/wav"), "INVALID_ARGUMENT", "data"),
    "header only": (dict(data=sample(SOUND)[:30], mime_type="audio/wav"), "INVALID_ARGUMENT", "data"),
    "no samples": (dict(data=wav(zeros(0)), mime_type="audio/wav"), "INVALID_ARGUMENT", "data"),
    "10 ms": (dict(data=wav(zeros(160)), mime_type="audio/wav"), "INVALID_ARGUMENT", "data"),
    "10 ms at 44.1 kHz": (
        dict(data=wav(zeros(441), rate=44_100), mime_type="audio/wav"),
        "INVALID_ARGUMENT",
        "data",
    ),
    "not a number": (dict(data=wav(NAN), mime_type="audio/wav"), "INVALID_ARGUMENT", "data"),
    "too long": (
        dict(data=wav(zeros(601 * 4000), rate=4000), mime_type="audio/wav"),
        "RESOURCE_EXHAUSTED",
        "data",
    ),
    "wrong mime": (dict(data=sample(SOUND), mime_type="audio/flac"), "INVALID_ARGUMENT", "mime_type"),
    "mime of samples": (
        dict(data=sample(SOUND), mime_type="audio/L16;rate=16000"),
        "INVALID_ARGUMENT",
        "mime_type",
    ),
    "raw without a rate": (dict(PCM, mime_type="audio/L16"), "INVALID_ARGUMENT", "mime_type"),
    "raw at no rate": (dict(PCM, mime_type="audio/L16;rate=0"), "INVALID_ARGUMENT", "mime_type"),
    "raw of no channels": (
        dict(PCM, mime_type="audio/L16;rate=8000;channels=0"),
        "INVALID_ARGUMENT",
        "mime_type",
    ),
    "raw with half a sample": (
        dict(data=PCM["data"][:-1], mime_type="audio/L16;rate=16000"),
        "INVALID_ARGUMENT",
        "data",
    ),
}
BAD_MEDIA = [
    *(pytest.param("Image", *case, id=name) for name, case in BAD_PICTURES.items()),
    *(pytest.param("Audio", *case, id=f"sound: {name}") for name, case in BAD_SOUNDS.items()),
]


@pytest.mark.parametrize("kind, fields, code, field", BAD_MEDIA)
def test_bad_medium_to_the_encoder(encoder, kind, fields, code, field):
    request = encoder.type(f"Encode{kind}Request")(**fields)
    failure = error(lambda: encoder.method(ENCODER, f"Encode{kind}")(request))
    assert failure[0] == code, failure
    assert failure[1] and failure[2] and failure[3] == field, failure


@pytest.mark.parametrize("kind, fields, code, field", BAD_MEDIA)
def test_bad_medium_in_a_prompt(decoder, kind, fields, code, field):
    request = decoder.chat([("user", ["Hello!"])])
    request.chat.messages[0].parts.add(media=fields)
    failure = error(lambda: decoder.start(request))
    assert failure[0] == code, failure
    assert failure[3] == f"chat.messages[0].parts[1].media.{field}", failure


def test_no_budget_for_sounds(decoder):
    request = decoder.chat([("user", [sample(SOUND), "Transcribe the audio."])])
    request.chat.messages[0].parts[0].media.max_soft_tokens = 70
    code, message, reason, field = error(lambda: decoder.start(request))
    assert (code, reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert field == "chat.messages[0].parts[0].media.max_soft_tokens"
    assert "70" in message and "sound" in message


def test_one_bad_medium_among_good_ones(decoder):
    request = decoder.chat([("user", [sample(SOUND), sample(PICTURE), b"", "What is this?"])])
    request.chat.messages[0].parts[2].media.data = wav(zeros(7))
    failure = error(lambda: decoder.start(request))
    assert failure[0] == "INVALID_ARGUMENT"
    assert failure[3] == "chat.messages[0].parts[2].media.data", failure


@pytest.mark.parametrize("kind, name", [("Image", PICTURE), ("Audio", SOUND)])
def test_unknown_data_type(encoder, kind, name):
    request = encoder.type(f"Encode{kind}Request")(data=sample(name), data_type=7)
    failure = error(lambda: encoder.method(ENCODER, f"Encode{kind}")(request))
    assert failure[0] == "INVALID_ARGUMENT" and failure[3] == "data_type"


# The official rule: a side that would be 0 becomes 48 pixels, the other at most 48 * budget.
@pytest.mark.parametrize("size, rows", [((1, 1), 256), ((1, 4000), 280), ((4000, 1), 280)])
def test_odd_pictures_are_answered(encoder, decoder, size, rows):
    header, data, _ = encoder.encode(data=png(*size))
    assert header.rows == rows and len(data) == rows * header.dim * 2
    assert decoder.ask(png(*size), "What is in this picture?")


BAD_PROMPTS = {
    "nothing": ("", "prompt"),
    "no messages": ("chat {}", "chat.messages"),
    "no parts": ("chat { messages { role: ROLE_USER } }", "chat.messages[0].parts"),
    "no role": ("chat { messages { parts { text: 'x' } } }", "chat.messages[0].role"),
    "unknown role": ("chat { messages { role: 7 parts { text: 'x' } } }", "chat.messages[0].role"),
    "late system": (
        "chat { messages { role: ROLE_USER parts { text: 'x' } }"
        " messages { role: ROLE_SYSTEM parts { text: 'x' } } }",
        "chat.messages[1].role",
    ),
    "raw without parts": ("raw {}", "raw.parts"),
    "raw without tokens": ("raw { no_bos: true parts { text: '' } }", "raw"),
    "id beyond the vocabulary": (
        "raw { parts { token_ids { ids: 1 ids: 2767 } } }",
        "raw.parts[0].token_ids.ids[1]",
    ),
    "id of 32 bits": (
        "raw { parts { token_ids { ids: 4294967295 } } }",
        "raw.parts[0].token_ids.ids[0]",
    ),
    "temperature": ("sampling { temperature: nan }", "sampling.temperature"),
    "top_p": ("sampling { top_p: -0.5 }", "sampling.top_p"),
    "logprobs": ("logprobs: 1000", "logprobs"),
    "stop": ("stop: ''", "stop[0]"),
}


@pytest.mark.parametrize("name", BAD_PROMPTS)
def test_bad_prompt(decoder, name):
    text, field = BAD_PROMPTS[name]
    if not text.startswith(("chat", "raw")) and text:
        text += " chat { messages { role: ROLE_USER parts { text: 'x' } } }"
    request = text_format.Parse(text, decoder.type("GenerateRequest")())
    failure = error(lambda: decoder.start(request))
    assert failure[0] == "INVALID_ARGUMENT", failure
    assert failure[2] == "INVALID_FIELD" and failure[3] == field, failure


def test_prompt_over_the_context(decoder):
    request = decoder.chat([("user", ["one two three four " * 1000])])
    code, message, reason, field = error(lambda: decoder.start(request))
    assert (code, reason, field) == ("OUT_OF_RANGE", "PROMPT_TOO_LONG", "prompt")
    assert "2048" in message
    # Text that fits, but not together with its pictures.
    pictures = [sample(PICTURE)] * 8
    request = decoder.chat([("user", [*pictures, "What is in this picture?"])])
    code, message, reason, field = error(lambda: decoder.start(request))
    assert (code, reason) == ("OUT_OF_RANGE", "PROMPT_TOO_LONG")
    assert "2048" in message


@pytest.mark.parametrize(
    "text, field",
    [
        ("chat { tools { name: 'f' } }", "chat.tools"),
        ("chat { messages { parts { tool_call { name: 'f' } } } }", "chat.messages[1].parts[0]"),
    ],
)
def test_what_is_not_there_yet(decoder, text, field):
    request = decoder.chat([("user", ["Hello!"])])
    more = text_format.Parse(text, decoder.type("GenerateRequest")())
    for message in more.chat.messages:
        message.role = 2
    request.MergeFrom(more)
    failure = error(lambda: decoder.start(request))
    assert failure[0] == "UNIMPLEMENTED" and failure[3] == field, failure


def spoil_dim(soft):
    soft.header.dim += 1


def spoil_size(soft):
    soft.data = soft.data[:-2]
    soft.crc32c = services.crc32c(soft.data)


def spoil_rows(soft):
    soft.header.ClearField("image")
    soft.header.rows += 1


def spoil_overflow(soft):
    # rows * dim * 2 bytes is the true size modulo 2^32.
    soft.header.ClearField("image")
    soft.header.rows += 2**32 // math.gcd(2**32, soft.header.dim * 2)


def spoil_terabytes(soft):
    soft.header.ClearField("image")
    soft.header.rows = 2**32 - 1
    soft.data = b""
    soft.crc32c = 0


def spoil_nan(soft):
    soft.data = b"\xc0\x7f" + soft.data[2:]
    soft.crc32c = services.crc32c(soft.data)


def spoil_checksum(soft):
    soft.data = bytes([soft.data[0] ^ 1]) + soft.data[1:]


def spoil_fingerprint(soft):
    soft.header.encoder_fingerprint = bytes(32)


def spoil_short_fingerprint(soft):
    soft.header.encoder_fingerprint = soft.header.encoder_fingerprint[:2]


def spoil_modality(soft):
    soft.header.modality = 0


def spoil_type(soft):
    soft.header.data_type = 0


SPOILED = [
    (spoil_dim, "INVALID_ARGUMENT", "INVALID_FIELD", "header.dim"),
    (spoil_size, "INVALID_ARGUMENT", "INVALID_FIELD", "data"),
    (spoil_rows, "INVALID_ARGUMENT", "INVALID_FIELD", "data"),
    (spoil_overflow, "INVALID_ARGUMENT", "INVALID_FIELD", "data"),
    (spoil_terabytes, "INVALID_ARGUMENT", "INVALID_FIELD", "data"),
    (spoil_nan, "INVALID_ARGUMENT", "NOT_FINITE", "data"),
    (spoil_checksum, "INVALID_ARGUMENT", "BAD_CHECKSUM", "crc32c"),
    (
        spoil_fingerprint,
        "FAILED_PRECONDITION",
        "FOREIGN_SOFT_TOKENS",
        "header.encoder_fingerprint",
    ),
    (
        spoil_short_fingerprint,
        "FAILED_PRECONDITION",
        "FOREIGN_SOFT_TOKENS",
        "header.encoder_fingerprint",
    ),
    (spoil_modality, "INVALID_ARGUMENT", "INVALID_FIELD", "header.modality"),
    (spoil_type, "INVALID_ARGUMENT", "INVALID_FIELD", "header.data_type"),
]


@pytest.mark.parametrize("spoil, code, reason, field", SPOILED, ids=[s[0].__name__ for s in SPOILED])
def test_bad_soft_tokens(decoder, soft, spoil, code, reason, field):
    assert decoder.ask(soft(), "What is in this picture?")
    spoiled = soft()
    spoil(spoiled)
    failure = error(lambda: decoder.start(decoder.chat([("user", [spoiled, "What is this?"])])))
    assert failure[0] == code, failure
    assert failure[2:] == (reason, f"chat.messages[0].parts[0].soft_tokens.{field}"), failure


def segments(*rows):
    def spoil(soft):
        del soft.header.audio.segments[:]
        for first, count in rows:
            soft.header.audio.segments.add(first_row=first, rows=count)

    return spoil


def spoil_time(soft):
    soft.header.audio.segments[0].duration.seconds = -1


def spoil_kind(soft):
    soft.header.modality = 1


# Of 775 rows in segments of 750 and 25.
SPOILED_SEGMENTS = {
    "too few": (segments((0, 750)), "header.audio.segments"),
    "too many": (segments((0, 750), (750, 26)), "header.audio.segments[1].rows"),
    "overflow": (segments((0, 750), (750, 2**32 - 725)), "header.audio.segments[1].rows"),
    "empty": (segments((0, 775), (775, 0)), "header.audio.segments[1].rows"),
    "gap": (segments((0, 749), (750, 25)), "header.audio.segments[1].first_row"),
    "overlap": (segments((0, 750), (749, 26)), "header.audio.segments[1].first_row"),
    "time": (spoil_time, "header.audio.segments[0].duration"),
    "picture": (spoil_kind, "header.audio"),
}


@pytest.fixture(scope="module")
def long_sound(pair):
    return pair[0].soft_tokens(audio=True, data=wav(noise(31)))


@pytest.mark.parametrize("name", SPOILED_SEGMENTS)
def test_bad_segments(decoder, long_sound, name):
    spoil, field = SPOILED_SEGMENTS[name]
    spoiled = type(long_sound)()
    spoiled.CopyFrom(long_sound)
    assert decoder.ask(spoiled, "Transcribe the audio.")
    spoil(spoiled)
    failure = error(lambda: decoder.start(decoder.chat([("user", [spoiled, "What is this?"])])))
    assert (failure[0], failure[2]) == ("INVALID_ARGUMENT", "INVALID_FIELD"), failure
    assert failure[3] == f"chat.messages[0].parts[0].soft_tokens.{field}", failure


def test_foreign_soft_tokens_may_be_allowed(tmp_path, soft):
    foreign = soft()
    spoil_fingerprint(foreign)
    with start_decoder(tmp_path, None, "--allow-foreign-soft-tokens") as service:
        with Client(service) as client:
            assert client.ask(foreign, "What is in this picture?")
            spoil_dim(foreign)
            failure = error(lambda: client.start(client.chat([("user", [foreign, "x"])])))
            assert failure[0] == "INVALID_ARGUMENT" and failure[3].endswith("header.dim")


def test_without_an_encoder(tmp_path, soft):
    with start_decoder(tmp_path, None) as service, Client(service) as client:
        assert client.ask("What is two plus three?") == "Five."
        for part in (sample(PICTURE), sample(SOUND), soft()):
            failure = error(lambda part=part: client.start(client.chat([("user", [part, "x"])])))
            assert failure[0] == "FAILED_PRECONDITION", failure
        assert client.info(DECODER).encoder_fingerprint == b""


def test_encoder_of_another_model(tmp_path):
    other = ROOT / "tests" / "data" / "models" / "mmproj-tiny-F16.gguf"
    with start_encoder(tmp_path, mmproj=other) as encoder:
        with start_decoder(tmp_path, encoder) as service, Client(service) as client:
            request = client.chat([("user", [sample(PICTURE), "What is in this picture?"])])
            code, message, reason, field = error(lambda: client.start(request))
            assert (code, reason) == ("FAILED_PRECONDITION", "FOREIGN_ENCODER")
            assert "width is 160, the decoder's 192" in message
            assert field == "chat.messages[0].parts[0].media"
            assert not client.info(DECODER).encoders[0].healthy
            assert client.ask("What is two plus three?") == "Five."


def test_a_decoder_given_as_encoder(tmp_path):
    with start_decoder(tmp_path, None, listen=f"unix:{tmp_path}/x.sock") as other:
        with start_decoder(tmp_path, other) as service, Client(service) as client:
            request = client.chat([("user", [sample(PICTURE), "x"])])
            code, message, *_ = error(lambda: client.start(request))
            assert code in ("FAILED_PRECONDITION", "UNAVAILABLE"), message


def test_slow_encoder(tmp_path, pair):
    with start_encoder(tmp_path) as encoder:
        flags = ("--encode-limit-seconds", 0.001)
        with start_decoder(tmp_path, encoder, *flags) as service, Client(service) as client:
            request = client.chat([("user", [sample(PICTURE), "What is in this picture?"])])
            request.chat.messages[0].parts[0].media.max_soft_tokens = 1120
            code, _, reason, _ = error(lambda: client.start(request))
            assert (code, reason) == ("UNAVAILABLE", "ENCODER_TOO_SLOW")
            assert client.ask("What is two plus three?") == "Five."


def test_the_clients_deadline(decoder):
    request = decoder.chat([("user", [sample(PICTURE), "What is in this picture?"])])
    with pytest.raises(grpc.RpcError) as failure:
        list(decoder.start(request, timeout=0.001))
    assert failure.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_message_over_the_limit(tmp_path, pair):
    with start_decoder(tmp_path, None, "--max-request-bytes", 100_000) as service:
        with Client(service) as client:
            request = client.chat([("user", ["x" * 200_000])])
            code, _, reason, _ = error(lambda: client.start(request))
            assert (code, reason) == ("RESOURCE_EXHAUSTED", "OVER_LIMIT")
            assert client.ask("What is two plus three?") == "Five."
        assert service.stop() == 0
        assert "OVER_LIMIT" in [e.get("reason") for e in service.events()]
    with start_encoder(tmp_path, "--max-media-bytes", 1000) as service, Client(service) as client:
        for kind, name in (("Image", PICTURE), ("Audio", SOUND)):
            request = client.type(f"Encode{kind}Request")(data=sample(name))
            call = client.method(ENCODER, f"Encode{kind}")
            failure = error(lambda call=call, request=request: call(request))
            assert failure[0] == "RESOURCE_EXHAUSTED" and failure[2:] == ("OVER_LIMIT", "data")
