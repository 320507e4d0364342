"""A conversation on a terminal, as a person sees it: each test looks at the screen."""

import re
import shutil
import wave

import pytest
import support
from fake_decoder import STARTED, delta, fake_decoder, finished
from support import ROOT, SAMPLES, decoder_pb2
from terminal import END, ENTER, INTERRUPT, UP, Terminal, show


@pytest.fixture
def decoder(tmp_path):
    with fake_decoder(tmp_path) as fake:
        yield fake


@pytest.fixture
def terminal(tmp_path, decoder):
    with Terminal(tmp_path, "chat", "--server", decoder.address) as terminal:
        terminal.see_prompt()
        yield terminal
        show(terminal)


def texts(request):
    return ["".join(part.text for part in message.parts) for message in request.chat.messages]


def ask(terminal, text):
    """Types a message and waits for the next prompt."""
    written = len(terminal.raw)
    terminal.type(text + ENTER)
    support.wait_until(lambda: terminal.look() and b"Yes." in terminal.raw[written:])
    return terminal.see_prompt()


# ---- What is pasted


@pytest.mark.parametrize("mark", [True, False])
def test_a_long_paste_is_a_message(decoder, terminal, mark):
    text = "".join(chr(ord("a") + i % 26) for i in range(100_000))
    (terminal.paste if mark else terminal.type)(text)
    terminal.type(ENTER)
    terminal.see("Yes.")
    terminal.see_prompt()
    (request,) = decoder.requests
    assert texts(request) == [text]
    terminal.type(END)
    assert terminal.wait() == 0


def test_a_long_message_is_recalled(decoder, terminal):
    text = "word " * 4000 + "end"
    terminal.paste(text)
    terminal.type(ENTER)
    terminal.see("Yes.")
    terminal.see_prompt()
    terminal.type(UP)
    terminal.see("d end")
    terminal.type(" again" + ENTER)
    support.wait_until(lambda: len(decoder.requests) == 2)
    assert texts(decoder.requests[1])[-1] == text + " again"


def test_several_lines_that_are_pasted_are_one_message(decoder, terminal):
    terminal.paste("def f(x):\n\treturn x\n\n/quit\nüber 😀")
    assert terminal.see("über")[-5:] == ["> def f(x):", "        return x", "", "/quit", "über 😀"]
    terminal.type(" What is it?" + ENTER)
    terminal.see("Yes.")
    terminal.see_prompt()
    (request,) = decoder.requests
    assert texts(request) == ["def f(x):\n\treturn x\n\n/quit\nüber 😀 What is it?"]
    # Recalled as it was, and changed.
    terminal.type(UP)
    terminal.see("über 😀 What is it?")
    terminal.type(" Really?" + ENTER)
    support.wait_until(lambda: len(decoder.requests) == 2)
    assert texts(decoder.requests[1])[-1] == texts(request)[0] + " Really?"


def test_a_paste_can_not_steer_the_editor(decoder, terminal):
    terminal.paste("a\x1b[A\x04\x9b2Jb")
    terminal.type(ENTER)
    terminal.see("Yes.")
    assert texts(decoder.requests[0]) == ["a[A2Jb"]


def test_pastes_are_marked_at_the_prompt_only(decoder, terminal):
    decoder.hang_after(STARTED, delta("Well"))
    on, off = terminal.raw.count(b"\x1b[?2004h"), terminal.raw.count(b"\x1b[?2004l")
    assert (on, off) == (1, 0)
    terminal.type("x" + ENTER)
    terminal.see("Well")
    assert terminal.raw.count(b"\x1b[?2004l") == 1


# ---- Several lines that are typed


def test_a_block_is_one_message(decoder, terminal):
    terminal.type('"""one' + ENTER)
    terminal.see_prompt("... ")
    terminal.type("  two" + ENTER)
    terminal.see_prompt("... ")
    terminal.type('three"""' + ENTER)
    terminal.see("Yes.")
    lines = terminal.see_prompt()
    start = lines.index('> """one')
    assert lines[start + 1 : start + 4] == ["...   two", '... three"""', "Yes."]
    assert ask(terminal, '"""all in one line"""')
    assert [texts(r)[-1] for r in decoder.requests] == ["one\n  two\nthree", "all in one line"]


def test_ctrl_c_leaves_a_block(decoder, terminal):
    terminal.type('"""' + ENTER)
    terminal.see_prompt("... ")
    terminal.type("no" + INTERRUPT)
    terminal.see_prompt()
    ask(terminal, "yes")
    assert texts(decoder.requests[0]) == ["yes"]


# ---- Leaving, and not leaving


