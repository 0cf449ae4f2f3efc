"""Starts programs so that none can outlive the laboratory, and reads their CPU time and memory from /proc."""

import ctypes
import errno
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Iterable, Iterator

from twinlab.base.errors import Interrupted, LabError, Unstartable

PR_SET_PDEATHSIG = 1
# A program that is not there, or is none: with less memory or processes than are needed now, it may go well later.
HOPELESS = (errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR)
# Loaded before any fork: dlopen between fork and exec could meet a lock that another thread held.
_LIBC = ctypes.CDLL(None, use_errno=True)
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_started: list[subprocess.Popen] = []
_interrupts: list[int] = []
_shields: list[str] = []


def note_interrupt(signum: int) -> None:
    """A signal wants the work to end, and its exception was dropped: Python does so within the handlers that it runs at
    a fork, among others. Whoever comes first raises it again, once: the next spawn(), or whoever asks."""
    _interrupts.append(signum)


def interrupt(signum: int) -> None:
    """A signal wants the work to end: now, or as soon as the program that is being started is known, since it would be
    left running."""
    if _shields:
        note_interrupt(signum)
    else:
        raise Interrupted(signum)


@contextmanager
def _shielded(what: str) -> Iterator[None]:
    _shields.append(what)
    try:
        yield
    finally:
        _shields.pop()


def raise_if_interrupted() -> None:
    """Raises what was dropped."""
    if _interrupts:
        raise Interrupted(_interrupts.pop())


def spawn(argv: list[str], stdout: IO | int = subprocess.DEVNULL, stderr: IO | int = subprocess.DEVNULL,
          cwd: Path | None = None, cpus: Iterable[int] | None = None, niceness: int = 0) -> subprocess.Popen:
    """Start a program in a session of its own that the kernel kills if the laboratory dies, however it dies.

    The own session keeps the terminal's Ctrl-C away from it (the laboratory ends it in order) and marks all its
    descendants, so that stop() finds them. cpus: where it and its descendants may run; niceness: by how much they give
    way to others.
    """
    raise_if_interrupted()
    parent = os.getpid()

    def die_with_parent() -> None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        if cpus:
            os.sched_setaffinity(0, cpus)
        if niceness:
            os.nice(niceness)

    try:
        with _shielded(argv[0]):
            child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, cwd=cwd,
                                     start_new_session=True, preexec_fn=die_with_parent)
            _started.append(child)
    except OSError as error:
        kind = Unstartable if error.errno in HOPELESS else LabError
        raise kind(f"cannot start {argv[0]}: {error.strerror}") from error
    raise_if_interrupted()
    return child


def stop(child: subprocess.Popen, signum: int = signal.SIGTERM, grace_s: float = 5.0) -> list[int]:
    """End a program: ask, wait, then kill whatever is left of its session. Returns the pids that had to be killed."""
    if child.poll() is None:
        child.send_signal(signum)
        try:
            child.wait(grace_s)
        except subprocess.TimeoutExpired:
            pass
    killed = kill_session(child.pid)
    child.wait()
    if child in _started:
        _started.remove(child)
    return killed


def stop_all() -> list[int]:
    """End everything that is still running; the last thing the laboratory does on every way out."""
    return [pid for child in list(_started) for pid in stop(child, grace_s=1.0)]


def kill_session(session: int) -> list[int]:
    """SIGKILL every living member of a session, by pid, until none is left."""
    killed: set[int] = set()
    deadline = time.monotonic() + 2.0
    while (members := session_members(session)) and time.monotonic() < deadline:
        for pid in members:
            kill_quietly(pid)
        killed.update(members)
        time.sleep(0.01)
    return sorted(killed)


def kill_quietly(pid: int, signum: int = signal.SIGKILL) -> bool:
    """Send a signal; False when the process is already gone."""
    try:
        os.kill(pid, signum)
        return True
    except ProcessLookupError:
        return False


def run(argv: list[str], cwd: Path | None = None, cpus: Iterable[int] | None = None) -> tuple[int, str]:
    """Run a program to its end and return its exit status and all that it printed."""
    child = spawn(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=cwd, cpus=cpus)
    output, _ = child.communicate()
    stop(child)
    return child.returncode, output.decode(errors="replace")


