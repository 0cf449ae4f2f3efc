"""Descriptors of a running process, as a worker that has gone wrong would use them: what is done to their
open file descriptions is done for all who share them."""

import ctypes
import os
import socket
from contextlib import contextmanager

import pytest

_PIDFD_GETFD = 438
_libc = ctypes.CDLL(None, use_errno=True)


def _borrow(pid, fd):
    pidfd = os.pidfd_open(pid)
    try:
        copy = _libc.syscall(_PIDFD_GETFD, pidfd, fd, 0)
    finally:
        os.close(pidfd)
    if copy < 0:
        error = ctypes.get_errno()
        pytest.skip(f"this machine does not let a test take descriptors: {os.strerror(error)}")
    return copy


def _sockets(pid):
    for name in sorted(os.listdir(f"/proc/{pid}/fd"), key=int):
        try:
            if os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
                yield socket.socket(fileno=_borrow(pid, int(name)))
        except FileNotFoundError:
            pass


@contextmanager
def _chosen(pid, is_wanted):
    everything = list(_sockets(pid))
    try:
        yield [one for one in everything if is_wanted(one)]
    finally:
        for one in everything:
            one.close()


def _is_listening(one):
    return (one.family in (socket.AF_INET, socket.AF_INET6)
            and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1)


def _is_inbox(one):
    return one.family == socket.AF_UNIX and one.type == socket.SOCK_SEQPACKET


def listening_sockets(pid):
    """with listening_sockets(pid) as sockets: ..."""
    return _chosen(pid, _is_listening)


def inboxes(pid):
    """The ends by which event loops hand connections to each other."""
    return _chosen(pid, _is_inbox)
