"""Videos through both services: what is answered, what is refused and how, from a file's bytes to words."""

import re
import time

import grpc
import pytest
from rewritten import one_tower
from services import DECODER, ENCODER, Client, error, sample, start_decoder, start_encoder
from support import PATIENCE, ROOT, wait_until

VIDEOS = ROOT / "tests" / "data" / "video"
QUESTION = "What happens?"
IMAGE, AUDIO, VIDEO = 1, 2, 3


def clip(name):
    return (VIDEOS / name).read_bytes()


# h264 and aac of 2 s, hevc that is turned, vp9 and opus of 10 frames, h264 of 70 s.
SHORT, ROTATED, FEW, MINUTES = map(clip, ("short.mp4", "rotated.mov", "few.webm", "minutes.mp4"))
# So much that it takes a while.
SLOW = {"data": MINUTES, "max_soft_tokens": 1120}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("v")
    with start_encoder(folder) as encoder, start_decoder(folder, encoder) as decoder:
        with Client(encoder) as encoder_client, Client(decoder) as decoder_client:
            yield encoder_client, decoder_client


def busy(encoder):
    load = encoder.info(ENCODER).load
    return load.queued, load.decoding, load.encoding, load.parked


@pytest.fixture
def encoder(pair):
    yield pair[0]
    assert pair[0].encode(video=True, data=FEW)[0].rows > 0
    wait_until(lambda: busy(pair[0]) == (0, 0, 0, 0))


@pytest.fixture
def decoder(pair):
    yield pair[1]
    assert pair[1].ask("What is two plus three?") == "Five."
    load = pair[1].info(DECODER).load
    assert (load.queued, load.running, load.encoding) == (0, 0, 0)


def prompt(decoder, *parts):
    request = decoder.chat([("user", parts)])
    request.max_tokens = 24  # the model was never shown a video
    return request


def count(decoder, request):
    counted = decoder.type("CountTokensRequest")(chat=request.chat, include_rendered=True)
    return decoder.method(DECODER, "CountTokens")(counted)


def encode_error(encoder, **fields):
    request = encoder.type("EncodeVideoRequest")(**fields)
    return error(lambda: encoder.method(ENCODER, "EncodeVideo")(request))


def prompt_error(decoder, *parts):
    return error(lambda: decoder.start(prompt(decoder, *parts)))


def test_a_video_is_answered(pair):
    encoder, decoder = pair
    header = encoder.encode(video=True, data=SHORT)[0]
    started, text, _ = decoder.generate(prompt(decoder, SHORT, QUESTION))
    assert text
    # As bytes: the two clients' message types come from different descriptor pools.
    assert started.media[0].header.SerializeToString() == header.SerializeToString()
    assert started.prompt_tokens == count(decoder, prompt(decoder, SHORT, QUESTION)).tokens
    assert header.modality == VIDEO and len(header.video.sound) == 1


@pytest.mark.parametrize("data", [SHORT, ROTATED, FEW], ids=["mp4", "mov", "webm"])
def test_a_video_needs_no_type(pair, data):
    encoder, decoder = pair
    rows = encoder.encode(video=True, data=data)[1]
    for mime_type in ("application/octet-stream", "video/x-unheard-of"):
        assert encoder.encode(video=True, data=data, mime_type=mime_type)[1] == rows
        assert decoder.generate(prompt(decoder, {"data": data, "mime_type": mime_type}))[1]
    assert decoder.generate(prompt(decoder, data, QUESTION))[1]


def test_types_of_videos(encoder):
    for data, mime_types in (
        (SHORT, ("video/mp4", "video/quicktime", "Video/MP4; codecs=avc1")),
        (ROTATED, ("video/quicktime", "video/mp4")),
        (FEW, ("video/webm", "video/x-matroska")),
    ):
        for mime_type in mime_types:
            assert encoder.encode(video=True, data=data, mime_type=mime_type)[0].rows
    for data, mime_type in ((SHORT, "video/webm"), (FEW, "video/mp4"), (SHORT, "image/png")):
        code, message, reason, field = encode_error(encoder, data=data, mime_type=mime_type)
        assert (code, reason, field) == ("INVALID_ARGUMENT", "INVALID_FIELD", "mime_type")
        assert mime_type in message


