"""--on-death adopt: a process dies, and its clients notice nothing: its successor goes on with their connections."""

import hashlib
import os
import re
import signal
import threading
import time
from collections import Counter

import pytest

from support import models, processes, wrk
from support.client import ConnectionLost, request_bytes
from support.deaths import kill_all
from support.waiting import wait_until

SUPERVISED = pytest.mark.models(models.SUPERVISED)
PATIENCE_MS = "600000"  # nobody is cut because the test is slow
ADOPT = ("--on-death", "adopt", "--bench", "on", "--stuck-after-ms", "off", "--header-timeout-ms", PATIENCE_MS,
         "--body-timeout-ms", PATIENCE_MS, "--idle-timeout-ms", PATIENCE_MS, "--send-timeout-ms", PATIENCE_MS)
DEATHS = int(os.environ.get("TWINHTTPD_TEST_DEATHS", "12"))
LARGE_BYTES = 20_000_000


@pytest.fixture
def start_adopting(start_server):
    def start(model, *options, **how):
        return start_server(model, *ADOPT, *options, **how)
    return start


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
def test_neighbours_are_not_blamed(model, start_adopting):
    """Others' requests that are at work at several crashes are answered: the story says whose request it was."""
    server = start_adopting(model, "--faults", "on")
    with server.connect() as one, server.connect() as other, server.connect() as culprit:
        for neighbour in (one, other):
            neighbour.send(b"GET /sleep?ms=1000 HTTP/1.1\r\nHost: a\r\n\r\n")
        for _ in range(3):
            assert culprit.get("/fault/segv").status == 500
        for neighbour in (one, other):
            assert neighbour.read_response().status == 200
    assert len(server.status()["deaths"]) == 6


@SUPERVISED
def test_a_request_under_which_processes_are_killed_is_tried_again(model, start_adopting):
    """Who kills from outside has nothing against the request."""
    server = start_adopting(model)
    with server.connect() as client:
        response = ask_while_it_dies(server, client, b"GET /sleep?ms=600 HTTP/1.1\r\nHost: a\r\n\r\n", deaths=5)
        assert response.status == 200


@SUPERVISED
def test_a_slow_request_keeps_nobody_from_being_ready(model, start_adopting):
    server = start_adopting(model)
    killed = set()

    def is_answered_later():
        """Whether its client waits when all successors are ready: on a busy machine it may be answered by then."""
        ready = server.log().count(" is ready ")
        with server.connect() as client:
            server.send_and_see(client, "/sleep?ms=3000")
            for pid in server.worker_pids():
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            wait_until(lambda: server.log().count(" is ready ") >= ready + model.processes, "all successors are ready")
            waits = not client.has_answer()
            assert client.read_response().status == 200
        return waits
    wait_until(is_answered_later, "successors are ready before the request is answered")
    assert {death["pid"] for death in server.status()["deaths"]} == killed


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
def test_parts_of_a_file_outlive_a_death(model, start_adopting, site):
    content = os.urandom(LARGE_BYTES)
    (site / "parts.bin").write_bytes(content)
    os.utime(site / "parts.bin", (1e9, 1e9))
    server = start_adopting(model)
    with server.connect(receive_buffer_bytes=65536) as client:
        client.send(b"GET /parts.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=0-6999999,9000000-15999999\r\n\r\n")
        head = client.read_head()
        length = int(re.search(rb"Content-Length: (\d+)", head).group(1))
        body = client.read_exactly(3_000_000)
        kill_all(server)
        body += client.read_exactly(length - 5_000_000)
        kill_all(server)
        body += client.read_exactly(2_000_000)
        assert content[:7_000_000] in body and content[9_000_000:16_000_000] in body
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


