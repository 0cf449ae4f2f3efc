"""Each thread has its own program counter and stack pointer, which switches between threads keep."""

import time

from twinlab import procfs
from twinlab.demos.lines import Line, to_every
from twinlab.demos.stage import Stage
from twinlab.demos.tally import StartTally
from twinlab.facts import Fact
from twinlab.server import Server

TITLE = "registers: a program counter and a stack pointer for each thread"
CLAIMS = (13,)
MEANING = ("The kernel shows for each sleeping thread where it stands and on which stack. The values differ from "
           "thread to thread, and after thousands of switches each finds its own again.")

DENIED = "/proc/PID/task/TID/syscall may not be read here"
REQUESTS = 200


def run(stage: Stage) -> list[Fact]:
    pointers = stage.tally("stack-pointer-of-its-own",
                           "each thread of a process has a stack pointer of its own, which lies in its own stack")
    counters = stage.tally("program-counter-of-its-own",
                           "while one thread sleeps in a handler and another one waits for events, their program "
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
    """The registers of a thread that waits in its event loop."""
    for _ in range(100):
        seen = procfs.registers(line.pid, line.tid)
        if seen is not None:
            return seen
        time.sleep(0.002)
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


def _counters(sleeper: Line, lines: list[Line], tally: StartTally) -> None:
    waiting = next(line for line in lines if line.pid == sleeper.pid and line is not sleeper)
    idle = _wait_until_asleep(sleeper)
    sleeper.send("/sleep?ms=100")
    end_s = time.monotonic() + 2
    there = None
    while time.monotonic() < end_s:
        there = procfs.registers(sleeper.pid, sleeper.tid)
        if there and idle and there.call != idle.call:
            break
    other = _wait_until_asleep(waiting)
    sleeper.read_status()
    if idle and there and other:
        tally.note(there.program_counter != other.program_counter)


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
