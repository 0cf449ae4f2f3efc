"""Limits of size and time."""

import os
import re
import resource
import select
import time
from contextlib import ExitStack

import pytest

from support import models, site as sites
from support.client import chunked, request_bytes
from support.kernel_sockets import server_ends
from support.waiting import at_its_pace, DEADLINE_S, LATENESS_S, wait_until

pytestmark = pytest.mark.models(models.PROTOCOL)

HEADER_TIMEOUT_S = 1.0
BODY_TIMEOUT_S = 1.5
IDLE_TIMEOUT_S = 2.0
SEND_TIMEOUT_S = 1.0
LINGER_S = 0.5
DRIP_INTERVAL_S = 0.05
CHUNKED = ("Transfer-Encoding", "chunked")
IDLE_AFTER_S = 1  # a connection without a request for so long makes room for others


TIMES = (
    "--header-timeout-ms", str(int(HEADER_TIMEOUT_S * 1000)),
    "--body-timeout-ms", str(int(BODY_TIMEOUT_S * 1000)),
    "--idle-timeout-ms", str(int(IDLE_TIMEOUT_S * 1000)),
    "--send-timeout-ms", str(int(SEND_TIMEOUT_S * 1000)),
)
SIZES = (
    "--max-request-line-bytes", "1000",
    "--max-header-bytes", "4000",
    "--max-headers", "20",
    "--max-body-bytes", "100000",
    "--linger-timeout-ms", "30000",  # for who stops in the middle of what he sends
)


@pytest.fixture
def server_options(request):
    """Short times are for the tests about them, which are slow: on a busy machine others would meet them by chance."""
    return TIMES if request.node.get_closest_marker("slow") else SIZES


def request_line_of(size):
    """A GET whose request line, without its CRLF, is as long as size."""
    target = "/plaintext?"
    return request_bytes(target=target + "x" * (size - len(f"GET {target} HTTP/1.1")))


def headers_of(count):
    """A GET with so many header fields, Host included."""
    return request_bytes(target="/plaintext",
                         headers=[(f"X-{i}", "1") for i in range(count - 1)])


def header_block_of(size):
    """A GET whose header section is a bit over size."""
    return request_bytes(target="/plaintext", headers=[("X", "x" * size)])


@pytest.mark.parametrize("request_, status", [
    (request_line_of(990), 200),
    (request_line_of(1100), 414),
    (request_line_of(100_000), 414),
    (headers_of(20), 200),
    (headers_of(21), 431),
    (headers_of(200), 431),
    (header_block_of(3500), 200),
    (header_block_of(4000), 431),
    (header_block_of(1_000_000), 431),
    (request_bytes(headers=[("X" * 5000, "1")]), 431),
    (request_bytes("POST", "/echo", body=b"x" * 100_000), 200),
    (request_bytes("POST", "/echo", body=b"x" * 100_001), 413),
    (request_bytes("POST", "/echo", [("Content-Length", "18446744073709551615")]), 413),
    (request_bytes("POST", "/echo", [CHUNKED]) + chunked(*[b"x" * 10_000] * 10), 200),
    (request_bytes("POST", "/echo", [CHUNKED]) + chunked(*[b"x" * 10_000] * 10, b"x"), 413),
    (request_bytes("POST", "/echo", [CHUNKED]) + b"fffffff\r\nx", 413),
    (request_bytes("GET", "/hello.txt", body=b"x" * 100_001), 413),
], ids=["line-fits", "line-too-long", "line-far-too-long", "headers-fit", "one-header-too-many",
        "many-headers-too-many", "header-bytes-fit", "header-bytes-too-many",
        "header-bytes-far-too-many", "name-too-long", "body-fits", "body-too-large",
        "length-of-2^64-1", "chunks-fit", "chunks-too-large", "one-chunk-too-large",
        "get-body-too-large"])
