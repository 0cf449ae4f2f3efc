"""Waiting until something is so, with a deadline: never sleeping for luck."""

import time
from typing import Any, Callable, TypeVar

from twinlab.base.errors import LabError

DEADLINE_S = 10.0
POLL_S = 0.005
Seen = TypeVar("Seen")


def wait_for(look: Callable[[], Seen | None], what: str, deadline_s: float = DEADLINE_S) -> Seen:
    """Look until there is something to see, and return it. what: what was to be seen, for the error."""
    end_s = time.monotonic() + deadline_s
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > end_s:
            raise LabError(f"waited {deadline_s:.0f} s in vain: {what}")
        time.sleep(POLL_S)


def comes_true(look: Callable[[], Any], deadline_s: float = DEADLINE_S) -> bool:
    """Whether something is seen in time."""
    try:
        return bool(wait_for(look, "", deadline_s))
    except LabError:
        return False
