"""The accounts of a crash: wrk's, the server's, and the lab's own client's."""

import os
import random
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from real_server import BIN_DIR
from twinlab.claims import block
from twinlab.claims.experiment import Side
from twinlab.clients import lookout
from twinlab.clients.lookout import Probe
from twinlab.runs import crash
from twinlab.runs.crash import ADOPT, Breakage, Crash, CrashRound
from twinlab.runs.journal import Balance, sum_balances
from twinlab.runs.speed import Bench
from twinlab.runs.windows import Windows
from twinlab.servers import models, workloads
from twinlab.servers.server import Server

pytestmark = pytest.mark.serial  # it measures


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
    assert lookout.longest_silence_ms(answers_s, 1.0, 1.055) == pytest.approx(50)
    assert lookout.longest_silence_ms(answers_s, 0.95, 1.0) == pytest.approx(50)
    assert lookout.longest_silence_ms(answers_s, 1.02, 1.5) == pytest.approx(1940)


def test_silence_without_end_is_unknown():
    assert lookout.longest_silence_ms([1.0], 5.0, 6.0) is None
    assert lookout.longest_silence_ms([], 0.0, 1.0) is None


def test_nothing_is_asked_during_a_pause():
    thread = lookout.Prober(port=1)
    with thread:
        with thread.paused():
            before = len(thread.probes)
            time.sleep(0.02)
            assert len(thread.probes) <= before + 1
    assert thread.probes and not any(found.answered or found.lost for found in thread.probes)


def test_first_answer_of_a_successor():
    probes = [probe(1.0, 4), probe(1.1, 4), probe(1.2, lost=True), probe(1.25, 5)]
    assert lookout.first_new_answer_ms(probes, crash_s=1.15, old_generation=4) == pytest.approx(100)
    assert lookout.first_new_answer_ms(probes[:3], crash_s=1.15, old_generation=4) is None


def test_answers_and_losses_are_told_apart():
    probes = [probe(1.0), probe(1.1, lost=True), Probe(1.1, 3.1, False, None), probe(3.2)]
    assert lookout.answer_times_s(probes) == [1.0, 3.2]
    assert lookout.lost_between(probes, 1.0, 2.0) == 1
    assert lookout.lost_between(probes, 2.0, 4.0) == 0


def a_crash(lost=8, victim_connections=8, recovery_ms=3.0, served=True):
    death = {"requests_lost": lost, "recovery_ms": recovery_ms}
    return Crash(0.9, 1.0, 4, [death], silence_ms=2.0, victim_connections=victim_connections, served=served)


def a_round(*crashes, wrk_cut=None, **changes):
    cut = sum(each.lost or 0 for each in crashes) if wrk_cut is None else wrk_cut
    return replace(CrashRound("prefork", "sigkill", 32, list(crashes), Balance(cut, cut, 0), 0, {}), **changes)


def test_a_crash_that_costs_its_own_connections_alone():
    found = block.crash_block(a_round(a_crash(8), a_crash(9)))
    assert (found.void, found.mismatch) == ("", 0)
    assert found.metrics == {"recovered": 1.0, "none_lost": 0.0, "lost_per_crash": 8.5, "lost_share": 8.5 / 32,
                             "others_survive": 1.0, "all_lost": 0.0, "recovery_ms": 3.0, "silence_ms": 2.0}


@pytest.mark.parametrize("lost, cut, known, none", [(0, 0, True, 1.0), (1, 0, True, 0.0), (0, 1, True, 0.0),
                                                    (0, 0, False, 0.0)])
def test_nothing_is_lost_by_either_account(lost, cut, known, none):
    found = a_round(a_crash(0), a_crash(lost), wrk_cut=cut, books_known=known, balance=Balance(cut, lost, 0))
    assert block.crash_block(found).metrics["none_lost"] == none


def test_a_sibling_that_dies_too_is_counted_against_the_others():
    found = block.crash_block(a_round(a_crash(), unexpected_deaths=1))
    assert found.void == "" and found.metrics["others_survive"] == 0.0


