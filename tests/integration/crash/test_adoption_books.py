"""--on-death adopt: what the books say of a death that no client sees: what became of its connections and requests."""

import os
import resource
import signal

import pytest

from support import models, server as servers, wrk
from support.client import ConnectionLost, request_bytes
from support.control import ask
from support.deaths import KINDS, check_balance, sum_of
from support.server import shown_line
from support.waiting import wait_until

SUPERVISED = pytest.mark.models(models.SUPERVISED)
ADOPT = ("--on-death", "adopt", "--bench", "on", "--stuck-after-ms", "off")
LARGE_BYTES = 20_000_000
ADDRESSES_BYTES = 900 << 20  # what outlives a process takes a GiB of them for each event loop
NOTHING = dict.fromkeys(KINDS, 0)


@pytest.fixture
def start_adopting(start_server):
    def start(model, *options, **how):
        return start_server(model, *ADOPT, *options, **how)
    return start


def kill_all(server):
    """Kills what serves, and waits until others have gone on. Returns the records of these deaths."""
    before = server.worker_pids()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    for pid in before:
        server.wait_for_recovery_ms(pid)
    return [server.find_death(pid) for pid in before]


def kill_all_during(server, client, target):
    """The same while a handler works on this request, and on no other: again if it was over before."""
    def kill():
        server.send_and_see(client, target)
        deaths = kill_all(server)
        lines = [request["line"] for death in deaths for request in death["requests"]]
        if lines == [shown_line(f"GET {target} HTTP/1.1")]:
            return deaths
        assert client.read_response().status == 200
        return None
    return wait_until(kill, f"processes die during {target}")


def now(server, deaths):
    """The same records as they are by now: handlers run when the successor serves."""
    return [server.find_death(death["pid"]) for death in deaths]


@SUPERVISED
def test_connections_between_requests(model, start_adopting):
    server = start_adopting(model)
    with server.connect() as one, server.connect() as other:
        one.get("/plaintext")
        other.get("/plaintext")
        deaths = kill_all(server)
        assert all(death["left_to_successor"] for death in deaths)
        told = sum_of(deaths)
        assert told["connections"] == 2
        assert told | {"connections": 0, "skipped": 0} == NOTHING
        assert [death["requests_lost"] for death in deaths] == [0] * len(deaths)
        assert one.get("/plaintext").status == other.get("/plaintext").status == 200
        check_balance(server)
    server.wait_for_log(r"after the death of its predecessor, and has taken over \d+ connections; 0 are lost")


@SUPERVISED
def test_the_master_tells_the_same(model, start_adopting, tmp_path):
    path = tmp_path / "control"
    server = start_adopting(model, "--control", str(path))
    with server.connect() as client:
        client.get("/plaintext")
        kill_all(server)
        assert client.get("/plaintext").status == 200
    listed, totals = ask(path, "list"), server.status()["totals"]
    for what in ("deaths", "requests_lost", "adoption"):
        assert listed[what] == totals[what]
    assert listed["deaths"] == model.processes and listed["adoption"]["connections"] >= 1


@SUPERVISED
def test_a_request_that_is_repeated_is_one(model, start_adopting):
    server = start_adopting(model)
    with server.connect() as client:
        deaths = kill_all_during(server, client, "/sleep?ms=3000")
        assert client.read_response().status == 200
        deaths = now(server, deaths)
        assert sum_of(deaths)["repeated"] == 1
        assert sum(death["in_progress"] for death in deaths) >= 1
        check_balance(server)
    server.wait_for_log("has dealt with what its predecessor left: 1 requests repeated, 0 answers resumed, 0 requests given"
                        " up with 500 and 0 with 502; 0 connections lost")


@SUPERVISED
def test_what_is_booked_outlives_the_successor(model, start_adopting):
    server = start_adopting(model)
    with server.connect() as client:
        first = kill_all_during(server, client, "/sleep?ms=3000")
        wait_until(lambda: sum_of(now(server, first))["repeated"] == 1, "the request is repeated")
        kill_all(server)
        assert client.read_response().status == 200
        kill_all(server)
        assert sum_of(now(server, first))["repeated"] == 1
        assert sum_of(now(server, first))["connections"] >= sum_of(first)["connections"]
        check_balance(server)
        status, pids = server.status(), {death["pid"] for death in first}
        others = sum_of([death for death in status["deaths"] if death["pid"] not in pids])
        assert status["totals"]["adoption"]["repeated"] == 1 + others["repeated"]


