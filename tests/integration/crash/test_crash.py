"""Death of a worker, a request, or the master: what it costs, and what goes on."""

import os
import re
import signal
import statistics
import subprocess
import threading
import time
from pathlib import Path

import pytest

from support import models, processes, server as servers, wrk
from support.client import ConnectionLost, request_bytes, wait_until_connections
from support.kernel_sockets import server_ends
from support.waiting import DEADLINE_S, LATENESS_S, wait_until

SUPERVISED = pytest.mark.models(models.SUPERVISED)
SEVERAL_PROCESSES = pytest.mark.models(("prefork", "hybrid", "hybrid-request"))
CONNECTIONS = 16
LOST_LINE = (r"\[(?:notice|warn|error)\] .*process \d+ \(pid {pid}, generation {generation}\) {what} after"
             r" \d+\.\d+ s: {lost} requests? lost")
IDLE_AFTER_S = 1.0
READY_LINE = r"\[notice\] .*process \d+ \(pid {pid}, generation {generation}\) is ready"


def kill(pid):
    os.kill(pid, signal.SIGKILL)


def connect_many(server, count=CONNECTIONS):
    """Connections that were each just answered: (client, pid of its worker process)."""
    clients = [server.connect() for _ in range(count)]
    return [(client, server.whoami(client)["pid"]) for client in clients]


def wait_until_asleep(pid):
    """Waits until no thread of the process runs. A connection that the kernel does not show any more may still stand in
    the books of whoever has just closed it."""
    def are_asleep():
        stats = Path(f"/proc/{pid}/task").glob("*/stat")
        return all(stat.read_text().rpartition(")")[2].split()[0] == "S" for stat in stats)
    wait_until(are_asleep, f"all threads of {pid} wait for something")


def is_cut(client):
    """True when the server's end of the connection is gone."""
    try:
        client.get("/plaintext")
    except (ConnectionLost, OSError):
        return True
    return False