def test_sizes(client, request_, status):
    client.send_reluctantly(request_)
    response = client.read_response()
    assert response.status == status
    assert response.header("Date")
    if status == 200:
        assert client.get("/plaintext").status == 200
    else:
        assert response.says_close
        client.expect_close()


def test_a_line_that_never_ends_is_refused_early(client):
    client.send(b"GET /" + b"x" * 2000)
    assert client.read_response().status == 414
    client.expect_close()


@pytest.mark.parametrize("extra", [[("Content-Length", str(4 * sites.ONE_MIB))], [CHUNKED]],
                         ids=["content-length", "chunked"])
def test_lingering_close(client, extra):
    """A client that sends its whole refused body first can still read the refusal."""
    body = b"x" * (4 * sites.ONE_MIB)
    if extra == [CHUNKED]:
        body = chunked(body)
    client.send(request_bytes("POST", "/echo", extra) + body)
    response = client.read_response()
    assert response.status == 413
    assert response.says_close


def drip_until_answer(client, prefix, filler, pace):
    """Sends prefix, then filler byte by byte until the server reacts."""
    client.send(prefix)
    pace.step()
    end = time.monotonic() + DEADLINE_S
    while not select.select([client.socket], [], [], DRIP_INTERVAL_S)[0]:
        assert time.monotonic() < end, "a drip is never cut"
        client.send_reluctantly(filler)
        pace.step()


def assert_refused_with_408_or_closed(client):
    answer = client.read_to_end()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 408 "), answer[:200]
    if answer:
        assert b"\r\nConnection: close\r\n" in answer


@pytest.mark.slow
@pytest.mark.parametrize("prefix, filler, limit_s", [
    (b"GET /", b"x", HEADER_TIMEOUT_S),
    (request_bytes()[:-2] + b"X: ", b"x", HEADER_TIMEOUT_S),
    (request_bytes("POST", "/echo", [("Content-Length", "10000")]), b"x", BODY_TIMEOUT_S),
    (request_bytes("POST", "/echo", [CHUNKED]) + b"ffff\r\n", b"x", BODY_TIMEOUT_S),
    (request_bytes("POST", "/echo", [CHUNKED]) + b"5;", b"x", BODY_TIMEOUT_S),
], ids=["request-line", "header", "body", "chunk", "chunk-extension"])
def test_deadlines_hold_against_a_drip(server, prefix, filler, limit_s):
    def drip(pace):
        start = time.monotonic()
        with server.connect() as client:
            drip_until_answer(client, prefix, filler, pace)
            assert 0.9 * limit_s < time.monotonic() - start < limit_s + LATENESS_S
            assert_refused_with_408_or_closed(client)
    at_its_pace(drip, HEADER_TIMEOUT_S / 2)  # whose head comes late is cut before his time


@pytest.mark.slow
@pytest.mark.parametrize("sent, limit_s", [
    (b"", max(HEADER_TIMEOUT_S, IDLE_TIMEOUT_S)),
    (b"GET / HT", HEADER_TIMEOUT_S),
    (request_bytes("POST", "/echo", [("Content-Length", "5")]) + b"abc", BODY_TIMEOUT_S),
], ids=["nothing", "half-a-header", "half-a-body"])
def test_deadlines_hold_against_silence(client, sent, limit_s):
    start = time.monotonic()
    client.send(sent)
    assert_refused_with_408_or_closed(client)
    assert time.monotonic() - start < limit_s + LATENESS_S


@pytest.mark.slow
def test_idle_connections_are_closed_in_silence(server):
    def ask(_pace):
        client, start = server.connect(), time.monotonic()
        assert client.get("/plaintext").status == 200
        return client, start

    client, start = at_its_pace(ask, HEADER_TIMEOUT_S / 2)  # who connects and asks late is closed before
    with client:
        client.expect_close()
    assert 0.9 * IDLE_TIMEOUT_S < time.monotonic() - start < IDLE_TIMEOUT_S + LATENESS_S


