"""The endpoints that demonstrations use: what lies where, who can reach it, and what is lost."""

import contextlib
import json
import resource
import signal

import pytest

from support import processes, server as servers
from support.client import request_bytes
from support.waiting import wait_until

pytestmark = pytest.mark.models(("prefork", "threadpool-connection", "hybrid"))
FAULTS = ("--faults", "on", "--rebalance", "off")
DATA_VALUE = 0x7477696E64617461
OUT_OF_REACH = 1 << 62
PERMISSIONS = {"code": "r-x", "rodata": "r--", "data": "rw-", "bss": "rw-", "heap": "rw-",
               "large": "rw-", "stack": "rw-", "tls": "rw-", "vdso": "r-x"}
PATHS = ("layout", "peek?address=0", "poke?address=0&value=0", "park?ms=0", "parked", "tls",
         "recurse", "heap", "cache", "fdleak")


@pytest.fixture
def lab(model, start_server):
    """A server with the endpoints; the filter of system calls would end whoever peeks."""
    return start_server(model, *FAULTS, "--seccomp", "off")


def ask(client, path):
    response = client.get(f"/lab/{path}")
    assert response.status == 200, response
    assert response.header("Content-Type") == "application/json"
    return json.loads(response.body)


@contextlib.contextmanager
def every_worker(server):
    """A connection to each thread that accepts, by its tid."""
    clients = {}
    with contextlib.ExitStack() as connections:
        def all_reached():
            client = connections.enter_context(server.connect())
            clients.setdefault(server.whoami(client)["tid"], client)
            return len(clients) == server.model.slots
        wait_until(all_reached, "every worker is reached")
        yield [clients[tid] for tid in sorted(clients)]