def test_ctrl_c_clears_the_line_and_says_how_to_leave(decoder, terminal):
    ask(terminal, "one")
    terminal.type("something wrong")
    terminal.see("> something wrong")
    terminal.type(INTERRUPT)
    terminal.see("Ctrl-D or /quit leaves.")
    assert terminal.see_prompt()[-3:] == ["> something wrong", "Ctrl-D or /quit leaves.", ">"]
    ask(terminal, "two")
    assert texts(decoder.requests[1]) == ["one", "Yes.", "two"]
    terminal.type(END)
    assert terminal.wait() == 0


def test_ctrl_c_in_the_middle_of_a_long_line_writes_below_it(terminal):
    terminal.type("x" * 200 + "\x01")  # Ctrl-A: to its beginning
    support.wait_until(lambda: terminal.look() and terminal.screen.cursor.x == 2)
    terminal.type(INTERRUPT)
    lines = terminal.see("Ctrl-D or /quit leaves.")
    start = lines.index("> " + "x" * 78)
    assert lines[start + 1 : start + 4] == ["x" * 80, "x" * 42, "Ctrl-D or /quit leaves."]


def test_ctrl_c_ends_an_answer_and_no_more(decoder, terminal):
    answer = decoder.script
    decoder.hang_after(STARTED, delta("Well, "))
    terminal.type("grüß dich 😀" + ENTER)
    terminal.see("Well,")
    terminal.type(INTERRUPT)
    assert decoder.cancelled.wait(support.PATIENCE)
    terminal.see_prompt()
    decoder.script = answer
    ask(terminal, "And now?")
    assert texts(decoder.requests[-1]) == ["grüß dich 😀", "Well, ", "And now?"]
    terminal.type("/quit" + ENTER)
    assert terminal.wait() == 0


def test_sigterm_at_the_prompt_ends_the_program(terminal):
    terminal.type("unfinished")
    terminal.process.terminate()
    assert terminal.wait() == 130


# ---- Files


@pytest.fixture
def files(tmp_path):
    """In the folder where the person is, which is their home, too."""
    shutil.copy(SAMPLES / "small.png", tmp_path / "my holiday photo.png")
    shutil.copy(SAMPLES / "three.png", tmp_path / "my holiday plan.png")
    shutil.copy(SAMPLES / "digits-7.wav", tmp_path / "talk.wav")
    shutil.copy(SAMPLES / "digits-314.mp3", tmp_path / "talk.mp3")
    shutil.copy(ROOT / "tests" / "data" / "audio" / "video.mp4", tmp_path / "our clip.mp4")
    return tmp_path


def media(request):
    return [part.media.data for part in request.chat.messages[-1].parts if part.HasField("media")]


@pytest.mark.parametrize(
    "typed",
    [
        "/image my holiday ph\t",
        "/image my\\ holiday\\ ph\t",
        '/image "my holiday ph\t',
        "/image ~/my ho\tho\t",
        "/im\tmy\tho\t",
        "/image 'my holiday photo.png'",
        "/image my\\ holiday\\ photo.png",
        "/image ~/my holiday photo.png",
    ],
)
def test_tab_and_names_with_blanks(decoder, terminal, files, typed):
    terminal.type(typed + ENTER)
    lines = terminal.see("picture added: my holiday photo.png, 240 x 240")
    assert "softsplice:" not in "\n".join(lines)
    ask(terminal, "What?")
    assert media(decoder.requests[0]) == [(files / "my holiday photo.png").read_bytes()]


def test_tab_lists_what_it_can_not_choose_from(decoder, terminal, files):
    (files / "my holiday pictures").mkdir()
    terminal.type("/image my\t")
    terminal.see("> /image my holiday p")
    terminal.type("\t")
    terminal.see("my holiday plan.png")
    lines = terminal.see_prompt("> /image my holiday p")
    assert lines[-4:] == [
        "my holiday photo.png",
        "my holiday pictures/",
        "my holiday plan.png",
        "> /image my holiday p",
    ]
    terminal.type("ic\t")
    terminal.see("> /image my holiday pictures/")


def test_tab_knows_the_commands(terminal):
    terminal.type("/s\t")
    terminal.see("> /soft")
    terminal.type("\x15/v\t")
    terminal.see("> /video")
    terminal.type("\x15/\t")
    terminal.see("\n/soft\n")
    lines = terminal.see_prompt("> /")
    assert lines[-7:] == ["/help", "/image", "/quit", "/reset", "/soft", "/video", "> /"]


def seconds(name):
    with wave.open(str(SAMPLES / name)) as sound:
        return sound.getnframes() / sound.getframerate()


