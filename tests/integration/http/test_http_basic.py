"""HTTP/1.1 as every client uses it."""

import json
import re
from email.utils import parsedate_to_datetime
from datetime import datetime, timezone

import pytest

from support import models, site as sites
from support.client import chunked, request_bytes, wait_until_read
from support.waiting import DEADLINE_S, LATENESS_S

pytestmark = pytest.mark.models(models.PROTOCOL)

CHUNKED = ("Transfer-Encoding", "chunked")
# As long as there is no Connection field, these stay open.
ROUTES = ["/plaintext", "/json", "/hello.txt", "/no-such-file", "/whoami", "/sleep?ms=0"]


def test_plaintext(client):
    response = client.get("/plaintext")
    assert (response.status, response.body) == (200, b"Hello, World!")
    assert response.header("Content-Type").split(";")[0] == "text/plain"
    assert response.header("Content-Length") == "13"


def test_json(client):
    response = client.get("/json")
    assert response.status == 200
    assert json.loads(response.body) == {"message": "Hello, World!"}
    assert response.header("Content-Type").split(";")[0] == "application/json"


@pytest.mark.parametrize("target", ["/plaintext", "/hello.txt", "/no-such-file", "/directory"])
def test_every_response_has_server_and_date(client, target):
    response = client.get(target)
    assert response.version == "HTTP/1.1"
    assert response.header("Server")
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", response.header("Date"))
    age = datetime.now(timezone.utc) - parsedate_to_datetime(response.header("Date"))
    assert abs(age.total_seconds()) < LATENESS_S


@pytest.mark.parametrize("version, connection, stays_open", [
    ("HTTP/1.1", None, True),
    ("HTTP/1.1", "keep-alive", True),
    ("HTTP/1.1", "close", False),
    ("HTTP/1.1", "Close", False),
    ("HTTP/1.1", "foo, close", False),
    ("HTTP/1.0", None, False),
    ("HTTP/1.0", "keep-alive", True),
    ("HTTP/1.0", "Keep-Alive", True),
    ("HTTP/1.0", "close", False),
])
@pytest.mark.parametrize("target", ["/plaintext", "/hello.txt", "/no-such-file"])
def test_connection_handling(client, version, connection, stays_open, target):
    headers = [("Connection", connection)] if connection else []
    response = client.request("GET", target, headers, version=version)
    assert response.says_close == (not stays_open)
    if version == "HTTP/1.0" and stays_open:
        assert response.header("Connection").lower() == "keep-alive"
    if stays_open:
        assert client.get("/plaintext").status == 200
    else:
        client.expect_close()


def test_http_1_0_needs_no_host(client):
    client.send(b"GET /plaintext HTTP/1.0\r\n\r\n")
    assert client.read_response().status == 200
    client.expect_close()


def test_nothing_is_answered_after_close(client):
    client.send(request_bytes(target="/plaintext", headers=[("Connection", "close")])
                + request_bytes(target="/plaintext"))
    assert client.read_response().says_close
    client.expect_close()


@pytest.mark.parametrize("depth", [1, 2, 3, 7, 20, 50])
def test_pipelined_requests_are_answered_in_order(server, depth):
    targets = [ROUTES[i % len(ROUTES)] for i in range(depth)]
    expected = [server.get(target) for target in targets]
    with server.connect() as client:
        client.send(b"".join(request_bytes(target=target) for target in targets))
        for target, alone in zip(targets, expected):
            response = client.read_response()
            assert response.status == alone.status
            if target != "/whoami":  # its body differs from worker to worker
                assert response.body == alone.body
        assert not client.has_closed()


def test_pipelined_bodies_keep_their_borders(client):
    bodies = [b"a" * size for size in (1, 100, 0, 70000, 3)]
    client.send(b"".join(request_bytes("POST", "/echo", body=body, headers=(
        () if body else [("Content-Length", "0")])) for body in bodies))
    assert [client.read_response().body for _ in bodies] == bodies


@pytest.mark.slow
def test_a_pipeline_larger_than_every_buffer(client):
    """The client sends everything before it reads: the server must neither stall nor lose any."""
    count = 20000
    client.socket.setblocking(False)
    unsent = memoryview(request_bytes(target="/plaintext") * count)
    received = b""
    while received.count(b"Hello, World!") < count:
        try:
            if unsent:
                unsent = unsent[client.socket.send(unsent):]
        except BlockingIOError:
            client.socket.setblocking(True)
            received += client.socket.recv(1 << 20)
            client.socket.setblocking(False)
        if not unsent:
            client.socket.settimeout(DEADLINE_S)
            received += client.socket.recv(1 << 20)
    assert received.count(b"HTTP/1.1 200 ") == count


@pytest.mark.parametrize("target", ["/plaintext", "/json", "/hello.txt", "/1mib.bin", "/",
                                    "/empty.txt", "/directory", "/no-such-file", "/echo"])
def test_head_equals_get_without_a_body(client, target):
    get = client.request("GET", target)
    head = client.request("HEAD", target)
    assert head.status == get.status
    assert head.lasting_headers == get.lasting_headers
    assert client.get("/plaintext").body == b"Hello, World!", "no stray body after HEAD"


