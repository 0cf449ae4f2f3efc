"""The words for intervals, targets and facts: by hand, and what must be so of any interval."""

import random
from itertools import product

import pytest
from twinlab.base import decide
from twinlab.base.decide import (ANYTHING, EQUIVALENT, FALSE, LESS, MET, MISSED, MORE, NO_LESS, NO_MORE, NOT_DECIDED,
                                 SAME, SLIGHTLY_LESS, SLIGHTLY_MORE, SMALL, TRUE, UNDECIDED, ZONES, Decision, Limits,
                                 Margins, Shown)
from twinlab.base.interval import Estimate, counted

MARGINS = Margins(1.05, 1.25)
INVERSE = {MORE: LESS, LESS: MORE, SAME: SAME, NO_MORE: NO_LESS, NO_LESS: NO_MORE, ANYTHING: ANYTHING}
INVERSE_WORD = {LESS: MORE, MORE: LESS, f"{SMALL}, {LESS}": f"{SMALL}, {MORE}", f"{SMALL}, {MORE}": f"{SMALL}, {LESS}"}


def estimate(low, high):
    return Estimate((low * high) ** 0.5, low, high, 12)


def word(low, high, expected=ANYTHING, margins=MARGINS):
    return decide.decide_ratio(estimate(low, high), margins, expected).word


# By hand

INTERVALS = {LESS: (0.5, 0.7), SLIGHTLY_LESS: (0.85, 0.9), SAME: (0.96, 1.04), SLIGHTLY_MORE: (1.1, 1.2),
             MORE: (1.3, 2.0)}


@pytest.mark.parametrize("expected, words", [
    (ANYTHING, ["less", "small but real, less", "same", "small but real, more", "more"]),
    (MORE, [FALSE, FALSE, EQUIVALENT, SMALL, TRUE]), (LESS, [TRUE, SMALL, EQUIVALENT, FALSE, FALSE]),
    (SAME, [FALSE, SMALL, TRUE, SMALL, FALSE]), (NO_MORE, [TRUE, TRUE, TRUE, SMALL, FALSE]),
    (NO_LESS, [FALSE, SMALL, TRUE, TRUE, TRUE]),
])
def test_an_interval_within_a_zone_has_its_word(expected, words):
    assert [word(*INTERVALS[zone], expected) for zone in ZONES] == words


@pytest.mark.parametrize("low, high, expected, found", [
    (1.01, 1.1, ANYTHING, "it may be anything from same to slightly more"),
    (0.5, 2.0, ANYTHING, "it may be anything from less to more"),
    (1.2, 1.3, MORE, "it may be anything from slightly more to more"),
    (0.5, 1.06, NO_MORE, "it may be anything from less to slightly more"),
])
def test_an_interval_across_words_is_undecided_and_says_what_is_left(low, high, expected, found):
    assert decide.decide_ratio(estimate(low, high), MARGINS, expected) == Decision(UNDECIDED, found)


@pytest.mark.parametrize("low, high, expected, found", [
    (0.5, 1.04, NO_MORE, TRUE), (0.96, 9.0, NO_LESS, TRUE), (0.5, 0.9, MORE, FALSE), (1.1, 9.0, LESS, FALSE),
])
def test_zones_of_one_word_are_as_one(low, high, expected, found):
    assert word(low, high, expected) == found


def test_both_margins_belong_to_what_lies_within():
    assert decide.touched((1 / 1.05, 1.05), MARGINS) == (SAME,)
    assert decide.touched((1 / 1.25, 1.25), MARGINS) == (SLIGHTLY_LESS, SAME, SLIGHTLY_MORE)


def test_one_margin_twice_leaves_nothing_small():
    single = Margins(1.1, 1.1)
    assert [word(*INTERVALS[zone], ANYTHING, single) for zone in (LESS, SAME, MORE)] == [LESS, SAME, MORE]
    assert word(1.1001, 1.1002, ANYTHING, single) == MORE and word(1.09, 1.1, ANYTHING, single) == SAME


@pytest.mark.parametrize("equivalent, relevant", [(1.0, 1.2), (1.2, 1.1), (0.9, 1.1), (1.1, float("inf")),
                                                  (float("nan"), 2)])
def test_margins_that_are_none(equivalent, relevant):
    with pytest.raises(ValueError, match="equivalent <= relevant"):
        Margins(equivalent, relevant)


def test_too_few_launches_decide_nothing():
    few = Estimate(2.0, None, None, 2)
    why = "only 2: an interval needs at least 6 launches"
    for expected in decide.WORDS:
        assert decide.decide_ratio(few, MARGINS, expected) == Decision(UNDECIDED, why)
    assert decide.decide_target(few, Limits(at_most=9)) == Decision(NOT_DECIDED, why)


