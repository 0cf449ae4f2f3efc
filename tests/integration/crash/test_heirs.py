"""--on-death adopt: who dies while it retires or drains, or beside its successor, has an heir, which finishes what was
left, in what was left of the time."""

import contextlib
import hashlib
import os
import signal
import time

import pytest

from support import models, processes
from support.client import request_bytes, wait_until_read
from support.server import SANITIZED
from support.waiting import DEADLINE_S, LATENESS_S, wait_until

pytestmark = [pytest.mark.models(models.SUPERVISED)]
DRAIN_MS = 120_000
# Nobody's connection moves from one process to another: a test knows who holds it.
ADOPT = ("--on-death", "adopt", "--bench", "on", "--stuck-after-ms", "off", "--rebalance", "off", "--upgrade-trial-ms",
         "300", "--drain-timeout-ms", str(DRAIN_MS), "--idle-timeout-ms", str(DRAIN_MS), "--header-timeout-ms",
         str(DRAIN_MS))
LARGE_BYTES = 20_000_000
PIECE_BYTES = 1_000_000
RESIZABLE = tuple(name for name in ("prefork", "hybrid", "hybrid-request") if name in models.SUPERVISED)
GATED = ("--start-timeout-ms", str(DRAIN_MS), "--seccomp", "off")  # what is preloaded makes calls of its own
NO_PRELOAD = pytest.mark.skipif(SANITIZED, reason="the sanitizer's library must be loaded before any other")


@pytest.fixture
def start_adopting(start_server, tmp_path):
    """With a file of settings, which begins empty."""
    def start(model, *options, **how):
        path = tmp_path / "server.yaml"
        path.write_text("log_level: info\n")
        server = start_server(model, *ADOPT, "--config", str(path), *options, **how)
        server.settings = path
        return server
    return start


def last_process(server):
    """The one that goes when there are fewer."""
    workers = server.status()["workers"]
    return max(workers, key=lambda worker: worker["process"])["pid"]


def connect_to(server, pid, **options):
    """A connection that this process holds, and has answered once."""
    def connected():
        client = server.connect(**options)
        if server.whoami(client)["pid"] == pid:
            return client
        client.close()
        return None
    return wait_until(connected, f"process {pid} accepts")


# ---- Ways to retire: each returns who finds the pids of those that do ----

def reload(server):
    done = server.log().count("all processes have been replaced")
    before = set(server.worker_pids())
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: server.log().count("all processes have been replaced") > done, "the reload is done")
    seated = set(server.worker_pids()) - before
    return lambda: set(server.worker_pids()) - seated


def resize(server):
    stays = set(server.worker_pids()) - {last_process(server)}
    os.kill(server.pid, signal.SIGTTOU)
    server.wait_for_log("processes instead of")
    return lambda: set(server.worker_pids()) - stays


def upgrade(server):
    os.kill(server.pid, signal.SIGUSR2)
    server.wait_for_log("serves: retiring")
    new = new_program(server)
    return lambda: set(processes.living_children(server.pid)) - {new}


def new_program(server):
    return int(server.wait_for_log(r"the new program \(pid (\d+)\) serves: retiring")[1])


# ---- What happens to them ----

def kill_those(leavers):
    """Kills them, and waits until others have come for them."""
    victims = wait_until(leavers, "somebody retires")
    for pid in victims:
        with contextlib.suppress(ProcessLookupError):  # who has nobody left may have ended by itself
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: leavers() and not victims & leavers(), "they have heirs")


class Download:
    """Of a large file, in pieces."""

    def __init__(self, client):
        self.client = client
        self._digest = hashlib.sha256()
        self._left = LARGE_BYTES
        client.send(request_bytes(target="/heirs.bin"))
        self.head = client.read_head()
        assert b"200 OK" in self.head
        self.go_on()

    def go_on(self, count=PIECE_BYTES):
        self._digest.update(self.client.read_exactly(count))
        self._left -= count

    def finish(self):
        self.go_on(self._left)
        return self._digest.digest()


@pytest.fixture
def content(site):
    path = site / "heirs.bin"
    path.write_bytes(os.urandom(LARGE_BYTES))
    os.utime(path, (1e9, 1e9))  # what has just changed gets other validators a moment later
    return hashlib.sha256(path.read_bytes()).digest()


def ask_slowly(client, ms):
    """The process is at work on it when this returns, or at something before it."""
    client.send(request_bytes(target=f"/sleep?ms={ms}"))
    wait_until_read([client])


def check_retirement(server, content, retire):
    """Returns who finds those that retire: nobody is left of them."""
    pid = last_process(server)
    slow, half, quiet = (connect_to(server, pid) for _ in range(3))
    early, late = (connect_to(server, pid, receive_buffer_bytes=65536) for _ in range(2))
    half.send(b"GET /plaintext HTTP/1.1\r\nHo")
    early = Download(early)
    leavers = retire(server)
    late = Download(late)
    # What is sent on must be what was begun, whoever makes it again. (The late one says close unless it came before
    # its loop had heard of the retirement.)
    assert b"onnection: close" not in early.head
    ask_slowly(slow, 1500)
    kill_those(leavers)
    assert slow.read_response().body == b"slept 1500 ms\n"
    for _ in range(3):
        early.go_on()
        late.go_on()
        kill_those(leavers)
    half.send(b"st: a\r\n\r\n")
    for response in (half.read_response(), quiet.get("/plaintext")):
        assert response.body == b"Hello, World!"
        assert response.says_close
    assert early.finish() == late.finish() == content
    for client in (slow, half, quiet, early.client, late.client):
        client.close()
    wait_until(lambda: not leavers(), "nobody is left who retires")


