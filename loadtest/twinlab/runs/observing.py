"""What an observer costs those who serve, what it needs itself, and whether it tells the truth when things go badly."""

import os
import signal
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Callable, Iterator

from twinlab.base import stats
from twinlab.base.errors import Accident, LabError
from twinlab.base.judged import Judged
from twinlab.base.stats import Ratio
from twinlab.base.waiting import wait_for
from twinlab.clients import http
from twinlab.clients.events import Stream
from twinlab.clients.kept import KeptConnection
from twinlab.clients.wrk import Wrk
from twinlab.machine import processes, procfs
from twinlab.runs import speed
from twinlab.runs.speed import Bench
from twinlab.servers import books, observer, workloads
from twinlab.servers.models import Model
from twinlab.servers.server import Server

WORKLOAD = workloads.ALL[0]
SLOTS = 64
PATIENT = ("--stuck-after-ms", "off", "--faults", "on")
SILENT_MS = 1000
TOLD_DEADLINE_S = 30.0
TELLS_AGAIN_S = 1.0
CROWD = 100
SLOW_READ_S = 1.0
RECOVERY_DEADLINE_S = 30.0


@dataclass(frozen=True)
class Finding(Judged):
    """One figure, and between which limits it has to lie."""

    model: str
    what: str
    unit: str
    value: Ratio
    at_most: float
    at_least: float = float("-inf")

    @property
    def measured(self) -> Ratio:
        return self.value

    def holds(self, value: float) -> bool:
        return self.at_least <= value <= self.at_most

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"at_least": None if self.at_least == float("-inf") else self.at_least,
                               "verdict": self.word}


def exactly(value: float) -> Ratio:
    """A figure that was counted, or measured once."""
    return Ratio(value, value, value)


def observed(bench: Bench, model: Model, *options: str) -> Server:
    return Server(model, bench.bin_dir, bench.root, bench.scratch, options)


def observer_pid(server: Server) -> int:
    """Its process, which the kernel knows by its name."""
    def find() -> int | None:
        return next((pid for pid in procfs.children(server.status()["master_pid"])
                     if procfs.status(pid).get("Name") == observer.NAME), None)
    return wait_for(find, f"{server.label} has an observer")


# What it says when nobody serves.

def stop_all(server: Server, _exits: ExitStack) -> None:
    for process in server.status()["processes"]:
        os.kill(process["pid"], signal.SIGSTOP)


def deadlock_all(server: Server, exits: ExitStack) -> None:
    """Until every event loop waits for a lock for ever."""
    loops = sum(worker["role"] == "loop" for worker in server.status()["workers"])

    def all_wait() -> bool:
        exits.enter_context(KeptConnection(server.port)).send("/fault/deadlock")
        return sum("deadlock" in (worker["current"] or "") for worker in server.status()["workers"]) >= loops
    wait_for(all_wait, "every event loop waits")


WAYS_TO_HANG: dict[str, Callable[[Server, ExitStack], None]] = {"stopped": stop_all, "deadlocked": deadlock_all}


def while_all_hang(bench: Bench, model: Model, how: str, questions: int) -> list[Finding]:
    """How soon it says so, and how quickly it answers then."""
    with observed(bench, model, *PATIENT) as server, ExitStack() as exits:
        WAYS_TO_HANG[how](server, exits)
        hung_s = time.monotonic()
        wait_for(lambda: all(worker["heartbeat_age_ms"] >= SILENT_MS for worker in server.status()["workers"]
                             if worker["role"] == "loop"), "it tells that nobody is heard", TOLD_DEADLINE_S)
        told_s = time.monotonic() - hung_s
        took_ms = []
        for _ in range(questions):
            asked_s = time.monotonic()
            server.observer.state()
            took_ms.append((time.monotonic() - asked_s) * 1000)
        processes.kill_session(server.pids()[0])
    p99_ms = stats.percentile(took_ms, 0.99) or 0.0
    return [Finding(model.key, f"told that all are {how} after", "s", exactly(told_s), 1.5),
            Finding(model.key, f"answer while all are {how}, p99 of {questions}", "ms", exactly(p99_ms), 5.0)]


# What it needs.

@contextmanager
def viewers(server: Server, count: int, reads: bool = True) -> Iterator[None]:
    """So many follow the events; each is read as soon as something comes, or not at all."""
    over = threading.Event()

    def follow(stream: Stream) -> None:
        while not over.is_set():
            stream.next(0.05)

    with ExitStack() as exits:
        streams = [exits.enter_context(server.observer.events()) for _ in range(count)]
        threads = [threading.Thread(target=follow, args=(each,), daemon=True) for each in streams if reads]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()


def share_of_cpu(pid: int, duration_s: float) -> float:
    """In per cent of one CPU."""
    before_us, begin_s = processes.cpu_us([pid]), time.monotonic()
    time.sleep(duration_s)
    return (processes.cpu_us([pid]) - before_us) / (time.monotonic() - begin_s) / 1e4


