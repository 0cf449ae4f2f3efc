"""What an observer costs those who serve, what it needs itself, and whether it tells the truth when things go badly."""

import os
import signal
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Callable, Iterator, Mapping, Sequence

from twinlab.base import interval, stats
from twinlab.base.decide import Limits
from twinlab.base.errors import Accident
from twinlab.base.interval import Estimate
from twinlab.base.judged import Judged
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
LIVED_MS = 200  # a process that dies within 100 ms is started again more and more slowly


@dataclass(frozen=True)
class Figure:
    """What one server has shown of a figure, and between which limits it has to lie. Counted: no chance is in it."""

    model: str
    what: str
    unit: str
    values: tuple[float, ...]
    limits: Limits
    is_counted: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {"model": self.model, "what": self.what, "unit": self.unit, "values": self.values}


@dataclass(frozen=True)
class Finding(Judged):
    """A figure as all servers have shown it: each start of one is a launch."""

    model: str
    what: str
    unit: str
    value: Estimate
    within: Limits

    @property
    def measured(self) -> Estimate:
        return self.value

    @property
    def limits(self) -> Limits:
        return self.within

    def as_dict(self) -> dict[str, Any]:
        at_least = self.limits.at_least
        return {"model": self.model, "what": self.what, "unit": self.unit, "value": asdict(self.value),
                "at_most": self.limits.at_most, "at_least": None if at_least == float("-inf") else at_least,
                "verdict": self.word}


def findings(figures: Sequence[Figure]) -> list[Finding]:
    """A finding for each figure, in the order in which they were first seen."""
    launches: dict[tuple[str, str], list[Figure]] = {}
    for figure in figures:
        launches.setdefault((figure.model, figure.what), []).append(figure)
    return [_finding(each) for each in launches.values()]


def _finding(launches: Sequence[Figure]) -> Finding:
    first, values = launches[0], [each.values for each in launches]
    estimate = interval.of_launches(values)
    if first.is_counted:
        estimate = interval.counted(*(value for each in values for value in each))
    assert estimate is not None
    return Finding(first.model, first.what, first.unit, estimate, first.limits)


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


def while_all_hang(bench: Bench, model: Model, how: str, questions: int) -> list[Figure]:
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
    return [Figure(model.key, f"told that all are {how} after", "s", (told_s,), Limits(at_most=1.5)),
            Figure(model.key, f"answer while all are {how}, p99 of {questions}", "ms", (p99_ms,), Limits(at_most=5.0))]


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


def of_its_own(bench: Bench, model: Model, duration_s: float) -> list[Figure]:
    """Without anybody who looks, with one who does, and with many, while the server works."""
    figures = []
    with observed(bench, model) as server:
        pid = observer_pid(server)
        figures.append(Figure(model.key, f"{SLOTS} slots, nobody looks: CPU", "%", (share_of_cpu(pid, duration_s),),
                              Limits(at_most=0.05)))
        with Wrk(server.port, WORKLOAD.path, bench.connections, 4 * duration_s + 10) as load:
            with viewers(server, 1):
                figures.append(Figure(model.key, f"{SLOTS} slots, one viewer, under load: CPU", "%",
                                      (share_of_cpu(pid, duration_s),), Limits(at_most=0.5)))
            with viewers(server, CROWD), viewers(server, 1, reads=False):
                time.sleep(SLOW_READ_S)
                pss_kib = processes.pss_kib([pid]) or 0
                figures.append(Figure(model.key, f"{CROWD} viewers and one that reads nothing: memory", "MB",
                                      (pss_kib / 1024,), Limits(at_most=10.0)))
            load.finish()
        figures += scrapes(server, model, pid)
    return figures


