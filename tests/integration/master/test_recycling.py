"""Processes that are replaced because they have served long enough, and nobody notices."""

import re
import time

import pytest

from support import models, wrk
from support.waiting import DEADLINE_S, wait_until

pytestmark = [pytest.mark.models(models.SUPERVISED)]
LIMIT_KIB = 160 * 1024
LEAK_BYTES = 200 << 20


def wait_until_replaced(server, pids):
    wait_until(lambda: not set(pids) & set(server.worker_pids()), "the old processes have ended")
    server.wait_for_full_strength()


def assert_nothing_lost(server):
    totals = server.status()["totals"]
    assert (totals["deaths"], totals["requests_lost"], totals["requests_aborted"]) == (0, 0, 0)


def recycled(server, reason):
    return re.findall(rf"recycling process \d \(pid (\d+), generation \d+\): {reason}", server.log())


def test_by_requests(model, start_server):
    server = start_server(model, "--recycle-after-requests", "100")
    pids = server.worker_pids()
    deadline = time.monotonic() + DEADLINE_S
    while set(pids) & set(server.worker_pids()):
        assert time.monotonic() < deadline, server.log()
        assert server.get("/plaintext").status == 200
    assert set(map(str, pids)) <= set(recycled(server, r"it has served \d+ requests"))
    assert_nothing_lost(server)


def test_by_age(model, start_server):
    server = start_server(model, "--recycle-after-s", "1")
    pids = server.worker_pids()
    wait_until(lambda: not set(pids) & set(server.worker_pids()), "the old processes have ended")
    assert set(map(str, pids)) <= set(recycled(server, r"it is \d+\.\d s old"))
    assert server.get("/plaintext").status == 200
    assert_nothing_lost(server)


@pytest.mark.models(models.EACH_KIND)
def test_by_memory(model, start_server):
    server = start_server(model, "--recycle-above-pss-kib", str(LIMIT_KIB), "--faults", "on")
    with server.connect() as client:
        leaking = server.whoami(client)["pid"]
        assert client.get(f"/fault/leak?bytes={LEAK_BYTES}").status == 200
    wait_until_replaced(server, [leaking])
    assert recycled(server, r"it has \d+ KiB of memory") == [str(leaking)]
    assert_nothing_lost(server)


@pytest.mark.serial
@pytest.mark.slow
@pytest.mark.models(models.UNDER_LOAD)
def test_no_request_fails_meanwhile(model, start_server, start_load):
    server = start_server(model, "--recycle-after-requests", "2000")
    load = start_load(server, "/hello.txt")
    wait_until(lambda: len(recycled(server, r"it has served \d+ requests")) >= 4, "four are recycled")
    result = wrk.end(load)
    assert result.requests > 0
    assert (result.connect_errors, result.read_errors, result.write_errors, result.timeouts,
            result.bad_statuses) == (0, 0, 0, 0, 0)
    totals = server.status()["totals"]
    assert (totals["deaths"], totals["requests_lost"]) == (0, 0)
