"""The attacker: slowhttptest's command line, and its result from its CSV file and from what it prints."""

import csv
import io
import re
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from twinlab.base.errors import LabError
from twinlab.machine import processes

# Often enough to look alive between two deadlines of the server: only a deadline that does not move ends the request.
FOLLOW_UP_S = 5
PROBE_TIMEOUT_S = 3
# slowhttptest ends up to two seconds after the time that it was given.
SAFETY_S = 15
COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Attack:
    """One way to hold a server's connections with little effort."""

    key: str
    label: str
    path: str
    options: tuple[str, ...]


ALL = (
    Attack("header", "slow headers (slowloris)", "/1k.bin", ("-H", "-t", "GET", "-x", "24", "-i", str(FOLLOW_UP_S))),
    Attack("body", "slow body (POST /echo)", "/echo", ("-B", "-s", "8192", "-x", "24", "-i", str(FOLLOW_UP_S))),
    # GET, not slowhttptest's HEAD: a range has a meaning for GET alone (RFC 9110, 14.2).
    Attack("range", "2,000 ranges of a 100 KiB file", "/100k.bin", ("-R", "-t", "GET", "-a", "5", "-b", "2000")),
    Attack("read", "slow read of a 16 MiB file", "/16m.bin",
           ("-X", "-w", "512", "-y", "1024", "-n", str(FOLLOW_UP_S), "-z", "32")),
)
KEYS = tuple(attack.key for attack in ALL)


@dataclass(frozen=True)
class Result:
    """What one or several runs of slowhttptest, one after the other, counted."""

    runs: int
    closed: int
    most_connected: int
    errors: int
    seconds: int
    unavailable_s: int
    endings: tuple[str, ...]

    @property
    def available(self) -> bool:
        return self.unavailable_s == 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def add(results: list[Result]) -> Result:
    """Several runs as one."""
    return Result(sum(r.runs for r in results), sum(r.closed for r in results),
                  max((r.most_connected for r in results), default=0), sum(r.errors for r in results),
                  sum(r.seconds for r in results), sum(r.unavailable_s for r in results),
                  tuple(ending for r in results for ending in r.endings))


def parse(table: str, output: str) -> Result:
    """One run, from its CSV table (a row a second) and what it printed.

    The table has no errors; the printed status has, every five seconds.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(table)))
        closed = [int(row["Closed"]) for row in rows]
        connected = [int(row["Connected"]) for row in rows]
        unavailable = [row for row in rows if int(row["Service Available"]) == 0]
    except (KeyError, TypeError, ValueError) as error:
        raise LabError(f"slowhttptest's CSV file is not understood: {table[:200]!r}") from error
    plain = COLOUR.sub("", output)
    ending = re.search(r"^Exit status:\s*(.+?)\s*$", plain, re.MULTILINE)
    if not rows or not ending:
        raise LabError("slowhttptest gave no result; it said: " + (plain.strip()[-500:] or "nothing"))
    errors = [int(text) for text in re.findall(r"^error:\s+(\d+)", plain, re.MULTILINE)]
    return Result(1, max(closed), max(connected), max(errors, default=0), len(rows), len(unavailable), (ending[1],))


class Attacker:
    """slowhttptest running in the background, started anew whenever it has no connection left before the time is over.

    Call tend() every now and then until it returns False.
    """

    def __init__(self, attack: Attack, port: int, connections: int, per_s: int, duration_s: int, scratch: Path) -> None:
        self._attack = attack
        self._url = f"http://127.0.0.1:{port}{attack.path}"
        self._connections = connections
        self._per_s = per_s
        self._end_s = time.monotonic() + duration_s
        self._prefix = scratch / "slowhttptest"
        self._results: list[Result] = []
        self._child: subprocess.Popen | None = None

    def __enter__(self) -> "Attacker":
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._child:
            processes.stop(self._child)

    def tend(self) -> bool:
        """Collect a run that has ended, and start the next if a second or more is left. False: the attack is over."""
        if self._child and self._child.poll() is None:
            if time.monotonic() > self._end_s + SAFETY_S:
                raise LabError(f"slowhttptest did not end within {SAFETY_S} s after its time")
            return True
        if self._child:
            self._collect(self._child)
        if self._end_s - time.monotonic() < 1:
            return False
        self._start()
        return True

    def result(self) -> Result:
        return add(self._results)

    def _command(self, length_s: int) -> list[str]:
        return ["slowhttptest", *self._attack.options, "-c", str(self._connections), "-r", str(self._per_s),
                "-l", str(length_s), "-p", str(PROBE_TIMEOUT_S), "-g", "-o", str(self._prefix), "-v", "1",
                "-u", self._url]

    def _file(self, suffix: str) -> Path:
        return self._prefix.with_name(self._prefix.name + suffix)

    def _start(self) -> None:
        self._file(".csv").unlink(missing_ok=True)
        length_s = max(1, round(self._end_s - time.monotonic()))
        with self._file(".out").open("wb") as out:
            self._child = processes.spawn(self._command(length_s), stdout=out, stderr=subprocess.STDOUT)

    def _collect(self, child: subprocess.Popen) -> None:
        processes.stop(child)
        self._child = None
        table = self._file(".csv").read_text(errors="replace") if self._file(".csv").exists() else ""
        self._results.append(parse(table, self._file(".out").read_text(errors="replace")))
