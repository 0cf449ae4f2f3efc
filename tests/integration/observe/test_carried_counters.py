"""Counters go on over an upgrade: the new program's observer adds what the old one has counted, while that drains, too; and
the old one's what a new one has counted that came to nothing."""

import json
import os
import signal
import threading
import time

import pytest

from support import models, observing, processes, wrk
from support.client import ConnectionLost, request_bytes
from support.control import Control
from support.observing import Observer
from support.waiting import DEADLINE_S, wait_until

pytestmark = pytest.mark.models(models.ONE_OF_EACH_BINARY)
GAUGES = {"connections_open", "connections_busy", "connections_idle"}


@pytest.fixture
def start_observed(start_server, tmp_path):
    """A server whose new programs are stopped, too."""
    started = []

    def start(model, *options, trial_ms=200):
        control = tmp_path / "control"
        observer = Observer(start_server(model, *observing.ON, "--control", str(control), "--upgrade-trial-ms",
                                         str(trial_ms), *options))
        observer.control = Control(control)
        started.append(observer.server)
        return observer

    yield start
    for server in started:
        processes.kill_session(server.session)


def upgrade(observer):
    """Until the old program has gone; the pid of the new master."""
    old = observer.control.done("list")["master_pid"]
    observer.control.done("upgrade")
    wait_until(lambda: not processes.is_alive(old), "the old program has gone")
    observer.server.process.poll()
    return wait_until(lambda: (answer := observer.control.done("list")) and answer["master_pid"] != old and answer,
                      "the new program answers")["master_pid"]


def state_of(observer):
    answer = observer.try_to_ask("/api/v1/state")
    return json.loads(answer.body) if answer and answer.status == 200 else None


def counters_in(state):
    totals = {**state["totals"], **state["totals"]["adoption"]}
    return {name: number for name, number in totals.items() if name not in GAUGES and name != "adoption"}


def totals(observer):
    return counters_in(wait_until(lambda: state_of(observer), "the state is told"))


def wait_for_metric(observer, line):
    wait_until(lambda: line in observer.ask(target="/metrics").body.decode().splitlines(), line)


def ask(server, count):
    """On as few connections as may be: a process that has just been told to retire may still accept one, and closes it."""
    while count > 0:
        with server.connect() as client:
            says_close = False
            while count > 0 and not says_close:
                response = client.get("/plaintext")
                assert response.status == 200
                count, says_close = count - 1, response.says_close


class Watcher:
    """Asks for the state again and again, and notes each counter that has gone back."""

    def __init__(self, observer):
        self._observer = observer
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answers = 0
        self.masters = set()
        self.last_master = None
        self.gone_back = []

    def _run(self):
        last = {}
        while not self._ends.is_set():
            try:
                state = state_of(self._observer)
            except (OSError, ConnectionLost):
                continue
            if state:
                now = counters_in(state)
                self.gone_back += [(name, last[name], number) for name, number in now.items() if number < last.get(name, 0)]
                self.answers += 1
                self.last_master = state["master"]["pid"]
                self.masters.add(self.last_master)
                last = now

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ends.set()
        self._thread.join(DEADLINE_S)


def test_they_go_on(model, start_observed):
    """Over two upgrades, with what a death has cost and how long requests took."""
    observer = start_observed(model)
    server = observer.server
    ask(server, 100)
    wait_for_metric(observer, "twinhttpd_request_duration_seconds_count 100")
    victim = server.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: totals(observer)["deaths"] == 1 and state_of(observer)["master"]["restarted"] == 1, "it has a successor")
    for expected in (250, 400):
        upgrade(observer)
        ask(server, 150)
        wait_until(lambda: totals(observer)["requests_finished"] == expected, f"{expected} requests are told")
    now = totals(observer)
    assert (now["requests_started"], now["deaths"]) == (400, 1)
    assert state_of(observer)["master"]["restarted"] == 1
    wait_for_metric(observer, 'twinhttpd_deaths_total{cause="SIGKILL"} 1')
    wait_for_metric(observer, "twinhttpd_recovery_seconds_count 1")
    wait_for_metric(observer, "twinhttpd_request_duration_seconds_count 400")


def test_none_goes_back_meanwhile(model, start_observed, start_load):
    observer = start_observed(model)
    load = start_load(observer.server, "/plaintext")
    with Watcher(observer) as watcher:
        wait_until(lambda: watcher.masters, "the first program tells")
        for _ in range(2):
            new_master = upgrade(observer)
            seen = watcher.answers
            wait_until(lambda: watcher.answers > seen + 5 and new_master in watcher.masters, "the new program tells")
    result = wrk.end(load)
    assert watcher.gone_back == []
    assert len(watcher.masters) == 3
    wait_until(lambda: totals(observer)["requests_finished"] >= result.requests, "all that wrk counts")

    def is_settled():  # what was under way when wrk ended is aborted
        last = totals(observer)
        return last["requests_started"] - last["requests_finished"] <= last["requests_aborted"] + 1
    wait_until(is_settled, "what was started is finished or aborted")


