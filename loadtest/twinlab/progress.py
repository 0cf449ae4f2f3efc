"""The line that shows that work goes on: rewritten in place on a terminal, a plain line every few seconds elsewhere."""

import shutil
import sys
import time
from typing import TextIO

PLAIN_LINE_INTERVAL_S = 5.0


class Progress:
    """Counts planned seconds, and corrects the rest by how the plan has held so far."""

    def __init__(self, planned_s: float, stream: TextIO = sys.stderr) -> None:
        self._planned_s = planned_s
        self._done_s = 0.0
        self._start = time.monotonic()
        self._stream = stream
        self._terminal = stream.isatty()
        self._last_plain_line = 0.0

    def step(self, text: str) -> None:
        """Say what is being done now."""
        line = f"[{self.elapsed_s():3.0f} s, about {self.left_s():.0f} s left] {text}"
        now = time.monotonic()
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            self._write("\r\033[K" + line[:width])
        elif now - self._last_plain_line >= PLAIN_LINE_INTERVAL_S:
            self._last_plain_line = now
            self._write(line + "\n")

    def done(self, planned_s: float) -> None:
        """A step of the plan is finished."""
        self._done_s += planned_s

    def elapsed_s(self) -> float:
        return time.monotonic() - self._start

    def left_s(self) -> float:
        """Planned rest, stretched as the finished part was."""
        pace = self.elapsed_s() / self._done_s if self._done_s > 0 else 1.0
        return max(0.0, self._planned_s - self._done_s) * max(pace, 0.5)

    def clear(self) -> None:
        """Remove the line, before something else is printed."""
        if self._terminal:
            self._write("\r\033[K")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
