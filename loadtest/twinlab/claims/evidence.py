"""The stored lines of a run as series of figures, and facts: one form for experiments, micro programs and demos."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Iterable, Mapping

from twinlab.claims.experiment import CONTROL, controls
from twinlab.claims.verdict import FULL_PAIRS, MIN_PAIRS


@dataclass
class Series:
    """One figure of several variants; values of the same number belong together.

    controls: each A/A control with the variant that it repeats; floor: added to each value before ratios are taken;
    parameters: what else a program tells of the series.
    """

    unit: str = ""
    runs: dict[str, dict[int, float]] = field(default_factory=dict)
    controls: dict[str, str] = field(default_factory=dict)
    unavailable: str = ""
    floor: float = 0.0
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FactSeen:
    """How often something was observed."""

    statement: str
    observed: int
    of: int
    detail: str = ""
    unavailable: str = ""


@dataclass
class Source:
    """All that one experiment, program or demonstration has to say.

    problem: why nothing of it can be trusted; flags: what is to be known of it all the same; least_pairs: how many
    decide a figure; highest_steal_share: of all that counts.
    """

    title: str = ""
    series: dict[str, Series] = field(default_factory=dict)
    facts: dict[str, FactSeen] = field(default_factory=dict)
    problem: str = ""
    plan: dict[str, Any] = field(default_factory=dict)
    void_blocks: list[str] = field(default_factory=list)
    void_causes: Counter[str] = field(default_factory=Counter)
    highest_steal_share: float | None = None
    flags: list[str] = field(default_factory=list)
    least_pairs: int = MIN_PAIRS
    versions: dict[str, str] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)


UNITS = {"requests_per_s": "1/s", "p50_us": "µs", "p90_us": "µs", "p99_us": "µs", "cpu_us_per_request": "µs",
         "pss_kib": "KiB", "uss_kib": "KiB", "rss_sum_kib": "KiB", "page_tables_kib": "KiB",
         "recovery_ms": "ms", "silence_ms": "ms"}
# Shares of the connections, of which none is a result like any other. A ratio needs something above zero: half a
# request, as a share of the connections, is added to each value.
SHARES_OF_CONNECTIONS = ("lost_share",)
HALF_A_REQUEST = 0.5

STEAL, IDENTITY, FAILED, LABORATORY = "steal", "identity", "failed", "laboratory"  # what voids a block


def collect(records: Iterable[Mapping[str, Any]]) -> dict[str, Source]:
    """Every source by name: `experiment:plaintext`, `micro:create`, `demo:layout`."""
    sources: dict[str, Source] = {}
    records = list(records)
    for record in records:
        kind = record["kind"]
        if kind == "plan":
            source = sources.setdefault(f"experiment:{record['experiment']}", Source())
            source.title, source.plan = record["title"], dict(record)
            source.least_pairs = FULL_PAIRS if record.get("rounds", 0) >= FULL_PAIRS else MIN_PAIRS
        elif kind == "block":
            _add_block(sources.setdefault(f"experiment:{record['experiment']}", Source()), record)
        elif kind == "problem":
            sources.setdefault(record["source"], Source()).problem = record["problem"]
        else:
            _add_output(sources.setdefault(f"{kind}:{record['name']}", Source()), record)
    for source in sources.values():
        _look_at_losses(source, records)
    return sources


def _note_void(source: Source, record: Mapping[str, Any], words: str) -> None:
    source.void_blocks.append(words)
    source.void_causes[cause_of(record)] += 1


def cause_of(record: Mapping[str, Any]) -> str:
    """Why a block is void; runs of older versions say it by the beginning of the reason."""
    if "cause" in record:
        return record["cause"]
    begins = record["void"].partition(":")[0]
    return begins if begins in (STEAL, IDENTITY) else LABORATORY


def _note_steal(source: Source, record: Mapping[str, Any]) -> None:
    share = record.get("steal_share")
    if share is not None:
        source.highest_steal_share = max(share, source.highest_steal_share or 0.0)


def _add_block(source: Source, record: Mapping[str, Any]) -> None:
    if record["void"]:
        _note_void(source, record, f"{record['side']}, round {record['round']}, attempt {record['attempt']}: "
                                   f"{record['void']}")
        return
    _note_steal(source, record)
    source.problem = ""  # of an earlier attempt: the run was resumed since
    for metric, value in record["metrics"].items():
        series = source.series.setdefault(metric, Series(
            UNITS.get(metric, ""), controls=controls(source.plan.get("control_of", "")),
            floor=_floor(metric, source.plan)))
        series.runs.setdefault(record["side"], {})[record["round"]] = value


def _floor(metric: str, plan: Mapping[str, Any]) -> float:
    """What is added to each value of a metric of which zero is a result."""
    connections = [side["connections"] for side in plan.get("sides", {}).values()]
    return HALF_A_REQUEST / min(connections) if metric in SHARES_OF_CONNECTIONS and connections else 0.0


def _look_at_losses(source: Source, records: Iterable[Mapping[str, Any]]) -> None:
    """Requests that are lost unseen spoil an experiment, even if an attempt succeeded later, or fail each time."""
    name = source.plan.get("experiment")
    blocks = [record for record in records if record["kind"] == "block" and record["experiment"] == name]
    attempts: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for record in blocks:
        attempts.setdefault((record["side"], record["round"]), []).append(record)
    missing = [tried for tried in attempts.values() if all(record["void"] for record in tried)]
    wrong = [record for record in blocks if record["mismatch"]]
    never = [record for tried in missing for record in tried if record["mismatch"]]
    # Runs of older versions do not tell the cause: of theirs, what never succeeded is the problem.
    counted = [record for record in wrong if "cause" in record]
    found = [_mismatch_words(never, "and each repetition failed too") if never else "",
             _mismatch_words(counted, f"and so it was in {len(counted)} blocks") if len(counted) > 1 else "",
             *(_failed_words(tried) for tried in missing)]
    source.problem = source.problem or next(filter(None, found), "")
    if len(counted) == 1 and not never:
        source.flags.append(_mismatch_words(counted, "once, and not when it was repeated"))


def _mismatch_words(blocks: list[Mapping[str, Any]], how_often: str) -> str:
    worst = max(blocks, key=lambda record: abs(record["mismatch"]))
    return (f"the identity check fails: journal minus clients is {worst['mismatch']:+d} lost requests for "
            f"{worst['side']} in round {worst['round']}, {how_often}")


def _failed_words(tried: list[Mapping[str, Any]]) -> str:
    """Of a block that never succeeded; nothing if that was no fault of the server."""
    failed = [record for record in tried if cause_of(record) == FAILED]
    if not failed:
        return ""
    last, times = failed[-1], "each attempt" if len(failed) == len(tried) else f"{len(failed)} of {len(tried)} attempts"
    return f"requests failed in {times}: {last['side']}, round {last['round']}: {last['void']}"


def _add_output(source: Source, record: Mapping[str, Any]) -> None:
    if record["void"]:
        _note_void(source, record, record["void"])
        source.problem = f"void: {record['void']}"
        return
    _note_steal(source, record)
    source.problem = ""
    # Without the word, it is of an older version, whose programs all gave 20 values in full.
    source.least_pairs = MIN_PAIRS if record.get("quick", True) else FULL_PAIRS
    output = record["output"]
    source.title = output.get("title") or output.get("micro", "")
    source.shown = output.get("shown", [])
    source.versions = output.get("versions", {})
    for entry in output.get("series", ()):
        runs = {variant: dict(enumerate(values, start=1)) for variant, values in entry.get("runs", {}).items()}
        first = next((variant for variant in runs if variant != CONTROL), "")
        source.series[entry["key"]] = Series(entry.get("unit", ""), runs, controls(first if CONTROL in runs else ""),
                                             _why_not(entry), parameters=entry.get("parameters", {}))
    for entry in output.get("facts", ()):
        of = int(entry.get("of", 0))
        why = _why_not(entry) or ("" if of else entry.get("detail") or "it could not be observed here")
        source.facts[entry["key"]] = FactSeen(entry.get("statement", ""), int(entry.get("observed", 0)), of,
                                              entry.get("detail", ""), why)


def _why_not(entry: Mapping[str, Any]) -> str:
    """A series, or single variants of it, that this machine does not have."""
    missing = entry.get("unavailable_variants") or {}
    return str(entry.get("unavailable") or "; ".join(f"{name}: {why}" for name, why in missing.items()
                                                     if not entry.get("runs")))


def fact_of_side(source: Source, metric: str, side: str) -> FactSeen | None:
    """What an experiment observed on one side: a metric that is 0 or 1 in every block."""
    series = source.series.get(metric)
    if series is None or side not in series.runs:
        return None
    values = list(series.runs[side].values())
    return FactSeen(f"{metric} on {side}", sum(value > 0 for value in values), len(values))
