"""Plain sentences about a comparison. Every number and every verdict in them comes from the figures of this run."""

from statistics import median
from typing import Sequence

from twinlab.base import stats
from twinlab.base.table import number
from twinlab.commands.summary import Summary, crash_figure, crash_values
from twinlab.runs.crash import ADOPT, CUT, FAULTS, ON_DEATH, CrashRound
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
    found += [blast_sentence(summary, on_death) for on_death in ON_DEATH]
    found += [stall_sentence(summary, fault) for fault in FAULTS]
    found.append(asymmetry_sentence(summary))
    found += [silence_sentence(summary, on_death) for on_death in ON_DEATH]
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


def blast_sentence(summary: Summary, on_death: str) -> str | None:
    """What one crash cost, side by side."""
    lost = _by_model(summary, summary.crash_rounds_of(on_death), "lost")
    if not lost:
        return None
    if on_death == ADOPT and not any(map(any, lost.values())):
        return "With adopt, no crash cost one of the requests that wrk had open."
    listed = ", ".join(f"{label} {_range(values)} of {summary.connections}" for label, values in lost.items())
    return f"With {on_death}, one crash cost, of the requests that wrk had open: {listed}."


def _by_model(summary: Summary, rounds: Sequence[CrashRound], figure: str) -> dict[str, list[float]]:
    """A figure of all crashes of these rounds, by the label of the model; without models that have none."""
    found = {model.label: [value for each in rounds if each.model == model.key for value in crash_figure(each, figure)]
             for model in summary.models}
    return {label: values for label, values in found.items() if values}


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"


def stall_sentence(summary: Summary, fault: str) -> str | None:
    """Who waited with adopt, and for how long."""
    rounds = summary.crash_rounds_of(ADOPT, fault)
    left, listed = _by_model(summary, rounds, "left"), []
    for found in rounds:
        label, stalls = summary.label(found.model), crash_values(found, "stalls_ms")
        if label in left and stalls:
            listed.append(f"{label} {_range(left[label])} of {summary.connections}, for {number(median(stalls))} ms "
                          f"(median; worst {number(max(stalls))} ms)")
    calm = [value for found in rounds for value in crash_values(found, "calm_waits_ms")]
    before = f"; in the calm before, an answer was {number(median(calm))} ms away" if calm else ""
    return (f"With adopt, {FAULTS[fault]} stalled connections of wrk's: {'; '.join(listed)}{before}." if listed
            else None)


def asymmetry_sentence(summary: Summary) -> str | None:
    """The headline: said only if the figures of this run say it."""
    lost, left = _medians(summary, CUT, "lost"), _medians(summary, ADOPT, "left")
    labels = [label for label in lost if left.get(label) and lost[label]]
    if len(labels) < 2 or any(each.lost for each_round in summary.crash_rounds_of(ADOPT) for each in each_round.crashes):
        return None
    least, most = min(labels, key=lost.__getitem__), max(labels, key=lost.__getitem__)
    if lost[most] <= lost[least] or left[most] <= left[least]:
        return None
    return (f"What the models differ in moves from lost requests to stalled ones: with cut a crash of {most} cost "
            f"{lost[most] / lost[least]:.1f} times as many requests as one of {least}; with adopt it made "
            f"{left[most] / left[least]:.1f} times as many connections wait, and cost none.")


def _medians(summary: Summary, on_death: str, figure: str) -> dict[str, float]:
    return {label: median(values) for label, values in
            _by_model(summary, summary.crash_rounds_of(on_death), figure).items()}


def silence_sentence(summary: Summary, on_death: str) -> str | None:
    """The longest time without an answer after a crash, worst of each model, beside the calm before."""
    rounds = summary.crash_rounds_of(on_death)
    worst = {label: max(values) for label, values in _by_model(summary, rounds, "silence_ms").items()}
    calm = [value for found in rounds for value in crash_figure(found, "calm_silence_ms")]
    if not worst or not calm:
        return None
    listed = ", ".join(f"{label} {number(value)} ms" for label, value in worst.items())
    return (f"With {on_death}, longest time without any answer after a crash: {listed}; in the calm before, the median "
            f"was {number(median(calm))} ms, the worst {number(max(calm))} ms.")


def balance_sentence(summary: Summary) -> str | None:
    """Do wrk and the servers tell the same story?"""
    if not summary.crashes:
        return None
    total = summary.balance()
    wrong = [crash_round for crash_round in summary.crashes if crash_round.balance.mismatch]
    if not wrong:
        return (f"wrk's {total.wrk_cut} errors and the servers' journals agree in all {len(summary.crashes)} crash "
                f"rounds; {total.lab_lost} more lost requests were the lab's own.")
    listed = ", ".join(f"{_where(summary, found)} {found.balance.mismatch:+d}" for found in wrong)
    return (f"MISMATCH between wrk's errors and the servers' journals (journal minus wrk): {listed}, of "
            f"{total.wrk_cut} errors in all; do not trust the lost requests of these rounds to the last digit.")


def _where(summary: Summary, found: CrashRound) -> str:
    return f"{summary.label(found.model)}, {found.fault}, {found.on_death}"


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
        where = _where(summary, crash_round)
        found += [f"{where}: {note}" for note in crash_round.notes]
        if crash_round.unexpected_deaths:
            found.append(f"{where}: {abs(crash_round.unexpected_deaths)} deaths "
                         f"{'more' if crash_round.unexpected_deaths > 0 else 'fewer'} than were caused")
        other = {kind: crash_round.wrk["errors"][kind] for kind in ("connect", "timeout", "status")}
        if any(other.values()):
            found.append(f"{where}: wrk also reports " + ", ".join(f"{n} {kind}" for kind, n in other.items() if n))
    return found
