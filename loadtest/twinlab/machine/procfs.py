"""What /proc shows of a process: its map of memory, its threads, what each of them does."""

import os
from dataclasses import dataclass
from pathlib import Path

from twinlab.machine import processes


@dataclass(frozen=True)
class Mapping:
    """One line of /proc/PID/maps."""

    start: int
    end: int
    permissions: str
    offset: int
    name: str

    @property
    def line(self) -> str:
        return f"{self.start:012x}-{self.end:012x} {self.permissions} {self.name}".rstrip()

    def __contains__(self, address: int) -> bool:
        return self.start <= address < self.end


def parse_maps(text: str) -> list[Mapping]:
    """`55d0-55f0 r-xp 00002000 fe:00 1234   /usr/bin/x`; the name may be missing, or hold blanks."""
    found = []
    for line in text.splitlines():
        fields = line.split(maxsplit=5)
        start, _, end = fields[0].partition("-")
        found.append(Mapping(int(start, 16), int(end, 16), fields[1], int(fields[2], 16),
                             fields[5] if len(fields) > 5 else ""))
    return found


def maps(pid: int) -> list[Mapping]:
    """The memory map of a process, lowest address first."""
    return parse_maps(Path(f"/proc/{pid}/maps").read_text())


def find(mappings: list[Mapping], address: int) -> Mapping | None:
    """The mapping that an address lies in."""
    return next((mapping for mapping in mappings if address in mapping), None)


def heap(pid: int) -> tuple[int, int]:
    """Start and end of [heap], which may be more than one mapping."""
    parts = [mapping for mapping in maps(pid) if mapping.name == "[heap]"]
    return parts[0].start, parts[-1].end


def smaps_kib(pid: int, address: int) -> dict[str, int]:
    """The figures of /proc/PID/smaps for the mapping that an address lies in."""
    figures: dict[str, int] = {}
    inside = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head = line.split(maxsplit=1)[0]
        if not head.endswith(":"):
            inside = address in parse_maps(line)[0]
        elif inside and line.endswith(" kB"):
            figures[head[:-1]] = int(line.split()[1])
    return figures


def tids(pid: int) -> list[int]:
    """The threads of a process; none when it is gone."""
    try:
        return sorted(int(name) for name in os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return []


def state(pid: int) -> str | None:
    """R, S, D, T, Z...: of a process or thread; None when it is gone."""
    fields = processes.stat_fields(pid)
    return fields[0] if fields else None


def parent(pid: int) -> int | None:
    fields = processes.stat_fields(pid)
    return int(fields[1]) if fields else None


def children(pid: int) -> list[int]:
    """Every child of a process, zombies too."""
    return sorted(child for child in processes.all_pids() if parent(child) == pid)


def status(pid: int) -> dict[str, str]:
    """The fields of /proc/PID/status; none when it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def catches(pid: int, signum: int) -> bool:
    """Whether a process has a handler for a signal; not when it is gone."""
    return bool(int(status(pid).get("SigCgt", "0"), 16) >> (signum - 1) & 1)


def status_lines(pid: int, *names: str) -> str:
    """These lines of /proc/PID/status, for showing."""
    fields = status(pid)
    return f"/proc/{pid}/status  " + "  ".join(f"{name}: {fields.get(name, '(no such line)')}" for name in names)


@dataclass(frozen=True)
class Registers:
    """Of a thread that waits in the kernel: the number of its system call, stack pointer and program counter."""

    call: int
    stack_pointer: int
    program_counter: int


def _where_it_waits(pid: int, tid: int) -> str:
    """The line of /proc/PID/task/TID/syscall; nothing: it has ended, or this user may not look."""
    try:
        return Path(f"/proc/{pid}/task/{tid}/syscall").read_text()
    except OSError:
        return ""


def shows_registers(pid: int, tid: int) -> bool:
    """Whether registers() can tell anything of this thread, once it waits."""
    return _where_it_waits(pid, tid) != ""


def registers(pid: int, tid: int) -> Registers | None:
    """None: it runs right now, or this user may not look."""
    fields = _where_it_waits(pid, tid).split()
    if len(fields) < 3:
        return None
    return Registers(int(fields[0]), int(fields[-2], 16), int(fields[-1], 16))


def cpu_ns(pid: int, tid: int) -> int | None:
    """CPU time that a thread has used; None when it is gone or the kernel does not count it."""
    try:
        return int(Path(f"/proc/{pid}/task/{tid}/schedstat").read_text().split()[0])
    except (OSError, IndexError, ValueError):
        return None
