"""A worker that dies while it holds a lock of all workers: what a robust lock saves, and what another
one costs."""

import json

import pytest

from support.waiting import DEADLINE_S, wait_until

SHARING_PROCESSES = ("prefork", "prefork-reuseport", "hybrid", "hybrid-request")
ONE_PROCESS = ("threadpool-connection", "threadpool-request-blocking", "threadpool-request-all")
PATIENCE_S = 1.0


@pytest.fixture
def faulty(model, start_server):
    return start_server(model, "--faults", "on")


def count(server, mode, n, cell="both", timeout_s=DEADLINE_S):
    with server.connect(timeout_s=timeout_s) as client:
        return json.loads(client.get(f"/counter?mode={mode}&cell={cell}&n={n}").body)


def die_holding(server, lock):
    """A worker dies with the lock; returns when its successor is there."""
    with server.connect() as client:
        pid = server.whoami(client)["pid"]
        client.send(f"GET /fault/die-holding-lock?lock={lock} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        client.expect_close()
    assert server.wait_for_death(pid)["signal"] == "SIGKILL"
    server.wait_for_full_strength(without_pid=pid)


def hangs(server):
    try:
        count(server, "fragile", 1, timeout_s=PATIENCE_S)
    except TimeoutError:
        return True
    return False


@pytest.mark.models(SHARING_PROCESSES)
def test_a_robust_lock_outlives_its_owner(faulty):
    assert count(faulty, "mutex", 100)["shared"] == 100
    for deaths in (1, 2, 3):
        die_holding(faulty, "mutex")
        after = count(faulty, "mutex", 1)
        # What the dead one had added stays: a lost lock is no lost work.
        assert (after["shared"], after["recoveries"]) == (100 + 2 * deaths, deaths)
    assert faulty.log().count("lock recovered") == 3
    assert faulty.get("/plaintext").status == 200


@pytest.mark.models(("prefork", "hybrid", "hybrid-request"))
def test_another_lock_hangs_all_who_ask_for_it(faulty, model):
    assert count(faulty, "fragile", 1)["shared"] == 1
    die_holding(faulty, "fragile")
    assert hangs(faulty)
    # The lock of the process itself is another one, which nobody holds.
    assert count(faulty, "fragile", 1, cell="process")["shared"] == 2
    # It never ends by itself: only the death of who waits does. The service has lost that thread.
    wait_until(lambda: sum(worker["current"] == "GET /counter"
                           for worker in faulty.status()["workers"]) >= 1, "a worker hangs")
    assert count(faulty, "mutex", 1)["shared"] == 3
    faulty.clean_up()


@pytest.mark.models(ONE_PROCESS)
@pytest.mark.parametrize("lock", ["mutex", "fragile"])
def test_in_one_process_the_lock_dies_with_everybody(faulty, lock):
    """Nobody is left to wait for it - and nothing is left of what it guarded."""
    assert count(faulty, lock, 100)["shared"] == 100
    die_holding(faulty, lock)
    after = count(faulty, lock, 1)
    assert (after["shared"], after["recoveries"]) == (1, 0)
