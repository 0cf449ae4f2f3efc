"""Numbers and signals: what a parent knows of its child, and what reaches whom."""

import ctypes
import os
import signal

from twinlab.base.observed import Fact
from twinlab.base.waiting import comes_true
from twinlab.demos.lines import Line, to_every
from twinlab.demos.stage import Stage, death_of, full_strength, next_death, ready_workers, worker_pids
from twinlab.machine import procfs
from twinlab.servers.server import Server

TITLE = "pid, ppid and tid, and how far a signal reaches"
CLAIMS = (53,)
MEANING = ("A process has a number of its own, knows its parent's, and the parent learns how it ended. But the number "
           "is no channel: it can be signalled, nothing more. Threads share one number, and a deadly signal to one of "
           "them is deadly to all.")

_LIBC = ctypes.CDLL(None, use_errno=True)


def run(stage: Stage) -> list[Fact]:
    return [*_processes(stage), *_threads(stage)]


def _processes(stage: Stage) -> list[Fact]:
    known = stage.tally("worker-has-own-pid-and-knows-its-parent",
                        "each worker process answers with a pid of its own and the master's as its parent's")
    learns = stage.tally("parent-learns-of-the-end",
                         "the master notes of what a worker died, whether signal or exit status")
    reaches = stage.tally("parent-signals-reach-the-child", "SIGTERM to the master ends every worker")
    spares = stage.tally("signal-to-one-worker-spares-others",
                         "SIGSTOP to one worker stops that one; the others run and answer")
    for key in stage.repeated("prefork"):
        with stage.start(key) as server:
            with to_every(server) as lines:
                master = server.status()["master_pid"]
                whos = [line.ask("/whoami") for line in lines]
                for who in whos:
                    known.note(who["ppid"] == master and [each["pid"] for each in whos].count(who["pid"]) == 1)
                stage.say("prefork: /whoami of each worker")
                stage.show("\n".join(f"pid {who['pid']}, ppid {who['ppid']}" for who in whos))
                for line in lines[:3]:
                    spares.note(_stop_and_ask_others(line.pid, [other for other in lines if other is not line]))
            for signum, name in ((signal.SIGKILL, "SIGKILL"), (signal.SIGABRT, "SIGABRT"), (signal.SIGSEGV, "SIGSEGV")):
                pid = full_strength(server)[0]
                os.kill(pid, signum)
                learns.note(death_of(server, pid)["signal"] == name)
            stage.show("the master's notes: " + ", ".join(f"pid {death['pid']} {death['signal']}"
                                                          for death in server.status()["deaths"]))
    for key in stage.repeated("prefork", "hybrid", "threadpool"):
        with stage.start(key) as server:
            workers = worker_pids(server)
            os.kill(server.status()["master_pid"], signal.SIGTERM)
            reaches.note(comes_true(lambda: not set(workers) & set(server.pids())))
    return [known.fact(), learns.fact(), reaches.fact(), spares.fact()]


def _stop_and_ask_others(pid: int, others: list[Line]) -> bool:
    """Whether the others answer while this worker is stopped."""
    os.kill(pid, signal.SIGSTOP)
    try:
        stopped = comes_true(lambda: procfs.state(pid) == "T")
        return stopped and all(other.ask("/whoami")["pid"] == other.pid and procfs.state(other.pid) != "T"
                               for other in others)
    finally:
        os.kill(pid, signal.SIGCONT)


def _threads(stage: Stage) -> list[Fact]:
    one_pid = stage.tally("threads-share-one-pid",
                          "all threads of the pool answer with the same pid, and each with its own tid")
    ends = stage.tally("signal-to-a-thread-ends-its-process",
                       "SIGSEGV sent to one thread (tgkill) ends all threads of its process")
    for key in stage.repeated("threadpool"):
        with stage.start(key) as server:
            with to_every(server) as lines:
                whos = [line.ask("/whoami") for line in lines]
            one_pid.note(len({who["pid"] for who in whos}) == 1 and len({who["tid"] for who in whos}) == len(whos))
            ends.note(_kill_thread(server, whos[-1]["pid"], whos[-1]["tid"]))
            stage.say("threadpool: /whoami of each thread; SIGSEGV to one of them")
            stage.show("\n".join(f"pid {who['pid']}, tid {who['tid']}" for who in whos))
            stage.show(f"threads now: {', '.join(str(worker['tid']) for worker in ready_workers(server))}")
    return [one_pid.fact(), ends.fact()]


def _kill_thread(server: Server, pid: int, tid: int) -> bool:
    """Whether no thread of the process outlives the signal to one."""
    before = set(procfs.tids(pid))
    known = {death["pid"] for death in server.status()["deaths"]}
    if _LIBC.tgkill(pid, tid, signal.SIGSEGV) != 0:
        return False
    victim = next_death(server, known)
    full_strength(server, victim)
    return victim == pid and not before & {worker["tid"] for worker in ready_workers(server)}
