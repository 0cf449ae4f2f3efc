"""One attacked run: a fresh server under slowhttptest, and ordinary clients on it and on an idle twin of it."""

import os
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Callable, Sequence

from twinlab.base import stats
from twinlab.base.errors import LabError
from twinlab.clients import visitor
from twinlab.clients.slowhttptest import Attack, Attacker, Result
from twinlab.clients.visitor import Visit, Visitor
from twinlab.machine import processes
from twinlab.servers import workloads
from twinlab.servers.models import Model
from twinlab.servers.server import Server

LARGE_FILE, LARGE_FILE_BYTES = "16m.bin", 16 * 1024 * 1024
GOOD_BELOW_MS = 100.0
SAMPLE_INTERVAL_S = 1.0
TEND_INTERVAL_S = 0.1


@dataclass(frozen=True)
class Field:
    """What all attacked runs have in common."""

    bin_dir: Path
    root: Path
    scratch: Path
    connections: int
    per_s: int
    duration_s: int


@dataclass(frozen=True)
class Service:
    """How an ordinary client fared, in requests of one kind. Failed requests have no latency."""

    requests: int
    failures: dict[str, int]
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    own_delay_max_ms: float

    @property
    def failed(self) -> int:
        return sum(self.failures.values())


def service(visits: Sequence[Visit]) -> Service:
    answered_ms = [visit.latency_ms for visit in visits if visit.failure is None]
    return Service(len(visits), dict(Counter(visit.failure for visit in visits if visit.failure is not None)),
                   stats.percentile(answered_ms, 0.50), stats.percentile(answered_ms, 0.99),
                   max(answered_ms, default=None), max((visit.own_delay_ms for visit in visits), default=0.0))


@dataclass
class Samples:
    """What was seen of the attacked server once a second."""

    pss_kib: list[int] = field(default_factory=list)
    tcp_kib: list[int] = field(default_factory=list)
    connections_open: list[int] = field(default_factory=list)
    totals: dict[str, Any] = field(default_factory=dict)
    status_failures: int = 0

    def take(self, server: Server) -> None:
        pss_kib = server.pss_kib()
        if pss_kib is not None:
            self.pss_kib.append(pss_kib)
        tcp_kib = processes.tcp_memory_kib()
        if tcp_kib is not None:
            self.tcp_kib.append(tcp_kib)
        try:
            self.totals = server.status(patience_s=0.0)["totals"]
        except LabError:
            self.status_failures += 1
        else:
            self.connections_open.append(self.totals["connections_open"])


@dataclass(frozen=True)
class Siege:
    """The figures of one attacked run."""

    model: str
    attack: str
    took_s: float
    new: Service
    kept: Service
    twin: Service
    attacker: Result
    pss_before_kib: int | None
    pss_peak_kib: int | None
    tcp_peak_kib: int | None
    cpu_s: float
    log_lines: dict[str, int]
    connections_open_peak: int | None
    status_totals: dict[str, Any]
    status_failures: int
    load_average: float

    @property
    def failed(self) -> int:
        return self.new.failed + self.kept.failed

    @property
    def slowest_ms(self) -> float | None:
        return max((ms for ms in (self.new.max_ms, self.kept.max_ms) if ms is not None), default=None)

    @property
    def good(self) -> bool:
        """Every ordinary request was answered, and in less than a tenth of a second."""
        return self.failed == 0 and self.slowest_ms is not None and self.slowest_ms < GOOD_BELOW_MS

    @property
    def log_lines_above_info(self) -> int:
        return sum(count for level, count in self.log_lines.items() if level not in ("debug", "info"))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"good": self.good, "service_available": self.attacker.available}


def make_documents(root: Path) -> Path:
    """The files of the other commands, and a large one to read slowly; it has no blocks on the disk."""
    workloads.make_documents(root)
    with (root / LARGE_FILE).open("wb") as file:
        file.truncate(LARGE_FILE_BYTES)
    return root


def run(place: Field, model: Model, attack: Attack, on_sample: Callable[[], None]) -> Siege:
    """Start a server and its twin, attack the one, ask both."""
    with _server(place, model, "attacked") as server, _server(place, model, "twin") as twin:
        pids, samples, log_before = server.pids(), Samples(), server.log_levels()
        samples.take(server)
        cpu_before_us, began_s = processes.cpu_us(pids), time.monotonic()
        with Visitor(server.port) as client, Visitor(twin.port) as twin_client, \
                Attacker(attack, server.port, place.connections, place.per_s, place.duration_s,
                         place.scratch) as attacker:
            _watch(attacker, server, samples, on_sample)
        cpu_s, took_s = (processes.cpu_us(pids) - cpu_before_us) / 1e6, time.monotonic() - began_s
        samples.take(server)
        log_lines = server.log_levels() - log_before
    return Siege(model.key, attack.key, took_s, _service_of(client, visitor.NEW), _service_of(client, visitor.KEPT),
                 service(twin_client.visits), attacker.result(), samples.pss_kib[0] if samples.pss_kib else None,
                 max(samples.pss_kib, default=None), max(samples.tcp_kib, default=None), cpu_s, dict(log_lines),
                 max(samples.connections_open, default=None), samples.totals, samples.status_failures,
                 os.getloadavg()[0])


def _server(place: Field, model: Model, name: str) -> Server:
    scratch = place.scratch / name
    scratch.mkdir(exist_ok=True)
    return Server(model, place.bin_dir, place.root, scratch)


def _service_of(client: Visitor, kind: str) -> Service:
    return service([visit for visit in client.visits if visit.kind == kind])


def _watch(attacker: Attacker, server: Server, samples: Samples, on_sample: Callable[[], None]) -> None:
    sample_s = time.monotonic()
    while attacker.tend():
        if time.monotonic() >= sample_s:
            samples.take(server)
            on_sample()
            sample_s += SAMPLE_INTERVAL_S
        time.sleep(TEND_INTERVAL_S)
