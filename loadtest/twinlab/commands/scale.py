"""`lab scale`: what many connections cost, and how new ones are shared; tables, then two judged targets."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from twinlab.base import judged, stats, table
from twinlab.base.interval import Estimate
from twinlab.commands import study
from twinlab.commands.session import Circumstances, Session
from twinlab.commands.study import Course, Effort
from twinlab.machine import scratch
from twinlab.runs import accepting, idle
from twinlab.runs.accepting import AcceptRound
from twinlab.runs.idle import IdleRound, Verdict
from twinlab.runs.speed import Bench
from twinlab.runs.windows import Windows
from twinlab.servers import workloads

KEYS = ("prefork", "threadpool")
CONNECTIONS = 15_000
BUSY_CONNECTIONS = 64
OPENING_PER_S = 5000
RUN_OVERHEAD_S = 0.5

IDLE_HEADER = ("", "req/s without", "with", "ratio", "95 %", "CPU us/req without", "with", "ratio", "95 %",
               "bytes/connection", "95 %", "errors")
IDLE_LEGEND = """\
with, without: the idle connections. Each round is a fresh server: a window without them, two with them, one without.
CPU: user and system time of all processes of the server. ratio: median of the rounds. 95 %: where it lies (6 rounds or
more). bytes/connection: growth of the server's PSS with the idle connections, divided; the kernel's sockets are not in
it."""
ACCEPT_HEADER = ("", "connections/s", "CPU us each", "max/mean, closing", "kept: min", "max", "max/mean", "worst",
                 "errors")
ACCEPT_LEGEND = f"""\
One connection for each request (closing), then {accepting.KEPT_CONNECTIONS} kept connections opened \
at once. max/mean: the busiest event loop's
share of requests, or of connections, over an even share. Medians of the rounds; min, max: fewest and most on a loop in
any round; worst: the least even round."""


# Nine rounds: their interval leaves out the lowest and the highest of them.
DEFAULT = Effort(rounds=9, duration_s=1.0, warmup_s=0.3)
QUICK = Effort(rounds=2, duration_s=0.5, warmup_s=0.1)


@dataclass(frozen=True, kw_only=True)
class Options(study.Options):
    """What the user asked for."""

    effort: Effort
    connections: int
    models: list[str]


@dataclass
class Rounds:
    """Everything that was measured."""

    idle: list[IdleRound] = field(default_factory=list)
    accept: list[AcceptRound] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """What was measured, and where and when."""

    options: Options
    rounds: Rounds
    found: Circumstances

    @property
    def verdicts(self) -> list[Verdict]:
        return [verdict for key in self.options.models for verdict in idle.judge(self.rounds.idle, key)]


def run(options: Options) -> int:
    """Prepare, measure, report. 1 when a target is not reached (Judged.falls_short)."""
    bin_dir = study.prepare(options, "load", connections=options.connections, beside=BUSY_CONNECTIONS,
                            option="--connections")
    session = Session(options.output, "scale.json")
    rounds = Rounds()
    whole = session.conduct(lambda: measure(options, bin_dir, rounds, session.windows),
                            lambda found: as_json(Report(options, rounds, found)),
                            lambda found: print_report(Report(options, rounds, found)))
    return judged.exit_status(Report(options, rounds, session.circumstances()).verdicts) if whole else 1


def accept_cases(options: Options) -> list[tuple[str, int, str]]:
    return [(key, workers, way) for key in options.models for workers in accepting.WORKERS for way in accepting.WAYS]


def in_turn(items: list[Any], round_number: int) -> list[Any]:
    """Each second round runs backwards: a drift within a pair of rounds cancels."""
    return items if round_number % 2 else items[::-1]


def measure(options: Options, bin_dir: Path, rounds: Rounds, windows: Windows) -> None:
    """All rounds: in each, the idle connections of every model, then the ways to accept."""
    effort, made = options.effort, idle.one_worker()
    idle_s = idle.WINDOWS * effort.duration_s + effort.warmup_s + options.connections / OPENING_PER_S + RUN_OVERHEAD_S
    accept_s = effort.duration_s + effort.warmup_s + RUN_OVERHEAD_S
    cases = accept_cases(options)
    planned_s = effort.rounds * (len(options.models) * idle_s + len(cases) * accept_s)
    with scratch.folder() as folder:
        bench = Bench(bin_dir, workloads.make_documents(folder / "www"), folder, BUSY_CONNECTIONS, effort.duration_s,
                      effort.warmup_s)
        with Course(windows, planned_s) as course:
            for number in range(1, effort.rounds + 1):
                for key in in_turn(options.models, number):
                    course.take(f"{key}, {options.connections} idle connections, round {number}", idle_s,
                                partial(idle.run, bench, made[key], options.connections, number), rounds.idle)
                for key, workers, way in in_turn(cases, number):
                    course.take(f"{key}, {workers} workers, accept: {way}, round {number}", accept_s,
                                partial(accepting.run, bench, key, way, workers, number), rounds.accept)


def print_report(report: Report) -> None:
    """The tables, then the targets."""
    options = report.options
    print(f"twinhttpd: {report.found.machine}, {options.effort.rounds} rounds of {options.effort.duration_s:g} s "
          f"windows; {report.found.span}\n")
    print(f"{options.connections:,} idle connections beside {BUSY_CONNECTIONS} busy ones, one worker")
    for line in [*idle_lines(report), IDLE_LEGEND, "", *accept_lines(report), ACCEPT_LEGEND, "",
                 *judgement(report.verdicts), *(f"! {warning}" for warning in report.found.warnings)]:
        print(line)


def idle_lines(report: Report) -> list[str]:
    rows = []
    for key in report.options.models:
        own = [each for each in report.rounds.idle if each.model == key]
        rows.append([key, *_compared(own, "requests_per_s", table.count), *_compared(own, "cpu_us_per_request",
                                                                                     table.number),
                     *_interval(idle.bytes_per_connection(own)), table.count(sum(each.errors for each in own))])
    return table.render(IDLE_HEADER, rows)


def _compared(rounds: list[IdleRound], name: str, shown: Any) -> list[str]:
    return [*(shown(stats.median_or_none(list(idle.figures(rounds, crowd, name).values()))) for crowd in (False, True)),
            *_interval(idle.beside(rounds, name))]


def _interval(found: Estimate | None) -> list[str]:
    if found is None:
        return [table.MISSING, table.MISSING]
    digits = 3 if abs(found.value) < 10 else 0
    ends = [f"{end:.{digits}f}" for end in found.interval or ()]
    return [f"{found.value:.{digits}f}", "-".join(ends) or table.MISSING]


def accept_lines(report: Report) -> list[str]:
    rows: list[list[str] | str] = []
    for key, workers, way in accept_cases(report.options):
        own = [each for each in report.rounds.accept if (each.model, each.workers, each.way) == (key, workers, way)]
        rows.append([f"{key}, {workers} workers, {way}",
                     table.count(stats.median_or_none([each.connections_per_s for each in own])),
                     table.number(stats.median_or_none([each.cpu_us_per_request for each in own])),
                     table.number(stats.median_or_none([each.closing.max_to_mean for each in own])),
                     table.count(min((min(each.kept.counts) for each in own), default=None)),
                     table.count(max((max(each.kept.counts) for each in own), default=None)),
                     table.number(stats.median_or_none([each.kept.max_to_mean for each in own])),
                     table.number(max((each.kept.max_to_mean for each in own), default=None)),
                     table.count(sum(each.errors for each in own))])
    return table.render(ACCEPT_HEADER, rows)


def judgement(verdicts: list[Verdict]) -> list[str]:
    """One line per target, and how many of each verdict."""
    lines = []
    for verdict in verdicts:
        sign = "<" if verdict.is_upper_limit else ">="
        value, ends = _interval(verdict.value)
        where = f"({ends})" if verdict.value.interval else "(no interval)"
        lines.append(f"{verdict.model}: {verdict.target}: {value} {where}, target {sign} {verdict.limit:g}: "
                     f"{verdict.word}")
    return [*lines, judged.tally(verdicts)]


def as_json(report: Report) -> dict[str, Any]:
    """Everything that was measured and decided, raw."""
    options = report.options
    return report.found.as_dict("scale") | {
        "settings": options.effort.as_dict() | {"idle_connections": options.connections,
                                                "busy_connections": BUSY_CONNECTIONS,
                                                "kept_connections": accepting.KEPT_CONNECTIONS},
        "idle": [each.as_dict() for each in report.rounds.idle],
        "accept": [each.as_dict() for each in report.rounds.accept],
        "targets": [verdict.as_dict() for verdict in report.verdicts],
    }
