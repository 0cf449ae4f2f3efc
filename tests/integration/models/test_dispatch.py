"""Where a request runs: what a slow one blocks, and what happens when the queue is full."""

import time

import pytest

from support import models
from support.client import request_bytes, wait_until_read
from support.waiting import at_its_pace, wait_until

REQUEST_DISPATCH = pytest.mark.models(
    ("threadpool-request-blocking", "threadpool-request-all", "hybrid-request"))
SLOW_MS = 1500
SLOW_TARGET = f"/sleep?ms={SLOW_MS}"
SLOW = request_bytes(target=SLOW_TARGET)


def send_slow(server, client):
    """Sends the slow request and waits until the scoreboard shows it."""
    server.send_and_see(client, SLOW_TARGET)


@pytest.mark.models(models.ANY_WORKER_ACCEPTS)
def test_a_slow_request_leaves_the_other_workers_free(server):
    with server.connect() as slow:
        send_slow(server, slow)
        for _ in range(50):
            assert server.get("/plaintext").status == 200
        assert not slow.has_closed()
        assert slow.read_response().status == 200


@pytest.mark.models(("prefork", "threadpool-connection", "hybrid"))
def test_a_slow_request_blocks_its_own_worker(model, start_server):
    """With a connection bound to its worker, who shares the worker waits."""
    server = start_server(model, "--rebalance", "off")
    clients = [server.connect() for _ in range(server.model.slots + 1)]
    by_thread = {}
    for client in clients:
        by_thread.setdefault(server.whoami(client)["tid"], []).append(client)
    slow, other = next(group for group in by_thread.values() if len(group) > 1)[:2]
    start = time.monotonic()
    send_slow(server, slow)
    assert other.get("/plaintext").status == 200
    assert time.monotonic() - start >= SLOW_MS / 1000
    assert slow.read_response().status == 200
    for client in clients:
        client.close()


@REQUEST_DISPATCH
def test_request_dispatch_keeps_other_connections_free(server):
    """The loops only parse: a slow request holds one pool thread and no connection of others."""
    clients = [server.connect() for _ in range(16)]
    for client in clients:
        client.get("/plaintext")
    slow, *others = clients

    def ask_meanwhile(_pace):
        send_slow(server, slow)
        for client in others:
            assert client.get("/plaintext").status == 200
        assert not slow.has_answer()
    at_its_pace(ask_meanwhile, SLOW_MS / 1000)
    assert slow.read_response().status == 200
    for client in clients:
        client.close()


@REQUEST_DISPATCH
def test_pipelined_answers_stay_in_order_when_the_pool_overtakes(client):
    targets = ["/sleep?ms=100", "/plaintext", "/sleep?ms=10", "/json", "/hello.txt", "/sleep?ms=0"]
    expected = [client.get(target) for target in targets]
    client.send(b"".join(request_bytes(target=target) for target in targets))
    for alone in expected:
        response = client.read_response()
        assert (response.status, response.body) == (alone.status, alone.body)


@pytest.mark.models(("threadpool-request-blocking", "threadpool-request-all"))
def test_a_full_queue_sheds_load(model, start_server):
    """One thread, two places to wait: of nine slow requests at once six or more are refused."""
    server = start_server(model, "--threads", "1", "--queue-length", "2")

    def rush():
        """Where a loop has no CPU meanwhile, the thread has finished one before they are all there: once more then."""
        clients = [server.connect() for _ in range(9)]
        start = time.monotonic()
        for client in clients:
            client.send(SLOW)
        wait_until_read(clients)
        at_once = time.monotonic() - start < SLOW_MS / 1000 / 2
        answers = [client.read_response() for client in clients]
        statuses = [answer.status for answer in answers]
        # Two, when the queue filled up before the thread had taken the first.
        assert statuses.count(200) in (2, 3) or not at_once
        assert statuses.count(503) == 9 - statuses.count(200)
        for client, answer in zip(clients, answers):
            if answer.status == 503:
                assert int(answer.header("Retry-After")) >= 1
            if not answer.says_close:
                assert client.get("/plaintext").status == 200, "after the rush all is well"
            client.close()
        return at_once
    wait_until(rush, "nine requests come at once")
