"""The load tool: wrk's command line, and its result as one JSON line (loadtest/wrk/report.lua)."""

import json
import math
import re
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Iterator

from twinlab.base.errors import Accident
from twinlab.machine import processes, procfs

SCRIPTS = Path(__file__).resolve().parents[2] / "wrk"
REPORT_SCRIPT = SCRIPTS / "report.lua"
PIPELINE_SCRIPT = SCRIPTS / "pipeline.lua"
LIVE_SCRIPT = SCRIPTS / "live.lua"
# wrk stops by itself this long after it should have been told to: a bound, should the telling fail.
SAFETY_S = 30
# Longer than any window: wrk leaves a request that took longer out of its percentiles, and counts a timeout instead.
TIMEOUT_S = 10
# A live load has no windows. Another limit than that of wrk's other histogram tells the two apart, see live.lua.
LIVE_TIMEOUT_S = 5
# How long wrk may take to begin, and to end, on a machine that has much else to do.
BEGIN_DEADLINE_S = 30.0
END_DEADLINE_S = 20.0
POLL_S = 0.001
# By how much a clock may have been set, and wrk's duration may lie beside what the laboratory saw of it.
CLOCK_TOLERANCE_S = 0.005
DURATION_TOLERANCE_S = 0.02


@dataclass(frozen=True)
class Style:
    """How the requests come: by default one after the other, on connections that are kept."""

    close: bool = False
    depth: int = 1
    live: bool = False  # its counters can be read while it runs, see wrk_live.py


KEPT = Style()


@dataclass(frozen=True)
class Result:
    """What wrk counted. requests: all that were answered, by whatever status; `status` counts those of 400 and above,
    the other errors failures by kind."""

    requests: int
    duration_s: float
    p50_us: float
    p99_us: float
    errors: dict[str, int]
    raw: dict[str, Any]

    @property
    def answered(self) -> int:
        """Requests that got what they asked for: an answer that refuses is quick, and no speed."""
        return max(0, self.requests - self.errors["status"])

    @property
    def requests_per_s(self) -> float:
        return self.answered / self.duration_s if self.duration_s > 0 else 0.0

    @property
    def cut_requests(self) -> int:
        """Requests whose connection ended under them: the figure that a server's journal must explain."""
        return self.errors["read"] + self.errors["write"]


@dataclass(frozen=True)
class Span:
    """Between which lengths a load must have lasted, by the laboratory's own clock, which nobody can set."""

    least_s: float
    most_s: float

    def holds(self, duration_s: float) -> bool:
        return self.least_s - DURATION_TOLERANCE_S <= duration_s <= self.most_s + DURATION_TOLERANCE_S


def threads_for(connections: int) -> int:
    """Two threads when they share the connections evenly (wrk rounds down and would open fewer), else one."""
    return 2 if connections % 2 == 0 else 1


def command(url: str, connections: int, max_s: float, style: Style = KEPT) -> list[str]:
    """wrk's command line; max_s is an upper bound, since wrk knows whole seconds only and is stopped by SIGINT."""
    threads, timeout_s = (1, LIVE_TIMEOUT_S) if style.live else (threads_for(connections), TIMEOUT_S)
    argv = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{math.ceil(max_s)}s", "--timeout", f"{timeout_s}s",
            "--latency"]
    if style.close:
        argv += ["-H", "Connection: close"]
    if style.depth == 1:
        return [*argv, "-s", str(LIVE_SCRIPT if style.live else REPORT_SCRIPT), url]
    return [*argv, "-s", str(PIPELINE_SCRIPT), url, "--", str(style.depth)]


