"""What the kernel knows of a server's connections, by netlink: /proc/net/tcp takes seconds when a
load test has left tens of thousands of connections in TIME_WAIT."""

import socket
import struct
from dataclasses import dataclass

from support.waiting import DEADLINE_S

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_AND_DUMP = 0x1 | 0x300
_MESSAGE_ERROR, _MESSAGE_DONE = 2, 3
# The server has not closed these.
_ESTABLISHED, _CLOSE_WAIT = 1, 8
_STATES = 1 << _ESTABLISHED | 1 << _CLOSE_WAIT
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_REQUEST = struct.Struct("=BBBxI")  # family, protocol, extensions, states; then the socket's id
_ID_BYTES = 48
_ANSWER_START = 4  # family, state, timer, retransmissions; then the socket's id
_QUEUES = struct.Struct("=III")  # expires, receive queue, send queue


@dataclass(frozen=True)
class ServerEnd:
    client_port: int
    closed_by_client: bool  # which the server may not have noticed
    unread_bytes: int
    unacknowledged_bytes: int  # sent by the server and not acknowledged, or not even sent


def server_ends(server_port):
    """The connections on this port that the server has not closed, accepted or not."""
    request = _REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, _STATES)
    request += struct.pack(">H", server_port).ljust(_ID_BYTES, b"\0")
    header = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST_AND_DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(DEADLINE_S)
        netlink.send(header + request)
        return list(_read_dump(netlink))


def _read_dump(netlink):
    while True:
        data = netlink.recv(1 << 16)
        while data:
            length, kind, _flags, _sequence, _port = _HEADER.unpack_from(data)
            assert kind != _MESSAGE_ERROR, "the kernel refuses to list sockets (inet_diag)"
            if kind == _MESSAGE_DONE:
                return
            yield _parse_answer(data[_HEADER.size:length])
            data = data[(length + 3) & ~3:]


def _parse_answer(answer):
    _server_port, client_port = struct.unpack_from(">HH", answer, _ANSWER_START)
    _expires, unread_bytes, unacknowledged_bytes = _QUEUES.unpack_from(answer, _ANSWER_START + _ID_BYTES)
    return ServerEnd(client_port, answer[1] == _CLOSE_WAIT, unread_bytes, unacknowledged_bytes)