@pytest.mark.parametrize("limits, low, high, found", [
    (Limits(at_most=1.0), 0.9, 1.0, MET), (Limits(at_most=1.0), 0.9, 1.001, NOT_DECIDED),
    (Limits(at_most=1.0), 1.001, 2, MISSED),
    (Limits(at_least=1.0), 1.0, 1.1, MET), (Limits(at_least=1.0), 0.9, 1.0, NOT_DECIDED),
    (Limits(at_least=1.0), 0.9, 0.99, MISSED),
    (Limits(below=512), 511, 511.9, MET), (Limits(below=512), 511, 512, NOT_DECIDED),
    (Limits(below=512), 512, 600, MISSED),
    # Neither end is good, but what lies between them is.
    (Limits(0.995, 1.005), 0.98, 1.02, NOT_DECIDED), (Limits(0.995, 1.005), 0.996, 1.005, MET),
    (Limits(0.995, 1.005), 0.98, 0.99, MISSED), (Limits(0.995, 1.005), 1.006, 1.02, MISSED),
])
def test_a_target_is_met_or_missed_by_a_whole_interval(limits, low, high, found):
    decision = decide.decide_target(estimate(low, high), limits)
    assert decision.word == found and bool(decision.reason) == (found == NOT_DECIDED)


def test_what_was_counted_is_met_or_missed():
    assert decide.decide_target(counted(30), Limits(30, 30)).word == MET
    assert decide.decide_target(counted(29), Limits(30, 30)).word == MISSED


@pytest.mark.parametrize("observed, of, found", [
    (3, 3, TRUE), (20, 20, TRUE), (0, 3, FALSE), (1, 3, UNDECIDED), (19, 20, UNDECIDED), (2, 2, UNDECIDED),
    (0, 0, UNDECIDED),
])
def test_a_fact_is_always_or_never_or_undecided(observed, of, found):
    decision = decide.decide_fact(Shown(observed, of))
    assert decision.word == found and bool(decision.reason) == (found == UNDECIDED)


@pytest.mark.parametrize("observed, of, found", [(15, 20, TRUE), (13, 20, UNDECIDED), (0, 20, FALSE),
                                                 (2, 2, UNDECIDED)])
def test_what_only_has_to_exist_is_true_when_it_is_seen_mostly(observed, of, found):
    assert decide.decide_fact(Shown(observed, of), mostly=True).word == found


def test_a_fact_is_told_by_what_was_seen():
    assert Shown(20, 20).words == "shown 20 of 20"
    assert Shown(20, 20).interval == pytest.approx((0.839, 1.0), abs=1e-3)
    assert decide.decide_fact(Shown(9, 9), least=10) == Decision(UNDECIDED, "only 9 of at least 10 trials")


# Of any interval


def intervals(count, seed):
    """Ends on and around the borders, and anywhere."""
    draw = random.Random(seed)
    borders = [1, *(sign for margin in (1.05, 1.25) for sign in (margin, 1 / margin))]
    points = [border * factor for border in borders for factor in (1 - 1e-9, 1, 1 + 1e-9)]
    for _ in range(count):
        ends = [draw.choice(points) if draw.random() < 0.3 else 2 ** draw.gauss(0, 0.3) for _ in range(2)]
        yield min(ends), max(ends)


def test_each_interval_has_one_word_of_the_table():
    for (low, high), expected in product(intervals(2000, 1), decide.WORDS):
        assert word(low, high, expected) in {*decide.WORDS[expected], UNDECIDED}


def test_a_ratio_and_its_inverse_have_the_same_word_the_other_way_round():
    for (low, high), expected in product(intervals(2000, 2), decide.WORDS):
        if any(abs(end * border - 1) < 1e-12 for end in (low, high) for border in (1.05, 1.25, 1 / 1.05, 1 / 1.25)):
            continue  # on a border the inverse of a float lies beside it
        found, inverse = word(low, high, expected), word(1 / high, 1 / low, INVERSE[expected])
        assert inverse == (INVERSE_WORD.get(found, found) if expected == ANYTHING else found)


def test_what_is_decided_stays_so_when_the_interval_narrows():
    draw = random.Random(3)
    for (low, high), expected in product(intervals(2000, 4), decide.WORDS):
        within = sorted(draw.uniform(low, high) for _ in range(2))
        wide, narrow = word(low, high, expected), word(*within, expected)
        assert narrow == wide or wide == UNDECIDED


def test_a_target_that_is_decided_stays_so_when_the_interval_narrows():
    draw = random.Random(5)
    all_limits = (Limits(at_most=1), Limits(at_least=1), Limits(0.95, 1.05), Limits(below=1))
    for (low, high), limits in product(intervals(2000, 6), all_limits):
        within = sorted(draw.uniform(low, high) for _ in range(2))
        wide, narrow = (decide.decide_target(estimate(*ends), limits).word for ends in ((low, high), within))
        assert narrow == wide or wide == NOT_DECIDED


def test_the_zones_fill_the_axis_in_their_order():
    places = [ZONES.index(decide.zone(2 ** (step / 100), MARGINS)) for step in range(-200, 201)]
    assert places == sorted(places) and set(places) == set(range(5))
