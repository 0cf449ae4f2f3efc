"""Outcomes of findings, verdicts of claims, and the check that neither contradicts its data."""

from itertools import product

import pytest
from twinlab.claims import verdict
from twinlab.claims.verdict import (ABOVE, AT_MOST, BELOW, EQUAL, EQUIVALENT, FALSE, HOLDS, IS_FALSE, LIMITS, REFUTES,
                                    SUPPORTS, TRUE, UNDECIDED, UNRESOLVED, WITH_LIMITS, WITHIN, Contradiction, Interval,
                                    Judged, Outcome, Verdict)

ABOVE_ALL = Interval(1.5, 1.2, 1.9, 10)
INSIDE = Interval(1.0, 0.99, 1.02, 10)
BELOW_ALL = Interval(0.5, 0.4, 0.6, 10)
ACROSS_UPPER = Interval(1.05, 1.01, 1.2, 10)
ACROSS_BOTH = Interval(1.0, 0.8, 1.3, 10)


@pytest.mark.parametrize("interval, expected", [
    (ABOVE_ALL, ABOVE), (INSIDE, WITHIN), (BELOW_ALL, BELOW), (ACROSS_UPPER, UNDECIDED), (ACROSS_BOTH, UNDECIDED),
    (Interval(1.03, 1.03, 1.03, 3), WITHIN), (Interval(1.04, 1.0300001, 1.05, 3), ABOVE),
])
def test_zone(interval, expected):
    assert verdict.zone(interval, 1.03) == expected


@pytest.mark.parametrize("expect, interval, word", [
    (ABOVE, ABOVE_ALL, TRUE), (ABOVE, BELOW_ALL, FALSE), (ABOVE, INSIDE, EQUIVALENT), (ABOVE, ACROSS_UPPER, UNDECIDED),
    (BELOW, BELOW_ALL, TRUE), (BELOW, ABOVE_ALL, FALSE), (BELOW, INSIDE, EQUIVALENT), (BELOW, ACROSS_BOTH, UNDECIDED),
    (WITHIN, INSIDE, TRUE), (WITHIN, ABOVE_ALL, FALSE), (WITHIN, BELOW_ALL, FALSE), (WITHIN, ACROSS_UPPER, UNDECIDED),
    (AT_MOST, INSIDE, TRUE), (AT_MOST, BELOW_ALL, TRUE), (AT_MOST, ABOVE_ALL, FALSE),
    (AT_MOST, Interval(0.98, 0.9, 1.03, 5), TRUE), (AT_MOST, ACROSS_UPPER, UNDECIDED),
    (AT_MOST, ACROSS_BOTH, UNDECIDED), (WITHIN, ACROSS_BOTH, UNDECIDED),
])
def test_a_figure_is_decided_by_its_whole_interval(expect, interval, word):
    outcome = verdict.decide_figure(interval, expect, 1.03)
    assert outcome.word == word
    assert bool(outcome.reason) == (word == UNDECIDED)


@pytest.mark.parametrize("interval, problem, reason", [
    (None, "", "nothing was measured"), (ABOVE_ALL, "it rained", "it rained"),
    (Interval(9, 8, 10, 2), "", "only 2 of at least 3 pairs"),
])
def test_what_cannot_be_trusted_decides_nothing(interval, problem, reason):
    assert verdict.decide_figure(interval, ABOVE, 1.03, problem) == Outcome(UNDECIDED, reason)


@pytest.mark.parametrize("observed, of, word", [
    (3, 3, TRUE), (20, 20, TRUE), (0, 3, FALSE), (1, 3, UNDECIDED), (19, 20, UNDECIDED), (2, 2, UNDECIDED),
    (0, 0, UNDECIDED),
])
def test_a_fact_is_always_or_never_or_undecided(observed, of, word):
    assert verdict.decide_fact(observed, of).word == word


def test_a_fact_with_a_problem_is_undecided():
    assert verdict.decide_fact(5, 5, "no such demonstration") == Outcome(UNDECIDED, "no such demonstration")


INTERVALS = {TRUE: ABOVE_ALL, FALSE: BELOW_ALL, EQUIVALENT: INSIDE, UNDECIDED: ACROSS_UPPER}


def finding(role, word):
    """A figure that was expected above 1.03, with an interval that carries the word."""
    interval = INTERVALS[word]
    outcome = verdict.decide_figure(interval, ABOVE, 1.03)
    assert outcome.word == word
    return Judged(role, f"{role} {word}", "micro:x y a/b", ABOVE, 1.03, interval, outcome)


