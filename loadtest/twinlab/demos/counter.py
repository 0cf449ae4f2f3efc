"""One counter in each process, one that all share, and what happens without a lock."""

import sys
from concurrent.futures import ThreadPoolExecutor

from twinlab.base.observed import Fact
from twinlab.demos.lines import Line, to_every
from twinlab.demos.stage import Stage
from twinlab.machine import processes

TITLE = "counting together: private memory, shared memory, threads, with and without a lock"
CLAIMS = (19, 39, 40)
MEANING = ("Processes count together only in memory that they have mapped for it; threads do so by themselves. Either "
           "way an increment without a lock is lost now and then, and with one never. What is private needs no lock. "
           "Python's interpreter runs one thread at a time and changes over between two rounds of a loop: there, the same "
           "mistake may come out right.")

STEPS = 1_000_000
LOCKED_STEPS = 7_000  # they take longer
TIMES = 60
PYTHON_SUM = 500_000
PYTHON_EXAMPLE = """
import threading
counter = 0
def add():
    global counter
    for _ in range(100_000):
        counter += 1
threads = [threading.Thread(target=add) for _ in range(5)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(counter)
"""


def run(stage: Stage) -> list[Fact]:
    return [*_who_counts_together(stage), *_locks(stage), _in_python(stage)]


def _count(lines: list[Line], mode: str, steps: int) -> list[dict[str, int]]:
    """Every worker adds that much, all at the same time; what each saw last."""
    def add(line: Line) -> dict[str, int]:
        return [line.ask(f"/counter?mode={mode}&n={steps}") for _ in range(TIMES)][-1]
    with ThreadPoolExecutor(len(lines)) as pool:
        return list(pool.map(add, lines))


def _who_counts_together(stage: Stage) -> list[Fact]:
    diverge = stage.tally("process-counters-diverge",
                          "each worker process counts its own increments only, in a plain variable")
    together = stage.tally("threads-count-together",
                           "the threads of a process count in one variable, up to the sum of all")
    shared = stage.tally("shared-memory-counts-together",
                         "worker processes count in one variable of MAP_SHARED memory, up to the sum of all")
    for key in stage.repeated("prefork", "threadpool"):
        with stage.start(key) as server, to_every(server) as lines:
            stage.say(f"{key}: each of {len(lines)} workers adds a number of its own to both counters")
            total = 0
            for number, line in enumerate(lines, 1):
                total += number
                line.ask(f"/counter?mode=atomic&n={number}")
            for number, line in enumerate(lines, 1):
                seen = line.ask("/counter?mode=atomic&n=0")
                if key == "prefork":
                    diverge.note(seen["process"] == number)
                    shared.note(seen["shared"] == total)
                else:
                    together.note(seen["process"] == total)
                stage.show(f"slot {seen['slot']} (pid {seen['pid']}): of this process {seen['process']}, of all "
                           f"{seen['shared']}")
    return [diverge.fact(), together.fact(), shared.fact()]


def _locks(stage: Stage) -> list[Fact]:
    threads = stage.tally("unlocked-threads-lose",
                          "threads that increment a common counter without a lock lose increments")
    between = stage.tally("unlocked-shared-memory-loses",
                          "processes that increment a counter in shared memory without a lock lose increments")
    private = stage.tally("unlocked-private-counter-exact",
                          "without a lock, the counter that a process has for itself is exact")
    exact = {mode: stage.tally(f"{mode}-exact",
                               f"with {mode}, not one increment is lost, between threads and between processes")
             for mode in ("mutex", "atomic")}
    lost_percent: dict[str, list[float]] = {"prefork": [], "threadpool": []}
    stage.say(f"all workers add {TIMES} times {STEPS:,} at the same time")
    for key in stage.repeated("prefork", "threadpool"):
        with stage.start(key) as server, to_every(server) as lines:
            expected = len(lines) * TIMES * STEPS
            seen = _count(lines, "none", STEPS)
            found = lines[0].ask("/counter?mode=none&n=0")["shared"]
            (between if key == "prefork" else threads).note(found < expected)
            lost_percent[key].append(100 - found / expected * 100)
            if key == "prefork":
                for each in seen:
                    private.note(each["process"] == TIMES * STEPS)
        for mode, tally in exact.items():
            with stage.start(key) as server, to_every(server) as lines:
                _count(lines, mode, LOCKED_STEPS)
                tally.note(lines[0].ask(f"/counter?mode={mode}&n=0")["shared"] == len(lines) * TIMES * LOCKED_STEPS)
    details = {key: f"lost {min(shares):.1f} to {max(shares):.1f} %" for key, shares in lost_percent.items()}
    stage.show("without a lock: " + ", ".join(f"{key} {detail}" for key, detail in details.items()))
    return [threads.fact(details["threadpool"]), between.fact(details["prefork"]), private.fact(),
            *(tally.fact() for tally in exact.values())]


def _in_python(stage: Stage) -> Fact:
    exact = stage.tally("python-example-exact", "five threads of a Python program that count to 100,000 each, without a "
                                                "lock and started one by one, come to 500,000")
    sums = []
    for _ in stage.repeated("python"):
        stage.note_start(object())
        status, output = processes.run([sys.executable, "-c", PYTHON_EXAMPLE])
        sums.append(int(output) if status == 0 else 0)
        exact.note(sums[-1] == PYTHON_SUM)
        stage.say(f"Python {sys.version.split()[0]}: five threads count to 100,000 each, without a lock: {sums[-1]:,}")
    return exact.fact(f"{min(sums):,} to {max(sums):,}")
