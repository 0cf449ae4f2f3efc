"""Aligned columns and units."""

import pytest
from twinlab.base import table


def test_columns_are_aligned_and_titles_do_not_widen_them():
    lines = table.render(("", "req/s"), ["a title that is longer than any cell", ["prefork", "1,000"], ["x", "9"]])
    assert lines == ["         req/s", "a title that is longer than any cell", "prefork  1,000", "x            9"]


@pytest.mark.parametrize("value, text", [(None, "-"), (0, "0.00"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1,234")])
def test_numbers(value, text):
    assert table.number(value) == text


def test_units():
    assert table.ms_from_us(1500) == "1.50"
    assert table.percent(0.049) == "5 %"
    assert table.count(1234567.2) == "1,234,567"
    assert [f(None) for f in (table.ms_from_us, table.percent, table.count)] == ["-"] * 3
