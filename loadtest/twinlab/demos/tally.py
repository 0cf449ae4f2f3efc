"""Counts in how many fresh starts something was seen."""

from typing import Callable

from twinlab.base.observed import Fact, Tally


class StartTally(Tally):
    """Counts one case for each start of a server: seen, when every part of it was.

    Workers, requests and deaths of one start have its addresses, its sockets and its locks in common. They are parts
    of one case, and no repetitions: what differs from start to start would look certain after a single one.
    """

    def __init__(self, key: str, statement: str, latest_start: Callable[[], object]) -> None:
        super().__init__(key, statement)
        self._latest_start = latest_start
        self._parts: dict[object, list[bool]] = {}

    def note(self, seen: bool, start: object = None) -> bool:
        """One part of the case that the latest start is, or another one; returns what it was given."""
        self._parts.setdefault(start or self._latest_start(), []).append(bool(seen))
        return bool(seen)

    def fact(self, detail: str = "", without: str = "no case was observed") -> Fact:
        self._cases = [all(parts) for parts in self._parts.values()]
        return super().fact("; ".join(filter(None, [self._in_parts(), detail])), without)

    def _in_parts(self) -> str:
        """Nothing, where each start has one part: the count says it all."""
        parts = [part for parts in self._parts.values() for part in parts]
        if len(parts) == len(self._parts):
            return ""
        return f"{sum(parts)} of {len(parts)} parts in {len(self._parts)} starts"
