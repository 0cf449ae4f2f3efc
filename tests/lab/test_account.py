"""What a server tells of itself by its observer, and that the observer is no part of what is measured."""

import json
import os
import signal

import pytest
from fake_server import FakeServer, send_and_end
from patience import DEADLINE_S
from real_server import prefork, wait_for
from twinlab.base.errors import LabError
from twinlab.machine import processes, procfs
from twinlab.servers import account, observer
from twinlab.servers.observer import Observer


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    monkeypatch.setattr(observer, "STATE_TIMEOUT_S", DEADLINE_S)


def answer_of(body, status=b"200 OK"):
    return send_and_end(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))


def read(body, status=b"200 OK"):
    """What is made of an observer's answer."""
    with FakeServer(answer_of(body, status)) as server:
        return account.read(Observer(server.port, ""), "prefork")


def test_an_account_that_is_refused_is_told_with_its_server():
    with pytest.raises(LabError, match="prefork: .*403"):
        read(b"", b"403 No")


@pytest.mark.parametrize("state", [b"{}", b"[]", b'{"server":{},"processes":[]}'])
def test_an_account_that_is_not_understood_is_told_with_its_server(state):
    with pytest.raises(LabError, match="prefork: what its observer tells is not understood"):
        read(state)


def test_each_thread_is_told_with_its_process_and_its_request():
    slots = [{"slot": 0, "tid": 7, "state": "ready", "current": {"line": "GET / HTTP/1.1", "client": "127.0.0.1"}},
             {"slot": 1, "tid": 71, "state": "draining", "current": None}]
    state = {"server": {"model": "hybrid", "dispatch": "request"}, "totals": {"deaths": 3}, "deaths": [{"pid": 5}],
             "processes": [{"number": 4, "pid": 7, "generation": 9, "state": "ready", "slots": slots},
                           {"number": 1, "pid": 8, "generation": 2, "state": "starting", "slots": []}],
             "master": {"pid": 6, "processes_wanted": 2}}
    assert read(json.dumps(state).encode()) == {
        "model": "hybrid", "dispatch": "request", "totals": {"deaths": 3}, "deaths": [{"pid": 5}], "master_pid": 6,
        "processes_wanted": 2, "generation": 9,
        "processes": [{"number": 4, "pid": 7, "generation": 9, "state": "ready"},
                      {"number": 1, "pid": 8, "generation": 2, "state": "starting"}],
        "workers": [{"slot": 0, "tid": 7, "state": "ready", "pid": 7, "process": 4, "generation": 9,
                     "current": "GET / HTTP/1.1"},
                    {"slot": 1, "tid": 71, "state": "draining", "pid": 7, "process": 4, "generation": 9,
                     "current": None}]}


def test_a_real_server_tells_of_its_workers_and_nobody_asks_them(tmp_path):
    with prefork(tmp_path, 2) as server:
        found = [server.status() for _ in range(5)][-1]
    assert (found["model"], found["dispatch"]) == ("prefork", None)
    assert found["processes_wanted"] == found["generation"] == 2
    assert [(each["process"], each["generation"], each["role"], each["current"]) for each in found["workers"]] == [
        (0, 1, "loop", None), (1, 2, "loop", None)]
    assert found["totals"]["requests_started"] == found["totals"]["connections_accepted"] == 0


def observers_of(server):
    return [pid for pid in processes.session_members(server.status(DEADLINE_S)["master_pid"])
            if procfs.status(pid).get("Name") == observer.NAME]


def test_the_observer_is_not_measured_and_ends_with_its_server(tmp_path, monkeypatch):
    with prefork(tmp_path, 2) as server:
        pid, = observers_of(server)
        found = server.status()
        assert set(server.pids()) == {found["master_pid"], *(worker["pid"] for worker in found["workers"])}
        used, own = server.memory(), processes.memory([pid])
        assert used.rss == pytest.approx(processes.memory([*server.pids(), pid]).rss - own.rss, abs=own.rss / 4)
        for name in ("memory", "pss_kib"):
            monkeypatch.setattr(processes, name, lambda pids, beside: (pids, beside))
        assert server.memory() == server.pss_kib() == (server.pids(), [pid])
    assert server.leftovers == [] and procfs.state(pid) is None


def test_an_observer_that_is_away_is_waited_for(tmp_path):
    with prefork(tmp_path, 1) as server:
        pid, = observers_of(server)
        for _ in range(3):
            os.kill(pid, signal.SIGKILL)
            assert server.status(DEADLINE_S)["workers"][0]["state"] == "ready"
            before, (pid,) = pid, observers_of(server)
            assert pid != before


def test_an_observer_that_leaves_before_it_answers_is_asked_again(tmp_path):
    with prefork(tmp_path, 1) as server:
        state = server.observer.state()
        answer = answer_of(json.dumps(state).encode())
        with FakeServer(lambda connection, number: number <= 3 or answer(connection, number)) as fake:
            server.observer = Observer(fake.port, "")
            assert server.status(DEADLINE_S)["master_pid"] == state["master"]["pid"] and sum(fake.behaved.values()) == 4


def test_an_observer_that_hangs_is_not_waited_for_without_end(tmp_path, monkeypatch):
    with prefork(tmp_path, 1, "--stuck-after-ms", "off") as server:
        monkeypatch.setattr(observer, "STATE_TIMEOUT_S", 0.1)
        pid, = observers_of(server)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(account.Silent, match="prefork does not tell of itself any more"):
            server.status(patience_s=0.3)
        os.kill(pid, signal.SIGCONT)


def test_a_server_that_is_gone_is_not_waited_for(tmp_path):
    with prefork(tmp_path, 1) as server:
        os.kill(server.status()["master_pid"], signal.SIGKILL)
        with pytest.raises(account.Silent):
            wait_for(lambda: not server.status(DEADLINE_S), "nobody tells")
