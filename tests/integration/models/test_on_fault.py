"""on_fault: recover. A pool thread that faults answers 500 and is replaced; its process goes on.
TWINHTTPD_TEST_ENDS makes the run of ends longer."""

import os
import re
import signal

import pytest

from support import server as servers
from support.client import request_bytes
from support.waiting import wait_until

# Every handler runs on a pool thread.
POOLS = pytest.mark.models(("threadpool-request-all", "hybrid-request"))
RECOVER = ("--faults", "on", "--on-fault", "recover", "--seccomp", "off")
FAULTS = {"segv": "SIGSEGV", "fpe": "SIGFPE", "bus": "SIGBUS", "stack-overflow": "SIGSEGV"}
# Ends of servers whose threads are just retiring.
ENDS = int(os.environ.get("TWINHTTPD_TEST_ENDS", "3"))


def pool_tids(server):
    """The threads of all pools by slot, once every place is taken."""
    def when_ready():
        workers = [w for w in server.status()["workers"] if w["role"] == "pool"]
        ready = all(worker["state"] == "ready" for worker in workers)
        return {worker["slot"]: worker["tid"] for worker in workers} if ready else None
    return wait_until(when_ready, "every pool thread is ready")


def recovered(server):
    return server.status()["totals"]["faults_recovered"]


def assert_refused_politely(response):
    assert response.status == 500
    assert response.says_close


@POOLS
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_one_request(model, start_server, fault):
    server = start_server(model, *RECOVER)
    before, pids = pool_tids(server), server.worker_pids()
    with server.connect() as bystander, server.connect() as client:
        assert bystander.get("/plaintext").status == 200
        assert_refused_politely(client.get(f"/fault/{fault}"))
        client.expect_close()
        server.wait_for_log(r"process \d: a handler has faulted: this thread answers 500 and retires")
        server.wait_for_log(rf'process \d: {FAULTS[fault]} .*, handling "GET /fault/{fault} HTTP/1.1" '
                            rf"from {client.name}\n")
        server.wait_for_log(rf"process \d: #\d+ fault_{fault.replace('-', '_')} at common/handlers")
        assert bystander.get("/plaintext").status == 200
    wait_until(lambda: sum(before[slot] != tid for slot, tid in pool_tids(server).items()) == 1,
               "one thread has a successor in its slot")
    assert server.worker_pids()[: len(pids)] == pids
    status = server.status()
    assert status["deaths"] == []
    assert status["totals"]["faults_recovered"] == 1
    assert status["totals"]["requests_lost"] == 0
    assert not any((worker["current"] or "").startswith("GET /fault") for worker in status["workers"])


@POOLS
@pytest.mark.skipif(servers.SANITIZED, reason="sanitizers make system calls of their own")
def test_a_confined_process_recovers_too(model, start_server):
    """Its story has no names: looking them up takes a process, which it may not start."""
    server = start_server(model, *RECOVER, "--seccomp", "on")
    assert server.get("/fault/segv").status == 500
    server.wait_for_log(r"SIGSEGV \(SEGV_MAPERR\) at 0x0 in thread")
    assert server.get("/plaintext").status == 200
    assert server.status()["deaths"] == []


@POOLS
def test_more_faults_than_threads(model, start_server):
    """Each retired thread has a successor, and nothing piles up."""
    server = start_server(model, *RECOVER)
    rounds = 3 * model.processes * model.pool
    for _ in range(rounds):
        with server.connect() as client:
            assert_refused_politely(client.get("/fault/segv"))
    wait_until(lambda: recovered(server) == rounds, "all are counted")
    assert server.get("/plaintext").status == 200
    assert server.status()["deaths"] == []


@POOLS
def test_faults_at_the_same_time(model, start_server):
    server = start_server(model, *RECOVER)
    clients = [server.connect() for _ in range(12)]
    for client in clients:
        client.send(request_bytes(target="/fault/segv"))
    for client in clients:
        assert_refused_politely(client.read_response())
        client.close()
    assert recovered(server) == len(clients)
    assert server.status()["deaths"] == []


