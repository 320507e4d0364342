"""Sounds of every length and form through both services, from bytes to words."""

import numpy as np
import pytest
import sounds
from rewritten import one_tower
from services import DECODER, ENCODER, Client, error, sample, start_decoder, start_encoder
from sounds import noise, wav, zeros
from support import DEMO, ROOT, wait_until

TRANSCRIBE = "Transcribe the audio."
MARK = "<audio|><|audio>"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("u")
    with start_encoder(folder) as encoder, start_decoder(folder, encoder) as decoder:
        with Client(encoder) as encoder_client, Client(decoder) as decoder_client:
            yield encoder_client, decoder_client


def count(decoder, *parts):
    chat = decoder.chat([("user", parts)]).chat
    request = decoder.type("CountTokensRequest")(
        chat=chat, include_rendered=True, include_token_ids=True
    )
    return decoder.method(DECODER, "CountTokens")(request)


def seconds(duration):
    return duration.seconds + duration.nanos / 1e9


def official_rows(samples):
    """Soft tokens of one run of 16 kHz samples, by the official rule."""
    return -(-max(0, (samples - 1) // 160) // 4)


@pytest.mark.parametrize("samples", [161, 320, 321, 800, 801, 16000, 479_999, 480_000])
def test_rows_follow_the_official_rule(pair, samples):
    encoder, decoder = pair
    data = wav(noise(1)[:samples] if samples < 16000 else noise(samples / 16000))
    header, rows, _ = encoder.encode(audio=True, data=data)
    assert header.rows == official_rows(samples) and len(rows) == header.rows * header.dim * 2
    (segment,) = header.audio.segments
    assert (segment.first_row, segment.rows, seconds(segment.start)) == (0, header.rows, 0)
    assert seconds(segment.duration) == pytest.approx(samples / 16000, abs=1e-6)
    assert decoder.ask(data, TRANSCRIBE)


def test_a_long_sound_has_segments_between_markers(pair):
    encoder, decoder = pair
    data = wav(noise(65))
    header, rows, summary = encoder.encode(audio=True, data=data)
    assert [(s.first_row, s.rows) for s in header.audio.segments] == [
        (0, 750),
        (750, 750),
        (1500, 125),
    ]
    assert [seconds(s.start) for s in header.audio.segments] == [0, 30, 60]
    assert [seconds(s.duration) for s in header.audio.segments] == [30, 30, 5]
    assert len(rows) == header.rows * header.dim * 2
    # Each run is that of its own 30 seconds.
    part, second, _ = encoder.encode(audio=True, data=wav(noise(65)[480_000:960_000]))
    width = header.dim * 2
    assert part.rows == 750 and rows[750 * width : 1500 * width] == second
    only, nothing, _ = encoder.encode(audio=True, data=data, header_only=True)
    assert only == header and nothing == b""

    counted = count(decoder, data, TRANSCRIBE)
    runs = MARK.join(f"… {n} soft tokens …" for n in (750, 750, 125))
    assert f"user\n<|audio>{runs}<audio|>Transcribe" in counted.rendered
    started, text, _ = decoder.generate(decoder.chat([("user", [data, TRANSCRIBE])]))
    assert text and started.prompt_tokens == counted.tokens
    # As bytes: the two clients' message types come from different descriptor pools.
    assert started.media[0].header.SerializeToString() == header.SerializeToString()
    assert seconds(started.media[0].encode) > 0
    soft = decoder.type("SoftTokens")(data=rows, crc32c=summary.crc32c)
    soft.header.ParseFromString(header.SerializeToString())
    assert count(decoder, soft, TRANSCRIBE).tokens == counted.tokens
    assert decoder.ask(soft, TRANSCRIBE) == text


def test_raw_prompts_get_markers_inside_a_sound(pair):
    encoder, decoder = pair
    soft = encoder.soft_tokens(audio=True, data=wav(noise(31)))
    request = decoder.type("CountTokensRequest")(include_rendered=True)
    request.raw.no_bos = True
    request.raw.parts.add().soft_tokens.ParseFromString(soft.SerializeToString())
    counted = decoder.method(DECODER, "CountTokens")(request)
    assert counted.rendered == f"… 750 soft tokens …{MARK}… 25 soft tokens …"
    assert counted.tokens == 775 + 2


def test_a_sound_that_does_not_fit_the_context(pair):
    _, decoder = pair
    data = wav(noise(360, rate=4000), rate=4000)
    request = decoder.chat([("user", [data, TRANSCRIBE])])
    code, message, reason, field = error(lambda: decoder.start(request))
    assert (code, reason) == ("OUT_OF_RANGE", "PROMPT_TOO_LONG")
    assert field == "chat.messages[0].parts[0].media"
    assert "9000" in message and "8192" in message
    # Several that would fit one by one.
    request = decoder.chat([("user", [*[wav(noise(120))] * 3, TRANSCRIBE])])
    code, message, reason, field = error(lambda: decoder.start(request))
    assert (code, reason) == ("OUT_OF_RANGE", "PROMPT_TOO_LONG")
    assert field.startswith("chat.messages[0].parts[") and field.endswith("].media")


def loud(samples):
    return np.clip(samples.astype(np.float32) / 300, -1, 1)


ODD = {
    "silence": wav(zeros(32_000)),
    "silence in floats": wav(np.zeros(32_000, np.float32)),
    "click": wav(np.concatenate([zeros(8000), np.full(160, 30_000, np.int16), zeros(8000)])),
    "offset": wav(np.full(32_000, 20_000, np.int16)),
    "clipped": wav(loud(noise(2))),
    "beyond full scale": wav(100 * loud(noise(2))),
    "six channels": wav(np.stack([noise(2)] * 6, 1)),
    "4 kHz": wav(noise(1), rate=4000),
    "192 kHz": wav(noise(1), rate=192_000),
    "header of a pipe": wav(noise(1), data_bytes=0xFFFFFFFF),
    "header of a pipe, 2 GiB": wav(noise(1), data_bytes=0x7FFFFFFF),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_sounds_are_answered(pair, name):
    encoder, decoder = pair
    header, data, _ = encoder.encode(audio=True, data=ODD[name], data_type=1)
    assert header.rows > 0
    assert np.isfinite(np.frombuffer(data, np.float32)).all()
    assert decoder.ask(ODD[name], TRANSCRIBE)
    assert decoder.ask("What is two plus three?") == "Five."


SOUNDS = ROOT / "tests" / "data" / "audio"


# Three of them through FFmpeg, in a process beside the encoder.
@pytest.mark.parametrize(
    "name",
    ["aac-44k-stereo.m4a", "aac-16k.aac", "opus-48k.webm", "granules-24k.opus", "mp3-in-16k.wav"],
)
def test_sounds_as_phones_and_browsers_make_them(pair, name):
    encoder, decoder = pair
    sound = (SOUNDS / name).read_bytes()
    samples = len((SOUNDS / f"{name}.s16").read_bytes()) // 2
    header, _, _ = encoder.encode(audio=True, data=sound, mime_type="application/octet-stream")
    assert header.rows == official_rows(samples)
    assert decoder.ask(sound, TRANSCRIBE)


def test_the_sound_of_a_video_is_read_for_who_asks_for_it(pair):
    encoder, _ = pair
    video = (SOUNDS / "video.mp4").read_bytes()
    assert encoder.encode(audio=True, data=video, mime_type="audio/mp4")[0].rows > 0
    # And nobody else does afterwards.
    for mime_type in ("", "video/mp4", "application/octet-stream"):
        code, message, reason, field = error(
            lambda kind=mime_type: encoder.encode(audio=True, data=video, mime_type=kind)
        )
        assert (code, reason, field) == ("INVALID_ARGUMENT", "INVALID_MEDIA", "data")
        assert "holds a video" in message


def test_a_pipes_header_does_not_change_the_sound(pair):
    encoder, _ = pair
    samples = noise(1.5)
    plain = encoder.encode(audio=True, data=wav(samples))[1]
    for size in (0xFFFFFFFF, 0x7FFFFFFF):
        assert encoder.encode(audio=True, data=wav(samples, data_bytes=size))[1] == plain


def test_raw_pcm_is_the_same_sound(pair):
    encoder, decoder = pair
    recorded = sample("digits-9025.wav")
    big_endian = np.frombuffer(recorded[44:], "<i2").astype(">i2").tobytes()
    plain = encoder.encode(audio=True, data=recorded)[1]
    mime_type = "audio/L16;rate=16000;channels=1"
    raw = encoder.encode(audio=True, data=big_endian, mime_type=mime_type)[1]
    assert raw == plain
    request = decoder.chat([("user", ["What digits do you hear?"])])
    request.chat.messages[0].parts.add(media=dict(data=big_endian, mime_type=mime_type))
    assert decoder.generate(request)[1] == "nine zero two five"


def test_mp3_without_a_tag(pair):
    _, decoder = pair
    data = sample("digits-314.mp3")
    if data.startswith(b"ID3"):
        size = sum((b & 127) << 7 * (3 - i) for i, b in enumerate(data[6:10]))
        data = data[10 + size :]
    assert data[0] == 0xFF
    assert decoder.ask(data, TRANSCRIBE) == "three one four"


@pytest.mark.parametrize("name", ["digits-314.flac", "digits-314.mp3", "digits-9025.wav"])
def test_truncated_sounds(pair, name):
    """An error that says so, or what came; never a crash."""
    encoder, decoder = pair
    data = sample(name)
    for cut in (1, 12, 44, 100, 1000, len(data) // 2, len(data) - 1):
        request = decoder.chat([("user", [TRANSCRIBE])])
        request.chat.messages[0].parts.add(media=dict(data=data[:cut], mime_type="audio/" + name[-3:].replace("lac", "flac").replace("mp3", "mpeg")))
        try:
            assert decoder.generate(request)[1]
        except Exception:
            code, message, reason, field = error(lambda request=request: decoder.start(request))
            assert code == "INVALID_ARGUMENT" and message and reason
            assert field.startswith("chat.messages[0].parts[1].media"), field
    assert decoder.ask(data, TRANSCRIBE)
    assert encoder.info(ENCODER).load.encoding == 0


def test_cancel_ends_the_encoding(pair):
    encoder, decoder = pair
    call = decoder.start(decoder.chat([("user", [wav(noise(200)), TRANSCRIBE])]))
    wait_until(lambda: encoder.info(ENCODER).load.encoding == 1)
    call.cancel()
    wait_until(lambda: encoder.info(ENCODER).load.encoding == 0)
    assert decoder.info(DECODER).encoders[0].in_flight == 0
    assert decoder.ask(sample("digits-7.wav"), TRANSCRIBE) == "seven"


PICTURE = ("circle-square.png", "What is in this picture?")
SOUND = ("digits-7.wav", TRANSCRIBE)


@pytest.mark.parametrize("kept, works, fails", [("vision", PICTURE, SOUND), ("audio", SOUND, PICTURE)])
def test_an_encoder_with_one_tower(tmp_path, kept, works, fails):
    with start_encoder(tmp_path, mmproj=one_tower(kept).write(tmp_path / "one.gguf")) as encoder:
        with start_decoder(tmp_path, encoder) as service, Client(service) as client:
            with Client(encoder) as encoder_client:
                info = encoder_client.info(ENCODER)
            assert (info.has_image_tower, info.has_audio_tower) == (kept == "vision", kept == "audio")
            assert client.ask(sample(works[0]), works[1])
            request = client.chat([("user", [sample(fails[0]), fails[1]])])
            code, message, reason, field = error(lambda: client.start(request))
            assert code == "FAILED_PRECONDITION" and reason, message
            assert "tower" in message
            assert field.startswith("chat.messages[0].parts[0].media")
            assert client.ask(sample(works[0]), works[1])


def test_limits(tmp_path):
    with start_encoder(tmp_path, "--max-audio-seconds", 2) as encoder, Client(encoder) as client:
        assert seconds(client.info(ENCODER).limits.max_audio_duration) == 2
        assert client.encode(audio=True, data=wav(noise(2)))[0].rows == 50
        request = client.type("EncodeAudioRequest")(data=wav(noise(2.1)))
        failure = error(lambda: client.method(ENCODER, "EncodeAudio")(request))
        assert failure[0] == "RESOURCE_EXHAUSTED" and failure[2:] == ("OVER_LIMIT", "data"), failure
        assert "2" in failure[1]


def test_the_samples_are_of_the_length_they_say(pair):
    """So that the other tests test what they claim."""
    encoder, _ = pair
    long = (DEMO / "sounds" / "long-86-7.opus").read_bytes()
    header, _, _ = encoder.encode(audio=True, data=long)
    assert [s.rows for s in header.audio.segments] == [750, official_rows(4 * sounds.RATE)]
