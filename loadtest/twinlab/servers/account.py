"""A server's account of itself: the one place that knows where it is told, in which words, and what asking costs.

Everybody else takes the dictionary that read() gives, and LOOK_REQUESTS where requests are counted one by one.
"""

import socket
from typing import Any, Mapping

from twinlab.base.errors import LabError
from twinlab.clients import http

PATH = "/status"
# Who serves also tells: a look is a request like others, begun and not yet ended when its answer is written.
LOOK_REQUESTS = 1


class Busy(LabError):
    """The server has no room for this request now."""


def read(port: int, timeout_s: float = 2.0, label: str = "the server") -> dict[str, Any]:
    """What the server at this port tells. RequestLost, NoAnswer: whoever was asked has died, or does not answer."""
    return _understood(http.get(port, PATH, timeout_s), label)


def read_on(connection: socket.socket) -> dict[str, Any]:
    """The same, on a connection that is open already, so that looking opens none; OSError: it is closed."""
    connection.sendall(f"GET {PATH} HTTP/1.1\r\nHost: lab\r\n\r\n".encode())
    raw = b""
    while chunk := connection.recv(65536):
        raw += chunk
        try:
            return _understood(http.parse_reply(raw))
        except http.RequestLost:
            continue  # not all of it is there yet
    raise OSError("the server closed it")


def is_looked_at_by(worker: Mapping[str, Any]) -> bool:
    """Whether this is the worker that gives the account: one of its connections is the laboratory's."""
    return (worker["current"] or "").startswith(f"GET {PATH} ")


def _understood(reply: http.Reply, label: str = "the server") -> dict[str, Any]:
    if reply.status != 200:
        raise (Busy if reply.status == 503 else LabError)(f"{label}: GET {PATH} answered {reply.status}")
    return reply.json()
