"""The filter of system calls. Every other test of the build dev runs with it, too."""

import re
import signal
from pathlib import Path

import pytest

from support import models, server as servers
from support.client import ConnectionLost, request_bytes

NOT_SANITIZED = pytest.mark.skipif(servers.SECCOMP == "off",
                                   reason="instrumented builds make calls of their own")
SUPERVISED = pytest.mark.models(models.SUPERVISED)
FILTERED = "2"


def seccomp_modes(pid):
    """What /proc says of each thread of a process."""
    return {re.search(r"^Seccomp:\s*(\d)", (task / "status").read_text(), re.MULTILINE)[1]
            for task in Path(f"/proc/{pid}/task").iterdir()}


def exec_in_worker(server):
    """Asks a worker to become another program; returns its pid."""
    with server.connect() as client:
        victim = server.whoami(client)["pid"]
        client.send(request_bytes(target="/fault/exec"))
        client.expect_close()
    return victim


@NOT_SANITIZED
def test_every_serving_thread_is_filtered(model, start_server):
    server = start_server(model, "--seccomp", "on")
    for pid in server.worker_pids():
        assert seccomp_modes(pid) == {FILTERED}
    if model.has_master:
        assert FILTERED not in seccomp_modes(server.pid)


@NOT_SANITIZED
@SUPERVISED
def test_a_forbidden_call_is_deadly_and_told(model, start_server):
    server = start_server(model, "--faults", "on", "--seccomp", "on")
    victim = exec_in_worker(server)
    death = server.wait_for_death(victim)
    assert (death["cause"], death["signal"], death["requests_lost"]) == ("signal", "SIGSYS", 1)
    assert death["requests"][0]["line"] == "GET /fault/exec HTTP/1.1"
    server.wait_for_log(rf"pid {victim}, generation \d+\) was killed by SIGSYS")
    server.wait_for_full_strength(without_pid=victim)
    assert server.get("/plaintext").status == 200


@NOT_SANITIZED
@pytest.mark.models(("threadpool-bare",))
def test_a_forbidden_call_ends_the_bare_threadpool(model, start_server):
    server = start_server(model, "--faults", "on", "--seccomp", "on")
    with server.connect() as client, pytest.raises((ConnectionLost, OSError)):
        client.get("/fault/exec")
    assert server.wait_for_exit() == -signal.SIGSYS


@SUPERVISED
@pytest.mark.parametrize("mode", ["off", "log"])
def test_the_other_modes_let_it_pass(model, start_server, mode):
    server = start_server(model, "--faults", "on", "--seccomp", mode)
    death = server.wait_for_death(exec_in_worker(server))
    assert (death["cause"], death["exit_status"]) == ("exit", 0)
