"""How long requests take, as the scoreboard tells it: one duration for each that was finished. That sums never go back is tested
where they are read while books are moved: observe/test_telling.py."""

import os
import signal
import time

import pytest

from support import models, wrk
from support.client import request_bytes
from support.control import Control
from support.waiting import wait_until

SLEEP_MS = 200
BUCKET = 17 / 16  # how much longer the end of a bucket is than what lies in it, at most
DURATIONS = {"count", "mean_us", "p50_us", "p90_us", "p99_us", "p999_us", "max_us"}


def at_rest(server):
    """The status when each request that is finished has its duration. The books are a moment behind the client."""
    def when_booked():
        status = server.status()
        return status if status["latency"]["count"] == status["totals"]["requests_finished"] else None
    return wait_until(when_booked, "as many durations as finished requests")


def test_schema(server):
    assert server.get("/plaintext").status == 200
    for key in ("latency", "stalls"):
        assert set(server.status()[key]) == DURATIONS
    status = at_rest(server)
    for key in ("latency", "stalls"):
        told = status[key]
        percentiles = [told[name] for name in ("p50_us", "p90_us", "p99_us", "p999_us", "max_us")]
        assert percentiles == sorted(percentiles)
        assert told["mean_us"] <= told["max_us"]


def test_each_finished_request_has_a_duration(server):
    """Also of a batch, of requests that are refused, with a body, in pieces, and with a file."""
    before = at_rest(server)["latency"]["count"]
    batch = [request_bytes(target=target) for target in ("/plaintext", "/sleep?ms=20", "/nowhere", "/", "/cpu?ms=1")]
    clients = [server.connect() for _ in range(10)]
    for client in clients:
        client.send(b"".join(batch) * 3)
    for client in clients:
        for _ in range(len(batch) * 3):
            client.read_response()
        client.close()
    with server.connect() as client:
        client.send(b"GET / HTTP/9.9\r\n\r\n")
        assert client.read_response().status >= 400
    # The answer from a file is booked when its client has it.
    wait_until(lambda: at_rest(server)["latency"]["count"] >= before + 10 * len(batch) * 3 + 1, "each has a duration")


def test_a_sleep_lands_where_it_belongs(model, start_server):
    """The server has it shorter than the client, and not shorter than it was. It is booked a moment behind the client,
    but before the next request on the connection is looked at."""
    server = start_server(model)
    longest_us = 0
    with server.connect() as client:
        client.get("/plaintext")
        for _ in range(5):
            begin_s = time.monotonic()
            assert client.get(f"/sleep?ms={SLEEP_MS}").status == 200
            assert client.get("/plaintext").status == 200
            longest_us = max(longest_us, (time.monotonic() - begin_s) * 1e6)
    told = server.status()["latency"]  # 5 sleeps among 10 or 11: more questions would be more durations
    assert SLEEP_MS * 1000 <= told["p90_us"] <= longest_us * BUCKET, told
    assert told["max_us"] >= SLEEP_MS * 1000


def _kill(server, control):
    pids = server.worker_pids()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not set(pids) & set(server.worker_pids()), "they are dead")
    server.wait_for_full_strength()
    return len(pids)


def _reload(server, control):
    pids = control.pids()
    control.done("reload")
    control.wait_for_replacement(pids)
    return 0


def _recycle(server, control):
    pids = control.pids()
    control.done("recycle", number="all")
    control.wait_for_replacement(pids)
    return 0


@pytest.mark.models(models.SUPERVISED)
@pytest.mark.parametrize("on_death", ("cut", "adopt"))
def test_a_duration_outlives_its_process(model, on_death, start_server, start_load, tmp_path):
    control = Control(tmp_path / "control")
    server = start_server(model, "--control", str(control.path), "--on-death", on_death, "--drain-timeout-ms", "5000")
    load = start_load(server, "/plaintext", connections=16)
    deaths = 0
    for step in (_kill, _reload, _kill, _recycle, _kill):
        answered = server.status()["totals"]["requests_finished"]
        wait_until(lambda answered=answered: server.status()["totals"]["requests_finished"] > answered + 100,
                   "requests are answered")
        deaths += step(server, control)
    wrk.end(load)

    def is_booked():
        status = server.status()
        missing = status["totals"]["requests_finished"] - status["latency"]["count"]
        # A loop that dies may have just booked what it sends.
        return 0 <= missing <= deaths * model.loops
    wait_until(is_booked, "a duration for each finished request")
    assert server.status()["totals"]["deaths"] == deaths
