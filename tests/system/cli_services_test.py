"""The command line with both services on the demo model: up, chat, encode, info, inspect."""

import json
import os
import signal
import socket

import grpc
import pytest
import support
from sounds import noise, wav
from support import MMPROJ, MODEL, SAMPLES, Running, run_cli

PICTURE = SAMPLES / "circle-square.png"
QUESTION = "What is in this picture?"
# The reference implementation's answers.
CASES = json.loads((SAMPLES / "expected.json").read_text())
ANSWER = next(c["expected_text"] for c in CASES if c["name"] == "describe-two") + "\n"
GREEDY = ("--temperature", "0")


def up(runtime, *arguments):
    running = Running(runtime, "up", "--model", MODEL, "--mmproj", MMPROJ, *arguments)
    running.wait_for("Ctrl-C stops both services.")
    return running


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    """A folder whose default sockets answer."""
    folder = tmp_path_factory.mktemp("up")
    with up(folder) as running:
        yield folder
        assert running.stop() == 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_chat_about_a_picture(runtime):
    done = run_cli(runtime, "chat", "--image", PICTURE, *GREEDY, QUESTION)
    assert (done.returncode, done.stdout) == (0, ANSWER), done.stderr


def test_chat_in_json(runtime):
    done = run_cli(runtime, "chat", "--json", "--image", PICTURE, *GREEDY, QUESTION)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    header = events[0]["started"]["media"][0]["header"]
    assert header["rows"] == header["image"]["grid_rows"] * header["image"]["grid_columns"]
    assert "".join(e["delta"]["text"] for e in events[1:-1]) == ANSWER.strip()
    assert events[-1]["finished"]["reason"] == "FINISH_REASON_STOP"


SOUND = SAMPLES / "digits-314.wav"
TRANSCRIBE = "Transcribe the audio."
HEARD = "three one four\n"


@pytest.mark.parametrize("name", ["digits-314.wav", "digits-314.mp3", "digits-314.flac"])
def test_chat_about_a_sound(runtime, name):
    done = run_cli(runtime, "chat", "--audio", SAMPLES / name, *GREEDY, TRANSCRIBE)
    assert (done.returncode, done.stdout) == (0, HEARD), done.stderr
    data = (SAMPLES / name).read_bytes()
    done = run_cli(runtime, "chat", "--audio", "-", *GREEDY, TRANSCRIBE, stdin=data)
    assert (done.returncode, done.stdout) == (0, HEARD), done.stderr


def test_chat_about_a_picture_and_a_sound(runtime):
    media = ("--image", SAMPLES / "small.png", "--audio", SAMPLES / "digits-86.wav")
    question = "Describe the picture and transcribe the audio."
    done = run_cli(runtime, "chat", *media, *GREEDY, question)
    expected = next(c["expected_text"] for c in CASES if c["name"] == "picture-and-sound")
    assert (done.returncode, done.stdout) == (0, expected + "\n"), done.stderr


def test_encoded_sounds_answer_as_sounds_do(runtime, tmp_path):
    file = tmp_path / "x.soft"
    done = run_cli(runtime, "encode", SOUND, "-o", file)
    assert done.returncode == 0, done.stderr
    soft = support.soft_tokens_pb2.SoftTokens.FromString(file.read_bytes())
    seconds = (len(SOUND.read_bytes()) - 44) / 32000
    assert done.stdout == f"{file}: {soft.header.rows} rows of 192 bf16, sound of {seconds:.2f} s\n"
    done = run_cli(runtime, "chat", "--soft", file, *GREEDY, TRANSCRIBE)
    assert (done.returncode, done.stdout) == (0, HEARD), done.stderr
    done = run_cli(runtime, "encode", SOUND, "-o", file, "--budget", "70")
    assert done.returncode == 2 and "--budget is for pictures" in done.stderr


def test_encode_lists_the_segments_of_a_long_sound(runtime, tmp_path):
    long, file = tmp_path / "long", tmp_path / "x.soft"
    long.write_bytes(wav(noise(65)))
    done = run_cli(runtime, "encode", long, "-o", file, "--data-type", "f16")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{file}: 1625 rows of 192 f16, sound of 65.00 s in 3 segments",
        "  sound from 0.00 s to 30.00 s: rows 0 to 749",
        "  sound from 30.00 s to 60.00 s: rows 750 to 1499",
        "  sound from 60.00 s to 65.00 s: rows 1500 to 1624",
    ]


