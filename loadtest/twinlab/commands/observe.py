"""`lab observe`: what an observer costs, and whether it tells the truth; one table, each figure beside its limit."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable

from twinlab.base import table
from twinlab.commands import study
from twinlab.commands.session import Circumstances, Session
from twinlab.commands.study import Course, Effort
from twinlab.machine import scratch
from twinlab.runs import observing, page
from twinlab.runs.observing import Finding
from twinlab.runs.speed import Bench
from twinlab.runs.windows import Windows
from twinlab.servers import workloads
from twinlab.servers.models import Model

KEYS = ("prefork", "threadpool")
CONNECTIONS = 64
QUESTIONS = 500
KILL_S = 0.1
START_S = 2.0
PAGE_S = 40.0
CLICKS = 5  # of each kind, in the page

HEADER = ("", "measured", "95 %", "limit", "")
LEGEND = """\
All of an observer that runs beside each server. Of the workers' CPU per request: medians over pairs of windows of one server, whose
observer is stopped, runs and is looked at in turn, with a bootstrap interval. A "?" marks an interval that reaches across the limit."""


@dataclass(frozen=True)
class Scale:
    """How much is measured beside the windows."""

    effort: Effort
    kills: int


DEFAULT = Scale(Effort(rounds=20, duration_s=1.0, warmup_s=1.0), 1000)
QUICK = Scale(Effort(rounds=3, duration_s=0.4, warmup_s=0.2), 30)


@dataclass(frozen=True, kw_only=True)
class Options(study.Options):
    """What the user asked for."""

    scale: Scale
    models: list[str]
    page: bool = False  # also in a browser


@dataclass
class Found:
    """Everything that was measured."""

    findings: list[list[Finding]] = field(default_factory=list)

    @property
    def all(self) -> list[Finding]:
        return [finding for some in self.findings for finding in some]


def run(options: Options) -> int:
    """Prepare, measure, report. 1 when a limit is missed."""
    groups = ("load", "browser") if options.page else ("load",)
    bin_dir = study.prepare(options, *groups, connections=CONNECTIONS, beside=observing.CROWD)
    session = Session(options.output, "observe.json")
    found = Found()
    whole = session.conduct(lambda: measure(options, bin_dir, found, session.windows),
                            lambda circumstances: as_json(options, found, circumstances),
                            lambda circumstances: print_report(options, found, circumstances))
    return 0 if whole and all(finding.is_met for finding in found.all) else 1


def of_slots(key: str, slots: int) -> Model:
    """One of the two servers with so many event loops."""
    if key == "prefork":
        return Model(key, key, "prefork-server", ("--workers", str(slots)), f"{slots} worker processes")
    return Model(key, key, "threadpool-server", ("--threads", str(slots), "--dispatch", "connection"), f"{slots} threads")


def parts(options: Options, bench: Bench, key: str) -> list[tuple[str, float, Callable[[], list[Finding]]]]:
    """What is measured of one model, and how long each takes."""
    scale, two = options.scale, of_slots(key, 2)
    window_s = scale.effort.duration_s
    watched_s = 10 * window_s
    return [
        *((f"all are {how}", 2 * START_S, partial(observing.while_all_hang, bench, two, how, QUESTIONS))
          for how in observing.WAYS_TO_HANG),
        ("what it needs itself", START_S + 2.5 * watched_s,
         partial(observing.of_its_own, bench, of_slots(key, observing.SLOTS), watched_s)),
        ("what it costs the workers", START_S + 3 * scale.effort.rounds * window_s,
         partial(observing.cost, bench, two, scale.effort.rounds)),
        (f"{scale.kills} kills", START_S + scale.kills * KILL_S, partial(observing.kills, bench, two, scale.kills)),
        *([("its page in a browser", PAGE_S + watched_s, partial(page.measure, bench, two, CLICKS, watched_s))]
          if options.page else []),
    ]


def measure(options: Options, bin_dir: Any, found: Found, windows: Windows) -> None:
    effort = options.scale.effort
    with scratch.folder() as folder:
        bench = Bench(bin_dir, workloads.make_documents(folder / "www"), folder, CONNECTIONS, effort.duration_s,
                      effort.warmup_s)
        planned = [(key, part) for key in options.models for part in parts(options, bench, key)]
        with Course(windows, sum(part[1] for _, part in planned)) as course:
            for key, (what, planned_s, once) in planned:
                course.take(f"{key}: {what}", planned_s, once, found.findings)


def print_report(options: Options, found: Found, circumstances: Circumstances) -> None:
    print(f"twinhttpd: {circumstances.machine}; {circumstances.span}\n")
    rows: list[list[str] | str] = []
    for key in options.models:
        rows.append(key)
        rows += [row(finding) for finding in found.all if finding.model == key]
    met = sum(finding.is_met for finding in found.all)
    for line in [*table.render(HEADER, rows), LEGEND, f"{met} of {len(found.all)} limits kept.",
                 *(f"! {warning}" for warning in circumstances.warnings)]:
        print(line)


def row(finding: Finding) -> list[str]:
    value = finding.value
    interval = f"{value.low:.3f}-{value.high:.3f}" if value.low != value.high else ""
    least = "" if finding.at_least == float("-inf") else f"{finding.at_least:g} to "
    limit = f"{least}{finding.at_most:g}" if least else f"at most {finding.at_most:g}"
    if finding.at_least == finding.at_most:
        limit = f"{finding.at_most:g}"
    return [f"  {finding.what}", f"{shown(value.value)} {finding.unit}".rstrip(), interval, limit, finding.word]


def shown(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:.3f}"


def as_json(options: Options, found: Found, circumstances: Circumstances) -> dict[str, Any]:
    """Everything that was measured and decided, raw."""
    return circumstances.as_dict("observe") | {
        "settings": options.scale.effort.as_dict() | {"kills": options.scale.kills, "connections": CONNECTIONS,
                                                      "slots": observing.SLOTS},
        "findings": [finding.as_dict() for finding in found.all],
    }
