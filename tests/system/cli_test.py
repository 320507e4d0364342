"""The command line against a decoder that the test plays: what it sends, shows, and exits with."""

import json
import os
import pty
import re

import grpc
import pytest
import support
from fake_decoder import STARTED, delta, fake_decoder, finished, refuse
from support import ROOT, SAMPLES, Running, decoder_pb2, run_cli

AUDIO = ROOT / "tests" / "data" / "audio"
MP4, WEBM = AUDIO / "video.mp4", AUDIO / "video.webm"


@pytest.fixture
def decoder(tmp_path):
    with fake_decoder(tmp_path) as fake:
        yield fake


def chat(tmp_path, decoder, *arguments, **more):
    return run_cli(tmp_path, "chat", "--server", decoder.address, *arguments, **more)


def texts(request):
    return [[part.text for part in m.parts if part.text] for m in request.chat.messages]


def test_answer_goes_to_stdout_alone(tmp_path, decoder):
    decoder.script = lambda *_: [
        STARTED,
        delta("Let me see.", decoder_pb2.CHANNEL_THOUGHT),
        delta("A red "),
        delta("circle."),
        finished(),
    ]
    done = chat(tmp_path, decoder, "--think", "What is it?")
    assert (done.returncode, done.stdout, done.stderr) == (0, "A red circle.\n", "Let me see.\n")
    assert decoder.requests[0].chat.thinking


def test_everything_asked_for_is_sent(tmp_path, decoder):
    picture = SAMPLES / "small.png"
    done = chat(
        tmp_path, decoder, "--system", "Be brief.", "--image", picture, "--budget", "70",
        "--temperature", "0.5", "--top-k", "3", "--top-p", "0.5", "--min-p", "0.25", "--seed", "9",
        "--repetition-penalty", "1.5", "--max-tokens", "11", "--stop", "a", "--stop", "b", "Why?",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (request,) = decoder.requests
    system, user = request.chat.messages
    assert (system.role, user.role) == (decoder_pb2.ROLE_SYSTEM, decoder_pb2.ROLE_USER)
    assert texts(request) == [["Be brief."], ["Why?"]]
    assert user.parts[0].media.data == picture.read_bytes()
    assert user.parts[0].media.max_soft_tokens == 70
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.5, 3, 0.5)
    assert (sampling.min_p, sampling.seed, sampling.repetition_penalty) == (0.25, 9, 1.5)
    assert (request.max_tokens, list(request.stop)) == (11, ["a", "b"])
    assert not request.chat.thinking


def test_what_is_not_asked_for_is_left_to_the_server(tmp_path, decoder):
    assert chat(tmp_path, decoder, "Hi").returncode == 0
    assert decoder.requests[0].sampling == decoder_pb2.Sampling()
    assert decoder.requests[0].max_tokens == 0


