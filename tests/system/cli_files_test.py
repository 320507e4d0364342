"""Files, pipes and devices that the command line reads and writes, and what ends that."""

import os
import pty
import signal
import stat
import subprocess
import threading

import pytest
import services
import support
from fake_decoder import STARTED, delta, fake_decoder, finished
from support import BIN, MMPROJ, SAMPLES, Running, environment, run_cli

PICTURE = SAMPLES / "small.png"


@pytest.fixture
def decoder(tmp_path):
    with fake_decoder(tmp_path) as fake:
        yield fake


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    with services.Service(folder, "softsplice-encoder", "--mmproj", MMPROJ) as service:
        yield service.address


def chat(tmp_path, decoder, *arguments, **more):
    return run_cli(tmp_path, "chat", "--server", decoder.address, *arguments, **more)


def words(decoder):
    return [p.text for p in decoder.requests[-1].chat.messages[-1].parts if p.text]


# ---- encode -o


def encode(tmp_path, encoder, output, source=PICTURE, **more):
    return run_cli(tmp_path, "encode", source, "-o", output, "--encoder", encoder, **more)


def soft_tokens(data):
    soft = support.soft_tokens_pb2.SoftTokens.FromString(data)
    assert soft.header.rows > 0 and soft.data
    return soft


def device(folder, name, minor):
    """As /dev/NAME is: the machine's own would be missed if it were replaced."""
    try:
        os.mknod(folder / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
    except PermissionError:
        pytest.skip("only root makes devices")
    return folder / name


def test_a_device_that_is_written_to_stays_one(tmp_path, encoder):
    null = device(tmp_path, "null", 3)
    assert encode(tmp_path, encoder, null).returncode == 0
    assert stat.S_ISCHR(null.stat().st_mode) and os.listdir(tmp_path) == ["null"]


def test_a_link_is_followed(tmp_path, encoder):
    (tmp_path / "folder").mkdir()
    target = tmp_path / "folder" / "x.soft"
    for make in (lambda: None, lambda: target.write_bytes(b"old")):
        make()
        link = tmp_path / "link.soft"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        assert encode(tmp_path, encoder, link).returncode == 0
        assert link.is_symlink()
        soft_tokens(target.read_bytes())
        target.unlink()


def test_a_file_is_replaced_whole_with_its_mode(tmp_path, encoder):
    file, other = tmp_path / "x.soft", tmp_path / "other name"
    file.write_bytes(b"old")
    file.chmod(0o640)
    os.link(file, other)
    assert encode(tmp_path, encoder, file).returncode == 0
    soft_tokens(file.read_bytes())
    assert other.read_bytes() == b"old" and file.stat().st_mode & 0o777 == 0o640
    new = tmp_path / "new.soft"
    assert encode(tmp_path, encoder, new).returncode == 0
    mask = os.umask(0)
    os.umask(mask)
    assert new.stat().st_mode & 0o777 == 0o666 & ~mask
    assert sorted(os.listdir(tmp_path)) == ["new.soft", "other name", "x.soft"]


def test_a_full_disk_is_told(tmp_path, encoder):
    full = device(tmp_path, "full", 7)
    done = encode(tmp_path, encoder, full)
    assert done.returncode == 1 and f"can't write {full}: No space left" in done.stderr
    done = encode(tmp_path, encoder, tmp_path / "no" / "x.soft")
    assert done.returncode == 1 and "x.soft: No such file" in done.stderr


def test_encode_from_a_stream_to_a_stream(tmp_path, encoder):
    done = subprocess.run(
        [BIN / "softsplice", "encode", "-", "-o", "-", "--encoder", encoder],
        env=environment(tmp_path),
        input=PICTURE.read_bytes(),
        capture_output=True,
        timeout=support.PATIENCE,
        check=True,
    )
    soft = soft_tokens(done.stdout)
    said = f"-: {soft.header.rows} rows of {soft.header.dim} bf16"
    assert done.stderr.decode().startswith(said)


def test_encode_into_a_pipe(tmp_path, encoder):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert encode(tmp_path, encoder, pipe).returncode == 0
    reader.join(support.PATIENCE)
    soft_tokens(read[0])
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_for_a_pipe_to_be_read(tmp_path, encoder, number):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with Running(tmp_path, "encode", PICTURE, "-o", pipe, "--encoder", encoder) as running:
        support.wait_until(lambda: support.waits_in(running.process.pid, "nanosleep"))
        assert running.stop(number) == 130


# ---- What is read


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("option", ["--image", "--audio", "--video", "--soft"])
def test_a_signal_ends_the_wait_for_a_pipe(tmp_path, decoder, option, number):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with Running(tmp_path, "chat", "--server", decoder.address, option, pipe, "What?") as running:
        support.wait_until(lambda: support.waits_in(running.process.pid, "poll"))
        assert running.stop(number) == 130
    assert decoder.requests == []


def test_a_pipe_is_a_picture(tmp_path, decoder):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=[PICTURE.read_bytes()], daemon=True)
    writer.start()
    assert chat(tmp_path, decoder, "--image", pipe, "What?").returncode == 0
    writer.join(support.PATIENCE)
    assert decoder.requests[0].chat.messages[0].parts[0].media.data == PICTURE.read_bytes()


