"""Stopping: fast by TERM and INT, with a drain by QUIT."""

import os
import signal
import time

import pytest

from support.client import request_bytes, wait_until_read
from support.server import SANITIZED
from support.waiting import LATENESS_S, wait_until

# So long would a stop that waits for its connections take: too long for the deadline of a test.
ENDLESS_DRAIN = ("--drain-timeout-ms", "600000")
FAST_SIGNALS = pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT],
                                       ids=["TERM", "INT"])
ALL_SIGNALS = pytest.mark.parametrize(
    "signal_number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT], ids=["TERM", "INT", "QUIT"])

EARLY_PART = request_bytes("POST", "/echo", [("Content-Length", "10")]) + b"01234"
LATE_PART = b"56789"


def refuses_connections(server):
    try:
        server.connect().close()
    except OSError:
        return True
    return False


def is_cleanly_over(server):
    """False: the machine was too busy to tell."""
    if server.was_cut_short():
        return False
    server.assert_clean_log()
    return True


def ask_for_drain(server):
    os.kill(server.pid, signal.SIGQUIT)


@ALL_SIGNALS
def test_a_quiet_server_stops_at_once(model, start_server, signal_number):
    def stops():
        server = start_server(model, *ENDLESS_DRAIN)
        assert server.get("/plaintext").status == 200
        server.stop(signal_number)
        return is_cleanly_over(server)
    wait_until(stops, "it stops by itself")


@ALL_SIGNALS
def test_idle_connections_do_not_delay_a_stop(model, start_server, signal_number):
    server = start_server(model, *ENDLESS_DRAIN)
    clients = [server.connect() for _ in range(20)]
    for client in clients[:10]:
        assert client.get("/plaintext").status == 200
    server.stop(signal_number)
    for client in clients:
        client.expect_close()


@FAST_SIGNALS
def test_a_fast_stop_does_not_wait_for_requests(model, start_server, signal_number):
    server = start_server(model)
    with server.connect() as client:
        client.send(request_bytes(target="/sleep?ms=60000"))
        wait_until_read([client])
        start = time.monotonic()
        server.stop(signal_number)
        assert time.monotonic() - start < LATENESS_S


@FAST_SIGNALS
def test_control_c_in_a_terminal(model, start_server, signal_number):
    """A terminal sends the signal to every process of the group, the workers included."""
    def stops():
        server = start_server(model)
        assert server.get("/plaintext").status == 200
        os.killpg(server.session, signal_number)
        assert server.wait_for_exit() == 0
        return is_cleanly_over(server) and server
    server = wait_until(stops, "it stops by itself")
    assert "generation 2" not in server.log(), "no worker is replaced during a stop"


def test_a_drain_answers_the_slow_request(model, start_server):
    def is_answered():
        server = start_server(model)
        with server.connect() as client:
            client.send(request_bytes(target="/sleep?ms=1000"))
            wait_until_read([client])
            ask_for_drain(server)
            response = client.read_response()
            assert response.status == 200
            if response.says_close:
                client.expect_close()
        assert server.wait_for_exit() == 0
        server.assert_clean_log()
        return response.says_close
    wait_until(is_answered, "the drain comes before the answer")  # which a busy machine may give first


def test_a_drain_waits_for_the_body_and_refuses_new_connections(model, start_server):
    def is_answered():
        server = start_server(model, *ENDLESS_DRAIN)
        with server.connect() as client:
            client.send(EARLY_PART)
            wait_until_read([client])
            ask_for_drain(server)
            wait_until(lambda: refuses_connections(server), "new connections are refused")
            client.send(LATE_PART)
            response = client.read_response()
            assert (response.status, response.body) == (200, b"0123456789")
            if response.says_close:
                client.expect_close()
            else:
                assert model.processes > 1, "another one may refuse before this one is told"
        assert server.wait_for_exit() == 0
        return response.says_close
    wait_until(is_answered, "the process is told before the body is whole")


def test_a_drain_finishes_a_large_download(model, start_server):
    server = start_server(model, *ENDLESS_DRAIN)
    with server.connect(receive_buffer_bytes=65536) as client:
        client.send(request_bytes(target="/20mib.bin"))
        start = client.read_exactly(1000)
        ask_for_drain(server)
        wait_until(lambda: refuses_connections(server), "new connections are refused")
        assert len(start + client.read_to_end()) > 20 << 20
    assert server.wait_for_exit() == 0


def test_a_drain_has_a_deadline(model, start_server):
    server = start_server(model, "--drain-timeout-ms", "500")
    with server.connect() as client:
        client.send(EARLY_PART)
        wait_until_read([client])
        start = time.monotonic()
        ask_for_drain(server)
        assert server.wait_for_exit() == 0
        assert 0.4 < time.monotonic() - start < 0.5 + LATENESS_S


def test_a_drain_gives_up_on_a_blocked_worker(model, start_server):
    server = start_server(model, "--drain-timeout-ms", "500")
    with server.connect() as client:
        client.send(request_bytes(target="/sleep?ms=60000"))
        wait_until_read([client])
        start = time.monotonic()
        ask_for_drain(server)
        assert server.wait_for_exit() == 0
        assert time.monotonic() - start < 0.5 + LATENESS_S


@pytest.mark.models(("threadpool-connection", "threadpool-request-all", "hybrid", "hybrid-request"))
@pytest.mark.skipif(SANITIZED, reason="the sanitizer's library must be loaded before any other")
def test_a_thread_that_is_slow_to_end_is_awaited(model, start_server, build_preload):
    """As on a busy machine: it is in no handler, and the process leaves in good order."""
    library = build_preload("slow_end")

    def is_awaited():
        server = start_server(model, env={**os.environ, "LD_PRELOAD": str(library)})
        server.stop()
        return "slow_end" in server.log() and "leaving without them" not in server.log()
    wait_until(is_awaited, "it is awaited")  # but not before it has had the CPU once, which may take too long


def test_a_second_signal_ends_a_drain(model, start_server):
    server = start_server(model)
    with server.connect() as client:
        client.send(EARLY_PART)
        wait_until_read([client])
        ask_for_drain(server)
        wait_until(lambda: refuses_connections(server), "the drain has begun")
        server.stop(signal.SIGTERM)


@pytest.mark.parametrize("signal_number", [signal.SIGPIPE, signal.SIGWINCH, signal.SIGUSR1],
                         ids=["PIPE", "WINCH", "USR1"])
def test_other_signals_do_not_stop_the_server(server, signal_number):
    """The check after every test on a shared server also sees that no worker was replaced."""
    os.kill(server.pid, signal_number)
    for _ in range(10):
        assert server.get("/plaintext").status == 200
