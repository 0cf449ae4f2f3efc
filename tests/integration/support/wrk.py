"""wrk, and the numbers that it prints."""

import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from support.waiting import DEADLINE_S, wait_until

_WRK = "/usr/bin/wrk"
_UNTIL_ITS_END_S = 600  # a test ends it much earlier
_UNDER_WAY_REQUESTS = 500


@dataclass(frozen=True)
class WrkResult:
    requests: int
    connect_errors: int
    read_errors: int
    write_errors: int
    timeouts: int
    bad_statuses: int


def start(url, duration_s=_UNTIL_ITS_END_S, connections=64, headers=(), script=()):
    # Without a timeout, wrk counts what a busy machine answers after two seconds as an error.
    command = [_WRK, "-t2", f"-c{connections}", f"-d{duration_s}s", "--timeout", f"{_UNTIL_ITS_END_S}s"]
    for header in headers:
        command += ["-H", header]
    if script:  # and its arguments
        command += ["-s", str(script[0])]
    return subprocess.Popen([*command, url, "--", *script[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


def wait_until_under_way(server):
    enough = server.status()["totals"]["requests_started"] + _UNDER_WAY_REQUESTS
    wait_until(lambda: server.status()["totals"]["requests_started"] > enough, "wrk is under way")


def wait_until_accepted(server, connections):
    """The server has counted all of wrk's connections, and holds no others: a process that is killed between the kernel's
    giving a connection and its own counting loses one that no journal tells of."""
    wait_until(lambda: server.status()["totals"]["connections_open"] == connections, "all are accepted")


def _finish(process):
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, output
    return _parse(output)


def _awaits_its_end(process):
    """wrk has threads that load before it catches the signal, and before it sleeps: until then the signal would kill
    it, or be forgotten."""
    try:
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
    except (FileNotFoundError, ProcessLookupError):
        return True
    catches = int(status["SigCgt"], 16) >> (signal.SIGINT - 1) & 1
    return status["State"][0] == "Z" or (catches and status["State"][0] == "S")


def end(process):
    """Ends a load that has done its work; wrk counts what is under way neither as good nor as bad."""
    assert process.poll() is None, "the load ended too early"
    wait_until(lambda: _awaits_its_end(process), "wrk awaits its end")
    process.send_signal(signal.SIGINT)
    return _finish(process)


def run(url, duration_s):
    return _finish(start(url, duration_s))


def _parse(output):
    requests = re.search(r"(\d+) requests in", output)
    assert requests, output
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)",
                       output)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    counts = [int(count) for count in errors.groups()] if errors else [0, 0, 0, 0]
    return WrkResult(int(requests[1]), *counts, int(bad[1]) if bad else 0)
