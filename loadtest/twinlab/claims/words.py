"""How effects, figures and verdicts are written, in all files alike."""

from collections import Counter
from typing import Mapping, Sequence

from twinlab.base import table
from twinlab.claims import verdict
from twinlab.claims.evidence import Source
from twinlab.claims.judge import JudgedClaim
from twinlab.claims.verdict import Judged


def effect_words(found: Judged | None) -> str:
    """`2.04× (1.96-2.14)` for a ratio, `20 of 20 (84-100 %)` for a fact."""
    if found is None or found.interval is None:
        return table.MISSING
    interval = found.interval
    if found.is_fact:
        return (f"{round(interval.value * interval.n)} of {interval.n} "
                f"({interval.low * 100:.0f}-{interval.high * 100:.0f} %)")
    return f"{number(interval.value)}× ({number(interval.low)}-{number(interval.high)})"


def number(value: float) -> str:
    """Three significant digits, never an exponent."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 else f"{value:.3g}"


def counts_line(judged: Sequence[JudgedClaim]) -> str:
    """How many of each verdict; those that wait for a measurement stand apart."""
    counted = Counter(each.verdict.word for each in judged)
    counts = ", ".join(f"{counted[word]} {word}" for word in verdict.VERDICTS if counted[word])
    waiting = counted[verdict.NOT_MEASURED]
    return (counts or "no verdict") + (f"; {waiting} more not measured" if waiting else "")


def void_words(source: Source) -> str:
    """`3 void blocks (2 steal, 1 identity)`."""
    causes = ", ".join(f"{times} {cause}" for cause, times in sorted(source.void_causes.items()))
    return f"{len(source.void_blocks)} void block{'s' if len(source.void_blocks) > 1 else ''} ({causes})"


def versions_words(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version or 'not installed'}" for name, version in versions.items())


def short(text: str, length: int) -> str:
    return text if len(text) <= length else text[:length - 1] + "…"
