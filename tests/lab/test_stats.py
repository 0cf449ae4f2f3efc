"""What counts as a difference."""

import pytest
from twinlab.base import stats


def test_spread():
    assert stats.spread([90, 100, 110]) == pytest.approx(0.2)
    assert stats.spread([5]) == 0
    assert stats.spread([0, 0]) == 0


def test_difference_within_the_spread_of_the_rounds_is_noise():
    found = stats.difference([90, 100, 110], [105, 108, 111])
    assert found.relative == pytest.approx(0.08)
    assert not found.is_real


def test_difference_beyond_the_spread_is_real():
    assert stats.difference([99, 100, 101], [109, 110, 111]).is_real
    assert stats.difference([99, 100, 101], [89, 90, 91]).is_real


def test_rounds_that_agree_by_chance_do_not_make_a_tiny_difference_real():
    assert not stats.difference([100, 100, 100], [102, 102, 102]).is_real


def test_two_rounds_prove_less_than_three():
    assert not stats.difference([100, 100], [107, 107]).is_real
    assert stats.difference([100, 100, 100], [107, 107, 107]).is_real


def test_nothing_to_compare():
    assert stats.difference([], [1.0]) is None
    assert stats.difference([0.0], [1.0]) is None


def test_median_leaves_out_what_was_not_measured():
    assert stats.median_or_none([None, 3, 1]) == 2
    assert stats.median_or_none([None]) is None
