"""How many threads the processes of each model have."""

import os

from twinlab.base.observed import Fact, Tally
from twinlab.demos.stage import Stage
from twinlab.machine import processes, procfs

TITLE = "every process has at least one thread"
CLAIMS = (46,)
MEANING = ("A process is what threads run in: a prefork worker has exactly one, the pool has many. Neither can do "
           "without. How many the others on a machine have differs from one to the next.")

FEWEST_PROCESSES = 3


def run(stage: Stage) -> list[Fact]:
    return [*_servers(stage), _machine(stage)]


def _servers(stage: Stage) -> list[Fact]:
    least = stage.tally("every-process-has-a-thread",
                        "each process of a server, the master too, has at least one thread, whose first has the "
                        "process's own number")
    single = stage.tally("prefork-worker-has-one-thread", "a prefork worker has no other thread")
    many = stage.tally("threadpool-has-many-threads", "a process of the thread pool or of the hybrid has several")
    for key in stage.repeated("prefork", "threadpool", "threadpool-request", "hybrid"):
        with stage.start(key) as server:
            stage.say(f"{key}: Threads in /proc/PID/status, and /proc/PID/task")
            master = server.status()["master_pid"]
            for pid in server.pids():
                tids = procfs.tids(pid)
                least.note(pid in tids and int(procfs.status(pid)["Threads"]) == len(tids) >= 1)
                if pid != master:
                    if key == "prefork":
                        single.note(len(tids) == 1)
                    else:
                        many.note(len(tids) > 1)
                role = "master" if pid == master else "serves"
                stage.show(f"pid {pid} ({role}): Threads {len(tids)}: {' '.join(map(str, tids))}")
    return [least.fact(), single.fact(), many.fact()]


def _machine(stage: Stage) -> Fact:
    """Here each process is a case: they have been started one by one, and not for this."""
    tally = Tally("process-of-this-machine-has-several-threads",
                  "a process that was running on this machine before, and is not the kernel's, has more than one "
                  "thread")
    counts = {pid: len(procfs.tids(pid)) for pid in processes.all_pids() if _is_of_the_machine(pid)}
    stage.say("the other processes of this machine, and their threads")
    stage.show("\n".join(f"pid {pid} ({procfs.status(pid).get('Name')}): {count}" for pid, count in counts.items()))
    if len(counts) >= FEWEST_PROCESSES:
        for count in counts.values():
            tally.note(count > 1)
    return tally.fact(without="hardly a process but the laboratory's own can be seen here")


def _is_of_the_machine(pid: int) -> bool:
    """Neither a kernel thread (without memory), nor the laboratory and who has started it, nor gone."""
    return "VmSize" in procfs.status(pid) and pid not in _laboratory()


def _laboratory() -> set[int]:
    """This process and its ancestors."""
    line, pid = set(), os.getpid()
    while pid:
        line.add(pid)
        pid = procfs.parent(pid) or 0
    return line