@pytest.mark.parametrize("retire", [reload, resize], ids=lambda way: way.__name__)
def test_who_dies_while_it_retires_has_an_heir(model, start_adopting, content, retire):
    if retire is resize and model.name not in RESIZABLE:
        pytest.skip("another number of processes takes a reload")
    server = start_adopting(model)
    check_retirement(server, content, retire)
    deaths = server.status()["deaths"]
    assert len(deaths) >= 4
    assert all(death["left_to_successor"] and death["requests_lost"] == 0 for death in deaths)


def test_who_dies_under_the_old_program_has_an_heir(model, start_adopting, content):
    server = start_adopting(model)
    check_retirement(server, content, upgrade)
    assert server.process.wait(DEADLINE_S) == 0
    assert server.get("/plaintext").status == 200
    os.kill(new_program(server), signal.SIGTERM)
    wait_until(lambda: not processes.living_in_session(server.session), "nothing is left")
    server.assert_no_sanitizer_report()


def test_who_dies_while_the_server_drains_has_an_heir(model, start_adopting, content):
    server = start_adopting(model)
    pid = last_process(server)
    slow = connect_to(server, pid)
    download = Download(connect_to(server, pid, receive_buffer_bytes=65536))
    slow.send(b"GET /sleep?ms=1500 HTTP/1.1\r\nHo")  # who has not begun to ask is given a second
    wait_until_read([slow])
    os.kill(server.pid, signal.SIGQUIT)
    server.wait_for_log("draining: no new connections")
    slow.send(b"st: a\r\n\r\n")
    wait_until_read([slow])
    drainers = lambda: set(server.worker_pids())  # noqa: E731
    for _ in range(2):
        kill_those(drainers)
        download.go_on()
    response = slow.read_response()
    assert (response.body, response.says_close) == (b"slept 1500 ms\n", True)
    kill_those(drainers)
    assert download.finish() == content
    download.client.close()
    assert server.wait_for_exit() == 0


def test_the_end_of_the_server_is_not_put_off(model, start_adopting):
    server = start_adopting(model, "--drain-timeout-ms", "3000")
    with connect_to(server, last_process(server)) as client:
        ask_slowly(client, 60_000)
        began_s = time.monotonic()
        os.kill(server.pid, signal.SIGQUIT)
        server.wait_for_log("draining: no new connections")
        for pid in server.worker_pids():
            with contextlib.suppress(ProcessLookupError):  # who holds nothing may have ended by itself
                os.kill(pid, signal.SIGKILL)
        assert server.wait_for_exit() == 0
        assert time.monotonic() - began_s < 3 + 1 + LATENESS_S
        client.expect_close()


@NO_PRELOAD
def test_who_dies_beside_its_successor_has_an_heir(model, start_adopting, gate):
    server = start_adopting(model, *GATED, env=gate.environment)
    pid = server.status()["workers"][0]["pid"]
    with connect_to(server, pid) as client, connect_to(server, pid) as quiet:
        gate.close()
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: len(server.worker_pids()) > model.processes, "its successor is there")
        ask_slowly(client, 500)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: pid not in server.worker_pids() and len(server.worker_pids()) > model.processes,
                   "its heir is there")
        gate.open()
        assert client.read_response().status == quiet.get("/plaintext").status == 200
    server.wait_for_log("all processes have been replaced")


@NO_PRELOAD
def test_who_dies_before_a_reload_that_changes_its_plan_has_an_heir(model, start_adopting, gate):
    """Whoever comes into its seat cannot take over what it leaves."""
    server = start_adopting(model, *GATED, env=gate.environment)
    pid = last_process(server)
    with connect_to(server, pid) as client:
        gate.close()
        server.settings.write_text("max_connections: 100\n")
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: len(server.worker_pids()) > model.processes, "the first of the new configuration is there")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: pid not in server.worker_pids(), "it is dead")
        gate.open()
        assert client.get("/plaintext").status == 200
    server.wait_for_log("all processes have been replaced")
    assert all(death["left_to_successor"] for death in server.status()["deaths"])


# ---- The watchdog ----

WATCHED = ("--faults", "on", "--stuck-after-ms", "3000" if SANITIZED else "1000")


def test_a_request_that_hangs_is_given_up(model, start_adopting):
    """Whoever waits beside it, in the same process, is answered."""
    server = start_adopting(model, *WATCHED)
    pid = last_process(server)
    with connect_to(server, pid) as culprit, connect_to(server, pid) as neighbour:
        culprit.send(request_bytes(target="/fault/hang"))
        server.wait_for_log(r"watchdog: .* is stuck")
        neighbour.send(request_bytes(target="/plaintext"))
        assert neighbour.read_response().status == 200
        assert culprit.read_response().status == 500
    wait_until(lambda: len(server.worker_pids()) == model.processes, "nobody else is left")
    deaths = server.status()["deaths"]
    assert len(deaths) == server.log().count("(by the watchdog)") == 2
    assert {death["signal"] for death in deaths} <= {"SIGABRT", "SIGKILL"}  # if it has not died of it within a second
    assert all(death["left_to_successor"] for death in deaths)


def test_a_request_that_hangs_while_the_server_drains(model, start_adopting):
    server = start_adopting(model, *WATCHED)
    with connect_to(server, last_process(server)) as culprit:
        culprit.send(request_bytes(target="/fault/hang"))
        wait_until_read([culprit])
        os.kill(server.pid, signal.SIGQUIT)
        assert culprit.read_response().status == 500
    assert server.wait_for_exit() == 0
