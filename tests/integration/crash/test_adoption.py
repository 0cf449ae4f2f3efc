"""--on-death adopt: a process dies, and its clients notice nothing: its successor goes on with their connections."""

import hashlib
import os
import re
import signal
import threading
import time

import pytest

from support import models, processes, wrk
from support.client import ConnectionLost
from support.waiting import wait_until

SUPERVISED = pytest.mark.models(models.SUPERVISED)
ADOPT = ("--on-death", "adopt", "--bench", "on", "--stuck-after-ms", "off")
DEATHS = int(os.environ.get("TWINHTTPD_TEST_DEATHS", "12"))
LARGE_BYTES = 20_000_000


@pytest.fixture
def start_adopting(start_server):
    def start(model, *options, **how):
        return start_server(model, *ADOPT, *options, **how)
    return start


def kill_all(server):
    """Kills what serves, and waits until others have gone on."""
    before = server.worker_pids()
    told = server.log().count("goes on with")
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not set(before) & set(server.worker_pids()), "the dead are gone")
    server.wait_for_full_strength()
    wait_until(lambda: server.log().count("goes on with") >= told + server.model.processes * server.model.loops,
               "each loop has gone on")


@SUPERVISED
def test_a_connection_outlives_its_process(model, start_adopting):
    server = start_adopting(model)
    with server.connect() as quiet, server.connect() as asked, server.connect() as half:
        asked.get("/plaintext")
        half.send(b"GET /plaintext HTTP/1.1\r\nHo")
        for _ in range(3):
            kill_all(server)
            assert asked.get("/plaintext").body == b"Hello, World!"
        half.send(b"st: a\r\n\r\n")
        assert half.read_response().body == b"Hello, World!"
        assert quiet.get("/plaintext").body == b"Hello, World!"
    deaths = server.status()["deaths"]
    assert deaths and all(death["left_to_successor"] and death["requests_lost"] == 0 for death in deaths)


def ask_while_it_dies(server, client, request, deaths=1):
    """Sends a request whose handler takes a while, and kills its process meanwhile."""
    client.send(request)
    for _ in range(deaths):
        time.sleep(0.1)  # whether its handler has begun yet makes no difference to what is right
        kill_all(server)
    return client.read_response()


@SUPERVISED
def test_a_get_is_repeated(model, start_adopting):
    server = start_adopting(model)
    with server.connect() as client:
        response = ask_while_it_dies(server, client, b"GET /sleep?ms=600 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert response.status == 200
        assert client.get("/plaintext").status == 200


@SUPERVISED
def test_the_request_under_which_processes_die_is_given_up(model, start_adopting):
    server = start_adopting(model, "--faults", "on")
    with server.connect() as neighbour, server.connect() as culprit:
        assert neighbour.get("/plaintext").status == 200
        assert culprit.get("/fault/segv").status == 500
        assert culprit.get("/plaintext").status == 200
        assert neighbour.get("/plaintext").status == 200
    server.wait_for_full_strength()
    assert [death["signal"] for death in server.status()["deaths"]] == ["SIGSEGV", "SIGSEGV"]


@SUPERVISED
def test_a_download_outlives_many(model, start_adopting, site):
    content = os.urandom(LARGE_BYTES)
    (site / "adopted.bin").write_bytes(content)
    os.utime(site / "adopted.bin", (1e9, 1e9))  # what has just changed gets other validators a moment later
    server = start_adopting(model)
    body = hashlib.sha256()
    with server.connect(receive_buffer_bytes=65536) as client:
        client.send(b"GET /adopted.bin HTTP/1.1\r\nHost: a\r\n\r\n")
        head = client.read_head()
        assert b"200 OK" in head
        for _ in range(5):
            body.update(client.read_exactly(LARGE_BYTES // 10))
            kill_all(server)
        body.update(client.read_exactly(LARGE_BYTES - 5 * (LARGE_BYTES // 10)))
        assert body.digest() == hashlib.sha256(content).digest()
        assert client.get("/plaintext").status == 200


@SUPERVISED
def test_an_upload_outlives_many(model, start_adopting):
    server = start_adopting(model)
    content = os.urandom(900_000)
    with server.connect() as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n")
        for start in range(0, 900_000, 300_000):
            client.send(content[start:start + 300_000])
            kill_all(server)
        assert client.read_response().body == content


@SUPERVISED
def test_nothing_is_left_over(model, start_adopting):
    server = start_adopting(model)
    with server.connect() as client:
        client.get("/plaintext")
        kill_all(server)
        fds = processes.open_fds(server.pid)
        for _ in range(5):
            kill_all(server)
        assert client.get("/plaintext").status == 200
    wait_until(lambda: len(processes.keepers(server.pid)) == model.processes, "one keeper for each process")
    wait_until(lambda: processes.open_fds(server.pid) <= fds, "no more descriptors than before")
    server.stop()


class Killer:
    """Kills one process after the other."""

    def __init__(self, server):
        self._server = server
        self.error = None

    def run(self):
        try:
            for _ in range(DEATHS):
                victim, ready = self._server.worker_pids()[0], self._server.log().count(" is ready ")
                os.kill(victim, signal.SIGKILL)
                wait_until(lambda: self._server.log().count(" is ready ") > ready, "its successor is ready")
                # A request that is at work at three deaths in a row is given up: that is another test's matter.
                wrk.wait_until_under_way(self._server)
        except (AssertionError, OSError, ConnectionLost) as error:
            self.error = error


@pytest.mark.serial
@pytest.mark.slow
@pytest.mark.models(models.UNDER_LOAD)
@pytest.mark.parametrize("path", ["/plaintext", "/hello.txt"])
def test_no_client_notices_under_load(model, start_adopting, start_load, path):
    server = start_adopting(model, "--rebalance", "off")  # one that is being handed over is cut: the manual says so
    load = start_load(server, path)
    killer = Killer(server)
    thread = threading.Thread(target=killer.run)
    thread.start()
    thread.join()
    result = wrk.end(load)
    assert killer.error is None
    assert (result.connect_errors, result.read_errors, result.write_errors, result.bad_statuses) == (0, 0, 0, 0)
    assert len(server.status()["deaths"]) >= DEATHS
    # Who is killed from outside does not count as one that keeps dying: clients wait.
    assert all(int(delay_ms) <= 20 for delay_ms in re.findall(r"the next one starts in (\d+) ms", server.log()))
