"""A person before a terminal: what they type, paste and see. The screen is pyte's."""

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

import pyte
from support import BIN, PATIENCE, Killed, environment

COLUMNS, ROWS = 80, 24
INTERRUPT, END = "\x03", "\x04"
UP = "\x1b[A"
ENTER = "\r"


class Terminal(Killed):
    """`softsplice` on a terminal of 80 x 24, which marks pastes as most do."""

    def __init__(self, runtime, *arguments, program=BIN / "softsplice", **more_environment):
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            ["setsid", "--ctty", program, *map(str, arguments)],
            env={**environment(runtime), "TERM": "xterm", "HOME": str(runtime), **more_environment},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=runtime,
        )
        os.close(theirs)
        self.screen = pyte.HistoryScreen(COLUMNS, ROWS, history=100_000, ratio=1.0)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""

    def __exit__(self, *_):
        super().__exit__()
        os.close(self.ours)

    def lines(self):
        """What is on the screen, from its first line that is not blank."""
        return [line.rstrip() for line in "\n".join(self.screen.display).rstrip().split("\n")]

    def look(self, seconds=0.05):
        """Takes what is written within so many seconds; False at its end."""
        ready, _, _ = select.select([self.ours], [], [], seconds)
        if not ready:
            return True
        with contextlib.suppress(OSError):  # the other end is closed
            written = os.read(self.ours, 65536)
            self.raw += written
            self.stream.feed(written)
            return bool(written)
        return False

    def see(self, *texts):
        """Waits until the screen shows each of `texts`; returns it."""
        deadline = time.monotonic() + PATIENCE
        while not all(text in "\n".join(self.lines()) for text in texts):
            assert time.monotonic() < deadline and self.look(1), (texts, self.lines())
        return self.lines()

    def see_prompt(self, prompt="> "):
        """Waits until the cursor stands behind a prompt, and all that was written is seen."""
        deadline = time.monotonic() + PATIENCE
        while not (
            self.screen.cursor.x == len(prompt)
            and self.screen.display[self.screen.cursor.y].startswith(prompt)
        ):
            assert time.monotonic() < deadline and self.look(1), self.lines()
        return self.lines()

    def type(self, text):
        """As fast as the terminal takes it, while looking on."""
        data = text.encode()
        deadline = time.monotonic() + PATIENCE
        while data:
            _, room, _ = select.select([], [self.ours], [], 0)
            if room:
                data = data[os.write(self.ours, data[:1000]) :]
            assert time.monotonic() < deadline and self.look(0), self.lines()

    def paste(self, text):
        self.type("\x1b[200~" + text.replace("\n", "\r") + "\x1b[201~")

    def wait(self):
        """The exit code, after all was seen."""
        while self.look(PATIENCE):
            pass
        return self.process.wait(PATIENCE)


def show(terminal):
    """The screen with a frame, for people who look at a test's output."""
    frame = "+" + "-" * COLUMNS + "+"
    lines = [f"|{line:{COLUMNS}}|" for line in terminal.lines()]
    print("\n".join(["", frame, *lines, frame]))
