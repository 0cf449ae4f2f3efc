"""All rounds of a comparison, and the medians that the table and its reading are made from."""

from dataclasses import dataclass, field
from statistics import median
from typing import Any, Generic, Protocol, TypeVar

from twinlab.base import stats
from twinlab.runs.crash import CrashRound
from twinlab.runs.journal import Balance, sum_balances
from twinlab.runs.speed import SpeedRun
from twinlab.servers.workloads import Workload


class Labelled(Protocol):
    """What takes part: a model, or whoever stands beside it."""

    @property
    def key(self) -> str: ...

    @property
    def label(self) -> str: ...


Part = TypeVar("Part", bound=Labelled)
Load = TypeVar("Load", bound=Workload)


@dataclass
class Summary(Generic[Part, Load]):
    """What was measured; models and workloads in the order in which they are shown."""

    models: list[Part]
    workloads: list[Load]
    connections: int
    speed: list[SpeedRun] = field(default_factory=list)
    crashes: list[CrashRound] = field(default_factory=list)

    def runs(self, model: str, workload: str) -> list[SpeedRun]:
        return [run for run in self.speed if run.model == model and run.workload == workload]

    def values(self, model: str, workload: str, figure: str) -> list[float]:
        """One figure of every round in which it could be measured."""
        found = (getattr(run, figure) for run in self.runs(model, workload))
        return [value for value in found if value is not None]

    def by_round(self, model: str, workload: str, figure: str) -> dict[int, float]:
        """The same, with the round each value comes from."""
        found = {run.round: getattr(run, figure) for run in self.runs(model, workload)}
        return {number: value for number, value in found.items() if value is not None}

    def median(self, model: str, workload: str, figure: str) -> float | None:
        return stats.median_or_none(self.values(model, workload, figure))

    def crash_rounds(self, fault: str) -> list[CrashRound]:
        return [crash_round for crash_round in self.crashes if crash_round.fault == fault]

    def crash_rounds_of(self, on_death: str, fault: str | None = None) -> list[CrashRound]:
        """Those in which that became of connections; of one fault or of all."""
        return [found for found in self.crashes if found.on_death == on_death and fault in (None, found.fault)]

    def label(self, key: str) -> str:
        return next(model.label for model in self.models if model.key == key)

    def balance(self) -> Balance:
        return sum_balances([crash_round.balance for crash_round in self.crashes])


def crash_figure(crash_round: CrashRound, figure: str) -> list[float]:
    """One figure of every crash of a round that has it."""
    found: list[Any] = [getattr(crash, figure) for crash in crash_round.crashes]
    return [value for value in found if value is not None]


def crash_values(crash_round: CrashRound, figure: str) -> list[float]:
    """The same of a figure of which each crash has several values."""
    return [value for crash in crash_round.crashes for value in getattr(crash, figure)]


def median_of_crashes(crash_round: CrashRound, figure: str) -> float | None:
    found = crash_figure(crash_round, figure)
    return median(found) if found else None
