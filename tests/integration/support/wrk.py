"""wrk, and the numbers that it prints."""

import re
import subprocess
from dataclasses import dataclass

_WRK = "/usr/bin/wrk"


@dataclass(frozen=True)
class WrkResult:
    requests: int
    connect_errors: int
    read_errors: int
    write_errors: int
    timeouts: int
    bad_statuses: int


def start(url, duration_s, connections=64, headers=()):
    command = [_WRK, "-t2", f"-c{connections}", f"-d{duration_s}s"]
    for header in headers:
        command += ["-H", header]
    return subprocess.Popen([*command, url], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


def finish(process, timeout_s=60):
    output, _ = process.communicate(timeout=timeout_s)
    assert process.returncode == 0, output
    return _parse(output)


def run(url, duration_s, connections=64, headers=()):
    return finish(start(url, duration_s, connections, headers))


def _parse(output):
    requests = re.search(r"(\d+) requests in", output)
    assert requests, output
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)",
                       output)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    counts = [int(count) for count in errors.groups()] if errors else [0, 0, 0, 0]
    return WrkResult(int(requests[1]), *counts, int(bad[1]) if bad else 0)
