"""The identity between the journal and the clients: exact where it must be, flagged with the difference where not."""

import os
import signal
import time
from dataclasses import replace
from itertools import count

import fake_server
import pytest
from fake_server import FakeServer
from real_server import BIN_DIR, prefork, wait_for
from twinlab.base.errors import LabError
from twinlab.clients import wrk
from twinlab.clients.lab_prober import OpenLoop, Plan
from twinlab.runs import identity
from twinlab.runs.identity import Identity
from twinlab.runs.journal import Balance
from twinlab.servers import books
from twinlab.servers.books import Books

pytestmark = pytest.mark.serial  # it measures

NO_LOSSES = {"totals": {"requests_lost": 0, "deaths": 0}, "deaths": []}
AGREED = Identity(Balance(wrk_cut=30, journal_lost=41, lab_lost=1), idle_cut=4, prober_cut=3, prober_idle_closes=11,
                  prober_timeouts=0)


def test_accounts_that_agree():
    assert (AGREED.server, AGREED.clients, AGREED.difference, AGREED.holds) == (44, 44, 0, True)
    assert AGREED.sentence().startswith("The journal and the clients agree: journal 44")


def test_a_difference_has_a_sign_and_may_be_tolerated():
    more, fewer = replace(AGREED, prober_cut=1), replace(AGREED, prober_cut=8)
    assert (more.difference, fewer.difference) == (2, -5)
    assert not more.holds and not fewer.holds and replace(more, tolerance=2).holds
    assert "MISMATCH of -5" in fewer.sentence() and "within 2" in replace(more, tolerance=2).sentence()
    assert fewer.as_dict()["difference"] == -5


def test_requests_given_up_may_stand_in_the_journal():
    hung = replace(AGREED, prober_cut=0, prober_timeouts=3)
    assert hung.holds and replace(hung, prober_cut=3).holds
    assert replace(hung, prober_timeouts=2).difference == 1 and replace(hung, prober_cut=4).difference == -1


def test_records_that_are_missing_are_not_guessed():
    with pytest.raises(LabError, match="0 records of 3 deaths"):
        identity.check({"totals": {"requests_lost": 9, "deaths": 3}, "deaths": []})


def test_silent_closes_are_flagged_with_their_number():
    with FakeServer(fake_server.close_silently_every(7)) as server:
        with OpenLoop(BIN_DIR, server.port, Plan(200, duration_s=0.5, connections=8)) as probing:
            result = probing.wait()
        closed = server.behaved[True]
    found = identity.check(NO_LOSSES, probed=[result])
    assert closed == 14 and not found.holds
    assert found.difference == -closed


def test_a_server_that_counts_its_losses_is_believed(tmp_path):
    """A death under wrk and an open loop: the prober's connections are in use, just used, and silent for long."""
    with prefork(tmp_path, 1) as server:
        with wrk.Wrk(server.port, "/plaintext", 8, 20) as load, \
                OpenLoop(BIN_DIR, server.port, Plan(200, duration_s=60, connections=8)) as busy, \
                OpenLoop(BIN_DIR, server.port, Plan(2, duration_s=60, connections=12)) as silent:
            wait_for(lambda: server.status()["totals"]["connections_open"] >= 28, "all connections open")
            time.sleep(1.2)  # some of the silent ones are idle to the journal after a second
            os.kill(server.status()["workers"][0]["pid"], signal.SIGKILL)
            wait_for(lambda: any(death["recovery_ms"] for death in server.status()["deaths"]), "the death's record")
            results = [busy.finish(), silent.finish()]
            load_result = load.finish()
        status = server.status()
    found = identity.check(status, load_result, results, tolerance=1)
    assert found.holds, found.sentence()
    assert abs(found.server - 28) <= 1 and found.balance.wrk_cut == 8 and found.prober_idle_closes > 4
    # Without the prober's share the same figures do not add up.
    assert not identity.check(status, load_result, tolerance=1).holds


def status_with(started, finished, aborted=0, in_progress=(), connections=0):
    return {"totals": {"requests_started": started, "requests_finished": finished, "requests_aborted": aborted,
                       "connections_open": connections},
            "deaths": [{"in_progress": count} for count in in_progress]}


def test_books_know_the_end_of_every_request():
    assert Books.of(status_with(100, 90, 4, (2, 4))).under_way == 0
    assert books.unexplained(status_with(100, 100), answered=100) == 0
    assert books.unexplained(status_with(100, 97)) == 3 and books.unexplained(status_with(100, 102)) == 2
    assert books.unexplained(status_with(100, 100), answered=104) == 4


def test_a_server_is_settled_when_all_is_answered_or_nothing_moves():
    busy = iter([status_with(100, 97), status_with(101, 99), status_with(102, 102), status_with(102, 102),
                 status_with(999, 0)])
    assert books.settled(lambda: next(busy)) == status_with(102, 102)
    assert next(busy) == status_with(999, 0)
    began_s = time.monotonic()
    assert books.settled(lambda: status_with(100, 97), still_s=0.05) == status_with(100, 97)
    assert time.monotonic() - began_s >= 0.05


@pytest.mark.parametrize("last", [status_with(102, 102, connections=2), status_with(103, 103, connections=4)])
def test_a_server_that_has_answered_all_so_far_may_have_more_in_its_queues(last):
    looks = iter([status_with(102, 102, connections=4), last, last, status_with(999, 0)])
    assert books.settled(lambda: next(looks)) == last


def test_a_queue_that_is_worked_off_is_waited_for():
    """As many are under way all the time, one after the other."""
    looks = iter([*(status_with(number + 1, number) for number in range(20)), *[status_with(20, 20)] * 2])
    assert books.settled(lambda: next(looks), still_s=5 * books.POLL_S) == status_with(20, 20)


def test_a_server_that_is_never_done_is_not_waited_for_without_end(monkeypatch):
    monkeypatch.setattr(books, "SETTLE_DEADLINE_S", 0.05)
    numbers = count(102)
    assert books.unexplained(books.settled(lambda: status_with(next(numbers), 0))) > 100