class Prober(threading.Thread):
    """An ordinary client: asks on a new connection again and again, and notes what it sees."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server = server
        self.answered = 0
        self.refused = 0
        self.cut = 0
        self._enough = threading.Event()

    def run(self):
        while not self._enough.is_set():
            try:
                self.answered += self.server.get("/plaintext").status == 200
            except ConnectionRefusedError:
                self.refused += 1
            except (ConnectionLost, OSError):
                self.cut += 1

    def __enter__(self):
        self.start()
        wait_until(lambda: self.answered, "the first answer")
        return self

    def __exit__(self, *_):
        self._enough.set()
        self.join(DEADLINE_S)

    def wait_for_answers(self, count):
        goal = self.answered + count
        wait_until(lambda: self.answered >= goal, f"{count} more answers")


# kill -9 of a worker.

@SUPERVISED
def test_kill_of_a_worker_is_accounted(model, start_server):
    server = start_server(model, "--rebalance", "off")  # who has a connection keeps it
    start = time.monotonic()
    connections = connect_many(server)
    victim = connections[0][1]
    kill(victim)
    death = server.wait_for_death(victim)
    lasted_s = time.monotonic() - start

    mine = [client for client, pid in connections if pid == victim]
    others = [client for client, pid in connections if pid != victim]
    assert (death["cause"], death["signal"], death["exit_status"]) == ("signal", "SIGKILL", None)
    # An answer that we have may not be booked yet: then it still counts as in progress. And on a
    # machine so busy that almost a second went by, connections may have become idle.
    assert death["in_progress"] <= 1
    assert death["in_progress"] + death["awaited"] + death["idle_cut"] == len(mine)
    assert death["idle_cut"] == 0 or lasted_s > 0.9 * IDLE_AFTER_S
    assert death["requests_lost"] == death["in_progress"] + death["awaited"]
    assert death["generation"] >= 1
    assert all(is_cut(client) for client in mine)
    assert not any(is_cut(client) for client in others)

    server.wait_for_full_strength(without_pid=victim)
    server.wait_for_log(LOST_LINE.format(pid=victim, generation=death["generation"],
                                         what="was killed by SIGKILL",
                                         lost=death["requests_lost"]))
    wait_until(lambda: processes.zombie_children(server.pid) == [], "all that have ended are reaped")


@SUPERVISED
def test_a_successor_serves(model, start_server):
    server = start_server(model)
    with server.connect() as client:
        before = server.whoami(client)
    kill(before["pid"])
    server.wait_for_full_strength(without_pid=before["pid"])
    status = server.status()
    place = status["workers"][before["slot"]]["process"]
    successors = [w for w in status["workers"] if w["process"] == place]
    assert len(successors) == model.slots // model.processes
    assert len({w["pid"] for w in successors}) == 1
    assert all(w["generation"] > before["generation"] for w in successors)
    assert all(w["deaths"] == 1 for w in successors)
    assert status["generation"] == max(w["generation"] for w in successors)
    assert status["totals"]["deaths"] == 1
    assert server.wait_for_recovery_ms(before["pid"]) > 0
    pid, generation = successors[0]["pid"], successors[0]["generation"]
    server.wait_for_log(READY_LINE.format(pid=pid, generation=generation)
                        + r" \d+\.\d+ ms after the death of its predecessor")
    if not model.accepts_anywhere or model.processes == 1:
        def answered_by_successor():
            with server.connect() as client:
                return server.whoami(client)["pid"] == pid
        wait_until(answered_by_successor, "the successor answers")


@SUPERVISED
def test_idle_connections_are_cut_but_nothing_is_lost(model, start_server):
    server = start_server(model, "--rebalance", "off")
    connections = connect_many(server, 5)

    def are_idle():
        totals = server.status()["totals"]
        return (totals["connections_idle"], totals["connections_open"]) == (5, 5)
    wait_until(are_idle, "the connections are idle")
    wait_until_connections(server.address[1], 5)
    victim = connections[0][1]
    wait_until_asleep(victim)
    kill(victim)
    death = server.wait_for_death(victim)
    assert death["idle_cut"] == [pid for _, pid in connections].count(victim)
    assert death["requests_lost"] == 0


def unread_bytes(server, client):
    port = client.socket.getsockname()[1]
    return sum(end.unread_bytes for end in server_ends(server.address[1])
               if end.client_port == port)


@SUPERVISED
def test_the_request_in_progress_is_named(model, start_server):
    server = start_server(model)
    line = "GET /sleep?ms=59999 HTTP/1.1"
    with server.connect() as client:
        victim = server.whoami(client)["pid"]
        client.send(request_bytes(target="/sleep?ms=59999"))
        # Not before that: who is answered by the same loop and leaves just then would stay open in
        # its books.
        wait_until(lambda: unread_bytes(server, client) == 0, "the request is read")
        wait_until(lambda: server.is_running(line), "the request is in progress")
        if model.accepts_anywhere:  # else others asked for the status may wait for the victim
            wait_until_connections(server.address[1], 1)
        wait_until_asleep(victim)
        kill(victim)
        death = server.wait_for_death(victim)
        client.expect_close()
        assert (death["in_progress"], death["awaited"], death["requests_lost"]) == (1, 0, 1)
        request, = death["requests"]
        assert (request["line"], request["client"]) == (servers.shown_line(line), client.name)
        server.wait_for_log(r"in progress in slot \d+: " + re.escape(f'"{line}" from '
                                                                       f"{client.name}"))


@SUPERVISED
def test_totals_survive_a_death(model, start_server):
    server = start_server(model)
    with server.connect() as client:
        for _ in range(100):
            client.get("/plaintext")
        victim = server.whoami(client)["pid"]
    kill(victim)
    server.wait_for_death(victim)
    totals = server.status()["totals"]
    assert totals["requests_started"] >= 101
    assert totals["connections_accepted"] >= 1
    assert totals["deaths"] == 1


@SUPERVISED
def test_no_connection_is_refused_during_deaths(model, start_server):
    server = start_server(model)
    with Prober(server) as prober:
        for _ in range(3):
            victim = server.worker_pids()[0]
            kill(victim)
            server.wait_for_full_strength(without_pid=victim)
            prober.wait_for_answers(20)
    assert prober.refused == 0


def test_the_bare_threadpool_dies_as_a_whole(start_server):
    chosen = models.selected(("threadpool-bare",))
    if not chosen:
        pytest.skip("threadpool-bare is not in this run")
    server = start_server(chosen[0])
    kill(server.pid)
    assert server.wait_for_exit() == -signal.SIGKILL


# Faults.

FAULTS = pytest.mark.parametrize("fault, signal_name, exit_status", [
    ("segv", "SIGSEGV", None),
    ("abort", "SIGABRT", None),
    ("check", "SIGABRT", None),
    ("fpe", "SIGFPE", None),
    ("stack-overflow", "SIGSEGV", None),
    ("exit?status=3", None, 3),
    ("exit?status=0", None, 0),
])


@SUPERVISED
@FAULTS
def test_a_crash_is_told_with_its_request(model, start_server, fault, signal_name, exit_status):
    server = start_server(model, "--faults", "on")
    line = f"GET /fault/{fault} HTTP/1.1"
    with server.connect() as client:
        victim = server.whoami(client)["pid"]
        client.send(request_bytes(target=f"/fault/{fault}"))
        client.expect_close()
        death = server.wait_for_death(victim)
        assert death["cause"] == ("signal" if signal_name else "exit")
        assert (death["signal"], death["exit_status"]) == (signal_name, exit_status)
        assert (death["in_progress"], death["awaited"], death["requests_lost"]) == (1, 0, 1)
        request, = death["requests"]
        assert (request["line"], request["client"]) == (servers.shown_line(line), client.name)
        server.wait_for_log(r"in progress in slot \d+: " + re.escape(f'"{line}" from '
                                                                       f"{client.name}"))
    server.wait_for_full_strength(without_pid=victim)
    assert server.get("/plaintext").status == 200
    wait_until(lambda: processes.zombie_children(server.pid) == [], "the crash teller is reaped")


@pytest.mark.models(("threadpool-bare",))
@FAULTS
def test_a_crash_ends_the_bare_threadpool(model, start_server, fault, signal_name, exit_status):
    server = start_server(model, "--faults", "on")
    with server.connect() as client:
        client.send(request_bytes(target=f"/fault/{fault}"))
        client.expect_close()
    number = getattr(signal, signal_name) if signal_name else None
    assert server.wait_for_exit() == (-number if number else exit_status)


@pytest.mark.parametrize("fault", ["hang", "deadlock"])
def test_a_stuck_worker_does_not_stop_the_others(model, start_server, fault):
    options = ("--stuck-after-ms", "off") if model.has_master else ()  # however long it takes
    server = start_server(model, "--faults", "on", *options)
    with server.connect() as client:
        victim = server.whoami(client)["pid"]
        client.send(request_bytes(target=f"/fault/{fault}"))
        wait_until(lambda: server.is_running(f"GET /fault/{fault} HTTP/1.1"), "it is stuck")
        if model.accepts_anywhere:
            for _ in range(50):
                assert server.get("/plaintext").status == 200
        assert not client.has_closed()
        if model.has_master:
            kill(victim)
            assert server.wait_for_death(victim)["in_progress"] >= 1
            server.wait_for_full_strength(without_pid=victim)


@SEVERAL_PROCESSES
def test_a_stopped_worker_does_not_stop_the_others(model, start_server):
    server = start_server(model)
    victim = server.worker_pids()[0]
    os.kill(victim, signal.SIGSTOP)
    wait_until(lambda: processes.read_process(victim).state == "T", "the worker is stopped")
    for _ in range(50):
        with server.connect() as client:
            assert server.whoami(client)["pid"] != victim
    os.kill(victim, signal.SIGCONT)
    assert victim in server.worker_pids()


@SUPERVISED
def test_a_server_with_a_stopped_worker_can_be_stopped(model, start_server):
    server = start_server(model)
    os.kill(server.worker_pids()[0], signal.SIGSTOP)
    server.stop()


# Many deaths.

CRASH_LOOP_S = 3
MOST_SPAWNS_IN_A_CRASH_LOOP = 100


@pytest.mark.models(models.EACH_KIND)
@pytest.mark.slow
def test_a_crash_loop_is_throttled(model, start_server):
    """Workers that are killed as soon as they appear are not replaced hundreds of times a second."""
    server = start_server(model)
    killed = set()
    end = time.monotonic() + CRASH_LOOP_S
    while time.monotonic() < (end if len(killed) > model.processes else end + DEADLINE_S):
        for pid in server.worker_pids():
            if pid not in killed:
                kill(pid)
                killed.add(pid)
    assert model.processes < len(killed) <= MOST_SPAWNS_IN_A_CRASH_LOOP
    wait_until(lambda: not killed & set(server.worker_pids()), "all that were killed are dead")
    server.wait_for_full_strength()
    assert server.get("/plaintext").status == 200
    wait_until(lambda: processes.zombie_children(server.pid) == [], "all that have ended are reaped")
    deaths = server.status()["deaths"]
    assert {death["pid"] for death in deaths} <= killed
    assert len(deaths) == min(64, len(killed))


@SUPERVISED
def test_all_workers_killed_at_once(model, start_server):
    server = start_server(model)
    victims = server.worker_pids()
    for victim in victims:
        kill(victim)
    wait_until(lambda: not set(victims) & set(server.worker_pids()), "the workers are dead")
    server.wait_for_full_strength()
    assert server.status()["totals"]["deaths"] == len(victims)


@pytest.mark.serial
@pytest.mark.slow
@pytest.mark.models(("prefork",))
@pytest.mark.skipif(servers.SANITIZED, reason="times under a sanitizer say nothing")
def test_recovery_takes_less_than_10_ms(model, start_server):
    """The median of 20 deaths of workers that have lived too long for a crash loop."""
    server = start_server(model)
    recoveries_ms = []
    for _ in range(20):
        victim = server.worker_pids()[0]
        kill(victim)
        recoveries_ms.append(server.wait_for_recovery_ms(victim))
        time.sleep(0.2)
    assert statistics.median(recoveries_ms) < 10


# The master.

@SUPERVISED
def test_workers_die_with_their_master(model, start_server):
    port = servers.quiet_port()
    listen = ("--listen", f"127.0.0.1:{port}")
    server = start_server(model, *listen)
    with server.connect() as client:
        assert client.get("/plaintext").status == 200
        kill(server.pid)
        server.process.wait(DEADLINE_S)
        wait_until(lambda: not processes.living_in_session(server.session),
                   "the workers are gone", LATENESS_S)
        client.expect_close()
    wait_until(lambda: servers.is_free(port), "the port is free")
    assert start_server(model, *listen).get("/plaintext").status == 200


@SUPERVISED
def test_a_blocked_worker_dies_with_its_master(model, start_server):
    server = start_server(model)
    with server.connect() as client:
        client.send(request_bytes(target="/sleep?ms=60000"))
        kill(server.pid)
        server.process.wait(DEADLINE_S)
        wait_until(lambda: not processes.living_in_session(server.session),
                   "the workers are gone", LATENESS_S)


# Fork that fails.

USER_WITHOUT_OTHER_PROCESSES = 61000


@pytest.fixture
def ordinary_user(request):
    """Root is above RLIMIT_NPROC: run as a user that nobody else is, one for each test process."""
    if os.getuid() != 0:
        return []
    worker = getattr(request.config, "workerinput", {}).get("workerid", "gw0")
    uid = str(USER_WITHOUT_OTHER_PROCESSES + int(worker[2:]))
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]


@SUPERVISED
def test_the_master_survives_when_fork_fails(model, start_server, ordinary_user, public_directory):
    server = start_server(model, root=public_directory, prefix=ordinary_user)

    def limit_processes(soft):
        subprocess.run([*ordinary_user, "prlimit", f"--pid={server.pid}", f"--nproc={soft}:"],
                       check=True)

    victim = server.worker_pids()[0]
    limit_processes("1")
    kill(victim)
    server.wait_for_log(r"\[(error|warn)\].*fork")
    assert len(server.worker_pids()) == model.processes - 1
    if model.processes > 1 and model.accepts_anywhere:
        assert server.get("/plaintext").status == 200
    limit_processes("10000")
    server.wait_for_full_strength(without_pid=victim)
    assert server.get("/plaintext").status == 200


@SUPERVISED
def test_a_reload_waits_until_fork_works_again(model, start_server, ordinary_user, public_directory,
                                               monkeypatch):
    monkeypatch.setattr(servers, "BIN_DIR", public_directory)
    server = start_server(model, root=public_directory, prefix=ordinary_user)

    def limit_processes(soft):
        subprocess.run([*ordinary_user, "prlimit", f"--pid={server.pid}", f"--nproc={soft}:"],
                       check=True)

    before = server.worker_pids()
    limit_processes("1")
    os.kill(server.pid, signal.SIGHUP)
    server.wait_for_log(r"\[(error|warn)\].*fork")
    assert server.worker_pids() == before
    assert server.get("/plaintext").status == 200
    limit_processes("10000")
    server.wait_for_log("all processes have been replaced")
    wait_until(lambda: not set(before) & set(server.worker_pids()), "the old ones are gone")
    assert server.get("/plaintext").status == 200


# Under load.

@pytest.mark.models(models.UNDER_LOAD)
@pytest.mark.serial
@pytest.mark.slow
def test_wrk_and_the_journal_agree_about_what_was_lost(model, start_server, start_load):
    server = start_server(model)
    load = start_load(server, "/plaintext", connections=64)
    wrk.wait_until_accepted(server, 64)
    victim = server.worker_pids()[0]
    kill(victim)
    death = server.wait_for_death(victim)
    wait_until_connections(server.address[1], 64)  # the cut ones are there again
    result = wrk.end(load)
    assert result.connect_errors == 0
    assert result.bad_statuses == 0
    assert result.read_errors + result.write_errors == death["requests_lost"]
    assert result.read_errors == death["requests_lost"]
    assert death["idle_cut"] == 0
    if model.processes == 1:
        assert death["requests_lost"] == 64, "one process: every connection is lost"
    server.wait_for_full_strength(without_pid=victim)