@pytest.mark.slow
def test_each_request_starts_the_clock_anew(server):
    """Requests that come slowly but in time keep a connection longer than any one deadline."""
    def ask_now_and_then(pace):
        with server.connect() as client:
            end = time.monotonic() + IDLE_TIMEOUT_S + 1
            while time.monotonic() < end:
                assert client.get("/plaintext").status == 200
                pace.rest(HEADER_TIMEOUT_S / 2)
                assert not client.has_closed()
    at_its_pace(ask_now_and_then, 0.8 * HEADER_TIMEOUT_S)


@pytest.mark.slow
def test_a_client_that_does_not_read_is_cut(server):
    """No byte is taken for longer than the send timeout: the connection goes."""
    def ask(_pace):
        client = server.connect(receive_buffer_bytes=4096)
        client.send(request_bytes(target="/20mib.bin"))
        assert client.read_exactly(12) == b"HTTP/1.1 200"
        return client

    with at_its_pace(ask, HEADER_TIMEOUT_S / 2) as client:  # who asks late is not answered at all
        server.wait_for_log(r"\[info\] .*cut " + re.escape(client.name))
        wait_until(lambda: server.status()["totals"]["connections_open"] == 0,
                   "the connection of a reader that stopped is closed")
        # By a reset, which frees what the kernel holds for it.
        with pytest.raises(ConnectionResetError):
            while client.socket.recv(65536):
                pass


def test_a_reader_that_stops_holds_little_of_the_kernels_memory(server):
    with server.connect(receive_buffer_bytes=4096) as client:
        client.send(request_bytes(target="/20mib.bin"))
        port = client.socket.getsockname()[1]
        held = []

        def holds_no_more():
            held.extend(end.unacknowledged_bytes for end in server_ends(server.address[1]) if end.client_port == port)
            return len(held) > 50 and 0 < held[-50] == held[-1]
        wait_until(holds_no_more, "the buffers are full", interval_s=0.01)
        assert max(held) < 1_500_000  # without a bound: two to four million


@pytest.mark.slow
def test_a_slow_reader_that_makes_progress_is_served(server):
    content = sites.FILES["1mib.bin"]

    def read_slowly(pace):
        with server.connect(receive_buffer_bytes=65536) as client:
            client.send(request_bytes(target="/1mib.bin"))
            start = b""
            end = time.monotonic() + 2 * SEND_TIMEOUT_S
            while time.monotonic() < end:
                start += client.read_exactly(4096)
                pace.rest(DRIP_INTERVAL_S)
            head, _, body = start.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert body + client.read_exactly(len(content) - len(body)) == content
    at_its_pace(read_slowly, SEND_TIMEOUT_S / 2)


@pytest.mark.slow
def test_lingering_waits_for_a_client_that_still_reads(model, start_server):
    server = start_server(model, "--linger-timeout-ms", str(int(LINGER_S * 1000)))
    content = sites.FILES["1mib.bin"]

    def read_slowly(pace):
        with server.connect(receive_buffer_bytes=16384) as client:
            # It sends on behind its last request: what comes after a close resets the connection.
            client.send(request_bytes(target="/1mib.bin", headers=[("Connection", "close")]) + b"x" * 99)
            received = client.read_exactly(len(content) - 300_000)  # the rest: 3 s, most of it lingering
            while len(received) < len(content):
                received += client.read_exactly(5_000)
                client.send_reluctantly(b"x")
                pace.rest(DRIP_INTERVAL_S)
            head, _, body = received.partition(b"\r\n\r\n")
            assert body + client.read_to_end() == content
    at_its_pace(read_slowly, LINGER_S / 2)


