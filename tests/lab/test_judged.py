"""What a command says of all its targets, and the exit status that follows."""

import pytest
from twinlab.base import judged
from twinlab.base.decide import Limits
from twinlab.base.interval import Estimate, counted
from twinlab.base.judged import Judged


class Target(Judged):
    """At most 1."""

    def __init__(self, measured):
        self._measured = measured

    @property
    def measured(self):
        return self._measured

    @property
    def limits(self):
        return Limits(at_most=1)


MET, MISSED = Target(Estimate(0.9, 0.8, 1.0, 9)), Target(Estimate(1.2, 1.1, 1.3, 9))
OPEN, OPEN_BEYOND = Target(Estimate(0.9, 0.8, 1.1, 9)), Target(Estimate(1.1, 0.9, 1.2, 9))
FEW, FEW_BEYOND = Target(Estimate(0.9, None, None, 2)), Target(Estimate(5.0, None, None, 2))


@pytest.mark.parametrize("targets, status", [
    ([], 0), ([MET], 0), ([MET, MISSED], 1), ([MET, OPEN], 0), ([OPEN_BEYOND], 1), ([FEW, FEW_BEYOND], 0),
    ([Target(counted(1))], 0), ([Target(counted(2))], 1),
])
def test_a_median_counts_where_an_interval_could_have_decided(targets, status):
    assert judged.exit_status(targets) == status


@pytest.mark.parametrize("targets, line", [
    ([MET, MISSED, MET], "2 of 3 targets met, 1 missed, 0 not decided."),
    ([MET, OPEN], "1 of 2 targets met, 0 missed, 1 not decided."),
    ([OPEN, OPEN_BEYOND], "0 of 2 targets met, 0 missed, 2 not decided (1 of these with the median beyond the limit)."),
    ([FEW_BEYOND, MET], "1 of 2 targets met, 0 missed, 1 not decided; an interval needs at least 6 rounds."),
])
def test_what_is_not_decided_is_neither_met_nor_missed(targets, line):
    assert judged.tally(targets) == line


def test_it_is_told_in_the_words_of_the_command():
    assert judged.tally([FEW], "limits", "launches").startswith("0 of 1 limits met")
    assert judged.tally([FEW], "limits", "launches").endswith("at least 6 launches.")
