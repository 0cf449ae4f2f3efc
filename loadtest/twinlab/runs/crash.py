"""A crash round: under wrk's load on /plaintext, a worker process dies once a second."""

import os
import random
import signal
import time
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Callable, Iterable

from twinlab.base.errors import LabError
from twinlab.clients import http, lookout, wrk
from twinlab.clients.kept import KeptConnection
from twinlab.clients.lookout import Probe, Prober
from twinlab.machine.deaths import Watched
from twinlab.runs.journal import Balance
from twinlab.runs.speed import Bench
from twinlab.runs.stall import Kept
from twinlab.servers.account import Silent
from twinlab.servers.models import Model
from twinlab.servers.server import Server

FAULTS = {"sigkill": "SIGKILL from outside", "segv": "GET /fault/segv (null write inside)"}
# What becomes of the connections of a process that dies.
CUT, ADOPT = "cut", "adopt"
ON_DEATH = (CUT, ADOPT)
# A request under which a process crashes is asked of its successor, too, before it is answered 500.
POISON_DEATHS = 2
PATH = "/plaintext"
# Nothing is broken while wrk opens its connections or ends: only then does every error of wrk's have one cause.
SETTLE_S = 0.6
CALM_S = 0.5
INTERVAL_S = 1.0
RECOVERY_DEADLINE_S = 10.0
POLL_S = 0.005
GIVEN_UP = 500  # the answer to a request under which processes die
FAULT_PATIENCE_S = 20.0  # the request that carries a fault waits in the queue behind the load's
# The laboratory asks nothing for this long before it breaks something. A server may have answered a request and not yet
# have booked it as finished: wrk goes on to the next request and loses that one, but the laboratory does not, and its
# answered request would stand in the journal as lost.
QUIET_S = 0.01


@dataclass(frozen=True)
class Breakage:
    """What is done to a server, and what becomes of the connections of who dies of it."""

    fault: str
    on_death: str = CUT

    @property
    def deaths(self) -> int:
        """How many processes die of it."""
        return POISON_DEATHS if self.fault == "segv" and self.on_death == ADOPT else 1


    @property
    def given_up(self) -> int:
        """How many requests are answered 500 because of it, at least."""
        return int(self.deaths == POISON_DEATHS)


@dataclass
class Crash:
    """One fault and what it cost. The laboratory is quiet from quiet_s on; the death is seen from outside at at_s.

    victim_connections: those that the dead process had open just before. served: a successor has answered a request.
    stalls_ms: how long the connections of a second client waited that belonged to who died; kept_held of them there
    were in all, kept_cut were cut; calm_waits_ms: how long each of its connections waited for an answer before.
    """

    quiet_s: float
    at_s: float
    old_generation: int
    deaths: list[dict[str, Any]] = field(default_factory=list)
    lab_lost: int = 0
    silence_ms: float | None = None
    calm_silence_ms: float | None = None
    new_process_answers_ms: float | None = None
    victim_connections: int | None = None
    served: bool = False
    stalls_ms: list[float] = field(default_factory=list)
    calm_waits_ms: list[float] = field(default_factory=list)
    kept_held: int = 0
    kept_cut: int = 0
    lab_left: int = 0

    @property
    def recovered(self) -> bool:
        """A successor was ready, and has served."""
        return self.recovery_ms is not None and self.served

    @property
    def lost(self) -> int | None:
        """Requests of wrk's that it cost, by the journal."""
        return sum(death["requests_lost"] for death in self.deaths) - self.lab_lost if self.deaths else None

    @property
    def left(self) -> int | None:
        """Connections of wrk's that were left to a successor, by the journal, at the first of the deaths: those that
        die once more with the next one are much the same."""
        if not self.deaths or not self.deaths[0].get("left_to_successor"):
            return None
        return self.deaths[0]["in_progress"] + self.deaths[0]["awaited"] - self.lab_left

    @property
    def given_up(self) -> int:
        """Requests that a successor has answered 500 because processes died under them, by the journal."""
        return sum(death["adoption"]["refused_500"] for death in self.deaths if death.get("adoption"))

    @property
    def recovery_ms(self) -> float | None:
        """First death to successor ready, by the journal: one that dies in its turn before it is ready is none."""
        if not self.deaths or self.deaths[-1]["recovery_ms"] is None:
            return None
        return self.deaths[-1]["recovery_ms"] + (moments_s(0.0, self.deaths)[-1] * 1000 if len(self.deaths) > 1 else 0)


@dataclass
class CrashRound:
    """All crashes of one model by one fault. books_known: the server still told its account after the last crash.

    unexpected_deaths: below zero, fewer have died than the faults should have killed.
    """

    model: str
    fault: str
    connections: int
    crashes: list[Crash]
    balance: Balance
    unexpected_deaths: int
    wrk: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    books_known: bool = True
    on_death: str = CUT
    kept: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"mismatch": self.balance.mismatch}


