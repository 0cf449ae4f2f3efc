"""Recursion without an end, and whom it takes along."""

from twinlab.base.observed import Fact
from twinlab.demos.lines import to_every
from twinlab.demos.stage import Stage, ask, death_of, end_by, full_strength, ready_workers, story_of
from twinlab.machine import procfs
from twinlab.servers.server import Server

TITLE = "a stack that overflows: one worker process, or every thread"
CLAIMS = (9,)
MEANING = ("A stack is a few megabytes with a page below it that nobody may touch. Who recurses deeper dies of "
           "SIGSEGV: in prefork one worker of many, in the thread pool all threads, for the signal ends the process.")

TOO_DEEP = 100_000  # frames of a kilobyte
DEEP_ENOUGH = 1_000


def run(stage: Stage) -> list[Fact]:
    kills_tally = stage.tally("deep-recursion-kills", f"{TOO_DEEP} nested calls of 1 KiB end the process with SIGSEGV")
    answers = stage.tally("shallow-recursion-answers",
                          f"{DEEP_ENOUGH} nested calls are answered, and took their megabyte of stack")
    one = stage.tally("prefork-loses-one-worker", "one worker process has a successor, all others live on")
    everyone = stage.tally("threadpool-loses-all-threads", "no thread of the pool lives on")
    for key in stage.repeated("prefork", "threadpool", "hybrid"):
        with stage.start(key) as server:
            stage.say(f"{key}: GET /lab/recurse?depth={TOO_DEEP}")
            before = _threads(server)
            used = ask(server, f"/lab/recurse?depth={DEEP_ENOUGH}")["stack_bytes"]
            answers.note(DEEP_ENOUGH * 1024 <= used < 2 * DEEP_ENOUGH * 1024)
            victim = end_by(server, f"/lab/recurse?depth={TOO_DEEP}")
            kills_tally.note(victim is not None and death_of(server, victim)["signal"] == "SIGSEGV")
            after = _threads(server)
            lost = before.keys() - after.keys()
            if key == "prefork":
                one.note(lost == {victim} and len(after) == len(before))
            elif key == "threadpool":
                everyone.note(len(lost) == len(before))
            story = story_of(server, victim or 0)
            stage.show(f"{story['signal']} ({story['code']}) at {story['address']}; {len(lost)} of {len(before)} "
                       "threads lost")
    return [kills_tally.fact(), answers.fact(), one.fact(), everyone.fact(), _guard(stage)]


def _threads(server: Server) -> dict[int, int]:
    """Every serving thread, with its process."""
    full_strength(server)
    return {worker["tid"]: worker["pid"] for worker in ready_workers(server)}


def _guard(stage: Stage) -> Fact:
    tally = stage.tally("guard-page-below-thread-stack",
                        "directly below the stack of each pool thread lies memory that nobody may touch")
    for key in stage.repeated("threadpool"):
        with stage.start(key) as server, to_every(server) as lines:
            for line in lines:
                layout, mappings = line.ask("/lab/layout"), procfs.maps(line.pid)
                stack = procfs.find(mappings, layout["stack"])
                below = procfs.find(mappings, stack.start - 1) if stack else None
                tally.note(below is not None and below.permissions.startswith("---"))
                if line is lines[0] and stack and below:
                    stage.say(f"the stack of thread {line.tid}, {layout['stack_bytes'] // 1024} KiB, and what lies "
                              "below it")
                    stage.show(f"{stack.line}\n{below.line}")
    return tally.fact()