def test_media_keep_the_order_of_the_command_line(tmp_path, decoder):
    sound = SAMPLES / "digits-7.wav"
    soft = support.soft_tokens_pb2.SoftTokens(data=b"1234")
    soft.header.rows = 1
    file = tmp_path / "x.soft"
    file.write_bytes(soft.SerializeToString())
    first, last = SAMPLES / "small.png", SAMPLES / "three.png"
    done = chat(
        tmp_path, decoder, "--image", first, "--soft", file, "--audio", sound, "--budget", "140",
        "--image", last, "--audio", "-", "Which?", stdin=sound.read_bytes()[:99],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *parts, text = decoder.requests[0].chat.messages[0].parts
    assert parts[1].soft_tokens == soft and text.text == "Which?"
    assert [p.media.data for p in parts] == [
        first.read_bytes(),
        b"",
        sound.read_bytes(),
        last.read_bytes(),
        sound.read_bytes()[:99],
    ]
    # A budget is for pictures.
    assert [p.media.max_soft_tokens for p in parts] == [140, 0, 0, 140, 0]
    assert {p.media.mime_type for p in parts} == {""}


def test_how_a_video_is_read_is_sent_with_it(tmp_path, decoder):
    picture, sound = SAMPLES / "small.png", SAMPLES / "digits-7.wav"
    done = chat(
        tmp_path, decoder, "--video", MP4, "--image", picture, "--audio", sound, "--video", "-",
        "--budget", "140", "--frames", "8", "--no-sound", "What?", stdin=WEBM.read_bytes(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    media = [p.media for p in decoder.requests[0].chat.messages[0].parts[:-1]]
    assert [m.data for m in media] == [f.read_bytes() for f in (MP4, picture, sound, WEBM)]
    assert [m.max_soft_tokens for m in media] == [140, 140, 0, 140]
    # Servers refuse these of anything but a video.
    assert [m.max_frames for m in media] == [8, 0, 0, 8]
    assert [m.without_sound for m in media] == [True, False, False, True]
    assert {m.mime_type for m in media} == {""}
    assert chat(tmp_path, decoder, "--video", MP4, "What?").returncode == 0
    assert decoder.requests[1].chat.messages[0].parts[0].media == decoder_pb2.Media(
        data=MP4.read_bytes()
    )


@pytest.mark.parametrize(("file", "mime_type"), [(MP4, "audio/mp4"), (WEBM, "audio/webm")])
def test_of_a_video_that_is_given_as_a_sound_the_sound_is_asked_for(
    tmp_path, decoder, file, mime_type
):
    assert chat(tmp_path, decoder, "--audio", "-", "?", stdin=file.read_bytes()).returncode == 0
    media = decoder.requests[0].chat.messages[0].parts[0].media
    assert (media.data, media.mime_type) == (file.read_bytes(), mime_type)


def test_a_video_that_is_cut_off_is_told_by_its_name(tmp_path, decoder):
    data = MP4.read_bytes()
    cut = data[: data.index(b"moov")]
    file = tmp_path / "x.MP4"
    file.write_bytes(cut)
    assert chat(tmp_path, decoder, "--video", file, "What?").returncode == 0
    assert decoder.requests[0].chat.messages[0].parts[0].media.mime_type == "video/mp4"


def test_a_sound_that_begins_oddly_is_told_by_its_name(tmp_path, decoder):
    file = tmp_path / "x.MP3"
    file.write_bytes(bytes(20_000) + (SAMPLES / "digits-314.mp3").read_bytes())
    assert chat(tmp_path, decoder, "--audio", file, "What?").returncode == 0
    assert decoder.requests[0].chat.messages[0].parts[0].media.mime_type == "audio/mpeg"
    # The content counts more than the name.
    file.write_bytes((SAMPLES / "digits-7.wav").read_bytes())
    assert chat(tmp_path, decoder, "--audio", file, "What?").returncode == 0
    assert decoder.requests[1].chat.messages[0].parts[0].media.mime_type == ""


def wrong_media(tmp_path, decoder, text, *arguments, **more):
    done = chat(tmp_path, decoder, *arguments, "What?", **more)
    assert done.returncode == 2 and decoder.requests == [], done
    assert text in (done.stdout if "--json" in arguments else done.stderr), done


def test_media_of_another_kind_are_told_at_once(tmp_path, decoder):
    picture, sound = SAMPLES / "small.png", SAMPLES / "digits-7.wav"
    wrong_media(tmp_path, decoder, "is a sound; give it with --audio", "--image", sound)
    wrong_media(tmp_path, decoder, "small.png is no sound; WAV, FLAC", "--audio", picture)
    wrong_media(tmp_path, decoder, "is no sound", "--audio", "-", stdin=picture.read_bytes())
    wrong_media(tmp_path, decoder, "is a video; give it with --video", "--image", MP4)
    wrong_media(tmp_path, decoder, "is a picture; give it with --image", "--video", picture)
    wrong_media(tmp_path, decoder, "is a sound; give it with --audio", "--video", sound)
    wrong_media(tmp_path, decoder, "is no video; MP4, MOV", "--video", support.MODEL)
    # What a name says is not enough.
    named = tmp_path / "x.mp4"
    named.write_bytes((AUDIO / "aac-44k-stereo.m4a").read_bytes())
    wrong_media(tmp_path, decoder, "x.mp4 is a sound", "--video", named)
    wrong_media(tmp_path, decoder, "standard input is empty", "--audio", "-")
    wrong_media(tmp_path, decoder, '"message":"what came on', "--json", "--audio", "-")
    wrong_media(tmp_path, decoder, "nowhere.wav", "--audio", "nowhere.wav")


def test_standard_input_has_limits(tmp_path, decoder):
    sound = (SAMPLES / "digits-7.wav").read_bytes()
    endless = sound + bytes(32 << 20)
    wrong_media(tmp_path, decoder, "more than 32 MiB", "--audio", "-", stdin=endless)
    wrong_media(tmp_path, decoder, "once", "--audio", "-", "--audio", "-", stdin=sound)
    exact = sound + bytes((32 << 20) - len(sound))
    assert chat(tmp_path, decoder, "--audio", "-", "What?", stdin=exact).returncode == 0
    assert decoder.requests[0].chat.messages[0].parts[0].media.data == exact


@pytest.mark.parametrize("flags", [[], ["--json"], ["-"]])
@pytest.mark.parametrize("option", ["--audio", "--image", "--video", "--soft"])
def test_standard_input_is_not_a_medium_and_the_question(tmp_path, decoder, flags, option):
    done = chat(tmp_path, decoder, option, "-", *flags, stdin="Hello\n")
    assert (done.returncode, done.stdout, decoder.requests) == (2, "", [])
    assert "needs the question on the command line" in done.stderr


def test_a_terminal_is_no_sound(tmp_path, decoder):
    ours, theirs = pty.openpty()
    arguments = ("chat", "--server", decoder.address, "--audio", "-", "What?")
    with Running(tmp_path, *arguments, stdin=theirs) as running:
        assert running.process.wait(support.PATIENCE) == 2
        assert b"pipe a sound into it" in running.process.stderr.read()
    os.close(ours)
    os.close(theirs)


def test_ctrl_c_ends_the_wait_for_standard_input(tmp_path, decoder):
    silent, never = os.pipe()
    arguments = ("chat", "--server", decoder.address, "--audio", "-", "What?")
    with Running(tmp_path, *arguments, stdin=silent) as running:
        support.wait_until(lambda: support.waits_in(running.process.pid, "poll"))
        assert running.stop() == 130
    os.close(silent)
    os.close(never)
    assert decoder.requests == []


def test_json_is_one_event_per_line(tmp_path, decoder):
    done = chat(tmp_path, decoder, "--json", "Hi")
    started, answer, end = map(json.loads, done.stdout.splitlines())
    assert started["started"]["prompt_tokens"] == 7
    assert answer["delta"] == {"channel": "CHANNEL_ANSWER", "text": "Yes."}
    assert end["finished"]["reason"] == "FINISH_REASON_STOP"


def test_an_early_end_is_told(tmp_path, decoder):
    decoder.script = lambda *_: [delta("One, two"), finished(decoder_pb2.FINISH_REASON_MAX_TOKENS)]
    done = chat(tmp_path, decoder, "Count.")
    assert done.stdout == "One, two\n"
    assert "ended early: max tokens" in done.stderr


def test_a_refusal_is_shown_with_all_its_details(tmp_path, decoder):
    decoder.script = lambda _, context: refuse(context)
    done = chat(tmp_path, decoder, "Hi")
    assert (done.returncode, done.stdout) == (1, "")
    for part in (
        "RESOURCE_EXHAUSTED: 64 requests are waiting",
        "field: chat.messages[0]",
        "reason: QUEUE_FULL",
        "try again in 2 s",
    ):
        assert part in done.stderr
    done = chat(tmp_path, decoder, "--json", "Hi")
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"], error["reason"]) == (
        1,
        "RESOURCE_EXHAUSTED",
        "QUEUE_FULL",
    )
    assert (error["field"], error["retry_seconds"]) == ("chat.messages[0]", 2)


def test_a_video_whose_sound_can_not_be_read_may_go_without(tmp_path, decoder):
    message = "its sound can't be read, which without_sound leaves out"
    decoder.script = lambda _, context: context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)
    done = chat(tmp_path, decoder, "--video", MP4, "What?")
    assert done.returncode == 1 and "hint: --no-sound leaves" in done.stderr


def test_a_timeout_ends_the_wait(tmp_path, decoder):
    decoder.hang_after(STARTED)
    done = chat(tmp_path, decoder, "--timeout", "0.3", "Hi")
    assert done.returncode == 1
    assert "DEADLINE_EXCEEDED" in done.stderr


def test_ctrl_c_cancels_the_answer(tmp_path, decoder):
    decoder.hang_after(STARTED, delta("Well, "))
    with Running(tmp_path, "chat", "--server", decoder.address, "Hi") as running:
        running.wait_for("Well, ")
        assert running.stop() == 130
    assert decoder.cancelled.wait(support.PATIENCE)


def test_a_conversation_sends_its_history(tmp_path, decoder):
    lines = f"Hi\n/image {SAMPLES / 'small.png'}\nWhat is it?\n/reset\nHello\n/quit\nnever sent\n"
    done = chat(tmp_path, decoder, "--system", "S", typed=lines)
    assert (done.returncode, done.stdout) == (0, "Yes.\n" * 3)
    assert [texts(r) for r in decoder.requests] == [
        [["S"], ["Hi"]],
        [["S"], ["Hi"], ["Yes."], ["What is it?"]],
        [["S"], ["Hello"]],
    ]
    assert decoder.requests[1].chat.messages[3].parts[0].media.data
    assert decoder.requests[1].chat.messages[2].role == decoder_pb2.ROLE_MODEL


def sent(decoder):
    return [(r.session_id, texts(r)) for r in decoder.requests]


def test_a_conversation_in_a_session_sends_what_is_new(tmp_path, decoder):
    decoder.sessions = set()
    done = chat(tmp_path, decoder, "--system", "S", typed="one\ntwo\n/reset\nthree\n")
    assert (done.returncode, done.stdout) == (0, "Yes.\n" * 3)
    assert sent(decoder) == [
        ("session 0", [["S"], ["one"]]),
        ("session 0", [["two"]]),
        ("session 1", [["S"], ["three"]]),
    ]
    assert decoder.deleted == ["session 0", "session 1"]


def test_all_calls_of_a_conversation_take_the_same_way(tmp_path, decoder):
    decoder.sessions = set()
    for _ in range(2):
        assert chat(tmp_path, decoder, typed="one\ntwo\n").returncode == 0
    first, second = decoder.routes[:4], decoder.routes[4:]
    assert len(set(first)) == len(set(second)) == 1 and first != second
    assert all(re.fullmatch("[0-9a-f]{32}", route) for route in decoder.routes)
    assert chat(tmp_path, decoder, "one").returncode == 0
    assert decoder.routes[8:] == [None]


def test_no_session_for_one_question_or_who_wants_none(tmp_path, decoder):
    decoder.sessions = set()
    assert chat(tmp_path, decoder, "one").returncode == 0
    assert chat(tmp_path, decoder, "--no-session", typed="one\ntwo\n").returncode == 0
    assert sent(decoder)[-1] == ("", [["one"], ["Yes."], ["two"]])
    assert decoder.deleted == [] and decoder.sessions == set()


def test_a_session_that_is_gone_costs_nothing_but_bytes(tmp_path, decoder):
    decoder.sessions = set()

    def script(request, context):
        yield from [STARTED, delta("Yes."), finished()]
        if texts(request)[-1] == ["one"]:
            decoder.sessions.clear()  # it was started anew

    decoder.script = script
    done = chat(tmp_path, decoder, typed="one\ntwo\nthree\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Yes.\n" * 3, "")
    (_, *after) = sent(decoder)
    assert after[0][1] == [["two"]]
    assert after[1][1] == [["one"], ["Yes."], ["two"]]
    assert after[2] == (after[1][0], [["three"]])


def test_a_session_is_where_its_decoder_says(tmp_path, decoder):
    (tmp_path / "other").mkdir()
    with fake_decoder(tmp_path / "other") as other:
        decoder.sessions, decoder.endpoint = set(), other.address
        other.sessions = {"session 0"}
        answer = other.script

        def script(request, context):
            if texts(request)[-1] == ["three"]:
                refuse(context, grpc.StatusCode.UNAVAILABLE, "DRAINING")
            yield from answer(request, context)

        other.script = script
        done = chat(tmp_path, decoder, typed="one\ntwo\nthree\n")
        assert (done.returncode, done.stdout) == (0, "Yes.\n" * 3)
        assert [turns for _, turns in sent(other)][:2] == [[["one"]], [["two"]]]
        assert sent(decoder)[-1] == ("", [["one"], ["Yes."], ["two"], ["Yes."], ["three"]])


def test_no_session_where_none_is_kept(tmp_path, decoder):
    decoder.sessions = set()
    decoder.script = lambda request, context: (
        refuse(context, reason="SESSIONS_FULL")
        if request.session_id
        else [STARTED, delta("Yes."), finished()]
    )
    done = chat(tmp_path, decoder, typed="one\ntwo\n")
    assert (done.returncode, done.stdout) == (0, "Yes.\n" * 2)
    assert [bool(session) for session, _ in sent(decoder)] == [True, False, False]


def test_a_failed_turn_does_not_count_on_its_session(tmp_path, decoder):
    decoder.sessions = set()
    answer = decoder.script
    decoder.script = lambda request, context: (
        refuse(context) if "bad" in texts(request)[-1] else answer(request, context)
    )
    done = chat(tmp_path, decoder, typed="one\nbad\ntwo\n")
    assert done.returncode == 1
    assert sent(decoder)[-1] == ("session 1", [["one"], ["Yes."], ["two"]])


def test_a_conversation_takes_sounds(tmp_path, decoder):
    picture, sound = SAMPLES / "small.png", SAMPLES / "digits-7.wav"
    lines = (
        f"/audio {sound}\n/image {picture}\nWhat?\n/image {sound}\n/audio -\n/audio {sound}\nAnd?\n"
    )
    done = chat(tmp_path, decoder, "--budget", "70", typed=lines)
    assert (done.returncode, done.stdout) == (0, "Yes.\n" * 2)
    turns = decoder.requests[1].chat.messages
    assert [[p.media.data for p in turn.parts] for turn in turns] == [
        [sound.read_bytes(), picture.read_bytes(), b""],
        [b""],
        [sound.read_bytes(), b""],
    ]
    assert [p.media.max_soft_tokens for p in turns[0].parts] == [0, 70, 0]
    assert "is a sound" in done.stderr
    assert "/audio takes a file" in done.stderr


def test_a_conversation_takes_videos(tmp_path, decoder):
    lines = f"/video {MP4}\nWhat?\n/image {MP4}\n/video {SAMPLES / 'small.png'}\n/video -\nAnd?\n"
    done = chat(tmp_path, decoder, "--frames", "4", typed=lines)
    assert (done.returncode, done.stdout) == (0, "Yes.\n" * 2)
    video, *_ = decoder.requests[1].chat.messages[0].parts
    assert (video.media.data, video.media.max_frames) == (MP4.read_bytes(), 4)
    assert texts(decoder.requests[1])[-1] == ["And?"]
    assert "is a video; give it with --video (in a conversation: /video)" in done.stderr
    assert "is a picture; give it with --image" in done.stderr
    assert "/video takes a file" in done.stderr


def test_a_failed_turn_leaves_the_conversation_as_it_was(tmp_path, decoder):
    answer = decoder.script
    decoder.script = lambda request, context: (
        refuse(context) if "bad" in texts(request)[-1] else answer(request, context)
    )
    done = chat(tmp_path, decoder, typed="one\nbad\ntwo\n/image nowhere.png\n/what\n")
    assert done.returncode == 1
    assert texts(decoder.requests[-1]) == [["one"], ["Yes."], ["two"]]
    assert "RESOURCE_EXHAUSTED" in done.stderr
    assert "can't read nowhere.png" in done.stderr
    assert "unknown command /what" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["chat", "--bogus", "hi"], "--bogus"),
        (["chat", "--image", "nowhere.png", "hi"], "nowhere.png"),
        (["chat", "--budget", "71", "hi"], "71"),
        (["chat", "--frames", "0", "hi"], "0"),
        (["chat", "--frames", "257", "hi"], "257"),
        (["chat", "--vidoe", MP4, "hi"], "there is no --vidoe; did you mean --video?"),
        (["encode", SAMPLES / "small.png", "-o", "x", "--frames", "4"], "--frames is for videos"),
        (["encode", SAMPLES / "digits-7.wav", "-o", "x", "--no-sound"], "--no-sound is for videos"),
        (["chat", "--mmproj", support.MMPROJ, "hi"], "--model"),
        (["up", "--model", "nowhere.gguf", "--mmproj", "nowhere.gguf"], "nowhere.gguf"),
        (["encode", SAMPLES / "small.png"], "--output"),
        (["inspect", "nowhere.gguf"], "nowhere.gguf"),
        (["nonsense"], "--help"),
        ([], "--help"),
    ],
)
def test_wrong_usage_exits_with_2(tmp_path, arguments, text):
    done = run_cli(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert text in done.stderr


def test_a_file_that_holds_no_soft_tokens(tmp_path, decoder):
    done = chat(tmp_path, decoder, "--soft", SAMPLES / "small.png", "hi")
    assert done.returncode == 2
    assert "softsplice encode" in done.stderr


@pytest.mark.parametrize("command", ["up", "chat", "encode", "info", "inspect", None])
def test_help_is_everywhere(tmp_path, command):
    done = run_cli(tmp_path, *filter(None, [command, "--help"]))
    assert done.returncode == 0
    assert "softsplice " in done.stdout
    assert done.stderr == ""


def test_no_server(tmp_path):
    nowhere = f"unix:{tmp_path}/nothing.sock"
    for arguments in (
        ["chat", "--server", nowhere, "hi"],
        ["encode", SAMPLES / "small.png", "-o", tmp_path / "x", "--encoder", nowhere],
        ["info", "--server", nowhere, "--encoder", nowhere],
    ):
        done = run_cli(tmp_path, *arguments)
        assert done.returncode == 3
        assert nowhere in done.stderr
        assert "softsplice up" in done.stderr


def test_the_address_can_come_from_the_environment(tmp_path, decoder):
    done = run_cli(tmp_path, "chat", "hi", SOFTSPLICE_SERVER=decoder.address)
    assert (done.returncode, done.stdout) == (0, "Yes.\n")
