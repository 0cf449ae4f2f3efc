"""`lab peers`: the project's servers beside nginx, lighttpd, h2o, Apache and a floor; tables, then the targets."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Sequence

from twinlab.base.errors import LabError
from twinlab.commands import compare_reading, peers_chart, peers_contenders, peers_tables, peers_targets, study
from twinlab.commands.compare import RUN_OVERHEAD_S, rotated
from twinlab.commands.peers_contenders import Contender
from twinlab.commands.peers_targets import PeersSummary
from twinlab.commands.session import Circumstances, Session
from twinlab.commands.study import Course
from twinlab.commands.summary import Summary
from twinlab.machine import host, scratch
from twinlab.runs import speed
from twinlab.runs.speed import Bench, SpeedRun
from twinlab.runs.windows import Windows
from twinlab.servers import packaged, workloads
from twinlab.servers.workloads import PeerWorkload


@dataclass(frozen=True)
class Effort(study.Effort):
    """With what one run takes."""

    @property
    def run_s(self) -> float:
        # Warmed up before the timed window, loaded again for the memory after it.
        return self.duration_s + 2 * self.warmup_s + RUN_OVERHEAD_S


# Nine rounds: their interval leaves out the lowest and the highest of them.
DEFAULT = Effort(rounds=9, duration_s=2.0, warmup_s=0.2)
QUICK = Effort(rounds=2, duration_s=1.0, warmup_s=0.1)


@dataclass(frozen=True, kw_only=True)
class Options(study.Options):
    """What the user asked for."""

    effort: Effort
    workers: int
    servers: list[str]
    workloads: list[str]
    pin: bool = False


@dataclass(frozen=True)
class Report:
    """Everything that was measured, and where and when."""

    options: Options
    summary: PeersSummary
    found: Circumstances


def run(options: Options) -> int:
    """Prepare, measure, report."""
    groups = ["load", *(["peers"] if any(key in packaged.PACKAGES for key in options.servers) else [])]
    bin_dir = study.prepare(options, *groups,
                            connections=max(workload.connections for workload in chosen_workloads(options)))
    absent = absent_peers(options)
    options = replace(options, servers=[key for key in options.servers if key not in absent])
    if not options.servers:
        raise LabError(f"none of the servers asked for is installed: {', '.join(absent)}")
    session = Session(options.output, "peers.json",
                      [f"{key} is left out: its package is not installed" for key in absent])
    versions = {name: host.package_version(name) for name in package_names()}
    summary = Summary(chosen_contenders(options), list(chosen_workloads(options)), 0)
    whole = session.conduct(lambda: measure(options, bin_dir, summary, session.windows),
                            lambda found: as_json(make_report(options, summary, versions, found)),
                            lambda found: print_report(make_report(options, summary, versions, found)))
    print(peers_chart.draw(summary, session.output / "peers.svg"))
    return 0 if whole else 1


def make_report(options: Options, summary: PeersSummary, versions: dict[str, str | None], found: Circumstances) -> Report:
    facts = found.facts | {"versions": found.facts["versions"] | versions}
    return Report(options, summary, replace(found, facts=facts,
                                            warnings=found.warnings + compare_reading.warnings(summary)))


def package_names() -> list[str]:
    return sorted({package.package for package in packaged.PACKAGES.values()})


def absent_peers(options: Options) -> list[str]:
    """Asked for, but not there even now."""
    return [key for key in options.servers if key in packaged.PACKAGES and not packaged.PACKAGES[key].is_installed()]


def chosen_workloads(options: Options) -> list[PeerWorkload]:
    return [workload for workload in workloads.PEERS if workload.key in options.workloads]


def chosen_contenders(options: Options) -> list[Contender]:
    """Those asked for, and the special ones that a workload brings along."""
    made = peers_contenders.make(options.workers, host.cpus())
    special = [key for workload in chosen_workloads(options) for key in workload.only]
    return [made[key] for key in [*options.servers, *special]]


def takes_part(contender: Contender, workload: PeerWorkload) -> bool:
    return contender.key in workload.only if workload.only else contender.key != peers_contenders.SLEEPERS


def turn_order(items: Sequence[Contender], round_number: int) -> list[Contender]:
    """Each second round runs backwards (ABBA): a drift within a pair of rounds cancels. Pairs start elsewhere."""
    order = rotated(list(items), 3 * ((round_number - 1) // 2))
    return order if round_number % 2 else order[::-1]


def measure(options: Options, bin_dir: Path, summary: PeersSummary, windows: Windows) -> None:
    """All rounds: in each, every workload, and in each of those, every server afresh."""
    effort = options.effort
    runs = [(number, workload, contender) for number in range(1, effort.rounds + 1) for workload in summary.workloads
            for contender in turn_order(summary.models, number) if takes_part(contender, workload)]
    with scratch.folder() as folder:
        bench = Bench(bin_dir, workloads.make_documents(folder / "www"), folder, 0, effort.duration_s, effort.warmup_s,
                      *placement(options))
        with Course(windows, len(runs) * effort.run_s) as course:
            for number, workload, contender in runs:
                at = replace(bench, connections=workload.connections)
                course.take(f"{contender.label}, {workload.key}, round {number}", effort.run_s,
                            partial(run_once, at, contender, workload, number), summary.speed)


def placement(options: Options) -> tuple[frozenset[int] | None, frozenset[int] | None]:
    """The CPUs of wrk and those of the servers."""
    if not options.pin:
        return None, None
    found = host.halves()
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


def print_report(report: Report) -> None:
    """The tables, the control, the targets."""
    found, effort, summary = report.found, report.options.effort, report.summary
    print(f"twinhttpd and its peers: {len(summary.models)} servers, {found.machine}, {found.facts['system']}")
    for line in peers_tables.cast(summary, found.facts["versions"]):
        print(line)
    where = "wrk and the servers on CPUs of their own; " if report.options.pin else ""
    print(f"Median of {effort.rounds} rounds of {effort.duration_s:g} s, each with a fresh server; {where}"
          f"{found.span}\n")
    for line in peers_tables.tables(summary):
        print(line)
    print(peers_tables.LEGEND)
    print("\n" + peers_tables.control(summary) + "\n")
    for line in peers_tables.judgement(peers_targets.judge(summary), summary.workloads):
        print(line)
    for warning in found.warnings:
        print(f"! {warning}")


def as_json(report: Report) -> dict[str, Any]:
    """Everything that was measured and decided, raw."""
    options, summary = report.options, report.summary
    return report.found.as_dict("peers") | {
        "settings": options.effort.as_dict() | {"workers": options.workers, "pin": options.pin},
        "servers": {contender.key: contender.shape for contender in summary.models},
        "workloads": {workload.key: workload.label for workload in summary.workloads},
        "runs": [run.as_dict() for run in summary.speed],
        "targets": [verdict.as_dict() for verdict in peers_targets.judge(summary)],
    }
