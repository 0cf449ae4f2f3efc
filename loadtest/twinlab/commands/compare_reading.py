"""Plain sentences about a comparison. Every number and every verdict in them comes from the figures of this run."""

from statistics import median
from typing import Sequence

from twinlab.base import stats
from twinlab.base.table import number
from twinlab.commands.summary import Summary, crash_figure
from twinlab.servers.workloads import Workload

CAVEAT = ("wrk shares the CPUs with the server: requests/s shows the pair of them, and CPU per request compares "
          "the servers better.")


def sentences(summary: Summary) -> list[str]:
    """All sentences that this run has the figures for."""
    keys = [model.key for model in summary.models]
    found: list[str | None] = []
    for a, b, figure, name in PAIRS:
        if a in keys and b in keys:
            found.append(pair_sentence(summary, a, b, figure, name))
    found.append(memory_sentence(summary))
    found.append(blast_sentence(summary))
    found.append(silence_sentence(summary))
    found.append(balance_sentence(summary))
    return [sentence for sentence in found if sentence] + [CAVEAT]


# Which model is held against which, by which figure.
PAIRS = (
    ("prefork", "threadpool", "requests_per_s", "requests/s"),
    ("prefork", "threadpool", "cpu_us_per_request", "CPU per request"),
)


def pair_sentence(summary: Summary, a: str, b: str, figure: str, name: str) -> str | None:
    """How b compares with a in one figure, over all workloads: what is beyond the noise, then what is not."""
    beyond, within = [], []
    for workload in summary.workloads:
        found = stats.difference(summary.values(a, workload.key, figure), summary.values(b, workload.key, figure))
        if found is None:
            continue
        if found.is_real:
            word = "more" if found.relative > 0 else "less"
            beyond.append(f"{abs(found.relative) * 100:.0f} % {word} for {_short(workload)}")
        else:
            within.append(_short(workload))
    if not beyond and not within:
        return None
    parts = [", ".join(beyond)] if beyond else []
    if within:
        parts.append("no difference beyond the noise for " + ", ".join(within))
    return f"{name}, {summary.label(b)} against {summary.label(a)}: {'; '.join(parts)}."


def _short(workload: Workload) -> str:
    return workload.label.partition(" (")[0]


def memory_sentence(summary: Summary) -> str | None:
    """PSS under the first workload."""
    if not summary.workloads:
        return None
    first = summary.workloads[0]
    found = [(model.label, summary.median(model.key, first.key, "pss_kib")) for model in summary.models]
    listed = [f"{label} {value:,.0f} KiB" for label, value in found if value is not None]
    return f"Memory under {_short(first)}: {', '.join(listed)}." if listed else None


def blast_sentence(summary: Summary) -> str | None:
    """What one crash cost, side by side."""
    listed = []
    for model in summary.models:
        rounds = [crash_round for crash_round in summary.crashes if crash_round.model == model.key]
        lost = [value for crash_round in rounds for value in crash_figure(crash_round, "lost")]
        if lost:
            listed.append(f"{model.label} {_range(lost)} of {summary.connections}")
    return f"One crash cost, of the requests that wrk had open: {', '.join(listed)}." if listed else None


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"


def silence_sentence(summary: Summary) -> str | None:
    """The longest time without an answer after a crash, worst of each model, beside the calm before."""
    worst: dict[str, float] = {}
    calm: list[float] = []
    for crash_round in summary.crashes:
        silences = crash_figure(crash_round, "silence_ms")
        calm += crash_figure(crash_round, "calm_silence_ms")
        if silences:
            worst[crash_round.model] = max(silences + [worst.get(crash_round.model, 0.0)])
    if not worst or not calm:
        return None
    listed = ", ".join(f"{summary.label(key)} {number(value)} ms" for key, value in worst.items())
    return (f"Longest time without any answer after a crash: {listed}; in the calm before, the median was "
            f"{number(median(calm))} ms, the worst {number(max(calm))} ms.")


def balance_sentence(summary: Summary) -> str | None:
    """Do wrk and the servers tell the same story?"""
    if not summary.crashes:
        return None
    total = summary.balance()
    wrong = [crash_round for crash_round in summary.crashes if crash_round.balance.mismatch]
    if not wrong:
        return (f"wrk's {total.wrk_cut} errors and the servers' journals agree in all {len(summary.crashes)} crash "
                f"rounds; {total.lab_lost} more lost requests were the lab's own.")
    listed = ", ".join(f"{summary.label(found.model)} {found.fault} {found.balance.mismatch:+d}" for found in wrong)
    return (f"MISMATCH between wrk's errors and the servers' journals (journal minus wrk): {listed}, of "
            f"{total.wrk_cut} errors in all; do not trust the lost requests of these rounds to the last digit.")


def warnings(summary: Summary) -> list[str]:
    """What went wrong in single rounds: it spoils figures, so it must not hide in the JSON file."""
    found = []
    for run in summary.speed:
        where = f"{summary.label(run.model)}, {run.workload}, round {run.round}"
        if run.deaths:
            found.append(f"{where}: {run.deaths} workers died without being asked to")
        if run.errors:
            kinds = ", ".join(f"{count} {kind}" for kind, count in run.wrk["errors"].items() if count)
            found.append(f"{where}: wrk reports errors: {kinds}")
        if run.leftovers:
            found.append(f"{where}: {run.leftovers} processes outlived their server and were killed")
    for crash_round in summary.crashes:
        where = f"{summary.label(crash_round.model)}, {crash_round.fault}"
        found += [f"{where}: {note}" for note in crash_round.notes]
        if crash_round.unexpected_deaths:
            found.append(f"{where}: {crash_round.unexpected_deaths} deaths more than were caused")
        other = {kind: crash_round.wrk["errors"][kind] for kind in ("connect", "timeout", "status")}
        if any(other.values()):
            found.append(f"{where}: wrk also reports " + ", ".join(f"{n} {kind}" for kind, n in other.items() if n))
    return found
