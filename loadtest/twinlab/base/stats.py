"""Medians, percentiles, spread, and what counts as a difference."""

import math
from dataclasses import dataclass
from statistics import median
from typing import Any, Sequence

BOOTSTRAP_RESAMPLES = 10_000
WILSON_Z = 1.959964  # 95 %


def median_or_none(values: Sequence[float | None]) -> float | None:
    """The median of what was measured; None when nothing was."""
    measured = [value for value in values if value is not None]
    return median(measured) if measured else None


def percentile(values: Sequence[float], fraction: float) -> float | None:
    """The smallest value that at least this share of the values does not exceed; None when there are none."""
    return sorted(values)[max(0, math.ceil(fraction * len(values)) - 1)] if values else None


def spread(values: Sequence[float]) -> float:
    """(largest - smallest) / median of the rounds: how far equal runs lie apart."""
    middle = median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def noise_floor(rounds: int) -> float:
    """What must be doubted even when few rounds happen to agree: fewer rounds show less of the true spread."""
    return 0.03 if rounds >= 3 else 0.10


@dataclass(frozen=True)
class Difference:
    """How far b lies from a, relative to a, and the noise that it has to exceed to mean anything."""

    relative: float
    noise: float

    @property
    def is_real(self) -> bool:
        return abs(self.relative) > self.noise


def difference(a: Sequence[float], b: Sequence[float]) -> Difference | None:
    """Compare the rounds of b with those of a; None when either has no figure to compare."""
    if not a or not b or not median(a):
        return None
    noise = max(spread(a), spread(b), noise_floor(min(len(a), len(b))))
    return Difference(median(b) / median(a) - 1, noise)


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of all pairs, and a bootstrap's interval for it."""

    value: float
    low: float
    high: float


def paired_ratio(figure: Sequence[float], base: Sequence[float]) -> Ratio | None:
    """The median of figure / base over pairs, with a percentile bootstrap of the median log-ratio.

    The median, since a neighbour on the host slows single blocks down by a quarter, which would move a mean.
    All pairs are taken as independent, also those of one launch: where they are not, interval.py has the better way.
    None when there is no pair. Pairs that are all equal give an interval of no width: then nothing varied.
    """
    logs = [math.log(a / b) for a, b in zip(figure, base, strict=True)]
    if not logs:
        return None
    found = _median_with_interval(logs)
    return Ratio(math.exp(found.value), math.exp(found.low), math.exp(found.high))


def _median_with_interval(values: Sequence[float]) -> Ratio:
    """The median and its 95 % interval by a percentile bootstrap, drawn alike each time."""
    from scipy.stats import bootstrap  # only here: it takes half a second to import

    middle = median(values)
    if max(values) - min(values) < 1e-12:
        return Ratio(middle, middle, middle)
    interval = bootstrap((values,), _median_along, n_resamples=BOOTSTRAP_RESAMPLES, confidence_level=0.95,
                         method="percentile", random_state=1).confidence_interval
    return Ratio(middle, min(float(interval.low), middle), max(float(interval.high), middle))


def _median_along(values: Any, axis: int = -1) -> Any:
    from numpy import median as median_along

    return median_along(values, axis=axis)


def wilson(observed: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share of which `observed` of `of` trials are a sample."""
    if of == 0:
        return 0.0, 1.0
    share, square = observed / of, WILSON_Z ** 2
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = WILSON_Z / (1 + square / of) * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    # At the ends, rounding must not leave out the share itself.
    return (0.0 if observed == 0 else middle - half), (1.0 if observed == of else middle + half)
