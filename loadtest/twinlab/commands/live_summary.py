"""`lab live`: what became of each server, as a table at the end."""

from dataclasses import dataclass
from typing import Any

from twinlab.base import table
from twinlab.clients.wrk_live import Counts, percentile
from twinlab.commands.live_sides import Side
from twinlab.runs.windows import FAILURES

HEADER = ("", "requests", "/s", "p99 ms", "wrk errors", "cut", "deaths", "lost", "of these ours")
LEGEND = """\
requests, p99: answered to wrk, all statuses, since the start. wrk errors: of all kinds; cut: of these, requests whose
connection ended under them. deaths, lost: processes and requests, by the server's own journal; ours: requests of `lab
live` that carried a fault and were lost by it. Faults that came from a server's own buttons are among the lost, too."""


@dataclass(frozen=True)
class Row:
    """One server. deaths, lost: None when its observer did not answer at the end."""

    label: str
    counts: Counts
    seconds: float
    p99_us: int | None
    deaths: int | None
    lost: int | None
    own_lost: int

    def cells(self) -> list[str]:
        per_second = self.counts.requests / self.seconds if self.seconds > 0 else None
        return [self.label, table.count(self.counts.requests), table.count(per_second), table.ms_from_us(self.p99_us),
                table.count(self.counts.errors), table.count(self.counts.cut), table.count(self.deaths),
                table.count(self.lost), table.count(self.own_lost)]


def row_of(side: Side) -> Row:
    """Of a server whose load has ended."""
    totals = totals_of(side)
    return Row(side.model.label, side.counts, side.loaded_s, percentile(side.latencies, 0.99), totals.get("deaths"),
               totals.get("requests_lost"), side.own_lost)


def totals_of(side: Side) -> dict[str, Any]:
    try:
        return side.observer.state()["totals"]
    except (*FAILURES, KeyError, TypeError):
        return {}


def lines(rows: list[Row]) -> list[str]:
    return [*table.render(HEADER, [row.cells() for row in rows]), LEGEND]
