"""Counters go on over an upgrade: the new program's observer adds what the old one has counted, while that drains, too."""

import json
import os
import signal
import threading

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

    def start(model, *options):
        control = tmp_path / "control"
        observer = Observer(start_server(model, *observing.ON, "--control", str(control), "--upgrade-trial-ms", "200",
                                         *options))
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
    with server.connect() as client:
        for _ in range(count):
            assert client.get("/plaintext").status == 200


class Watcher:
    """Asks for the state again and again, and notes each counter that has gone back."""

    def __init__(self, observer):
        self._observer = observer
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answers = 0
        self.masters = set()
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
                self.masters.add(state["master"]["pid"])
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
