"""The load tool: wrk's command line, and its result as one JSON line (loadtest/wrk/report.lua)."""

import json
import math
import re
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Iterator

from twinlab import proc
from twinlab.errors import LabError

SCRIPTS = Path(__file__).resolve().parent.parent / "wrk"
REPORT_SCRIPT = SCRIPTS / "report.lua"
PIPELINE_SCRIPT = SCRIPTS / "pipeline.lua"
# wrk stops by itself this long after it should have been told to: a bound, should the telling fail.
SAFETY_S = 10
# Longer than any window: wrk leaves a request that took longer out of its percentiles, and counts a timeout instead.
TIMEOUT_S = 10


@dataclass(frozen=True)
class Style:
    """How the requests come: by default one after the other, on connections that are kept."""

    close: bool = False
    depth: int = 1


KEPT = Style()


@dataclass(frozen=True)
class Result:
    """What wrk counted. Errors are failures by kind; `status` counts answers of 400 and above."""

    requests: int
    duration_s: float
    p50_us: float
    p99_us: float
    errors: dict[str, int]
    raw: dict[str, Any]

    @property
    def requests_per_s(self) -> float:
        return self.requests / self.duration_s if self.duration_s else 0.0

    @property
    def cut_requests(self) -> int:
        """Requests whose connection ended under them: the figure that a server's journal must explain."""
        return self.errors["read"] + self.errors["write"]


def threads_for(connections: int) -> int:
    """Two threads when they share the connections evenly (wrk rounds down and would open fewer), else one."""
    return 2 if connections % 2 == 0 else 1


def command(url: str, connections: int, max_s: float, style: Style = KEPT) -> list[str]:
    """wrk's command line; max_s is an upper bound, since wrk knows whole seconds only and is stopped by SIGINT."""
    argv = ["wrk", f"-t{threads_for(connections)}", f"-c{connections}", f"-d{math.ceil(max_s)}s",
            "--timeout", f"{TIMEOUT_S}s", "--latency"]
    if style.close:
        argv += ["-H", "Connection: close"]
    if style.depth == 1:
        return [*argv, "-s", str(REPORT_SCRIPT), url]
    return [*argv, "-s", str(PIPELINE_SCRIPT), url, "--", str(style.depth)]


def parse(output: str) -> Result:
    """Find the JSON line in what wrk printed."""
    lines = [line for line in output.splitlines() if re.match(r'\{"requests":', line)]
    if not lines:
        raise LabError("wrk gave no result; it said: " + (output.strip() or "nothing"))
    raw = json.loads(lines[-1])
    # Without a single answer, there is no latency, and wrk reports its histogram's empty value instead.
    return Result(raw["requests"], raw["duration_us"] / 1e6, raw["p50_us"], raw["p99_us"], raw["errors"], raw)


class Wrk:
    """wrk running in the background: `with Wrk(...) as load: ...; result = load.finish()`."""

    def __init__(self, port: int, path: str, connections: int, max_s: float, style: Style = KEPT,
                 cpus: Iterable[int] | None = None) -> None:
        argv = command(f"http://127.0.0.1:{port}{path}", connections, max_s + SAFETY_S, style)
        self._child = proc.spawn(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cpus=cpus)

    def __enter__(self) -> "Wrk":
        return self

    def __exit__(self, *_: object) -> None:
        proc.stop(self._child, signal.SIGKILL)
        if self._child.stdout:
            self._child.stdout.close()

    def is_running(self) -> bool:
        return self._child.poll() is None

    @contextmanager
    def halted(self) -> Iterator[None]:
        """Within this block wrk sends and reads nothing, and all its connections stay open."""
        self._child.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._child.send_signal(signal.SIGCONT)

    def finish(self) -> Result:
        """Stop wrk now and return its result. SIGINT makes wrk end as if its time were over."""
        if self.is_running():
            self._child.send_signal(signal.SIGINT)
        try:
            output, _ = self._child.communicate(timeout=SAFETY_S)
        except subprocess.TimeoutExpired as error:
            raise LabError("wrk did not stop when told to") from error
        return parse(output.decode(errors="replace"))
