"""A strict HTTP/1.1 client on a raw socket: it shows exactly what the server sent."""

import re
import select
import socket
import struct
from dataclasses import dataclass

from support.kernel_sockets import server_ends
from support.waiting import DEADLINE_S, wait_until

_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-5][0-9][0-9]) ([\x20-\x7e]*)")
_HEADER_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\t]*?)[ \t]*")
_GONE = (ConnectionResetError, BrokenPipeError)


class ConnectionLost(Exception):
    """The server closed before a response was complete; received holds what came, and a reset is the cause."""

    def __init__(self, received):
        super().__init__(f"connection closed after {len(received)} bytes: {received[:200]!r}")
        self.received = received


@dataclass(frozen=True)
class Response:
    version: str
    status: int
    reason: str
    headers: tuple  # (name in lower case, value), as sent
    body: bytes

    def header(self, name):
        """The value, or None; a response never repeats a field in this project."""
        values = [value for key, value in self.headers if key == name.lower()]
        assert len(values) <= 1, f"{name} is sent {len(values)} times"
        return values[0] if values else None

    @property
    def lasting_headers(self):
        """What two answers to one question have in common: all but Date, which changes between them."""
        return tuple(pair for pair in self.headers if pair[0] != "date")

    @property
    def says_close(self):
        return (self.header("Connection") or "").lower() == "close"


def request_bytes(method="GET", target="/", headers=(), body=b"", version="HTTP/1.1"):
    """A request with Host, and with Content-Length when there is a body."""
    lines = [f"{method} {target} {version}", "Host: test"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chunked(*pieces):
    """The pieces as a chunked body."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))


class Client:
    def __init__(self, address, timeout_s=DEADLINE_S, receive_buffer_bytes=None, source=None):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.socket = socket.socket(family)
        if receive_buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.settimeout(timeout_s)
        if source:
            self.socket.bind((source, 0))
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self._gone = None  # what ended it, if it was no orderly close

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    @property
    def name(self):
        """This end of the connection as logs and the scoreboard write it."""
        host, port = self.socket.getsockname()
        return f"{host}:{port}"

    def send(self, data):
        self.socket.sendall(data)

    def send_reluctantly(self, data):
        """Sends what the server takes: a refusal may close the connection before all is sent."""
        try:
            self.socket.sendall(data)
        except _GONE:
            pass

    def half_close(self):
        """Says that nothing more will be sent."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server was first

    def request(self, method="GET", target="/", headers=(), body=b"", version="HTTP/1.1"):
        self.send(request_bytes(method, target, headers, body, version))
        return self.read_response(method)

    def get(self, target="/", headers=()):
        return self.request("GET", target, headers)

    def read_response(self, method="GET"):
        """One response, 1xx included; raises ConnectionLost when it stays incomplete."""
        status_line, *header_lines = self._read_block()
        match = _STATUS_LINE.fullmatch(status_line)
        assert match, f"not a status line: {status_line!r}"
        headers = tuple(_parse_header(line) for line in header_lines)
        status = int(match[2])
        body = self._read_body(method, status, dict(headers))
        return Response(match[1].decode(), status, match[3].decode(), headers, body)

    def read_head(self):
        """The lines of the next response's head; its body is still to be read."""
        return b"\r\n".join(self._read_block())

    def read_to_end(self):
        """Everything until the server closes; a reset counts as the end."""
        while self._receive():
            pass
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def expect_close(self):
        rest = self.read_to_end()
        assert rest == b"", f"bytes after the last response: {rest[:200]!r}"

    def expect_orderly_close(self):
        """The end, and no reset: all that was sent has arrived."""
        self.expect_close()
        assert self._gone is None, self._gone

    def reset(self):
        """Leaves without a word: what is on its way is thrown away."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def has_closed(self):
        """True when the server has closed by now; does not wait, keeps what it reads."""
        self.socket.setblocking(False)
        try:
            return not self._receive()
        except BlockingIOError:
            return False
        finally:
            self.socket.settimeout(DEADLINE_S)

    def has_answer(self):
        """Whether something has come that was not read yet, or the end."""
        return bool(self._buffer) or bool(select.select([self.socket], [], [], 0)[0])

    def read_exactly(self, count):
        while len(self._buffer) < count:
            if not self._receive():
                raise ConnectionLost(bytes(self._buffer)) from self._gone
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def _receive(self):
        try:
            data = self.socket.recv(1 << 18)
        except _GONE as error:
            data, self._gone = b"", error
        self._buffer += data
        return bool(data)

    def _read_until(self, end):
        while end not in self._buffer:
            if not self._receive():
                raise ConnectionLost(bytes(self._buffer)) from self._gone
        return self.read_exactly(self._buffer.index(end) + len(end))[: -len(end)]

    def _read_block(self):
        return self._read_until(b"\r\n\r\n").split(b"\r\n")

    def _read_body(self, method, status, headers):
        if method == "HEAD" or status in (204, 304) or status < 200:
            return b""
        if "transfer-encoding" in headers:
            return self._read_chunked()
        if "content-length" in headers:
            return self.read_exactly(int(headers["content-length"]))
        return self.read_to_end()

    def _read_chunked(self):
        body = b""
        while True:
            size = int(self._read_until(b"\r\n"), 16)
            body += self.read_exactly(size)
            assert self.read_exactly(2) == b"\r\n"
            if size == 0:
                return body


def _parse_header(line):
    match = _HEADER_LINE.fullmatch(line)
    assert match, f"not a header line: {line!r}"
    return match[1].decode().lower(), match[2].decode()


def wait_until_read(clients):
    """Waits until the server has read all that these clients have sent."""
    port = clients[0].socket.getpeername()[1]
    ours = {client.socket.getsockname()[1] for client in clients}
    wait_until(lambda: not any(end.unread_bytes and end.client_port in ours
                               for end in server_ends(port)),
               "the server has read what was sent")


def wait_until_connections(server_port, count):
    """Waits until the server holds so many connections: those closed here are closed there, too, and do not make up for
    others that are not there again."""
    def are_so_many():
        ends = server_ends(server_port)
        return len(ends) == count and not any(end.closed_by_client for end in ends)
    wait_until(are_so_many,
               f"the server holds {count} connections")