def scrapes(server: Server, model: Model, pid: int, count: int = 50) -> list[Figure]:
    """What Prometheus asks for."""
    before_us = processes.cpu_us([pid])
    for _ in range(count):
        reply = http.ask(server.observer.port, "GET", "/metrics")
    each_ms = (processes.cpu_us([pid]) - before_us) / count / 1000
    series = sum(1 for line in reply.body.splitlines() if line and not line.startswith(b"#"))
    return [Figure(model.key, f"{SLOTS} slots, a scrape: CPU", "ms", (each_ms,), Limits(at_most=0.2)),
            Figure(model.key, f"{SLOTS} slots, a scrape: bytes", "", (len(reply.body),), Limits(at_most=64_000), True),
            Figure(model.key, f"{SLOTS} slots, a scrape: series", "", (series,), Limits(at_most=400), True)]


# What it costs those who serve.

def cost(bench: Bench, model: Model) -> list[Figure]:
    """CPU time per request of a server whose observer is stopped, runs, and is looked at: in turn, there and back."""
    found: dict[str, list[float]] = {"stopped": [], "runs": [], "viewed": []}
    with observed(bench, model, "--stuck-after-ms", "off") as server:
        pid = observer_pid(server)
        server.check(WORKLOAD.path)
        speed.warm_up(bench, server, WORKLOAD)
        pids = [each["pid"] for each in server.status()["processes"]]
        for state in [*found, *reversed(found)]:
            found[state].append(_one_slice(bench, server, pid, pids, state))
    what = {"runs": "workers' CPU per request, observed / not", "viewed": "the same with a viewer"}
    return [Figure(model.key, what[state], "x", tuple(own / base for own, base in zip(found[state], found["stopped"])),
                   Limits(0.995, 1.005)) for state in what]


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

def kills(bench: Bench, model: Model, count: int) -> list[Figure]:
    """A process is killed as soon as its predecessor has a successor, under load, so many times."""
    with observed(bench, model) as server:
        with Wrk(server.port, WORKLOAD.path, bench.connections, 600.0) as load, Watch(server) as watch:
            for number in range(count):
                os.kill(ready_process(server, number), signal.SIGKILL)
            ready_process(server, count)
            result = load.finish()
            status = books.settled(server.status)
    watch.look(status)
    totals = status["totals"]
    # A connection that wrk had no time to ask on for a second is idle to the server, and a lost request to wrk.
    told = totals["requests_finished"] + totals["requests_lost"] + sum(watch.idle_cut.values())
    counted = result.requests + result.cut_requests
    return [Figure(model.key, f"deaths told after {count} kills", "", (totals["deaths"],), Limits(count, count), True),
            Figure(model.key, "counters that went back meanwhile", "", (len(watch.gone_back),), Limits(0, 0), True),
            # wrk stops without reading the last answers: one for each connection. An answer is booked before it is
            # sent: who is killed between the two has told of one that its client never got.
            Figure(model.key, "told: finished and lost, less what wrk counted", "", (told - counted,),
                   Limits(0, bench.connections + count), True)]


def ready_process(server: Server, deaths: int) -> int:
    """When this many have died and all have successors: the oldest, when its death is no part of a crash loop."""
    def find() -> int | None:
        state = server.observer.state()
        ready = [each for each in state["processes"] if each["state"] == "ready"]
        whole = len(ready) == state["master"]["processes_wanted"] and state["totals"]["deaths"] == deaths
        oldest = max(ready, key=lambda each: int(each["age_ms"]), default=None)
        return oldest["pid"] if whole and oldest and oldest["age_ms"] >= LIVED_MS else None
    return wait_for(find, f"{deaths} deaths are told and all have successors", RECOVERY_DEADLINE_S)


class Watch:
    """Looks as often as it can. gone_back: counters that ever did; idle_cut: connections, by the deaths that cut them.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.gone_back: list[str] = []
        self.idle_cut: dict[int, int] = {}
        self._last: dict[str, int] = {}

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            self.look(self._server.status())

    def look(self, status: Mapping[str, Any]) -> None:
        """Only the last deaths are told each time."""
        now = {name: value for name, value in status["totals"].items()
               if isinstance(value, int) and not name.startswith("connections_")}
        self.gone_back += [name for name in now if now[name] < self._last.get(name, 0)]
        self._last = now
        self.idle_cut |= {death["number"]: death["idle_cut"] for death in status["deaths"]}