def test_what_is_added_is_said(decoder, terminal, files):
    soft = support.soft_tokens_pb2.SoftTokens(data=b"1234")
    soft.header.rows = 9
    (files / "x.soft").write_bytes(soft.SerializeToString())
    (files / "odd.png").write_bytes(b"no picture that this program knows")
    for line, said in (
        ("/audio talk.wav", f"sound added: talk.wav, {seconds('digits-7.wav'):.1f} s"),
        ("/audio talk.mp3", f"sound added: talk.mp3, {seconds('digits-314.wav'):.1f} s"),
        ("/vi\tour cl\t", "video added: our clip.mp4, 2.6 KiB"),
        ("/video ~/our\\ clip.mp4", "video added: our clip.mp4, 2.6 KiB"),
        ("/soft x.soft", "soft tokens added: x.soft, 9 rows"),
        ("/image odd.png", "picture added: odd.png, 34 bytes"),
    ):
        terminal.type(line + ENTER)
        terminal.see(said)
        terminal.see_prompt()
    ask(terminal, "What?")
    assert len(decoder.requests[0].chat.messages[0].parts) == 7


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/image", "/image FILE adds a picture to the next message"),
        ("/imgae x.png", "unknown command /imgae; did you mean /image?"),
        ("/vdieo x.mp4", "unknown command /vdieo; did you mean /video?"),
        ("/video", "/video FILE adds a video to the next message"),
        ("/image nowhere.png", "can't read nowhere.png: No such file"),
        ("/audio -", "standard input is this conversation; /audio takes a file"),
    ],
)
def test_a_wrong_command_says_what_is_right(decoder, terminal, line, said):
    terminal.type(line + ENTER)
    terminal.see(said)
    terminal.see_prompt()
    ask(terminal, "Go on")
    assert texts(decoder.requests[0]) == ["Go on"]


def test_media_of_the_command_line_are_said_too(tmp_path, decoder, files):
    with Terminal(tmp_path, "chat", "--server", decoder.address, "--audio", "talk.wav") as terminal:
        terminal.see("sound added: talk.wav")
        terminal.see_prompt()
        ask(terminal, "What?")
    assert len(media(decoder.requests[0])) == 1


# ---- What an answer may do to a terminal


def test_nothing_of_an_answer_steers_the_terminal(decoder, terminal):
    evil = "a\x1b[2J\x9b2J\u202eb\u2066c\u2069\x07\x7f\td é"
    decoder.script = lambda *_: [
        delta("thought " + evil, decoder_pb2.CHANNEL_THOUGHT),
        delta(evil),
        finished(),
    ]
    terminal.type("x" + ENTER)
    terminal.see("thought a[2J2Jbc", "\na[2J2Jbc        d é")
    terminal.see_prompt()
    after = terminal.raw.decode().split("thought ")[1].split("\x1b[?2004h")[0]
    assert not re.search("[\x80-\x9f\u202a-\u202e\u2066-\u2069\x07\x7f]|\x1b\\[2J", after)


# ---- How far it is


def test_reading_a_long_prompt_shows_a_percentage(decoder, terminal):
    progress = decoder_pb2.Progress(
        stage=decoder_pb2.STAGE_READING, prompt_tokens=4096, prompt_tokens_read=1024
    )
    decoder.hang_after(STARTED, decoder_pb2.GenerateResponse(progress=progress))
    terminal.type("x" + ENTER)
    terminal.see("reading the prompt, 1024 of 4096 tokens (25 %)")


def started(*media):
    """A turn's beginning, with what became of the prompt's media."""
    begin = decoder_pb2.Started(prompt_tokens=7)
    begin.media.extend(decoder_pb2.MediaUse(header=header) for header in media)
    return decoder_pb2.GenerateResponse(started=begin)


def video_header(frames, *seconds):
    header = support.soft_tokens_pb2.SoftTokensHeader(rows=600)
    header.video.frames.extend([support.soft_tokens_pb2.VideoFrame()] * frames)
    for duration in seconds:
        header.video.sound.add().duration.FromNanoseconds(int(duration * 1e9))
    return header


def test_what_became_of_a_video_is_said_before_the_answer(decoder, terminal, files):
    picture = support.soft_tokens_pb2.SoftTokensHeader(rows=9)
    picture.image.grid_rows = 9
    loud, silent = video_header(32, 30, 2.5), video_header(2)
    decoder.script = lambda *_: [started(picture, loud, silent), delta("Yes."), finished()]
    for _ in range(2):
        terminal.type("/video our clip.mp4" + ENTER)
        terminal.see_prompt()
    lines = ask(terminal, "What?")
    start = lines.index("> What?")
    assert lines[start + 1 : start + 4] == [
        "[video read: 32 frames, 32.5 s of sound, 600 rows]",
        "[video read: 2 frames, no sound, 600 rows]",
        "Yes.",
    ]
    # They are of an earlier message now.
    lines = ask(terminal, "And?")
    assert lines[lines.index("> And?") + 1] == "Yes."


def test_a_video_is_watched(decoder, terminal, files):
    decoder.hang_after()
    terminal.type("/video our clip.mp4" + ENTER)
    terminal.see_prompt()
    terminal.type("What?" + ENTER)
    terminal.see("watching the video")
