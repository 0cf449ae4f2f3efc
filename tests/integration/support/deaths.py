"""Deaths of all that serves, and what the books say of them."""

import contextlib
import os
import signal

from support import processes
from support.waiting import wait_until

KINDS = {"connections", "lost", "repeated", "resumed", "skipped", "refused_500", "refused_502"}


def kill_all(server):
    """Kills what serves, and waits until others have gone on."""
    before = server.worker_pids()
    told = server.log().count("goes on with")
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not set(before) & set(server.worker_pids()), "the dead are gone")
    server.wait_for_full_strength()
    wait_until(lambda: server.log().count("goes on with") >= told + server.model.processes * server.model.loops,
               "each loop has gone on")


def freeze_all(server):
    """Stops what serves in the middle of what it does: it notices nothing more before it is killed."""
    for pid in server.worker_pids():
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: all(processes.read_process(pid).state == "T" for pid in server.worker_pids()), "all stand still")


@contextlib.contextmanager
def unnoticed(server):
    """What happens within, no process notices before it dies; others have gone on at the end."""
    freeze_all(server)
    yield
    kill_all(server)


def sum_of(deaths):
    return {kind: sum(death["adoption"][kind] for death in deaths) for kind in KINDS}


def check_balance(server):
    """At rest each request that was started is finished, aborted or lost; but for the one that asks. Until then a
    successor may count between the writing of the totals and that of the deaths."""
    def is_balanced():
        status = server.status()
        totals, deaths = status["totals"], status["deaths"]
        settled = totals["requests_finished"] + totals["requests_aborted"] + totals["in_progress_lost"]
        return (totals["requests_lost"] == sum(death["requests_lost"] for death in deaths)
                and totals["adoption"] == sum_of([death for death in deaths if death["left_to_successor"]])
                and totals["in_progress_lost"] == sum(death["in_progress_lost"] for death in deaths)
                and totals["requests_started"] == settled)
    wait_until(is_balanced, "what was started is settled, and the totals are the sums of the deaths")