def test_a_sound_that_is_too_long_says_what_can_be_done(runtime, tmp_path):
    long = tmp_path / "long.wav"
    long.write_bytes(wav(noise(360, rate=4000), rate=4000))
    done = run_cli(runtime, "chat", "--audio", long, TRANSCRIBE)
    assert (done.returncode, done.stdout) == (1, "")
    assert "OUT_OF_RANGE" in done.stderr and "shorten the prompt or its sounds" in done.stderr


# 160 x 120, 50 frames in two seconds, with 32,768 samples of sound (as ffmpeg counts them).
CLIP = support.ROOT / "tests" / "data" / "video" / "short.mp4"
WATCH = "What is in this video?"


def test_encode_lists_the_frames_and_the_sound_of_a_video(runtime, tmp_path):
    """70 rows at most: 432 x 336 pixels keep the ratio, in patches of 48."""
    file = tmp_path / "x.soft"
    done = run_cli(runtime, "encode", CLIP, "-o", file, "--frames", "4")
    assert done.returncode == 0, done.stderr
    frames = [
        "  frame at 0.00 s: rows 0 to 62",
        "  frame at 0.48 s: rows 63 to 125",
        "  frame at 1.00 s: rows 126 to 188",
        "  frame at 1.48 s: rows 189 to 251",
    ]
    video = "rows of 192 bf16, video of 2.00 s, 4 frames, grid 9x7, picture 160x120 read as 432x336"
    assert done.stdout.splitlines() == [
        f"{file}: 303 {video}",
        *frames,
        "  sound from 0.00 s to 2.05 s: rows 252 to 302",
    ]
    done = run_cli(
        runtime, "encode", "-", "-o", file, "--frames", "4", "--no-sound", stdin=CLIP.read_bytes()
    )
    assert done.stdout.splitlines() == [f"{file}: 252 {video}", *frames], done.stderr


def test_encoded_videos_answer_as_videos_do(runtime, tmp_path):
    file = tmp_path / "x.soft"
    done = run_cli(runtime, "encode", CLIP, "-o", file)
    assert done.returncode == 0, done.stderr
    soft = run_cli(runtime, "chat", "--soft", file, *GREEDY, WATCH)
    video = run_cli(runtime, "chat", "--video", CLIP, *GREEDY, WATCH)
    assert (video.returncode, video.stdout) == (0, soft.stdout), video.stderr
    assert video.stdout
    typed = f"/video {CLIP}\n{WATCH}\n"
    assert run_cli(runtime, "chat", *GREEDY, typed=typed).stdout == video.stdout


def prompt_tokens(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[0])["started"]["prompt_tokens"]


def test_options_of_videos_reach_the_encoder(runtime):
    """A frame has 63 rows, two markers, a time of five characters, a blank behind that and, if it is not the first, one
    before; the sound 51 rows and two markers."""
    two, one, silent, sound = (
        prompt_tokens(run_cli(runtime, "chat", "--json", *flags, "--max-tokens", "1", WATCH))
        for flags in (
            ["--video", CLIP, "--frames", "2"],
            ["--video", CLIP, "--frames", "1"],
            ["--video", CLIP, "--frames", "1", "--no-sound"],
            ["--audio", CLIP],
        )
    )
    assert (two - one, one - silent, one - sound) == (72, 53, 71)


def test_a_video_that_is_too_long_says_what_can_be_done(runtime):
    done = run_cli(runtime, "chat", "--video", CLIP, "--budget", "560", WATCH)
    assert (done.returncode, done.stdout) == (1, "")
    assert "OUT_OF_RANGE" in done.stderr and "videos fewer --frames" in done.stderr


