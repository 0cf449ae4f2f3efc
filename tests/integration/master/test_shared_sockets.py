"""What a worker that has gone wrong does to sockets that it shares with all is noticed, told and mended: its
successors inherit them."""

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import time

import pytest

from support import borrow, models, processes
from support.client import Client
from support.waiting import wait_until

SUPERVISED = pytest.mark.models(models.SUPERVISED)
TRIES = 20
SO_ATTACH_FILTER, SO_LOCK_FILTER, SO_MAX_PACING_RATE = 26, 44, 47
IP_MINTTL = 21
# A program of one instruction, "return 0": every packet is dropped.
_DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)


class Program:
    """A struct sock_fprog, and what it points to."""

    def __init__(self):
        self._code = ctypes.create_string_buffer(_DROP_ALL)
        self.bytes = struct.pack("HL", 1, ctypes.addressof(self._code))


def shut_down(one):
    one.shutdown(socket.SHUT_RD)


def make_a_connection(one):
    """It can never listen again. The master may make it listen before it is connected: then once more."""
    def connect(address):
        one.shutdown(socket.SHUT_RD)
        one.setblocking(True)
        return one.connect_ex(address) == 0

    with socket.create_server(("127.0.0.1", 0)) as other:
        wait_until(lambda: connect(other.getsockname()), "it is connected")


def make_blocking(one):
    fcntl.fcntl(one, fcntl.F_SETFL, 0)


def make_blocking_for_ever(one):
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 0))
    fcntl.fcntl(one, fcntl.F_SETFL, 0)


def linger(one):
    """Each close becomes a reset."""
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def starve(one):
    one.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)


def shorten_queue(one):
    one.listen(0)


def drop_all(one):
    one.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, Program().bytes)


def drop_all_for_ever(one):
    drop_all(one)
    one.setsockopt(socket.SOL_SOCKET, SO_LOCK_FILTER, 1)


def send_signals(one):
    fcntl.fcntl(one, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)


DEEDS = [(shut_down, "was shut down"), (make_a_connection, "was shut down"),
         (make_blocking, "was changed: O_NONBLOCK"), (make_blocking_for_ever, "was changed: O_NONBLOCK"),
         (linger, "was changed: SO_LINGER"), (starve, "was changed: SO_MAX_PACING_RATE"),
         (shorten_queue, "was changed: the length of its queue"),
         (drop_all, "was changed: SO_ATTACH_FILTER"), (drop_all_for_ever, "was changed: SO_LOCK_FILTER"),
         (send_signals, "was changed: O_ASYNC")]


@contextlib.contextmanager
def unseen_by_the_master(server):
    """A master that found one socket spoilt, and the next one a second later, would open all anew, and cut clients."""
    if not server.model.has_master:
        yield
        return
    os.kill(server.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: processes.read_process(server.pid).state == "T", "the master stands still")
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def spoil(server, deed):
    with borrow.listening_sockets(server.worker_pids()[0]) as sockets, unseen_by_the_master(server):
        assert sockets
        for one in sockets:
            deed(one)


def assert_serves(server):
    for _ in range(TRIES):
        assert server.get("/plaintext").status == 200


def listens(server):
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return False
    return True


def assert_mended(server, workers, cause):
    port = server.address[1]
    server.wait_for_log(rf"the listening socket of 127\.0\.0\.1:{port} {cause} by a process that shares it")
    wait_until(lambda: not set(workers) & set(server.worker_pids()), "who may have done it has been replaced")
    wait_until(lambda: listens(server), "it listens")  # a deed of two steps may have been mended between them
    server.wait_for_full_strength()
    assert_serves(server)