@SUPERVISED
def test_the_request_under_which_processes_die_is_named(model, start_adopting):
    server = start_adopting(model, "--faults", "on")
    with server.connect() as culprit:
        assert culprit.get("/fault/segv?not%22=told").status == 500
        assert culprit.get("/plaintext").status == 200
    server.wait_for_full_strength()
    # A successor may answer before the master has booked whose it is.
    wait_until(lambda: [death["adoption"]["refused_500"] for death in server.status()["deaths"]] == [0, 1],
               "the second death is told to have cost an answer")
    assert [death["adoption"]["repeated"] for death in server.status()["deaths"]] == [1, 0]
    check_balance(server)
    server.wait_for_log(r'\[warn\] slot \d+ pid \d+: gave up "GET /fault/segv\?not%22=told HTTP/1.1" of 127.0.0.1:\d+'
                        r' with 500: processes die under it')


def begin_download(server, site):
    content = os.urandom(LARGE_BYTES)
    (site / "booked.bin").write_bytes(content)
    os.utime(site / "booked.bin", (1e9, 1e9))  # what has just changed gets other validators a moment later
    client = server.connect(receive_buffer_bytes=65536)
    client.send(request_bytes(target="/booked.bin"))
    assert b"200 OK" in client.read_head()
    return client, content


@SUPERVISED
def test_an_answer_that_is_resumed(model, start_adopting, site):
    server = start_adopting(model)
    client, content = begin_download(server, site)
    with client:
        deaths = kill_all(server)
        assert client.read_exactly(LARGE_BYTES) == content
        deaths = now(server, deaths)
        assert sum_of(deaths)["resumed"] == 1
        assert sum_of(deaths)["lost"] == 0
        check_balance(server)


@SUPERVISED
def test_an_answer_that_cannot_be_resumed(model, start_adopting, site):
    """Its file is another one by now: that connection is lost, and with it one request."""
    server = start_adopting(model)
    client, _ = begin_download(server, site)
    with client:
        os.utime(site / "booked.bin", (2e9, 2e9))
        deaths = kill_all(server)
        with pytest.raises((ConnectionLost, OSError)):
            client.read_exactly(LARGE_BYTES)
        # The request is booked when the connection is closed.
        wait_until(lambda: sum(death["requests_lost"] for death in now(server, deaths)), "the request is lost")
        deaths = now(server, deaths)
        assert sum_of(deaths)["lost"] == 1
        assert [sum(death[what] for death in deaths) for what in ("requests_lost", "in_progress_lost")] == [1, 1]
        check_balance(server)
    assert server.status()["totals"]["requests_lost"] == 1


@pytest.mark.skipif(servers.PRESET in ("asan-ubsan", "tsan"), reason="sanitizers take all the addresses there are")
@SUPERVISED
def test_a_successor_that_cannot_go_on(model, start_adopting):
    """There is too little room for the memory that outlives a process. What was left to it is lost, and so is what it
    has itself."""
    server = start_adopting(model)
    with server.connect() as client:
        assert client.get("/plaintext").status == 200
        resource.prlimit(server.pid, resource.RLIMIT_AS, (ADDRESSES_BYTES, ADDRESSES_BYTES))
        first = kill_all(server)
        with pytest.raises((ConnectionLost, OSError)):
            client.get("/plaintext")
    server.wait_for_log("its connections will die with it")
    assert all(death["left_to_successor"] for death in first)
    assert sum(death["requests_lost"] + death["idle_cut"] for death in first) >= 1
    assert sum_of(first) == NOTHING
    assert not any(death["left_to_successor"] for death in kill_all(server))
    check_balance(server)


@pytest.mark.serial
@pytest.mark.slow
@pytest.mark.models(models.UNDER_LOAD)
def test_the_books_balance_after_a_load(model, start_adopting, start_load):
    server = start_adopting(model, "--rebalance", "off")
    load = start_load(server, "/plaintext")
    for _ in range(6):
        kill_all(server)
        wrk.wait_until_under_way(server)
    result = wrk.end(load)
    assert (result.connect_errors, result.read_errors, result.write_errors, result.bad_statuses) == (0, 0, 0, 0)
    check_balance(server)
    totals = server.status()["totals"]
    assert totals["requests_lost"] == 0
    assert totals["adoption"]["connections"] >= 6 * 32
    assert totals["requests_finished"] >= result.requests
