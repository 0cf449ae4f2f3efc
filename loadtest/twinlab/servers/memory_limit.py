"""A limit to the memory of a group of processes, where this user may set one: a memory cgroup, version 1 or 2."""

import contextlib
import os
import time
from pathlib import Path
from typing import Iterable, Iterator

MOUNT = Path("/sys/fs/cgroup")


def parse_own_group(text: str, controller: str) -> str | None:
    """This process's place in /proc/self/cgroup: `4:memory:/a` in version 1, `0::/a` in version 2 (controller "")."""
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return None


def _places() -> list[tuple[Path, str]]:
    """Where a group could be made, with the name of the file for its limit."""
    text = Path("/proc/self/cgroup").read_text()
    places = []
    for controller, mount, limit in (("memory", MOUNT / "memory", "memory.limit_in_bytes"), ("", MOUNT, "memory.max")):
        own = parse_own_group(text, controller)
        if own is not None:
            places.append((mount / own.lstrip("/"), limit))
    return places


def _make(limit_bytes: int) -> Path | None:
    for parent, limit in _places():
        group = parent / f"twinlab-{os.getpid()}-{time.monotonic_ns()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text(str(limit_bytes))
            return group
        except OSError:
            group.rmdir()
    return None


@contextlib.contextmanager
def group(limit_bytes: int) -> Iterator[Path | None]:
    """A new group with this limit, empty again at the end of the with block; None: not allowed here."""
    made = _make(limit_bytes)
    try:
        yield made
    finally:
        if made is not None:
            _remove(made)


def _remove(made: Path) -> None:
    """The kernel needs a moment after the end of the last process."""
    end_s = time.monotonic() + 5
    while True:
        try:
            made.rmdir()
            return
        except OSError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.01)


def add(made: Path, pids: Iterable[int]) -> None:
    """Move processes into the group: what they take from now on counts, and their children are born there."""
    for pid in pids:
        (made / "cgroup.procs").write_text(str(pid))
