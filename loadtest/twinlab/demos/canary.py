"""One worker process replaced while the others go on: a canary. A thread pool has nothing smaller than itself."""

import json

from twinlab.base.errors import LabError
from twinlab.base.observed import Fact
from twinlab.base.waiting import wait_for
from twinlab.clients import wrk
from twinlab.demos.stage import Stage, connections
from twinlab.machine import processes, procfs
from twinlab.servers.server import Server

TITLE = "replace one part and leave the others alone"
CLAIMS = (51,)
MEANING = ("One worker process can be changed for a new one, which could be a new version, while its siblings keep "
           "their processes and their memory. The thread pool is one process: it is replaced whole, though its clients "
           "do not notice that either.")

CONNECTIONS = 16


def run(stage: Stage) -> list[Fact]:
    alone = stage.tally("one-worker-replaced-others-stay",
                        "prefork: the recycled worker has a successor, all others are the same processes as before")
    whole = stage.tally("threadpool-is-replaced-whole", "thread pool: no thread is left of those before")
    unnoticed = stage.tally("nobody-notices", "wrk reports no error meanwhile")
    for key in stage.repeated("prefork", "threadpool"):
        control = str(stage.scratch() / "control")
        with stage.start(key, "--rebalance", "on", "--control", control) as server:
            before = _threads(stage, control)
            with wrk.Wrk(server.port, "/plaintext", CONNECTIONS, 5) as load:
                wait_for(lambda: sum(connections(server)) >= CONNECTIONS, "wrk has connected")
                _twinctl(stage, control, "recycle", "0")
                wait_for(lambda: before[0].isdisjoint(_tids_of(server)), "the old process is gone")
                errors = load.finish().errors
            after = _threads(stage, control)
            unnoticed.note(not any(errors.values()))
            stayed = [number for number in before if before[number] == after.get(number)]
            if key == "prefork":
                alone.note(len(after) == len(before) == len(stayed) + 1 and 0 not in stayed)
            else:
                whole.note(not stayed and before[0].isdisjoint(after[0]))
            stage.say(f"{key}: twinctl recycle 0 under wrk -c{CONNECTIONS}")
            stage.show(f"threads of each process before {_listed(before)}\n"
                       f"threads of each process after  {_listed(after)}\n" + _twinctl(stage, control, "list"))
    return [alone.fact(), whole.fact(), unnoticed.fact()]


def _threads(stage: Stage, control: str) -> dict[int, set[int]]:
    """The threads of each process, by the process's number, once all of them serve."""
    def look() -> dict[int, set[int]] | None:
        listed = json.loads(_twinctl(stage, control, "--json", "list"))["processes"]
        if any(process["state"] != "ready" for process in listed):
            return None
        return {process["number"]: {thread["tid"] for thread in process["threads"]} for process in listed}
    return wait_for(look, "every process serves")


def _tids_of(server: Server) -> set[int]:
    return {tid for pid in server.pids() for tid in procfs.tids(pid)}


def _listed(threads: dict[int, set[int]]) -> str:
    return "  ".join(f"{number}: {','.join(map(str, sorted(threads[number])))}" for number in sorted(threads))


def _twinctl(stage: Stage, control: str, *command: str) -> str:
    code, output = processes.run([str(stage.bin_dir / "twinctl"), "--control", control, *command])
    if code != 0:
        raise LabError(f"twinctl {' '.join(command)}: {output.strip()}")
    return output