@pytest.mark.parametrize("broken", [a_crash(recovery_ms=None), a_crash(served=False), Crash(0.9, 1.0, 4)])
def test_a_recovery_that_fails_is_an_outcome(broken):
    found = block.crash_block(a_round(a_crash(), broken, notes=["no successor was ready within 10 s of crash 2"]))
    assert found.void == "" and found.metrics["recovered"] == 0.0 and found.metrics["lost_per_crash"] == 8
    assert not {"recovery_ms", "silence_ms"} & set(found.metrics)


def test_a_server_that_falls_silent_has_not_survived():
    found = block.crash_block(a_round(a_crash(), books_known=False, balance=Balance(32, 8, 0)))
    assert (found.void, found.mismatch) == ("", 0) and found.metrics["others_survive"] == 0.0


@pytest.mark.parametrize("lost, held, cut, survive", [(9, 8, 9, 1.0), (10, 8, 10, 0.0), (10, 8, 9, 0.0),
                                                      (28, 8, 28, 0.0), (8, 8, 20, 0.0), (30, 31, 30, 1.0)])
def test_others_lose_nothing_at_all(lost, held, cut, survive):
    found = a_round(a_crash(lost, held), wrk_cut=cut)
    assert block.crash_block(found).metrics["others_survive"] == survive


def test_who_is_alone_has_no_others():
    found = block.crash_block(a_round(a_crash(32, 32)))
    assert "others_survive" not in found.metrics and found.metrics["all_lost"] == 1.0


def test_a_victims_connections_are_those_of_all_its_slots():
    workers = [{"pid": 7, "connections_open": 5}, {"pid": 7, "connections_open": 3}, {"pid": 8, "connections_open": 9}]
    death = {"pid": 7, "in_progress": 1, "awaited": 2, "idle_cut": 4}
    assert crash.connections_of(death, {"workers": workers}) == 8
    assert crash.connections_of(death | {"pid": 9}, {"workers": workers}) == 7


@pytest.fixture
def bench(tmp_path):
    root = tmp_path / "www"
    workloads.make_documents(root)
    return Bench(BIN_DIR, root, tmp_path, 16, 0, 0)


@pytest.mark.parametrize("fault", ["sigkill", "segv"])
@pytest.mark.parametrize("side, alone", [
    (Side("prefork", model="prefork", workers=4), False), (Side("hybrid", model="hybrid", workers=2, threads=2), False),
    (Side("threadpool", model="threadpool", threads=4), True)], ids=lambda value: getattr(value, "name", ""))
def test_one_death_among_real_processes(bench, side, alone, fault):
    found = block.measure(bench, replace(side, block="crash", fault=fault, crashes=1), random.Random(1))
    assert found.void == "" and found.metrics["recovered"] == 1.0 and found.metrics["recovery_ms"] > 0
    if alone:
        assert found.metrics["all_lost"] == 1.0 and "others_survive" not in found.metrics
    else:
        assert found.metrics.get("others_survive", 1.0) == 1.0 and found.metrics["lost_per_crash"] > 0


def measured(bench, model, breakage, kept=0):
    """One crash; again, if wrk was late on a busy machine."""
    return Windows().measure("a crash", lambda: crash.run(bench, model, breakage, 1, random.Random(1), kept))


def test_a_request_that_nobody_has_given_up_is_told(bench, monkeypatch):
    monkeypatch.setattr(Breakage, "given_up", 1)
    found = measured(bench, FOUR.start, Breakage("sigkill", ADOPT))
    assert found.notes == ["the journal names 0 requests that were given up"]


@pytest.mark.parametrize("fault, deaths", [("sigkill", 1), ("segv", 2)])
@pytest.mark.parametrize("key, all_wait", [("prefork", False), ("threadpool", True), ("threadpool-request", True),
                                           ("hybrid", False)])
def test_connections_that_are_adopted_wait_and_lose_nothing(bench, key, all_wait, fault, deaths):
    model = models.make(4, 2)[key]
    found = measured(bench, model, Breakage(fault, ADOPT), kept=64)
    only, = found.crashes
    assert only.given_up >= (fault == "segv") and all(death["adoption"]["lost"] == 0 for death in only.deaths)
    assert (found.notes, found.unexpected_deaths) == ([], 0) and len(only.deaths) == deaths and only.recovered
    assert (only.lost, found.balance.mismatch, found.wrk["errors"]["read"], only.kept_cut) == (0, 0, 0, 0)
    # Whoever waits at a second death was not necessarily answered after the first.
    assert 0 < len(only.stalls_ms) == only.kept_held and all(stall_ms >= 0 for stall_ms in only.stalls_ms)
    assert only.left <= bench.connections and (only.left == bench.connections if all_wait else only.left >= 0)
    assert len(only.calm_waits_ms) == 64