@pytest.mark.parametrize("request_", [
    request_bytes(target="/hello.txt", headers=[("User-Agent", "split test")]),
    request_bytes("POST", "/echo", body=b"0123456789"),
    request_bytes("POST", "/echo", [CHUNKED]) + chunked(b"one", b"two and three"),
], ids=["get", "content-length", "chunked"])
def test_a_request_split_at_every_byte(server, request_):
    with server.connect() as client:
        client.send(request_)
        expected = client.read_response()
    splits = range(1, len(request_))
    clients = [server.connect() for _ in splits]
    for client, split in zip(clients, splits):
        client.send(request_[:split])
    wait_until_read(clients)
    for client, split in zip(clients, splits):
        client.send(request_[split:])
    for client in clients:
        response = client.read_response()
        assert (response.status, response.body) == (expected.status, expected.body)
        client.close()


def test_a_request_byte_by_byte(server):
    with server.connect() as client:
        for byte in request_bytes("POST", "/echo", [CHUNKED]) + chunked(b"slow"):
            client.send(bytes([byte]))
        assert client.read_response().body == b"slow"


def test_empty_lines_before_a_request_are_ignored(client):
    client.send(b"\r\n\r\n" + request_bytes(target="/plaintext"))
    assert client.read_response().status == 200


@pytest.mark.parametrize("size", [0, 1, 1000, 4095, 4096, 4097, 16384, 65536, sites.ONE_MIB])
@pytest.mark.parametrize("framing", ["content-length", "chunked"])
def test_echo(client, size, framing):
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    content_type = ("Content-Type", "application/x-test")
    if framing == "chunked":
        pieces = [body[i:i + 10000] for i in range(0, size, 10000)]
        client.send(request_bytes("POST", "/echo", [content_type, CHUNKED]) + chunked(*pieces))
    else:
        length = ("Content-Length", str(size))
        client.send(request_bytes("POST", "/echo", [content_type, length]) + body)
    response = client.read_response()
    assert response.status == 200
    assert response.body == body
    assert response.header("Content-Type") == "application/x-test"
    assert client.get("/plaintext").status == 200


@pytest.mark.parametrize("body", [
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5;name=value\r\nhello\r\n0\r\n\r\n",
    b'5;name="quoted"\r\nhello\r\n0\r\n\r\n',
    b"005\r\nhello\r\n000\r\n\r\n",
    b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    b"5\r\nhello\r\n0\r\nTrailer: dropped\r\n\r\n",
], ids=["plain", "extension", "quoted-extension", "leading-zeros", "two-chunks", "trailer"])
def test_good_chunks(client, body):
    client.send(request_bytes("POST", "/echo", [CHUNKED]) + body)
    assert client.read_response().body == b"hello"
    assert client.get("/plaintext").status == 200


def test_hexadecimal_chunk_sizes_in_both_cases(client):
    for size in (b"a", b"A", b"0a"):
        client.send(request_bytes("POST", "/echo", [CHUNKED])
                    + size + b"\r\n0123456789\r\n0\r\n\r\n")
        assert client.read_response().body == b"0123456789"


def test_transfer_coding_names_have_no_case(client):
    client.send(request_bytes("POST", "/echo", [("transfer-encoding", "Chunked")]) + chunked(b"x"))
    assert client.read_response().body == b"x"


def test_expect_100_continue(client):
    client.send(request_bytes("POST", "/echo", [("Expect", "100-continue"),
                                                ("Content-Length", "5")]))
    assert client.read_response().status == 100
    client.send(b"hello")
    response = client.read_response()
    assert (response.status, response.body) == (200, b"hello")


def test_expect_100_continue_with_a_chunked_body(client):
    client.send(request_bytes("POST", "/echo", [("Expect", "100-continue"), CHUNKED]))
    assert client.read_response().status == 100
    client.send(chunked(b"hello"))
    assert client.read_response().body == b"hello"


def test_other_expectations_are_refused(client):
    response = client.get("/plaintext", [("Expect", "a miracle")])
    assert response.status == 417


def test_no_100_for_a_body_that_is_refused(client):
    too_much = str(10 * sites.ONE_MIB)
    client.send(request_bytes("POST", "/echo", [("Expect", "100-continue"),
                                                ("Content-Length", too_much)]))
    response = client.read_response()
    assert response.status == 413
    assert response.says_close


def test_a_half_closed_connection_is_still_answered(client):
    client.send(request_bytes(target="/plaintext") * 3)
    client.half_close()
    assert [client.read_response().status for _ in range(3)] == [200, 200, 200]
    client.expect_close()


def test_a_body_on_get_is_read_and_ignored(client):
    client.send(request_bytes("GET", "/plaintext", body=b"ignored"))
    assert client.read_response().body == b"Hello, World!"
    assert client.get("/json").status == 200


def test_percent_encoded_routes(client):
    assert client.get("/%70laintext").body == b"Hello, World!"


def test_absolute_form(client):
    client.send(b"GET http://test/plaintext HTTP/1.1\r\nHost: test\r\n\r\n")
    assert client.read_response().body == b"Hello, World!"


def test_many_connections_at_once(server):
    clients = [server.connect() for _ in range(200)]
    for client in clients:
        client.send(request_bytes(target="/plaintext"))
    for client in clients:
        assert client.read_response().status == 200
        client.close()
