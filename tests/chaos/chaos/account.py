"""The identity between what clients saw and what the server's journal says.

No client closes first, and each asks again on the connection it has. So when a process dies, every connection
that it held costs one client one request, and the journal knows these connections: those with a request in
progress, those on which one is awaited, and those that had been silent for a second (idle_cut). Hence

    cut requests that the clients saw  =  requests_lost + idle_cut     of the deaths of one fault.

Where nobody dies no client loses anything. Where it is not exact:

- A process may be killed between two stores of its books that belong together, or between the first of them
  and the system call that goes with it (it accepts a connection, or hands one to another loop): one
  connection for each of its event loops.
- An answer with `Connection: close` is booked before it is sent. If the process dies in between, the
  connection is no longer in the books. It matters where processes drain: one for each such answer.

With on_death: adopt a successor goes on with all that the dead process held. Then the journal says that nothing
is lost, and no client may lose anything, without any tolerance.
"""

from dataclasses import asdict, dataclass

from chaos import faults


@dataclass(frozen=True)
class Account:
    """One fault's losses by both sides' books."""

    deaths: int
    lost: int  # by the journal
    idle_cut: int
    cut: int  # by the clients
    refused: int
    statuses: tuple  # of answers that name an error
    tolerance: int
    allowed: tuple = ()  # of the statuses
    without_heir: int = 0  # processes that had connections when they died, and left them to nobody
    adopts: bool = False

    @property
    def difference(self):
        return self.lost + self.idle_cut - self.cut

    @property
    def is_exact(self):
        return self.difference == 0

    def as_dict(self):
        return asdict(self) | {"difference": self.difference}

    def _not_adopted(self):
        found = []
        if self.without_heir:
            found.append(f"nobody goes on with the connections of {self.without_heir} of {self.deaths} processes")
        if self.cut + self.lost + self.idle_cut > 0:
            found.append(f"{self.cut} requests were cut by the clients' account, {self.lost + self.idle_cut} by the"
                         " journal's, though a successor goes on with them")
        return found

    def complaints(self, fault):
        """What must not be, as sentences."""
        found = []
        if abs(self.difference) > self.tolerance:
            found.append(f"clients saw {self.cut} requests cut, the journal says {self.lost} lost and"
                         f" {self.idle_cut} idle connections cut (tolerance {self.tolerance})")
        if self.adopts:
            found += self._not_adopted()
        if self.refused:
            found.append(f"{self.refused} connections were refused")
        if not fault.loses and self.deaths + self.cut > 0:
            found.append(f"{self.deaths} deaths and {self.cut} cut requests, though nobody was to die")
        if unexpected := set(self.statuses) - set(self.allowed):
            found.append(f"answers that name an error: {sorted(unexpected)}")
        return found


def balance(fault, deaths, failures, closing_answers, model, adopts):
    """Holds the death records of one fault against the failures that clients noted meanwhile."""
    cut = [failure for failure in failures if failure.kind == "cut"]
    torn = 0 if adopts else model.loops * len(deaths)
    return Account(
        deaths=len(deaths),
        lost=sum(death["requests_lost"] for death in deaths),
        idle_cut=sum(death["idle_cut"] for death in deaths),
        cut=len(cut),
        refused=sum(failure.kind == "refused" for failure in failures),
        statuses=tuple(failure.kind for failure in failures if failure.kind.startswith("status")),
        tolerance=torn + (closing_answers if fault.unsettles and not adopts else 0),
        allowed=allowed_statuses(fault, model, adopts),
        without_heir=sum(not death["left_to_successor"] and held_by(death) > 0 for death in deaths),
        adopts=adopts,
    )


def allowed_statuses(fault, model, adopts):
    """Who is at work in another thread each time that a repeated request ends its process is given up like it."""
    has_threads = model.loops + model.pool > 1
    return fault.statuses + ((f"status {faults.GIVEN_UP}",) if adopts and fault.is_repeated and has_threads else ())


def held_by(death):
    """Connections of a process when it died, as far as they were told."""
    return death["in_progress"] + death["awaited"] + death["idle_cut"]


def check_records(deaths):
    """requests_lost of each record is what its parts say, unless a successor has them; and the requests it names are
    among these."""
    for death in deaths:
        held = 0 if death["left_to_successor"] else death["in_progress"] + death["awaited"]
        assert death["requests_lost"] == held, death
        assert len(death["requests"]) <= death["in_progress"] + death["awaited"], death


def of_master_kill(failures):
    """The journal dies with the master: only the clients' side is known."""
    cut = sum(failure.kind == "cut" for failure in failures)
    refused = sum(failure.kind == "refused" for failure in failures)
    return Account(deaths=0, lost=0, idle_cut=0, cut=cut, refused=refused, statuses=(),
                   tolerance=cut)


def check_books(totals, deaths, answers, cut, connections):
    """At rest: every request is finished, aborted, or lost at a death, and clients have no more and no fewer
    answers than that. On each connection an answer of an earlier server may have been counted late."""
    in_progress = totals["in_progress_lost"]
    started = totals["requests_started"]
    settled = totals["requests_finished"] + totals["requests_aborted"]
    found = []
    if totals["deaths"] != len(deaths):
        found.append(f"the scoreboard counts {totals['deaths']} deaths, {len(deaths)} were seen")
    if totals["requests_lost"] != sum(death["requests_lost"] for death in deaths):
        found.append("totals.requests_lost is not the sum of the deaths")
    if abs(started - settled - in_progress) > len(deaths):
        found.append(f"{started} requests started, {settled} finished or aborted, {in_progress} in"
                     " progress at deaths")
    most_answers = settled + in_progress + len(deaths) + connections
    if totals["requests_finished"] > answers + cut or answers > most_answers:
        found.append(f"clients have {answers} answers and {cut} cut requests, the server has finished"
                     f" {totals['requests_finished']}")
    return found
