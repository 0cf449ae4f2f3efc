"""The open-loop client beside wrk: lab-prober's command line, and its result (loadtest/prober).

It asks at a fixed rate, whether or not the server keeps up, and keeps the outcome of every request.
"""

import csv
import json
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Mapping

from twinlab.base.errors import Accident
from twinlab.machine import processes

PROGRAM = "lab-prober"
# Outcomes of requests whose connection ended under them: what a server's journal must explain.
CUT = ("reset_before_answer", "reset_within_answer", "closed_before_answer", "closed_within_answer")
# How long the program may take beyond its plan: opening connections first, and a machine that is busy.
GRACE_S = 60.0


@dataclass(frozen=True)
class Plan:
    """What is asked and how often. Without a rate it is a closed loop, as wrk is."""

    rate_per_s: int | None
    path: str = "/plaintext"
    connections: int = 64
    duration_s: float = 10.0
    warm_up_s: float = 0.0
    timeout_ms: int = 2000
    connect_per_request: bool = False
    outcomes: Path | None = None

    def options(self) -> list[str]:
        pace = ["--closed"] if self.rate_per_s is None else ["--rate", str(self.rate_per_s)]
        fresh = ["--connect-per-request"] if self.connect_per_request else []
        file = ["--outcomes", str(self.outcomes)] if self.outcomes else []
        return [*pace, "--path", self.path, "--connections", str(self.connections), "--duration", str(self.duration_s),
                "--warm-up", str(self.warm_up_s), "--timeout-ms", str(self.timeout_ms), *fresh, *file]


@dataclass(frozen=True)
class Latency:
    """Percentiles in microseconds; None where nothing was measured."""

    count: int
    p50_us: int | None
    p90_us: int | None
    p99_us: int | None
    p99_9_us: int | None
    max_us: int | None


@dataclass(frozen=True)
class Bin:
    """What happened in one stretch of the timeline; start_s is on the clock of time.monotonic()."""

    start_s: float
    started: int
    ok: int
    failed: int
    slowest_us: int


@dataclass(frozen=True)
class Result:
    """What the prober saw. Latency counts from when a request was due, service from when it was sent.

    latency and service are of good answers; latency_with_failures has every request, until its outcome was known.
    """

    measured_s: float
    requests: int
    failed: int
    outcomes: Mapping[str, int]
    warm_up_outcomes: Mapping[str, int]
    queue_max: int
    idle_closes: int
    latency: Latency
    latency_with_failures: Latency
    service: Latency
    lateness: Latency
    late: bool
    interrupted: bool
    timeline: tuple[Bin, ...]
    raw: Mapping[str, Any]

    def of_run(self, *outcomes: str) -> int:
        """Requests that ended so, with those of the warm-up: a server's journal does not know of a warm-up."""
        return sum(self.outcomes[name] + self.warm_up_outcomes[name] for name in outcomes)

    @property
    def answered(self) -> int:
        """Good answers."""
        return self.of_run("ok")

    @property
    def failures(self) -> dict[str, int]:
        """Every other outcome that occurred, and how often."""
        counts = {name: self.of_run(name) for name in self.outcomes if name != "ok"}
        return {name: count for name, count in counts.items() if count}

    @property
    def cut(self) -> int:
        """Requests whose connection ended under them."""
        return self.of_run(*CUT)

    @property
    def started_s(self) -> float:
        """The first moment of the warm-up, on the clock of time.monotonic()."""
        return self.raw["started_monotonic_us"] / 1e6

    @property
    def timeouts(self) -> int:
        """Requests that were given up as hung."""
        return self.of_run("timeout")


def command(bin_dir: Path, port: int, plan: Plan) -> list[str]:
    return [str(bin_dir / PROGRAM), "--address", f"127.0.0.1:{port}", *plan.options()]


def parse(output: str) -> Result:
    """The JSON object that the program prints."""
    raw = json.loads(output)
    return Result(raw["measured_us"] / 1e6, raw["requests"], raw["failed"], raw["outcomes"], raw["warm_up_outcomes"],
                  raw["queue_max"], raw["idle_closes"], _latency(raw["latency_us"]),
                  _latency(raw["latency_with_failures_us"]), _latency(raw["service_us"]), _latency(raw["lateness_us"]),
                  raw["late"], raw["interrupted"], _timeline(raw), raw)


@dataclass(frozen=True)
class Ended:
    """One request's end, at ended_s on the clock of time.monotonic(). pid: whose answer to /whoami it was; else None.
    """

    ended_s: float
    connection: int
    outcome: str
    pid: int | None


def read_outcomes(path: Path, result: Result) -> list[Ended]:
    """What a plan with a file of outcomes has left there: each request that was sent, in the order of their ends."""
    with path.open() as file:
        return [Ended(result.started_s + int(row["time_us"]) / 1e6, int(row["connection"]), row["outcome"],
                      int(row["pid"]) if row["pid"] else None)
                for row in csv.DictReader(file) if row["connection"]]


def _latency(raw: Mapping[str, Any]) -> Latency:
    return Latency(raw["count"], raw["p50"], raw["p90"], raw["p99"], raw["p99_9"], raw["max"])


def _timeline(raw: Mapping[str, Any]) -> tuple[Bin, ...]:
    timeline, start_s = raw["timeline"], raw["started_monotonic_us"] / 1e6
    columns = zip(timeline["started"], timeline["ok"], timeline["failed"], timeline["slowest_us"])
    return tuple(Bin(start_s + number * timeline["bin_ms"] / 1000, *column) for number, column in enumerate(columns))


class OpenLoop:
    """lab-prober running in the background: `with OpenLoop(...) as probing: ...; result = probing.finish()`."""

    def __init__(self, bin_dir: Path, port: int, plan: Plan, cpus: Iterable[int] | None = None) -> None:
        self._plan = plan
        self._child = processes.spawn(command(bin_dir, port, plan), subprocess.PIPE, subprocess.PIPE, cpus=cpus)

    def __enter__(self) -> "OpenLoop":
        return self

    def __exit__(self, *_: object) -> None:
        processes.stop(self._child, signal.SIGKILL)
        for stream in (self._child.stdout, self._child.stderr):
            if stream:
                stream.close()

    @property
    def pid(self) -> int:
        return self._child.pid

    def is_running(self) -> bool:
        return self._child.poll() is None

    def wait(self) -> Result:
        """The result of the whole plan."""
        return self._collect(self._plan.warm_up_s + self._plan.duration_s)

    def finish(self) -> Result:
        """Stop now and return the result. What is under way is awaited, until its timeout at the latest."""
        if self.is_running():
            self._child.send_signal(signal.SIGINT)
        return self._collect(0.0)

    def _collect(self, planned_s: float) -> Result:
        """Exit status 1 with a result means that nobody answered: the result says so better."""
        try:
            output, errors = self._child.communicate(timeout=planned_s + self._plan.timeout_ms / 1000 + GRACE_S)
        except subprocess.TimeoutExpired as error:
            raise Accident(f"{PROGRAM} did not end in time") from error
        if not output or self._child.returncode not in (0, 1):
            said = errors.decode(errors="replace").strip() or "nothing"
            raise Accident(f"{PROGRAM} gave no result; it said: {said}")
        return parse(output.decode())
