"""wrk's errors held against the server's own account.

wrk sees one error for every connection that dies under a request. The server's master counts, for a dead process, the
requests in progress and those awaited on open connections. If both are right they agree, once the requests that the
laboratory itself lost (the one that carries the fault, probes) are taken off the server's figure.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Balance:
    """Both accounts of the same losses."""

    wrk_cut: int
    journal_lost: int
    lab_lost: int

    @property
    def journal_without_lab(self) -> int:
        return self.journal_lost - self.lab_lost

    @property
    def mismatch(self) -> int:
        """Above zero: the journal counts more than wrk saw; below: wrk saw losses that the journal does not know."""
        return self.journal_without_lab - self.wrk_cut


def sum_balances(balances: list[Balance]) -> Balance:
    return Balance(sum(b.wrk_cut for b in balances), sum(b.journal_lost for b in balances),
                   sum(b.lab_lost for b in balances))
