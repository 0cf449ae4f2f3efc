"""One request on a fresh connection: the only HTTP client that the laboratory needs beside wrk."""

import json
import socket
from dataclasses import dataclass
from typing import Any, Mapping


PATIENCE_S = 20.0  # of a client that has nothing to find out about how long a server takes


class RequestLost(Exception):
    """The connection ended before a whole response had come: for a client, the request is lost."""


class NoAnswer(Exception):
    """Nothing came within the time given, or the connection was refused."""


@dataclass(frozen=True)
class Reply:
    """Status and body of a response."""

    status: int
    body: bytes

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise NoAnswer(f"an answer that is not JSON: {error}") from error


def get(port: int, path: str, timeout_s: float = PATIENCE_S, half_close: bool = False) -> Reply:
    """Fetch a path from 127.0.0.1.

    half_close says by the end of the stream, too, that nothing follows: for a server that reads no headers.
    """
    return _exchange(port, request("GET", path, {"Host": "lab"}), timeout_s, half_close)


def ask(port: int, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"",
        timeout_s: float = PATIENCE_S) -> Reply:
    """Any request to 127.0.0.1, by the name that a browser calls it."""
    return _exchange(port, request(method, path, {"Host": f"127.0.0.1:{port}"} | dict(headers or {}), body), timeout_s)


def request(method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """With `Connection: close`, so that no idle connection stays behind to be counted."""
    length = {"Content-Length": str(len(body))} if body else {}
    lines = [f"{name}: {value}" for name, value in ({**headers, "Connection": "close"} | length).items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode() + body


def _exchange(port: int, message: bytes, timeout_s: float, half_close: bool = False) -> Reply:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
            connection.sendall(message)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            raw = _read_to_end(connection)
    except (ConnectionResetError, BrokenPipeError) as error:
        raise RequestLost(str(error)) from error
    except OSError as error:
        raise NoAnswer(str(error)) from error
    return parse_reply(raw)


def _read_to_end(connection: socket.socket) -> bytes:
    chunks = []
    while chunk := connection.recv(65536):
        chunks.append(chunk)
    return b"".join(chunks)


def parse_reply(raw: bytes) -> Reply:
    """Split a response into status and body; a body shorter than announced means that the server died under it."""
    head, separator, body = raw.partition(b"\r\n\r\n")
    if not separator:
        raise RequestLost("the connection ended before the response's headers")
    lines = head.split(b"\r\n")
    try:
        status = int(lines[0].split()[1])
        length = next((int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")), 0)
    except (ValueError, IndexError) as error:
        raise NoAnswer(f"an answer that is not HTTP: {head[:80]!r}") from error
    if len(body) < length:
        raise RequestLost("the connection ended inside the response's body")
    return Reply(status, body[:length])