def of_its_own(bench: Bench, model: Model, duration_s: float) -> list[Finding]:
    """Without anybody who looks, with one who does, and with many, while the server works."""
    findings = []
    with observed(bench, model) as server:
        pid = observer_pid(server)
        findings.append(Finding(model.key, f"{SLOTS} slots, nobody looks: CPU", "%",
                                exactly(share_of_cpu(pid, duration_s)), 0.05))
        with Wrk(server.port, WORKLOAD.path, bench.connections, 4 * duration_s + 10) as load:
            with viewers(server, 1):
                findings.append(Finding(model.key, f"{SLOTS} slots, one viewer, under load: CPU", "%",
                                        exactly(share_of_cpu(pid, duration_s)), 0.5))
            with viewers(server, CROWD), viewers(server, 1, reads=False):
                time.sleep(SLOW_READ_S)
                pss_kib = processes.pss_kib([pid]) or 0
                findings.append(Finding(model.key, f"{CROWD} viewers and one that reads nothing: memory", "MB",
                                        exactly(pss_kib / 1024), 10.0))
            load.finish()
        findings += scrapes(server, model, pid)
    return findings


def scrapes(server: Server, model: Model, pid: int, count: int = 50) -> list[Finding]:
    """What Prometheus asks for."""
    before_us = processes.cpu_us([pid])
    for _ in range(count):
        reply = http.ask(server.observer.port, "GET", "/metrics")
    each_ms = (processes.cpu_us([pid]) - before_us) / count / 1000
    series = sum(1 for line in reply.body.splitlines() if line and not line.startswith(b"#"))
    return [Finding(model.key, f"{SLOTS} slots, a scrape: CPU", "ms", exactly(each_ms), 0.2),
            Finding(model.key, f"{SLOTS} slots, a scrape: bytes", "", exactly(len(reply.body)), 64_000),
            Finding(model.key, f"{SLOTS} slots, a scrape: series", "", exactly(series), 400)]


# What it costs those who serve.

def cost(bench: Bench, model: Model, rounds: int) -> list[Finding]:
    """CPU time per request of one server, whose observer is stopped, runs, and is looked at: in turn, there and back."""
    found: dict[str, list[float]] = {"stopped": [], "runs": [], "viewed": []}
    with observed(bench, model, "--stuck-after-ms", "off") as server:
        pid = observer_pid(server)
        server.check(WORKLOAD.path)
        speed.warm_up(bench, server, WORKLOAD)
        pids = [each["pid"] for each in server.status()["processes"]]
        for number in range(rounds):
            order = ["stopped", "runs", "viewed"]
            for state in order if number % 2 == 0 else order[::-1]:
                found[state].append(_one_slice(bench, server, pid, pids, state))
    what = {"runs": "workers' CPU per request, observed / not", "viewed": "the same with a viewer"}
    return [Finding(model.key, what[state], "x", _paired(found[state], found["stopped"]), 1.005, 0.995)
            for state in what]


def _paired(figure: list[float], base: list[float]) -> Ratio:
    found = stats.paired_ratio(figure, base)
    if found is None:
        raise LabError("nothing was measured")
    return found


def _one_slice(bench: Bench, server: Server, pid: int, pids: list[int], state: str) -> float:
    with ExitStack() as exits:
        if state == "viewed":
            exits.enter_context(viewers(server, 1))
        if state == "stopped":
            os.kill(pid, signal.SIGSTOP)
            exits.callback(os.kill, pid, signal.SIGCONT)
        with Wrk(server.port, WORKLOAD.path, bench.connections, bench.duration_s, cpus=bench.wrk_cpus) as load:
            before_us = processes.cpu_us(pids)
            time.sleep(bench.duration_s)
            result = load.finish()
            used_us = processes.cpu_us(pids) - before_us
    if not result.answered:
        raise Accident(f"{server.label} answered nothing")
    return used_us / result.answered


# Whether its counters are true.

def kills(bench: Bench, model: Model, count: int) -> list[Finding]:
    """A process is killed as soon as its predecessor has a successor, under load, so many times."""
    with observed(bench, model) as server:
        with Wrk(server.port, WORKLOAD.path, bench.connections, 600.0) as load, Watch(server) as watch:
            for number in range(count):
                os.kill(ready_process(server, number), signal.SIGKILL)
            ready_process(server, count)
            result = load.finish()
            status = books.settled(server.status)
    totals = status["totals"]
    told = totals["requests_finished"] + totals["requests_lost"]
    counted = result.requests + result.cut_requests
    return [Finding(model.key, f"deaths told after {count} kills", "", exactly(totals["deaths"]), count, count),
            Finding(model.key, "counters that went back meanwhile", "", exactly(len(watch.gone_back)), 0, 0),
            # wrk stops without reading the last answers: one for each connection
            Finding(model.key, "told: finished and lost, less what wrk counted", "", exactly(told - counted),
                    bench.connections, 0)]


def ready_process(server: Server, deaths: int) -> int:
    """When this many have died and all have successors: one of those that serve."""
    def find() -> int | None:
        status = server.status()
        ready = [each["pid"] for each in status["processes"] if each["state"] == "ready"]
        whole = len(ready) == status["processes_wanted"] and status["totals"]["deaths"] == deaths
        return ready[deaths % len(ready)] if whole else None
    return wait_for(find, f"{deaths} deaths are told and all have successors", RECOVERY_DEADLINE_S)


class Watch:
    """Looks at all counters as often as it can, and notes which has ever gone back."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.gone_back: list[str] = []

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        last: dict[str, int] = {}
        while not self._over.is_set():
            totals = self._server.status()["totals"]
            now = {name: value for name, value in totals.items()
                   if isinstance(value, int) and not name.startswith("connections_")}
            self.gone_back += [name for name in now if now[name] < last.get(name, 0)]
            last = now

