"""What `lab peers` prints: who took part, a table for each workload, the control, and the targets."""

from typing import Any, Sequence

from twinlab.base import judged, table
from twinlab.base.interval import Estimate
from twinlab.commands import peers_contenders, peers_targets
from twinlab.commands.peers_contenders import Contender
from twinlab.commands.peers_targets import CPU, FIGURE_NAMES, P99, PSS, RATE, PeersSummary, Verdict
from twinlab.servers import packaged
from twinlab.servers.workloads import Workload

HEADER = ("", "requests/s", "p50 ms", "p99 ms", "CPU s/100k", "x floor", "95 %", "x best peer", "95 %", "PSS KiB",
          "errors")
LEGEND = """\
CPU s/100k: seconds of CPU time, user and system, that all processes of a server used for 100,000 requests.
x floor, x best peer: that, as a multiple; medians of the ratios within each round. 95 %: where they lie (6 rounds or
more). PSS: memory of all processes under load, after the timed window. p50, p99: wrk's own figures. errors: wrk's, of
all kinds, answers of 400 and above too; "!": errors, or processes that ended during a run. The floor never logs."""
JUDGEMENT_HEADER = ("Targets", "prefork", "95 %", "limit", "", "threadpool", "95 %", "limit", "")
JUDGEMENT_LEGEND = """\
Multiples of the figure of whoever stands behind "/". Met or missed: the whole interval is."""


def cast(summary: PeersSummary, versions: dict[str, Any]) -> list[str]:
    """Who took part, and in what shape."""
    return [f"  {contender.label}{_version(contender, versions)}: {contender.shape}" for contender in summary.models]


def _version(contender: Contender, versions: dict[str, Any]) -> str:
    package = packaged.PACKAGES.get(contender.key)
    return f" ({package.package} {versions.get(package.package)})" if package else ""


def tables(summary: PeersSummary) -> list[str]:
    """One section per workload, one line per server."""
    rows: list[list[str] | str] = []
    for workload in summary.workloads:
        best = peers_targets.best_peer(summary, workload.key, CPU)
        rows.append(workload.label + (f" (best peer: {best})" if best else ""))
        rows += [_row(summary, contender.key, workload.key, best) for contender in summary.models
                 if summary.runs(contender.key, workload.key)]
    return table.render(HEADER, rows)


def _row(summary: PeersSummary, key: str, workload: str, best: str | None) -> list[str]:
    runs = summary.runs(key, workload)
    errors = sum(run.errors for run in runs)
    cpu_us = summary.median(key, workload, CPU)
    return [
        "  " + summary.label(key) + (" !" if errors or any(run.deaths for run in runs) else ""),
        table.count(summary.median(key, workload, RATE)),
        table.ms_from_us(summary.median(key, workload, "p50_us")),
        table.ms_from_us(summary.median(key, workload, P99)),
        table.MISSING if cpu_us is None else f"{cpu_us / 10:.3f}",
        *_ratio_cells(peers_targets.ratio_to(summary, workload, key, CPU, peers_contenders.FLOOR)),
        *_ratio_cells(peers_targets.ratio_to(summary, workload, key, CPU, best) if best else None),
        table.count(summary.median(key, workload, PSS)),
        table.count(errors),
    ]


def _ratio_cells(ratio: Estimate | None) -> list[str]:
    if ratio is None:
        return [table.MISSING, table.MISSING]
    return [table.number(ratio.value), "-".join(map(table.number, ratio.interval or ())) or table.MISSING]


def control(summary: PeersSummary) -> str:
    """How far a server lies from itself: differences of that size mean nothing."""
    found = []
    for figure in (CPU, RATE, P99):
        ratios = [peers_targets.ratio_to(summary, workload.key, peers_contenders.AGAIN, figure, "prefork")
                  for workload in summary.workloads]
        values = [ratio.value for ratio in ratios if ratio]
        if values:
            found.append(f"{FIGURE_NAMES[figure]} {min(values):.2f} to {max(values):.2f}")
    if not found:
        return "No A/A control: it takes prefork and prefork-again among the servers."
    return ("A/A control, prefork again / prefork over the workloads: " + ", ".join(found)
            + ". Smaller differences than these mean nothing.")


def judgement(verdicts: Sequence[Verdict], workloads: Sequence[Workload]) -> list[str]:
    """One line per target, the two servers side by side; what concerns a thread pool only stands in its column."""
    if not verdicts:
        return ["No target can be judged: each needs one of the project's servers and what it is compared with."]
    rows: list[list[str] | str] = []
    for workload in workloads:
        here = [verdict for verdict in verdicts if verdict.target.workload == workload.key]
        names = list(dict.fromkeys(_name(verdict) for verdict in here))
        rows += [workload.label] if names else []
        for name in names:
            pair = {verdict.target.server == "prefork": verdict for verdict in here if _name(verdict) == name}
            rows.append(["  " + name, *_verdict_cells(pair.get(True)), *_verdict_cells(pair.get(False))])
    return [*table.render(JUDGEMENT_HEADER, rows), JUDGEMENT_LEGEND, judged.tally(verdicts)]


def _name(verdict: Verdict) -> str:
    whose = "" if verdict.target.server in peers_targets.TWO else f"{verdict.label}: "
    best = "best peer " if verdict.target.base == peers_targets.BEST_PEER else ""
    return f"{whose}{FIGURE_NAMES[verdict.target.figure]} / {best}{verdict.base_key}"


def _verdict_cells(verdict: Verdict | None) -> list[str]:
    if verdict is None:
        return [""] * 4
    sign = "<=" if verdict.target.is_upper_limit else ">="
    return [*_ratio_cells(verdict.ratio), f"{sign} {verdict.target.limit:.2f}", verdict.word]
