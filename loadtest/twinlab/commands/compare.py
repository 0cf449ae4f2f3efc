"""`lab compare`: every model under every workload, then every model under crashes; one table."""

import random
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from twinlab.base import stats
from twinlab.commands import compare_reading, compare_table, study
from twinlab.commands.session import Circumstances, Session
from twinlab.commands.study import Course
from twinlab.commands.summary import Summary
from twinlab.machine import host, scratch
from twinlab.runs import crash, speed
from twinlab.runs.speed import Bench
from twinlab.runs.windows import Windows
from twinlab.servers import models, workloads

# What a run costs beside its timed window: server start and stop, wrk's end.
RUN_OVERHEAD_S = 0.2
Item = TypeVar("Item")


# Connections of the client that sees who waits, beside those of wrk.
KEPT = 32


@dataclass(frozen=True)
class Effort(study.Effort):
    """With the deaths of each crash round."""

    crashes: int

    @property
    def run_s(self) -> float:
        return self.duration_s + self.warmup_s + RUN_OVERHEAD_S


DEFAULT = Effort(rounds=3, duration_s=1.5, warmup_s=0.3, crashes=3)
QUICK = Effort(rounds=2, duration_s=0.3, warmup_s=0.1, crashes=1)


@dataclass(frozen=True, kw_only=True)
class Options(study.Options):
    """What the user asked for."""

    effort: Effort
    connections: int
    models: list[str]
    seed: int


def run(options: Options) -> int:
    """Prepare, measure, report."""
    bin_dir = study.prepare(options, "load", connections=options.connections, option="--connections")
    session = Session(options.output, "compare.json")
    summary = Summary(models.choose(options.models, host.cpus()), list(workloads.ALL), options.connections)
    whole = session.conduct(lambda: measure(options, bin_dir, summary, session.windows),
                            lambda found: as_json(options, summary, found),
                            lambda found: print_report(options, summary, found))
    return 0 if whole else 1


def measure(options: Options, bin_dir: Path, summary: Summary, windows: Windows) -> None:
    """All rounds. Models take turns within a round, in an order that rotates: what drifts hits all alike."""
    effort = options.effort
    with scratch.folder() as folder:
        bench = Bench(bin_dir, workloads.make_documents(folder / "www"), folder, options.connections,
                      effort.duration_s, effort.warmup_s)
        with Course(windows, planned_s(effort, len(summary.models))) as course:
            measure_speed(bench, summary, effort, course)
            measure_crashes(bench, summary, effort, random.Random(options.seed), course)


def planned_s(effort: Effort, model_count: int) -> float:
    runs = effort.rounds * len(workloads.ALL) * model_count
    crash_rounds = model_count * len(crash.FAULTS) * len(crash.ON_DEATH)
    return runs * effort.run_s + crash_rounds * crash.planned_s(effort.crashes)


def rotated(items: list[Item], by: int) -> list[Item]:
    by %= len(items)
    return items[by:] + items[:by]


def measure_speed(bench: Bench, summary: Summary, effort: Effort, course: Course) -> None:
    turn = 0
    for round_number in range(1, effort.rounds + 1):
        for workload in summary.workloads:
            for model in rotated(summary.models, turn):
                course.take(f"{model.label}, {workload.key}, round {round_number}", effort.run_s,
                            partial(speed.run, bench, model, workload, round_number), summary.speed)
            turn += 1


def measure_crashes(bench: Bench, summary: Summary, effort: Effort, rng: random.Random, course: Course) -> None:
    for fault, model, on_death in product(crash.FAULTS, summary.models, crash.ON_DEATH):
        course.take(f"{model.label}, {fault}, {on_death}", crash.planned_s(effort.crashes),
                    partial(crash.run, bench, model, crash.Breakage(fault, on_death), effort.crashes, rng, KEPT),
                    summary.crashes)


def print_report(options: Options, summary: Summary, found: Circumstances) -> None:
    """The table, its legend, and what it says in plain words."""
    effort = options.effort
    print(f"twinhttpd: {len(summary.models)} process models, {found.machine}, wrk -c{options.connections}")
    for model in summary.models:
        print(f"  {model.label}: {model.shape}")
    print(f"Median of {effort.rounds} rounds of {effort.duration_s:g} s, each with a fresh server; {found.span}\n")
    _print_lines(compare_table.speed_lines(summary))
    print(compare_table.SPEED_LEGEND)
    print(f"\nOne worker process dies each second under wrk -c{options.connections} on {crash.PATH}, beside a client with "
          f"{KEPT} connections of its own\n")
    _print_lines(compare_table.crash_lines(summary))
    print(compare_table.CRASH_LEGEND)
    floor = stats.noise_floor(effort.rounds) * 100
    print(f"\nWhat it says (a difference counts when it exceeds the distance between the rounds, and {floor:.0f} %)")
    _print_lines(f"- {sentence}" for sentence in compare_reading.sentences(summary))
    _print_lines(f"! {warning}" for warning in found.warnings + compare_reading.warnings(summary))


def _print_lines(lines: Any) -> None:
    for line in lines:
        print(line)


def as_json(options: Options, summary: Summary, found: Circumstances) -> dict[str, Any]:
    """Everything that was measured and decided, raw."""
    return replace(found, warnings=found.warnings + compare_reading.warnings(summary)).as_dict("compare") | {
        "settings": options.effort.as_dict() | {"crashes": options.effort.crashes, "connections": options.connections,
                                                "seed": options.seed},
        "models": {model.key: [model.binary, *model.options] for model in summary.models},
        "workloads": {workload.key: workload.path for workload in summary.workloads},
        "speed": [run.as_dict() for run in summary.speed],
        "crashes": [crash_round.as_dict() for crash_round in summary.crashes],
        "reading": compare_reading.sentences(summary),
    }
