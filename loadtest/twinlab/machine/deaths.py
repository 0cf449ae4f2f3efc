"""The moment at which a process dies: the kernel tells whoever has a descriptor of it."""

import os
import select
import time
from typing import Iterable, Protocol, Self


class HasDescriptor(Protocol):
    """A socket, say."""

    def fileno(self) -> int: ...


class Watched:
    """Some processes of somebody else's, and a connection that one of them may end or answer on:
    `with Watched(pids, line) as watched: ...; watched.wait(10)`."""

    def __init__(self, pids: Iterable[int], line: HasDescriptor) -> None:
        self._poll = select.poll()
        self._poll.register(line.fileno(), select.POLLIN)
        self._fds: list[int] = []
        self._pids = list(pids)

    def __enter__(self) -> Self:
        for pid in self._pids:
            try:
                self._fds.append(os.pidfd_open(pid))
            except ProcessLookupError:
                continue  # it has died before anybody watched
            self._poll.register(self._fds[-1], select.POLLIN)
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._fds:
            os.close(fd)

    def wait(self, timeout_s: float) -> float | None:
        """When the first of them was seen dead, or something came on the connection, on the clock of time.monotonic();
        None: nothing has happened."""
        return time.monotonic() if self._poll.poll(timeout_s * 1000) else None
