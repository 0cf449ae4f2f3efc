"""Nothing grows: descriptors, memory, processes. TWINHTTPD_TEST_REQUESTS and
TWINHTTPD_TEST_CONNECTIONS make it longer (a million is fine)."""

import os

import pytest

from support import models, processes, server as servers, wrk
from support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
MEASURES = pytest.mark.serial

# Sanitizers slow a server down to a tenth.
DEFAULT_REQUESTS, DEFAULT_CONNECTIONS = (20000, 2000) if servers.SANITIZED else (200000, 20000)
REQUESTS = int(os.environ.get("TWINHTTPD_TEST_REQUESTS", DEFAULT_REQUESTS))
CONNECTIONS = int(os.environ.get("TWINHTTPD_TEST_CONNECTIONS", DEFAULT_CONNECTIONS))
DEADLINE_S = 60 + REQUESTS / 2000
MOST_GROWTH_KIB = 1024
CLOSE = ("Connection: close",)


@pytest.fixture
def drive(start_load):
    """Runs wrk until the server has counted so many more."""
    def run(server, path, count, counter, headers=()):
        goal = server.status()["totals"][counter] + count
        load = start_load(server, path, connections=32, headers=headers)
        wait_until(lambda: server.status()["totals"][counter] >= goal, f"{count} more {counter}", DEADLINE_S, 0.05)
        result = wrk.end(load)
        assert (result.connect_errors, result.bad_statuses) == (0, 0)
    return run


def settled_usage(server):
    """(descriptors, private KiB) of every process once wrk's connections are closed."""
    wait_until(lambda: server.status()["totals"]["connections_open"] == 0,
               "all connections are closed")
    return {pid: (processes.open_fds(pid), processes.private_kib(pid))
            for pid in (server.pid, *server.worker_pids())}


def assert_no_growth(before, after):
    """before and after are those of settled_usage()."""
    assert set(before) == set(after), "a process was replaced"
    for pid, (fds, kib) in before.items():
        wait_until(lambda: processes.open_fds(pid) <= fds, f"{pid} has no more than {fds} descriptors again")
        if not servers.SANITIZED:
            assert after[pid][1] - kib <= MOST_GROWTH_KIB, f"KiB of {pid}: {kib} -> {after[pid][1]}"


@MEASURES
@pytest.mark.models(models.UNDER_LOAD)
def test_requests_leave_nothing_behind(model, start_server, drive):
    server = start_server(model)
    for path in ("/plaintext", "/hello.txt"):
        drive(server, path, REQUESTS // 20, "requests_finished")
    before = settled_usage(server)
    for path in ("/plaintext", "/hello.txt"):
        drive(server, path, REQUESTS // 2, "requests_finished")
    assert_no_growth(before, settled_usage(server))
    assert server.status()["totals"]["requests_lost"] == 0


@MEASURES
@pytest.mark.models(models.UNDER_LOAD)
def test_connections_leave_nothing_behind(model, start_server, drive):
    server = start_server(model)
    drive(server, "/plaintext", CONNECTIONS // 10, "connections_accepted", CLOSE)
    before = settled_usage(server)
    drive(server, "/plaintext", CONNECTIONS, "connections_accepted", CLOSE)
    assert_no_growth(before, settled_usage(server))


@pytest.mark.models(models.PROTOCOL)
@pytest.mark.parametrize("path", ["/json", "/cpu?us=10", "/sleep?ms=0", "/counter?mode=mutex",
                                  "/counter?mode=none", "/whoami", "/1mib.bin", "/no-such-file"])
def test_every_handler_stands_load(server, start_load, path):
    result = wrk.end(start_load(server, path, connections=32))
    assert result.requests > 0
    assert result.connect_errors + result.read_errors + result.timeouts == 0
    assert (result.bad_statuses == result.requests) == (path == "/no-such-file")
