"""An ordinary client: asks for a small file ten times a second on new connections, and as often on one kept open.

A request counts from the moment at which it was due. Requests on new connections do not wait for each other, so that a
server that stands still for a second makes ten of them slow, and not one.
"""

import http.client
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Callable

from twinlab.clients import http as lab_http

PATH = "/1k.bin"
INTERVAL_S = 0.1
TIMEOUT_S = 5.0
# Enough for every request that can be due within the timeout.
MAX_OPEN = 64
NEW, KEPT = "new", "kept"


@dataclass(frozen=True)
class Visit:
    """One request. failure is None when it was answered with 200."""

    kind: str
    due_s: float
    sent_s: float
    ended_s: float
    failure: str | None

    @property
    def latency_ms(self) -> float:
        return (self.ended_s - self.due_s) * 1000

    @property
    def own_delay_ms(self) -> float:
        """What the client itself was late, or had to wait for its kept connection."""
        return (self.sent_s - self.due_s) * 1000


class Visitor:
    """Asks until the with block ends; then visits has every request."""

    def __init__(self, port: int) -> None:
        self.visits: list[Visit] = []
        self._port = port
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(MAX_OPEN, "visitor")
        self._kept: http.client.HTTPConnection | None = None
        self._threads = [threading.Thread(target=self._repeat, args=(self._submit_new,), daemon=True),
                         threading.Thread(target=self._repeat, args=(self._visit_kept,), daemon=True)]

    def __enter__(self) -> "Visitor":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        self._pool.shutdown()
        self._drop_kept()

    def _repeat(self, ask: Callable[[float], None]) -> None:
        due_s = time.monotonic()
        while not self._stopped.wait(max(0.0, due_s - time.monotonic())):
            ask(due_s)
            due_s += INTERVAL_S

    def _submit_new(self, due_s: float) -> None:
        self._pool.submit(self._visit, NEW, due_s, self._get_new)

    def _visit_kept(self, due_s: float) -> None:
        self._visit(KEPT, due_s, self._get_kept)

    def _visit(self, kind: str, due_s: float, get: Callable[[], int]) -> None:
        sent_s = time.monotonic()
        failure = None
        try:
            status = get()
            if status != 200:
                failure = f"status {status}"
        except (OSError, ValueError, http.client.HTTPException, lab_http.RequestLost, lab_http.NoAnswer) as error:
            failure = str(error) or type(error).__name__
        self.visits.append(Visit(kind, due_s, sent_s, time.monotonic(), failure))

    def _get_new(self) -> int:
        return lab_http.get(self._port, PATH, TIMEOUT_S).status

    def _get_kept(self) -> int:
        self._kept = self._kept or http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
        try:
            self._kept.request("GET", PATH)
            response = self._kept.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            self._drop_kept()
            raise
        return response.status

    def _drop_kept(self) -> None:
        if self._kept:
            self._kept.close()
            self._kept = None
