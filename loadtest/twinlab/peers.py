"""`lab peers`: the project's servers beside nginx, lighttpd, h2o, Apache and a floor; tables, then the targets."""

import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Sequence

from twinlab import (chart, contenders, machine, packaged, peers_report, reading, results, setup, speed, targets,
                     workloads)
from twinlab.compare import RUN_OVERHEAD_S, rotated
from twinlab.contenders import Contender
from twinlab.errors import LabError
from twinlab.progress import Progress
from twinlab.speed import Bench, SpeedRun
from twinlab.summary import Summary
from twinlab.workloads import PeerWorkload


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int
    duration_s: float
    warmup_s: float

    @property
    def run_s(self) -> float:
        # Warmed up before the timed window, loaded again for the memory after it.
        return self.duration_s + 2 * self.warmup_s + RUN_OVERHEAD_S


DEFAULT = Effort(rounds=5, duration_s=3.0, warmup_s=0.2)
QUICK = Effort(rounds=2, duration_s=1.0, warmup_s=0.1)


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    effort: Effort
    workers: int
    servers: list[str]
    workloads: list[str]
    output: Path | None
    bin_dir: Path | None
    pin: bool


@dataclass(frozen=True)
class Session:
    """Everything that was measured, and where and when."""

    options: Options
    summary: Summary
    facts: dict[str, Any]
    warnings: list[str]
    took_s: float


def run(options: Options) -> int:
    """Prepare, measure, report."""
    setup.install_packages("build", "load", *(["peers"] if any(key in packaged.PACKAGES for key in options.servers) else []))
    setup.raise_descriptor_limit(max(workload.connections for workload in chosen_workloads(options)))
    absent = absent_peers(options)
    options = replace(options, servers=[key for key in options.servers if key not in absent])
    if not options.servers:
        raise LabError(f"none of the servers asked for is installed: {', '.join(absent)}")
    bin_dir = options.bin_dir or setup.build()
    output = results.prepare(options.output or results.default_dir(setup.PROJECT))
    warnings = machine.warnings() + [f"{key} is left out: its package is not installed" for key in absent]
    for warning in warnings:
        print(f"lab: warning: {warning}", file=sys.stderr)
    began_s, clock, facts = time.monotonic(), machine.CpuClock.read(), machine.facts(setup.PROJECT)
    facts["versions"] |= {name: machine.package_version(name) for name in package_names()}
    summary = measure(options, bin_dir)
    facts["steal_share"] = machine.CpuClock.read().steal_share_since(clock)
    session = Session(options, summary, facts, warnings + reading.warnings(summary), time.monotonic() - began_s)
    path = results.write(output, "peers.json", as_json(session))
    print_report(session)
    print(f"\nEvery round, and the facts of this machine: {path}")
    print(chart.draw(summary, output / "peers.svg"))
    return 0


def package_names() -> list[str]:
    return sorted({package.package for package in packaged.PACKAGES.values()})


def absent_peers(options: Options) -> list[str]:
    """Asked for, but not there even now."""
    return [key for key in options.servers if key in packaged.PACKAGES and not packaged.PACKAGES[key].is_installed()]


def chosen_workloads(options: Options) -> list[PeerWorkload]:
    return [workload for workload in workloads.PEERS if workload.key in options.workloads]


def chosen_contenders(options: Options) -> list[Contender]:
    """Those asked for, and the special ones that a workload brings along."""
    made = contenders.make(options.workers, machine.cpus())
    special = [key for workload in chosen_workloads(options) for key in workload.only]
    return [made[key] for key in [*options.servers, *special]]


def takes_part(contender: Contender, workload: PeerWorkload) -> bool:
    return contender.key in workload.only if workload.only else contender.key != contenders.SLEEPERS


