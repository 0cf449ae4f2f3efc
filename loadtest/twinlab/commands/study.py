"""What the commands that measure have in common: their options, what has to be there, each measurement in its turn."""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Callable, TypeVar

from twinlab.base.progress import Progress
from twinlab.machine import setup
from twinlab.runs.windows import Windows

Found = TypeVar("Found")


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int
    duration_s: float
    warmup_s: float

    def as_dict(self) -> dict[str, float]:
        return {"rounds": self.rounds, "duration_s": self.duration_s, "warmup_s": self.warmup_s}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user asked for, whichever the command."""

    output: Path | None = None
    bin_dir: Path | None = None


def prepare(options: Options, *groups: str, connections: int, beside: int = 0, option: str = "") -> Path:
    """Packages, descriptors, binaries; the folder of these. The numbers are those of raise_descriptor_limit."""
    setup.install_packages("build", *groups)
    setup.raise_descriptor_limit(connections, beside, option=option)
    return options.bin_dir or setup.build()


class Course:
    """The measurements of a command, one after the other, under a line that tells how far they are."""

    def __init__(self, windows: Windows, planned_s: float) -> None:
        self._windows = windows
        self._progress = Progress(planned_s)

    def __enter__(self) -> "Course":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._progress.clear()

    def say(self, text: str) -> None:
        """What is being done within a measurement."""
        self._progress.step(text)

    def take(self, what: str, planned_s: float, once: Callable[[], Found], into: list[Found]) -> None:
        """Measure what once() finds, and add it to the others."""
        self.say(what)
        found = self._windows.measure(what, once)
        if found is not None:
            into.append(found)
        self._progress.done(planned_s)
