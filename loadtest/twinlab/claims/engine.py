"""Runs experiments: the order of the blocks, what makes a block void, and how often it is tried again."""

import random
from dataclasses import asdict, dataclass, replace
from typing import Any, Callable, Iterator

from twinlab.base.errors import Accident
from twinlab.base.progress import Progress
from twinlab.claims import block
from twinlab.claims.block import Block
from twinlab.claims.evidence import FAILED, IDENTITY, LABORATORY, STEAL
from twinlab.claims.experiment import Experiment, Side
from twinlab.claims.store import Store
from twinlab.machine import host
from twinlab.runs.speed import Bench
from twinlab.runs.windows import FAILURES, first_line

ATTEMPTS = 3  # of a block that is void, in one session; of one that the server made void, in all sessions together


@dataclass(frozen=True)
class Rules:
    """When a block does not count: CPU time stolen by other guests of the machine is not the server's doing."""

    steal_limit: float = 0.05


Measure = Callable[[Bench, Side, random.Random], Block]
ReadClock = Callable[[], host.CpuClock]
ReadPressure = Callable[[], host.CpuPressure]


class Engine:
    """Measures what a run still lacks. measure and the readings can be replaced, to see what it makes of them."""

    def __init__(self, store: Store, bench: Bench, progress: Progress, rules: Rules = Rules(), seed: int = 1,
                 measure: Measure = block.measure, read_clock: ReadClock = host.CpuClock.read,
                 read_pressure: ReadPressure = host.CpuPressure.read) -> None:
        self._store, self._bench, self._progress, self._rules = store, bench, progress, rules
        self._seed, self._measure, self._read_clock = seed, measure, read_clock
        self._read_pressure = read_pressure

    def run(self, experiment: Experiment) -> None:
        """All blocks of an experiment. One that cannot go on says why, and the other experiments go on without it."""
        self._plan(experiment)
        for round_number in range(1, experiment.rounds + 1):
            for side in experiment.order(round_number):
                self._progress.step(f"{experiment.name}, round {round_number} of {experiment.rounds}: {side.name}")
                try:
                    self._side(experiment, side, round_number)
                except FAILURES as error:
                    self._store.append({"kind": "problem", "source": f"experiment:{experiment.name}",
                                        "problem": first_line(error), "whole": str(error)})
                    return
                self._progress.done(side.planned_s)

    def _plan(self, experiment: Experiment) -> None:
        """What the blocks mean, once, so that a report needs no other file."""
        if self._store.done(kind="plan", experiment=experiment.name):
            return
        self._store.append({
            "kind": "plan", "experiment": experiment.name, "title": experiment.title, "rounds": experiment.rounds,
            "control_of": experiment.control_of, "pin": experiment.pin, "chart": experiment.chart,
            "sides": {side.name: asdict(side) for side in experiment.sides.values()}})

    def _side(self, experiment: Experiment, side: Side, round_number: int) -> None:
        """One block, again if it is void, a few times at most."""
        key = {"kind": "block", "experiment": experiment.name, "side": side.name, "round": round_number}
        if self._store.done(**key):
            return
        bench = bench_for(self._bench, experiment, side)
        # The same choices for all sides of a round, and for a block that is tried again.
        rng_seed = f"{self._seed}/{experiment.name}/{round_number}"
        for attempt in attempts(self._store, key):
            clock, pressure = self._read_clock(), self._read_pressure()
            found = self._found(bench, side, random.Random(rng_seed))
            steal = self._read_clock().steal_share_since(clock)
            waited = self._read_pressure().share_since(pressure)
            cause, void = void_reason(found, steal, self._rules)
            self._store.append(key | {
                "attempt": attempt, "void": void, "cause": cause, "mismatch": found.mismatch,
                "steal_share": round(steal, 4), "cpu_pressure_share": None if waited is None else round(waited, 4),
                "metrics": found.metrics})
            if not void:
                return

    def _found(self, bench: Bench, side: Side, rng: random.Random) -> Block:
        """An accident of the laboratory's costs a block, not the experiment."""
        try:
            return self._measure(bench, side, rng)
        except Accident as error:
            return Block(void=first_line(error), cause=LABORATORY)


def attempts(store: Store, key: dict[str, Any]) -> Iterator[int]:
    """The numbers of the attempts that are left to a block, counted on over all sessions of a run.

    A new session brings new luck with the machine. It does not forgive a server that failed: who resumes often enough
    would get the one attempt that goes well.
    """
    before = store.matching(**key)
    failed = sum(record.get("cause") in (IDENTITY, FAILED) for record in before)
    for number in range(1, ATTEMPTS + 1):
        if failed == ATTEMPTS:
            return
        yield len(before) + number
        failed += store.records[-1]["cause"] in (IDENTITY, FAILED)


def void_reason(found: Block, steal: float, rules: Rules) -> tuple[str, str]:
    """Which kind of reason a block has not to count, and the reason; both empty when it counts.

    Stolen time can make a request late, and so fail; it cannot make a request vanish.
    """
    if found.mismatch:
        return IDENTITY, (f"identity: the requests of the server's journal and those of the clients differ by "
                          f"{found.mismatch:+d}")
    if steal > rules.steal_limit:
        return STEAL, (f"steal: {steal * 100:.1f} % of the CPU time was stolen, {rules.steal_limit * 100:.1f} % is the "
                       "limit")
    return (found.cause or LABORATORY, found.void) if found.void else ("", "")


def bench_for(bench: Bench, experiment: Experiment, side: Side) -> Bench:
    """The bench with the side's load; pinned: wrk on one half of the CPUs, the server on the other."""
    halves = host.halves() if experiment.pin else None
    wrk_cpus, server_cpus = halves or (None, None)
    return replace(bench, connections=side.connections, duration_s=side.duration_s, warmup_s=side.warmup_s,
                   wrk_cpus=wrk_cpus, server_cpus=server_cpus)
