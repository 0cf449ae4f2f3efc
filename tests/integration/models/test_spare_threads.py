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


def pool_threads(server, pid):
    return [worker for worker in server.status()["workers"] if worker["pid"] == pid and worker["role"] == "pool"]


def wait_for_pool(server, pid, threads, stuck):
    def is_so():
        pool = pool_threads(server, pid)
        return len(pool) == threads and sum(worker["stuck"] is not None for worker in pool) == stuck
    wait_until(is_so, f"{threads} threads are in the pool, {stuck} of them stuck")


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
    assert server.worker_pids() == pids
    assert (status["deaths"], status["totals"]["stuck_incidents"]) == ([], model.pool)
    assert "replacing" not in server.log()


@ONE_POOL
def test_who_comes_back_needs_no_spare_any_more(model, start_server):
    server = start_server(model, *SPARE)
    pids = server.worker_pids()
    with server.connect() as client:
        pid, slow = get_stuck(server, client, 2, f"/sleep?ms={4 * STUCK_AFTER_MS}")
        wait_for_pool(server, pid, model.pool + 2, 2)
        assert [one.read_response().status for one in slow] == [200, 200]
        wait_for_pool(server, pid, model.pool, 0)
        server.wait_for_log("this spare thread ends: it is not needed any more")
        pid, _stuck = get_stuck(server, client, 1)  # their places can be taken again
        wait_for_pool(server, pid, model.pool + 1, 1)
        assert client.get("/sleep?ms=10").status == 200
    assert server.worker_pids() == pids
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
        pid, slow = get_stuck(server, client, model.pool, f"/sleep?ms={4 * STUCK_AFTER_MS}")
        wait_for_pool(server, pid, 2 * model.pool, model.pool)
        for _ in range(2 * model.pool):
            assert server.get("/fault/segv").status == 500
        wait_for_pool(server, pid, 2 * model.pool, model.pool)
        assert [one.read_response().status for one in slow] == [200] * model.pool
        wait_for_pool(server, pid, model.pool, 0)
        assert server.status()["deaths"] == []
    server.stop()


@ONE_POOL
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_pool_with_spare_threads_ends_well(model, start_server, signal_number):
    server = start_server(model, *SPARE)
    with server.connect() as client:
        pid, slow = get_stuck(server, client, 1, f"/sleep?ms={2 * STUCK_AFTER_MS}")
        wait_for_pool(server, pid, model.pool + 1, 1)
        assert slow[0].read_response().status == 200
    server.stop(signal_number)


@pytest.mark.models(("prefork", "threadpool-connection", "hybrid"))
def test_it_is_refused_where_there_is_no_pool(model):
    assert "on_stuck spare needs pool threads" in servers.refusal(model, *model.options, "--on-stuck", "spare")