@pytest.mark.parametrize("findings, word", [
    ([(SUPPORTS, TRUE)], HOLDS),
    ([(SUPPORTS, TRUE), (SUPPORTS, TRUE)], HOLDS),
    ([(SUPPORTS, FALSE)], IS_FALSE),
    ([(SUPPORTS, TRUE), (SUPPORTS, FALSE)], IS_FALSE),
    ([(SUPPORTS, UNDECIDED)], UNRESOLVED),
    ([(SUPPORTS, TRUE), (SUPPORTS, UNDECIDED)], UNRESOLVED),
    ([(SUPPORTS, UNDECIDED), (SUPPORTS, FALSE)], IS_FALSE),
    ([(SUPPORTS, EQUIVALENT)], EQUAL),
    ([(SUPPORTS, EQUIVALENT), (SUPPORTS, EQUIVALENT)], EQUAL),
    ([(SUPPORTS, EQUIVALENT), (SUPPORTS, TRUE)], WITH_LIMITS),
    ([(SUPPORTS, TRUE), (LIMITS, TRUE)], WITH_LIMITS),
    ([(SUPPORTS, TRUE), (LIMITS, FALSE)], HOLDS),
    ([(SUPPORTS, TRUE), (LIMITS, EQUIVALENT)], HOLDS),
    ([(SUPPORTS, TRUE), (LIMITS, UNDECIDED)], UNRESOLVED),
    ([(SUPPORTS, TRUE), (LIMITS, UNDECIDED), (LIMITS, TRUE)], WITH_LIMITS),
    ([(SUPPORTS, TRUE), (REFUTES, FALSE)], HOLDS),
    ([(SUPPORTS, TRUE), (REFUTES, EQUIVALENT)], HOLDS),
    ([(SUPPORTS, TRUE), (REFUTES, TRUE)], IS_FALSE),
    ([(SUPPORTS, TRUE), (REFUTES, UNDECIDED)], UNRESOLVED),
    ([(REFUTES, TRUE)], IS_FALSE),
    ([(REFUTES, FALSE)], UNRESOLVED),
    ([], UNRESOLVED),
])
def test_the_verdict_follows_from_the_outcomes(findings, word):
    made = [finding(*each) for each in findings]
    answer = verdict.decide(made)
    assert answer.word == word
    assert bool(answer.reason) == (word != HOLDS)
    verdict.check(answer, made)


LEADING = {IS_FALSE: {(SUPPORTS, FALSE), (REFUTES, TRUE)}, EQUAL: {(SUPPORTS, EQUIVALENT)}, HOLDS: {(SUPPORTS, TRUE)},
           WITH_LIMITS: {(SUPPORTS, TRUE)}}


def test_the_finding_that_stands_for_a_verdict_is_a_reason_for_it():
    single = [finding(role, word) for role, word in product(verdict.ROLES, INTERVALS)]
    for made in product(single, repeat=2):
        answer = verdict.decide(made)
        found = verdict.leading(answer, made)
        if answer.word == UNRESOLVED:
            assert found is None or found.outcome.word == UNDECIDED
        else:
            assert (found.role, found.outcome.word) in LEADING[answer.word]
    assert verdict.leading(Verdict(UNRESOLVED, "open"), []) is None


def test_a_claim_that_is_stated_to_be_open_stays_so_whatever_is_found():
    answer = verdict.decide([finding(SUPPORTS, TRUE)], "no database")
    assert answer == Verdict(UNRESOLVED, "no database")


def test_no_combination_of_findings_has_a_verdict_that_its_data_do_not_carry():
    roles, words = (SUPPORTS, LIMITS, REFUTES), (TRUE, FALSE, EQUIVALENT, UNDECIDED)
    single = [finding(role, word) for role, word in product(roles, words)]
    for made in product(single, repeat=3):
        answer = verdict.decide(made)
        verdict.check(answer, made)
        for other in set(verdict.VERDICTS) - {answer.word}:
            with pytest.raises(Contradiction):
                verdict.check(Verdict(other, "said so"), made)


@pytest.mark.parametrize("expect, word, interval", [
    (ABOVE, TRUE, ACROSS_UPPER), (ABOVE, TRUE, INSIDE), (ABOVE, TRUE, BELOW_ALL), (ABOVE, FALSE, INSIDE),
    (ABOVE, EQUIVALENT, ACROSS_UPPER), (WITHIN, TRUE, ACROSS_BOTH), (WITHIN, EQUIVALENT, INSIDE),
    (BELOW, TRUE, ABOVE_ALL), (AT_MOST, TRUE, ACROSS_UPPER), (AT_MOST, FALSE, INSIDE), (ABOVE, TRUE, None),
    (ABOVE, TRUE, Interval(1.5, 1.2, 1.9, 2)), (ABOVE, TRUE, Interval(2.0, 1.2, 1.9, 9)), (ABOVE, UNDECIDED, ABOVE_ALL),
])
def test_an_outcome_that_its_interval_does_not_carry_is_an_error(expect, word, interval):
    judged = Judged(SUPPORTS, "x", "y", expect, 1.03, interval, Outcome(word))
    with pytest.raises(Contradiction):
        verdict.check(verdict.decide([judged]), [judged])


@pytest.mark.parametrize("word, share", [(TRUE, 0.9), (FALSE, 0.1), (EQUIVALENT, 1.0)])
def test_a_fact_that_its_count_does_not_carry_is_an_error(word, share):
    judged = Judged(SUPPORTS, "x", "y", None, None, Interval(share, 0.0, 1.0, 10), Outcome(word))
    with pytest.raises(Contradiction):
        verdict.check(verdict.decide([judged]), [judged])


def test_unresolved_without_a_reason_is_an_error():
    with pytest.raises(Contradiction):
        verdict.check(Verdict(UNRESOLVED, ""), [])
