"""What was observed, and how often: never a figure, never assumed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """A statement that was true in `observed` of `of` cases. Of none: this machine cannot show it; detail says why."""

    key: str
    statement: str
    observed: int
    of: int
    detail: str = ""

    @property
    def holds(self) -> bool:
        return self.observed == self.of > 0

    @property
    def is_available(self) -> bool:
        return self.of > 0


def unavailable(key: str, statement: str, reason: str) -> Fact:
    """A fact that cannot be observed here."""
    return Fact(key, statement, 0, 0, reason)


class Tally:
    """Counts the cases of one fact."""

    def __init__(self, key: str, statement: str) -> None:
        self._key = key
        self._statement = statement
        self._cases: list[bool] = []

    def note(self, seen: bool) -> bool:
        """One case; returns what it was given."""
        self._cases.append(bool(seen))
        return bool(seen)

    def fact(self, detail: str = "", without: str = "no case was observed") -> Fact:
        """without: why there may be no case at all."""
        if not self._cases:
            return unavailable(self._key, self._statement, without)
        return Fact(self._key, self._statement, sum(self._cases), len(self._cases), detail)
