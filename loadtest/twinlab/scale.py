"""`lab scale`: what many connections cost, and how new ones are shared; tables, then two judged targets."""

import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from twinlab import accepting, idle, machine, results, setup, table, workloads
from twinlab.accepting import AcceptRound
from twinlab.idle import IdleRound, Verdict
from twinlab.progress import Progress
from twinlab.speed import Bench
from twinlab.stats import Ratio

KEYS = ("prefork", "threadpool")
CONNECTIONS = 15_000
BUSY_CONNECTIONS = 64
OPENING_PER_S = 5000
RUN_OVERHEAD_S = 0.5

IDLE_HEADER = ("", "req/s without", "with", "ratio", "95 %", "CPU us/req without", "with", "ratio", "95 %",
               "bytes/connection", "95 %", "errors")
IDLE_LEGEND = """\
with, without: the idle connections. Each round is a fresh server: a window without them, two with them, one without.
CPU: user and system time of all processes of the server. ratio: median of the rounds, with a bootstrap interval.
bytes/connection: growth of the server's PSS with the idle connections, divided; the kernel's sockets are not in it."""
ACCEPT_HEADER = ("", "connections/s", "CPU us each", "max/mean, closing", "kept: min", "max", "max/mean", "worst",
                 "errors")
ACCEPT_LEGEND = f"""\
One connection for each request (closing), then {accepting.KEPT_CONNECTIONS} kept connections opened \
at once. max/mean: the busiest event loop's
share of requests, or of connections, over an even share. Medians of the rounds; min, max: fewest and most on a loop in
any round; worst: the least even round."""


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int
    duration_s: float
    warmup_s: float


DEFAULT = Effort(rounds=5, duration_s=2.0, warmup_s=0.3)
QUICK = Effort(rounds=2, duration_s=0.5, warmup_s=0.1)


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    effort: Effort
    connections: int
    models: list[str]
    output: Path | None
    bin_dir: Path | None


@dataclass(frozen=True)
class Session:
    """Everything that was measured, and where and when."""

    options: Options
    idle: list[IdleRound]
    accept: list[AcceptRound]
    facts: dict[str, Any]
    warnings: list[str]
    took_s: float

    @property
    def verdicts(self) -> list[Verdict]:
        return [verdict for key in self.options.models for verdict in idle.judge(self.idle, key)]


def run(options: Options) -> int:
    """Prepare, measure, report. 1 when a target is missed."""
    setup.install_packages("build", "load")
    setup.raise_descriptor_limit(options.connections, BUSY_CONNECTIONS)
    bin_dir = options.bin_dir or setup.build()
    output = results.prepare(options.output or results.default_dir(setup.PROJECT))
    warnings = machine.warnings()
    for warning in warnings:
        print(f"lab: warning: {warning}", file=sys.stderr)
    began_s, clock, facts = time.monotonic(), machine.CpuClock.read(), machine.facts(setup.PROJECT)
    idle_rounds, accept_rounds = measure(options, bin_dir)
    facts["steal_share"] = machine.CpuClock.read().steal_share_since(clock)
    facts["load_average_at_end"] = os.getloadavg()[0]
    session = Session(options, idle_rounds, accept_rounds, facts, warnings, time.monotonic() - began_s)
    path = results.write(output, "scale.json", as_json(session))
    print_report(session)
    print(f"\nEvery round, and the facts of this machine: {path}")
    return exit_status(session.verdicts)


def exit_status(verdicts: list[Verdict]) -> int:
    return 0 if all(verdict.is_met for verdict in verdicts) else 1


def accept_cases(options: Options) -> list[tuple[str, int, str]]:
    return [(key, workers, way) for key in options.models for workers in accepting.WORKERS for way in accepting.WAYS]


def in_turn(items: list[Any], round_number: int) -> list[Any]:
    """Each second round runs backwards: a drift within a pair of rounds cancels."""
    return items if round_number % 2 else items[::-1]


def measure(options: Options, bin_dir: Path) -> tuple[list[IdleRound], list[AcceptRound]]:
    effort, made = options.effort, idle.one_worker()
    idle_s = idle.WINDOWS * effort.duration_s + effort.warmup_s + options.connections / OPENING_PER_S + RUN_OVERHEAD_S
    accept_s = effort.duration_s + effort.warmup_s + RUN_OVERHEAD_S
    cases = accept_cases(options)
    progress = Progress(effort.rounds * (len(options.models) * idle_s + len(cases) * accept_s))
    idle_rounds, accept_rounds = [], []
    with tempfile.TemporaryDirectory(prefix="twinlab-") as scratch:
        root = Path(scratch) / "www"
        workloads.make_documents(root)
        bench = Bench(bin_dir, root, Path(scratch), BUSY_CONNECTIONS, effort.duration_s, effort.warmup_s)
        try:
            for number in range(1, effort.rounds + 1):
                for key in in_turn(options.models, number):
                    progress.step(f"round {number} of {effort.rounds}: {key}, {options.connections} idle connections")
                    idle_rounds.append(idle.run(bench, made[key], options.connections, number))
                    progress.done(idle_s)
                for key, workers, way in in_turn(cases, number):
                    progress.step(f"round {number} of {effort.rounds}: {key}, {workers} workers, accept: {way}")
                    accept_rounds.append(accepting.run(bench, key, way, workers, number))
                    progress.done(accept_s)
        finally:
            progress.clear()
    return idle_rounds, accept_rounds