@POOLS
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGQUIT], ids=["TERM", "QUIT"])
def test_an_end_while_threads_retire(model, start_server, signal_number, monkeypatch):
    """The pool goes when its last thread has gone, also those that were replaced."""
    # By default ThreadSanitizer waits a second when a process ends with threads: the master does not.
    options = os.environ.get("TSAN_OPTIONS", "")
    monkeypatch.setenv("TSAN_OPTIONS", f"{options}:atexit_sleep_ms=0")

    def ends_well():
        """Where it has no CPU meanwhile, it is killed a second after SIGTERM, which proves nothing: once more then."""
        server = start_server(model, *RECOVER)
        clients = [server.connect() for _ in range(2 * model.processes * model.pool)]
        for client in clients:
            client.send(request_bytes(target="/fault/segv"))
        assert_refused_politely(clients[0].read_response())
        os.kill(server.pid, signal_number)
        for client in clients:
            client.close()
        assert server.wait_for_exit() == 0
        if signal_number == signal.SIGTERM and server.was_cut_short():
            return False
        assert not re.search(r"master .* process \d+ .* (exited|was killed)", server.log())
        return True
    for _ in range(ENDS):
        wait_until(ends_well, "the processes end by themselves")


@POOLS
@pytest.mark.parametrize("fault, name", [("abort", "SIGABRT"), ("ill", "SIGILL")])
def test_what_ends_the_process_all_the_same(model, start_server, fault, name):
    """abort() is a decision, and an instruction that is none a sign of greater damage."""
    server = start_server(model, *RECOVER)
    with server.connect() as client:
        victim = server.whoami(client)["pid"]
        client.send(request_bytes(target=f"/fault/{fault}"))
        client.expect_close()
        assert server.wait_for_death(victim)["signal"] == name


@POOLS
def test_a_signal_from_outside_ends_the_process(model, start_server):
    server = start_server(model, *RECOVER)
    victim = server.worker_pids()[0]
    os.kill(victim, signal.SIGSEGV)
    server.wait_for_log(rf"pid {victim}, generation \d+\) was killed by SIGSEGV")


@POOLS
def test_a_lock_that_the_handler_held_stays_locked(model, start_server):
    """Where recovery is unsound: who wants the lock waits for ever, others are served."""
    server = start_server(model, *RECOVER)
    with server.connect() as culprit, server.connect() as waiting:
        pid = server.whoami(culprit)["pid"]
        while server.whoami(waiting)["pid"] != pid:  # another process has a lock of its own
            waiting.close()
            waiting = server.connect()
        assert_refused_politely(culprit.get("/fault/segv-holding-lock"))
        waiting.send(request_bytes(target="/counter?mode=mutex"))
        wait_until(lambda: server.is_running("GET /counter?mode=mutex HTTP/1.1"), "it waits")
        for _ in range(20):
            assert server.get("/plaintext").status == 200
        assert server.is_running("GET /counter?mode=mutex HTTP/1.1")
        assert not waiting.has_closed()
        waiting.close()


@POOLS
@pytest.mark.skipif(servers.SANITIZED, reason="a sanitizer's allocator keeps its books elsewhere")
def test_a_damaged_heap_ends_the_process_later(model, start_server):
    """Where recovery is unsound: the fault is survived, and then a thread dies that has done nothing."""
    server = start_server(model, *RECOVER)
    with server.connect() as client:
        victim = server.whoami(client)["pid"]
        client.send(request_bytes(target="/fault/segv-damaged-heap"))
        client.read_to_end()  # answered or not: the process may end before the answer has left
    assert server.wait_for_death(victim)["signal"] == "SIGABRT"
    server.wait_for_full_strength(without_pid=victim)


@POOLS
def test_dying_gives_the_lock_back(model, start_server):
    """The same fault by default: a request is lost, and the lock with its process."""
    server = start_server(model, "--faults", "on")
    with server.connect() as client:
        victim = server.whoami(client)["pid"]
        client.send(request_bytes(target="/fault/segv-holding-lock"))
        client.expect_close()
    server.wait_for_death(victim)
    server.wait_for_full_strength(without_pid=victim)
    for _ in range(4 * model.processes):
        assert server.get("/counter?mode=mutex").status == 200


@pytest.mark.models(("prefork", "threadpool-connection", "hybrid"))
def test_it_needs_pool_threads(model):
    ended = servers.run_to_end(model, "--listen", "127.0.0.1:0", *model.options, *RECOVER)
    assert ended.returncode == 1
    assert "on_fault recover needs pool threads" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