def permissions_at(pid, address):
    """Permissions of the mapping that an address lies in."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps:
        for line in maps:
            bounds, permissions, _ = line.split(maxsplit=2)
            start, end = (int(bound, 16) for bound in bounds.split("-"))
            if start <= address < end:
                return permissions[:3]
    return None


@pytest.mark.parametrize("path", PATHS)
def test_not_found_without_faults(client, path):
    assert client.get(f"/lab/{path}").status == 404


@pytest.mark.parametrize("path", [
    "peek", "peek?address=x", "peek?address=", "peek?address=0x10",
    "peek?address=18446744073709551616", "peek?address=0&how=other", "peek?address=0&pid=x",
    "peek?address=0&pid=1&how=pointer", "poke?address=0&value=x", "poke?value=1", "park?ms=60001",
    "park?ms=x", "tls?set=x", "recurse?depth=x", "recurse?depth=10000001", "heap?kib=x",
    "heap?kib=1048577", "heap?keep_every=x", "cache?mode=other", "cache?key=x", "cache?count=100001",
    "fdleak?count=x", "fdleak?count=1000001",
])
def test_bad_values(lab, path):
    with lab.connect() as client:
        response = client.get(f"/lab/{path}")
        assert response.status == 400
        assert len(response.body.splitlines()) == 1
        assert client.get("/plaintext").status == 200


def test_layout_tells_the_truth(lab):
    with every_worker(lab) as clients:
        for client in clients:
            layout = ask(client, "layout")
            for part, permissions in PERMISSIONS.items():
                assert permissions_at(layout["pid"], layout[part]) == permissions, part
            assert (layout["data_value"], layout["bss_value"], layout["heap_value"]) == (DATA_VALUE, 0, 0)
            assert layout["stack_low"] <= layout["stack"] < layout["stack_low"] + layout["stack_bytes"]
            locals_ = [frame["local"] for frame in layout["frames"]]
            assert len(locals_) == 4 and locals_ == sorted(locals_, reverse=True)
            for frame in layout["frames"]:
                assert permissions_at(layout["pid"], frame["return"]) == "r-x"
            assert ask(client, "layout")["frames"] == layout["frames"]


def test_poke_changes_what_peek_finds(lab):
    with lab.connect() as client:
        layout = ask(client, "layout")
        for part, value, how in (("data", 1, "call"), ("bss", 2, "pointer"), ("heap", 2**64 - 1, "pointer")):
            poked = ask(client, f"poke?address={layout[part]}&value={value}&how={how}")
            assert poked == {"answered_by": layout["pid"], "pid": layout["pid"],
                             "address": layout[part], "value": value, "error": None}
            for again in ("call", "pointer"):
                assert ask(client, f"peek?address={layout[part]}&how={again}")["value"] == value
            assert ask(client, "layout")[f"{part}_value"] == value


@pytest.mark.parametrize("request_", [
    "peek?address=0", f"peek?address={OUT_OF_REACH}", "poke?address=0&value=1",
])
def test_a_bad_address_is_an_answer(lab, request_):
    with lab.connect() as client:
        answer = ask(client, request_)
        assert (answer["value"], answer["error"]) == (None, "Bad address")
        assert ask(client, "peek?address=0&pid=2147483647")["error"] == "No such process"
    assert lab.status()["deaths"] == []


@pytest.mark.parametrize("part", ["null", "code", "rodata"])
def test_a_pointer_comes_what_may(lab, part):
    with lab.connect() as client:
        layout = ask(client, "layout")
        target = f"/lab/poke?how=pointer&value=0&address={layout.get(part, 0)}"
        client.send(request_bytes(target=target))
        client.expect_close()
    assert lab.wait_for_death(layout["pid"])["signal"] == "SIGSEGV"
    lab.wait_for_full_strength(without_pid=layout["pid"])


def test_memory_is_shared_by_threads_alone(lab):
    with every_worker(lab) as clients:
        layouts = [ask(client, "layout") for client in clients]
        for client, layout in zip(clients, layouts):
            ask(client, f"poke?how=pointer&address={layout['data']}&value={layout['pid']}")
        assert len({layout["data"] for layout in layouts}) == 1
        for client, layout in zip(clients, layouts):
            assert ask(client, "layout")["data_value"] == layout["pid"]
        for client, layout in zip(clients, layouts):
            first_pid = layouts[0]["pid"]
            value = ask(client, f"peek?address={layout['data']}&pid={first_pid}")["value"]
            assert value == first_pid, "who asks the kernel reads the other process"


def test_a_parked_word_can_be_changed_by_a_sibling_thread(lab):
    with every_worker(lab) as clients:
        owner, others = clients[0], clients[1:]
        pid = ask(owner, "layout")["pid"]
        alone = lab.model.loops == 1  # in its process
        owner.send(request_bytes(target=f"/lab/park?ms={300 if alone else 20000}"))
        if alone:
            assert all(ask(other, "parked")["address"] == 0 for other in others)
        else:
            writer = next(other for other in others if ask(other, "layout")["pid"] == pid)
            address = wait_until(lambda: ask(writer, "parked")["address"], "a thread is parked")
            ask(writer, f"poke?how=pointer&address={address}&value=77")
        parked = json.loads(owner.read_response().body)
        assert (parked["pid"], parked["before"], parked["after"]) == (pid, 42, 42 if alone else 77)
        assert ask(owner, "parked")["address"] == 0


def test_thread_local_and_global(lab):
    with every_worker(lab) as clients:
        assert all(ask(client, "tls")["thread_local"] == 0 for client in clients)
        last = {}
        for number, client in enumerate(clients, 1):
            assert ask(client, f"tls?set={number}")["thread_local"] == number
            last[ask(client, "layout")["pid"]] = number
        for number, client in enumerate(clients, 1):
            seen = ask(client, "tls")
            assert (seen["thread_local"], seen["global"]) == (number, last[seen["pid"]])


def test_recursion_takes_stack_until_there_is_none(lab):
    with lab.connect() as client:
        shallow, deep = (ask(client, f"recurse?depth={depth}") for depth in (100, 1000))
        assert 900 * 1024 <= deep["stack_bytes"] - shallow["stack_bytes"] < 2000 * 1024
        client.send(request_bytes(target="/lab/recurse?depth=1000000"))
        client.expect_close()
    assert lab.wait_for_death(deep["pid"])["signal"] == "SIGSEGV"
    lab.wait_for_full_strength(without_pid=deep["pid"])


def test_heap_keeps_what_it_is_told(lab):
    with lab.connect() as client:
        whole = ask(client, "heap?kib=20480")
        assert whole["kept_kib"] == 0
        assert whole["full_kib"] - whole["before_kib"] > 19 * 1024
        broken = ask(client, "heap?kib=20480&keep_every=16")
        assert broken["kept_kib"] == 1280
        if not servers.SANITIZED:  # whose allocators do otherwise
            assert whole["after_kib"] - whole["before_kib"] < 4 * 1024
            assert broken["after_kib"] - broken["before_kib"] > 10 * 1024
            assert ask(client, "heap?kib=0")["after_kib"] - whole["before_kib"] < 4 * 1024


def test_cache_forgets_only_when_told(lab):
    with lab.connect() as client:
        assert ask(client, "cache?mode=lru&key=0&count=500")["entries"] == 500
        again = ask(client, "cache?mode=lru&key=0&count=1")
        assert (again["entries"], again["hits"], again["misses"]) == (500, 1, 500)
        # In place of key 1: key 0 was used after it.
        more = ask(client, "cache?mode=lru&key=1000&count=1")
        assert (more["entries"], more["hits"], more["misses"]) == (500, 1, 501)
        assert ask(client, "cache?mode=lru&key=0&count=1")["hits"] == 2
        assert ask(client, "cache?mode=lru&key=1&count=1")["misses"] == 502
        assert ask(client, "cache?mode=none&key=2000&count=700")["entries"] == 1200
        assert ask(client, "cache?mode=lru&key=5000&count=1")["entries"] == 500


def test_caches_are_as_many_as_processes(lab):
    with every_worker(lab) as clients:
        misses = [ask(client, "cache?key=7")["misses"] for client in clients]
        pids = [ask(client, "layout")["pid"] for client in clients]
        assert set(misses) == {1}, "nobody misses twice, and each process once"
        hits = {pid: ask(client, "cache?count=0")["hits"] for pid, client in zip(pids, clients)}
        assert sum(hits.values()) == len(clients) - lab.model.processes


def test_descriptors_leak_until_there_are_none(lab):
    with lab.connect() as client:
        pid = lab.whoami(client)["pid"]
        before = processes.open_fds(pid)
        leak = ask(client, "fdleak?count=10")
        assert (leak["pid"], leak["leaked"], leak["error"]) == (pid, 10, None)
        assert processes.open_fds(pid) == before + 10
        limit = before + 20
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))
        leak = ask(client, "fdleak?count=1000")
        assert (leak["leaked"] <= 10, leak["error"]) == (True, "Too many open files")


@pytest.mark.skipif(servers.SECCOMP == "off", reason="instrumented builds make calls of their own")
def test_the_filter_of_system_calls_lets_nobody_peek(model, start_server):
    server = start_server(model, *FAULTS)
    with server.connect() as client:
        for path in PATHS:
            if not path.startswith(("peek", "poke")):
                ask(client, path)
        victim = server.whoami(client)["pid"]
        client.send(request_bytes(target="/lab/peek?address=0"))
        client.expect_close()
    assert server.wait_for_death(victim)["signal"] == signal.Signals.SIGSYS.name
    server.wait_for_full_strength(without_pid=victim)
