"""What a client that reads slowly makes a worker hold: little, however long the answer is that a short request asks
for. One thousand such clients may cost 20 MiB, so that each of those here may cost a thousandth of that."""

import os
import random

import pytest

from support import models, processes, server as servers
from support.client import request_bytes

pytestmark = pytest.mark.skipif(servers.SANITIZED, reason="sanitizers keep what is given back")

CONNECTIONS = 200
MOST_KIB = CONNECTIONS * 20 * 1024 // 1000
WINDOW_BYTES = 4096  # what a client takes without reading
LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

CONTENTS = {
    "/large.bin": random.Random(5).randbytes(2_000_000),
    "/small.bin": random.Random(6).randbytes(16_000),
    "/large.txt": bytes(random.Random(7).choices(LETTERS, k=1_000_000)),  # it shrinks by a quarter
}
REQUESTS = {
    "two-ranges": request_bytes(target="/large.bin", headers=[("Range", "bytes=0-499999,1000000-1499999")]),
    "two-large-ranges": request_bytes(target="/large.bin", headers=[("Range", "bytes=0-699999,1000000-1699999")]),
    "whole-file": request_bytes(target="/large.bin"),
    "pipelined-files": request_bytes(target="/small.bin") * 100,
    "gzip": request_bytes(target="/large.txt", headers=[("Accept-Encoding", "gzip")]),
    "half-a-request-behind-it": request_bytes(target="/large.bin") + b"GET /half",
}


@pytest.fixture
def large_site(site):
    for target, content in CONTENTS.items():
        path = site / target[1:]
        path.write_bytes(content)
        os.utime(path, (10**9, 10**9))
    yield
    for target in CONTENTS:
        (site / target[1:]).unlink()


def held_kib(server):
    return sum(processes.private_kib(pid) for pid in server.worker_pids())


def connect_slow(server, request):
    clients = [server.connect(receive_buffer_bytes=WINDOW_BYTES) for _ in range(CONNECTIONS)]
    for client in clients:
        client.send(request)
    return clients


def assert_little_is_held(server, request, status=200, shared_kib=0):
    """shared_kib: what the server itself may keep for all of them together."""
    server.get("/hello.txt")
    before = held_kib(server)
    clients = connect_slow(server, request)
    for client in clients:
        assert client.read_exactly(500).startswith(b"HTTP/1.1 %d " % status)
    for _ in range(2):
        for client in clients:
            client.read_exactly(500)  # all are served, and blocked again and again
    held = held_kib(server) - before
    for client in clients:
        client.close()
    assert held < MOST_KIB + shared_kib, f"{held} KiB for {CONNECTIONS} clients"


def start(start_server, model):
    # So that a slow machine cuts nobody.
    return start_server(model, "--gzip", "on", "--max-connections", "1000", "--send-timeout-ms", "60000",
                        "--header-timeout-ms", "60000", "--min-send-bytes-per-s", "0", "--access-log", "/dev/null")


@pytest.mark.parametrize("kind", ["two-ranges", "two-large-ranges"])
def test_slow_readers_of_ranges(model, start_server, large_site, kind):
    assert_little_is_held(start(start_server, model), REQUESTS[kind], status=206)


@pytest.mark.models(models.PROTOCOL)
@pytest.mark.parametrize("kind", [kind for kind in REQUESTS if "ranges" not in kind])
def test_slow_readers(model, start_server, large_site, kind):
    caches_kib = 1024 * model.slots if kind == "gzip" else 0  # one copy for each thread that runs handlers
    assert_little_is_held(start(start_server, model), REQUESTS[kind], shared_kib=caches_kib)
