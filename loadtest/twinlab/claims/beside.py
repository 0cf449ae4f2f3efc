"""Figures of our programs beside those of the field's own tools, measured in the same rounds, and why they differ."""

from dataclasses import dataclass
from typing import Iterable, Mapping

from twinlab.base import stats
from twinlab.base.table import MISSING
from twinlab.claims import judge
from twinlab.claims.evidence import Series, Source
from twinlab.claims.verdict import ABOVE, BELOW, WITHIN, Interval
from twinlab.claims.words import number

SOURCE = "field:tools"
HEADER = ("tool", "what", "there, ns", "ours, ns", "ours / there (95 %)", "counted per operation, there",
          "why they differ")
AS_MUCH = 1.25  # within this factor, "the same" is no explanation that the figures contradict
UNEXPLAINED = "not explained by what is counted"
SWITCHES, FAULTS = ("switches", "switches_per_operation"), ("page faults", "page_faults_per_operation")


@dataclass(frozen=True)
class Comparison:
    """Two variants of a series of field_tools that are meant to show the same.

    expects: where the explanation has ours / there lie; counted: what of the kernel's counts tells most.
    """

    tool: str
    what: str
    series: str
    there: str
    ours: str
    counted: tuple[str, str]
    expects: str
    why: str


SAME = "it does the same as micro-switch does without touching memory"
COMPARISONS = (
    Comparison("perf bench sched pipe", "switch between processes", "perf-sched-pipe", "process", "ours-process",
               SWITCHES, WITHIN, SAME),
    Comparison("perf bench sched pipe -T", "switch between threads", "perf-sched-pipe", "thread", "ours-thread",
               SWITCHES, WITHIN, SAME),
    Comparison("stress-ng --switch", "switch between processes", "stress-ng-switch", "switch", "ours-process",
               SWITCHES, ABOVE,
               "it makes one system call for each switch, since its pipe holds one message; micro-switch makes two"),
    Comparison("stress-ng --fork", "start and end of a process", "stress-ng-create", "fork", "ours-process",
               FAULTS, BELOW,
               "its larger process takes three times the page faults, and its child makes ten system calls"),
    Comparison("stress-ng --vfork", "start and end by vfork", "stress-ng-create", "vfork", "ours-vfork",
               FAULTS, BELOW,
               "the same is done; its figure is the mean of a second, with what interrupts it and what the kernel clears "
               "away later; ours is the median of short games"),
    Comparison("stress-ng --pthread", "start and end of a thread", "stress-ng-create", "pthread", "ours-thread",
               FAULTS, BELOW, "its threads make over forty system calls each, and up to 1,024 live at a time"),
)


def explains(expects: str, ratio: Interval) -> bool:
    """Whether the figures leave room for an explanation that has the ratio there."""
    return {WITHIN: ratio.low <= AS_MUCH and ratio.high >= 1 / AS_MUCH, ABOVE: ratio.high > 1,
            BELOW: ratio.low < 1}[expects]


def rows(sources: Mapping[str, Source]) -> Iterable[tuple[str, ...]]:
    """A row for each comparison of which both figures were measured."""
    source = sources.get(SOURCE)
    if source is None:
        return
    for each in COMPARISONS:
        series = source.series.get(each.series)
        ratio = judge.ratio_of(series, each.ours, each.there) if series else None
        if series and ratio:
            there, ours = (stats.median_or_none(list(series.runs[name].values())) for name in (each.there, each.ours))
            yield (each.tool, each.what, number(there or 0), number(ours or 0),
                   f"{number(ratio.value)} ({number(ratio.low)}-{number(ratio.high)})", _counted(each, series),
                   each.why if explains(each.expects, ratio) else UNEXPLAINED)


def _counted(each: Comparison, series: Series) -> str:
    what, parameter = each.counted
    value = series.parameters.get(parameter, {}).get(each.there)
    return f"{number(value)} {what}" if value is not None else MISSING
