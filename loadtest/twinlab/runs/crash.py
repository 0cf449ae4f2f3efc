"""A crash round: under wrk's load on /plaintext, a worker process dies once a second."""

import os
import random
import signal
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Callable

from twinlab.base.errors import LabError
from twinlab.clients import http, lookout, wrk
from twinlab.clients.lookout import Probe, Prober
from twinlab.runs.journal import Balance
from twinlab.runs.speed import Bench
from twinlab.servers.models import Model
from twinlab.servers.server import Server

FAULTS = {"sigkill": "SIGKILL from outside", "segv": "GET /fault/segv (null write inside)"}
PATH = "/plaintext"
# Nothing is broken while wrk opens its connections or ends: only then does every error of wrk's have one cause.
SETTLE_S = 0.6
CALM_S = 0.5
INTERVAL_S = 1.0
RECOVERY_DEADLINE_S = 10.0
POLL_S = 0.005
FAULT_PATIENCE_S = 20.0  # the request that carries a fault waits in the queue behind the load's
# The laboratory asks nothing for this long before it breaks something. A server may have answered a request and not yet
# have booked it as finished: wrk goes on to the next request and loses that one, but the laboratory does not, and its
# answered request would stand in the journal as lost.
QUIET_S = 0.01


class ServerSilent(LabError):
    """Nobody answers /status. After a crash that is what the crash has done, and no error of the laboratory."""


@dataclass
class Crash:
    """One death and what it cost. The laboratory is quiet from quiet_s on; the death is seen from outside at at_s.

    victim_connections: those that the dead process had open just before. served: a successor has answered a request.
    """

    quiet_s: float
    at_s: float
    old_generation: int
    death: dict[str, Any] | None = None
    lab_lost: int = 0
    silence_ms: float | None = None
    calm_silence_ms: float | None = None
    new_process_answers_ms: float | None = None
    victim_connections: int | None = None
    served: bool = False

    @property
    def recovered(self) -> bool:
        """A successor was ready, and has served."""
        return self.recovery_ms is not None and self.served

    @property
    def lost(self) -> int | None:
        """Requests of wrk's that this death cost, by the journal."""
        return None if self.death is None else self.death["requests_lost"] - self.lab_lost

    @property
    def recovery_ms(self) -> float | None:
        """Death to successor ready, by the journal."""
        return None if self.death is None else self.death["recovery_ms"]


@dataclass
class CrashRound:
    """All crashes of one model by one fault. books_known: the server still told its account after the last crash."""

    model: str
    fault: str
    connections: int
    crashes: list[Crash]
    balance: Balance
    unexpected_deaths: int
    wrk: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    books_known: bool = True

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"mismatch": self.balance.mismatch}


