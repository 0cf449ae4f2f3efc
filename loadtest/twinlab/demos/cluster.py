"""Several worker processes: more and fewer of them, all replaced, one dead, while clients go on."""

import os
import signal

from twinlab.base.observed import Fact
from twinlab.base.waiting import comes_true, wait_for
from twinlab.clients import wrk
from twinlab.demos.lines import to_every
from twinlab.demos.stage import (Stage, ask, connections, death_of, full_strength, is_answered, next_death,
                                 ready_workers, worker_pids)
from twinlab.demos.tally import StartTally
from twinlab.servers.server import Server

TITLE = "a cluster of worker processes: scale it, restart it, lose one, under load"
CLAIMS = (50,)
MEANING = ("Workers can be added, taken away and replaced one after the other, and no client notices; a dead one costs "
           "its own requests, and is replaced. The kernel shares connections among them as it comes, which is not "
           "evenly; servers that hand connections over to each other bound the difference.")

WORKERS = 4
PER_WORKER = 8
CONNECTIONS = WORKERS * PER_WORKER
UNEVEN_RATIO = 1.5


def run(stage: Stage) -> list[Fact]:
    return [*_managed(stage), *_gap(stage), *_balance(stage)]


def _managed(stage: Stage) -> list[Fact]:
    added = stage.tally("added-worker-serves", "after SIGTTIN there is a worker more, which answers requests")
    works = stage.tally("every-worker-shares-the-load", "under load each worker answers requests, the added one, too")
    removed = stage.tally("removed-without-an-error", "after SIGTTOU there is a worker less, and wrk reports no error")
    rolled = stage.tally("rolling-restart-loses-nothing",
                         "after SIGHUP every worker is a new process, and wrk reports no error")
    healed = stage.tally("death-is-made-good", "after SIGKILL to a worker the cluster is whole again")
    recoveries_ms: list[float] = []
    stage.say(f"prefork under wrk -c{CONNECTIONS}: SIGTTIN, SIGTTOU, SIGHUP, and SIGKILL to a worker")
    for key in stage.repeated("prefork"):
        with stage.start(key, "--rebalance", "on") as server:
            master, before = server.status()["master_pid"], worker_pids(server)
            os.kill(master, signal.SIGTTIN)
            new = wait_for(lambda: set(worker_pids(server)) - set(before), "a further worker")
            added.note(comes_true(lambda: ask(server, "/whoami")["pid"] in new))
            with _load(server) as load:
                works.note(_all_work(server))
                os.kill(master, signal.SIGTTOU)
                fewer = comes_true(lambda: len(server.pids()) == len(before) + 1)
                errors = load.finish().errors
            removed.note(fewer and not any(errors.values()))
            with _load(server) as load:
                _connected(server)
                old = set(worker_pids(server))
                os.kill(master, signal.SIGHUP)
                replaced = comes_true(lambda: not old & set(server.pids()))
                errors = load.finish().errors
            rolled.note(replaced and not any(errors.values()))
            recoveries_ms.append(_kill_one(server, healed))
    stage.show(f"death to successor ready: {', '.join(f'{ms:.2f} ms' for ms in recoveries_ms)}")
    return [added.fact(), works.fact(), removed.fact(), rolled.fact(), healed.fact()]


def _load(server: Server) -> wrk.Wrk:
    return wrk.Wrk(server.port, "/plaintext", CONNECTIONS, 5)


def _all_work(server: Server) -> bool:
    """Whether each worker answers more than it has answered before."""
    def handled() -> dict[int, int]:
        return {worker["slot"]: worker["requests_finished"] for worker in ready_workers(server)}
    before = handled()
    return comes_true(lambda: all(after > before.get(number, 0) for number, after in handled().items()))


def _connected(server: Server) -> None:
    wait_for(lambda: sum(connections(server)) >= CONNECTIONS, "wrk has connected")


def _kill_one(server: Server, tally: StartTally) -> float:
    before = full_strength(server)
    known = {death["pid"] for death in server.status()["deaths"]}
    os.kill(before[0], signal.SIGKILL)
    victim = next_death(server, known)
    after = full_strength(server, victim)
    tally.note(victim == before[0] and len(after) == len(before))
    return wait_for(lambda: death_of(server, victim)["recovery_ms"], "the recovery time")


def _gap(stage: Stage) -> list[Fact]:
    tally = stage.tally("siblings-answer-until-the-successor-is-there",
                        "while a killed worker has no successor (its master is stopped), the connections of all others "
                        "and new connections are answered")
    for key in stage.repeated("prefork"):
        with stage.start(key) as server, to_every(server) as lines:
            master = server.status()["master_pid"]
            os.kill(master, signal.SIGSTOP)
            try:
                os.kill(lines[0].pid, signal.SIGKILL)
                for line in lines[1:]:
                    tally.note(line.ask_status("/plaintext") == 200)
                for _ in lines:
                    tally.note(is_answered(server, "/plaintext"))
            finally:
                os.kill(master, signal.SIGCONT)
    return [tally.fact()]


def _balance(stage: Stage) -> list[Fact]:
    uneven = stage.tally("balance-is-uneven",
                         f"with rebalance off, of {CONNECTIONS} connections to {WORKERS} workers the busiest has at "
                         f"least {UNEVEN_RATIO} times as many as the idlest")
    bounded = stage.tally("rebalance-bounds-the-difference",
                          "with rebalance on, soon none has more than another one by more than an eighth and four, the "
                          "servers' own measure")
    stage.say(f"wrk -c{CONNECTIONS} to {WORKERS} workers: how many connections each has")
    seen: dict[str, list[str]] = {"off": [], "on": []}
    for rebalance in stage.repeated("off", "on"):
        with stage.start("prefork", "--workers", str(WORKERS), "--rebalance", rebalance) as server, _load(server):
            if rebalance == "off":
                shares = _shares(server)
                uneven.note(max(shares) >= UNEVEN_RATIO * max(1, min(shares)))
            else:
                bounded.note(comes_true(lambda: _is_bounded(_shares(server))))
            seen[rebalance].append("/".join(map(str, sorted(_shares(server), reverse=True))))
    details = {rebalance: ", ".join(each) for rebalance, each in seen.items()}
    for rebalance, detail in details.items():
        stage.show(f"rebalance {rebalance}: {detail}")
    return [uneven.fact(details["off"]), bounded.fact(details["on"])]


def _shares(server: Server) -> list[int]:
    """Connections of each worker once wrk has opened all of its own."""
    def look() -> list[int] | None:
        counts = connections(server)
        return counts if sum(counts) == CONNECTIONS else None
    return wait_for(look, "wrk has connected")


def _is_bounded(shares: list[int]) -> bool:
    return max(shares) <= min(shares) + min(shares) // 8 + 4
