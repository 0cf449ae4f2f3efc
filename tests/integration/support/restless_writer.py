"""Writes a file all the time, in a process of its own: digits, always a multiple of eight.

Usage: restless_writer.py rewrite|append|truncate|rename PATH; ends when standard input does.
"""

import os
import select
import subprocess
import sys
from contextlib import contextmanager

_MOST_BYTES = 8000  # of what grows
_AT_A_TIME = 100  # a disk that has much else to do takes its time for each file that replaces another
_DEADLINE_S = 120


@contextmanager
def restless_writer(way, path):
    command = [sys.executable, __file__, way, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        try:
            assert writer.stdout.read(1) == b"."  # it is under way
            yield
        finally:
            writer.stdin.close()
        assert writer.wait(_DEADLINE_S) == 0


def _rewrite(path, fd, text):
    os.pwrite(fd, text, 0)


def _append(path, fd, text):
    size = os.fstat(fd).st_size
    os.pwrite(fd, text, size if size < _MOST_BYTES else 0)


def _truncate(path, fd, text):
    os.ftruncate(fd, 0)
    os.pwrite(fd, text, 0)


def _rename(path, fd, text):
    with open(f"{path}.new", "wb") as new:
        new.write(text)
    os.rename(f"{path}.new", path)


def _run(way, path):
    change = {"rewrite": _rewrite, "append": _append, "truncate": _truncate, "rename": _rename}[way]
    fd = os.open(path, os.O_RDWR)
    number = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        for number in range(number, number + _AT_A_TIME):
            change(path, fd, b"%08d" % (number % 10**8))
        if number == _AT_A_TIME - 1:
            os.write(1, b".")
        number += 1


if __name__ == "__main__":
    _run(*sys.argv[1:])
