"""A connection that is kept open between requests, one request at a time."""

import socket
from typing import Self

from twinlab.clients import http


class KeptConnection:
    """Asks on one connection; may wait in a selector. Use it as a context manager."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 2.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, path: str) -> None:
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: lab\r\n\r\n".encode())

    def ask(self, path: str, timeout_s: float) -> http.Reply:
        """One request and its whole answer."""
        self.send(path)
        return self.answer(timeout_s)

    def answer(self, timeout_s: float) -> http.Reply:
        """The whole answer to what was sent. RequestLost: the connection has ended instead."""
        self._socket.settimeout(timeout_s)
        raw = b""
        while True:
            try:
                chunk = self._socket.recv(65536)
            except (ConnectionResetError, BrokenPipeError) as error:
                raise http.RequestLost(str(error)) from error
            raw += chunk
            try:
                return http.parse_reply(raw)
            except http.RequestLost:
                if not chunk:
                    raise
