"""Outcomes of findings, verdicts of claims, and the check that neither contradicts its data."""

from dataclasses import replace
from itertools import product

import pytest
from twinlab.claims import verdict
from twinlab.claims.verdict import (ABOVE, AT_MOST, BELOW, EQUAL, EQUIVALENT, FALSE, HOLDS, IS_FALSE, LIMITS, REFUTES,
                                    SUPPORTS, TRUE, UNDECIDED, UNRESOLVED, WITHIN, WITH_LIMITS, Contradiction,
                                    Interval, Judged, Outcome, Verdict)

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


@pytest.mark.parametrize("observed, of, word", [
    (3, 3, TRUE), (15, 20, TRUE), (20, 20, TRUE), (0, 20, FALSE), (1, 20, UNDECIDED), (13, 20, UNDECIDED),
    (2, 2, UNDECIDED),
])
def test_a_limit_is_true_when_it_is_seen_mostly(observed, of, word):
    assert verdict.decide_fact(observed, of, role=LIMITS).word == word


def test_a_full_run_asks_for_more_pairs():
    few = replace(ABOVE_ALL, n=7)
    assert verdict.decide_figure(few, ABOVE, 1.03).word == TRUE
    assert verdict.decide_figure(few, ABOVE, 1.03, least=8) == Outcome(UNDECIDED, "only 7 of at least 8 pairs")
    assert verdict.decide_figure(replace(few, n=8), ABOVE, 1.03, least=8).word == TRUE


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
    ([(SUPPORTS, TRUE), (SUPPORTS, EQUIVALENT), (LIMITS, UNDECIDED)], WITH_LIMITS),
    ([(SUPPORTS, EQUIVALENT), (LIMITS, UNDECIDED)], EQUAL),
    ([(SUPPORTS, EQUIVALENT), (LIMITS, TRUE)], EQUAL),
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


def test_no_combination_of_findings_has_a_verdict_that_its_data_do_not_carry():
    roles, words = (SUPPORTS, LIMITS, REFUTES), (TRUE, FALSE, EQUIVALENT, UNDECIDED)
    single = [finding(role, word) for role, word in product(roles, words)]
    for made in product(single, repeat=3):
        answer = verdict.decide(made)
        verdict.check(answer, made)
        for other in set(verdict.VERDICTS) - {answer.word}:
            with pytest.raises(Contradiction):
                verdict.check(Verdict(other, "said so"), made)


def test_a_claim_is_unresolved_only_if_what_is_undecided_could_change_its_word():
    single = [finding(role, word) for role, word in product(verdict.ROLES, INTERVALS)]
    for made in product(single, repeat=3):
        choices = [[finding(each.role, word) for word in (TRUE, FALSE, EQUIVALENT)]
                   if each.outcome.word == UNDECIDED else [each] for each in made]
        words = {verdict.decide(decided).word for decided in product(*choices)}
        assert verdict.decide(made).word == (words.pop() if len(words) == 1 else UNRESOLVED)


@pytest.mark.parametrize("mistaken", [HOLDS, WITH_LIMITS, EQUAL, IS_FALSE])
def test_the_check_does_not_share_a_mistake_of_the_decision(monkeypatch, mistaken):
    monkeypatch.setattr(verdict, "decide", lambda findings: Verdict(mistaken, "mistaken"))
    monkeypatch.setattr(verdict, "_against", lambda findings: [])
    made = [finding(REFUTES, UNDECIDED), finding(SUPPORTS, TRUE)]
    with pytest.raises(Contradiction):
        verdict.check(verdict.decide(made), made)
    with pytest.raises(Contradiction):
        verdict.check(verdict.decide([]), [])


def test_a_finding_that_is_skipped_neither_helps_nor_harms():
    missing = Judged(SUPPORTS, "m", "field:t y", ABOVE, 1.03, None, Outcome(UNDECIDED, "not installed"),
                     problem="not installed", skipped=True)
    for made, word in (([finding(SUPPORTS, TRUE), missing], HOLDS), ([missing], UNRESOLVED)):
        answer = verdict.decide(made)
        assert answer.word == word
        verdict.check(answer, made)
    assert verdict.leading(Verdict(UNRESOLVED, "x"), [missing, finding(SUPPORTS, UNDECIDED)]).says != "m"
    with pytest.raises(Contradiction):
        wrong = replace(finding(SUPPORTS, FALSE), skipped=True)
        verdict.check(verdict.decide([wrong, finding(SUPPORTS, TRUE)]), [wrong, finding(SUPPORTS, TRUE)])


@pytest.mark.parametrize("expect, interval", [(ABOVE, ABOVE_ALL), (ABOVE, INSIDE), (BELOW, ABOVE_ALL), (WITHIN, INSIDE),
                                              (AT_MOST, ABOVE_ALL), (AT_MOST, BELOW_ALL)])
def test_what_an_interval_decides_may_not_be_left_open(expect, interval):
    left = Judged(SUPPORTS, "x", "y", expect, 1.03, interval, Outcome(UNDECIDED, "who knows"))
    answer = Verdict(UNRESOLVED, "x: who knows")
    with pytest.raises(Contradiction):
        verdict.check(answer, [left])
    verdict.check(answer, [replace(left, problem="it rained")])
    verdict.check(answer, [replace(left, least=11)])
    with pytest.raises(Contradiction):
        verdict.check(answer, [Judged(SUPPORTS, "x", "y", None, None, Interval(1.0, 0.7, 1.0, 9),
                                      Outcome(UNDECIDED, "who knows"))])


def test_what_has_a_problem_may_not_be_decided():
    wrong = replace(finding(SUPPORTS, TRUE), problem="it rained")
    with pytest.raises(Contradiction):
        verdict.check(verdict.decide([wrong]), [wrong])
    few = replace(finding(SUPPORTS, TRUE), least=11)
    with pytest.raises(Contradiction):
        verdict.check(verdict.decide([few]), [few])


@pytest.mark.parametrize("role, word, low, carried", [
    (LIMITS, TRUE, 0.51, True), (LIMITS, TRUE, 0.49, False), (SUPPORTS, TRUE, 0.51, False),
    (LIMITS, UNDECIDED, 0.51, False), (SUPPORTS, UNDECIDED, 0.51, True),
])
def test_only_a_limit_is_carried_by_being_seen_mostly(role, word, low, carried):
    fact = Judged(role, "x", "y", None, None, Interval(0.8, low, 0.9, 20), Outcome(word, "" if word == TRUE else "why"))
    made = [finding(SUPPORTS, TRUE), fact]
    if carried:
        verdict.check(verdict.decide(made), made)
    else:
        with pytest.raises(Contradiction):
            verdict.check(verdict.decide(made), made)


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
