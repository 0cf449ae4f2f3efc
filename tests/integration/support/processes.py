"""Processes as /proc shows them."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from support.waiting import wait_until


@dataclass(frozen=True)
class Process:
    pid: int
    state: str
    ppid: int
    session: int
    name: str


def read_process(pid):
    """The process, or None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name stands in parentheses and may itself hold spaces and parentheses.
    before, _, after = stat.rpartition(")")
    state, ppid, _group, session = after.split()[:4]
    return Process(int(pid), state, int(ppid), int(session), before.partition("(")[2])


def all_processes():
    found = (read_process(name) for name in os.listdir("/proc") if name.isdigit())
    return [process for process in found if process]


_KERNEL_LISTS_CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children").exists()


def _listed_children(pid):
    """Pids that the kernel lists: far cheaper than a look at every process there is."""
    try:
        return [name for path in sorted(Path(f"/proc/{pid}/task").glob("*/children"))
                for name in path.read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []  # a thread, or all of it, has gone meanwhile


def _children(pid):
    if not _KERNEL_LISTS_CHILDREN:
        return [process for process in all_processes() if process.ppid == pid]
    names = _listed_children(pid)
    # While a child ends, the list may lack others.
    while names != (again := _listed_children(pid)):
        names = again
    found = (read_process(name) for name in names)
    return [process for process in found if process]


def living_children(pid):
    """Those that serve: none that only looks names up for a stack, keeps descriptors, or observes."""
    return sorted(p.pid for p in _children(pid) if p.state != "Z" and p.name not in ("teller", "keeper", "observer"))


def tellers(pid):
    return sorted(p.pid for p in _children(pid) if p.name == "teller")


def keepers(pid):
    return sorted(p.pid for p in _children(pid) if p.name == "keeper" and p.state != "Z")


def observers(pid):
    return sorted(p.pid for p in _children(pid) if p.name == "observer" and p.state != "Z")


def zombie_children(pid):
    return sorted(p.pid for p in _children(pid) if p.state == "Z")


def _is_in_session(pid, session):
    try:
        return os.getsid(pid) == session
    except ProcessLookupError:
        return False


def living_in_session(session):
    # The kernel is asked for the session first: to read of each process what it is takes ten times as long.
    members = [int(name) for name in os.listdir("/proc") if name.isdigit() and _is_in_session(int(name), session)]
    return sorted(p.pid for p in map(read_process, members) if p and p.session == session and p.state != "Z")


def is_alive(pid):
    process = read_process(pid)
    return process is not None and process.state != "Z"


def kill_session(session):
    """Kills what is left of a server; each server leads a session of its own."""
    for pid in living_in_session(session):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    wait_until(lambda: not living_in_session(session), f"session {session} is empty")


def open_fds(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def has_open(pid, path):
    """Whether a descriptor of the process leads to the file at path, whatever it was called when it
    was opened."""
    for link in _descriptors(pid):
        try:
            if link.samefile(path):
                return True
        except FileNotFoundError:  # closed meanwhile
            pass
    return False


def _descriptors(pid):
    try:
        return list(Path(f"/proc/{pid}/fd").iterdir())
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return []


def status_number(pid, field):
    """A number of /proc/PID/status (memory: in KiB)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise AssertionError(f"/proc/{pid}/status has no {field}")


def private_kib(pid):
    """Memory that belongs to this process alone."""
    return status_number(pid, "RssAnon")


def cpu_ticks(pid):
    """User and system time so far, in clock ticks (a hundredth of a second)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
