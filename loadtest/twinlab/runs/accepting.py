"""How fast new connections are accepted, and how evenly the event loops share them."""

import socket
from dataclasses import asdict, dataclass
from typing import Any

from twinlab.base.errors import LabError
from twinlab.base.waiting import wait_for
from twinlab.clients.wrk import Style
from twinlab.runs import speed
from twinlab.runs.idle import SETTLE_DEADLINE_S, wait_for_open
from twinlab.runs.speed import Bench
from twinlab.servers.models import Model
from twinlab.servers.server import Server
from twinlab.servers.workloads import Workload

WAYS = ("shared", "reuseport")
WORKERS = (2, 4)
CLOSE = Workload("close", "/plaintext, a connection for each request", "/plaintext", Style(close=True))
KEPT_CONNECTIONS = 64


@dataclass(frozen=True)
class Shares:
    """What each event loop got."""

    counts: list[int]

    @property
    def max_to_mean(self) -> float:
        """1 when all have the same, the number of loops when one has all."""
        return max(self.counts) * len(self.counts) / sum(self.counts) if sum(self.counts) else 0.0


@dataclass(frozen=True)
class AcceptRound:
    """One fresh server."""

    round: int
    model: str
    way: str
    workers: int
    connections_per_s: float
    cpu_us_per_request: float
    errors: int
    closing: Shares
    kept: Shares

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def model_of(key: str, workers: int) -> Model:
    if key == "prefork":
        return Model(key, key, "prefork-server", ("--workers", str(workers)), f"{workers} worker processes")
    return Model(key, key, "threadpool-server", ("--threads", str(workers), "--dispatch", "connection"),
                 f"one process, {workers} threads")


def run(bench: Bench, key: str, way: str, workers: int, round_number: int) -> AcceptRound:
    options = ("--accept", way, "--rebalance", "off")  # or the loops would share out what they have accepted
    with Server(model_of(key, workers), bench.bin_dir, bench.root, bench.scratch, options) as server:
        server.check(CLOSE.path)
        speed.warm_up(bench, server, CLOSE)
        before = loop_figures(server.settled_status(), "requests_handled")
        timed = speed.measure(bench, server, CLOSE)
        after = loop_figures(server.status(), "requests_handled")
        kept = open_at_once(server)
    if not timed.result.answered:
        raise LabError(f"{server.label} answered no request under Connection: close\n{server.log_tail()}")
    return AcceptRound(round_number, key, way, workers, timed.result.requests_per_s,
                       timed.cpu_us / timed.result.answered, sum(timed.result.errors.values()),
                       Shares([last - first for first, last in zip(before, after)]), Shares(kept))


def loop_figures(status: dict[str, Any], name: str) -> list[int]:
    """A figure of every event loop, in the order of the slots."""
    return [worker[name] for worker in status["workers"] if worker["role"] == "loop"]


def open_at_once(server: Server) -> list[int]:
    """Open connections together, and tell how many each loop took."""
    wait_for_open(server, 0)
    connections = [socket.socket() for _ in range(KEPT_CONNECTIONS)]
    try:
        for connection in connections:
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", server.port))

        def all_taken() -> list[int] | None:
            counts = loop_figures(server.status(), "connections_open")
            return counts if sum(counts) == KEPT_CONNECTIONS else None

        return wait_for(all_taken, f"{server.label} accepts {KEPT_CONNECTIONS} connections", SETTLE_DEADLINE_S)
    finally:
        for connection in connections:
            connection.close()