def print_report(session: Session) -> None:
    """The tables, then the targets."""
    options, facts = session.options, session.facts
    print(f"twinhttpd: {facts['cpus_allowed']} CPUs ({facts['cpu_model']}), Linux {facts['kernel']}, "
          f"{options.effort.rounds} rounds of {options.effort.duration_s:g} s windows; {session.took_s:.0f} s in all, "
          f"{facts['steal_share'] * 100:.1f} % of CPU time stolen\n")
    print(f"{options.connections:,} idle connections beside {BUSY_CONNECTIONS} busy ones, one worker")
    for line in [*idle_lines(session), IDLE_LEGEND, "", *accept_lines(session), ACCEPT_LEGEND, "",
                 *judgement(session.verdicts), *(f"! {warning}" for warning in session.warnings)]:
        print(line)


def idle_lines(session: Session) -> list[str]:
    rows = []
    for key in session.options.models:
        own = [each for each in session.idle if each.model == key]
        rows.append([key, *_compared(own, "requests_per_s", table.count), *_compared(own, "cpu_us_per_request",
                                                                                     table.number),
                     *_interval(idle.bytes_per_connection(own)), table.count(sum(each.errors for each in own))])
    return table.render(IDLE_HEADER, rows)


def _compared(rounds: list[IdleRound], name: str, shown: Any) -> list[str]:
    return [*(shown(median(idle.figures(rounds, crowd, name).values())) for crowd in (False, True)),
            *_interval(idle.beside(rounds, name))]


def _interval(found: Ratio | None) -> list[str]:
    if found is None:
        return [table.MISSING, table.MISSING]
    digits = 3 if abs(found.value) < 10 else 0
    return [f"{found.value:.{digits}f}", f"{found.low:.{digits}f}-{found.high:.{digits}f}"]


def accept_lines(session: Session) -> list[str]:
    rows: list[list[str] | str] = []
    for key, workers, way in accept_cases(session.options):
        own = [each for each in session.accept if (each.model, each.workers, each.way) == (key, workers, way)]
        rows.append([f"{key}, {workers} workers, {way}",
                     table.count(median(each.connections_per_s for each in own)),
                     table.number(median(each.cpu_us_per_request for each in own)),
                     table.number(median(each.closing.max_to_mean for each in own)),
                     table.count(min(min(each.kept.counts) for each in own)),
                     table.count(max(max(each.kept.counts) for each in own)),
                     table.number(median(each.kept.max_to_mean for each in own)),
                     table.number(accepting.worst(own).kept.max_to_mean),
                     table.count(sum(each.errors for each in own))])
    return table.render(ACCEPT_HEADER, rows)


def judgement(verdicts: list[Verdict]) -> list[str]:
    """One line per target; a "?" marks an interval that reaches across the limit."""
    lines = []
    for verdict in verdicts:
        sign = "<" if verdict.is_upper_limit else ">="
        value, interval = _interval(verdict.value)
        lines.append(f"{verdict.model}: {verdict.target}: {value} ({interval}), target {sign} {verdict.limit:g}: "
                     f"{verdict.word}")
    met = sum(verdict.is_met for verdict in verdicts)
    return [*lines, f"{met} of {len(verdicts)} targets met. A \"?\" marks an interval that reaches across the limit."]


def as_json(session: Session) -> dict[str, Any]:
    """Everything that was measured and decided, raw."""
    options = session.options
    return {
        "command": "scale",
        "machine": session.facts,
        "warnings": session.warnings,
        "took_s": round(session.took_s, 1),
        "settings": {"rounds": options.effort.rounds, "duration_s": options.effort.duration_s,
                     "warmup_s": options.effort.warmup_s, "idle_connections": options.connections,
                     "busy_connections": BUSY_CONNECTIONS, "kept_connections": accepting.KEPT_CONNECTIONS},
        "idle": [each.as_dict() for each in session.idle],
        "accept": [each.as_dict() for each in session.accept],
        "targets": [verdict.as_dict() for verdict in session.verdicts],
    }