def stat_fields(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the command name, state first; None when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def all_pids() -> Iterable[int]:
    """Every process id that /proc shows now."""
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def session_members(session: int) -> list[int]:
    """Living (not zombie) processes of a session: a server and all its workers."""
    members = []
    for pid in all_pids():
        fields = stat_fields(pid)
        if fields and fields[0] not in "ZX" and int(fields[3]) == session:
            members.append(pid)
    return members


def cpu_us(pids: Iterable[int]) -> float:
    """CPU time that these processes have used so far, all threads, user and system, in microseconds."""
    return sum(_process_cpu_us(pid) for pid in pids)


def _process_cpu_us(pid: int) -> float:
    # schedstat counts nanoseconds. utime and stime come in 10 ms ticks: useless for a server that mostly sleeps.
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1000
    except (OSError, IndexError, ValueError):
        fields = stat_fields(pid)
        return (int(fields[11]) + int(fields[12])) * 1e6 / _TICKS_PER_S if fields else 0.0


@dataclass(frozen=True)
class Switches:
    """Context switches: the task gave up its CPU by itself, or the kernel took it away."""

    voluntary: int
    involuntary: int

    def since(self, earlier: "Switches") -> "Switches":
        return Switches(self.voluntary - earlier.voluntary, self.involuntary - earlier.involuntary)


def switches(pids: Iterable[int]) -> Switches:
    """What every thread of these processes has switched so far."""
    voluntary = involuntary = 0
    for pid in pids:
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            found = parse_switches(_text_or_nothing(status))
            voluntary, involuntary = voluntary + found.voluntary, involuntary + found.involuntary
    return Switches(voluntary, involuntary)


def parse_switches(status: str) -> Switches:
    """The two `..._ctxt_switches:` figures of a /proc/PID/task/TID/status."""
    figures = {line.split(":")[0]: int(line.split()[1]) for line in status.splitlines() if "ctxt_switches" in line}
    return Switches(figures.get("voluntary_ctxt_switches", 0), figures.get("nonvoluntary_ctxt_switches", 0))


def _text_or_nothing(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # the thread has ended


@dataclass(frozen=True)
class Memory:
    """Memory of some processes in KiB. rss counts a shared page once for each of its users, pss only once in all."""

    pss: int
    uss: int
    rss: int
    page_tables: int


def memory(pids: Iterable[int], beside: Iterable[int] = ()) -> Memory:
    """What these processes use together. beside: processes that share pages with them and are not to be counted. Their
    parts of these pages are, since without them the others would have the same pages, each in larger parts."""
    found = [_memory_of(pid) for pid in pids]
    return Memory(sum(m.pss for m in found) + sum(_shared_kib(pid) for pid in beside), sum(m.uss for m in found),
                  sum(m.rss for m in found), sum(m.page_tables for m in found))


def _memory_of(pid: int) -> Memory:
    return parse_memory(_text_or_nothing(Path(f"/proc/{pid}/smaps_rollup"))
                        + _text_or_nothing(Path(f"/proc/{pid}/status")))


def _shared_kib(pid: int) -> int:
    """A process's parts of the pages that others have, too."""
    found = _memory_of(pid)
    return found.pss - found.uss


def parse_memory(text: str) -> Memory:
    """From the lines of smaps_rollup and status together; uss: the pages that nobody else has."""
    figures: dict[str, int] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if rest.strip().endswith("kB"):
            figures[name] = int(rest.split()[0])
    return Memory(figures.get("Pss", 0), figures.get("Private_Clean", 0) + figures.get("Private_Dirty", 0),
                  figures.get("Rss", 0), figures.get("VmPTE", 0))


def pss_kib(pids: Iterable[int], beside: Iterable[int] = ()) -> int | None:
    """Memory of these processes with every shared page split among its users (a sum of RSS would count it often); the
    parts that processes beside them have are theirs, see memory()."""
    total = sum(_shared_kib(pid) for pid in beside)
    for pid in pids:
        try:
            total += parse_pss_kib(Path(f"/proc/{pid}/smaps_rollup").read_text())
        except (OSError, ValueError):
            return None
    return total


def parse_pss_kib(smaps_rollup: str) -> int:
    """The `Pss:` figure of a smaps_rollup text, in KiB."""
    for line in smaps_rollup.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise ValueError("no Pss line in smaps_rollup")


def tcp_memory_kib() -> int | None:
    """What the kernel books as buffers of all TCP sockets of this network namespace: it is in no process's memory."""
    try:
        return parse_tcp_pages(Path("/proc/net/sockstat").read_text()) * os.sysconf("SC_PAGE_SIZE") // 1024
    except (OSError, ValueError):
        return None


def parse_tcp_pages(sockstat: str) -> int:
    """`TCP: inuse 35 orphan 0 tw 0 alloc 35 mem 12`: the last is in pages."""
    for line in sockstat.splitlines():
        if line.startswith("TCP:"):
            return int(line.split()[-1])
    raise ValueError("no TCP line in sockstat")
