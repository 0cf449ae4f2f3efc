"""One timed run: a fresh server of one model, one workload, wrk."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from twinlab import proc, wrk
from twinlab.models import Model
from twinlab.server import Server
from twinlab.workloads import Workload


@dataclass(frozen=True)
class Bench:
    """What all runs have in common."""

    bin_dir: Path
    root: Path
    scratch: Path
    connections: int
    duration_s: float
    warmup_s: float


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
        pss_kib = _warm_up(bench, server, workload)
        pids = server.pids()
        cpu_before_us = proc.cpu_us(pids)
        result = wrk.run(server.port, workload.path, bench.connections, bench.duration_s)
        cpu_used_us = proc.cpu_us(pids) - cpu_before_us
        deaths = server.status()["totals"]["deaths"]
    answered = result.requests > 0
    return SpeedRun(round_number, model.key, workload.key, result.requests_per_s,
                    result.p50_us if answered else None, result.p99_us if answered else None,
                    cpu_used_us / result.requests if answered else None, pss_kib, len(pids), deaths,
                    len(server.leftovers), result.raw)


def _warm_up(bench: Bench, server: Server, workload: Workload) -> int | None:
    """Load for a moment outside the timed window; the memory is read then, since reading it holds the server up."""
    with wrk.Wrk(server.port, workload.path, bench.connections, bench.warmup_s):
        time.sleep(bench.warmup_s)
        return proc.pss_kib(server.pids())