def parse(output: str, ended: str = "") -> Result:
    """Find the JSON line in what wrk printed. ended: how wrk ended, for who has to find out why there is none."""
    lines = [line for line in output.splitlines() if re.match(r'\{"requests":', line)]
    try:
        raw = json.loads(lines[-1])
        # Without a single answer, there is no latency, and wrk reports its histogram's empty value instead.
        return Result(raw["requests"], raw["duration_us"] / 1e6, raw["p50_us"], raw["p99_us"], raw["errors"], raw)
    except (IndexError, ValueError, KeyError, TypeError) as error:
        how = f" and {ended}" if ended else ""
        raise Accident(f"wrk gave no result{how}; it said: {output.strip() or 'nothing'}") from error


def hold_against_clock(result: Result, span: Span) -> None:
    """wrk's times come from a clock that can be set. A result that was measured meanwhile is none."""
    set_s = result.raw.get("clock_set_us", 0) / 1e6
    if abs(set_s) > CLOCK_TOLERANCE_S:
        raise Accident(f"the clock was set by {set_s:+.3f} s while wrk measured by it")
    if not span.holds(result.duration_s):
        raise Accident(f"wrk says that it took {result.duration_s:.3f} s; by the monotonic clock it was "
                       f"{span.least_s:.3f} to {span.most_s:.3f} s")


class Wrk:
    """wrk running in the background: `with Wrk(...) as load: ...; result = load.finish()`.

    Inside the block the load has begun, however late a busy machine let wrk run.
    """

    def __init__(self, port: int, path: str, connections: int, max_s: float, style: Style = KEPT,
                 cpus: Iterable[int] | None = None, niceness: int = 0) -> None:
        argv = command(f"http://127.0.0.1:{port}{path}", connections, max_s + SAFETY_S, style)
        self._child = processes.spawn(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cpus=cpus,
                                      niceness=niceness)
        self._not_begun_s = self._begun_s = time.monotonic()

    def __enter__(self) -> "Wrk":
        try:
            self._wait_until_begun()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        processes.stop(self._child, signal.SIGKILL)
        if self._child.stdout:
            self._child.stdout.close()

    def _wait_until_begun(self) -> None:
        """wrk makes its threads, then catches SIGINT, then takes the time: before that, SIGINT would only kill it."""
        deadline_s = time.monotonic() + BEGIN_DEADLINE_S
        while True:
            looked_s = time.monotonic()
            if len(procfs.tids(self._child.pid)) > 1 and procfs.catches(self._child.pid, signal.SIGINT):
                self._begun_s = time.monotonic()
                return
            self._not_begun_s = looked_s
            if not self.is_running():
                raise Accident(f"wrk {self._ending()} before it had begun; it said: {self._said() or 'nothing'}")
            if looked_s > deadline_s:
                raise Accident(f"wrk had not begun after {BEGIN_DEADLINE_S:.0f} s")
            time.sleep(POLL_S)

    def _said(self) -> str:
        """Of a wrk that has ended, or of whoever was started in its name and left somebody with its output open."""
        processes.kill_session(self._child.pid)
        output, _ = self._child.communicate()
        return output.decode(errors="replace").strip()

    def _ending(self) -> str:
        status = self._child.returncode
        return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"

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
        """Stop wrk now and return its result."""
        told_s = time.monotonic()
        result = parse(self._end(), self._ending())
        hold_against_clock(result, Span(told_s - self._begun_s, time.monotonic() - self._not_begun_s))
        return result

    def _end(self) -> str:
        """All that wrk prints at its end. SIGINT makes it end as if its time were over."""
        was_running = self.is_running()
        if was_running:
            self._child.send_signal(signal.SIGINT)
        try:
            output, _ = self._child.communicate(timeout=END_DEADLINE_S)
        except subprocess.TimeoutExpired as error:
            raise Accident(f"wrk did not stop within {END_DEADLINE_S:.0f} s of being told to (as when its clock was set "
                           "back)") from error
        if not was_running:
            parse(output.decode(errors="replace"), self._ending())  # no result: that is what has to be told
            raise Accident("wrk ended by itself, before it was told to")
        return output.decode(errors="replace")
