"""Who takes part in `lab peers`: the floor program, the project's servers, and servers from Debian's packages."""

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Iterator

from twinlab.runs.speed import Bench
from twinlab.servers import models, packaged
from twinlab.servers.models import Model
from twinlab.servers.packaged import PackagedServer, Site
from twinlab.servers.server import Announced, Program, Server
from twinlab.servers.workloads import PeerWorkload

FLOOR = "floor"
AGAIN = "prefork-again"  # the A/A control: the same server under another name
SLEEPERS = "sleepers"
SLEEPER_THREADS = 64


@dataclass(frozen=True)
class Contender:
    """One row of the tables."""

    key: str
    label: str
    shape: str

    @property
    def is_peer(self) -> bool:
        """Neither the project's own nor the floor."""
        return self.key in packaged.PACKAGES

    def make(self, bench: Bench, workload: PeerWorkload, folder: Path) -> Program:
        """The program, ready to be started; folder is its own and vanishes after the run."""
        raise NotImplementedError

    @contextmanager
    def running(self, bench: Bench, workload: PeerWorkload) -> Iterator[Program]:
        """The program, started for a run in a folder of its own."""
        with tempfile.TemporaryDirectory(prefix="run-", dir=bench.scratch) as folder:
            # The peers' workers run as another user.
            Path(folder).chmod(0o755)
            program = self.make(bench, workload, Path(folder))
            program.cpus = bench.server_cpus
            with program:
                yield program


class FloorProgram(Announced):
    """It answers a request's blank line and knows no header: not even the one that asks it to close."""

    reads_headers = False


@dataclass(frozen=True)
class Floor(Contender):
    """The bare epoll program."""

    workers: int

    def make(self, bench: Bench, workload: PeerWorkload, folder: Path) -> Program:
        """Answer with the workload's bytes, and close if wrk asks for that."""
        document = bench.root / workload.path.lstrip("/")
        body = ["--bytes", "13"] if workload.body_bytes == 13 else ["--file", str(document)]
        argv = [str(bench.bin_dir / "floor"), "--workers", str(self.workers), *body]
        return FloorProgram(self.label, argv + ["--close"] * workload.style.close, folder)


@dataclass(frozen=True)
class Own(Contender):
    """One of the project's servers."""

    model: Model

    def make(self, bench: Bench, workload: PeerWorkload, folder: Path) -> Program:
        """As `lab compare` runs it, but for the access log."""
        access_log = str(folder / "access.log") if workload.access_log else "off"
        return Server(self.model, bench.bin_dir, bench.root, folder, access_log=access_log)


@dataclass(frozen=True)
class Packaged(Contender):
    """A server from a package."""

    workers: int

    def make(self, bench: Bench, workload: PeerWorkload, folder: Path) -> Program:
        """Configured for this run, on a port that is free now."""
        site = Site(bench.root, folder, packaged.free_port(), self.workers, bench.connections, workload.access_log)
        return PackagedServer(self.label, packaged.PACKAGES[self.key], site)


PEER_SHAPES = {
    "nginx": "{n} worker processes; the 13 bytes by `return 200`, without a file",
    "lighttpd": "{n} worker processes; the 13 bytes from a file",
    "h2o": "one process of {n} threads and its crash handler in Perl; the 13 bytes from a file",
    "apache-event": "{n} processes with threads for all connections; the 13 bytes from a file",
    "apache-worker": "{n} processes with threads for all connections; the 13 bytes from a file",
    "apache-prefork": "a process for each connection; the 13 bytes from a file",
}
OWN_KEYS = ("prefork", "threadpool", "hybrid", "threadpool-all")
KEYS = (FLOOR, *OWN_KEYS, *PEER_SHAPES, AGAIN)


def make(workers: int, cpus: int) -> dict[str, Contender]:
    """Everybody, with the same number of workers wherever a worker can serve more than one connection."""
    made = models.make(workers, cpus)
    request = made["threadpool-request"]
    hybrid_threads = ("--workers", str(workers), "--threads", "1")
    own = {
        "prefork": made["prefork"],
        "threadpool": made["threadpool"],
        "hybrid": replace(made["hybrid"], options=hybrid_threads, shape=f"{workers} worker processes of 1 thread each"),
        "threadpool-all": replace(
            request, key="threadpool-all", label="threadpool, offload all",
            options=("--threads", str(workers), "--dispatch", "request", "--offload", "all"),
            shape=f"one process, loops that parse, {workers} pool threads that take every request"),
        AGAIN: replace(made["prefork"], key=AGAIN, label="prefork again"),
        SLEEPERS: replace(
            request, key=SLEEPERS, label=f"threadpool, {SLEEPER_THREADS} threads",
            options=("--threads", str(SLEEPER_THREADS), "--dispatch", "request", "--offload", "blocking"),
            shape=f"one process, {SLEEPER_THREADS} pool threads, takes part in /sleep only"),
    }
    contenders: list[Contender] = [Floor(FLOOR, FLOOR, f"{workers} processes that do a server's system calls and "
                                         "nothing else", workers)]
    contenders += [Own(key, model.label, model.shape, model) for key, model in own.items()]
    contenders += [Packaged(key, key, shape.format(n=workers), workers) for key, shape in PEER_SHAPES.items()]
    found = {contender.key: contender for contender in contenders}
    return {key: found[key] for key in (*KEYS, SLEEPERS)}
