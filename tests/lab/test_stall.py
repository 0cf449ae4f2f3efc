"""Who waits when a process dies, by the answers of a client that always asks."""

import socket
import subprocess
import time

import pytest
from patience import DEADLINE_S
from real_server import BIN_DIR, prefork, wait_for
from twinlab.clients.lab_prober import Ended
from twinlab.machine.deaths import Watched
from twinlab.runs import stall
from twinlab.runs.speed import Bench
from twinlab.runs.stall import Fates, Kept

pytestmark = pytest.mark.serial  # it measures

DEAD, SIBLING, SUCCESSOR = 7, 8, 9


def ok(ended_s, connection, pid):
    return Ended(ended_s, connection, "ok", pid)


def cut(ended_s, connection):
    return Ended(ended_s, connection, "reset_before_answer", None)


def test_a_stall_lasts_from_the_death_to_the_next_answer():
    ended = [ok(0.98, 0, DEAD), ok(0.99, 1, DEAD), ok(0.99, 2, SIBLING), ok(1.001, 2, SIBLING), ok(1.005, 1, SUCCESSOR),
             ok(1.007, 0, SUCCESSOR), ok(1.008, 0, SUCCESSOR)]
    found = stall.fates_of(ended, DEAD, 1.0)
    assert (found.held, found.cut) == (2, 0) and found.stalls_ms == pytest.approx((7, 5))


def test_an_answer_of_the_dead_that_is_read_late_ends_no_stall():
    ended = [ok(0.99, 0, DEAD), ok(1.0005, 0, DEAD), ok(1.004, 0, SUCCESSOR)]
    assert stall.fates_of(ended, DEAD, 1.0).stalls_ms == pytest.approx((4,))


def test_who_is_cut_has_no_stall():
    ended = [ok(0.99, 0, DEAD), cut(1.001, 0), ok(1.02, 0, SUCCESSOR), ok(0.99, 1, SIBLING), ok(1.01, 1, SIBLING)]
    assert stall.fates_of(ended, DEAD, 1.0) == Fates(1, (), 1)


def test_a_connection_that_was_handed_over_before_is_not_counted():
    ended = [ok(0.8, 0, DEAD), ok(0.9, 0, SIBLING), ok(1.1, 0, SIBLING), ok(0.9, 1, SIBLING), ok(0.95, 2, DEAD)]
    assert stall.fates_of(ended, DEAD, 1.0) == Fates(0, (), 0)


def test_nobody_waits_without_a_client(tmp_path):
    bench = Bench(BIN_DIR, tmp_path, tmp_path, 1, 0, 0)
    with Kept(bench, 1, 0) as kept:
        kept.finish()
    assert kept.fates(DEAD, 1.0) == Fates(0, (), 0) and kept.waits_ms(1.0) == [] and kept.cut == 0


def wait_for_answers(server):
    """Until each of the connections has some more, however busy the machine is."""
    enough = server.status()["totals"]["requests_finished"] + 100
    time.sleep(0.3)
    wait_for(lambda: server.status()["totals"]["requests_finished"] > enough, "answers")


def test_all_connections_of_the_client_are_seen_with_whose_they_are(tmp_path):
    bench = Bench(BIN_DIR, tmp_path, tmp_path, 1, 0, 0)
    with prefork(tmp_path, 1) as server, Kept(bench, server.port, 4) as kept:
        pid, = {worker["pid"] for worker in server.status()["workers"]}
        wait_for_answers(server)
        at_s = time.monotonic()
        wait_for_answers(server)
        kept.finish()
    assert {each.pid for each in kept.ended} == {pid} and {each.connection for each in kept.ended} == set(range(4))
    assert min(each.ended_s for each in kept.ended) < at_s < max(each.ended_s for each in kept.ended)
    assert len(kept.waits_ms(at_s)) == 4 and kept.cut_between(0, time.monotonic()) == kept.cut == 0


@pytest.mark.parametrize("ended", ["process", "line"])
def test_a_death_and_the_end_of_a_line_are_seen_when_they_come(ended):
    here, there = socket.socketpair()
    with here, there, subprocess.Popen(["sleep", "60"]) as child, Watched([child.pid], here) as watched:
        assert watched.wait(0.05) is None
        before_s = time.monotonic()
        child.kill() if ended == "process" else there.close()
        assert before_s <= watched.wait(DEADLINE_S) <= time.monotonic()
        child.kill()


def test_who_has_died_before_is_not_watched():
    here, there = socket.socketpair()
    with subprocess.Popen(["true"]) as child:
        pass
    with here, there, Watched([child.pid], here) as watched:
        assert watched.wait(0.01) is None
