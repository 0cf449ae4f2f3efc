#!/usr/bin/python3
"""Starts a command as a service manager does: with sockets as descriptors 3 and on.

Usage: activation.py KIND... -- COMMAND [ARGUMENT]...
KIND: tcp (listening), tcp-anywhere (on all addresses), reuseport (listening, all on one port; reuseport1, reuseport2...
have ports of their own), unix, udp, idle (TCP, not listening).
The Unix socket that ACTIVATION_KEEPER names, if any, gets a copy of each.
"""

import os
import socket
import sys

FIRST_SOCKET = 3
KEEPER_VARIABLE = "ACTIVATION_KEEPER"
_HOST = "127.0.0.1"


def _open(kind, port):
    family = socket.AF_UNIX if kind == "unix" else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
    if kind.startswith("reuseport"):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    host = "0.0.0.0" if kind == "tcp-anywhere" else _HOST
    opened.bind("" if kind == "unix" else (host, port))
    if kind not in ("udp", "idle"):
        opened.listen()
    return opened


def _hand_over(sockets, path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as keeper:
        keeper.connect(path)
        socket.send_fds(keeper, [b"1"], [one.fileno() for one in sockets])


def main():
    end = sys.argv.index("--")
    kinds, command = sys.argv[1:end], sys.argv[end + 1:]
    sockets = []
    ports = {}
    for kind in kinds:
        sockets.append(_open(kind, ports.get(kind, 0)))
        if kind.startswith("reuseport"):
            ports[kind] = sockets[-1].getsockname()[1]
    if KEEPER_VARIABLE in os.environ:
        _hand_over(sockets, os.environ.pop(KEEPER_VARIABLE))
    # First out of the way of the places that they go to.
    copies = [os.dup2(one.fileno(), 100 + index) for index, one in enumerate(sockets)]
    for index, copy in enumerate(copies):
        os.dup2(copy, FIRST_SOCKET + index)
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(copies))
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
