"""Several worker processes: more and fewer of them, all replaced, one dead, while clients go on."""

import os
import signal

from twinlab import wrk
from twinlab.demos.stage import (Stage, ask, comes_true, connections, death_of, full_strength, next_death, status,
                                 wait_for, worker_pids)
from twinlab.facts import Fact, Tally
from twinlab.server import Server

TITLE = "a cluster of worker processes: scale it, restart it, lose one, under load"
CLAIMS = (50,)
MEANING = ("Workers can be added, taken away and replaced one after the other, and no client notices; a dead one costs "
           "its own requests, and is replaced. The kernel shares connections among them, though not evenly.")

CONNECTIONS = 32


def run(stage: Stage) -> list[Fact]:
    added = Tally("added-worker-serves", "after SIGTTIN there is a worker more, which answers requests")
    removed = Tally("removed-without-an-error", "after SIGTTOU there is a worker less, and wrk reports no error")
    rolled = Tally("rolling-restart-loses-nothing", "after SIGHUP every worker is a new process, and wrk reports no "
                                                    "error")
    healed = Tally("death-is-made-good", "after SIGKILL to a worker the cluster is whole again")
    uneven = Tally("balance-is-uneven", f"{CONNECTIONS} connections are not shared exactly evenly among the workers")
    recoveries_ms: list[float] = []
    for _ in range(stage.repetitions):
        with stage.start("prefork", "--rebalance", "on") as server:
            master, before = status(server)["master_pid"], worker_pids(server)
            os.kill(master, signal.SIGTTIN)
            new = wait_for(lambda: set(worker_pids(server)) - set(before), "a further worker")
            added.note(comes_true(lambda: ask(server, "/whoami")["pid"] in new))
            with wrk.Wrk(server.port, "/plaintext", CONNECTIONS, 5) as load:
                shares = _shares(server)
                uneven.note(max(shares) > min(shares))
                os.kill(master, signal.SIGTTOU)
                fewer = comes_true(lambda: len(server.pids()) == len(before) + 1)
                errors = load.finish().errors
            removed.note(fewer and not any(errors.values()))
            with wrk.Wrk(server.port, "/plaintext", CONNECTIONS, 5) as load:
                _shares(server)
                old = set(worker_pids(server))
                os.kill(master, signal.SIGHUP)
                replaced = comes_true(lambda: not old & set(server.pids()))
                errors = load.finish().errors
            rolled.note(replaced and not any(errors.values()))
            recoveries_ms.append(_kill_one(server, healed))
    stage.say(f"prefork under wrk -c{CONNECTIONS}: SIGTTIN, SIGTTOU, SIGHUP, and SIGKILL to a worker, "
              f"{stage.repetitions} times")
    stage.show(f"connections by worker: {', '.join(map(str, shares))}\n"
               f"death to successor ready: {', '.join(f'{ms:.2f} ms' for ms in recoveries_ms)}")
    return [added.fact(), removed.fact(), rolled.fact(), healed.fact(), uneven.fact(f"{min(shares)} to {max(shares)} each, the last time")]


def _shares(server: Server) -> list[int]:
    """Open connections of each worker, once wrk has opened all of its own."""
    def look() -> list[int] | None:
        counts = connections(server)
        return counts if sum(counts) > CONNECTIONS else None
    return wait_for(look, "wrk has connected")


def _kill_one(server: Server, tally: Tally) -> float:
    before = full_strength(server)
    known = {death["pid"] for death in status(server)["deaths"]}
    os.kill(before[0], signal.SIGKILL)
    victim = next_death(server, known)
    after = full_strength(server, victim)
    tally.note(victim == before[0] and len(after) == len(before))
    return wait_for(lambda: death_of(server, victim)["recovery_ms"], "the recovery time")
