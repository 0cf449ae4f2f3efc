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
"""

from dataclasses import asdict, dataclass
from typing import Any, Mapping, Sequence

from twinlab.base.errors import LabError
from twinlab.clients import lab_prober, wrk
from twinlab.runs.journal import Balance


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


def check(status: Mapping[str, Any], load: wrk.Result | None = None, probed: Sequence[lab_prober.Result] = (),
          lab_lost: int = 0, tolerance: int = 0) -> Identity:
    """Hold what clients saw of a server's whole life against its account, taken after the last death."""
    totals, deaths = status["totals"], status["deaths"]
    if totals["deaths"] != len(deaths):
        raise LabError(f"the account has {len(deaths)} records of {totals['deaths']} deaths: too many for the identity; "
                       "check runs with fewer deaths")
    balance = Balance(load.cut_requests if load else 0, totals["requests_lost"], lab_lost)
    return Identity(balance, sum(death["idle_cut"] for death in deaths), sum(result.cut for result in probed),
                    sum(result.idle_closes for result in probed), sum(result.timeouts for result in probed), tolerance)
