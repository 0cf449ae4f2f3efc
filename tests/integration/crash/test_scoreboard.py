"""What the scoreboard says is true."""

import re

import pytest

from support import models
from support.client import request_bytes
from support.waiting import wait_until


def test_who_it_is_about(server):
    seen = server.status()
    assert seen["server"] == server.model.binary
    assert seen["model"] == server.model.kind
    assert seen["dispatch"] == server.model.dispatch
    assert seen["master_pid"] == (server.pid if server.model.has_master else 0)
    assert re.fullmatch(r"\d+\.\d+\.\d+", seen["version"])
    assert seen["deaths"] == []
    assert seen["stuck_processes"] == []


def test_every_worker_is_listed(server):
    model = server.model
    workers = server.status()["workers"]
    assert [worker["slot"] for worker in workers] == list(range(model.slots))
    assert {worker["process"] for worker in workers} == set(range(model.processes))
    assert {worker["pid"] for worker in workers} == set(server.worker_pids())
    assert len({worker["tid"] for worker in workers}) == model.slots
    roles = [worker["role"] for worker in workers]
    assert roles.count("loop") == model.processes * model.loops
    assert roles.count("pool") == model.processes * model.pool
    assert {worker["state"] for worker in workers} == {"ready"}
    assert {worker["generation"] for worker in workers} >= {1}


def test_heartbeats(server):
    """The loops beat by themselves: no request is needed for it."""
    wait_until(lambda: all(worker["heartbeat_age_ms"] < 3000
                           for worker in server.status()["workers"] if worker["role"] == "loop"),
               "every loop has a young heartbeat")


def quiet_totals(server):
    """The totals when no connection is open."""
    def when_quiet():
        totals = server.status()["totals"]
        return totals if totals["connections_open"] == 0 else None
    return wait_until(when_quiet, "all connections are closed")


def test_nothing_is_lost_when_quiet(server):
    clients = [server.connect() for _ in range(20)]
    for client in clients:
        client.send(request_bytes(target="/plaintext") * 10)
    for client in clients:
        assert [client.read_response().status for _ in range(10)] == [200] * 10
        client.close()

    def is_settled():
        """Who adds up may read of one request the beginning and of another one the end."""
        totals = quiet_totals(server)
        assert totals["requests_lost"] == 0
        # Aborted are those whose clients went away, in other tests on this server.
        return totals["requests_started"] == totals["requests_finished"] + totals["requests_aborted"]
    wait_until(is_settled, "every request that was started has an end")


def test_requests_and_connections_are_counted(server):
    before = quiet_totals(server)
    for _ in range(5):
        with server.connect() as client:
            for _ in range(7):
                client.get("/plaintext")
    after = quiet_totals(server)
    assert after["connections_accepted"] - before["connections_accepted"] == 5
    assert after["requests_started"] - before["requests_started"] == 35
    assert after["bytes_sent"] - before["bytes_sent"] > 35 * len("Hello, World!")


def test_totals_are_the_sum_of_the_workers(server):
    """When nothing happens between the reading of the two; a connection may just be closing."""
    def totals_are_the_sum():
        status = server.status()
        return all(status["totals"][key] == sum(worker[key] for worker in status["workers"])
                   for key in ("requests_started", "requests_finished", "connections_accepted",
                               "connections_open"))
    server.get("/plaintext")
    wait_until(totals_are_the_sum, "the totals are the sum of the workers")


def test_open_and_idle_connections(server):
    quiet_totals(server)
    clients = [server.connect() for _ in range(5)]
    for client in clients:
        client.get("/plaintext")
    wait_until(lambda: server.status()["totals"]["connections_open"] == 5, "all are counted")
    wait_until(lambda: server.status()["totals"]["connections_idle"] == 5,
               "connections without a byte for a second count as idle")
    for client in clients:
        assert client.get("/plaintext").status == 200
        client.close()
    assert quiet_totals(server)["connections_idle"] == 0


@pytest.mark.models(models.ANY_WORKER_ACCEPTS)
def test_the_current_request_is_shown(server):
    with server.connect() as client:
        server.send_and_see(client, "/sleep?ms=2500")
        assert client.read_response().status == 200
    assert not server.is_running("GET /sleep?ms=2500 HTTP/1.1")
