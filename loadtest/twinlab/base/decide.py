"""From an interval to a word: the rules by which figures, targets and facts are decided. Pure functions, one table.

A ratio has two margins. Within `equivalent`, either way, there is no difference worth a word; beyond `relevant` it
matters; between them it is small but real. They cut the axis of ratios into five zones, the same upwards and downwards.
A figure is decided by all zones that its interval touches: where they do not have one word, it is undecided.
"""

import math
from dataclasses import dataclass

from twinlab.base import interval, stats
from twinlab.base.interval import Estimate

LESS, SLIGHTLY_LESS, SAME, SLIGHTLY_MORE, MORE = ZONES = ("less", "slightly less", "same", "slightly more", "more")

# What may be expected of a figure, beside MORE, LESS and SAME; and that nothing is.
NO_MORE, NO_LESS, ANYTHING = "no more", "no less", "anything"

TRUE, FALSE, EQUIVALENT, SMALL, UNDECIDED = "true", "false", "equivalent", "small but real", "undecided"
MET, MISSED, NOT_DECIDED = "met", "missed", "not decided"

# The word of each zone, in their order, by what is expected.
WORDS = {
    ANYTHING: (LESS, f"{SMALL}, {LESS}", SAME, f"{SMALL}, {MORE}", MORE),
    MORE: (FALSE, FALSE, EQUIVALENT, SMALL, TRUE),
    LESS: (TRUE, SMALL, EQUIVALENT, FALSE, FALSE),
    SAME: (FALSE, SMALL, TRUE, SMALL, FALSE),
    NO_MORE: (TRUE, TRUE, TRUE, SMALL, FALSE),
    NO_LESS: (FALSE, SMALL, TRUE, TRUE, TRUE),
}

LEAST_TRIALS = 3  # fewer decide no fact
MOSTLY = 0.5


@dataclass(frozen=True)
class Margins:
    """Of a ratio, upwards; downwards they are the inverses. One margin twice leaves no room for what is small."""

    equivalent: float
    relevant: float

    def __post_init__(self) -> None:
        if not 1 < self.equivalent <= self.relevant < math.inf:
            raise ValueError(f"margins are 1 < equivalent <= relevant, not {self.equivalent:g} and {self.relevant:g}")


@dataclass(frozen=True)
class Limits:
    """Which values of a figure are good: from at_least to at_most, both included, and less than below."""

    at_least: float = -math.inf
    at_most: float = math.inf
    below: float = math.inf

    def admit(self, value: float) -> bool:
        return self.at_least <= value <= self.at_most and value < self.below

    def exclude(self, low: float, high: float) -> bool:
        """None of the values between the two is good."""
        return high < self.at_least or low > self.at_most or low >= self.below


@dataclass(frozen=True)
class Decision:
    """A word, and why it is not a better one: only what is undecided has a reason."""

    word: str
    reason: str = ""


def zone(ratio: float, margins: Margins) -> str:
    if ratio < 1 / margins.relevant:
        return LESS
    if ratio < 1 / margins.equivalent:
        return SLIGHTLY_LESS
    if ratio <= margins.equivalent:
        return SAME
    return SLIGHTLY_MORE if ratio <= margins.relevant else MORE


def touched(ends: tuple[float, float], margins: Margins) -> tuple[str, ...]:
    """The zones in which an interval lies, in their order."""
    first, last = (ZONES.index(zone(end, margins)) for end in ends)
    return ZONES[first:last + 1]


def decide_ratio(found: Estimate, margins: Margins, expected: str = ANYTHING) -> Decision:
    """The word of a ratio, by what was expected of it: MORE, LESS, SAME, NO_MORE, NO_LESS or ANYTHING."""
    if found.interval is None:
        return Decision(UNDECIDED, _few_launches(found))
    zones = touched(found.interval, margins)
    words = {WORDS[expected][ZONES.index(each)] for each in zones}
    if len(words) == 1:
        return Decision(words.pop())
    return Decision(UNDECIDED, f"it may be anything from {zones[0]} to {zones[-1]}")


def decide_target(found: Estimate, limits: Limits) -> Decision:
    """Met or missed when all of the interval is; not by a median alone."""
    if found.interval is None:
        return Decision(NOT_DECIDED, _few_launches(found))
    if all(limits.admit(end) for end in found.interval):
        return Decision(MET)
    if limits.exclude(*found.interval):
        return Decision(MISSED)
    return Decision(NOT_DECIDED, "the interval reaches across the limit")


def _few_launches(found: Estimate) -> str:
    return f"only {found.launches}: {interval.too_few()}"


@dataclass(frozen=True)
class Shown:
    """How often a fact was observed."""

    observed: int
    of: int

    @property
    def words(self) -> str:
        """Nothing is said here of what was not tried."""
        return f"shown {self.observed} of {self.of}"

    @property
    def interval(self) -> tuple[float, float]:
        """Where the share of all cases lies with 95 % confidence, by Wilson."""
        return stats.wilson(self.observed, self.of)


def decide_fact(shown: Shown, least: int = LEAST_TRIALS, mostly: bool = False) -> Decision:
    """Always seen: true; never: false; now and then: undecided.

    mostly: of a fact whose point is that it exists, it is enough to be seen more often than not, with 95 % confidence.
    """
    if shown.of < least:
        return Decision(UNDECIDED, f"only {shown.of} of at least {least} trials")
    if shown.observed == shown.of or (mostly and shown.interval[0] > MOSTLY):
        return Decision(TRUE)
    if shown.observed == 0:
        return Decision(FALSE)
    return Decision(UNDECIDED, f"{shown.words}: neither always nor never")
