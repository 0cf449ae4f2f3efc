"""The tree of processes: what the death of a leaf costs, and what that of the root."""

import errno
import os
import signal
import socket

from twinlab.base.observed import Fact
from twinlab.base.waiting import comes_true
from twinlab.demos.stage import Stage, full_strength, next_death, worker_pids
from twinlab.machine import procfs
from twinlab.servers.server import Server

TITLE = "the process tree: kill a worker, then kill the master"
CLAIMS = (52,)
MEANING = ("A worker's death stays its own. The master's death is the serious case: the workers end with it, so that "
           "nothing serves unsupervised, and the port is free for whoever starts the server again (systemd, a "
           "container's runtime).")


def run(stage: Stage) -> list[Fact]:
    root = stage.tally("master-is-parent-of-all", "the parent of each serving process is the master")
    leaf = stage.tally("worker-death-spares-siblings", "SIGKILL to one worker leaves its siblings and the master alive")
    end = stage.tally("master-death-ends-all",
                      "SIGKILL to the master ends every process of the server, and nobody listens any more")
    for key in stage.repeated("prefork", "hybrid", "threadpool"):
        with stage.start(key) as server:
            master, pids = server.status()["master_pid"], worker_pids(server)
            for pid in pids:
                root.note(procfs.parent(pid) == master)
            stage.say(f"{key}: the tree, then SIGKILL to a worker (where there are siblings), then to the master")
            stage.show("\n".join([f"{master} master", *(f"  +- {pid} worker, {len(procfs.tids(pid))} thread(s)"
                                                        for pid in pids)]))
            if len(pids) > 1:
                os.kill(pids[0], signal.SIGKILL)
                next_death(server, set())
                leaf.note(set(pids[1:]) <= set(full_strength(server, pids[0])) and server.is_running())
            os.kill(master, signal.SIGKILL)
            end.note(comes_true(lambda: not server.pids()) and comes_true(lambda: _is_refused(server)))
    return [root.fact(), leaf.fact(), end.fact()]


def _is_refused(server: Server) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", server.port), 1.0):
            return False
    except OSError as error:
        return error.errno == errno.ECONNREFUSED
