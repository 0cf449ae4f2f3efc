"""Evidence held against the list of claims."""

import os.path
from dataclasses import dataclass
from typing import Mapping, Sequence

from twinlab.base import stats
from twinlab.claims import evidence, verdict
from twinlab.claims.catalog import EXPERIMENT, FIELD, Claim, Finding
from twinlab.claims.evidence import Series, Source
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

    @property
    def is_measured(self) -> bool:
        return self.verdict.word != verdict.NOT_MEASURED


def apart(judged: Sequence[JudgedClaim]) -> tuple[list[JudgedClaim], list[JudgedClaim]]:
    """Those with a verdict, and those that wait for their measurement."""
    return [each for each in judged if each.is_measured], [each for each in judged if not each.is_measured]


def judge(claims: Sequence[Claim], sources: Mapping[str, Source],
          open_word: str = verdict.NOT_MEASURED) -> list[JudgedClaim]:
    """All verdicts, each checked against its own data. open_word: what a claim has instead that waits."""
    return [_judge_claim(claim, sources, open_word) for claim in claims]


def _judge_claim(claim: Claim, sources: Mapping[str, Source], open_word: str) -> JudgedClaim:
    if claim.still_open:
        return JudgedClaim(claim, (), Verdict(open_word, claim.still_open))
    findings = tuple(judge_finding(finding, sources.get(finding.source)) for finding in claim.findings)
    answer = verdict.decide(findings)
    verdict.check(answer, findings)
    return JudgedClaim(claim, findings, answer)


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
        return Judged(finding.role, finding.says, where, None, None, None, verdict.decide_fact(0, 0, problem),
                      problem=problem)
    interval = None
    if seen.of:
        interval = Interval(seen.observed / seen.of, *stats.wilson(seen.observed, seen.of), seen.of)
    outcome = verdict.decide_fact(seen.observed, seen.of, source.problem, finding.role)
    return Judged(finding.role, finding.says, where, None, None, interval, outcome, seen.detail, source.problem)


def _judge_figure(finding: Finding, source: Source) -> Judged:
    assert finding.ratio and finding.expect and finding.margin
    series = source.series.get(finding.key)
    where = f"{finding.source} {finding.key} {'/'.join(finding.ratio)}"
    interval = ratio_of(series, *finding.ratio) if series else None
    problem = source.problem or _problem(series, finding, source.least_pairs)
    outcome = verdict.decide_figure(interval, finding.expect, finding.margin, problem, source.least_pairs)
    # The field's tools are a second opinion: where they are not installed, the claim is judged without it.
    skipped = finding.kind == FIELD and series is not None and bool(series.unavailable)
    return Judged(finding.role, finding.says, where, finding.expect, finding.margin, interval, outcome,
                  detail_of(series, finding.ratio), problem, source.least_pairs, skipped)


def _problem(series: Series | None, finding: Finding, least: int) -> str:
    """Why a figure cannot be used: it is not there, or the same thing twice already differs by the margin."""
    assert finding.ratio and finding.margin
    if series is None:
        return "this figure is not among what was measured"
    missing = [name for name in finding.ratio if name not in series.runs]
    if missing:
        return series.unavailable or f"nothing was measured for {', '.join(missing)}"
    return zeros(series, *finding.ratio) or _control_problem(series, finding.ratio, finding.margin, least)


def _control_problem(series: Series, ratio: tuple[str, str], margin: float, least: int) -> str:
    name = control_for(series, ratio)
    if not name:
        return ""
    side = series.controls[name]
    why = zeros(series, name, side)
    control = ratio_of(series, name, side)
    if why:
        return f"the A/A control: {why}"
    if control is None:
        return "the A/A control was not measured"
    if control.n < least:
        return f"the A/A control was not measured often enough: {control.n} of at least {least} pairs"
    if verdict.zone(control, margin) != verdict.WITHIN:
        return (f"the A/A control is outside the margin of {margin:g}: the same thing twice ({side}) gave "
                f"{control.low:.3f}-{control.high:.3f}")
    return ""


def control_for(series: Series, ratio: tuple[str, str]) -> str:
    """The control that vouches for a figure: of a side that it compares, else of the side named most like one."""

    def likeness(name: str) -> tuple[bool, int]:
        side = series.controls[name]
        return side in ratio, max(len(os.path.commonprefix([side, other])) for other in ratio)

    return max(series.controls, key=likeness, default="")


def _pairs(series: Series, figure: str, base: str) -> list[tuple[float, float]]:
    """What was measured of both in the same round, with the series' floor added to each."""
    over, under = series.runs.get(figure, {}), series.runs.get(base, {})
    return [(over[number] + series.floor, under[number] + series.floor) for number in sorted(over) if number in under]


def zeros(series: Series, figure: str, base: str) -> str:
    """Why two variants have no ratio. To leave such pairs out would favour the side that had the zero."""
    pairs = _pairs(series, figure, base)
    having = sum(min(pair) <= 0 for pair in pairs)
    return f"{having} of {len(pairs)} pairs have a zero: a ratio cannot say it" if having else ""


def ratio_of(series: Series, figure: str, base: str) -> Interval | None:
    """The ratio over pairs of the same number; none if any of them has a zero, of which there is no logarithm."""
    pairs = _pairs(series, figure, base)
    if zeros(series, figure, base):
        return None
    found = stats.paired_ratio([over for over, _ in pairs], [under for _, under in pairs])
    return Interval(found.value, found.low, found.high, len(pairs)) if found else None


def detail_of(series: Series | None, ratio: tuple[str, str]) -> str:
    """The medians behind a ratio, with their unit."""
    if series is None:
        return ""
    medians = [(name, stats.median_or_none(list(series.runs.get(name, {}).values()))) for name in ratio]
    floor = [f"each value plus {series.floor:.3g}, half a request of each connection"] if series.floor else []
    return ", ".join([f"{name} {_four_digits(value)} {series.unit}".rstrip() for name, value in medians
                      if value is not None] + floor)


def _four_digits(value: float) -> str:
    """At least four, and never an exponent for what is large."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
