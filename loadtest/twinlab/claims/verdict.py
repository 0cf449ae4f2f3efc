"""From figures and counts to a verdict: pure functions, and the only place where anything is decided.

A finding is one piece of evidence for or against a claim, with what is expected of it and the margin stated before the
run. Its outcome comes from its interval alone; the verdict of a claim comes from the outcomes of its findings alone.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Sequence

from twinlab.base import stats

SUPPORTS, LIMITS, REFUTES = "supports", "limits", "refutes"
ROLES = (SUPPORTS, LIMITS, REFUTES)

ABOVE, BELOW, WITHIN, AT_MOST = "above", "below", "within", "at-most"
EXPECTATIONS = (ABOVE, BELOW, WITHIN, AT_MOST)

TRUE, FALSE, EQUIVALENT, UNDECIDED = "true", "false", "equivalent", "undecided"

HOLDS, WITH_LIMITS, EQUAL, IS_FALSE, UNRESOLVED = ("holds", "holds with limits", "equivalent", "false", "unresolved")
VERDICTS = (HOLDS, WITH_LIMITS, EQUAL, IS_FALSE, UNRESOLVED)
NOT_MEASURED = "not measured"  # in the place of a verdict, of a claim that waits for its measurement

MIN_PAIRS = 3  # fewer pairs, or trials of a fact, decide nothing
FULL_PAIRS = 8  # the same in full, where a bootstrap of three pairs is no 95 %
MOSTLY = 0.5  # of a limit, whose point is that it exists: seen more often than not, with 95 % confidence


@dataclass(frozen=True)
class Interval:
    """An effect and where it lies with 95 % confidence; n: the pairs or trials behind it."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Outcome:
    """What a finding came to, and why if it came to nothing."""

    word: str
    reason: str = ""


@dataclass(frozen=True)
class Judged:
    """A finding with its evidence and outcome. expect and margin are None for a fact: it is observed always or not.

    problem: why its source cannot be trusted, whatever the figure says; least: the pairs that it takes to decide it;
    skipped: it could not be had here, and the claim is judged without it.
    """

    role: str
    says: str
    source: str
    expect: str | None
    margin: float | None
    interval: Interval | None
    outcome: Outcome
    detail: str = ""
    problem: str = ""
    least: int = MIN_PAIRS
    skipped: bool = False

    @property
    def is_fact(self) -> bool:
        return self.expect is None


@dataclass(frozen=True)
class Verdict:
    """The answer to a claim."""

    word: str
    reason: str


class Contradiction(AssertionError):
    """A verdict that its own data do not carry: an error of the laboratory, never a result."""


def zone(interval: Interval, margin: float) -> str:
    """Where the whole interval lies: above the margin, below its inverse, within both, or across a border."""
    if interval.low > margin:
        return ABOVE
    if interval.high < 1 / margin:
        return BELOW
    if interval.low >= 1 / margin and interval.high <= margin:
        return WITHIN
    return UNDECIDED


def decide_figure(interval: Interval | None, expect: str, margin: float, problem: str = "",
                  least: int = MIN_PAIRS) -> Outcome:
    """The outcome of a ratio."""
    if problem or interval is None:
        return Outcome(UNDECIDED, problem or "nothing was measured")
    if interval.n < least:
        return Outcome(UNDECIDED, f"only {interval.n} of at least {least} pairs")
    found = zone(interval, margin)
    if expect == AT_MOST:
        return _decide_at_most(interval, margin)
    if found == UNDECIDED:
        return Outcome(UNDECIDED, f"the interval reaches across the margin of {margin:g}")
    if found == expect:
        return Outcome(TRUE)
    return Outcome(EQUIVALENT if found == WITHIN else FALSE)


def _decide_at_most(interval: Interval, margin: float) -> Outcome:
    if interval.high <= margin:
        return Outcome(TRUE)
    if interval.low > margin:
        return Outcome(FALSE)
    return Outcome(UNDECIDED, f"the interval reaches across the margin of {margin:g}")


def decide_fact(observed: int, of: int, problem: str = "", role: str = SUPPORTS) -> Outcome:
    """Always seen: true; never: false; now and then: undecided, unless a limit is seen more often than not."""
    if problem:
        return Outcome(UNDECIDED, problem)
    if of < MIN_PAIRS:
        return Outcome(UNDECIDED, f"only {of} of at least {MIN_PAIRS} trials")
    if observed == of or (role == LIMITS and stats.wilson(observed, of)[0] > MOSTLY):
        return Outcome(TRUE)
    if observed == 0:
        return Outcome(FALSE)
    return Outcome(UNDECIDED, f"seen in {observed} of {of} trials: neither always nor never")


def decide(findings: Sequence[Judged]) -> Verdict:
    """The verdict of a claim."""
    findings = [finding for finding in findings if not finding.skipped]
    supports = [finding for finding in findings if finding.role == SUPPORTS]
    limits = [finding for finding in findings if finding.role == LIMITS]
    against = _against(findings)
    if against:
        return Verdict(IS_FALSE, "; ".join(finding.says for finding in against))
    if not supports:
        return Verdict(UNRESOLVED, "nothing measured speaks for it")
    unsure = [finding for finding in findings if finding.outcome.word == UNDECIDED]
    if any(finding.role != LIMITS for finding in unsure):
        return _unresolved(unsure)
    equal = [finding for finding in supports if finding.outcome.word == EQUIVALENT]
    if len(equal) == len(supports):
        return Verdict(EQUAL, "; ".join(f"no difference beyond the margin: {finding.says}" for finding in equal))
    reasons = [f"no difference beyond the margin: {finding.says}" for finding in equal]
    reasons += [finding.says for finding in limits if finding.outcome.word == TRUE]
    if reasons:
        return Verdict(WITH_LIMITS, "; ".join(reasons))
    # Only here could a limit that is undecided change the word.
    return _unresolved(unsure) if unsure else Verdict(HOLDS, "")


