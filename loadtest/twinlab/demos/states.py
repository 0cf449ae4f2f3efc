"""The states of a process as ps shows them, on running servers: R, S, T, Z, and what becomes of orphans."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Iterator

from twinlab.base.observed import Fact
from twinlab.base.waiting import comes_true, wait_for
from twinlab.clients import http
from twinlab.demos.lines import Line, to_every
from twinlab.demos.stage import Stage, worker_pids
from twinlab.machine import host, processes, procfs

TITLE = "R, S, T and Z: running, sleeping, stopped, zombie, and what becomes of orphans"
CLAIMS = (55, 56, 57)
MEANING = ("Ready shows as R like running, so more R than CPUs is normal; S is who waits for something. A zombie is a "
           "number and an exit status until the parent asks for it. An orphan is adopted, goes on serving its port, "
           "and ends like any other process when it is asked to, unless it has asked the kernel to die with its "
           "parent, as the workers have.")

BUSY_US = 100_000
WORK_MS = 150


def run(stage: Stage) -> list[Fact]:
    return [*_running(stage), *_zombies(stage), _orphan_workers(stage), *_orphan(stage)]


def _running(stage: Stage) -> list[Fact]:
    idle = stage.tally("idle-is-S", "a worker without a request is in state S")
    ready = stage.tally("ready-shows-R",
                        "when each of more workers than there are CPUs computes, more are in state R than can run: "
                        "ready is R, not S")
    stopped = stage.tally("stopped-is-T", "a worker after SIGSTOP is in state T")
    workers = 2 * host.cpus() + 2
    stage.say(f"{workers} workers on {host.cpus()} CPUs: idle, all computing, and one stopped")
    for key in stage.repeated("prefork"):
        with stage.start(key, "--workers", str(workers)) as server, to_every(server) as lines:
            for line in lines:
                idle.note(comes_true(lambda: procfs.state(line.pid) == "S", 2.0))
            computing = _states_while_computing(lines)
            ready.note(computing.count("R") > host.cpus())
            stage.show(f"computing: {' '.join(computing)}")
            pid = lines[0].pid
            os.kill(pid, signal.SIGSTOP)
            stopped.note(comes_true(lambda: procfs.state(pid) == "T"))
            stage.show(procfs.status_lines(pid, "State"))
            os.kill(pid, signal.SIGCONT)
    return [idle.fact(), ready.fact(), stopped.fact()]


def _states_while_computing(lines: list[Line]) -> list[str]:
    """Of each worker, at the moment when most of them were in state R. Each has a request of its own to compute."""
    for line in lines:
        line.send(f"/cpu?us={BUSY_US}")
    most: list[str] = []
    while most.count("R") < len(lines) and not any(line.has_answer() for line in lines):
        most = max(most, [procfs.state(line.pid) or "?" for line in lines], key=lambda seen: seen.count("R"))
        time.sleep(0.005)
    for line in lines:
        line.read_status()
    return most


def _zombies(stage: Stage) -> list[Fact]:
    zombie = stage.tally("unreaped-is-Z",
                         "a worker that is killed while its master is stopped stays as a zombie, state Z")
    empty = stage.tally("zombie-keeps-pid-and-no-memory",
                        "the zombie has its pid and its parent's, but no memory and no command line")
    gone = stage.tally("zombie-goes-when-reaped", "once the master runs again, the zombie is gone")
    for key in stage.repeated("prefork"):
        with stage.start(key) as server:
            master, pid = server.status()["master_pid"], worker_pids(server)[0]
            os.kill(master, signal.SIGSTOP)
            try:
                os.kill(pid, signal.SIGKILL)
                zombie.note(comes_true(lambda: procfs.state(pid) == "Z"))
                fields = procfs.status(pid)
                empty.note(fields.get("Pid") == str(pid) and fields.get("PPid") == str(master) and "VmRSS" not in fields
                           and Path(f"/proc/{pid}/cmdline").read_bytes() == b"")
                stage.say(f"prefork: the master (pid {master}) is stopped, then worker {pid} is killed")
                stage.show(procfs.status_lines(pid, "State", "PPid", "VmRSS"))
            finally:
                os.kill(master, signal.SIGCONT)
            gone.note(comes_true(lambda: procfs.state(pid) is None))
    return [zombie.fact(), empty.fact(), gone.fact()]


def _orphan_workers(stage: Stage) -> Fact:
    tally = stage.tally("worker-dies-with-its-master",
                        "when the master is killed, its worker processes end as well, without a signal from anybody "
                        "but the kernel (PR_SET_PDEATHSIG)")
    for key in stage.repeated("prefork", "threadpool", "hybrid"):
        with stage.start(key) as server:
            master, pids = server.status()["master_pid"], worker_pids(server)
            os.kill(master, signal.SIGKILL)
            for pid in pids:
                tally.note(comes_true(lambda: procfs.state(pid) in (None, "Z")))
    return tally.fact()


def _orphan(stage: Stage) -> list[Fact]:
    adopted = stage.tally("orphan-is-adopted",
                          "a bare server (without a master) whose parent, a shell, is killed has another parent: init, "
                          "or a subreaper before it")
    serves = stage.tally("orphan-keeps-serving", "it has not asked to die with its parent, and goes on answering")
    ends = stage.tally("orphan-ends-normally",
                       "asked to end (SIGQUIT), it still answers the request that it has, ends, and is reaped by its "
                       "new parent: no zombie is left")
    ended: dict[object, tuple[int, bool]] = {}
    for shell in stage.repeated("sh"):
        with _child_of_a_shell(stage, shell) as (parent, pid, port):
            processes.kill_quietly(parent.pid)
            parent.wait()
            adopted.note(comes_true(lambda: procfs.parent(pid) not in (None, parent.pid)))
            serves.note(http.get(port, "/plaintext").status == 200)
            adopter = procfs.status(procfs.parent(pid) or 0).get("Name")
            stage.say(f"a bare thread pool (pid {pid}) whose parent {parent.pid} was killed: "
                      f"{procfs.status_lines(pid, 'PPid', 'State')}; the new parent is {adopter}")
            ended[parent] = pid, _ends_its_work(pid, port)
    for start, (pid, is_work_done) in ended.items():  # together: some inits reap every few seconds only
        ends.note(is_work_done and comes_true(lambda: procfs.state(pid) is None), start)
    return [adopted.fact(), serves.fact(), ends.fact()]


@contextlib.contextmanager
def _child_of_a_shell(stage: Stage, shell: str) -> Iterator[tuple[subprocess.Popen, int, int]]:
    """A server without a master (--bare) that a shell has started: the shell, the server's pid and its port."""
    out = stage.scratch() / "server.out"
    command = [str(stage.bin_dir / "threadpool-server"), "--bare", "--threads", "2", "--dispatch", "request",
               "--listen", "127.0.0.1:0", "--faults", "on"]
    parent = processes.spawn([shell, "-c", f"{shlex.join(command)} >{shlex.quote(str(out))} 2>&1 & exec sleep 60"])
    stage.note_start(parent)
    try:
        address = wait_for(lambda: _address_in(out), "the server listens")
        pid = next(child for child in procfs.children(parent.pid))
        yield parent, pid, int(address[1])
    finally:
        processes.stop(parent)


def _address_in(out: Path) -> re.Match[str] | None:
    first_line, end, _ = (out.read_text() if out.exists() else "").partition("\n")
    return re.search(r"http://127\.0\.0\.1:(\d+)", first_line) if end else None


def _ends_its_work(pid: int, port: int) -> bool:
    """Whether a server that is asked to end answers what it has begun, and then ends by itself."""
    with ThreadPoolExecutor(1) as pool:
        request = pool.submit(http.get, port, f"/lab/park?ms={WORK_MS}", 5.0)
        wait_for(lambda: _is_at_work(port), "the request has begun")
        os.kill(pid, signal.SIGQUIT)
        answered = request.result().status == 200
    return answered and comes_true(lambda: procfs.state(pid) in (None, "Z"))


def _is_at_work(port: int) -> bool:
    """Whether a thread of the pool is parked. There is no observer to ask: that takes a master."""
    return bool(http.get(port, "/lab/parked").json()["address"])