class Newcomer:
    """Comes with a new connection for each request, until it is stopped."""

    def __init__(self, server):
        self._server = server
        self.stopped = threading.Event()
        self.answers = 0
        self.error = None

    def run(self):
        try:
            while not self.stopped.is_set():
                with self._server.connect() as client:
                    assert client.get("/plaintext").body == b"Hello, World!"
                self.answers += 1
        except (AssertionError, OSError, ConnectionLost) as error:
            self.error = error


@pytest.mark.serial
@pytest.mark.slow
@pytest.mark.models(models.UNDER_LOAD)
@pytest.mark.parametrize("path", ["/plaintext", "/hello.txt"])
def test_no_client_notices_under_load(model, start_adopting, start_load, path):
    server = start_adopting(model)
    load = start_load(server, path)
    killer, newcomer = Killer(server), Newcomer(server)
    threads = [threading.Thread(target=who.run) for who in (killer, newcomer)]
    for thread in threads:
        thread.start()
    threads[0].join()
    newcomer.stopped.set()
    threads[1].join()
    result = wrk.end(load)
    assert killer.error is None
    assert newcomer.error is None and newcomer.answers > 0
    assert (result.connect_errors, result.read_errors, result.write_errors, result.bad_statuses) == (0, 0, 0, 0)
    assert len(server.status()["deaths"]) >= DEATHS
    # Who is killed from outside does not count as one that keeps dying: clients wait.
    assert all(int(delay_ms) <= 100 for delay_ms in re.findall(r"the next one starts in (\d+) ms", server.log()))


# What a client asks for, one after the other: an answer from memory, from a file, to a body.
KINDS = (("GET", "/plaintext", b""), ("GET", "/hello.txt", b""), ("POST", "/echo", b"0123456789"))
PIPELINE = 3


class CountingClient:
    """Asks for names that nobody else asks for, several at a time, until it is told to stop; counts the answers."""

    def __init__(self, client, number):
        self._client, self._number = client, number
        self.answered = []
        self.error = None
        self.stops = False

    def _ask(self, turn):
        kinds = [KINDS[(turn + i) % len(KINDS)] for i in range(PIPELINE)]
        lines = [f"{method} {path}?{self._number}-{turn}-{i} HTTP/1.1" for i, (method, path, _) in enumerate(kinds)]
        requests = [request_bytes(method, line.split(" ")[1], body=body)
                    for line, (method, _, body) in zip(lines, kinds)]
        self._client.send(b"".join(requests))
        for line in lines:
            assert self._client.read_response().status == 200, line
            self.answered.append(line)

    def run(self):
        try:
            turn = 0
            while not self.stops:
                self._ask(turn)
                turn += 1
        except (AssertionError, OSError, ConnectionLost) as error:
            self.error = error


def answers_under_fire(server, connections):
    """The requests that were answered while one process after the other was killed."""
    clients = [CountingClient(server.connect(), number) for number in range(connections)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    wait_until(lambda: all(client.answered or client.error for client in clients), "every connection has been accepted")
    killer = Killer(server)
    killer.run()
    for client in clients:
        client.stops = True
    for thread in threads:
        thread.join()
    assert [client.error for client in clients if client.error] == []
    assert killer.error is None
    return [line for client in clients for line in client.answered]


@pytest.mark.slow
@SUPERVISED
def test_every_request_has_one_line_whoever_dies(model, start_adopting, tmp_path):
    log = tmp_path / "access.log"
    # One that is being handed over is cut: the manual says so.
    server = start_adopting(model, "--rebalance", "off", "--access-log", str(log))
    answered = answers_under_fire(server, connections=8)
    # A process that is told to stop, and does not get to it within a second, is killed with the lines that it collects.
    wait_until(lambda: log.read_text().count("?") >= len(answered), "each answer has its line")
    server.stop()
    lines = [line for line in log.read_text().splitlines() if "?" in line]
    assert [line for line in lines if line.endswith(" aborted")] == []
    counted = Counter(line.split('"')[1] for line in lines)
    assert [line for line, count in counted.items() if count > 1] == []
    assert sorted(set(answered) ^ set(counted)) == []
