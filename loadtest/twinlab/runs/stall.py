"""Who waits when a process dies: a few connections that are asked on all the time, and what becomes of each.

wrk has no timeline, and a request that waits for a successor is no error to it. So a second client, lab-prober as a
closed loop on /whoami, keeps connections of its own and notes every answer with the pid of who gave it. A connection
belonged to a process if that was the last to answer on it. Its stall is the time from the death to its next answer, if
it had one; else it was cut.
"""

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Sequence

from twinlab.clients import lab_prober
from twinlab.clients.lab_prober import Ended, OpenLoop, Plan
from twinlab.runs.speed import Bench

# Longer than any successor is waited for: who is given up as hung belongs to nobody.
TIMEOUT_MS = 30_000
LONGEST_S = 3600.0
ANSWERED = "ok"
OUTCOMES = "kept.csv"


@dataclass(frozen=True)
class Fates:
    """What one death was to the connections of the process that died. held: all of them."""

    held: int
    stalls_ms: tuple[float, ...]
    cut: int


class Kept:
    """The client: `with Kept(bench, port, 16) as kept: ...; kept.finish()`. Without connections it asks nothing."""

    def __init__(self, bench: Bench, port: int, connections: int) -> None:
        self.ended: list[Ended] = []
        self._path: Path = bench.scratch / OUTCOMES
        plan = Plan(None, "/whoami", connections, LONGEST_S, timeout_ms=TIMEOUT_MS, outcomes=self._path)
        self._loop = OpenLoop(bench.bin_dir, port, plan) if connections else None

    def __enter__(self) -> "Kept":
        return self

    def __exit__(self, *details: object) -> None:
        if self._loop:
            self._loop.__exit__(*details)

    def finish(self) -> None:
        """Ask no more; what was seen is in ended then."""
        if self._loop:
            self.ended = lab_prober.read_outcomes(self._path, self._loop.finish())

    def cut_between(self, start_s: float, end_s: float) -> int:
        """Requests whose connection ended under them in a stretch of time."""
        return sum(each.outcome in lab_prober.CUT and start_s <= each.ended_s < end_s for each in self.ended)

    @property
    def cut(self) -> int:
        return sum(each.outcome in lab_prober.CUT for each in self.ended)

    def fates(self, pid: int, death_s: float) -> Fates:
        """Of the connections of a process that died at that time."""
        return fates_of(self.ended, pid, death_s)

    def waits_ms(self, at_s: float) -> list[float]:
        """How long each connection waited for its next answer at some moment, whoever gave it."""
        return [(found - at_s) * 1000 for found in
                (_next_answer_s(events, at_s) for events in by_connection(self.ended)) if found is not None]


def by_connection(ended: Sequence[Ended]) -> list[list[Ended]]:
    """Each connection's requests, in order."""
    ordered = sorted(ended, key=lambda each: each.connection)
    return [list(events) for _, events in groupby(ordered, key=lambda each: each.connection)]


def _next_answer_s(events: Sequence[Ended], at_s: float) -> float | None:
    later = (each.ended_s for each in events if each.ended_s >= at_s and each.outcome == ANSWERED)
    return next(later, None)


def fates_of(ended: Sequence[Ended], pid: int, death_s: float) -> Fates:
    """An answer that the process sent before its death may be read after it, and is no answer of a successor's."""
    following = [after for after in (_after_last_of(events, pid) for events in by_connection(ended)) if after]
    cut = sum(each.outcome in lab_prober.CUT for each in following)
    stalls = [(each.ended_s - death_s) * 1000 for each in following
              if each.outcome == ANSWERED and each.ended_s >= death_s]
    return Fates(cut + len(stalls), tuple(stalls), cut)


def _after_last_of(events: Sequence[Ended], pid: int) -> Ended | None:
    """What followed a process's last answer on a connection: the end of all, or an answer by whom it then belonged to.
    """
    last = max((number for number, each in enumerate(events) if each.pid == pid), default=None)
    return events[last + 1] if last is not None and last + 1 < len(events) else None
