"""Evidence held against the list of claims."""

from dataclasses import dataclass
from typing import Mapping, Sequence

from twinlab import stats
from twinlab.claims import evidence, verdict
from twinlab.claims.catalog import EXPERIMENT, Claim, Finding
from twinlab.claims.evidence import Series, Source
from twinlab.claims.experiment import CONTROL
from twinlab.claims.verdict import Interval, Judged, Verdict


@dataclass(frozen=True)
class JudgedClaim:
    """A claim with its verdict, and the findings that it rests on."""

    claim: Claim
    findings: tuple[Judged, ...]
    verdict: Verdict

    @property
    def leading(self) -> Judged | None:
        """The finding that stands for the claim in tables."""
        return verdict.leading(self.verdict, self.findings)



def judge(claims: Sequence[Claim], sources: Mapping[str, Source]) -> list[JudgedClaim]:
    """All verdicts, each checked against its own data."""
    judged = []
    for claim in claims:
        findings = tuple(judge_finding(finding, sources.get(finding.source)) for finding in claim.findings)
        answer = verdict.decide(findings, claim.still_open)
        verdict.check(answer, findings, claim.still_open)
        judged.append(JudgedClaim(claim, findings, answer))
    return judged


def judge_finding(finding: Finding, source: Source | None) -> Judged:
    if source is None:
        source = Source(problem="it has not been run")
    return _judge_fact(finding, source) if finding.ratio is None else _judge_figure(finding, source)


def _judge_fact(finding: Finding, source: Source) -> Judged:
    seen = (evidence.fact_of_side(source, finding.key, finding.side) if finding.kind == EXPERIMENT
            else source.facts.get(finding.key))
    where = f"{finding.source} {finding.key}" + (f" on {finding.side}" if finding.side else "")
    if seen is None or seen.unavailable:
        problem = source.problem or (seen.unavailable if seen else "this fact is not among what was observed")
        return Judged(finding.role, finding.says, where, None, None, None, verdict.decide_fact(0, 0, problem))
    interval = None
    if seen.of:
        interval = Interval(seen.observed / seen.of, *stats.wilson(seen.observed, seen.of), seen.of)
    outcome = verdict.decide_fact(seen.observed, seen.of, source.problem)
    return Judged(finding.role, finding.says, where, None, None, interval, outcome, seen.detail)


def _judge_figure(finding: Finding, source: Source) -> Judged:
    assert finding.ratio and finding.expect and finding.margin
    series = source.series.get(finding.key)
    where = f"{finding.source} {finding.key} {'/'.join(finding.ratio)}"
    interval = ratio_of(series, *finding.ratio) if series else None
    problem = source.problem or _problem(series, finding)
    outcome = verdict.decide_figure(interval, finding.expect, finding.margin, problem)
    return Judged(finding.role, finding.says, where, finding.expect, finding.margin, interval, outcome,
                  detail_of(series, finding.ratio))


def _problem(series: Series | None, finding: Finding) -> str:
    """Why a figure cannot be used: it is not there, or the same thing twice already differs by the margin."""
    assert finding.ratio and finding.margin
    if series is None:
        return "this figure is not among what was measured"
    missing = [name for name in finding.ratio if name not in series.runs]
    if missing:
        return series.unavailable or f"nothing was measured for {', '.join(missing)}"
    control = control_ratio(series)
    if control is None and series.control_of:
        return "the A/A control was not measured"
    if control and verdict.zone(control, finding.margin) != verdict.WITHIN:
        return (f"the A/A control is outside the margin of {finding.margin:g}: the same thing twice gave "
                f"{control.low:.3f}-{control.high:.3f}")
    return ""


def control_ratio(series: Series) -> Interval | None:
    """The control against what it repeats: the noise that every other figure of the series has, too."""
    return ratio_of(series, CONTROL, series.control_of) if series.control_of else None


def ratio_of(series: Series, figure: str, base: str) -> Interval | None:
    """Pairs of the same number in which both values are above zero (a logarithm needs that)."""
    over, under = series.runs.get(figure, {}), series.runs.get(base, {})
    numbers = [number for number in sorted(over) if over[number] > 0 and under.get(number, 0) > 0]
    found = stats.paired_ratio([over[number] for number in numbers], [under[number] for number in numbers])
    return Interval(found.value, found.low, found.high, len(numbers)) if found else None


def detail_of(series: Series | None, ratio: tuple[str, str]) -> str:
    """The medians behind a ratio, with their unit."""
    if series is None:
        return ""
    medians = [(name, stats.median_or_none(list(series.runs.get(name, {}).values()))) for name in ratio]
    return ", ".join(f"{name} {value:.4g} {series.unit}".rstrip() for name, value in medians if value is not None)