@pytest.mark.parametrize("told_after_s, seen_after_s, after_s", [(20, 90, 20), (90, 20, 20), (-500, 20, 0)])
def test_a_death_that_is_seen_late_is_believed_to_the_journal(told_after_s, seen_after_s, after_s):
    begun_s, day_s = time.monotonic(), time.time()
    told = datetime.fromtimestamp(day_s + told_after_s, UTC).isoformat()
    found = crash.when_first(Crash(begun_s, begun_s + seen_after_s, 1, [{"time": told}]))
    assert found - begun_s == pytest.approx(after_s, abs=5)


def test_connections_that_are_cut_do_not_wait(bench):
    found = measured(bench, models.make(4, 2)["threadpool"], Breakage("sigkill"), kept=8)
    only, = found.crashes
    assert (only.kept_cut, only.kept_held, only.stalls_ms, only.left) == (8, 8, [], None)
    assert (only.lost, found.balance.mismatch) == (16, 0)


def test_a_request_that_is_not_given_up_is_told(bench, monkeypatch):
    """The server does not adopt, and the laboratory believes that it does."""
    monkeypatch.setattr(Breakage, "deaths", 1)
    monkeypatch.setattr(crash, "server_options", lambda _breakage: ("--faults", "on"))
    found = measured(bench, FOUR.start, Breakage("segv", ADOPT))
    assert "cut instead of being answered 500" in found.notes[0]


FOUR = Side("prefork", block="crash", model="prefork", workers=4, fault="sigkill", crashes=1)


@pytest.mark.parametrize("which", [0, -1])
def test_two_deaths_at_once_do_not_pass_for_one(bench, monkeypatch, which):
    def kill_two(_round, status):
        pids = sorted({worker["pid"] for worker in status["workers"]})[:2]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        killed.append(pids[which])
        return pids[which], time.monotonic()
    killed = []
    monkeypatch.setattr(crash.Round, "_kill", kill_two)
    found = crash.run(bench, FOUR.start, Breakage(FOUR.fault), FOUR.crashes, random.Random(1))
    assert found.unexpected_deaths == 1 and [death["pid"] for death in found.crashes[0].deaths] == killed
    counted = block.crash_block(found)
    assert counted.void == "" and counted.metrics["others_survive"] == 0.0 and counted.metrics["recovered"] == 1.0


def test_a_crash_that_takes_the_whole_server_is_an_outcome(bench, monkeypatch):
    def kill_all(_round, status):
        os.kill(status["master_pid"], signal.SIGKILL)
        return status["workers"][0]["pid"], time.monotonic()
    monkeypatch.setattr(crash.Round, "_kill", kill_all)
    found = block.measure(bench, FOUR, random.Random(1))
    assert found.void == "" and found.metrics["others_survive"] == 0.0 and found.metrics["recovered"] == 0.0


def test_a_successor_that_never_comes_is_an_outcome(bench, monkeypatch):
    """The master is stopped: it replaces nobody, and the other processes go on."""
    monkeypatch.setattr(crash, "RECOVERY_DEADLINE_S", 3.0)
    end = Server.__exit__

    def go_on_and_end(server, *details):
        os.kill(server.master_pid, signal.SIGCONT)
        end(server, *details)

    def stop_master(server):
        server.master_pid = server.status()["master_pid"]
        os.kill(server.master_pid, signal.SIGSTOP)
    monkeypatch.setattr(Server, "__exit__", go_on_and_end)
    side = Side("prefork", block="crash", model="prefork", workers=2, fault="sigkill", crashes=2)
    found = crash.run(bench, side.start, Breakage("sigkill"), 2, random.Random(1), inspect=stop_master)
    assert len(found.crashes) == 1 and "no successor was ready within" in found.notes[0]
    assert block.crash_block(found).metrics["recovered"] == 0.0
