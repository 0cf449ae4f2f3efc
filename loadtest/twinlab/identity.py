"""The identity: requests lost by the server's journal = errors seen by wrk and the prober. A run that breaks it is
flagged, with the difference.

journal.Balance holds wrk alone against the journal. wrk has a request on every connection all the time; the prober asks
when its schedule says so, and a death finds some of its connections between two requests. The journal counts these as
awaited or, after a second of silence, as idle connections cut. So each connection that a death cuts counts once on
either side:

    requests lost + idle connections cut - the lab's own  =  wrk's cut + the prober's cut + the prober's idle closes

A request that the prober gave up as hung may stand in the journal or not: a process that hangs has not noticed, and
dies with it in its books; a slow one books it as aborted. Such requests make the clients' side a range.

A process may be killed between two stores of its books that belong together: one connection for each of its event
loops. Who knows how many have died gives that as tolerance; by default there is none.

A request that is swallowed on a connection that stays open is an error to nobody: wrk waits for its answer until it is
stopped, and then the server books the request as aborted, as it does those that the end of the load cuts. Books tells
it from these: wrk is halted, with its connections open, and whatever the server has begun must then come to an end.
"""

import time
from dataclasses import asdict, dataclass
from typing import Any, Callable, Mapping, Sequence

from twinlab import open_loop, wrk
from twinlab.errors import LabError
from twinlab.journal import Balance


@dataclass(frozen=True)
class Identity:
    """Both accounts of one run."""

    balance: Balance
    idle_cut: int
    prober_cut: int
    prober_idle_closes: int
    prober_timeouts: int
    tolerance: int = 0

    @property
    def server(self) -> int:
        """Connections that deaths cut under the clients, by the journal."""
        return self.balance.journal_without_lab + self.idle_cut

    @property
    def clients(self) -> int:
        """The same as the clients saw it, without the requests that they gave up themselves."""
        return self.balance.wrk_cut + self.prober_cut + self.prober_idle_closes

    @property
    def difference(self) -> int:
        """Above zero: the journal counts more than the clients saw; below: losses that the journal does not know."""
        beyond = self.server - self.clients
        return beyond if beyond < 0 else max(0, beyond - self.prober_timeouts)

    @property
    def holds(self) -> bool:
        return abs(self.difference) <= self.tolerance

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"server": self.server, "clients": self.clients, "difference": self.difference,
                               "holds": self.holds}

    def sentence(self) -> str:
        """What a reader has to know about this run's losses."""
        given_up = f" ({self.prober_timeouts} more given up as hung)" if self.prober_timeouts else ""
        accounts = (f"journal {self.server} (lost {self.balance.journal_without_lab}, idle cut {self.idle_cut}), "
                    f"clients {self.clients} (wrk {self.balance.wrk_cut}, prober {self.prober_cut}, prober's idle "
                    f"connections {self.prober_idle_closes}){given_up}")
        if self.difference == 0:
            return f"The journal and the clients agree: {accounts}."
        if self.holds:
            return f"The journal and the clients agree within {self.tolerance}: {accounts}."
        return (f"MISMATCH of {self.difference:+d} (journal minus clients): {accounts}; do not trust the lost requests "
                "of this run to the last digit.")


def check(status: Mapping[str, Any], load: wrk.Result | None = None, probed: Sequence[open_loop.Result] = (),
          lab_lost: int = 0, tolerance: int = 0) -> Identity:
    """Hold what clients saw of a server's whole life against its /status, taken after the last death."""
    totals, deaths = status["totals"], status["deaths"]
    if totals["deaths"] != len(deaths):
        raise LabError(f"/status has {len(deaths)} records of {totals['deaths']} deaths: too many for the identity; "
                       "check runs with fewer deaths")
    balance = Balance(load.cut_requests if load else 0, totals["requests_lost"], lab_lost)
    return Identity(balance, sum(death["idle_cut"] for death in deaths), sum(result.cut for result in probed),
                    sum(result.idle_closes for result in probed), sum(result.timeouts for result in probed), tolerance)


# A server without load works off what is in its queues: its books move until it is done.
STILL_S = 2.0
SETTLE_DEADLINE_S = 30.0
POLL_S = 0.01


@dataclass(frozen=True)
class Books:
    """A server's own account of all requests of its life, as it stands in /status."""

    started: int
    finished: int
    aborted: int
    died: int

    @staticmethod
    def of(status: Mapping[str, Any]) -> "Books":
        totals = status["totals"]
        return Books(totals["requests_started"], totals["requests_finished"], totals["requests_aborted"],
                     sum(death["in_progress"] for death in status["deaths"]))

    @property
    def under_way(self) -> int:
        """Requests begun and not ended, without the one for /status, which is written before it has ended itself.

        Below zero: more ends than beginnings.
        """
        return self.started - self.finished - self.aborted - self.died - 1


def settled(read_status: Callable[[], dict[str, Any]], still_s: float = STILL_S) -> dict[str, Any]:
    """/status of a server that nobody asks for anything any more, when all is answered or nothing moves for a time."""
    before: int | None = None
    still_until_s, deadline_s = 0.0, time.monotonic() + SETTLE_DEADLINE_S
    while True:
        status = read_status()
        under_way = Books.of(status).under_way
        if under_way != before:
            before, still_until_s = under_way, time.monotonic() + still_s
        if under_way == 0 or time.monotonic() > min(still_until_s, deadline_s):
            return status
        time.sleep(POLL_S)


def unexplained(status: Mapping[str, Any], answered: int = 0) -> int:
    """Requests that a settled server began and never ended, and answers that clients got (at least) and it knows not.
    """
    books = Books.of(status)
    return abs(books.under_way) + max(0, answered - books.finished)