def test_standard_input_is_a_picture(tmp_path, decoder):
    data = PICTURE.read_bytes()
    assert chat(tmp_path, decoder, "--image", "-", "What?", stdin=data).returncode == 0
    assert decoder.requests[0].chat.messages[0].parts[0].media.data == data


@pytest.mark.parametrize("option", ["--image", "--audio", "--video", "--soft"])
def test_a_device_without_an_end_is_refused(tmp_path, decoder, option):
    done = chat(tmp_path, decoder, option, "/dev/zero", "What?")
    assert (done.returncode, decoder.requests) == (2, [])
    assert "RESOURCE_EXHAUSTED: /dev/zero has more than 32 MiB" in done.stderr


def test_a_file_that_no_message_holds_is_refused(tmp_path, decoder):
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate((1 << 30) + 1)
    done = chat(tmp_path, decoder, "--image", large, "What?")
    assert done.returncode == 2 and "large.png has more than 1024 MiB" in done.stderr


# ---- Words on standard input


def test_ten_thousand_lines_are_one_request(tmp_path, decoder):
    text = "".join(f"line {i}\n" for i in range(10_000))
    assert chat(tmp_path, decoder, stdin=text).stdout == "Yes.\n"
    assert len(decoder.requests) == 1 and words(decoder) == [text.rstrip()]
    assert chat(tmp_path, decoder, "-", stdin=text).stdout == "Yes.\n"
    assert words(decoder) == [text.rstrip()]


def test_standard_input_stands_before_the_question(tmp_path, decoder):
    done = chat(tmp_path, decoder, "--image", PICTURE, "Summarise", stdin="/quit\n  über\n")
    assert done.returncode == 0
    picture, text = decoder.requests[0].chat.messages[0].parts
    assert picture.media.data and text.text == "/quit\n  über\n\nSummarise"
    assert chat(tmp_path, decoder, "Hello", stdin="").returncode == 0
    assert words(decoder) == ["Hello"]


def test_standard_input_that_is_closed_or_a_terminal_is_no_text(tmp_path, decoder):
    command = [BIN / "softsplice", "chat", "--server", decoder.address, "Hello"]
    shell = ["bash", "-c", '"$@" <&-', "-", *command]
    subprocess.run(shell, env=environment(tmp_path), timeout=support.PATIENCE, check=True)
    done = subprocess.run(
        shell[:-1], env=environment(tmp_path), timeout=support.PATIENCE, check=False
    )
    assert done.returncode == 2
    ours, theirs = pty.openpty()
    with Running(tmp_path, *command[1:], stdin=theirs) as running:
        assert running.process.wait(support.PATIENCE) == 0
    os.close(ours)
    os.close(theirs)
    assert [r.chat.messages[0].parts[0].text for r in decoder.requests] == ["Hello"] * 2


@pytest.mark.parametrize(
    ("stdin", "said"),
    [
        ("", "standard input is empty"),
        (" \n\n", "standard input is empty"),
        (PICTURE.read_bytes(), "no text in UTF-8; say what it is with --image -"),
        (b"x" * ((32 << 20) + 1), "standard input has more than 32 MiB"),
    ],
)
def test_what_is_no_message(tmp_path, decoder, stdin, said):
    done = chat(tmp_path, decoder, stdin=stdin)
    assert (done.returncode, decoder.requests) == (2, [])
    assert said in done.stderr


# ---- Output that is gone


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_full_disk_cancels_the_answer(tmp_path, decoder, flags):
    decoder.hang_after(STARTED, delta("Well"), delta(", "))
    command = ("chat", "--server", decoder.address, *flags, "Hi")
    with open("/dev/full", "wb") as full, Running(tmp_path, *command, stdout=full) as running:
        assert running.process.wait(support.PATIENCE) == 1
        assert b"can't write the answer: No space left" in running.process.stderr.read()
    assert decoder.cancelled.wait(support.PATIENCE)


def test_a_reader_that_is_gone_cancels_the_answer(tmp_path, decoder):
    go_on = threading.Event()

    def script(request, context):
        context.add_callback(decoder.cancelled.set)
        yield from [STARTED, delta("first line\n")]
        go_on.wait(support.PATIENCE)
        while not decoder.cancelled.wait(0.01):
            yield delta("and on")
        yield finished()

    decoder.script = script
    with Running(tmp_path, "chat", "--server", decoder.address, "Hi") as running:
        running.wait_for("first line")
        running.process.stdout.close()
        go_on.set()
        assert running.process.wait(support.PATIENCE) == 1
        assert b"can't write the answer: Broken pipe" in running.process.stderr.read()
    assert decoder.cancelled.is_set()


def test_a_conversation_ends_when_nobody_can_read_it(tmp_path, decoder):
    with support.typing("one\ntwo\n") as terminal, open("/dev/full", "wb") as full:
        command = ("chat", "--server", decoder.address)
        with Running(tmp_path, *command, stdin=terminal, stdout=full) as running:
            assert running.process.wait(support.PATIENCE) == 1
    assert len(decoder.requests) == 1


@pytest.mark.parametrize("command", [["inspect", support.MODEL], ["--help"], ["--version"]])
def test_other_commands_fail_on_a_full_disk_too(tmp_path, command):
    with open("/dev/full", "wb") as full, Running(tmp_path, *command, stdout=full) as running:
        assert running.process.wait(support.PATIENCE) == 1
