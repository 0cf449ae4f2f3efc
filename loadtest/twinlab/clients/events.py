"""Server-sent events: a stream of blocks of lines, `event: tick`, `data: {...}`, each ended by an empty line."""

import json
import socket
import time
from dataclasses import dataclass
from typing import Any, Self

from twinlab.clients import http

CONNECT_TIMEOUT_S = 2.0
LONGEST_BLOCK_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Block:
    """One event, or a remark without a name. raw: as it came, with its end."""

    raw: bytes
    event: str = ""
    data: str = ""
    id: str = ""


def parse(raw: bytes) -> Block:
    """The fields that matter here; several lines of data are one text."""
    fields: dict[str, list[str]] = {}
    for line in raw.decode(errors="replace").split("\n"):  # splitlines() knows ends that are none here
        line = line.removesuffix("\r")
        name, _, value = line.partition(":")
        fields.setdefault(name, []).append(value.removeprefix(" "))
    data = "\n".join(fields.get("data", []))
    return Block(raw, fields.get("event", ["message" if data else ""])[-1], data, fields.get("id", [""])[-1])


def block(event: str, data: dict[str, Any]) -> Block:
    """One of our own, without an id."""
    text = json.dumps(data, separators=(",", ":"))
    return Block(f"event: {event}\ndata: {text}\n\n".encode(), event, text)


class Stream:
    """Blocks as they come: `with Stream(port, "/events") as stream: stream.next(0.1)`.

    Neither next() nor the beginning takes much longer than it is told. NoAnswer: there is no such stream.
    """

    def __init__(self, port: int, path: str, last_id: str = "") -> None:
        self._buffer = b""
        try:
            self._socket = socket.create_connection(("127.0.0.1", port), CONNECT_TIMEOUT_S)
        except OSError as error:
            raise http.NoAnswer(str(error)) from error
        try:
            self._begin(port, path, last_id)
        except (OSError, ValueError, IndexError) as error:
            self._socket.close()
            raise http.NoAnswer(f"no stream at {path}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _begin(self, port: int, path: str, last_id: str) -> None:
        resume = {"Last-Event-ID": last_id} if last_id else {}
        self._socket.sendall(http.request("GET", path, {"Host": f"127.0.0.1:{port}", "Accept": "text/event-stream"}
                                          | resume))
        head = self._up_to(b"\r\n\r\n", CONNECT_TIMEOUT_S) or b""
        status = int(head.split()[1])
        if status != 200:
            raise ValueError(f"it answered {status}")

    def next(self, timeout_s: float) -> Block | None:
        """The next block; None: it has not come in time. RequestLost: the stream has ended."""
        try:
            raw = self._up_to(b"\n\n", timeout_s)
        except OSError as error:
            raise http.RequestLost(str(error)) from error
        return parse(raw) if raw is not None else None

    def _up_to(self, mark: bytes, timeout_s: float) -> bytes | None:
        end_s = time.monotonic() + timeout_s
        searched = 0
        while (at := self._buffer.find(mark, searched)) < 0:
            searched = max(0, len(self._buffer) - len(mark))
            if not self._receive(end_s - time.monotonic()):
                return None
        found, self._buffer = self._buffer[:at + len(mark)], self._buffer[at + len(mark):]
        return found

    def _receive(self, timeout_s: float) -> bool:
        if timeout_s <= 0:
            return False
        self._socket.settimeout(timeout_s)
        try:
            chunk = self._socket.recv(65536)
        except TimeoutError:
            return False
        if not chunk or len(self._buffer) > LONGEST_BLOCK_BYTES:
            raise OSError("the stream has ended")
        self._buffer += chunk
        return True
