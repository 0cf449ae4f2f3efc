"""Connections that are kept alive move from one event loop to another: all loops get their share,
and no client notices."""

import os
import signal
import time

import pytest

from support import models, wrk
from support.client import request_bytes
from support.waiting import wait_until

SEVERAL_LOOPS = pytest.mark.models(
    tuple(name for name, model in models.BY_NAME.items() if model.processes * model.loops > 1))
SEVERAL_PROCESSES = pytest.mark.models(("prefork", "prefork-reuseport", "hybrid", "hybrid-request"))
CONNECTIONS = 24  # for each loop
SLACK = 4  # a difference of four and an eighth is left alone
KILLS = 3
OFF_S = 0.5  # several ticks of every loop
PATIENT = ("--idle-timeout-ms", "600000")  # with clients that come one by one, on a busy machine


def loops_of(status):
    return [worker for worker in status["workers"] if worker["role"] == "loop"]


def is_balanced(server):
    """Of connections in use: one on which a client that had no CPU did not ask for a second is no load, and stays."""
    counts = [loop["connections_open"] - loop["connections_idle"] for loop in loops_of(server.status())]
    return max(counts) <= min(counts) + min(counts) // 8 + SLACK


def adopted(server):
    return server.status()["totals"]["connections_adopted"]


def accepted_by_loop(server):
    return [loop["connections_accepted"] for loop in loops_of(server.status())]


def crowd_one_loop(server):
    """Clients whose connections one loop has accepted, while the others have none left."""
    loops = server.model.processes * server.model.loops
    clients = [[] for _ in range(loops)]
    before = accepted_by_loop(server)
    for _ in range(CONNECTIONS * loops):
        client = server.connect()
        assert client.get("/plaintext").status == 200
        after = accepted_by_loop(server)
        clients[next(i for i in range(loops) if after[i] > before[i])].append(client)
        before = after
    crowd, *others = sorted(clients, key=len, reverse=True)
    for client in (client for group in others for client in group):
        client.close()
    return crowd


def ask_all(clients):
    """A request on every connection at once; each is answered."""
    for client in clients:
        client.send(request_bytes(target="/plaintext"))
    for client in clients:
        response = client.read_response()
        assert (response.status, response.says_close) == (200, False)


def assert_a_crowd_spreads(server):
    crowd = crowd_one_loop(server)

    def asked_and_balanced():
        ask_all(crowd)
        return is_balanced(server) and adopted(server) > 0
    wait_until(asked_and_balanced, "all loops have their share of the crowd")
    for _ in range(20):
        ask_all(crowd)
    # One that is just being handed over may be counted twice, or not at all.
    wait_until(lambda: server.status()["totals"]["connections_open"] == len(crowd), "all are still open")
    totals = server.status()["totals"]
    assert (totals["requests_aborted"], totals["requests_lost"], totals["deaths"]) == (0, 0, 0)
    for client in crowd:
        client.close()
    server.assert_clean_log()


@SEVERAL_LOOPS
def test_a_crowd_spreads(model, start_server):
    assert_a_crowd_spreads(start_server(model, *PATIENT))


@pytest.mark.models(("prefork", "threadpool-connection", "hybrid"))
def test_a_crowd_spreads_after_a_reload(model, start_server):
    """The new processes have inboxes of their own."""
    server = start_server(model, *PATIENT)
    old = set(server.worker_pids())
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: not old & set(server.worker_pids()), "all processes have been replaced")
    server.wait_for_full_strength()
    assert_a_crowd_spreads(server)


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_off_means_off(model, start_server):
    server = start_server(model, "--rebalance", "off", *PATIENT)
    crowd = crowd_one_loop(server)
    end = time.monotonic() + OFF_S
    while time.monotonic() < end:
        ask_all(crowd)
    assert adopted(server) == 0
    assert max(loop["connections_open"] for loop in loops_of(server.status())) >= len(crowd)
    for client in crowd:
        client.close()


@SEVERAL_PROCESSES
def test_deaths_under_load(model, start_server, start_load):
    """wrk keeps its connections: after each death the successor gets its share of them, and nothing
    fails but what the deaths cut."""
    server = start_server(model)
    load = start_load(server, "/plaintext")
    for _ in range(KILLS):
        wait_until(lambda: is_balanced(server), "the successor has its share")  # and nothing is handed over just then
        wrk.wait_until_accepted(server, 64)
        victim = server.worker_pids()[0]
        os.kill(victim, signal.SIGKILL)
        server.wait_for_full_strength(without_pid=victim)
    wait_until(lambda: is_balanced(server), "the successor has its share")
    wrk.wait_until_accepted(server, 64)  # wrk has noticed what the last death has cut, too
    result = wrk.end(load)
    status = server.status()
    # A connection that wrk had no CPU to ask on for a second was idle for the server: cut, and nothing lost with it.
    idle_cut = sum(death["idle_cut"] for death in status["deaths"])
    assert result.read_errors + result.write_errors == status["totals"]["requests_lost"] + idle_cut
    assert (result.connect_errors, result.timeouts, result.bad_statuses) == (0, 0, 0)