class Round:
    """Holds what the steps of one round share."""

    def __init__(self, server: Server, prober_thread: Prober, breakage: Breakage, rng: random.Random) -> None:
        self._server = server
        self._prober = prober_thread
        self._breakage = breakage
        self._rng = rng
        self._lab_losses_s: list[float] = []
        self.crashes: list[Crash] = []
        self.notes: list[str] = []
        self._last: dict[str, Any] = {}
        self._silenced = False

    def crash_once(self) -> None:
        """Break one worker process, then wait until its successor is ready and has served."""
        before = self._look()
        victim, crash = self._break_from(before) if self._breakage.fault == "sigkill" else self._poison(before)
        self.crashes.append(crash)
        self._wait_for_recovery(crash, {death["pid"] for death in before["deaths"]}, victim)
        if crash.deaths:
            crash.victim_connections = connections_of(crash.deaths[0], before)
            crash.at_s = when_first(crash)
        if crash.recovered and crash.given_up < self._breakage.given_up:
            self.notes.append(f"the journal names {crash.given_up} requests that were given up")

    def _quiet(self) -> float:
        """The laboratory asks nothing for a moment; since when."""
        quiet_s = time.monotonic()
        time.sleep(QUIET_S)
        return quiet_s

    def _break_from(self, before: dict[str, Any]) -> tuple[int | None, Crash]:
        """A signal from outside."""
        with self._prober.paused():
            quiet_s = self._quiet()
            victim, at_s = self._kill(before)
        return victim, Crash(quiet_s, at_s, before["generation"])

    def _kill(self, status: dict[str, Any]) -> tuple[int, float]:
        """Which one, and when: the moment before, since the kernel may take the CPU away in the one after."""
        pids = ready_pids(status)
        if not pids:
            raise LabError(f"{self._server.model.label} has no ready worker to kill")
        victim, at_s = self._rng.choice(pids), time.monotonic()
        os.kill(victim, signal.SIGKILL)
        return victim, at_s

    def _poison(self, before: dict[str, Any]) -> tuple[int | None, Crash]:
        """Send the request that carries the fault. It waits in the queue behind the load's."""
        path = f"/fault/{self._breakage.fault}"
        with KeptConnection(self._server.port) as line, Watched(ready_pids(before), line) as watched:
            with self._prober.paused():
                quiet_s = self._quiet()
                line.send(path)
                at_s = watched.wait(FAULT_PATIENCE_S)
            if at_s is None:
                raise LabError(f"{self._server.model.label}: nobody has died of {path}")
            self._look_at_answer(line, path)
        return None, Crash(quiet_s, at_s, before["generation"], lab_left=1)

    def _look_at_answer(self, line: KeptConnection, path: str) -> None:
        """With cut there is none; with adopt the server gives the request up and says so."""
        try:
            status = line.answer(FAULT_PATIENCE_S).status
        except http.RequestLost:
            self._lab_losses_s.append(time.monotonic())
            if self._breakage.on_death == ADOPT:
                self.notes.append(f"{path} was cut instead of being answered 500")
            return
        if self._breakage.on_death == CUT or status != GIVEN_UP:
            raise LabError(f"{self._server.model.label}: {path} answered {status} instead of "
                           f"{'crashing' if self._breakage.on_death == CUT else GIVEN_UP}")

    def _wait_for_recovery(self, crash: Crash, known_dead: set[int], victim: int | None) -> None:
        """Note the journal's record of the new death, and whether a successor was ready and served."""
        deadline_s = time.monotonic() + RECOVERY_DEADLINE_S
        while not crash.recovered and time.monotonic() < deadline_s:
            try:
                status = self._look()
            except Silent as error:  # that is what the crash has done, and no error of the laboratory
                self._silenced = True
                self.notes.append(f"crash {len(self.crashes)}: {error.args[0].splitlines()[0]}")
                return
            crash.deaths = [death for death in status["deaths"]
                            if death["pid"] not in known_dead and victim in (None, death["pid"])]
            crash.served = (len(crash.deaths) >= self._breakage.deaths
                            and has_served(status, max(crash.old_generation, crash.deaths[-1]["generation"])))
            time.sleep(POLL_S)
        if not crash.recovered:
            what = "ready" if crash.recovery_ms is None else "serving"
            self.notes.append(f"no successor was {what} within {RECOVERY_DEADLINE_S:.0f} s of crash "
                              f"{len(self.crashes)}")

    def _look(self) -> dict[str, Any]:
        self._last = self._server.status()
        return self._last

    def final_status(self) -> tuple[dict[str, Any], bool]:
        """The last account, and whether it is the final one: a server that a crash has silenced gives none."""
        if self._silenced:
            return self._last, False
        return self._look(), True

    def complete(self, probes: list[Probe], kept: Kept, end_s: float) -> None:
        """Work out each crash's figures, now that all probes are in."""
        answers_s = lookout.answer_times_s(probes)
        ends_s = [crash.quiet_s for crash in self.crashes[1:]] + [end_s]
        for crash, until_s in zip(self.crashes, ends_s):
            crash.lab_lost = (sum(crash.quiet_s <= lost_s < until_s for lost_s in self._lab_losses_s)
                              + lookout.lost_between(probes, crash.quiet_s, until_s)
                              + kept.cut_between(crash.quiet_s, until_s))
            crash.silence_ms = lookout.longest_silence_ms(answers_s, crash.at_s, crash.at_s + CALM_S)
            before_s = [answer_s for answer_s in answers_s if answer_s <= crash.quiet_s]
            crash.calm_silence_ms = lookout.longest_silence_ms(before_s, crash.quiet_s - CALM_S, crash.quiet_s)
            crash.new_process_answers_ms = lookout.first_new_answer_ms(probes, crash.at_s, crash.old_generation)
            note_fates(crash, kept)

    def lab_lost(self, probes: list[Probe], kept: Kept) -> int:
        """Every request of the laboratory's own that was cut."""
        return len(self._lab_losses_s) + sum(probe.lost for probe in probes) + kept.cut


