"""One timed run: a fresh server of one model, one workload, wrk."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from twinlab.base.errors import Accident
from twinlab.clients import wrk
from twinlab.machine import processes
from twinlab.servers import books
from twinlab.servers.models import Model
from twinlab.servers.server import Program, Server
from twinlab.servers.workloads import Workload


@dataclass(frozen=True)
class Bench:
    """What all runs have in common."""

    bin_dir: Path
    root: Path
    scratch: Path
    connections: int
    duration_s: float
    warmup_s: float
    wrk_cpus: frozenset[int] | None = None  # None: anywhere
    server_cpus: frozenset[int] | None = None


@dataclass(frozen=True)
class SpeedRun:
    """The figures of one run, with wrk's own beside them."""

    round: int
    model: str
    workload: str
    requests_per_s: float
    p50_us: float | None
    p99_us: float | None
    cpu_us_per_request: float | None
    pss_kib: int | None
    processes: int
    deaths: int
    leftovers: int
    wrk: dict[str, Any]

    @property
    def errors(self) -> int:
        return sum(self.wrk["errors"].values())

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def run(bench: Bench, model: Model, workload: Workload, round_number: int) -> SpeedRun:
    """Start, warm up, measure, stop. A fresh server each time, so that no run inherits another's state."""
    with Server(model, bench.bin_dir, bench.root, bench.scratch) as server:
        server.check(workload.path)
        pss_kib = memory_under_load(bench, server, workload)
        timed = measure(bench, server, workload)
        deaths = server.status()["totals"]["deaths"]
    return make_run(round_number, model.key, workload, timed, pss_kib, deaths, len(server.leftovers))


@dataclass(frozen=True)
class Timed:
    """What a timed window gave: wrk's result, and the CPU time of the processes that the server had at its start."""

    result: wrk.Result
    cpu_us: float
    pids: list[int]


def measure(bench: Bench, server: Program, workload: Workload) -> Timed:
    """The timed window. It begins when all requests of an earlier load are out of the queues."""
    before = server.settled_status()
    timed = measure_at_once(bench, server, workload)
    after = server.settled_status()
    if before and after:
        hold_against_books(timed.result, before, after, bench.connections * workload.style.depth)
    return timed


def measure_at_once(bench: Bench, server: Program, workload: Workload) -> Timed:
    """The timed window, of a server that may have other load, too."""
    pids = server.pids()
    cpu_before_us = processes.cpu_us(pids)
    with _load(bench, server, workload, bench.duration_s) as load:
        time.sleep(bench.duration_s)
        result = load.finish()
    return Timed(result, processes.cpu_us(pids) - cpu_before_us, pids)


def hold_against_books(result: wrk.Result, before: dict[str, Any], after: dict[str, Any], at_once: int) -> None:
    """wrk may have stopped before it read the last answers, one for each request that it had sent.

    A server that has lost a process has lost its books as well, and says so by its deaths.
    """
    if after["totals"]["deaths"]:
        return
    answered = books.Books.of(after).finished - books.Books.of(before).finished
    if not result.requests <= answered <= result.requests + at_once:
        raise Accident(f"wrk counted {result.requests} answers, the server {answered}")


def make_run(round_number: int, key: str, workload: Workload, timed: Timed, pss_kib: int | None, deaths: int,
             leftovers: int) -> SpeedRun:
    """Work out the figures per request; without a single good answer there are none.

    wrk's percentiles do not tell a refusal, which is quick, from a good answer; CPU time that went with a process that
    died is in no sum.
    """
    result, answered = timed.result, timed.result.answered
    timely = answered > 0 and answered == result.requests
    return SpeedRun(round_number, key, workload.key, result.requests_per_s,
                    result.p50_us if timely else None, result.p99_us if timely else None,
                    timed.cpu_us / answered if answered and not deaths else None, pss_kib, len(timed.pids), deaths,
                    leftovers, result.raw)


def warm_up(bench: Bench, server: Program, workload: Workload) -> None:
    """Load for a moment outside the timed window. wrk is killed: its result is not wanted."""
    with _load(bench, server, workload, bench.warmup_s):
        time.sleep(bench.warmup_s)


def memory_under_load(bench: Bench, server: Program, workload: Workload) -> int | None:
    """Load for a moment outside the timed window; the memory is read then, since reading it holds the server up."""
    with _load(bench, server, workload, bench.warmup_s):
        time.sleep(bench.warmup_s)
        return server.pss_kib()


def _load(bench: Bench, server: Program, workload: Workload, max_s: float) -> wrk.Wrk:
    return wrk.Wrk(server.port, workload.path, bench.connections, max_s, workload.style, bench.wrk_cpus)