def test_a_video_that_is_cut_off(runtime, tmp_path):
    file = tmp_path / "x.mp4"
    file.write_bytes(CLIP.read_bytes()[:5000])
    for arguments in (
        ["encode", file, "-o", tmp_path / "x.soft"],
        ["chat", "--video", file, WATCH],
    ):
        done = run_cli(runtime, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert "INVALID_ARGUMENT" in done.stderr and "field: " in done.stderr
    assert os.listdir(tmp_path) == ["x.mp4"]


COMMANDS = {"image": "/image", "audio": "/audio"}


@pytest.mark.parametrize(
    "name",
    [
        *("conversation", "conversation-three", "new-picture-later"),
        *("digits-86", "picture-and-sound", "sound-after-picture"),
    ],
)
@pytest.mark.parametrize("flags", [[], ["--no-session"]])
def test_conversations(runtime, name, flags):
    turns = next(c["turns"] for c in CASES if c["name"] == name)
    lines = [
        f"{COMMANDS[part['type']]} {SAMPLES / part['file']}" if "file" in part else part["text"]
        for turn in turns
        for part in turn["parts"]
    ]
    done = run_cli(runtime, "chat", *flags, *GREEDY, typed="\n".join(lines))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [turn["expected_text"] for turn in turns]


@pytest.mark.parametrize("flags", [[], ["--no-session"]])
def test_later_turns_encode_no_picture_again(tmp_path, flags):
    def passes():
        info = json.loads(run_cli(tmp_path, "info", "--json").stdout)["encoder"]["info"]
        return int(info["load"]["cache_misses"])

    with up(tmp_path) as running:
        lines = f"/image {PICTURE}\n{QUESTION}\nAnd the colours?\nAnd again?\n"
        done = run_cli(tmp_path, "chat", *flags, *GREEDY, typed=lines)
        assert done.returncode == 0 and done.stdout.startswith(ANSWER)
        assert passes() == 1
        assert running.stop() == 0


@pytest.mark.parametrize("data_type", ["f32", "f16", "bf16"])
def test_encoded_pictures_answer_as_pictures_do(runtime, tmp_path, data_type):
    file = tmp_path / "x.soft"
    done = run_cli(runtime, "encode", PICTURE, "-o", file, "--data-type", data_type)
    assert done.returncode == 0, done.stderr
    soft = support.soft_tokens_pb2.SoftTokens.FromString(file.read_bytes())
    width = 4 if data_type == "f32" else 2
    assert len(soft.data) == soft.header.rows * soft.header.dim * width
    assert os.listdir(tmp_path) == ["x.soft"]
    done = run_cli(runtime, "chat", "--soft", file, *GREEDY, QUESTION)
    assert (done.returncode, done.stdout) == (0, ANSWER), done.stderr


def test_a_file_that_is_no_sound(runtime, tmp_path):
    file = tmp_path / "x.wav"
    file.write_bytes(MODEL.read_bytes()[:1000])
    done = run_cli(runtime, "encode", file, "-o", tmp_path / "x.soft")
    assert done.returncode == 1
    assert "INVALID_ARGUMENT" in done.stderr and "field: " in done.stderr
    done = run_cli(runtime, "chat", "--audio", file, TRANSCRIBE)
    assert (done.returncode, done.stdout) == (1, "")
    assert "INVALID_ARGUMENT" in done.stderr and "chat.messages[0].parts[0]" in done.stderr
    assert os.listdir(tmp_path) == ["x.wav"]


def test_a_file_that_is_no_picture(runtime, tmp_path):
    done = run_cli(runtime, "encode", MODEL, "-o", tmp_path / "x.soft")
    assert done.returncode == 1
    assert "INVALID_ARGUMENT" in done.stderr
    assert os.listdir(tmp_path) == []
    done = run_cli(runtime, "chat", "--image", MODEL, QUESTION)
    assert (done.returncode, done.stdout) == (1, "")
    assert "INVALID_ARGUMENT" in done.stderr
    assert "field: " in done.stderr


def test_info_tells_what_both_services_are(runtime):
    done = run_cli(runtime, "info", "--json")
    assert done.returncode == 0, done.stderr
    info = json.loads(done.stdout)
    for service in ("decoder", "encoder"):
        assert info[service]["health"] == "serving"
        assert info[service]["address"] == f"unix:{runtime}/softsplice/{service}.sock"
    assert info["encoder"]["info"]["dim"] == info["decoder"]["info"]["dim"] == 192
    fingerprint = info["encoder"]["info"]["encoder_fingerprint"]
    assert fingerprint
    assert info["decoder"]["info"]["encoder_fingerprint"] == fingerprint
    assert info["encoder"]["info"]["has_audio_tower"] is True
    text = run_cli(runtime, "info")
    assert text.returncode == 0
    assert text.stdout.count(": serving\n") == 2
    assert "for pictures, sounds and videos" in text.stdout
    assert "600 s of sound, 600 s of video" in text.stdout
    assert "0 media in work" in text.stdout
    assert " MiB of 256 MiB, " in text.stdout and " misses\n" in text.stdout


def test_a_second_up_does_not_disturb_the_first(runtime):
    done = run_cli(runtime, "up", "--model", MODEL, "--mmproj", MMPROJ)
    assert done.returncode == 3
    assert "already" in done.stderr
    assert run_cli(runtime, "info").returncode == 0


def test_up_on_ports(tmp_path):
    decoder, encoder = (f"localhost:{free_port()}" for _ in range(2))
    with up(tmp_path, "--listen", decoder, "--encoder-listen", encoder) as running:
        assert f"--server {decoder}" in running.output
        addresses = ("--server", decoder, "--encoder", encoder)
        assert run_cli(tmp_path, "info", *addresses).returncode == 0
        done = run_cli(tmp_path, "chat", "--server", decoder, "--image", PICTURE, *GREEDY, QUESTION)
        assert (done.returncode, done.stdout) == (0, ANSWER)
        with grpc.insecure_channel(decoder) as channel:
            stub = support.decoder_grpc.DecoderServiceStub(channel)
            assert stub.GetDecoderInfo(support.decoder_pb2.GetDecoderInfoRequest()).dim == 192
        assert running.stop(signal.SIGTERM) == 0


def test_up_stops_both_services_and_leaves_nothing(tmp_path):
    with up(tmp_path) as running:
        children = running.children()
        assert len(children) == 2
        assert running.stop() == 0
    assert not any(map(support.alive, children))
    assert not list((tmp_path / "softsplice").glob("run-*"))


def test_services_do_not_outlive_a_killed_up(tmp_path):
    with up(tmp_path) as running:
        children = running.children()
        running.process.kill()
        running.process.wait()
    support.wait_until(lambda: not any(map(support.alive, children)))


def test_up_ends_when_a_service_does(tmp_path):
    with up(tmp_path) as running:
        os.kill(running.children()[1], signal.SIGKILL)
        assert running.process.wait(support.PATIENCE) == 3
        message = running.process.stderr.read().decode()
    assert "softsplice-decoder was ended by signal 9" in message


@pytest.mark.parametrize(
    ("broken", "service"), [(MODEL, "softsplice-decoder"), (MMPROJ, "softsplice-encoder")]
)
def test_up_shows_why_a_service_did_not_start(tmp_path, broken, service):
    cut = tmp_path / broken.name
    cut.write_bytes(broken.read_bytes()[:-1000])
    model, mmproj = (cut if file == broken else file for file in (MODEL, MMPROJ))
    done = run_cli(tmp_path, "up", "--model", model, "--mmproj", mmproj)
    assert done.returncode == 3
    assert f"{service} ended with status 1" in done.stderr
    assert ".gguf" in done.stderr.split("its log:")[1]


def test_chat_can_start_its_own_services(tmp_path):
    done = run_cli(
        tmp_path,
        "chat",
        "--model",
        MODEL,
        "--mmproj",
        MMPROJ,
        "--image",
        PICTURE,
        *GREEDY,
        QUESTION,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, ANSWER, "")
    assert os.listdir(tmp_path / "softsplice") == []


def test_inspect(tmp_path):
    for file in (MODEL, MMPROJ):
        text = run_cli(tmp_path, "inspect", file)
        assert text.returncode == 0, text.stderr
        assert "give it to --" in text.stdout
        if file == MMPROJ:
            assert "an image and an audio tower" in text.stdout
            assert "Audio tower" in text.stdout
        done = run_cli(tmp_path, "inspect", "--json", file)
        assert done.returncode == 0
        json.loads(done.stdout)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(MODEL.read_bytes()[:1000])
    done = run_cli(tmp_path, "inspect", broken)
    assert done.returncode == 1
    assert "broken.gguf" in done.stderr