def ready_pids(status: dict[str, Any]) -> list[int]:
    return sorted({worker["pid"] for worker in status["workers"] if worker["state"] == "ready"})


def has_served(status: dict[str, Any], generation: int) -> bool:
    """Whether a process that was started after that one has answered a request."""
    return any(worker["generation"] > generation and worker["requests_finished"] > 0 for worker in status["workers"])


def note_fates(crash: Crash, kept: Kept) -> None:
    """What became of the second client's connections to each process that has died."""
    for number, (death, death_s) in enumerate(zip(crash.deaths, moments_s(crash.at_s, crash.deaths))):
        found = kept.fates(death["pid"], death_s)
        crash.stalls_ms += found.stalls_ms
        crash.kept_held += found.held
        crash.kept_cut += found.cut
        if number == 0:
            crash.lab_left += found.held
    crash.calm_waits_ms = kept.waits_ms(crash.quiet_s - CALM_S / 2)


def when_first(crash: Crash) -> float:
    """When the first process died. Whoever watches it may be told after its successor has answered, if the machine is
    busy; the journal has the time by the clock of the day, without the rest of the millisecond."""
    told = crash.deaths[0].get("time")
    if told is None:
        return crash.at_s
    told_s = datetime.fromisoformat(told).timestamp() - (time.time() - time.monotonic())
    return max(crash.quiet_s, min(crash.at_s, told_s))


def moments_s(first_s: float, deaths: Iterable[dict[str, Any]]) -> list[float]:
    """When each process died: the first was seen, and the journal tells to a millisecond how much later the others."""
    at = [datetime.fromisoformat(death["time"]) for death in deaths]
    return [first_s + (each - at[0]).total_seconds() for each in at]


def connections_of(death: dict[str, Any], before: dict[str, Any]) -> int:
    """What the dead process had open, by its slots in the account before the death.

    A process that was not there yet is known by its death record alone, which cannot tell if others were cut, too.
    """
    own = [worker["connections_open"] for worker in before["workers"] if worker["pid"] == death["pid"]]
    return sum(own) if own else death["in_progress"] + death["awaited"] + death["idle_cut"]


def planned_s(crashes: int) -> float:
    """How long a round takes when every recovery is quick."""
    return SETTLE_S + (crashes - 1) * INTERVAL_S + CALM_S + 0.4


def server_options(breakage: Breakage) -> tuple[str, ...]:
    return "--faults", "on", "--on-death", breakage.on_death


def run(bench: Bench, model: Model, breakage: Breakage, crashes: int, rng: random.Random, kept: int = 0,
        inspect: Callable[[Server], None] = lambda server: None) -> CrashRound:
    """A fresh server with faults on, wrk and the prober on it, and a crash once a second.

    kept: connections of a second client that tells who waits, see stall.py. inspect: what a caller wants to know of the
    server before it is loaded.
    """
    with Server(model, bench.bin_dir, bench.root, bench.scratch, server_options(breakage)) as server:
        server.check(PATH)
        inspect(server)
        bound_s = SETTLE_S + crashes * (INTERVAL_S + RECOVERY_DEADLINE_S)
        with wrk.Wrk(server.port, PATH, bench.connections, bound_s) as load, Prober(server.port) as probing, \
                Kept(bench, server.port, kept) as second:
            state = Round(server, probing, breakage, rng)
            time.sleep(SETTLE_S)
            _crash_repeatedly(state, crashes)
            status, books_known = state.final_status()
            result = load.finish()
            end_s = time.monotonic()
            second.finish()
        state.complete(probing.probes, second, end_s)
        totals = status["totals"]
    balance = Balance(result.cut_requests, totals["requests_lost"], state.lab_lost(probing.probes, second))
    return CrashRound(model.key, breakage.fault, bench.connections, state.crashes, balance,
                      totals["deaths"] - breakage.deaths * len(state.crashes), result.raw, state.notes, books_known,
                      breakage.on_death, kept)


def _crash_repeatedly(state: Round, crashes: int) -> None:
    due_s = time.monotonic()
    for _ in range(crashes):
        time.sleep(max(0.0, due_s - time.monotonic()))
        due_s = time.monotonic() + INTERVAL_S
        state.crash_once()
        if state.notes:
            return
        time.sleep(CALM_S)
