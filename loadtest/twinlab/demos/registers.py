"""Each thread has its own program counter and stack pointer, which switches between threads keep."""

import time

from twinlab.base.observed import Fact
from twinlab.base.waiting import DEADLINE_S, POLL_S
from twinlab.demos.lines import Line, to_every
from twinlab.demos.stage import Stage
from twinlab.demos.tally import StartTally
from twinlab.machine import procfs
from twinlab.servers.server import Server

TITLE = "registers: a program counter and a stack pointer for each thread"
CLAIMS = (13,)
MEANING = ("The kernel shows for each sleeping thread where it stands and on which stack. The values differ from "
           "thread to thread, and after thousands of switches each finds its own again.")

DENIED = "/proc/PID/task/TID/syscall may not be read here"
REQUESTS = 200
PARK_MS = 500


def run(stage: Stage) -> list[Fact]:
    pointers = stage.tally("stack-pointer-of-its-own",
                           "each thread of a process has a stack pointer of its own, which lies in its own stack")
    counters = stage.tally("program-counter-of-its-own",
                           "while one thread is parked in a handler and another one waits for events, their program "
                           "counters differ")
    restored = stage.tally("restored-after-switches",
                           f"after {REQUESTS} requests and the switches between them, a thread waits again at the "
                           "same place with the same stack pointer")
    for key in stage.repeated("threadpool", "hybrid", at_most=5):
        with stage.start(key) as server, to_every(server) as lines:
            _stack_pointers(stage, server, lines, pointers)
            _counters(lines[0], lines, counters)
            for line in lines:
                _restored(stage, line, restored)
    return [tally.fact(without=DENIED) for tally in (pointers, counters, restored)]


def _wait_until_asleep(line: Line) -> procfs.Registers | None:
    """The registers of a thread that waits in its event loop; None: they may not be read, or it never sleeps."""
    end_s = time.monotonic() + DEADLINE_S
    while procfs.shows_registers(line.pid, line.tid) and time.monotonic() < end_s:
        seen = procfs.registers(line.pid, line.tid)
        if seen is not None:
            return seen
        time.sleep(POLL_S)
    return None


def _stack_pointers(stage: Stage, server: Server, lines: list[Line], tally: StartTally) -> None:
    stage.say(f"{server.model.key}: /proc/PID/task/TID/syscall of every thread")
    seen: set[tuple[int, int]] = set()
    for line in lines:
        layout, registers = line.ask("/lab/layout"), _wait_until_asleep(line)
        if registers is None:
            continue
        inside = layout["stack_low"] <= registers.stack_pointer < layout["stack_low"] + layout["stack_bytes"]
        tally.note(inside and (line.pid, registers.stack_pointer) not in seen)
        seen.add((line.pid, registers.stack_pointer))
        stage.show(f"thread {line.tid}: system call {registers.call}, sp {registers.stack_pointer:#x}, "
                   f"pc {registers.program_counter:#x}")


def _counters(parked: Line, lines: list[Line], tally: StartTally) -> None:
    """Parked, not in /sleep: from glibc 2.41 on, every call that can be cancelled waits at the same instruction, as
    epoll_wait does, and two threads that stand at one place show nothing."""
    waiting = next(line for line in lines if line.pid == parked.pid and line is not parked)
    idle = _wait_until_asleep(parked)
    if idle is None:
        return
    parked.send(f"/lab/park?ms={PARK_MS}")
    there = _wait_until_elsewhere(parked, idle)
    other = _wait_until_asleep(waiting)
    is_parked = not parked.has_answer()
    parked.read_status()
    if there and other and is_parked:
        tally.note(there.program_counter != other.program_counter)


def _wait_until_elsewhere(line: Line, idle: procfs.Registers) -> procfs.Registers | None:
    """The registers of a thread as soon as it waits in another system call; None: not before it answered."""
    while not line.has_answer():
        seen = procfs.registers(line.pid, line.tid)
        if seen and seen.call != idle.call:
            return seen
    return None


def _restored(stage: Stage, line: Line, tally: StartTally) -> None:
    before, switches = _wait_until_asleep(line), _switches(line.tid)
    for _ in range(REQUESTS):
        line.ask_status("/plaintext")
    after, more = _wait_until_asleep(line), _switches(line.tid) - switches
    if before and after:
        tally.note(before == after and more >= REQUESTS / 2)
        stage.show(f"thread {line.tid}: {more} switches later sp {after.stack_pointer:#x}, pc "
                   f"{after.program_counter:#x}")


def _switches(tid: int) -> int:
    fields = procfs.status(tid)
    return int(fields["voluntary_ctxt_switches"]) + int(fields["nonvoluntary_ctxt_switches"])
