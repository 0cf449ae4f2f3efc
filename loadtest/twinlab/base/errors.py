"""What ends a piece of the laboratory's work early, or all of it."""

from contextlib import contextmanager
from typing import Iterator


class LabError(Exception):
    """Something that the user can act on: one line that names the cause and, where there is one, the fix."""


class Unstartable(LabError):
    """A program cannot be started at all: to try again is in vain."""


class Accident(LabError):
    """What happened to the laboratory itself, on a busy machine or one whose clock was set: it may go well next time."""


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived. Not an Exception, so that no handler for ordinary failures swallows it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


@contextmanager
def understood(what: str) -> Iterator[None]:
    """Around what reads a file: people write such files, and a mistake in one is told as such."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise LabError(f"{what} is not understood: {type(error).__name__}: {error}") from error
