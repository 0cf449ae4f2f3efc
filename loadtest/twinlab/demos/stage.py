"""What every demonstration is given: fresh servers, a place to show evidence, and how often to repeat."""

import itertools
from pathlib import Path
from typing import Any, Callable, Iterator

from twinlab.base.errors import LabError
from twinlab.base.waiting import DEADLINE_S, wait_for
from twinlab.clients import http
from twinlab.demos.tally import StartTally
from twinlab.machine import host
from twinlab.servers import models
from twinlab.servers.server import Server

QUICK_STARTS, FULL_STARTS = 3, 10


class Stage:
    """Where a demonstration plays. Everything shown is kept, too."""

    def __init__(self, bin_dir: Path, scratch: Path, root: Path, quick: bool,
                 write: Callable[[str], None] = lambda text: None) -> None:
        self.bin_dir = bin_dir
        self.quick = quick
        self.shown: list[str] = []
        self.starts = 0
        self._latest_start: object = None
        self._is_silent = False
        self._scratch = scratch
        self._root = root
        self._write = write
        self._numbers = itertools.count()

    def repeated(self, *names: str, at_most: int = FULL_STARTS) -> Iterator[str]:
        """These models (or what else is started) over and over, for fresh starts of each. The first ones are shown."""
        try:
            for number in range(QUICK_STARTS if self.quick else at_most):
                self._is_silent = number > 0
                yield from names
        finally:
            self._is_silent = False

    def tally(self, key: str, statement: str) -> StartTally:
        """Counts the starts in which a fact is seen."""
        return StartTally(key, statement, lambda: self._latest_start)

    def say(self, text: str) -> None:
        """What is being done now."""
        self._put(f"- {text}")

    def show(self, evidence: str) -> None:
        """What the kernel or a server says about it."""
        for line in evidence.splitlines():
            self._put(f"    {line}")

    def _put(self, line: str) -> None:
        if self._is_silent:
            return
        self.shown.append(line)
        self._write(line)

    def scratch(self) -> Path:
        """A new folder."""
        directory = self._scratch / f"stage-{next(self._numbers)}"
        directory.mkdir()
        return directory

    def start(self, model_key: str, *options: str) -> Server:
        """A fresh server with faults on, whose connections stay where they are; use it in a with statement."""
        model = models.choose([model_key], host.cpus())[0]
        extra = ("--faults", "on", "--rebalance", "off", *options)
        server = Server(model, self.bin_dir, self._root, self.scratch(), extra)
        self.note_start(server)
        return server

    def note_start(self, started: object) -> None:
        """What is noted from now on is about this start, of a server or of another program."""
        self.starts += 1
        self._latest_start = started


def ask(server: Server, path: str, timeout_s: float = 5.0) -> Any:
    """The JSON answer to a request on a new connection."""
    reply = http.get(server.port, path, timeout_s)
    if reply.status != 200:
        raise LabError(f"{server.label}: GET {path} answered {reply.status}")
    return reply.json()


def is_answered(server: Server, path: str, timeout_s: float = 1.0) -> bool:
    """Whether a new connection gets an answer of 200 in time."""
    try:
        return http.get(server.port, path, timeout_s).status == 200
    except (http.RequestLost, http.NoAnswer):
        return False


def kills(server: Server, path: str) -> bool:
    """Whether a request on a new connection ends whoever takes it."""
    try:
        http.get(server.port, path, DEADLINE_S)
    except http.RequestLost:
        return True
    except http.NoAnswer:
        pass
    return False


def end_by(server: Server, path: str) -> int | None:
    """Ask for something deadly. The pid of who died of it, once the server is whole again; None: nobody."""
    known = {death["pid"] for death in server.status()["deaths"]}
    if not kills(server, path):
        return None
    victim = next_death(server, known)
    full_strength(server, victim)
    return victim


def next_death(server: Server, known: set[int]) -> int:
    """The pid of a process whose death is new."""
    def look() -> int | None:
        return next((death["pid"] for death in server.status()["deaths"] if death["pid"] not in known), None)
    return wait_for(look, "the server tells of a death")


def ready_workers(server: Server) -> list[dict[str, Any]]:
    """Every slot with somebody who serves in it."""
    return [worker for worker in server.status()["workers"] if worker["state"] == "ready"]


def worker_pids(server: Server) -> list[int]:
    """The processes that serve."""
    return sorted({worker["pid"] for worker in ready_workers(server)})


def connections(server: Server) -> list[int]:
    """Open connections of each worker."""
    return [worker["connections_open"] for worker in server.status()["workers"]]


def full_strength(server: Server, without_pid: int = 0) -> list[int]:
    """The serving processes, once every slot is ready again and the old one is gone."""
    def look() -> list[int] | None:
        status = server.status()
        pids = sorted(process["pid"] for process in status["processes"])
        whole = (len(pids) == status["processes_wanted"]
                 and all(each["state"] == "ready" for each in (*status["processes"], *status["workers"])))
        return pids if whole and without_pid not in pids else None
    return wait_for(look, "every worker is ready")


def death_of(server: Server, pid: int) -> dict[str, Any]:
    """The server's record of a death."""
    return wait_for(lambda: next((death for death in server.status()["deaths"] if death["pid"] == pid), None),
                    f"the server tells of the death of {pid}")


def story_of(server: Server, pid: int) -> dict[str, Any]:
    """What the dying process itself noted."""
    return wait_for(lambda: death_of(server, pid)["crash"], f"the crash of {pid} is told")
