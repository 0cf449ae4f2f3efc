"""--on-death adopt, and clients that do not just wait: they have said all that they will say, they are gone, or they send on
behind the last answer."""

import hashlib
import os
import re

import pytest

from support import models
from support.client import request_bytes, wait_until_read
from support.deaths import check_balance, kill_all, unnoticed
from support.kernel_sockets import server_ends
from support.waiting import wait_until

SUPERVISED = pytest.mark.models(models.SUPERVISED)
PATIENCE_MS = "600000"
ADOPT = ("--on-death", "adopt", "--bench", "on", "--stuck-after-ms", "off", "--rebalance", "off", "--linger-timeout-ms",
         PATIENCE_MS, "--max-linger-ms", PATIENCE_MS, "--body-timeout-ms", PATIENCE_MS,
         "--header-timeout-ms", PATIENCE_MS)
LARGE_BYTES = 20_000_000
DEATHS = 3


@pytest.fixture
def log_path(tmp_path):
    return tmp_path / "access.log"


@pytest.fixture
def start_adopting(start_server, log_path):
    def start(model, *options, **how):
        return start_server(model, *ADOPT, "--access-log", str(log_path), *options, **how)
    return start


@pytest.fixture
def large_file(site):
    content = os.urandom(LARGE_BYTES)
    (site / "leaving.bin").write_bytes(content)
    os.utime(site / "leaving.bin", (1e9, 1e9))  # what has just changed gets other validators a moment later
    return content


def lines_about(server, log_path, what, awaited=None):
    """Those of the access log, when nobody writes it any more. The last of them is there before: a process that is told
    to stop, and does not get to it within a second, is killed with the lines that it collects."""
    wait_until(lambda: (awaited or what) in log_path.read_text(), "the line is written")
    server.stop()
    return [line for line in log_path.read_text().splitlines() if what in line]


def check_nothing_is_lost(server):
    check_balance(server)
    status = server.status()
    assert all(death["left_to_successor"] and death["requests_lost"] == 0 for death in status["deaths"])
    assert status["totals"]["adoption"]["lost"] == 0


def wait_for_the_end(server, name, reset):
    """Until the kernel knows that this client has said all, or is gone."""
    port = int(name.rpartition(":")[2])

    def knows():
        ends = [end for end in server_ends(server.address[1]) if end.client_port == port]
        return not ends if reset else all(end.closed_by_client for end in ends)
    wait_until(knows, "the kernel knows that it has left")


# ---- It has said all that it will say ----

@SUPERVISED
def test_who_has_said_all_is_answered(model, start_adopting, log_path):
    server = start_adopting(model)
    with server.connect() as client:
        client.send(request_bytes(target="/sleep?ms=1000") + request_bytes(target="/plaintext?last"))
        wait_until_read([client])
        client.half_close()
        for _ in range(DEATHS):
            kill_all(server)
        assert client.read_response().body == b"slept 1000 ms\n"
        assert client.read_response().body == b"Hello, World!"
        client.expect_orderly_close()
    check_nothing_is_lost(server)
    lines = lines_about(server, log_path, "?", awaited="?last")
    assert [re.search(r'"GET (\S+) \S+" (\d+)', line).groups() for line in lines] == [("/sleep?ms=1000", "200"),
                                                                                    ("/plaintext?last", "200")]
    assert not any(line.endswith(" aborted") for line in lines)


