"""The handlers, which are the same code in every model."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from support import processes, server as servers, site as sites

CONNECTIONS = 8
REQUESTS_EACH = 50


@pytest.mark.parametrize("target", [
    "/cpu?us=x", "/cpu?us=", "/cpu?us=-1", "/cpu?us=10000001", "/cpu?us=1.5", "/cpu?us=1x",
    "/cpu?us=99999999999999999999", "/cpu?us=%20", "/cpu?us=%31",
    "/sleep?ms=x", "/sleep?ms=-1", "/sleep?ms=60001", "/sleep?ms=",
    "/counter?mode=other", "/counter?mode=", "/counter?mode=mutex&n=x", "/counter?n=-1",
    "/counter?cell=other", "/counter?cell=", "/counter?mode=mutex&cell=Shared",
])
def test_bad_values(client, target):
    response = client.get(target)
    assert response.status == 400
    assert len(response.body.splitlines()) == 1
    assert response.header("Content-Type").split(";")[0] == "text/plain"
    assert client.get("/plaintext").status == 200, "a bad value does not end the connection"


@pytest.mark.parametrize("target, least_s", [
    ("/cpu", 0.001),
    ("/cpu?us=0", 0),
    ("/cpu?us=50000", 0.05),
    ("/sleep", 0.01),
    ("/sleep?ms=0", 0),
    ("/sleep?ms=100", 0.1),
    ("/sleep?other=1&ms=50", 0.05),
])
def test_work_takes_its_time(client, target, least_s):
    start = time.monotonic()
    assert client.get(target).status == 200
    assert time.monotonic() - start >= least_s


@pytest.mark.parametrize("target, allowed", [
    ("/plaintext", "GET"), ("/json", "GET"), ("/cpu", "GET"), ("/sleep", "GET"),
    ("/whoami", "GET"), ("/hello.txt", "GET"), ("/echo", "POST"),
])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_wrong_methods(client, target, allowed, method):
    if method == allowed:
        return
    response = client.request(method, target)
    assert response.status == 405
    assert allowed in [word.strip() for word in response.header("Allow").split(",")]
    assert client.get("/plaintext").status == 200


@pytest.mark.parametrize("method, target", [
    ("GET", "/counter"), ("GET", "/counter?mode=other"), ("GET", "/whoami"), ("HEAD", "/whoami"),
    ("GET", "/sleep?ms=0"), ("GET", "/sleep?ms=x"), ("GET", "/cpu?us=0"),
    ("POST", "/echo"), ("PUT", "/hello.txt"), ("GET", "/%zz"),
    ("FOO", "/hello.txt"),
])
def test_what_no_cache_may_keep(server, method, target):
    with server.connect() as client:
        body = b"x" if method == "POST" else b""
        assert client.request(method, target, body=body).header("Cache-Control") == "no-store"


@pytest.mark.parametrize("target, headers, status", [
    ("/hello.txt", [], 200), ("/hello.txt", [("Range", "bytes=0-1")], 206),
    ("/hello.txt", [("If-None-Match", "*")], 304), ("/directory", [], 301), ("/no-such-file", [], 404),
    ("/plaintext", [], 200), ("/json", [], 200),
])
def test_what_caches_may_keep(client, target, headers, status):
    response = client.get(target, headers)
    assert (response.status, response.header("Cache-Control")) == (status, None)


def test_no_cache_may_keep_what_lab_handlers_say(model, start_server):
    server = start_server(model, "--faults", "on")
    for target in ("/lab/layout", "/lab/tls", "/lab/peek", "/fault/leak?bytes=1"):
        assert server.get(target).header("Cache-Control") == "no-store", target


@pytest.mark.parametrize("fault", ["segv", "abort", "check", "fpe", "stack-overflow", "hang", "deadlock",
                                   "leak?bytes=1", "exit?status=1", "exec", "", "other"])
def test_faults_are_not_found_unless_turned_on(client, fault):
    assert client.get(f"/fault/{fault}").status == 404


def test_whoami(server):
    with server.connect() as client:
        who = server.whoami(client)
        assert set(who) == {"server", "model", "pid", "ppid", "tid", "slot", "worker", "generation"}
        assert who["server"] == server.model.binary
        assert who["model"] == server.model.kind
        assert who["pid"] in server.worker_pids()
        assert os.path.exists(f"/proc/{who['pid']}/task/{who['tid']}")
        assert who["ppid"] == processes.read_process(who["pid"]).ppid
        assert 0 <= who["slot"] < server.model.slots
        slot = next(w for w in server.status()["workers"] if w["slot"] == who["slot"])
        assert (slot["pid"], slot["tid"]) == (who["pid"], who["tid"])
        assert slot["generation"] == who["generation"]


def test_a_connection_stays_with_its_process(server):
    with server.connect() as client:
        assert len({server.whoami(client)["pid"] for _ in range(20)}) == 1


def test_many_connections_reach_every_process(server):
    clients = [server.connect() for _ in range(64)]
    seen = {server.whoami(client)["pid"] for client in clients}
    for client in clients:
        client.close()
    if server.model.accepts_anywhere or server.model.processes == 1:
        assert seen <= set(server.worker_pids())
    else:
        assert seen == set(server.worker_pids()), "the kernel spreads reuseport connections"


def count_together(server, target):
    """Every connection counts at the same time as the others; all answers."""
    def count(_):
        with server.connect() as client:
            return [json.loads(client.get(target).body) for _ in range(REQUESTS_EACH)]
    with ThreadPoolExecutor(CONNECTIONS) as executor:
        return [answer for answers in executor.map(count, range(CONNECTIONS))
                for answer in answers]


@pytest.mark.parametrize("mode", ["mutex", "atomic"])
def test_guarded_counters_lose_nothing(model, mode, start_server):
    server = start_server(model)
    answers = count_together(server, f"/counter?mode={mode}")
    total = CONNECTIONS * REQUESTS_EACH
    assert sorted(answer["shared"] for answer in answers) == list(range(1, total + 1))
    assert {answer["mode"] for answer in answers} == {mode}
    by_process = {}
    for answer in answers:
        by_process.setdefault(answer["pid"], []).append(answer["process"])
    assert set(by_process) <= set(server.worker_pids())
    assert sum(max(values) for values in by_process.values()) == total


def test_a_counter_without_guard_still_answers(server):
    answers = count_together(server, "/counter?mode=none")
    assert len(answers) == CONNECTIONS * REQUESTS_EACH
    assert all(set(answer) == {"mode", "cell", "process", "shared", "recoveries", "pid", "slot", "worker"}
               for answer in answers)


@pytest.mark.parametrize("mode", ["none", "mutex", "fragile", "atomic"])
def test_one_cell_counts_alone(model, mode, start_server):
    with start_server(model).connect() as client:
        seen = [json.loads(client.get(f"/counter?mode={mode}{cell}&n=5").body)
                for cell in ("&cell=process", "&cell=shared", "&cell=shared", "&cell=both", "")]
    assert [answer["cell"] for answer in seen] == ["process", "shared", "shared", "both", "both"]
    assert [(answer["process"], answer["shared"]) for answer in seen] == [
        (5, 0), (5, 5), (5, 10), (10, 15), (15, 20)]


def test_counter_steps(model, start_server):
    with start_server(model).connect() as client:
        assert json.loads(client.get("/counter?mode=atomic&n=1000").body)["shared"] == 1000
        assert json.loads(client.get("/counter?mode=atomic&n=0").body)["shared"] == 1000
        assert json.loads(client.get("/counter?mode=mutex&n=5").body)["mode"] == "mutex"


def test_echo_keeps_the_content_type(client):
    body = '{"ä": 1}'.encode()
    response = client.request("POST", "/echo", [("Content-Type", "application/json")], body)
    assert (response.body, response.header("Content-Type")) == (body, "application/json")


def test_leak_leaks(model, start_server):
    if servers.SANITIZED:
        pytest.skip("the leak sanitizer would rightly complain")
    server = start_server(model, "--faults", "on")
    with server.connect() as client:
        pid = server.whoami(client)["pid"]
        before_kib = processes.private_kib(pid)
        assert client.get(f"/fault/leak?bytes={16 * sites.ONE_MIB}").status == 200
        assert processes.private_kib(pid) - before_kib > 15 * 1024
        assert client.get("/fault/leak?bytes=x").status == 400