class Round:
    """Holds what the steps of one round share."""

    def __init__(self, server: Server, prober_thread: Prober, fault: str, rng: random.Random) -> None:
        self._server = server
        self._prober = prober_thread
        self._fault = fault
        self._rng = rng
        self._lab_losses_s: list[float] = []
        self.crashes: list[Crash] = []
        self.notes: list[str] = []
        self._last: dict[str, Any] = {}
        self._silenced = False

    def crash_once(self) -> None:
        """Break one worker process, then wait until its successor is ready and has served."""
        before = self.status()
        victim: int | None = None
        with self._prober.paused():
            quiet_s = time.monotonic()
            time.sleep(QUIET_S)
            if self._fault == "sigkill":
                victim, at_s = self._kill(before)
            else:
                at_s = self._send_fault()
        crash = Crash(quiet_s, at_s, before["generation"])
        self.crashes.append(crash)
        self._wait_for_recovery(crash, {death["pid"] for death in before["deaths"]}, victim)
        if crash.death:
            crash.victim_connections = connections_of(crash.death, before)

    def _kill(self, status: dict[str, Any]) -> tuple[int, float]:
        pids = sorted({worker["pid"] for worker in status["workers"] if worker["state"] == "ready"})
        if not pids:
            raise LabError(f"{self._server.model.label}: /status shows no ready worker to kill")
        victim = self._rng.choice(pids)
        os.kill(victim, signal.SIGKILL)
        return victim, time.monotonic()

    def _send_fault(self) -> float:
        try:
            reply = http.get(self._server.port, f"/fault/{self._fault}", FAULT_PATIENCE_S)
        except http.RequestLost:
            self._lab_losses_s.append(time.monotonic())
            return self._lab_losses_s[-1]
        raise LabError(f"{self._server.model.label}: /fault/{self._fault} answered {reply.status} instead of crashing")

    def _wait_for_recovery(self, crash: Crash, known_dead: set[int], victim: int | None) -> None:
        """Note the journal's record of the new death, and whether a successor was ready and served."""
        deadline_s = time.monotonic() + RECOVERY_DEADLINE_S
        while not crash.recovered and time.monotonic() < deadline_s:
            try:
                status = self.status()
            except ServerSilent as error:
                self._silenced = True
                self.notes.append(f"crash {len(self.crashes)}: {error.args[0].splitlines()[0]}")
                return
            crash.death = next((death for death in status["deaths"]
                                if death["pid"] not in known_dead and victim in (None, death["pid"])), None)
            crash.served = any(worker["generation"] > crash.old_generation and worker["requests_finished"] > 0
                               for worker in status["workers"])
            time.sleep(POLL_S)
        if not crash.recovered:
            what = "ready" if crash.recovery_ms is None else "serving"
            self.notes.append(f"no successor was {what} within {RECOVERY_DEADLINE_S:.0f} s of crash "
                              f"{len(self.crashes)}")

    def status(self) -> dict[str, Any]:
        """GET /status, however often it takes: the worker that was asked may be the one that dies."""
        deadline_s = time.monotonic() + RECOVERY_DEADLINE_S
        while True:
            try:
                self._last = self._server.status()
                return self._last
            except http.RequestLost:
                self._lab_losses_s.append(time.monotonic())
            except http.NoAnswer:
                pass
            if time.monotonic() > deadline_s or not self._server.is_running():
                raise ServerSilent(f"{self._server.model.label} answers nothing any more\n{self._server.log_tail()}")
            time.sleep(POLL_S)

    def final_status(self) -> tuple[dict[str, Any], bool]:
        """The last account, and whether it is the final one: a server that a crash has silenced gives none."""
        if self._silenced:
            return self._last, False
        return self.status(), True

    def complete(self, probes: list[Probe], end_s: float) -> None:
        """Work out each crash's figures, now that all probes are in."""
        answers_s = lookout.answer_times_s(probes)
        ends_s = [crash.quiet_s for crash in self.crashes[1:]] + [end_s]
        for crash, until_s in zip(self.crashes, ends_s):
            crash.lab_lost = (sum(crash.quiet_s <= lost_s < until_s for lost_s in self._lab_losses_s)
                              + lookout.lost_between(probes, crash.quiet_s, until_s))
            crash.silence_ms = lookout.longest_silence_ms(answers_s, crash.at_s, crash.at_s + CALM_S)
            before_s = [answer_s for answer_s in answers_s if answer_s <= crash.quiet_s]
            crash.calm_silence_ms = lookout.longest_silence_ms(before_s, crash.quiet_s - CALM_S, crash.quiet_s)
            crash.new_process_answers_ms = lookout.first_new_answer_ms(probes, crash.at_s, crash.old_generation)

    def lab_lost(self, probes: list[Probe]) -> int:
        """Every request of the laboratory's own that was cut."""
        return len(self._lab_losses_s) + sum(probe.lost for probe in probes)


def connections_of(death: dict[str, Any], before: dict[str, Any]) -> int:
    """What the dead process had open, by its slots in the /status before the death.

    A process that was not there yet is known by its death record alone, which cannot tell if others were cut, too.
    """
    own = [worker["connections_open"] for worker in before["workers"] if worker["pid"] == death["pid"]]
    return sum(own) if own else death["in_progress"] + death["awaited"] + death["idle_cut"]


def planned_s(crashes: int) -> float:
    """How long a round takes when every recovery is quick."""
    return SETTLE_S + (crashes - 1) * INTERVAL_S + CALM_S + 0.4


def run(bench: Bench, model: Model, fault: str, crashes: int, rng: random.Random,
        inspect: Callable[[Server], None] = lambda server: None) -> CrashRound:
    """A fresh server with faults on, wrk and the prober on it, and a crash once a second.

    inspect: what a caller wants to know of the server before it is loaded.
    """
    with Server(model, bench.bin_dir, bench.root, bench.scratch, ("--faults", "on")) as server:
        server.check(PATH)
        inspect(server)
        bound_s = SETTLE_S + crashes * (INTERVAL_S + RECOVERY_DEADLINE_S)
        with wrk.Wrk(server.port, PATH, bench.connections, bound_s) as load, Prober(server.port) as probing:
            state = Round(server, probing, fault, rng)
            time.sleep(SETTLE_S)
            _crash_repeatedly(state, crashes)
            status, books_known = state.final_status()
            result = load.finish()
            end_s = time.monotonic()
        state.complete(probing.probes, end_s)
        totals = status["totals"]
    balance = Balance(result.cut_requests, totals["requests_lost"], state.lab_lost(probing.probes))
    return CrashRound(model.key, fault, bench.connections, state.crashes, balance,
                      totals["deaths"] - len(state.crashes), result.raw, state.notes, books_known)


def _crash_repeatedly(state: Round, crashes: int) -> None:
    due_s = time.monotonic()
    for _ in range(crashes):
        time.sleep(max(0.0, due_s - time.monotonic()))
        due_s = time.monotonic() + INTERVAL_S
        state.crash_once()
        if state.notes:
            return
        time.sleep(CALM_S)
