"""A server under test: started on a port of the kernel's choice, watched, and surely ended."""

import re
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from twinlab.base.errors import LabError
from twinlab.clients import http
from twinlab.machine import processes, procfs
from twinlab.servers import account, books, observer
from twinlab.servers.models import Model
from twinlab.servers.observer import Observer

START_DEADLINE_S = 20.0
STOP_GRACE_S = 5.0
CHECK_PATIENCE_S = 20.0
# An observer that follows another one, as after a reload, is away for a moment.
AWAY_DEADLINE_S = 20.0
START_POLL_S = 0.002
AWAY_POLL_S = 0.01
FIRST_LINE = re.compile(r"listening on http://\S+:(?P<port>\d+) \(model (?P<model>[\w-]+),.*master pid (?P<pid>\d+)\)")

LOG_LEVEL = re.compile(r"^\S+Z \[(\w+)\]", re.MULTILINE)


@dataclass(frozen=True)
class Announcement:
    """What the first line on a server's stdout tells."""

    port: int
    model: str
    master_pid: int


def parse_first_line(line: str) -> Announcement:
    """`prefork-server: listening on http://127.0.0.1:8080 (model prefork, 2 workers, master pid 1234)`"""
    match = FIRST_LINE.search(line)
    if not match:
        raise LabError(f"the server's first line is not understood: {line!r}")
    return Announcement(int(match["port"]), match["model"], int(match["pid"]))


def count_levels(log: str) -> Counter[str]:
    """Lines of an error log by level: `2026-11-21T03:49:04.712Z [error] master pid 1: ...`"""
    return Counter(LOG_LEVEL.findall(log))


class Program:
    """A program that serves HTTP on 127.0.0.1: started fresh, watched, surely ended; use it as a context manager."""

    reads_headers = True
    cpus: frozenset[int] | None = None  # where it may run; None: anywhere
    niceness = 0  # by how much it gives way to others

    def __init__(self, label: str, argv: list[str], scratch: Path) -> None:
        self.label = label
        self.leftovers: list[int] = []
        self._argv = argv
        self._stdout = scratch / "server.out"
        self._stderr = scratch / "server.err"

    def __enter__(self) -> Self:
        # Files, not pipes: a pipe that nobody reads would stop a server that has much to say.
        with self._stdout.open("wb") as out, self._stderr.open("wb") as err:
            self._child = processes.spawn(self._argv, stdout=out, stderr=err, cpus=self.cpus, niceness=self.niceness)
        try:
            self.port = self._wait_until_ready()
        except BaseException:
            processes.stop(self._child, grace_s=1.0)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.leftovers = processes.stop(self._child, signal.SIGTERM, STOP_GRACE_S)

    def _wait_until_ready(self) -> int:
        """The port on which the program listens, as soon as it does."""
        deadline = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline:
            port = self._ready_port()
            if port:
                return port
            if self._child.poll() is not None:
                raise LabError(self._failure(f"ended with exit status {self._child.returncode} before it listened"))
            time.sleep(START_POLL_S)
        raise LabError(self._failure(f"did not listen within {START_DEADLINE_S:.0f} s"))

    def _ready_port(self) -> int | None:
        raise NotImplementedError

    def _failure(self, what: str) -> str:
        errors = self.log_tail() or "(its stderr is empty)"
        return f"{self.label} {what}; command: {' '.join(self._argv)}\n{errors}"

    def said(self) -> str:
        """What the program has printed so far."""
        return self._stdout.read_text(errors="replace")

    def log_tail(self, lines: int = 20) -> str:
        """The end of the program's stderr."""
        return "\n".join(self._stderr.read_text(errors="replace").splitlines()[-lines:])

    def log_levels(self) -> Counter[str]:
        """How many lines of each level the error log has so far."""
        return count_levels(self._stderr.read_text(errors="replace"))

    def settled_status(self) -> dict[str, Any] | None:
        """What the program tells of itself when it has nothing to do; None: it tells nothing."""
        return None

    def is_running(self) -> bool:
        return self._child.poll() is None

    def has(self, pid: int) -> bool:
        """Whether a process lives and is one of the program's: a pid that was told before may be another's now."""
        fields = processes.stat_fields(pid)
        return fields is not None and fields[0] not in "ZX" and int(fields[3]) == self._child.pid

    def pids(self) -> list[int]:
        """The master and every process that descends from it, but for its observer: what is measured."""
        return [pid for pid in processes.session_members(self._child.pid) if not self._is_beside(pid)]

    def _beside(self) -> list[int]:
        return [pid for pid in processes.session_members(self._child.pid) if self._is_beside(pid)]

    def _is_beside(self, pid: int) -> bool:
        """Whether a process of the program's is there for the laboratory alone."""
        return False

    def memory(self) -> processes.Memory:
        """What its processes use together, see processes.memory()."""
        return processes.memory(self.pids(), self._beside())

    def pss_kib(self) -> int | None:
        """The same with every shared page counted once."""
        return processes.pss_kib(self.pids(), self._beside())

    def check(self, path: str, body_bytes: int | None = None) -> None:
        """One request before a run, so that a workload that only measures errors is never taken for a fast server."""
        try:
            reply = http.get(self.port, path, timeout_s=CHECK_PATIENCE_S, half_close=not self.reads_headers)
        except (http.RequestLost, http.NoAnswer) as error:
            raise LabError(self._failure(f"did not answer GET {path} ({error})")) from error
        if reply.status != 200:
            raise LabError(self._failure(f"answered GET {path} with status {reply.status}"))
        if body_bytes is not None and len(reply.body) != body_bytes:
            raise LabError(self._failure(f"answered GET {path} with {len(reply.body)} bytes instead of {body_bytes}"))


