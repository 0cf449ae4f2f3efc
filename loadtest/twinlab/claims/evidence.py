"""The stored lines of a run as series of figures, and facts: one form for experiments, micro programs and demos."""

from dataclasses import dataclass, field
from typing import Any, Iterable, Mapping

from twinlab.claims.experiment import CONTROL


@dataclass
class Series:
    """One figure of several variants; values of the same number belong together."""

    unit: str = ""
    runs: dict[str, dict[int, float]] = field(default_factory=dict)
    control_of: str = ""
    unavailable: str = ""


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
    """All that one experiment, program or demonstration has to say. problem: why nothing of it can be trusted."""

    title: str = ""
    series: dict[str, Series] = field(default_factory=dict)
    facts: dict[str, FactSeen] = field(default_factory=dict)
    problem: str = ""
    plan: dict[str, Any] = field(default_factory=dict)
    void_blocks: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)


UNITS = {"requests_per_s": "1/s", "p50_us": "µs", "p99_us": "µs", "cpu_us_per_request": "µs", "pss_kib": "KiB",
         "uss_kib": "KiB", "rss_sum_kib": "KiB", "page_tables_kib": "KiB", "recovery_ms": "ms", "silence_ms": "ms"}


def collect(records: Iterable[Mapping[str, Any]]) -> dict[str, Source]:
    """Every source by name: `experiment:plaintext`, `micro:create`, `demo:layout`."""
    sources: dict[str, Source] = {}
    records = list(records)
    for record in records:
        kind = record["kind"]
        if kind == "plan":
            source = sources.setdefault(f"experiment:{record['experiment']}", Source())
            source.title, source.plan = record["title"], dict(record)
        elif kind == "block":
            _add_block(sources.setdefault(f"experiment:{record['experiment']}", Source()), record)
        elif kind == "problem":
            sources.setdefault(record["source"], Source()).problem = record["problem"]
        else:
            _add_output(sources.setdefault(f"{kind}:{record['name']}", Source()), record)
    for source in sources.values():
        _find_mismatch(source, records)
    return sources


def _add_block(source: Source, record: Mapping[str, Any]) -> None:
    if record["void"]:
        source.void_blocks.append(f"{record['side']}, round {record['round']}, attempt {record['attempt']}: "
                                  f"{record['void']}")
        return
    source.problem = ""  # of an earlier attempt: the run was resumed since
    for metric, value in record["metrics"].items():
        series = source.series.setdefault(metric, Series(UNITS.get(metric, ""),
                                                         control_of=source.plan.get("control_of", "")))
        series.runs.setdefault(record["side"], {})[record["round"]] = value


def _find_mismatch(source: Source, records: list[Mapping[str, Any]]) -> None:
    """A block that the identity check voided each time spoils its experiment: something loses requests unseen."""
    name = source.plan.get("experiment")
    blocks = [record for record in records if record["kind"] == "block" and record["experiment"] == name]
    counted = {(record["side"], record["round"]) for record in blocks if not record["void"]}
    wrong = [record for record in blocks if record["mismatch"] and (record["side"], record["round"]) not in counted]
    if wrong:
        worst = max(wrong, key=lambda record: abs(record["mismatch"]))
        source.problem = source.problem or (
            f"the identity check fails: journal minus clients is {worst['mismatch']:+d} lost requests for "
            f"{worst['side']} in round {worst['round']}, and each repetition failed too")


def _add_output(source: Source, record: Mapping[str, Any]) -> None:
    if record["void"]:
        source.void_blocks.append(record["void"])
        source.problem = f"void: {record['void']}"
        return
    source.problem = ""
    output = record["output"]
    source.title = output.get("title") or output.get("micro", "")
    source.shown = output.get("shown", [])
    for entry in output.get("series", ()):
        runs = {variant: dict(enumerate(values, start=1)) for variant, values in entry.get("runs", {}).items()}
        first = next((variant for variant in runs if variant != CONTROL), "")
        source.series[entry["key"]] = Series(entry.get("unit", ""), runs, first if CONTROL in runs else "",
                                             _why_not(entry))
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