@SUPERVISED
def test_who_has_said_all_gets_its_download(model, start_adopting, log_path, large_file):
    server = start_adopting(model)
    body = hashlib.sha256()
    with server.connect(receive_buffer_bytes=65536) as client:
        client.send(request_bytes(target="/leaving.bin"))
        assert b"200 OK" in client.read_head()
        client.half_close()
        for _ in range(DEATHS):
            kill_all(server)
            body.update(client.read_exactly(LARGE_BYTES // 10))
        body.update(client.read_exactly(LARGE_BYTES - DEATHS * (LARGE_BYTES // 10)))
        client.expect_orderly_close()
    assert body.digest() == hashlib.sha256(large_file).digest()
    check_nothing_is_lost(server)
    line, = lines_about(server, log_path, "leaving.bin")
    assert f" 200 {LARGE_BYTES} " in line and not line.endswith(" aborted")


@SUPERVISED
@pytest.mark.parametrize("begun", [b"", b"GET /plaintext HTTP/1.1\r\nHo",
                                   b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + bytes(50_000)],
                         ids=["nothing", "head", "body"])
@pytest.mark.parametrize("reset", [False, True], ids=["half-closed", "reset"])
def test_who_leaves_in_the_middle_of_a_request(model, start_adopting, log_path, begun, reset):
    """Nobody can answer it, and nothing is left of it."""
    server = start_adopting(model)
    with server.connect() as client:
        assert client.get("/plaintext?first").status == 200
        client.send(begun)
        wait_until_read([client])
        name = client.name
        with unnoticed(server):
            if reset:
                client.reset()
            else:
                client.half_close()
            wait_for_the_end(server, name, reset)
        if not reset:
            client.expect_orderly_close()
    check_nothing_is_lost(server)
    wait_until(lambda: server.status()["totals"]["connections_open"] == 0, "it is open nowhere")
    lines = lines_about(server, log_path, '"', awaited="?first")
    assert len([line for line in lines if "?first" in line]) == 1
    assert not [line for line in lines if '"POST' in line]


# ---- It is gone ----

@pytest.mark.slow
@SUPERVISED
def test_who_is_gone_has_its_line(model, start_adopting, log_path):
    """Its request was at work, wherever that was; another one that waited behind it was not."""
    server = start_adopting(model, "--start-timeout-ms", "10000")
    with server.connect() as client:
        server.send_and_see(client, "/sleep?ms=15000")
        client.send(request_bytes(target="/plaintext?behind"))
        name = client.name
        client.reset()
        wait_for_the_end(server, name, reset=True)
    for _ in range(DEATHS):
        kill_all(server)  # whoever sees it off is ready all the same
    check_nothing_is_lost(server)
    assert len(server.status()["deaths"]) == DEATHS * model.processes  # nobody was too late
    lines = lines_about(server, log_path, "ms=15000")
    line, = [line for line in lines if line.endswith(" aborted")]
    assert line.startswith("127.0.0.1 ") and ' HTTP/1.1" 200 0 ' in line
    assert "?behind" not in log_path.read_text()


@SUPERVISED
def test_who_is_gone_from_a_download_has_its_line(model, start_adopting, log_path, large_file):
    server = start_adopting(model)
    with server.connect(receive_buffer_bytes=65536) as client:
        client.send(request_bytes(target="/leaving.bin"))
        client.read_exactly(LARGE_BYTES // 10)
        name = client.name
        with unnoticed(server):
            client.reset()
            wait_for_the_end(server, name, reset=True)
    assert large_file
    check_nothing_is_lost(server)
    line, = lines_about(server, log_path, "leaving.bin")
    sent = int(re.search(r'" 200 (\d+) ', line)[1])
    assert LARGE_BYTES // 20 < sent < LARGE_BYTES and line.endswith(" aborted")


@SUPERVISED
def test_a_culprit_that_is_gone(model, start_adopting, log_path):
    """Whether it is seen before its process has a successor or not: it ends two processes at most, and has one line."""
    server = start_adopting(model, "--faults", "on")
    with server.connect() as client:
        client.send(request_bytes(target="/fault/segv"))
        wait_until_read([client])
        client.reset()
    wait_until(lambda: server.status()["deaths"], "a process dies of it")
    wait_until(lambda: "/fault/segv" in log_path.read_text(), "it has its line")
    server.wait_for_full_strength()
    check_balance(server)
    assert len(server.status()["deaths"]) <= 2
    line, = lines_about(server, log_path, "/fault/segv")
    assert '" 500 ' in line


# ---- It sends on behind the last answer ----

REFUSED = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n"


@SUPERVISED
@pytest.mark.parametrize("leaves", [False, True], ids=["orderly", "reset"])
def test_who_sends_on_behind_the_last_answer(model, start_adopting, log_path, leaves):
    """What it has not read yet must not be destroyed by a reset, whoever closes the connection."""
    server = start_adopting(model)
    with server.connect() as client:
        client.send(REFUSED + bytes(100_000))
        wait_until(client.has_answer, "it is refused")
        for _ in range(DEATHS):
            kill_all(server)
            client.send(bytes(100_000))
        wait_until(lambda: server.status()["totals"]["connections_open"] == 0, "it does not count as open any more")
        if leaves:
            client.reset()
        else:
            response = client.read_response()
            assert (response.status, response.says_close) == (413, True)
            client.half_close()
            client.expect_orderly_close()
    check_nothing_is_lost(server)
    wait_until(lambda: server.status()["totals"]["connections_open"] == 0, "it is open nowhere")
    line, = lines_about(server, log_path, "POST /echo")
    assert " 413 " in line and not line.endswith(" aborted")


@SUPERVISED
@pytest.mark.parametrize("reset", [False, True], ids=["half-closed", "reset"])
def test_who_ends_it_unnoticed_behind_the_last_answer(model, start_adopting, log_path, reset):
    server = start_adopting(model)
    with server.connect() as client:
        client.send(REFUSED + bytes(100_000))
        wait_until(client.has_answer, "it is refused")
        with unnoticed(server):
            client.send(bytes(10_000))
            if reset:
                client.reset()
            else:
                client.half_close()
        if not reset:
            assert client.read_response().status == 413
            client.expect_orderly_close()
    check_nothing_is_lost(server)
    line, = lines_about(server, log_path, "POST /echo")
    assert " 413 " in line and not line.endswith(" aborted")
