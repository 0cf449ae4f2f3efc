"""--on-death adopt: a keeper dies before the process whose descriptors it keeps."""

import os
import re
import signal

import pytest

from support import models, processes, wrk
from support.client import ConnectionLost
from support.deaths import check_balance, kill_all
from support.waiting import wait_until

SUPERVISED = pytest.mark.models(models.SUPERVISED)
ADOPT = ("--on-death", "adopt", "--bench", "on", "--stuck-after-ms", "off", "--rebalance", "off",
         "--drain-timeout-ms", "600000", "--idle-timeout-ms", "600000")


@pytest.fixture
def start_adopting(start_server):
    return lambda model, *options: start_server(model, *ADOPT, *options)


def kill_keepers(server):
    """All of them, as it were at once. Returns their number."""
    victims = processes.keepers(server.pid)
    assert len(victims) == server.model.processes
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server.log().count("was killed by SIGKILL: its connections will die with it") >= len(victims),
               "the master knows")


def wait_until_replaced(server):
    def are_replaced():
        *replaced, rest = server.log().split("it has no keeper")
        return len(replaced) >= server.model.processes and "all processes have been replaced" in rest
    wait_until(are_replaced, "the master replaces them")


def wait_until_gone(server, pids):
    wait_until(lambda: not pids & set(server.worker_pids()), "those who retire have ended")


@pytest.mark.slow
@SUPERVISED
def test_its_process_is_replaced(model, start_adopting):
    """Nobody's connection ends before its next answer, and those who come then outlive their process again."""
    server = start_adopting(model)
    before = set(server.worker_pids())
    with server.connect() as early:
        assert early.get("/plaintext").status == 200
        kill_keepers(server)
        wait_until_replaced(server)
        response = early.get("/plaintext")
        assert response.status == 200 and response.says_close
    wait_until_gone(server, before)
    assert server.status()["deaths"] == []
    with server.connect() as late:
        assert late.get("/plaintext").status == 200
        kill_all(server)
        assert late.get("/plaintext").status == 200
    wait_until(lambda: len(processes.keepers(server.pid)) == model.processes, "one keeper for each process")
    check_balance(server)


@SUPERVISED
def test_its_process_dies_before_it_is_replaced(model, start_adopting):
    """Its connections are cut, and counted as lost: what a death without a keeper costs."""
    server = start_adopting(model)
    with server.connect() as client:
        assert client.get("/plaintext").status == 200
        kill_keepers(server)
        kill_all(server)
        with pytest.raises((ConnectionLost, OSError)):
            client.get("/plaintext")
    # A successor may serve before the master has booked whose it is.
    wait_until(lambda: server.status()["totals"]["adoption"]["lost"] >= 1, "what is lost is counted")
    check_balance(server)
    assert re.search("cannot go on with all connections of the predecessor: the keeper .* is gone", server.log())
    with server.connect() as client:
        assert client.get("/plaintext").status == 200
        kill_all(server)
        assert client.get("/plaintext").status == 200


@pytest.mark.serial
@pytest.mark.slow
@pytest.mark.models(models.UNDER_LOAD)
def test_no_client_notices_under_load(model, start_adopting, start_load):
    server = start_adopting(model)
    before = set(server.worker_pids())
    load = start_load(server, "/plaintext")
    kill_keepers(server)
    wait_until_replaced(server)
    wait_until_gone(server, before)
    kill_all(server)
    result = wrk.end(load)
    assert (result.connect_errors, result.read_errors, result.write_errors, result.bad_statuses) == (0, 0, 0, 0)