def _unresolved(unsure: Sequence[Judged]) -> Verdict:
    return Verdict(UNRESOLVED, "; ".join(f"{finding.says}: {finding.outcome.reason}" for finding in unsure))


def _against(findings: Sequence[Judged]) -> list[Judged]:
    return [finding for finding in findings
            if (finding.role == SUPPORTS and finding.outcome.word == FALSE)
            or (finding.role == REFUTES and finding.outcome.word == TRUE)]


def leading(answer: Verdict, findings: Sequence[Judged]) -> Judged | None:
    """The finding that stands for the verdict in a table: one whose outcome is the reason for it."""
    findings = [finding for finding in findings if not finding.skipped]
    if answer.word == IS_FALSE:
        found = _against(findings)
    elif answer.word == UNRESOLVED:
        found = [finding for finding in findings if finding.outcome.word == UNDECIDED]
        found.sort(key=lambda finding: finding.interval is None)
    else:
        wanted = EQUIVALENT if answer.word == EQUAL else TRUE
        found = [finding for finding in findings if finding.role == SUPPORTS and finding.outcome.word == wanted]
    return found[0] if found else None


def check(verdict: Verdict, findings: Sequence[Judged]) -> None:
    """Raise unless every outcome follows from its interval, and the verdict from the outcomes.

    Written apart from the decisions above and calling none of them, so as not to share their mistakes.
    """
    for finding in findings:
        _check_outcome(finding)
    if verdict.word == UNRESOLVED and not verdict.reason:
        raise Contradiction("unresolved without a reason")
    carried = _words_carried(findings)
    if [verdict.word] != carried:
        raise Contradiction(f"the verdict {verdict.word!r} does not follow from the findings: {carried} does")


def _words_carried(findings: Sequence[Judged]) -> list[str]:
    """Each verdict with all that has to be so for it, by the number of findings of each role and outcome."""
    count = Counter((finding.role, finding.outcome.word) for finding in findings if not finding.skipped)
    supports = sum(count[SUPPORTS, word] for word in (TRUE, FALSE, EQUIVALENT, UNDECIDED))
    contrary = count[SUPPORTS, FALSE] + count[REFUTES, TRUE] > 0
    decided = not contrary and supports > 0 and count[SUPPORTS, UNDECIDED] + count[REFUTES, UNDECIDED] == 0
    all_true = count[SUPPORTS, TRUE] == supports
    all_equal = count[SUPPORTS, EQUIVALENT] == supports
    carried = [word for word, is_so in (
        (IS_FALSE, contrary),
        (EQUAL, decided and all_equal),
        (WITH_LIMITS, decided and not all_equal and (not all_true or count[LIMITS, TRUE] > 0)),
        (HOLDS, decided and all_true and count[LIMITS, TRUE] + count[LIMITS, UNDECIDED] == 0)) if is_so]
    return carried or [UNRESOLVED]


def _check_outcome(finding: Judged) -> None:
    carried = [word for word in (TRUE, FALSE, EQUIVALENT) if _carries(finding, word)]
    word = finding.outcome.word
    if word == UNDECIDED:
        if not finding.outcome.reason:
            raise Contradiction(f"{finding.says}: undecided without a reason")
        if carried:
            raise Contradiction(f"{finding.says}: undecided, though its interval says {carried[0]}")
    elif word not in carried or finding.skipped:
        raise Contradiction(f"{finding.says}: {word}, which {finding.interval} does not carry"
                            + (f", for {finding.problem}" if finding.problem else ""))


def _carries(finding: Judged, word: str) -> bool:
    interval = finding.interval
    if finding.problem or interval is None or interval.n < finding.least:
        return False
    if not interval.low <= interval.value <= interval.high:
        return False
    if finding.is_fact:
        always = interval.value == 1 or (finding.role == LIMITS and interval.low > MOSTLY)
        return {TRUE: always, FALSE: interval.value == 0}.get(word, False)
    assert finding.expect is not None and finding.margin is not None
    return _figure_carries(word, interval, finding.expect, finding.margin)


def _figure_carries(word: str, interval: Interval, expect: str, margin: float) -> bool:
    """Written out once more, not by way of zone()."""
    inside = 1 / margin <= interval.low and interval.high <= margin
    above, below = interval.low > margin, interval.high < 1 / margin
    holds = {ABOVE: above, BELOW: below, WITHIN: inside, AT_MOST: interval.high <= margin}[expect]
    if word == TRUE:
        return holds
    if word == EQUIVALENT:
        return inside and expect in (ABOVE, BELOW)
    contrary = {ABOVE: below, BELOW: above, WITHIN: above or below, AT_MOST: above}[expect]
    return word == FALSE and contrary
