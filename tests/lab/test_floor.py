"""The floor program: as many answers as requests, whole ones, and a clean end."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from patience import DEADLINE_S
from twinlab.machine import processes
from twinlab.servers.server import parse_first_line

BIN_DIR = Path(os.environ.get("TWINHTTPD_BIN_DIR", Path(__file__).resolve().parents[2] / "build" / "dev" / "bin"))
FLOOR = str(BIN_DIR / "floor")
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def start():
    """Starts the program with options; returns it and its port."""
    started = []

    def starter(*options):
        child = subprocess.Popen([FLOOR, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 start_new_session=True)
        started.append(child)
        return child, parse_first_line(child.stdout.readline()).port

    yield starter
    for child in started:
        child.kill()
        child.communicate(timeout=DEADLINE_S)
        assert session_ends(child.pid), "workers outlived their master"


def session_ends(session):
    deadline_s = time.monotonic() + DEADLINE_S
    while processes.session_members(session) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return not processes.session_members(session)


def connect(port):
    return socket.create_connection(("127.0.0.1", port), DEADLINE_S)


def receive(connection, body_bytes, answers=1):
    """Read this many whole answers and not a byte more; returns their heads."""
    stream, heads = connection.makefile("rb"), []
    for _ in range(answers):
        head = b"".join(iter(stream.readline, b"\r\n"))
        assert head.startswith(b"HTTP/1.1 200 OK\r\n") and f"Content-Length: {body_bytes}\r\n".encode() in head
        assert len(stream.read(body_bytes)) == body_bytes
        heads.append(head)
    connection.setblocking(False)
    with pytest.raises(BlockingIOError):
        connection.recv(1)
    connection.settimeout(DEADLINE_S)
    return heads


def test_one_answer_for_each_request(start):
    _, port = start()
    with connect(port) as connection:
        for _ in range(3):
            connection.sendall(REQUEST)
            receive(connection, 13)


def test_requests_that_come_together_are_all_answered(start):
    _, port = start("--bytes", "20")
    with connect(port) as connection:
        connection.sendall(REQUEST * 2000)
        receive(connection, 20, answers=2000)


@pytest.mark.parametrize("cut_bytes", [1, 2, 3])
def test_a_request_end_may_come_in_pieces(start, cut_bytes):
    _, port = start("--workers", "1")
    with connect(port) as connection, connect(port) as other:
        connection.sendall(REQUEST[:-cut_bytes])
        # The only worker answers the other one later than it has read the first part.
        other.sendall(REQUEST)
        receive(other, 13)
        connection.sendall(REQUEST[-cut_bytes:])
        receive(connection, 13)


def test_a_large_file_arrives_whole(start, tmp_path):
    content = os.urandom(5_000_000)
    (tmp_path / "large").write_bytes(content)
    _, port = start("--file", str(tmp_path / "large"))
    with connect(port) as connection:
        connection.sendall(REQUEST * 2)
        stream = connection.makefile("rb")
        for _ in range(2):
            while stream.readline() != b"\r\n":
                pass
            assert stream.read(len(content)) == content
        connection.sendall(REQUEST)
        assert stream.readline() == b"HTTP/1.1 200 OK\r\n"


def test_close(start):
    _, port = start("--close")
    with connect(port) as connection:
        connection.sendall(REQUEST)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
        assert b"\r\nConnection: close\r\n" in answer and answer.endswith(b"\r\n\r\n" + b"x" * 13)


@pytest.mark.parametrize("options", [(), ("--reuseport",)])
def test_sigterm_ends_all_workers(start, options):
    child, port = start("--workers", "3", *options)
    assert len(processes.session_members(child.pid)) == 4
    for _ in range(8):
        with connect(port) as connection:
            connection.sendall(REQUEST)
            receive(connection, 13)
    child.send_signal(signal.SIGTERM)
    assert child.wait(DEADLINE_S) == 0
    assert processes.session_members(child.pid) == []


def test_a_dead_worker_is_not_hidden(start):
    child, _ = start()
    worker = next(pid for pid in processes.session_members(child.pid) if pid != child.pid)
    os.kill(worker, signal.SIGKILL)
    assert child.wait(DEADLINE_S) == 1
    assert "a worker ended by itself" in child.stderr.read()


def test_workers_die_with_their_master(start):
    child, _ = start()
    child.kill()
    child.wait(DEADLINE_S)
    assert session_ends(child.pid)


@pytest.mark.parametrize("options, status, text", [
    (["--nonsense"], 2, "--help"), (["--workers", "0"], 2, "--workers must be from 1"), (["--bytes"], 2, "--help"),
    (["--bytes", "12x"], 2, "--bytes must be"), (["extra"], 2, "--help"),
    (["--file", "/nonexistent"], 1, "/nonexistent: No such file"),
])
def test_mistakes_are_one_line(options, status, text):
    done = subprocess.run([FLOOR, *options], capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == status
    assert text in done.stderr and done.stderr.count("\n") == 1 and done.stdout == ""
