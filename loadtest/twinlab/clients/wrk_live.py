"""A load whose counters are read while it goes on.

wrk prints nothing before its end, and to run it for a second at a time would close all connections each second. So one
wrk runs all the time, and the laboratory looks at wrk's own counters in its memory (/proc/PID/mem), where live.lua has
found them. The load does not notice. At its end wrk itself says whether what was looked at were its counters.
"""

import json
import os
import struct
from array import array
from collections import Counter
from dataclasses import astuple, dataclass
from typing import Any, Iterator, Mapping, Self

from twinlab.base.errors import Accident
from twinlab.clients import wrk
from twinlab.clients.wrk import Result, Style, Wrk

LIVE = Style(live=True)
NO_BOUND_S = 30 * 86400.0  # it is ended by whoever has started it
PAGE_BYTES = 4096
IN_MEMORY, IN_SWAP = 1 << 63, 1 << 62  # of an entry of /proc/PID/pagemap
# connections, complete; the errors, as struct lab_thread of live.lua has them
THREAD = struct.Struct("<24xQQ32x5I")
HISTOGRAM = struct.Struct("<QQQQ")
COUNTER_BYTES = 8


@dataclass(frozen=True)
class Counts:
    """What wrk has counted. requests: all that were answered, by whatever status."""

    requests: int = 0
    connect: int = 0
    read: int = 0
    write: int = 0
    status: int = 0
    timeout: int = 0

    @property
    def errors(self) -> int:
        return self.connect + self.cut + self.status + self.timeout

    @property
    def cut(self) -> int:
        """Requests whose connection ended under them: the figure that a server's journal must explain."""
        return self.read + self.write

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(mine + its for mine, its in zip(astuple(self), astuple(other))))

    @staticmethod
    def of(result: Result) -> "Counts":
        return Counts(result.requests, **{kind: result.errors[kind]
                                          for kind in ("connect", "read", "write", "status", "timeout")})


def percentile(latencies: Mapping[int, int], share: float) -> int | None:
    """The least number of microseconds that covers this share of the answers; None: there are none."""
    wanted, seen = share * sum(latencies.values()), 0
    for us in sorted(latencies):
        seen += latencies[us]
        if seen >= wanted:
            return us
    return None


class Memory:
    """Of another process: what lies there now."""

    def __init__(self, pid: int) -> None:
        self._fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._pages_fd = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(self._fd)
            raise

    def close(self) -> None:
        os.close(self._fd)
        os.close(self._pages_fd)

    def read(self, address: int, size_bytes: int) -> bytes:
        """OSError: nothing lies there, or the process is gone."""
        found = os.pread(self._fd, size_bytes, address)
        if len(found) < size_bytes:
            raise OSError("the process is gone")
        return found

    def touched(self, first: int, last: int) -> Iterator[int]:
        """The pages from one address to another that anybody has ever written to."""
        begin = first // PAGE_BYTES
        entries = array("Q", os.pread(self._pages_fd, 8 * (last // PAGE_BYTES - begin + 1), 8 * begin))
        return (begin + number for number, entry in enumerate(entries) if entry & (IN_MEMORY | IN_SWAP))


class Histogram:
    """wrk's own: a counter for each microsecond. Most of its pages stay untouched, and are not looked at."""

    def __init__(self, memory: Memory, address: int) -> None:
        self._memory = memory
        self._address = address
        self._seen: dict[int, bytes] = {}

    def added(self) -> Counter[int]:
        """How many answers took how many microseconds since the last look."""
        _, _, _, longest_us = HISTOGRAM.unpack(self._memory.read(self._address, HISTOGRAM.size))
        data = self._address + HISTOGRAM.size
        found: Counter[int] = Counter()
        for page in self._memory.touched(data, data + longest_us * COUNTER_BYTES):
            start, before = page * PAGE_BYTES, self._seen.get(page, bytes(PAGE_BYTES))
            now = self._memory.read(start, PAGE_BYTES)
            if now != before:
                self._seen[page] = now
                self._add_growth(found, (start - data) // COUNTER_BYTES, before, now)
        return found

    @staticmethod
    def _add_growth(found: Counter[int], first_us: int, before: bytes, now: bytes) -> None:
        """What lies before the first counter is the histogram's head, or not its own."""
        for offset, (old, new) in enumerate(zip(array("Q", before), array("Q", now))):
            if new != old and first_us + offset >= 0:
                found[first_us + offset] = new - old


class LiveWrk(Wrk):
    """wrk with one thread, until it is told to end: `with LiveWrk(...) as load: load.counts(); load.latencies()`.

    OSError, from either: wrk is gone.
    """

    def __init__(self, port: int, path: str, connections: int, niceness: int = 0) -> None:
        super().__init__(port, path, connections, NO_BOUND_S, LIVE, niceness=niceness)
        self.connections = connections
        self._memory: Memory | None = None

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self._find_counters()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *reason: object) -> None:
        super().__exit__(*reason)
        if self._memory:
            self._memory.close()
            self._memory = None

    def _find_counters(self) -> None:
        """Before a load has begun, live.lua has written a line for each thread."""
        assert self._child.stdout
        said = os.read(self._child.stdout.fileno(), 65536).decode(errors="replace")
        places = [json.loads(line) for line in said.splitlines() if line.startswith('{"counters":')]
        if not places or not are_plausible(places, self.connections):
            raise Accident(f"this wrk has its counters elsewhere; it said: {said.strip() or 'nothing'}")
        self._memory = Memory(self._child.pid)
        self._threads = [place["counters"] for place in places]
        self._histogram = Histogram(self._memory, places[0]["histogram"])

    def _of(self, memory: Memory | None) -> Memory:
        if memory is None:
            raise OSError("wrk has ended")
        return memory

    def counts(self) -> Counts:
        """Up to now."""
        memory = self._of(self._memory)
        found = Counts()
        for address in self._threads:
            _, requests, connect, read, write, status, timeout = THREAD.unpack(memory.read(address, THREAD.size))
            found += Counts(requests, connect, read, write, status, timeout)
        return found

    def latencies(self) -> Counter[int]:
        """Of the answers since the last look: how many took how many microseconds."""
        self._of(self._memory)
        return self._histogram.added()

    def finish(self) -> Result:
        """Stop wrk now and return its result. Its clock may have been set meanwhile: a long load is no window."""
        said = self._end()
        if '{"counters_right":true}' not in said:
            raise Accident("this wrk has its counters elsewhere: what was shown is not what it counts")
        return wrk.parse(said, self._ending())


def are_plausible(places: list[dict[str, Any]], connections: int) -> bool:
    """Whether the records, as they were read, have the connections that wrk was asked for."""
    return all(place["histogram"] for place in places) and sum(place["connections"] for place in places) == connections
