"""The id of a claim: a number, and a letter where a statement of the notes was split: 12, or 12a, 12b, 12c."""

import re
from dataclasses import dataclass

FORM = re.compile(r"([1-9][0-9]{0,4})([a-z]?)")


@dataclass(frozen=True, order=True)
class ClaimId:
    """Ordered by number, then by letter."""

    number: int
    letter: str = ""

    @staticmethod
    def parse(value: object) -> "ClaimId":
        """From a file or the command line, where it is a number or text. ValueError if it is no id."""
        match = FORM.fullmatch(str(value))
        if not match:
            raise ValueError(f"{value!r} is no id of a claim: a number, or a number with a letter, as 12a")
        return ClaimId(int(match[1]), match[2])

    def chooses(self, other: "ClaimId") -> bool:
        """A number alone chooses all claims that have it: 12 chooses 12a."""
        return self == other or (self.number == other.number and not self.letter)

    @property
    def plain(self) -> int | str:
        """As it is written in files: a number where there is no letter."""
        return str(self) if self.letter else self.number

    def __str__(self) -> str:
        return f"{self.number}{self.letter}"
