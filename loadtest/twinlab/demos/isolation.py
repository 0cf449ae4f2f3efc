"""Who can reach whose memory: processes each other's, threads each other's stacks."""

import itertools

from twinlab.base.observed import Fact
from twinlab.base.waiting import wait_for
from twinlab.demos.lines import Line, to_every
from twinlab.demos.stage import Stage, death_of, end_by
from twinlab.machine import procfs

TITLE = "reading and writing what belongs to a sibling process, or to a sibling thread"
CLAIMS = (10, 12)
MEANING = ("A pointer reaches its own process only. Between processes the kernel must be asked, and it lets whoever "
           "could debug the other one. Between threads nobody is asked: their stacks lie at different addresses, but "
           "any thread can write to any of them. Separate, not protected.")

SECRET = 123_456
DATA_VALUE = 0x7477696E64617461  # before anybody has written to the variable
PARKED, CHANGED = 42, 77
OWN_KIB = 65_536


def run(stage: Stage) -> list[Fact]:
    return [*_between_processes(stage), _sandboxed(stage), *_between_threads(stage), _stack_of_a_process(stage)]


def _between_processes(stage: Stage) -> list[Fact]:
    own = stage.tally("pointer-finds-own-memory-only",
                      "a pointer to a sibling's secret finds the reader's own variable instead")
    unmapped = stage.tally("sibling-address-is-unmapped",
                           "what only the sibling has allocated is no address at all elsewhere")
    shared = stage.tally("shared-mapping-is-visible",
                         "what one worker process adds to MAP_SHARED memory, the others see")
    asked = stage.tally("process-vm-readv-reads-sibling",
                        "process_vm_readv(2) of the same user reads the sibling's secret")
    for key in stage.repeated("prefork"):
        with stage.start(key) as server, to_every(server) as lines:
            owner, *others = lines
            owner.ask(f"/lab/heap?kib={OWN_KIB}&keep_every=1")
            address = owner.ask("/lab/layout")["data"]
            far = procfs.heap(owner.pid)[1] - 4096
            owner.ask(f"/lab/poke?how=pointer&address={address}&value={SECRET}")
            stage.say(f"pid {owner.pid} keeps the secret {SECRET} in a global variable at {address:#x}; its siblings "
                      "try to read it")
            for other in others:
                mine = other.ask(f"/lab/peek?how=pointer&address={address}")
                own.note(mine["value"] == DATA_VALUE)
                nothing = other.ask(f"/lab/peek?address={far}")
                unmapped.note(nothing["error"] is not None and owner.ask(f"/lab/peek?address={far}")["error"] is None)
                read = other.ask(f"/lab/peek?address={address}&pid={owner.pid}")
                if read["error"] != "Operation not permitted":
                    asked.note(read["value"] == SECRET)
                before = owner.ask("/counter?mode=atomic&n=1")["shared"]
                shared.note(other.ask("/counter?mode=atomic&n=1")["shared"] == before + 1)
                stage.show(f"pid {other.pid}: *pointer = {mine['value']:#x}, address {far:#x}: {nothing['error']}, "
                           f"process_vm_readv: {read['value'] if read['error'] is None else read['error']}")
    return [own.fact(), unmapped.fact(), shared.fact(), asked.fact(without="this machine does not allow it (no ptrace "
                                                                           "between siblings)")]


def _sandboxed(stage: Stage) -> Fact:
    tally = stage.tally("seccomp-forbids-it", "with seccomp on, a worker that calls process_vm_readv(2) dies of SIGSYS")
    for key in stage.repeated("prefork"):
        with stage.start(key, "--seccomp", "on") as server:
            victim = end_by(server, "/lab/peek?address=0")
            tally.note(victim is not None and death_of(server, victim)["signal"] == "SIGSYS")
    return tally.fact()


def _between_threads(stage: Stage) -> list[Fact]:
    separate = stage.tally("thread-stacks-are-separate", "the stacks of two threads of a process do not overlap")
    written = stage.tally("thread-writes-sibling-stack",
                          "a thread changes a local variable of another one through a pointer, and the owner finds "
                          "the new value")
    for key in stage.repeated("threadpool"):
        with stage.start(key) as server, to_every(server) as lines:
            bounds = [(layout["stack_low"], layout["stack_low"] + layout["stack_bytes"])
                      for layout in (line.ask("/lab/layout") for line in lines)]
            for number, (low, high) in enumerate(bounds):
                for other_low, other_high in bounds[number + 1:]:
                    separate.note(high <= other_low or other_high <= low)
            stage.say("thread pool: a thread waits with a local variable, another one writes to it")
            for owner, writer in zip(lines, lines[1:]):
                after, address = _write_to_parked(owner, writer)
                written.note(after["before"] == PARKED and after["after"] == CHANGED)
            stage.show(f"thread {writer.tid} writes {CHANGED} to {address:#x}; thread {owner.tid}: my local was "
                       f"{after['before']}, is {after['after']}")
    return [separate.fact(), written.fact()]


def _write_to_parked(owner: Line, writer: Line) -> tuple[dict[str, int], int]:
    """Park one thread, and write to its local variable from another one."""
    owner.send("/lab/park?ms=5000")
    address: int = wait_for(lambda: writer.ask("/lab/parked")["address"], "a thread is parked")
    writer.ask(f"/lab/poke?how=pointer&address={address}&value={CHANGED}")
    return owner.read_json(), address


def _stack_of_a_process(stage: Stage) -> Fact:
    tally = stage.tally("process-does-not-write-sibling-stack",
                        "two threads of two processes wait with a local variable at the same address; who writes to "
                        "it changes that of its own process only")
    for key in stage.repeated("hybrid"):
        with stage.start(key) as server, to_every(server) as lines:
            twins = _twins(lines)
            if twins is None:
                continue
            first, second, writer = twins
            first.send("/lab/park?ms=300")
            after, address = _write_to_parked(second, writer)
            untouched = first.read_json()
            tally.note((untouched["after"], after["after"]) == (PARKED, CHANGED))
            stage.say(f"hybrid: pids {first.pid} and {second.pid} have a local variable each at {address:#x}; the "
                      "second is written to")
            stage.show(f"pid {first.pid}: {untouched['after']}   pid {second.pid}: {after['after']}")
    return tally.fact(without="no two threads of the two processes have their stack at the same address")


def _twins(lines: list[Line]) -> tuple[Line, Line, Line] | None:
    """Two threads of different processes with stacks at the same address, and another one of the second process."""
    stacks = {line: line.ask("/lab/layout")["stack_low"] for line in lines}
    for first, second in itertools.permutations(lines, 2):
        others = [line for line in lines if line.pid == second.pid and line is not second]
        if first.pid != second.pid and stacks[first] == stacks[second] and others:
            return first, second, others[0]
    return None
