"""The first line on a server's stdout, and one HTTP response."""

import pytest
from twinlab.base.errors import LabError
from twinlab.clients import http
from twinlab.servers.server import Announcement, parse_first_line


@pytest.mark.parametrize("line, expected", [
    ("prefork-server: listening on http://127.0.0.1:8080 (model prefork, 2 workers, master pid 1234)",
     Announcement(8080, "prefork", 1234)),
    ("threadpool-server: listening on http://127.0.0.1:41 (model threadpool, 4 threads, connection dispatch, "
     "master pid 7)", Announcement(41, "threadpool", 7)),
    ("prefork-server: listening on http://[::1]:8081 (model hybrid, 2 workers x 4 threads, master pid 99)",
     Announcement(8081, "hybrid", 99)),
])
def test_first_line(line, expected):
    assert parse_first_line(line) == expected


def test_other_first_line_is_refused():
    with pytest.raises(LabError, match="not understood"):
        parse_first_line("hello")


def test_reply():
    reply = http.parse_reply(b'HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{"a":1}')
    assert (reply.status, reply.json()) == (200, {"a": 1})


def test_reply_without_body():
    assert http.parse_reply(b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\n\r\n") == http.Reply(503, b"")


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"])
def test_a_response_cut_short_is_a_lost_request(raw):
    with pytest.raises(http.RequestLost):
        http.parse_reply(raw)
