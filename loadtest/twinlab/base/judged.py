"""Whether measured figures keep their limits, and what an exit status makes of it."""

from typing import Sequence

from twinlab.base import decide, interval
from twinlab.base.decide import Decision, Limits
from twinlab.base.interval import Estimate


class Judged:
    """What a verdict on a target has in common; it says what was measured, and which values are good."""

    @property
    def measured(self) -> Estimate:
        raise NotImplementedError

    @property
    def limits(self) -> Limits:
        raise NotImplementedError

    @property
    def decision(self) -> Decision:
        return decide.decide_target(self.measured, self.limits)

    @property
    def word(self) -> str:
        return self.decision.word

    @property
    def falls_short(self) -> bool:
        """Missed, or only by its median, of rounds enough for an interval.

        Who waits for an exit status has measured in full to learn whether a limit is kept: a median beyond it is bad
        news, even if chance may have made it. A first look of few rounds is not asked that.
        """
        return self.measured.interval is not None and not self.limits.admit(self.measured.value)


def exit_status(judged: Sequence[Judged]) -> int:
    return 1 if any(each.falls_short for each in judged) else 0


def tally(judged: Sequence[Judged], what: str = "targets", rounds: str = "rounds") -> str:
    """`3 of 5 targets met, 1 missed, 1 not decided.`, and why not. rounds: the user's word for launches."""
    words = [each.word for each in judged]
    line = (f"{words.count(decide.MET)} of {len(words)} {what} met, {words.count(decide.MISSED)} missed, "
            f"{words.count(decide.NOT_DECIDED)} not decided")
    beyond = sum(each.falls_short for each in judged if each.word == decide.NOT_DECIDED)
    if beyond:
        line += f" ({beyond} of these with the median beyond the limit)"
    if any(each.measured.interval is None for each in judged):
        line += f"; {interval.too_few(rounds)}"
    return line + "."
