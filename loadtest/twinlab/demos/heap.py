"""A heap that grows and shrinks at run time, and what keeps its memory from coming back."""

import os
import signal

from twinlab.base.observed import Fact
from twinlab.demos.lines import Line, to_every
from twinlab.demos.stage import Stage, ask, full_strength, next_death
from twinlab.machine import processes
from twinlab.servers.server import Server

TITLE = "the heap: growth, leaks, fragments, and the one thing that returns everything"
CLAIMS = (16,)
MEANING = ("What a program frees goes back to malloc first, and to the system only where a whole stretch is free. A "
           "few percent that live on can keep all of it. What is leaked nobody returns but the end of the process, "
           "which is what recycling workers is for.")

BLOCKS_KIB = 32_768
KEEP_EVERY = 32
LEAK_BYTES = 8 << 20


def run(stage: Stage) -> list[Fact]:
    grows = stage.tally("heap-grows-at-run-time", "32 MiB in blocks of 1 KiB make the process at least 30 MiB larger")
    returns = stage.tally("freed-memory-returns",
                          "when all of them are freed, more than nine tenths of that go back to the system")
    fragments = stage.tally("fragments-keep-memory",
                            f"when each {KEEP_EVERY}nd block lives on (3 %), more than half of it stays")
    for key in stage.repeated("prefork", "threadpool"):
        with stage.start(key) as server, to_every(server) as lines:
            stage.say(f"{key}: 32 MiB in small blocks; all freed, or all but each {KEEP_EVERY}nd (resident KiB: "
                      "before, full, after)")
            for line in lines[:2]:
                whole = line.ask(f"/lab/heap?kib={BLOCKS_KIB}")
                grows.note(_grown(whole) > 30 * 1024)
                returns.note(_rest(whole) < 0.1)
                broken = line.ask(f"/lab/heap?kib={BLOCKS_KIB}&keep_every={KEEP_EVERY}")
                fragments.note(_rest(broken) > 0.5)
                line.ask("/lab/heap?kib=0")
                stage.show(f"thread {line.tid}: all freed {_figures(whole)}; {KEEP_EVERY - 1} of {KEEP_EVERY} freed "
                           f"{_figures(broken)}")
    return [grows.fact(), returns.fact(), fragments.fact(), *_leaks(stage)]


def _grown(seen: dict[str, int]) -> int:
    return seen["full_kib"] - seen["before_kib"]


def _rest(seen: dict[str, int]) -> float:
    """How much of the growth is left, as a share."""
    return (seen["after_kib"] - seen["before_kib"]) / max(1, _grown(seen))


def _figures(seen: dict[str, int]) -> str:
    return f"{seen['before_kib']:,} {seen['full_kib']:,} {seen['after_kib']:,}"


def _leaks(stage: Stage) -> list[Fact]:
    stays = stage.tally("leak-is-never-returned",
                        "8 MiB that a request leaks are still there after a hundred more requests")
    ends = stage.tally("process-end-returns-everything",
                       "the successor of a process that leaked starts without the leak")
    for key in stage.repeated("prefork", "threadpool"):
        with stage.start(key) as server:
            with to_every(server, "pid") as lines:
                pid, before_kib, after_kib = _leak(lines[0])
            stays.note(after_kib - before_kib > LEAK_BYTES // 1024 * 0.9)
            known = {death["pid"] for death in server.status()["deaths"]}
            os.kill(pid, signal.SIGKILL)
            next_death(server, known)
            successor = max(full_strength(server, pid), key=lambda each: _generation(server, each))
            ask(server, "/whoami")
            ends.note((processes.pss_kib([successor]) or 0) < after_kib - LEAK_BYTES // 1024 * 0.9)
            stage.say(f"{key}: a leak of 8 MiB (Pss {before_kib:,} KiB before, {after_kib:,} after), and the process's "
                      f"successor ({processes.pss_kib([successor]):,} KiB)")
    return [stays.fact(), ends.fact()]


def _leak(line: Line) -> tuple[int, int, int]:
    before_kib = processes.pss_kib([line.pid]) or 0
    line.ask_status(f"/fault/leak?bytes={LEAK_BYTES}")
    for _ in range(100):
        line.ask_status("/plaintext")
    return line.pid, before_kib, processes.pss_kib([line.pid]) or 0


def _generation(server: Server, pid: int) -> int:
    return next(worker["generation"] for worker in server.status()["workers"] if worker["pid"] == pid)
