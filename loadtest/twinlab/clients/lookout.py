"""A small client beside wrk that sees when answers come: wrk has no timeline, and a hung server gives it no error."""

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Iterator, Sequence

from twinlab.clients import http

INTERVAL_S = 0.002
TIMEOUT_S = 2.0
# Between two probes even when they are slow: whoever wants the pause must get its turn.
MIN_REST_S = 0.0005


@dataclass(frozen=True)
class Probe:
    """One request on a fresh connection; generation is None when it was not answered."""

    sent_s: float
    ended_s: float
    lost: bool
    generation: int | None

    @property
    def answered(self) -> bool:
        return self.generation is not None


class Prober(threading.Thread):
    """Asks /whoami about every 2 ms until it is told to stop; /whoami tells which generation of worker answers."""

    def __init__(self, port: int) -> None:
        super().__init__(name="prober", daemon=True)
        self.probes: list[Probe] = []
        self._port = port
        self._stopped = threading.Event()
        self._probing = threading.Lock()

    def __enter__(self) -> "Prober":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join(TIMEOUT_S + 1)

    def run(self) -> None:
        while not self._stopped.is_set():
            with self._probing:
                probe = self._probe()
            self.probes.append(probe)
            time.sleep(max(MIN_REST_S, probe.sent_s + INTERVAL_S - time.monotonic()))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within this block, no probe is under way."""
        with self._probing:
            yield

    def _probe(self) -> Probe:
        sent_s = time.monotonic()
        lost, generation = False, None
        try:
            generation = http.get(self._port, "/whoami", TIMEOUT_S).json()["generation"]
        except http.RequestLost:
            lost = True
        except (http.NoAnswer, ValueError, KeyError, TypeError):
            pass
        return Probe(sent_s, time.monotonic(), lost, generation)


def longest_silence_ms(answers_s: Sequence[float], start_s: float, end_s: float) -> float | None:
    """The longest time without an answer that begins in a window; the window's start counts as an answer.

    None when no answer came after the start: then the silence has no known end.
    """
    events_s = [start_s, *(answer_s for answer_s in answers_s if answer_s > start_s)]
    silences = [later - earlier for earlier, later in zip(events_s, events_s[1:]) if earlier < end_s]
    return max(silences) * 1000 if silences else None


def answer_times_s(probes: Sequence[Probe]) -> list[float]:
    return [probe.ended_s for probe in probes if probe.answered]


def first_new_answer_ms(probes: Sequence[Probe], crash_s: float, old_generation: int) -> float | None:
    """From the crash to the first answer by a process that was started after it, as this client saw it."""
    times = (p.ended_s for p in probes if p.generation is not None and p.generation > old_generation)
    first = min(times, default=None)
    return None if first is None else (first - crash_s) * 1000


def lost_between(probes: Sequence[Probe], start_s: float, end_s: float) -> int:
    """Probes that were cut in a window: the server counts these too, and wrk did not send them."""
    return sum(1 for probe in probes if probe.lost and start_s <= probe.ended_s < end_s)