UPLOAD_PIECES = 40
UPLOAD_INTERVAL_S = 0.1
PIECE = b"x" * (sites.ONE_MIB // 4)


def upload_slowly(client, head, piece, pace):
    """Sends 10 MiB for longer than the server waits in silence, and reads nothing meanwhile."""
    client.send(head)
    pace.step()
    for _ in range(UPLOAD_PIECES):
        pace.rest(UPLOAD_INTERVAL_S)
        client.send(piece)
        pace.step()


# Those that are refused for their size or their form have the usual times, lest they be refused as too slow.
@pytest.mark.slow
@pytest.mark.parametrize("server_options, status, head, piece, half_closes", [
    ((), 413, request_bytes("POST", "/echo", [("Content-Length", str(UPLOAD_PIECES * len(PIECE)))]), PIECE, False),
    ((), 413, request_bytes("POST", "/echo", [("Content-Length", str(UPLOAD_PIECES * len(PIECE)))]), PIECE, True),
    ((), 413, request_bytes("POST", "/echo", [CHUNKED]), chunked(PIECE)[:-5], False),
    ((), 413, request_bytes("POST", "/no-such", [CHUNKED]), chunked(PIECE)[:-5], True),
    (TIMES, 408, request_bytes("POST", "/echo", [("Content-Length", "100000")]), b"x" * 100, False),
    ((), 400, request_bytes("POST", "/echo", [CHUNKED]) + b"x", PIECE, False),
    ((), 414, b"POST /" + b"x" * 2000, PIECE, False),
], ids=["length", "length-half-close", "chunked", "chunked-half-close", "too-slow", "bad-chunk", "no-line"])
def test_a_slow_upload_gets_its_answer(server, status, head, piece, half_closes):
    """Many clients send all that they have before they read."""
    def upload(pace):
        with server.connect() as client:
            upload_slowly(client, head, piece, pace)
            if half_closes:
                client.half_close()
            response = client.read_response()
        assert response.status == status
        assert response.says_close
    at_its_pace(upload, HEADER_TIMEOUT_S / 2)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [("--max-linger-ms", "1000"), ("--max-linger-bytes", "1000")])
def test_a_refused_upload_has_an_end(model, start_server, limit):
    """Else whoever sends on and on would keep his place."""
    server = start_server(model, *limit)
    with server.connect() as client:
        client.send(request_bytes("POST", "/echo", [("Content-Length", "100000000")]))
        assert client.read_response().status == 413

        def is_cut():
            try:
                client.send(b"x" * 100)
            except (ConnectionResetError, BrokenPipeError):
                return True
            return False
        wait_until(is_cut, "the server closes", interval_s=DRIP_INTERVAL_S)


CONNECTIONS_OF_A_LOOP = 4


def read_as_they_come(clients, pace):
    while clients:
        answered, _, _ = select.select([client.socket for client in clients], [], [], DEADLINE_S)
        pace.step()
        assert answered, "the connections that wait are never served"
        for client in [client for client in clients if client.socket in answered]:
            assert client.read_response().status == 200
            client.close()
            clients.remove(client)


def test_connections_over_the_limit_wait_for_their_turn(model, start_server):
    server = start_server(model, "--max-connections", str(CONNECTIONS_OF_A_LOOP))
    loops = server.model.processes * server.model.loops

    def ask_all(pace):
        with ExitStack() as stack:
            clients = [stack.enter_context(server.connect()) for _ in range(loops * CONNECTIONS_OF_A_LOOP + 4)]
            for client in clients:
                client.send(request_bytes(target="/plaintext"))
            pace.step()
            read_as_they_come(clients, pace)
    at_its_pace(ask_all, 0.8 * IDLE_AFTER_S)  # who asks late has made room meanwhile


