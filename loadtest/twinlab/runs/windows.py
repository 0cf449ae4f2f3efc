"""Windows that fail: measured again a few times, then left out and told. What else was measured is never lost."""

import sys
from typing import Callable, TypeVar

from twinlab.base.errors import LabError, Unstartable
from twinlab.clients import http

ATTEMPTS = 3
REPEATS_IN_ALL = 12  # of a whole run: one whose windows fail all the time has to end
# What ends a window, an experiment or a demonstration, and nothing else of the run.
FAILURES = (LabError, OSError, http.NoAnswer, http.RequestLost)
Found = TypeVar("Found")


def first_line(error: BaseException) -> str:
    """The first line of what went wrong."""
    return str(error).partition("\n")[0] or type(error).__name__


def tell(line: str) -> None:
    """A remark that does not stand in the way of the report."""
    print(f"lab: {line}", file=sys.stderr)


class Windows:
    """Measures one after the other, and keeps what has to be said about those that failed."""

    def __init__(self, say: Callable[[str], None] = tell) -> None:
        self.measured = 0
        self.repeated: list[str] = []
        self.missing: list[str] = []
        self._say = say

    def measure(self, what: str, once: Callable[[], Found]) -> Found | None:
        """What once() finds; None when it failed each time.

        The failure is raised if nothing was measured before: then there is nothing to lose, and most likely nothing to
        gain. So is that of a program that cannot be started.
        """
        attempt = 1
        while True:
            try:
                found = once()
                self.measured += 1
                return found
            except Unstartable:
                raise
            except FAILURES as error:
                if attempt < ATTEMPTS and len(self.repeated) < REPEATS_IN_ALL:
                    attempt += 1
                    self._note(self.repeated, f"{what}: {first_line(error)}; measured again ({attempt} of {ATTEMPTS})")
                    continue
                if self.measured == 0:
                    raise
                self._note(self.missing, f"{what}: {first_line(error)}; left out")
                return None

    def _note(self, remarks: list[str], line: str) -> None:
        remarks.append(line)
        self._say(line)