def turn_order(items: Sequence[Contender], round_number: int) -> list[Contender]:
    """Each second round runs backwards (ABBA): a drift within a pair of rounds cancels. Pairs start elsewhere."""
    order = rotated(list(items), 3 * ((round_number - 1) // 2))
    return order if round_number % 2 else order[::-1]


def measure(options: Options, bin_dir: Path) -> Summary:
    """All rounds: in each, every workload, and in each of those, every server afresh."""
    chosen = chosen_contenders(options)
    summary: Summary = Summary(chosen, list(chosen_workloads(options)), 0)
    effort = options.effort
    runs = [(number, workload, contender) for number in range(1, effort.rounds + 1) for workload in summary.workloads
            for contender in turn_order(chosen, number) if takes_part(contender, workload)]
    progress = Progress(len(runs) * effort.run_s)
    with tempfile.TemporaryDirectory(prefix="twinlab-") as scratch:
        Path(scratch).chmod(0o755)
        root = Path(scratch) / "www"
        workloads.make_documents(root)
        bench = Bench(bin_dir, root, Path(scratch), 0, effort.duration_s, effort.warmup_s, *placement(options))
        try:
            for number, workload, contender in runs:
                progress.step(f"round {number} of {effort.rounds}: {contender.label}, {workload.label}")
                summary.speed.append(run_once(replace(bench, connections=workload.connections), contender, workload,
                                              number))
                progress.done(effort.run_s)
        finally:
            progress.clear()
    return summary


def placement(options: Options) -> tuple[frozenset[int] | None, frozenset[int] | None]:
    """The CPUs of wrk and those of the servers."""
    if not options.pin:
        return None, None
    found = machine.halves()
    if found is None:
        raise LabError("--pin needs two CPUs at least, one for wrk and one for the servers")
    return found


def run_once(bench: Bench, contender: Contender, workload: PeerWorkload, round_number: int) -> SpeedRun:
    """Start, check, warm up, measure, read the memory under load, stop."""
    with contender.running(bench, workload) as server:
        server.check(workload.path, workload.body_bytes)
        speed.warm_up(bench, server, workload)
        timed = speed.measure(bench, server, workload)
        # CPU time that went with a process that ended is not in the sum: such a run has to be marked.
        deaths = len(set(timed.pids) - set(server.pids()))
        pss_kib = speed.memory_under_load(bench, server, workload)
    # How tidily somebody else's server ends is not the question here (h2o's crash handler ends a moment after it).
    leftovers = 0 if contender.is_peer else len(server.leftovers)
    return speed.make_run(round_number, contender.key, workload, timed, pss_kib, deaths, leftovers)


def print_report(session: Session) -> None:
    """The tables, the control, the targets."""
    facts, effort, summary = session.facts, session.options.effort, session.summary
    print(f"twinhttpd and its peers: {len(summary.models)} servers, {facts['cpus_allowed']} CPUs "
          f"({facts['cpu_model']}), Linux {facts['kernel']}, {facts['system']}")
    for line in peers_report.cast(summary, facts["versions"]):
        print(line)
    where = "wrk and the servers on CPUs of their own; " if session.options.pin else ""
    print(f"Median of {effort.rounds} rounds of {effort.duration_s:g} s, each with a fresh server; {where}"
          f"{session.took_s:.0f} s in all, {facts['steal_share'] * 100:.1f} % of CPU time stolen\n")
    for line in peers_report.tables(summary):
        print(line)
    print(peers_report.LEGEND)
    print("\n" + peers_report.control(summary) + "\n")
    for line in peers_report.judgement(targets.judge(summary), summary.workloads):
        print(line)
    for warning in session.warnings:
        print(f"! {warning}")


def as_json(session: Session) -> dict[str, Any]:
    """Everything that was measured and decided, raw."""
    options, summary = session.options, session.summary
    return {
        "command": "peers",
        "machine": session.facts,
        "warnings": session.warnings,
        "took_s": round(session.took_s, 1),
        "settings": {"rounds": options.effort.rounds, "duration_s": options.effort.duration_s,
                     "warmup_s": options.effort.warmup_s, "workers": options.workers,
                     "pin": options.pin},
        "servers": {contender.key: contender.shape for contender in summary.models},
        "workloads": {workload.key: workload.label for workload in summary.workloads},
        "runs": [run.as_dict() for run in summary.speed],
        "targets": [verdict.as_dict() for verdict in targets.judge(summary)],
    }