class Announced(Program):
    """A program of the project: its first line tells the port that the kernel chose."""

    def _ready_port(self) -> int | None:
        text = self._stdout.read_text(errors="replace")
        return parse_first_line(text.splitlines()[0]).port if "\n" in text else None


class Server(Announced):
    """One of the two servers, with an observer beside it that tells the laboratory what it does."""

    observer: Observer

    def __init__(self, model: Model, bin_dir: Path, root: Path, scratch: Path, extra: tuple[str, ...] = (),
                 access_log: str = "off", listen: str = "127.0.0.1:0", bench: str = "on") -> None:
        argv = model.command(str(bin_dir), ["--listen", listen, "--root", str(root), "--access-log", access_log,
                                            "--bench", bench, *observer.OPTIONS, *extra])
        super().__init__(model.label, argv, scratch)
        self.model = model

    def _ready_port(self) -> int | None:
        """Not before the banner has named the observer, some lines after the port."""
        found = observer.find(self.said())
        if found is None:
            return None
        self.observer = found
        return super()._ready_port()

    def _wait_until_ready(self) -> int:
        """The observer has answered, too: from then on its process has the name by which it is known."""
        port = super()._wait_until_ready()
        self.status()
        return port

    def _is_beside(self, pid: int) -> bool:
        return procfs.parent(pid) == self._child.pid and procfs.status(pid).get("Name") == observer.NAME

    def status(self, patience_s: float = AWAY_DEADLINE_S) -> dict[str, Any]:
        """Its own account. patience_s: for how long it is asked again while nobody tells it."""
        deadline_s = time.monotonic() + patience_s
        while True:
            try:
                return account.read(self.observer, self.label)
            except (http.NoAnswer, http.RequestLost) as error:
                if time.monotonic() > deadline_s or not self.is_running():
                    raise account.Silent(f"{self.label} does not tell of itself any more ({error})\n"
                                         f"{self.log_tail()}") from error
            time.sleep(AWAY_POLL_S)

    def settled_status(self) -> dict[str, Any]:
        """The account when nothing is under way any more: no request of an earlier load waits in a queue."""
        return books.settled(self.status)
