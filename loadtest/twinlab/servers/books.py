"""A server's own account of its requests, and whether it is still working any off.

A request that is swallowed on a connection that stays open is an error to nobody: wrk waits for its answer until it is
stopped, and then the server books the request as aborted, as it does those that the end of the load cuts. Books tells
it from these: wrk is halted, with its connections open, and whatever the server has begun must then come to an end.
"""

import time
from dataclasses import dataclass
from typing import Any, Callable, Mapping

# A server without load works off what is in its queues: its books move until it is done.
STILL_S = 2.0
# Longer than thousands of /sleep in the queues of a few workers take.
SETTLE_DEADLINE_S = 60.0
POLL_S = 0.01


@dataclass(frozen=True)
class Books:
    """A server's own account of all requests of its life, as it tells them itself."""

    started: int
    finished: int
    aborted: int
    died: int

    @staticmethod
    def of(status: Mapping[str, Any]) -> "Books":
        totals = status["totals"]
        return Books(totals["requests_started"], totals["requests_finished"], totals["requests_aborted"],
                     sum(death["in_progress"] for death in status["deaths"]))

    @property
    def under_way(self) -> int:
        """Requests begun and not ended. Below zero: more ends than beginnings."""
        return self.started - self.finished - self.aborted - self.died


def settled(read_status: Callable[[], dict[str, Any]], still_s: float = STILL_S) -> dict[str, Any]:
    """The account of a server that nobody asks for anything any more: all is answered, or nothing moves for a time.

    Between two requests of a queue nothing is under way, and what lies in the sockets nobody has begun: so all is
    answered when two looks see the same, connections too, whose ends come after the last request.
    """
    before: tuple[Books, int] | None = None
    still_until_s, deadline_s = 0.0, time.monotonic() + SETTLE_DEADLINE_S
    while True:
        status = read_status()
        now = Books.of(status), status["totals"]["connections_open"]
        is_still = now == before
        if not is_still:
            before, still_until_s = now, time.monotonic() + still_s
        if (is_still and now[0].under_way == 0) or time.monotonic() > min(still_until_s, deadline_s):
            return status
        time.sleep(POLL_S)


def unexplained(status: Mapping[str, Any], answered: int = 0) -> int:
    """Requests that a settled server began and never ended, and answers that clients got (at least) and it knows not.
    """
    books = Books.of(status)
    return abs(books.under_way) + max(0, answered - books.finished)