def test_what_the_old_program_still_answers_is_added(model, start_observed):
    """It drains: its request ends after the new program has begun to tell."""
    observer = start_observed(model, "--drain-timeout-ms", "600000", "--body-timeout-ms", "600000")
    with observer.server.connect() as client:
        client.send(request_bytes("POST", "/echo", [("Content-Length", "2")]) + b"a")
        wait_until(lambda: totals(observer)["requests_started"] == 1, "the request has begun")
        old = observer.control.done("list")["master_pid"]
        observer.control.done("upgrade")
        wait_until(lambda: (state := state_of(observer)) and state["master"]["pid"] != old, "the new program tells")
        before = totals(observer)
        assert before["requests_started"] == before["requests_finished"] + 1
        client.send(b"b")
        assert client.read_response().status == 200
        wait_until(lambda: totals(observer)["requests_finished"] == before["requests_finished"] + 1, "it is added")


# A new program that comes to nothing.

def begin_upgrade(observer, old):
    """Until the new program tells; its pid. The old one is ready to serve again."""
    observer.control.done("upgrade")

    def other():
        state = state_of(observer)
        return state and state["master"]["pid"] != old and state["master"]["pid"]
    return wait_until(other, "the new program tells")


def recall(old, _new):
    os.kill(old, signal.SIGHUP)


def kill(_old, new):
    """When it has written what it has counted: it does so each time it wakes a tenth of a second later."""
    time.sleep(0.2)
    turns = processes.status_number(new, "voluntary_ctxt_switches")
    wait_until(lambda: processes.status_number(new, "voluntary_ctxt_switches") > turns + 1, "it has woken and gone to sleep again")
    os.kill(new, signal.SIGKILL)


def ask_until_told(observer, count, expected):
    ask(observer.server, count)
    wait_until(lambda: totals(observer)["requests_finished"] == expected, f"{expected} requests are told")


@pytest.mark.parametrize("end", [recall, kill])
def test_what_a_program_has_counted_that_came_to_nothing_is_added(model, start_observed, end):
    """Twice, and then one that stays."""
    observer = start_observed(model, trial_ms=600000)
    old = observer.server.pid
    expected = 100
    ask_until_told(observer, 100, expected)
    for _ in range(2):
        new = begin_upgrade(observer, old)
        ask_until_told(observer, 50, expected + 50)
        end(old, new)
        wait_until(lambda: (state := state_of(observer)) and state["master"]["pid"] == old, "the old program tells again")
        wait_until(lambda gone=new: not processes.is_alive(gone), "the new one has ended")
        ask_until_told(observer, 7, expected + 57)
        expected += 57
        wait_for_metric(observer, f"twinhttpd_request_duration_seconds_count {expected}")
        observer.server.wait_for_full_strength()
    begin_upgrade(observer, old)
    ask_until_told(observer, 10, expected + 10)


def test_none_goes_back_when_the_new_program_is_recalled(model, start_observed, start_load):
    observer = start_observed(model, trial_ms=600000)
    old = observer.server.pid
    load = start_load(observer.server, "/plaintext")
    with Watcher(observer) as watcher:
        wait_until(lambda: watcher.masters, "the first program tells")
        new = begin_upgrade(observer, old)
        wait_until(lambda: watcher.last_master == new, "the new program is seen")
        recall(old, new)
        wait_until(lambda: watcher.last_master == old, "the old program is seen again")
        seen = watcher.answers
        wait_until(lambda: watcher.answers > seen + 5, "it is seen for a while")
    result = wrk.end(load)
    assert watcher.gone_back == []
    wait_until(lambda: totals(observer)["requests_finished"] >= result.requests, "all that wrk counts")


def test_what_a_recalled_program_still_answers_is_added(model, start_observed):
    """It drains, and nobody observes it any more."""
    observer = start_observed(model, "--drain-timeout-ms", "600000", "--body-timeout-ms", "600000", trial_ms=600000)
    old = observer.server.pid
    new = begin_upgrade(observer, old)
    with observer.server.connect() as client:
        client.send(request_bytes("POST", "/echo", [("Content-Length", "2")]) + b"a")
        wait_until(lambda: totals(observer)["requests_started"] == 1, "the request has begun")
        recall(old, new)
        wait_until(lambda: not processes.observers(new), "the new program's observer has left")
        wait_until(lambda: (state := state_of(observer)) and state["master"]["pid"] == old, "the old program tells again")
        assert processes.is_alive(new)
        assert totals(observer)["requests_started"] == 1
        client.send(b"b")
        assert client.read_response().status == 200
        wait_until(lambda: totals(observer)["requests_finished"] == 1, "it is added")
