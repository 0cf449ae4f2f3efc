"""What idle connections cost the busy ones, and what each costs in memory: one worker, with and without a crowd."""

from dataclasses import asdict, dataclass
from typing import Any, Sequence

from twinlab.base import interval
from twinlab.base.decide import Limits
from twinlab.base.errors import LabError
from twinlab.base.interval import Estimate
from twinlab.base.judged import Judged
from twinlab.base.waiting import wait_for
from twinlab.clients.crowd import Crowd
from twinlab.runs import speed
from twinlab.runs.speed import Bench
from twinlab.servers import workloads
from twinlab.servers.models import Model
from twinlab.servers.server import Server

WORKLOAD = workloads.ALL[0]
SETTLE_DEADLINE_S = 20.0
IDLE_TIMEOUT_MS = 3_600_000
# Windows of a round: without the crowd, with it, with it, without it. A drift within a round cancels.
WINDOWS = 4
RATE_LIMIT = 0.95
MEMORY_LIMIT_BYTES = 512


@dataclass(frozen=True)
class Window:
    """The busy connections' figures in one timed window."""

    requests_per_s: float
    cpu_us_per_request: float
    errors: int


@dataclass(frozen=True)
class IdleRound:
    """One fresh server: the windows in the order in which they were measured, and its memory."""

    round: int
    model: str
    connections: int
    windows_without: list[Window]
    windows_with: list[Window]
    pss_before_kib: int
    pss_after_kib: int

    @property
    def bytes_per_connection(self) -> float:
        return (self.pss_after_kib - self.pss_before_kib) * 1024 / self.connections

    @property
    def errors(self) -> int:
        return sum(window.errors for window in [*self.windows_without, *self.windows_with])

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"bytes_per_connection": self.bytes_per_connection}


@dataclass(frozen=True)
class Verdict(Judged):
    """A target, and what was measured."""

    model: str
    target: str
    value: Estimate
    limit: float
    is_upper_limit: bool

    @property
    def measured(self) -> Estimate:
        return self.value

    @property
    def limits(self) -> Limits:
        return Limits(below=self.limit) if self.is_upper_limit else Limits(at_least=self.limit)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"verdict": self.word}


RATE_TARGET = "throughput beside idle connections / without"
MEMORY_TARGET = "bytes of user memory per idle connection"


def one_worker() -> dict[str, Model]:
    """Each server with a single event loop: all connections are its own."""
    return {
        "prefork": Model("prefork", "prefork", "prefork-server", ("--workers", "1"), "1 worker process"),
        "threadpool": Model("threadpool", "threadpool", "threadpool-server",
                            ("--threads", "1", "--dispatch", "connection"), "one process, 1 thread"),
    }


def run(bench: Bench, model: Model, idle_connections: int, round_number: int) -> IdleRound:
    """One round. The memory is read between the windows, with no busy connection open."""
    with Server(model, bench.bin_dir, bench.root, bench.scratch, ("--idle-timeout-ms", str(IDLE_TIMEOUT_MS))) as server:
        server.check(WORKLOAD.path)
        speed.warm_up(bench, server, WORKLOAD)
        before = measure(bench, server)
        pss_before_kib = memory(server, 0)
        with Crowd(server.port, idle_connections):
            pss_after_kib = memory(server, idle_connections)
            with_crowd = [measure(bench, server), measure(bench, server)]
            wait_for_open(server, idle_connections)  # none was lost meanwhile
        wait_for_open(server, 0)
        after = measure(bench, server)
    return IdleRound(round_number, model.key, idle_connections, [before, after], with_crowd, pss_before_kib,
                     pss_after_kib)


def measure(bench: Bench, server: Server) -> Window:
    timed = speed.measure(bench, server, WORKLOAD)
    if not timed.result.answered:
        raise LabError(f"{server.label} answered none of the busy connections' requests\n{server.log_tail()}")
    return Window(timed.result.requests_per_s, timed.cpu_us / timed.result.answered,
                  sum(timed.result.errors.values()))


def memory(server: Server, idle_connections: int) -> int:
    wait_for_open(server, idle_connections)
    pss_kib = server.pss_kib()
    if pss_kib is None:
        raise LabError("cannot read the server's memory from /proc/PID/smaps_rollup; run as the same user or root")
    return pss_kib


def wait_for_open(server: Server, expected: int) -> None:
    """Until the server has exactly these connections."""
    wait_for(lambda: server.status()["totals"]["connections_open"] == expected,
             f"{server.label} has {expected} open connections", SETTLE_DEADLINE_S)


def figures(rounds: Sequence[IdleRound], crowd: bool, name: str) -> dict[int, float]:
    """A figure by round, the mean of the two windows with the crowd or of the two without."""
    found = {}
    for each in rounds:
        values = [getattr(window, name) for window in (each.windows_with if crowd else each.windows_without)]
        found[each.round] = sum(values) / len(values)
    return found


def beside(rounds: Sequence[IdleRound], name: str) -> Estimate | None:
    """A figure beside the crowd as a multiple of that without it. Each round is a fresh server, and so a launch."""
    return interval.by_round(figures(rounds, True, name), figures(rounds, False, name))


def bytes_per_connection(rounds: Sequence[IdleRound]) -> Estimate | None:
    return interval.of_launches([[each.bytes_per_connection] for each in rounds])


def judge(rounds: Sequence[IdleRound], model: str) -> list[Verdict]:
    own = [each for each in rounds if each.model == model]
    rate, memory_bytes = beside(own, "requests_per_s"), bytes_per_connection(own)
    verdicts = []
    if rate:
        verdicts.append(Verdict(model, RATE_TARGET, rate, RATE_LIMIT, False))
    if memory_bytes:
        verdicts.append(Verdict(model, MEMORY_TARGET, memory_bytes, MEMORY_LIMIT_BYTES, True))
    return verdicts
