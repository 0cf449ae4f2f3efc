"""A worker that waits for ever: who notices, and what gets out of it."""

import contextlib
import platform
import re
import time

from twinlab.base.observed import Fact
from twinlab.base.waiting import comes_true, wait_for
from twinlab.clients import wrk
from twinlab.demos.lines import to_every
from twinlab.demos.stage import Stage, connections, full_strength, is_answered
from twinlab.machine import processes, procfs
from twinlab.servers.server import Server

TITLE = "a deadlock: the load tool sees nothing, the watchdog does"
CLAIMS = (43,)
MEANING = ("A deadlock uses no CPU and breaks no connection, so the load tool reports fewer requests and no error. "
           "Only a heartbeat tells. A process can then be replaced, and with it go its locks, unless they lie in "
           "memory that others share: then they wait, too.")

CONNECTIONS = 32
WINDOW_S = 0.2
LOG_LINES = 10_000  # the stacks of all threads follow
FUTEX = {"x86_64": 202, "aarch64": 98}
STUCK_LINE = re.compile(r"watchdog: slot \d+ \(pid (\d+), thread \d+\) is stuck, blocked")
SUPERVISED = ("--stuck-after-ms", "1000")


def run(stage: Stage) -> list[Fact]:
    # Side by side: the watchdogs need a second or two.
    with contextlib.ExitStack() as servers:
        watched = [servers.enter_context(stage.start(key, *SUPERVISED, "--drain-timeout-ms", "500"))
                   for key in stage.repeated("prefork", "threadpool", "hybrid", at_most=3)]
        stuck = {server: _stop_one(server)[0] for server in watched}
        found = [*_unseen(stage), *_shared_lock(stage), *_watched(stage, stuck)]
    return found


def _stop_one(server: Server) -> tuple[int, int]:
    """Send some worker into a deadlock. Its pid and tid."""
    is_answered(server, "/fault/deadlock", 0.05)
    stuck = wait_for(lambda: [worker for worker in server.status()["workers"]
                              if (worker["current"] or "").startswith("GET /fault/deadlock")], "a worker hangs")
    return stuck[-1]["pid"], stuck[-1]["tid"]


def _unseen(stage: Stage) -> list[Fact]:
    idle = stage.tally("stuck-worker-uses-no-cpu",
                       f"the CPU time of a worker in a deadlock stands still for {WINDOW_S} s")
    waits = stage.tally("stuck-worker-waits-in-futex", "it waits in futex(2)")
    unseen = stage.tally("wrk-sees-no-error",
                         f"wrk -c{CONNECTIONS} reports no error of any kind, although connections of its hang with "
                         "the worker")
    for key in stage.repeated("prefork", "threadpool", at_most=5):
        with stage.start(key, *SUPERVISED, "--on-stuck", "report") as server:
            with wrk.Wrk(server.port, "/plaintext", CONNECTIONS, 5) as load:
                wait_for(lambda: sum(connections(server)) >= CONNECTIONS, "wrk has connected")
                pid, tid = _stop_one(server)
                before_ns = procfs.cpu_ns(pid, tid)
                time.sleep(WINDOW_S)
                after_ns, registers = procfs.cpu_ns(pid, tid), procfs.registers(pid, tid)
                held = next(w["connections_open"] for w in server.status()["workers"] if w["tid"] == tid)
                errors = load.finish().errors
            processes.kill_quietly(pid)  # it would not hear that the server is to stop
            if before_ns is not None and after_ns is not None:
                idle.note(after_ns == before_ns)
            if registers and platform.machine() in FUTEX:
                waits.note(registers.call == FUTEX[platform.machine()])
            unseen.note(held > 0 and not any(errors.values()))
            stage.say(f"{key}: thread {tid} waits for a lock of its own and holds {held} connections; wrk's errors: "
                      + ", ".join(f"{name} {count}" for name, count in errors.items()))
    return [idle.fact(without="no schedstat here"),
            waits.fact(without="the system call of a thread cannot be read here"), unseen.fact()]


def _watched(stage: Stage, stuck: dict[Server, int]) -> list[Fact]:
    names = stage.tally("watchdog-names-it", "the watchdog reports the worker as stuck and blocked")
    freed = stage.tally("replacement-gets-out", "the process is replaced, and every worker serves again")
    stage.say("prefork, threadpool and hybrid, each with a worker in a deadlock and a watchdog that waits for a second")
    for server, pid in stuck.items():
        if names.note(comes_true(lambda: str(pid) in STUCK_LINE.findall(server.log_tail(LOG_LINES)), 5.0), server):
            stage.show(next(line for line in server.log_tail(LOG_LINES).splitlines() if STUCK_LINE.search(line)))
        freed.note(bool(full_strength(server, pid)), server)
    return [names.fact(), freed.fact()]


def _shared_lock(stage: Stage) -> list[Fact]:
    tally = stage.tally("shared-lock-stops-other-processes",
                        "a worker process that dies while it holds a lock in shared memory leaves every other one "
                        "waiting that asks for it")
    for key in stage.repeated("prefork"):
        with stage.start(key, "--on-stuck", "report") as server, to_every(server) as lines:
            lines[0].send("/fault/die-holding-lock?lock=fragile")
            wait_for(lambda: server.status()["deaths"], "the owner of the lock is dead")
            stage.say(f"prefork: pid {lines[0].pid} is dead and held a lock; its siblings ask for it")
            for line in lines[1:]:
                line.send("/counter?mode=fragile")
            time.sleep(WINDOW_S)
            for line in lines[1:]:
                waits = not line.has_answer()
                tally.note(waits)
                stage.show(f"pid {line.pid}: state {procfs.state(line.pid)}, {'no answer' if waits else 'answered'}")
                processes.kill_quietly(line.pid)  # it would not hear that the server is to stop
    return [tally.fact()]