@SUPERVISED
@pytest.mark.parametrize("deed, cause", DEEDS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_listening_socket_is_mended(model, start_server, deed, cause):
    server = start_server(model)
    workers = server.worker_pids()
    spoil(server, deed)
    assert_mended(server, workers, cause)


@SUPERVISED
def test_successors_get_a_socket_that_listens(model, start_server):
    """Whoever spoilt it has died at once, with all others (unless the master has found it out before)."""
    server = start_server(model)
    workers = server.worker_pids()
    spoil(server, shut_down)
    for pid in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert_mended(server, workers, "was shut down")


@SUPERVISED
def test_a_reload_does_not_take_over_what_is_spoilt(model, start_server):
    server = start_server(model)
    workers = server.worker_pids()
    spoil(server, make_a_connection)
    os.kill(server.pid, signal.SIGHUP)
    server.wait_for_log("all processes have been replaced")
    assert_mended(server, workers, "was shut down")


@SUPERVISED
def test_who_does_it_again_loses_the_sockets(model, start_server):
    server = start_server(model)
    with borrow.listening_sockets(server.worker_pids()[0]) as sockets:
        for one in sockets:
            make_blocking(one)
        server.wait_for_log("that was undone")

        def is_opened_anew():  # if the second time comes late, it counts as the first, and the next one is the second
            for one in sockets:
                linger(one)
            return "it was opened anew" in server.log()
        wait_until(is_opened_anew, "the sockets are opened anew")
        for one in sockets:  # that are nobody's any more
            linger(one)
        server.wait_for_full_strength()
        assert_serves(server)


@SUPERVISED
def test_after_the_mending_it_stops_well(model, start_server):
    server = start_server(model)
    workers = server.worker_pids()
    spoil(server, make_a_connection)
    assert_mended(server, workers, "was shut down")
    server.stop(signal.SIGQUIT)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make network namespaces")
@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_a_default_of_the_system_may_change(model, start_server):
    """That is nobody's deed: it is not told in the place of the one that is, which comes behind it."""
    prefix = ("unshare", "-n", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh")
    if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no network namespace can be made here")
    server = start_server(model, prefix=prefix)
    subprocess.run(["nsenter", "-n", "-t", str(server.pid), "sh", "-c",
                    "echo 70 >/proc/sys/net/ipv4/ip_default_ttl"], check=True)
    spoil(server, lambda one: one.setsockopt(socket.IPPROTO_IP, IP_MINTTL, 2))
    server.wait_for_log(r"the listening socket of .* was changed: IP_MINTTL")


# Without O_NONBLOCK whoever accepts and finds nothing would wait there, with all its other connections.

@pytest.mark.models(models.ANY_WORKER_ACCEPTS)
def test_nobody_waits_in_accept(model, start_server):
    server = start_server(model, "--stuck-after-ms", "off")
    with server.connect() as patient:
        assert patient.get("/plaintext").status == 200
        spoil(server, make_blocking)
        for _ in range(TRIES):
            assert server.get("/plaintext").status == 200
            response = patient.get("/plaintext")
            assert response.status == 200
            if response.says_close:
                break  # the master has seen it meanwhile


# Inboxes.

def spoil_inboxes(server, deed):
    with borrow.inboxes(server.worker_pids()[0]) as inboxes:
        if not inboxes:
            pytest.skip("a server with one event loop has no inbox")
        for one in inboxes:
            deed(one)


def ticks_of(pid):
    """0: it has ended meanwhile."""
    try:
        return processes.cpu_ticks(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0


def assert_rests(pids):
    """Nobody spins: less than half of the time, which for a loop that does is all."""
    before = {pid: ticks_of(pid) for pid in pids}
    time.sleep(1)
    ticks = os.sysconf("SC_CLK_TCK")
    for pid, start in before.items():
        assert ticks_of(pid) - start < ticks / 2, f"{pid} spins"


@SUPERVISED
def test_inboxes_are_made_anew(model, start_server):
    server = start_server(model)
    workers = server.worker_pids()
    spoil_inboxes(server, lambda one: one.shutdown(socket.SHUT_RDWR))
    server.wait_for_log("an inbox of connections was shut down by a process that shares it")
    wait_until(lambda: not set(workers) & set(server.worker_pids()), "the old processes are gone")
    server.wait_for_full_strength()
    assert_serves(server)
    assert_rests(server.worker_pids())


def fill(one):
    """With what is no connection, as much as goes in."""
    read_end, write_end = os.pipe()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as fresh:
        messages = [(b"", []), (b"garbage", []), (b"x" * 5000, []), (b"x" * 24, [read_end]),
                    (b"x" * 24, [udp.fileno()]), (b"x" * 24, [read_end, write_end] * 10),
                    (b"\0" * 24, [fresh.fileno()]), (b"\xff" * 48, [read_end])]
        one.setblocking(False)
        try:
            for _ in range(1000):
                for data, descriptors in messages:
                    if descriptors:
                        socket.send_fds(one, [data], descriptors)
                    else:
                        one.send(data)
        except BlockingIOError:
            pass
    os.close(read_end)
    os.close(write_end)


def test_what_is_no_connection_is_thrown_away(model, start_server):
    server = start_server(model)
    pids = server.worker_pids()
    descriptors = [processes.open_fds(pid) for pid in pids]
    spoil_inboxes(server, fill)
    server.wait_for_log("what has come into this loop's inbox is no connection")
    assert_serves(server)
    # The connection that the server was asked over may have been open still.
    wait_until(lambda: all(processes.open_fds(pid) <= before for pid, before in zip(pids, descriptors)),
               "nothing stays open")
    assert_rests(pids)
    assert server.worker_pids() == pids


def test_an_inbox_that_was_shut_down_makes_nobody_spin(model, start_server):
    """Also where there is no master that would replace it."""
    server = start_server(model)
    workers = server.worker_pids()  # who comes in their place has enough to do at first
    spoil_inboxes(server, lambda one: one.shutdown(socket.SHUT_RD))
    assert_serves(server)
    assert_rests(workers)
    with Client(server.address) as client:
        assert client.get("/plaintext").status == 200
