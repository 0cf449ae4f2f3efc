"""A terminal with a program in it: what stands on its screen, keys, another size, and hanging up."""

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time

import pytest

from support.server import BIN_DIR
from support.waiting import DEADLINE_S


def has_picture():
    """Whether this twinctl was built with ncurses."""
    linked = subprocess.run(["ldd", BIN_DIR / "twinctl"], capture_output=True, text=True, check=False).stdout
    return "ncurses" in linked


needs_picture = pytest.mark.skipif(not has_picture(), reason="built without ncurses: .ci/install-packages build")

# What Screen understands, and no more: so ncurses writes nothing else.
_TERMINFO = r"""
twinhttpd-test|a terminal that places its cursor and clears,
	am, cols#80, lines#24,
	bold=\E[1m, clear=\E[H\E[2J, cr=\r, cub1=^H, cup=\E[%i%p1%d;%p2%dH, ed=\E[J, el=\E[K, ind=\n,
	kbs=^?, kcud1=\E[B, kcuu1=\E[A, kend=\E[F, khome=\E[H, knp=\E[6~, kpp=\E[5~,
	rev=\E[7m, rmcup=\E[?1049l, rmso=\E[27m, sgr0=\E[m, smcup=\E[?1049h, smso=\E[7m,
"""
_SEQUENCE = re.compile(rb"\x1b\[([?\d;]*)([A-Za-z])")
DOWN, UP, ENTER, ESCAPE, BACKSPACE = b"\x1b[B", b"\x1b[A", b"\r", b"\x1b", b"\x7f"


def make_terminfo(folder):
    """Returns the environment in which a program finds the terminal."""
    source = folder / "terminal.ti"
    source.write_text(_TERMINFO.lstrip())
    subprocess.run(["tic", "-o", folder / "terminfo", source], check=True, capture_output=True)
    return {"TERM": "twinhttpd-test", "TERMINFO": str(folder / "terminfo")}


class Screen:
    """The cells that a program has written."""

    def __init__(self, lines, columns):
        self.is_other = False  # the program has taken the whole screen, and has not given it back
        self._waiting = b""
        self.resize(lines, columns)

    def resize(self, lines, columns):
        self._size = (lines, columns)
        self._cells = [[" "] * columns for _ in range(lines)]
        self._y = self._x = 0

    def text(self):
        return [("".join(line)).rstrip() for line in self._cells]

    def feed(self, data):
        data = self._waiting + data
        self._waiting = b""
        at = 0
        while at < len(data):
            if data[at] != 0x1b:
                self._write(chr(data[at]))
                at += 1
                continue
            match = _SEQUENCE.match(data, at)
            if not match:
                assert len(data) - at < 16, f"no known sequence: {data[at:at + 16]!r}"
                self._waiting = data[at:]
                return
            self._obey(match[1].decode(), match[2].decode())
            at = match.end()

    def _write(self, character):
        lines, columns = self._size
        if character == "\r":
            self._x = 0
        elif character == "\b":
            self._x = max(self._x - 1, 0)
        elif character == "\n":
            self._y = min(self._y + 1, lines - 1)
        elif character >= " " and self._y < lines and self._x < columns:
            self._cells[self._y][self._x] = character
            self._x += 1
            if self._x == columns:
                self._y, self._x = min(self._y + 1, lines - 1), 0

    def _obey(self, numbers, command):
        lines, columns = self._size
        if command == "H":
            place = [int(number) for number in numbers.split(";")] if numbers else [1, 1]
            self._y, self._x = place[0] - 1, place[1] - 1
        elif command == "K":
            self._cells[self._y][self._x:] = [" "] * (columns - self._x)
        elif command == "J":
            first = 0 if numbers == "2" else self._y + 1
            if numbers != "2":
                self._obey("", "K")
            self._cells[first:] = [[" "] * columns for _ in range(first, lines)]
        elif command in "hl":
            assert numbers == "?1049", (numbers, command)
            self.is_other = command == "h"
        else:
            assert command == "m", (numbers, command)


# A picture comes in pieces, of which the terminal holds 4 KiB at most.
SETTLED_S = 0.05


class Terminal:
    """Runs command in a terminal of its own."""

    def __init__(self, command, environment, lines=24, columns=80):
        self.screen = Screen(lines, columns)
        self.written = b""
        self._master, slave = os.openpty()
        self._set_size(lines, columns)
        # Some versions of pytest-xdist set COLUMNS, by which ncurses would go instead of by the terminal's size.
        inherited = {name: value for name, value in os.environ.items() if name not in ("TERM", "COLUMNS", "LINES")}
        environment = {**inherited, **environment}
        self.process = subprocess.Popen(list(map(str, command)), env=environment, pass_fds=(slave,),
                                        preexec_fn=lambda: os.login_tty(slave))
        os.close(slave)

    def _set_size(self, lines, columns):
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, lines, columns):
        self._read(0)
        self.screen.resize(lines, columns)
        self._set_size(lines, columns)

    def press(self, keys):
        os.write(self._master, keys)

    def text(self):
        self._read(0)
        return "\n".join(self.screen.text())

    def _read(self, timeout_s):
        """Takes what the program has written; False: it has ended and will write no more."""
        while select.select([self._master], [], [], timeout_s)[0]:
            try:
                data = os.read(self._master, 1 << 16)
            except OSError:  # nobody has the terminal open any more
                return False
            self.written += data
            self.screen.feed(data)
            timeout_s = SETTLED_S
        return True

    def wait_until(self, condition, what):
        """Until condition(text of the screen) is true; returns the text."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            goes_on = self._read(SETTLED_S)
            text = "\n".join(self.screen.text())
            if condition(text):
                return text
            assert goes_on and time.monotonic() < deadline, f"never seen: {what}; the screen is:\n{text}"

    def wait_for(self, wanted):
        return self.wait_until(lambda text: wanted in text, wanted)

    def wait_for_exit(self):
        """The exit status, and everything has been read."""
        deadline = time.monotonic() + DEADLINE_S
        while self._read(0.05):
            assert time.monotonic() < deadline, "it does not end:\n" + self.text()
        return self.process.wait(DEADLINE_S)

    def hang_up(self):
        os.close(self._master)
        self._master = -1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self._master >= 0:
            os.close(self._master)
