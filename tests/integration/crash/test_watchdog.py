"""The watchdog: who is stuck is found, told and replaced, and who is only slow or paused is not."""

import os
import re
import signal
import threading
import time

import pytest

from support import models, processes, wrk
from support.client import ConnectionLost, request_bytes, wait_until_read
from support.server import SANITIZED
from support.waiting import DEADLINE_S, wait_until

pytestmark = [pytest.mark.models(models.SUPERVISED)]
STUCK_AFTER_MS = 2000 if SANITIZED else 1000
DRAIN_MS = 1500
OPTIONS = ("--faults", "on", "--stuck-after-ms", str(STUCK_AFTER_MS), "--drain-timeout-ms", str(DRAIN_MS))
FAULTS = pytest.mark.parametrize("fault, kind", [("hang", "spinning"), ("deadlock", "blocked")])
EACH_KIND = pytest.mark.models(models.EACH_KIND)
PREFORK = ("prefork", "prefork-reuseport")
THREADS = tuple(name for name in models.SUPERVISED if name not in PREFORK)


def line_of(fault):
    return f"GET /fault/{fault} HTTP/1.1"


def get_stuck(server, client, fault):
    """Makes the worker of this client stuck; returns the pid of its process."""
    victim = server.whoami(client)["pid"]
    client.send(request_bytes(target=f"/fault/{fault}"))
    return victim


def stuck_line(victim, kind, fault, client):
    return (rf"\[error\] .*watchdog: slot \d+ \(pid {victim}, thread \d+\) is stuck, {kind}: heartbeat \d+ ms "
            r"ago, in " + re.escape(f'"{line_of(fault)}" from {client.name}'))


def count_incidents(server):
    return server.status()["totals"]["stuck_incidents"]


@FAULTS
def test_who_is_stuck_is_told_and_replaced(model, start_server, fault, kind):
    server = start_server(model, *OPTIONS)
    with server.connect() as client:
        victim = get_stuck(server, client, fault)
        server.wait_for_log(stuck_line(victim, kind, fault, client))
        server.wait_for_log(rf"watchdog: pid {victim} thread \d+ \(slot \d+\): state \w")
        client.expect_close()
        death = server.wait_for_death(victim)
        assert (death["requests_lost"], death["in_progress"]) == (1, 1)
        request, = death["requests"]
        assert (request["line"], request["client"]) == (line_of(fault), client.name)
    server.wait_for_full_strength(without_pid=victim)
    assert server.get("/plaintext").status == 200
    totals = server.status()["totals"]
    assert (totals["stuck_incidents"], totals["deaths"], totals["requests_lost"]) == (1, 1, 1)
    wait_until(lambda: processes.zombie_children(server.pid) == [], "all that have ended are reaped")


@pytest.mark.models(PREFORK)
@FAULTS
def test_a_stuck_process_is_aborted(model, start_server, fault, kind):
    server = start_server(model, *OPTIONS)

    def is_aborted():
        """Where it has no CPU meanwhile, it is killed before it has ended by itself: the next one, then."""
        with server.connect() as client:
            victim = get_stuck(server, client, fault)
            death = server.wait_for_death(victim)
        if death["signal"] == "SIGKILL":
            server.wait_for_log(rf"killing process \d \(pid {victim}\), which has not ended in time")
            server.wait_for_full_strength(without_pid=victim)
            return None
        assert death["signal"] == "SIGABRT"
        return victim
    victim = wait_until(is_aborted, "a stuck process ends by the signal that aborts it")
    server.wait_for_log(rf"watchdog: aborting process \d \(pid {victim}\)")
    server.wait_for_log(rf"process \d \(pid {victim}, generation \d+\) was killed by SIGABRT \(by the watchdog\) after")


