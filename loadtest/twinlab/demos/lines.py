"""Connections that are kept open, and so stay with the worker that accepted them."""

import contextlib
import http.client
import json
import select
import time
from typing import Any, Iterator

from twinlab.base.errors import LabError
from twinlab.base.waiting import DEADLINE_S
from twinlab.demos.stage import ready_workers
from twinlab.servers.server import Server


class Line:
    """A connection to one worker, which `pid` and `tid` name."""

    def __init__(self, server: Server, timeout_s: float = 30.0) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout_s)
        who = self.ask("/whoami")
        self.pid: int = who["pid"]
        self.tid: int = who["tid"]

    def send(self, path: str) -> None:
        """Ask, and do not wait for the answer."""
        self._connection.request("GET", path)

    def read_json(self) -> Any:
        """The answer to what was sent."""
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise LabError(f"worker {self.tid} answered {response.status}: {body.decode(errors='replace').strip()}")
        return json.loads(body)

    def read_status(self) -> int:
        """The status of the answer to what was sent."""
        response = self._connection.getresponse()
        response.read()
        return response.status

    def ask(self, path: str) -> Any:
        """The JSON answer of this worker."""
        self.send(path)
        return self.read_json()

    def ask_status(self, path: str) -> int:
        self.send(path)
        return self.read_status()

    def has_answer(self) -> bool:
        """Whether something has come for what was sent, or the connection has ended."""
        readable, _, _ = select.select([self._connection.sock], [], [], 0)
        return bool(readable)

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def to_every(server: Server, thing: str = "tid") -> Iterator[list[Line]]:
    """A line to every thread (or every process, "pid") that accepts connections, in the order of their numbers."""
    wanted = {worker[thing] for worker in ready_workers(server) if worker["role"] == "loop"}
    lines: dict[int, Line] = {}
    beside: list[Line] = []  # kept open: who has many connections leaves the next one to others
    end_s = time.monotonic() + DEADLINE_S
    try:
        while set(lines) != wanted:
            if time.monotonic() > end_s:
                raise LabError(f"{server.label}: new connections reach {len(lines)} of {len(wanted)} workers only")
            line = Line(server)
            key = getattr(line, thing)
            if key in lines or key not in wanted:
                beside.append(line)
            else:
                lines[key] = line
        while beside:
            beside.pop().close()
        yield [lines[key] for key in sorted(lines)]
    finally:
        for line in [*lines.values(), *beside]:
            line.close()
