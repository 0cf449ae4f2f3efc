"""on_stuck: spare. A spare thread stands in for each pool thread that is stuck, as long as there are some."""

import signal

import pytest

from support import server as servers
from support.client import request_bytes
from support.server import SANITIZED
from support.waiting import wait_until

STUCK_AFTER_MS = 2000 if SANITIZED else 1000
SPARE = ("--faults", "on", "--stuck-after-ms", str(STUCK_AFTER_MS), "--on-stuck", "spare",
         "--drain-timeout-ms", "1500")
POOLS = pytest.mark.models(("threadpool-request-blocking", "hybrid-request"))
ONE_POOL = pytest.mark.models(("threadpool-request-blocking",))
LONGEST_SLEEP_MS = 30000  # half of what a connection may be idle


def pool_threads(server, pid):
    return [worker for worker in server.status()["workers"] if worker["pid"] == pid and worker["role"] == "pool"]


def is_pool(server, pid, threads, stuck):
    pool = pool_threads(server, pid)
    return len(pool) == threads and sum(worker["stuck"] is not None for worker in pool) == stuck


def wait_for_pool(server, pid, threads, stuck):
    wait_until(lambda: is_pool(server, pid, threads, stuck),
               f"{threads} threads are in the pool, {stuck} of them stuck")


def sees_pool(server, pid, threads, stuck, slow):
    """Whether the pool is seen so before one of these requests that are only slow has its answer."""
    def look():
        is_so = is_pool(server, pid, threads, stuck)
        if any(one.has_answer() for one in slow):
            return "too late"
        return "in time" if is_so else None
    return wait_until(look, f"{threads} threads are in the pool, {stuck} of them stuck") == "in time"


def with_slow_requests(try_once, first_ms):
    """Calls try_once(ms), whose requests sleep for so long, until it returns true: on a busy machine they wake up
    before they are found stuck, or before that is seen. Then they sleep for longer."""
    sleep_ms = first_ms

    def try_longer():
        nonlocal sleep_ms
        this_ms, sleep_ms = sleep_ms, min(2 * sleep_ms, LONGEST_SLEEP_MS)
        return try_once(this_ms)
    wait_until(try_longer, "who is slow is found stuck meanwhile")


def wait_for_the_same(server, pids):
    """None of these processes was replaced, and there are no others; a teller has its name only a moment after it was
    forked."""
    wait_until(lambda: server.worker_pids() == pids, "the processes are the same")


def get_stuck(server, client, count, target="/fault/deadlock"):
    """Makes so many threads stuck that serve this client's process; returns its pid and their connections."""
    pid = server.whoami(client)["pid"]
    stuck = []
    while len(stuck) < count:
        other = server.connect()
        if server.whoami(other)["pid"] == pid:
            other.send(request_bytes(target=target))
            stuck.append(other)
        else:
            other.close()
    return pid, stuck


@POOLS
def test_a_pool_keeps_its_capacity(model, start_server):
    """All of its threads are stuck, and what takes a thread is answered all the same."""
    server = start_server(model, *SPARE)
    pids = server.worker_pids()
    with server.connect() as client:
        pid, _stuck = get_stuck(server, client, model.pool)
        wait_for_pool(server, pid, 2 * model.pool, model.pool)
        server.wait_for_log(rf"process \d \(pid {pid}\) is to have {model.pool} spare threads \(of 4\)")
        assert client.get("/sleep?ms=10").status == 200
    status = server.status()
    wait_for_the_same(server, pids)
    assert (status["deaths"], status["totals"]["stuck_incidents"]) == ([], model.pool)
    assert "replacing" not in server.log()


@ONE_POOL
def test_who_comes_back_needs_no_spare_any_more(model, start_server):
    server = start_server(model, *SPARE)
    pids = server.worker_pids()
    with server.connect() as client:
        def have_spares(sleep_ms):
            pid, slow = get_stuck(server, client, 2, f"/sleep?ms={sleep_ms}")
            seen = sees_pool(server, pid, model.pool + 2, 2, slow)
            assert [one.read_response().status for one in slow] == [200, 200]
            wait_for_pool(server, pid, model.pool, 0)
            return seen
        with_slow_requests(have_spares, 4 * STUCK_AFTER_MS)
        server.wait_for_log("this spare thread ends: it is not needed any more")
        pid, _stuck = get_stuck(server, client, 1)  # their places can be taken again
        wait_for_pool(server, pid, model.pool + 1, 1)
        assert client.get("/sleep?ms=10").status == 200
    wait_for_the_same(server, pids)
    assert server.status()["deaths"] == []


@ONE_POOL
def test_without_any_more_the_process_is_replaced(model, start_server):
    server = start_server(model, *SPARE, "--max-spare-threads", "1")
    with server.connect() as client:
        pid, _stuck = get_stuck(server, client, 2)
        server.wait_for_log(rf"replacing process 0 \(pid {pid}\): 2 of its \d threads stuck, and there are no "
                            "more spare threads")
        death = server.wait_for_death(pid)
        assert death["in_progress"] == 2
    server.wait_for_full_strength(without_pid=pid)
    assert server.get("/sleep?ms=10").status == 200


@pytest.mark.models(("threadpool-request-all",))
def test_a_spare_thread_that_faults_has_a_successor(model, start_server):
    """Only spare threads are free, so that each fault is one of theirs."""
    server = start_server(model, *SPARE, "--on-fault", "recover", "--seccomp", "off")
    with server.connect() as client:
        def have_successors(sleep_ms):
            pid, slow = get_stuck(server, client, model.pool, f"/sleep?ms={sleep_ms}")
            seen = sees_pool(server, pid, 2 * model.pool, model.pool, slow)
            if seen:
                for _ in range(2 * model.pool):
                    assert server.get("/fault/segv").status == 500
                seen = sees_pool(server, pid, 2 * model.pool, model.pool, slow)
            assert [one.read_response().status for one in slow] == [200] * model.pool
            wait_for_pool(server, pid, model.pool, 0)
            return seen
        with_slow_requests(have_successors, 4 * STUCK_AFTER_MS)
        assert server.status()["deaths"] == []
    server.stop()


@ONE_POOL
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_pool_with_spare_threads_ends_well(model, start_server, signal_number):
    server = start_server(model, *SPARE)
    with server.connect() as client:
        def has_spare(sleep_ms):
            pid, slow = get_stuck(server, client, 1, f"/sleep?ms={sleep_ms}")
            seen = sees_pool(server, pid, model.pool + 1, 1, slow)
            assert slow[0].read_response().status == 200
            return seen
        with_slow_requests(has_spare, 2 * STUCK_AFTER_MS)
    server.stop(signal_number)


@pytest.mark.models(("prefork", "threadpool-connection", "hybrid"))
def test_it_is_refused_where_there_is_no_pool(model):
    assert "on_stuck spare needs pool threads" in servers.refusal(model, *model.options, "--on-stuck", "spare")