@pytest.mark.models(THREADS)
@FAULTS
def test_a_process_that_works_in_part_gets_its_successor_first(model, start_server, fault, kind):
    server = start_server(model, *OPTIONS)

    def is_seen():
        """Where this process has no CPU meanwhile, the old one has ended before it looks: with the next one, then."""
        with server.connect() as client:
            victim = get_stuck(server, client, fault)
            server.wait_for_log(rf"watchdog: replacing process \d \(pid {victim}\): 1 of its \d+ threads stuck")
            wait_until(lambda: victim not in server.worker_pids() or len(server.worker_pids()) == model.processes + 1,
                       "old and new are there together")
            together = not client.has_closed() and len(server.worker_pids()) == model.processes + 1
            assert server.wait_for_death(victim)["recovery_ms"] is None
        server.wait_for_full_strength(without_pid=victim)
        return together
    wait_until(is_seen, "old and new are seen together")


@EACH_KIND
@FAULTS
def test_report_only_reports(model, start_server, fault, kind):
    server = start_server(model, *OPTIONS, "--on-stuck", "report")
    with server.connect() as client:
        victim = get_stuck(server, client, fault)
        server.wait_for_log(stuck_line(victim, kind, fault, client))
        worker, = [one for one in server.status()["workers"] if one["stuck"]]
        assert (worker["pid"], worker["stuck"], worker["current"]) == (victim, kind, line_of(fault))
        assert worker["heartbeat_age_ms"] >= STUCK_AFTER_MS
        age_ms = worker["heartbeat_age_ms"]
        # Once for each incident, however long it takes.
        wait_until(lambda: next(one["heartbeat_age_ms"] for one in server.status()["workers"] if one["stuck"])
                   > age_ms + 3 * STUCK_AFTER_MS // 2, "it is stuck for much longer")
        assert count_incidents(server) == 1
        assert victim in server.worker_pids()
        assert not client.has_closed()


class Reader(threading.Thread):
    """A client that sees whether requests are answered while a worker is stuck."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server = server
        self.answered = 0
        self.failed = 0
        self._enough = threading.Event()

    def run(self):
        while not self._enough.is_set():
            try:
                self.answered += self.server.get("/plaintext").status == 200
            except (ConnectionLost, OSError):
                self.failed += 1

    def end(self):
        self._enough.set()
        self.join(DEADLINE_S)


@pytest.mark.models(models.ANY_WORKER_ACCEPTS[:-1])
def test_the_others_serve_meanwhile(model, start_server):
    server = start_server(model, *OPTIONS)

    def are_many_answered():
        """On a busy machine the stuck process may be gone before so many are: with the next one, then."""
        with server.connect() as client:
            victim = get_stuck(server, client, "deadlock")
            wait_until_read([client])
            reader = Reader(server)
            reader.start()
            server.wait_for_death(victim)
            reader.end()
        assert reader.failed == 0
        server.wait_for_full_strength(without_pid=victim)
        return reader.answered > 10
    wait_until(are_many_answered, "many are answered while one is stuck")


# Who is not stuck.

def assert_nobody_was_stuck(server):
    assert count_incidents(server) == 0
    assert "watchdog" not in server.log()


def test_a_slow_handler_is_not_stuck(model, start_server):
    server = start_server(model, *OPTIONS[:2], "--stuck-after-ms", "2000")
    with server.connect() as client:
        for _ in range(6):  # more than stuck_after_ms together
            assert client.get("/sleep?ms=400").status == 200
    assert_nobody_was_stuck(server)


@pytest.mark.models(THREADS)
def test_who_comes_back_in_time_has_lost_nothing(model, start_server):
    """Slower than stuck_after_ms: the process is replaced, but the request gets its answer."""
    server = start_server(model, *OPTIONS[:4], "--drain-timeout-ms", "60000")
    sleeps_ms = []
    with server.connect() as client:
        victim = server.whoami(client)["pid"]

        def is_replaced():
            """A master that has no CPU meanwhile finds nobody: then it gets more time."""
            sleeps_ms.append(min(2 * sleeps_ms[-1], 24000) if sleeps_ms else 3 * STUCK_AFTER_MS)
            assert client.get(f"/sleep?ms={sleeps_ms[-1]}").status == 200
            return re.search(rf"watchdog: replacing process \d \(pid {victim}\)", server.log())
        wait_until(is_replaced, "the process is replaced")
    wait_until(lambda: victim not in server.worker_pids(), "the old process has ended")
    totals = server.status()["totals"]
    incidents = len(re.findall(rf"slot \d+ \(pid {victim}, thread \d+\) is stuck, ", server.log()))
    assert 1 <= incidents <= len(sleeps_ms)
    assert (totals["stuck_incidents"], totals["deaths"], totals["requests_lost"]) == (incidents, 0, 0)


@EACH_KIND
def test_it_can_be_switched_off(model, start_server):
    server = start_server(model, *OPTIONS[:2], "--stuck-after-ms", "off")
    with server.connect() as client:
        assert client.get(f"/sleep?ms={3 * STUCK_AFTER_MS}").status == 200
    assert_nobody_was_stuck(server)


def pause(pid):
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: processes.read_process(pid).state == "T", "it is stopped")


def heartbeat_age_ms(server, pid):
    return max(worker["heartbeat_age_ms"] for worker in server.status()["workers"] if worker["pid"] == pid)


def wait_ms(ms):
    """Lets time go by: that nothing happens in it is what is tested."""
    threading.Event().wait(ms / 1000)


@EACH_KIND
def test_a_master_that_was_paused_takes_nobody_for_stuck(model, start_server):
    server = start_server(model, *OPTIONS)
    pids = server.worker_pids()
    pause(server.pid)
    wait_ms(2 * STUCK_AFTER_MS)
    os.kill(server.pid, signal.SIGCONT)
    wait_ms(2 * STUCK_AFTER_MS)
    assert_nobody_was_stuck(server)
    assert server.worker_pids() == pids


@EACH_KIND
def test_a_server_that_was_paused_as_a_whole_goes_on(model, start_server):
    def try_once():
        """Where this process has no CPU while it wakes them, the master rightly tells who is stopped: once more."""
        server = start_server(model, *OPTIONS)
        pids = server.worker_pids()
        for pid in (server.pid, *pids):
            pause(pid)
        wait_ms(2 * STUCK_AFTER_MS)
        start = time.monotonic()
        for pid in (server.pid, *pids):  # the master first: it sees heartbeats that are old
            os.kill(pid, signal.SIGCONT)
        if (time.monotonic() - start) * 1000 > STUCK_AFTER_MS / 4:
            return False
        wait_ms(2 * STUCK_AFTER_MS)
        assert_nobody_was_stuck(server)
        assert server.worker_pids() == pids
        return True
    wait_until(try_once, "all are woken at once")


@EACH_KIND
def test_a_stopped_worker_is_told_apart(model, start_server):
    server = start_server(model, *OPTIONS)
    pids = server.worker_pids()
    pause(pids[0])
    server.wait_for_log(rf"\[warn\] .*watchdog: slot \d+ \(pid {pids[0]}, thread \d+\) is stopped by a signal")
    wait_ms(2 * STUCK_AFTER_MS)
    os.kill(pids[0], signal.SIGCONT)
    wait_until(lambda: not any(worker["stuck"] for worker in server.status()["workers"]), "it goes on")
    wait_ms(2 * STUCK_AFTER_MS)
    assert server.worker_pids() == pids
    assert count_incidents(server) == 0


@pytest.mark.serial
@pytest.mark.slow
@pytest.mark.skipif(SANITIZED, reason="times under a sanitizer say nothing")
@EACH_KIND
def test_nobody_is_stuck_under_load(model, start_server):
    server = start_server(model, *OPTIONS)
    pids = server.worker_pids()
    result = wrk.run(server.url + "/hello.txt", duration_s=2 * STUCK_AFTER_MS // 1000)
    assert result.requests > 0
    assert_nobody_was_stuck(server)
    assert server.worker_pids() == pids
