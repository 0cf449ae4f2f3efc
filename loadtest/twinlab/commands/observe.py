"""`lab observe`: what an observer costs, and whether it tells the truth; one table, each figure beside its limit."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable

from twinlab.base import judged, table
from twinlab.base.decide import Limits
from twinlab.commands import study
from twinlab.commands.session import Circumstances, Session
from twinlab.commands.study import Course, Effort
from twinlab.machine import scratch
from twinlab.runs import observing, page
from twinlab.runs.observing import Figure, Finding
from twinlab.runs.speed import Bench
from twinlab.runs.windows import Windows
from twinlab.servers import workloads
from twinlab.servers.models import Model

KEYS = ("prefork", "threadpool")
CONNECTIONS = 64
QUESTIONS = 500
KILL_S = 0.2
START_S = 2.0
PAGE_S = 16.0
CLICKS = 2  # of each kind, in the page of a server

HEADER = ("", "measured", "95 %", "limit", "")
LEGEND = """\
All of an observer that runs beside each server: medians over as many servers as there are rounds, and where they lie
(from 6 rounds on); of what is counted, the least and the most. Workers' CPU per request: the observer of a server is
stopped, runs and is looked at, there and back. Met or missed: the whole interval is."""


WATCHED_WINDOWS = 4  # the observer itself is watched for longer than a window: it wakes up but a few times a second
WINDOWS_OF_COST = 6


@dataclass(frozen=True)
class Scale:
    """How much is measured beside the windows."""

    effort: Effort
    kills: int


# Nine rounds: their interval leaves out the lowest and the highest of them.
DEFAULT = Scale(Effort(rounds=9, duration_s=1.0, warmup_s=1.0), 1000)
QUICK = Scale(Effort(rounds=2, duration_s=0.4, warmup_s=0.2), 30)


@dataclass(frozen=True, kw_only=True)
class Options(study.Options):
    """What the user asked for."""

    scale: Scale
    models: list[str]
    page: bool = False  # also in a browser


@dataclass
class Found:
    """Everything that was measured."""

    figures: list[list[Figure]] = field(default_factory=list)

    @property
    def findings(self) -> list[Finding]:
        return observing.findings([figure for some in self.figures for figure in some])


def run(options: Options) -> int:
    """Prepare, measure, report. 1 when a limit is not kept (Judged.falls_short)."""
    groups = ("load", "browser") if options.page else ("load",)
    bin_dir = study.prepare(options, *groups, connections=CONNECTIONS, beside=observing.CROWD)
    session = Session(options.output, "observe.json")
    found = Found()
    whole = session.conduct(lambda: measure(options, bin_dir, found, session.windows),
                            lambda circumstances: as_json(options, found, circumstances),
                            lambda circumstances: print_report(options, found, circumstances))
    return judged.exit_status(found.findings) if whole else 1


def of_slots(key: str, slots: int) -> Model:
    """One of the two servers with so many event loops."""
    if key == "prefork":
        return Model(key, key, "prefork-server", ("--workers", str(slots)), f"{slots} worker processes")
    return Model(key, key, "threadpool-server", ("--threads", str(slots), "--dispatch", "connection"), f"{slots} threads")


Part = tuple[str, float, Callable[[], list[Figure]]]  # what, how long it takes, and how to measure it


def parts_of_round(options: Options, bench: Bench, key: str, number: int) -> list[Part]:
    """What is measured of one model in each round, each with a server of its own."""
    two, window_s = of_slots(key, 2), bench.duration_s
    watched_s = WATCHED_WINDOWS * window_s
    parts: list[Part] = [
        *((f"all are {how}", 2 * START_S, partial(observing.while_all_hang, bench, two, how, QUESTIONS))
          for how in observing.WAYS_TO_HANG),
        ("what it needs itself", START_S + 2 * watched_s + observing.SLOW_READ_S,
         partial(observing.of_its_own, bench, of_slots(key, observing.SLOTS), watched_s)),
        ("what it costs the workers", START_S + WINDOWS_OF_COST * window_s, partial(observing.cost, bench, two)),
    ]
    if options.page:
        parts.append(("its page in a browser", PAGE_S + watched_s,
                      partial(page.measure, bench, two, CLICKS, watched_s)))
    return [(f"{key}: {what}, round {number}", planned_s, once) for what, planned_s, once in parts]


def plan(options: Options, bench: Bench) -> list[Part]:
    """All rounds, each second one with the models the other way round; then what is counted once."""
    found: list[Part] = []
    for number in range(1, options.scale.effort.rounds + 1):
        for key in options.models if number % 2 else options.models[::-1]:
            found += parts_of_round(options, bench, key, number)
    count = options.scale.kills
    return found + [(f"{key}: {count} kills", START_S + count * KILL_S,
                     partial(observing.kills, bench, of_slots(key, 2), count)) for key in options.models]


def measure(options: Options, bin_dir: Any, found: Found, windows: Windows) -> None:
    effort = options.scale.effort
    with scratch.folder() as folder:
        bench = Bench(bin_dir, workloads.make_documents(folder / "www"), folder, CONNECTIONS, effort.duration_s,
                      effort.warmup_s)
        planned = plan(options, bench)
        with Course(windows, sum(planned_s for _, planned_s, _ in planned)) as course:
            for what, planned_s, once in planned:
                course.take(what, planned_s, once, found.figures)


def print_report(options: Options, found: Found, circumstances: Circumstances) -> None:
    print(f"twinhttpd: {circumstances.machine}; {circumstances.span}\n")
    rows: list[list[str] | str] = []
    for key in options.models:
        rows.append(key)
        rows += [row(finding) for finding in found.findings if finding.model == key]
    for line in [*table.render(HEADER, rows), LEGEND, judged.tally(found.findings, "limits"),
                 *(f"! {warning}" for warning in circumstances.warnings)]:
        print(line)


def row(finding: Finding) -> list[str]:
    ends = finding.value.interval
    where = table.MISSING if ends is None else "-".join(map(shown, dict.fromkeys(ends)))
    return [f"  {finding.what}", f"{shown(finding.value.value)} {finding.unit}".rstrip(), where,
            limit_words(finding.limits), finding.word]


def limit_words(limits: Limits) -> str:
    if limits.at_least == float("-inf"):
        return f"at most {limits.at_most:g}"
    return " to ".join(f"{limit:g}" for limit in dict.fromkeys((limits.at_least, limits.at_most)))


def shown(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:.3f}"


def as_json(options: Options, found: Found, circumstances: Circumstances) -> dict[str, Any]:
    """Everything that was measured and decided, raw."""
    return circumstances.as_dict("observe") | {
        "settings": options.scale.effort.as_dict() | {"kills": options.scale.kills, "connections": CONNECTIONS,
                                                      "slots": observing.SLOTS},
        "figures": [figure.as_dict() for some in found.figures for figure in some],
        "findings": [finding.as_dict() for finding in found.findings],
    }
