"""Many idle connections to one server, held by processes that end with the laboratory."""

import signal
import subprocess
import sys
from pathlib import Path

from twinlab.base.errors import LabError
from twinlab.machine import processes

HOLDER = Path(__file__).resolve().parent / "holder.py"
PER_PROCESS = 5000


def shares(connections: int) -> list[int]:
    """How many connections each process holds."""
    return [min(PER_PROCESS, connections - begin) for begin in range(0, connections, PER_PROCESS)]


class Crowd:
    """`with Crowd(port, n):` n connections are open and idle inside, closed after it."""

    def __init__(self, port: int, connections: int) -> None:
        self._port = port
        self._shares = shares(connections)
        self._children: list[subprocess.Popen] = []

    def __enter__(self) -> "Crowd":
        try:
            for share in self._shares:
                # Isolated (-I): the package's folder must not stand before the library (both have an http module).
                argv = [sys.executable, "-I", str(HOLDER), str(self._port), str(share)]
                self._children.append(processes.spawn(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
            for child, share in zip(self._children, self._shares):
                self._wait_until_held(child, share)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _wait_until_held(self, child: subprocess.Popen, share: int) -> None:
        # A holder has a time limit of its own for each answer: it says a line or ends.
        line = child.stdout.readline().decode(errors="replace").strip() if child.stdout else ""
        if line != f"held {share}":
            raise LabError(f"cannot hold {share} idle connections: {line or 'the holding process ended'}")

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            processes.stop(child, signal.SIGKILL)
            if child.stdout:
                child.stdout.close()
        self._children = []
