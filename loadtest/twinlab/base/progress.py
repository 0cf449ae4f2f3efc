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


class Bar(Progress):
    """On a terminal, a bar with the time left, by the package rich."""

    def __init__(self, planned_s: float, stream: TextIO = sys.stderr) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn
        from rich.progress import Progress as RichProgress

        super().__init__(planned_s, stream)
        self._bar = RichProgress(BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"),
                                 console=Console(file=stream), transient=True)
        self._task = self._bar.add_task("", total=planned_s)
        self._bar.start()

    def step(self, text: str) -> None:
        """Say what is being done now."""
        self._bar.update(self._task, description=f"{minutes(self.left_s())} left  {text}")

    def done(self, planned_s: float) -> None:
        """A step of the plan is finished."""
        super().done(planned_s)
        self._bar.update(self._task, completed=self._done_s)

    def clear(self) -> None:
        """Remove the bar, before something else is printed."""
        self._bar.stop()


def minutes(seconds: float) -> str:
    """`3:05`"""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def make(planned_s: float, stream: TextIO = sys.stderr) -> Progress:
    """A bar on a terminal, if the package for it is there; else lines."""
    if stream.isatty():
        try:
            return Bar(planned_s, stream)
        except ImportError:
            pass
    return Progress(planned_s, stream)
