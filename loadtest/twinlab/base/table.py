"""Aligned columns for people, and numbers with fixed units."""

from typing import Sequence

MISSING = "-"


def render(header: Sequence[str], rows: Sequence[Sequence[str] | str]) -> list[str]:
    """Lines of a table: first column left-aligned, the others right. A plain string among the rows is a section title.

    The section titles do not widen the columns: they may run over them.
    """
    cells = [header, *(row for row in rows if not isinstance(row, str))]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [_line(header, widths)]
    for row in rows:
        lines.append(row if isinstance(row, str) else _line(row, widths))
    return lines


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first = row[0].ljust(widths[0])
    rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
    return "  ".join([first, *rest]).rstrip()


def count(value: float | None) -> str:
    """A whole number with thousands marks."""
    return MISSING if value is None else f"{value:,.0f}"


def number(value: float | None) -> str:
    """Three significant digits or more, never an exponent."""
    if value is None:
        return MISSING
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:,.0f}"


def ms_from_us(value_us: float | None) -> str:
    return number(None if value_us is None else value_us / 1000)


def percent(fraction: float | None) -> str:
    """A share as whole per cent."""
    return MISSING if fraction is None else f"{fraction * 100:.0f} %"
