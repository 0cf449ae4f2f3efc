"""The interval of a median over launches: by hand, what it refuses, and whether it holds what it promises."""

import math
import random
from functools import partial
from statistics import median

import pytest
from twinlab.base import interval, stats
from twinlab.base.interval import Estimate

SEED = 20261130
RUNS = 1000


# By hand


def test_a_launch_counts_once_by_its_median():
    found = interval.of_launches([[1, 2, 90], [3, 3], [4], [5, 5, 5, 5], [6, 0, 6], [7], []])
    assert found == Estimate(4.5, 2, 7, 6)


@pytest.mark.parametrize("launches, rank", [(5, 0), (6, 1), (8, 1), (9, 2), (11, 2), (12, 3), (15, 4), (17, 5), (20, 6),
                                            (72, 28)])
def test_the_ends_are_launches_of_a_rank_that_tables_of_the_sign_test_have(launches, rank):
    assert interval.rank(launches) == rank


def test_how_sure_a_rank_is():
    assert interval.confidence(1, 6) == 1 - 2 / 2 ** 6
    assert interval.confidence(3, 11) == pytest.approx(0.9346, abs=1e-4)
    assert interval.confidence(2, 9) == pytest.approx(1 - 2 * 10 / 512)


def test_a_ratio_and_its_inverse_are_estimated_alike():
    pairs = [[(3.0, 2.0), (5.0, 4.0)], [(1.0, 2.0)], [(9.0, 8.0)], [(2.0, 1.0)], [(4.0, 3.0)], [(1.0, 1.0)]]
    found = interval.of_ratios(pairs)
    inverse = interval.of_ratios([[(base, figure) for figure, base in launch] for launch in pairs])
    assert (found.low, found.high) == pytest.approx((0.5, 2.0))
    assert (inverse.value, inverse.low, inverse.high) == pytest.approx((1 / found.value, 1 / found.high, 1 / found.low))


def test_rounds_are_paired_and_those_that_lack_a_figure_left_out():
    base = {number: float(number) for number in range(1, 8)}
    found = interval.by_round({number: 2.0 * number for number in range(1, 7)} | {9: 1.0}, base)
    assert (found.value, found.low, found.high, found.launches) == (pytest.approx(2.0),) * 3 + (6,)
    assert interval.by_round({1: 10.0}, {1: 0.0}) is None
    assert interval.by_round({}, {1: 1.0}) is None


def test_a_figure_that_is_zero_is_no_accident():
    found = interval.by_round(dict.fromkeys(range(6), 0.0), dict.fromkeys(range(6), 2.0))
    assert found == Estimate(0.0, 0.0, 0.0, 6)


def test_what_was_counted_is_sure():
    assert interval.counted(7).interval == (7, 7)
    assert interval.counted(7, 9, 8) == Estimate(8, 7, 9, 3)


# What it refuses


@pytest.mark.parametrize("launches", range(1, 6))
def test_few_launches_have_no_interval(launches):
    found = interval.of_launches([[float(number)] * 50 for number in range(launches)])
    assert found.interval is None and found.launches == launches


def test_it_says_how_many_it_needs():
    assert interval.least_launches() == 6
    assert interval.least_launches(0.99) == 8
    assert interval.too_few() == "an interval needs at least 6 launches"
    assert interval.too_few("rounds") == "an interval needs at least 6 rounds"


def test_one_launch_of_many_pairs_is_one_launch():
    assert interval.of_ratios([[(1.0 + number / 100, 1.0) for number in range(20)]]).interval is None


def test_no_number_of_launches_promises_too_much_or_needlessly_little():
    for launches in range(interval.least_launches(), 200):
        rank = interval.rank(launches)
        assert interval.confidence(rank, launches) >= interval.LEVEL > interval.confidence(rank + 1, launches)


# Whether it holds what it promises: how often the true median lies within, of launches drawn from what is known.


def mixture(draw, share, other):
    return lambda: other() if draw.random() < share else draw.gauss(0, 0.02)


def scattered(kind, draw):
    """Draws what a launch has: the median of all is 0, but where a fifth is slow."""
    return {
        "normal": partial(draw.gauss, 0, 0.03),
        "exponential": lambda: draw.expovariate(1) - math.log(2),
        "lognormal": lambda: math.exp(draw.gauss(0, 1)) - 1,
        "without a variance": lambda: math.tan(math.pi * (draw.random() - 0.5)),
        "a fifth is slow": mixture(draw, 0.2, lambda: draw.gauss(0.22, 0.02)),
        "two modes": lambda: (-1 if draw.random() < 0.5 else 1) + draw.gauss(0, 0.3),
    }[kind]


KINDS = ("normal", "exponential", "lognormal", "without a variance", "a fifth is slow", "two modes")


def covered(found, truth):
    return found.low <= truth <= found.high


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("launches", [6, 9, 11, 12])
def test_it_covers_the_median_however_launches_scatter(kind, launches):
    draw = random.Random(SEED)
    launch = scattered(kind, draw)
    truth = median(launch() for _ in range(20_001)) if kind == "a fifth is slow" else 0.0
    held = sum(covered(interval.of_launches([[launch()] for _ in range(launches)]), truth) for _ in range(RUNS))
    assert held / RUNS >= 0.94


def launches_of(draw, launches, pairs, between, within):
    """Log-ratios of pairs whose launches differ, around 0."""
    made = []
    for _ in range(launches):
        middle = draw.gauss(0, between)
        made.append([draw.gauss(middle, within) for _ in range(pairs)])
    return made


@pytest.mark.parametrize("between, within", [(0.03, 0.01), (0.02, 0.02), (0.005, 0.03)])
def test_it_covers_where_launches_differ_more_than_what_is_within_them(between, within):
    draw = random.Random(SEED)
    held = sum(covered(interval.of_launches(launches_of(draw, 12, 4, between, within)), 0) for _ in range(RUNS))
    assert held / RUNS >= 0.94


@pytest.mark.parametrize("launches, pairs, most", [(1, 20, 0.35), (10, 5, 0.85)])
def test_to_pool_the_pairs_of_launches_does_not_cover(monkeypatch, launches, pairs, most):
    """As intervals of programs that were started once, or a few times, have been made: too narrow by far."""
    monkeypatch.setattr(stats, "BOOTSTRAP_RESAMPLES", 500)
    draw, runs, held = random.Random(SEED), 150, 0
    for _ in range(runs):
        pooled = [math.exp(value) for launch in launches_of(draw, launches, pairs, 0.03, 0.01) for value in launch]
        held += covered(stats.paired_ratio(pooled, [1.0] * len(pooled)), 1)
    assert held / runs < most
