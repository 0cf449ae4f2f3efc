"""Where the notes say what a claim says: which note, in which line, and its words in short."""

from dataclasses import dataclass
from typing import Any, Collection, Iterable

from twinlab.base.errors import LabError

KEYS = {"note", "line", "phrase"}
MOST_WORDS = 15


@dataclass(frozen=True)
class Quote:
    """A phrase of a note, translated and shortened."""

    note: str
    line: int
    phrase: str

    @property
    def place(self) -> str:
        return f"{self.note}:{self.line}"


def read(entries: Iterable[dict[str, Any]], notes: Collection[str], where: str) -> tuple[Quote, ...]:
    """notes: those that there are; where: whose mistake it is."""
    return tuple(_quote(entry, notes, where) for entry in entries)


def _quote(entry: dict[str, Any], notes: Collection[str], where: str) -> Quote:
    if set(entry) != KEYS or not isinstance(entry["line"], int) or entry["line"] < 1:
        raise LabError(f"{where}: a quote has note, line (a number) and phrase")
    quote = Quote(str(entry["note"]), entry["line"], str(entry["phrase"]))
    if quote.note not in notes:
        raise LabError(f"{where}: there is no note {quote.note}; the list names {', '.join(notes) or 'none'}")
    words = len(quote.phrase.split())
    if not 1 <= words <= MOST_WORDS:
        raise LabError(f"{where}: the phrase of {quote.place} has {words} words; 1 to {MOST_WORDS} are allowed")
    return quote
