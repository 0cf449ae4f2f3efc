"""The accounts of a crash: wrk's, the server's, and the lab's own client's."""

import time

import pytest
from twinlab import prober
from twinlab.journal import Balance, sum_balances
from twinlab.prober import Probe


def probe(ended_s, generation=1, lost=False):
    return Probe(ended_s - 0.001, ended_s, lost, None if lost else generation)


def test_accounts_that_agree():
    assert Balance(wrk_cut=16, journal_lost=18, lab_lost=2).mismatch == 0


def test_mismatch_has_a_sign():
    assert Balance(wrk_cut=16, journal_lost=17, lab_lost=0).mismatch == 1
    assert Balance(wrk_cut=16, journal_lost=16, lab_lost=1).mismatch == -1


def test_sum_of_accounts():
    assert sum_balances([Balance(1, 2, 3), Balance(10, 20, 30)]) == Balance(11, 22, 33)
    assert sum_balances([]) == Balance(0, 0, 0)


def test_longest_silence_begins_in_the_window():
    answers_s = [0.0, 0.9, 1.0, 1.05, 1.06, 3.0]
    assert prober.longest_silence_ms(answers_s, 1.0, 1.055) == pytest.approx(50)
    assert prober.longest_silence_ms(answers_s, 0.95, 1.0) == pytest.approx(50)
    assert prober.longest_silence_ms(answers_s, 1.02, 1.5) == pytest.approx(1940)


def test_silence_without_end_is_unknown():
    assert prober.longest_silence_ms([1.0], 5.0, 6.0) is None
    assert prober.longest_silence_ms([], 0.0, 1.0) is None


def test_nothing_is_asked_during_a_pause():
    thread = prober.Prober(port=1)
    with thread:
        with thread.paused():
            before = len(thread.probes)
            time.sleep(0.02)
            assert len(thread.probes) <= before + 1
    assert thread.probes and not any(found.answered or found.lost for found in thread.probes)


def test_first_answer_of_a_successor():
    probes = [probe(1.0, 4), probe(1.1, 4), probe(1.2, lost=True), probe(1.25, 5)]
    assert prober.first_new_answer_ms(probes, crash_s=1.15, old_generation=4) == pytest.approx(100)
    assert prober.first_new_answer_ms(probes[:3], crash_s=1.15, old_generation=4) is None


def test_answers_and_losses_are_told_apart():
    probes = [probe(1.0), probe(1.1, lost=True), Probe(1.1, 3.1, False, None), probe(3.2)]
    assert prober.answer_times_s(probes) == [1.0, 3.2]
    assert prober.lost_between(probes, 1.0, 2.0) == 1
    assert prober.lost_between(probes, 2.0, 4.0) == 0
