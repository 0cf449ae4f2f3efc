"""The states of a process as ps shows them, on running servers: R, S, T, Z, and what becomes of orphans."""

import os
import re
import shlex
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from twinlab import http, machine, proc, procfs
from twinlab.demos.stage import Stage, comes_true, status, wait_for, worker_pids
from twinlab.facts import Fact, Tally

TITLE = "R, S, T and Z: running, sleeping, stopped, zombie, and what becomes of orphans"
CLAIMS = (55, 56, 57)
MEANING = ("Ready shows as R like running, so more R than CPUs is normal; S is who waits for something. A zombie is a "
           "number and an exit status until the parent asks for it. An orphan is adopted, and goes on serving its port "
           "unless it has asked the kernel to die with its parent, as the workers have.")

BUSY_US = 100_000


def run(stage: Stage) -> list[Fact]:
    return [*_running(stage), *_zombies(stage), _orphan_workers(stage), *_orphan(stage)]


def _running(stage: Stage) -> list[Fact]:
    idle = Tally("idle-is-S", "a worker without a request is in state S")
    ready = Tally("ready-shows-R", "when more workers compute than there are CPUs, more are in state R than can run: "
                                   "ready is R, not S")
    stopped = Tally("stopped-is-T", "a worker after SIGSTOP is in state T")
    cpus = machine.cpus()
    with stage.start("prefork", "--workers", str(2 * cpus + 2)) as server:
        pids = worker_pids(server)
        for pid in pids:
            idle.note(comes_true(lambda: procfs.state(pid) == "S", 2.0))
        with ThreadPoolExecutor(len(pids)) as pool:
            for _ in range(stage.repetitions):
                requests = [pool.submit(http.get, server.port, f"/cpu?us={BUSY_US}", 30.0) for _ in pids]
                most: list[str] = []
                while not all(request.done() for request in requests):
                    states = [procfs.state(pid) or "?" for pid in pids]
                    most = max(most, states, key=lambda seen: seen.count("R"))
                    time.sleep(0.005)
                ready.note(most.count("R") > cpus)
        stage.say(f"{len(pids)} workers on {cpus} CPUs: idle, all computing, and one stopped")
        stage.show(f"computing: {' '.join(most)}")
        for pid in pids[:3]:
            os.kill(pid, signal.SIGSTOP)
            stopped.note(comes_true(lambda: procfs.state(pid) == "T"))
            stage.show(procfs.status_lines(pid, "State"))
            os.kill(pid, signal.SIGCONT)
    return [idle.fact(), ready.fact(), stopped.fact()]


def _zombies(stage: Stage) -> list[Fact]:
    zombie = Tally("unreaped-is-Z", "a worker that is killed while its master is stopped stays as a zombie, state Z")
    empty = Tally("zombie-keeps-pid-and-no-memory", "the zombie has its pid and its parent's, but no memory and no "
                                                    "command line")
    gone = Tally("zombie-goes-when-reaped", "once the master runs again, the zombie is gone")
    with stage.start("prefork") as server:
        master = status(server)["master_pid"]
        for number in range(stage.repetitions):
            pid = worker_pids(server)[0]
            os.kill(master, signal.SIGSTOP)
            try:
                os.kill(pid, signal.SIGKILL)
                zombie.note(comes_true(lambda: procfs.state(pid) == "Z"))
                fields = procfs.status(pid)
                empty.note(fields.get("Pid") == str(pid) and fields.get("PPid") == str(master) and "VmRSS" not in fields
                           and Path(f"/proc/{pid}/cmdline").read_bytes() == b"")
                if number == 0:
                    stage.say(f"prefork: the master (pid {master}) is stopped, then worker {pid} is killed")
                    stage.show(procfs.status_lines(pid, "State", "PPid", "VmRSS"))
            finally:
                os.kill(master, signal.SIGCONT)
            gone.note(comes_true(lambda: procfs.state(pid) is None))
            wait_for(lambda: len(worker_pids(server)) == len(set(server.pids()) - {master}), "a successor")
    return [zombie.fact(), empty.fact(), gone.fact()]


def _orphan_workers(stage: Stage) -> Fact:
    tally = Tally("pdeathsig-ends-orphans", "workers whose master is killed end as well (PR_SET_PDEATHSIG)")
    for key in ("prefork", "threadpool", "hybrid"):
        with stage.start(key) as server:
            master, pids = status(server)["master_pid"], worker_pids(server)
            os.kill(master, signal.SIGKILL)
            for pid in pids:
                tally.note(comes_true(lambda: procfs.state(pid) in (None, "Z")))
    return tally.fact()


def _orphan(stage: Stage) -> list[Fact]:
    """A server without a master (--bare), as the child of a shell that is then killed."""
    adopted = Tally("orphan-is-adopted", "a process whose parent has died has another one: init, or a subreaper before "
                                         "it")
    serves = Tally("orphan-keeps-serving", "a process that has not asked to die with its parent goes on answering")
    for _ in range(3):
        out = stage.scratch() / "server.out"
        command = [str(stage.bin_dir / "threadpool-server"), "--bare", "--threads", "2", "--listen", "127.0.0.1:0"]
        parent = proc.spawn(["sh", "-c", f"{shlex.join(command)} >{shlex.quote(str(out))} 2>&1 & exec sleep 60"])
        try:
            line = wait_for(lambda: out.exists() and out.read_text().partition("\n")[0], "the orphan to be listens")
            pid = next(child for child in procfs.children(parent.pid))
            port = int(re.search(r"http://127\.0\.0\.1:(\d+)", line)[1])
            proc.kill_quietly(parent.pid)
            parent.wait()
            adopted.note(comes_true(lambda: procfs.parent(pid) not in (None, parent.pid)))
            serves.note(http.get(port, "/plaintext").status == 200)
            stage.say(f"a bare thread pool (pid {pid}) whose parent {parent.pid} was killed: "
                      f"{procfs.status_lines(pid, 'PPid', 'State')}")
        finally:
            proc.stop(parent)
    return [adopted.fact(), serves.fact()]