def test_a_video_called_a_sound_gives_its_sound_alone(pair):
    encoder, decoder = pair
    header, rows, _ = encoder.encode(audio=True, data=SHORT, mime_type="audio/mp4")
    called = {"data": SHORT, "mime_type": "audio/mp4"}
    (use,) = decoder.generate(prompt(decoder, called, QUESTION))[0].media
    assert use.header.SerializeToString() == header.SerializeToString()
    assert header.modality == AUDIO
    # Beside its frames it is the same sound.
    video, all_rows, _ = encoder.encode(video=True, data=SHORT)
    (segment,) = video.video.sound
    assert all_rows[segment.first_row * video.dim * 2 :] == rows
    assert segment.duration == header.audio.segments[0].duration


def test_a_video_called_a_picture_is_refused(decoder):
    called = {"data": SHORT, "mime_type": "image/png"}
    code, message, _, field = prompt_error(decoder, called, QUESTION)
    assert code == "INVALID_ARGUMENT" and message
    assert field.startswith("chat.messages[0].parts[0].media."), field


NO_VIDEOS = {
    "nothing": b"",
    "text": b"hello, I am a video",
    "garbage": bytes(range(256)) * 40,
    "picture": sample("circle-square.png"),
    "sound": sample("digits-7.wav"),
    "sound in an MP4": (ROOT / "tests/data/audio/aac-44k-stereo.m4a").read_bytes(),
    "sound in a WebM": (ROOT / "tests/data/audio/opus-48k.webm").read_bytes(),
    "beginning of an MP4": SHORT[:40],
    "beginning of a WebM": FEW[:60],
}


@pytest.mark.parametrize("name", NO_VIDEOS)
def test_what_is_no_video_is_refused(encoder, name):
    code, message, reason, field = encode_error(encoder, data=NO_VIDEOS[name])
    assert (code, field) == ("INVALID_ARGUMENT", "data"), message
    assert message and reason in ("INVALID_MEDIA", "INVALID_FIELD")


@pytest.mark.parametrize("name", ["short.mp4", "rotated.mov", "minutes.mp4"])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_a_truncated_video_is_refused(pair, name, part):
    encoder, decoder = pair
    data = clip(name)[: int(len(clip(name)) * part)]
    code, message, reason, field = encode_error(encoder, data=data)
    assert (code, reason, field) == ("INVALID_ARGUMENT", "INVALID_MEDIA", "data"), message
    called = {"data": data, "mime_type": "video/mp4"}
    code, message, reason, field = prompt_error(decoder, called, QUESTION)
    assert (code, reason) == ("INVALID_ARGUMENT", "INVALID_MEDIA"), message
    assert field == "chat.messages[0].parts[0].media.data"