class Crowd:
    """Connects and asks for nothing, or for too little, in place of each connection that it loses."""

    def __init__(self, server, count):
        self._server = server
        self._clients = []
        self._count = count
        self.lost = 0

    def push(self):
        for client in [client for client in self._clients if client.has_closed()]:
            client.close()
            self._clients.remove(client)
            self.lost += 1
        while len(self._clients) < self._count:
            self._clients.append(self._server.connect())
            self._clients[-1].send_reluctantly((b"", b"G", b"GET / HTTP/1.1\r\nHost: x\r\nA: ")[len(self._clients) % 3])

    def __enter__(self):
        self.push()
        return self

    def __exit__(self, *_):
        for client in self._clients:
            client.close()


def assert_active_clients_stay(server, crowd, active):
    """They ask twice a second; others come and are served, too. Lasts until the crowd has lost places. Who is slower
    than that counts as idle: then again, with new ones in the place of those that were lost."""
    def ask(pace):
        crowd.push()
        for client in active:
            assert client.get("/plaintext").status == 200
            pace.step()
        with server.connect() as newcomer:
            assert newcomer.get("/plaintext").status == 200
        pace.step()
        return crowd.lost > 20

    def stay(pace):
        for i, client in enumerate(active):
            if client.has_closed():
                client.close()
                active[i] = server.connect()
        wait_until(lambda: ask(pace), "those who ask for nothing are sent away", interval_s=0.5)

    at_its_pace(stay, IDLE_AFTER_S)


@pytest.mark.slow
def test_who_asks_for_nothing_pushes_nobody_out(model, start_server):
    server = start_server(model, "--max-connections", "8")
    active = [server.connect() for _ in range(2)]
    for client in active:
        assert client.get("/plaintext").status == 200
    with Crowd(server, 80) as crowd:
        assert_active_clients_stay(server, crowd, active)


@pytest.mark.slow
def test_descriptors_go_to_who_asks(model, start_server):
    """The same when there is room for connections, but not for their descriptors."""
    server = start_server(model)
    active = [server.connect() for _ in range(2)]
    for client in active:
        assert client.get("/plaintext").status == 200
    for pid in server.worker_pids():
        used = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 20, used + 20))
    with Crowd(server, 80) as crowd:
        assert_active_clients_stay(server, crowd, active)
    server.wait_for_log("cannot accept connections: Too many open files; ")


def test_a_client_has_its_limit_and_others_their_place(model, start_server):
    server = start_server(model, "--max-connections-per-client", "2")
    loops = server.model.processes * server.model.loops
    greedy = []
    while len(greedy) < 2 * loops:  # which loop takes a connection is not for us to say
        client = server.connect()
        client.send_reluctantly(request_bytes(target="/plaintext"))
        if client.read_response().status == 200:
            greedy.append(client)
        else:
            client.close()
    refused = server.connect()
    response = refused.read_response()  # before it has asked for anything
    assert response.status == 503 and response.says_close
    assert response.header("Retry-After") == "1" and response.header("Date")
    refused.expect_close()
    with server.connect(source="127.0.0.2") as other:
        assert other.get("/plaintext").status == 200
    greedy.pop().close()
    wait_until(lambda: server_takes_one_more(server), "a place is free again")


def server_takes_one_more(server):
    with server.connect() as client:
        client.send_reluctantly(request_bytes(target="/plaintext"))
        return client.read_response().status == 200


def test_refusals_do_not_flood_the_log(model, start_server):
    server = start_server(model)
    loops = server.model.processes * server.model.loops
    clients = [server.connect() for _ in range(300)]
    begin = time.monotonic()
    for client in clients:
        client.send_reluctantly(b"\0")
    for client in clients:
        assert client.read_response().status == 400
        client.close()
    seconds = time.monotonic() - begin
    server.wait_for_log(r"refused \d+ more, not listed")
    written = server.log().count("refused a request of")
    assert written <= 10 * loops * (seconds + 1), f"{written} lines in {seconds:.1f} s"
    wait_until(lambda: told_and_written(server) == 300, "every refusal is counted")


def told_and_written(server):
    told = re.findall(r"refused (\d+) more", server.log())
    return sum(map(int, told)) + server.log().count("refused a request of")
