"""Whether a measured figure keeps its limit, and how sure that is."""

from twinlab.base.stats import Ratio


class Judged:
    """What a verdict on a target has in common; it says what was measured, and which values are good."""

    @property
    def measured(self) -> Ratio:
        raise NotImplementedError

    def holds(self, value: float) -> bool:
        """Whether this value would reach the target."""
        raise NotImplementedError

    @property
    def is_met(self) -> bool:
        return self.holds(self.measured.value)

    @property
    def is_certain(self) -> bool:
        """Both ends of the interval lie on the same side of the limit."""
        return self.holds(self.measured.low) == self.holds(self.measured.high)

    @property
    def word(self) -> str:
        return ("met" if self.is_met else "missed") + ("" if self.is_certain else "?")