def test_a_damaged_video_is_refused_or_read(encoder):
    """Never a crash, never frames that are missing without a word."""
    for name in ("short.mp4", "rotated.mov", "few.webm"):
        whole = clip(name)
        for at in range(len(whole) // 10, len(whole), len(whole) // 7):
            data = whole[:at] + bytes(200) + whole[at + 200 :]
            request = encoder.type("EncodeVideoRequest")(data=data)
            try:
                messages = list(encoder.method(ENCODER, "EncodeVideo")(request))
                rows = sum(len(m.rows.data) for m in messages)
                assert rows == messages[0].header.rows * messages[0].header.dim * 2
            except grpc.RpcError:
                code, message, _, field = encode_error(encoder, data=data)
                assert (code, field) == ("INVALID_ARGUMENT", "data"), (name, at, message)


BAD_OPTIONS = [
    ("max_frames", 257),
    ("max_frames", 2**32 - 1),
    ("max_soft_tokens", 71),
    ("max_soft_tokens", 2**32 - 1),
]


@pytest.mark.parametrize("option, value", BAD_OPTIONS)
def test_options_beyond_what_is_allowed(pair, option, value):
    encoder, decoder = pair
    code, message, reason, field = encode_error(encoder, data=SHORT, **{option: value})
    assert (code, reason, field) == ("INVALID_ARGUMENT", "INVALID_FIELD", option)
    assert option in message
    failure = prompt_error(decoder, {"data": SHORT, option: value}, QUESTION)
    assert failure[0] == "INVALID_ARGUMENT" and failure[2] == "INVALID_FIELD"
    assert failure[3] == f"chat.messages[0].parts[0].media.{option}"


@pytest.mark.parametrize("option, value", [("max_frames", 8), ("without_sound", True)])
@pytest.mark.parametrize("name", ["circle-square.png", "digits-7.wav"])
def test_options_of_videos_are_for_videos(decoder, option, value, name):
    code, message, reason, field = prompt_error(decoder, {"data": sample(name), option: value})
    assert (code, reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert field == f"chat.messages[0].parts[0].media.{option}"
    assert "video" in message


def test_fewer_frames_and_more_rows_of_each(pair):
    encoder, decoder = pair
    options = {"data": SHORT, "max_frames": 3, "max_soft_tokens": 140, "without_sound": True}
    header, rows, _ = encoder.encode(video=True, **options)
    assert len(header.video.frames) == 3 and header.video.frame.max_soft_tokens == 140
    assert 70 < header.rows // 3 <= 140 and len(rows) == header.rows * header.dim * 2
    (use,) = decoder.generate(prompt(decoder, options, QUESTION))[0].media
    assert use.header.SerializeToString() == header.SerializeToString()
    # All that there are where more are asked for.
    assert len(encoder.encode(video=True, data=FEW, max_frames=256)[0].video.frames) == 10


def test_without_its_sound_a_video_is_its_frames(encoder):
    header, rows, _ = encoder.encode(video=True, data=SHORT)
    silent, frames, _ = encoder.encode(video=True, data=SHORT, without_sound=True)
    assert not silent.video.sound and silent.rows == header.video.sound[0].first_row
    assert list(silent.video.frames) == list(header.video.frames)
    assert rows.startswith(frames) and len(frames) == silent.rows * silent.dim * 2
    assert silent.content_digest != header.content_digest
    # One that has none.
    assert not encoder.encode(video=True, data=ROTATED)[0].video.sound


def test_the_header_alone_is_the_same_header(encoder):
    for data in (SHORT, ROTATED, FEW):
        header = encoder.encode(video=True, data=data)[0]
        only, rows, _ = encoder.encode(video=True, data=data, header_only=True)
        assert only == header and rows == b""
    assert encode_error(encoder, data=SHORT[:40], header_only=True)[0] == "INVALID_ARGUMENT"


def test_the_second_request_finds_the_first_ones_rows(tmp_path):
    with start_encoder(tmp_path) as service, Client(service) as client:
        first = client.encode(video=True, data=SHORT)
        again = client.encode(video=True, data=SHORT, max_frames=32, max_soft_tokens=70)
        assert not first[2].cache_hit and again[2].cache_hit
        assert again[:2] == first[:2] and again[2].crc32c == first[2].crc32c
        for option in ({"max_frames": 8}, {"max_soft_tokens": 140}, {"without_sound": True}):
            assert not client.encode(video=True, data=SHORT, **option)[2].cache_hit


def test_a_second_question_about_a_video_does_not_encode_it_again(pair):
    encoder, decoder = pair
    first = decoder.generate(prompt(decoder, FEW, "How many frames are there?"))
    encoded = encoder.info(ENCODER).load.cache_misses
    again = decoder.generate(prompt(decoder, FEW, "How many are there?"))
    assert again[0].media[0].rows_cached == first[0].media[0].header.rows
    assert again[0].cached_tokens > again[0].media[0].rows_cached
    afresh = prompt(decoder, FEW, "How many are there?")
    afresh.no_prefix_cache = True
    (use,) = decoder.generate(afresh)[0].media
    assert use.encoder_cache_hit and encoder.info(ENCODER).load.cache_misses == encoded
    assert decoder.generate(afresh)[1] == again[1]


def test_rendered_prompts_show_times(decoder):
    rendered = count(decoder, prompt(decoder, "See:", MINUTES, QUESTION)).rendered
    times = re.findall(r"(\d\d:\d\d) <\|image>… \d+ soft tokens …<image\|>", rendered)
    assert len(times) == 32 and times == sorted(times)
    assert times[:3] == ["00:00", "00:02", "00:04"] and times[-2:] == ["01:05", "01:07"]
    assert "See:00:00 <|image>" in rendered and "<image|> 00:02 <|image>" in rendered
    assert f"<image|>{QUESTION}" in rendered  # it has no sound
    rendered = count(decoder, prompt(decoder, SHORT, QUESTION)).rendered
    assert re.search(
        r"<image\|><\|audio>… \d+ soft tokens …<audio\|>" + re.escape(QUESTION), rendered
    )


def test_a_video_beside_others_in_a_conversation(decoder):
    picture, sound = sample("circle-square.png"), sample("digits-7.wav")
    few, silent = {"data": SHORT, "max_frames": 4}, {"data": ROTATED, "max_frames": 2}
    request = prompt(decoder, picture, few, sound, silent, "What is all this?")
    started, text, _ = decoder.generate(request)
    assert text and [use.header.modality for use in started.media] == [IMAGE, VIDEO, AUDIO, VIDEO]
    assert started.prompt_tokens == count(decoder, request).tokens
    # In a later turn.
    request = prompt(decoder, few, QUESTION)
    text = decoder.generate(request)[1]
    turns = [
        ("user", [few, QUESTION]),
        ("model", [text]),
        ("user", [sound, "Transcribe the audio."]),
    ]
    assert decoder.generate(decoder.chat(turns))[1]


def test_soft_tokens_of_a_video_sent_back_give_the_same_answer(pair):
    encoder, decoder = pair
    soft = encoder.soft_tokens(video=True, data=SHORT)
    ways = [prompt(decoder, way, QUESTION) for way in (SHORT, soft)]
    assert count(decoder, ways[0]) == count(decoder, ways[1])
    answers = [decoder.generate(way) for way in ways]
    assert answers[0][1] == answers[1][1]
    assert answers[0][0].prompt_tokens == answers[1][0].prompt_tokens


def spoilt(soft, spoil):
    made = type(soft)()
    made.CopyFrom(soft)
    spoil(made.header)
    return made


def test_soft_tokens_whose_layout_is_wrong(pair):
    encoder, decoder = pair
    soft = encoder.soft_tokens(video=True, data=SHORT, max_frames=3)
    header = "chat.messages[0].parts[0].soft_tokens.header."
    for field, spoil in (
        ("video.frames", lambda h: h.video.ClearField("frames")),
        ("video.frames", lambda h: h.ClearField("video")),
        ("video.frames[1].first_row", lambda h: setattr(h.video.frames[1], "first_row", 0)),
        ("video.frames[2].rows", lambda h: setattr(h.video.frames[2], "rows", 10**6)),
        ("video.frames[0].rows", lambda h: setattr(h.video.frames[0], "rows", 0)),
        ("video.frames[1].time", lambda h: h.video.frames[1].time.FromSeconds(-1)),
        ("video.sound[0].first_row", lambda h: setattr(h.video.sound[0], "first_row", 0)),
        ("video", lambda h: h.video.ClearField("sound")),
        ("video", lambda h: setattr(h, "modality", AUDIO)),
    ):
        code, message, reason, where = prompt_error(decoder, spoilt(soft, spoil), QUESTION)
        assert (code, reason) == ("INVALID_ARGUMENT", "INVALID_FIELD"), message
        assert where == header + field, message
    assert decoder.generate(prompt(decoder, soft, QUESTION))[1]


def test_a_raw_prompt_takes_a_video_and_not_its_soft_tokens(pair):
    encoder, decoder = pair
    request = decoder.type("CountTokensRequest")(include_rendered=True)
    request.raw.no_bos = True
    request.raw.parts.add(media={"data": FEW, "max_frames": 2, "without_sound": True})
    rendered = decoder.method(DECODER, "CountTokens")(request).rendered
    frame = r"00:00 <\|image>… \d+ soft tokens …<image\|>"
    assert re.fullmatch(f"{frame} {frame}", rendered)
    request.raw.parts[0].soft_tokens.ParseFromString(
        encoder.soft_tokens(video=True, data=FEW).SerializeToString()
    )
    code, message, reason, field = error(lambda: decoder.method(DECODER, "CountTokens")(request))
    assert (code, reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert field == "raw.parts[0].soft_tokens" and "video" in message


def test_a_video_that_does_not_fit_the_context(decoder):
    options = {"data": MINUTES, "max_frames": 140}
    code, message, reason, _ = prompt_error(decoder, options, QUESTION)
    assert (code, reason) == ("OUT_OF_RANGE", "PROMPT_TOO_LONG")
    assert "8192" in message


def test_cancel_ends_a_video_in_its_middle(encoder):
    request = encoder.type("EncodeVideoRequest")(**SLOW)
    call = encoder.method(ENCODER, "EncodeVideo")(request, timeout=PATIENCE)
    assert next(call).HasField("header")
    begun = time.monotonic()
    assert next(call).HasField("rows")
    a_frame = time.monotonic() - begun
    call.cancel()
    wait_until(lambda: busy(encoder) == (0, 0, 0, 0))
    assert time.monotonic() - begun < 10 * a_frame + 1  # of 32


def test_cancel_of_a_prompt_ends_its_video(pair):
    encoder, decoder = pair
    call = decoder.start(prompt(decoder, {**SLOW, "max_frames": 7}, QUESTION))
    wait_until(lambda: busy(encoder) == (0, 0, 1, 0))
    call.cancel()
    wait_until(lambda: busy(encoder) == (0, 0, 0, 0))
    assert decoder.info(DECODER).encoders[0].in_flight == 0


@pytest.mark.parametrize("seconds", [0.05, 1])
def test_a_deadline_ends_a_video(encoder, seconds):
    """While it is decoded, or in the midst of its frames."""
    wait_until(lambda: not encoder.info(ENCODER).load.expected_wait.ToNanoseconds())
    request = encoder.type("EncodeVideoRequest")(**SLOW)
    method = encoder.method(ENCODER, "EncodeVideo")
    assert error(lambda: method(request, timeout=seconds))[0] == "DEADLINE_EXCEEDED"
    wait_until(lambda: encoder.info(ENCODER).load.encoding == 0)


def test_limits_of_time_pixels_and_bytes(tmp_path):
    flags = ("--max-video-seconds", 1.5, "--max-image-pixels", 20_000)
    with start_encoder(tmp_path, *flags) as service, Client(service) as client:
        assert client.info(ENCODER).limits.max_video_duration.ToMilliseconds() == 1500
        code, message, reason, field = encode_error(client, data=SHORT)
        assert (code, reason, field) == ("RESOURCE_EXHAUSTED", "OVER_LIMIT", "data")
        assert "1.5" in message
        assert client.encode(video=True, data=FEW)[0].rows
    with (
        start_encoder(tmp_path, "--max-image-pixels", 19_199) as service,
        Client(service) as client,
    ):
        for data in (SHORT, ROTATED, FEW):  # 160 x 120
            code, message, reason, field = encode_error(client, data=data)
            assert (code, reason, field) == ("RESOURCE_EXHAUSTED", "OVER_LIMIT", "data")
            assert "19199" in message
        assert client.encode(video=True, data=MINUTES)[0].rows


def test_frames_that_take_more_than_the_memory_are_refused(encoder):
    request = {"data": MINUTES, "max_frames": 256, "max_soft_tokens": 1120}
    code, message, reason, field = encode_error(encoder, **request)
    assert (code, reason, field) == ("RESOURCE_EXHAUSTED", "OVER_LIMIT", "data")
    assert str(1 << 30) in message


def test_others_are_not_kept_waiting_by_a_large_video(tmp_path):
    """They are decoded, and encoded, between two of its frames."""
    with start_encoder(tmp_path) as service, Client(service) as client:
        request = client.type("EncodeVideoRequest")(**SLOW)
        call = client.method(ENCODER, "EncodeVideo")(request, timeout=PATIENCE)
        assert next(call).HasField("header")
        assert client.encode(data=sample("circle-square.png"))[0].rows
        assert client.encode(video=True, data=SHORT, max_frames=4)[0].rows
        assert any(busy(client))
        call.cancel()


def test_the_limit_of_sounds_is_for_those_of_videos_too(tmp_path):
    with start_encoder(tmp_path, "--max-audio-seconds", 1) as service, Client(service) as client:
        code, message, reason, field = encode_error(client, data=SHORT)
        assert (code, reason, field) == ("RESOURCE_EXHAUSTED", "OVER_LIMIT", "data")
        assert "without_sound" in message
        assert client.encode(video=True, data=SHORT, without_sound=True)[0].rows


@pytest.mark.parametrize("kept", ["vision", "audio"])
def test_an_encoder_with_one_tower(tmp_path, kept):
    mmproj = one_tower(kept).write(tmp_path / "one.gguf")
    with start_encoder(tmp_path, mmproj=mmproj) as service, Client(service) as client:
        code, message, reason, _ = encode_error(client, data=SHORT)
        assert (code, reason) == ("FAILED_PRECONDITION", "NO_TOWER")
        if kept == "audio":
            assert "image tower" in message
            return
        assert "audio tower" in message and "without_sound" in message
        assert client.encode(video=True, data=SHORT, without_sound=True)[0].rows
        assert client.encode(video=True, data=ROTATED)[0].rows
        with start_decoder(tmp_path, service) as decoder, Client(decoder) as asks:
            failure = prompt_error(asks, SHORT, QUESTION)
            assert (failure[0], failure[2]) == ("FAILED_PRECONDITION", "NO_TOWER")
            assert failure[3].startswith("chat.messages[0].parts[0].media")
            assert asks.generate(prompt(asks, {"data": SHORT, "without_sound": True}))[1]
